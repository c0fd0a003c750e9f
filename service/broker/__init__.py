"""The broker: pods reach the object store without any secret, each limited to what its own job needs.

A pod proves who it is with a token that is good for nothing else; the broker asks the API server whose it is
(:mod:`service.broker.reviews`), derives what that pod may do (:mod:`service.broker.authorisation`), and does it with
credentials that no pod ever sees. Large objects go past the broker, through URLs that are good for one object for minutes.
"""
