"""Webhooks: what ended is told to whoever asked, in the form of Standard Webhooks.

What there is to tell is written with what it tells of, in one transaction (:mod:`service.webhooks.outbox`); the
leading reconciler delivers it, at least once (:mod:`service.webhooks.deliverer`), and only to where the operator lets
it go (:mod:`service.webhooks.targets`, :mod:`deploy.contract.addresses`).
"""
