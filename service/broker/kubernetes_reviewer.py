"""Asks the API server whose token it is, by a TokenReview.

Covers: expired, forged and revoked tokens, tokens of deleted pods, tokens for another audience (the API server's own
among them), tokens that are bound to no pod. Does not cover: who may create pods in the jobs' namespace; whoever may,
may name them as they like.
"""

import logging
from typing import Any
from typing import Final

from kubernetes import client
from kubernetes import config
from urllib3.exceptions import HTTPError

from service.broker.identity import PodIdentity
from service.broker.identity import ReviewUnavailable

logger = logging.getLogger(__name__)
TIMEOUT_S: Final = (3.0, 10.0)
"""Of connecting, and of the answer."""
CONNECTIONS: Final = 16
_ACCOUNT: Final = "system:serviceaccount:"
_POD_NAME: Final = "authentication.kubernetes.io/pod-name"
_POD_UID: Final = "authentication.kubernetes.io/pod-uid"


class KubernetesReviewer:
    """A :class:`service.broker.identity.Reviewer` of one cluster.

    Args:
        audience: that a token must have been asked for.
        configuration: of the official client.
    """

    def __init__(self, audience: str, configuration: client.Configuration) -> None:
        # A review changes nothing, but whoever waits for it asks again anyway.
        configuration.retries = False
        configuration.connection_pool_maxsize = CONNECTIONS
        # The client logs the bodies of answers when everything is logged, and a review's answer repeats the token.
        logging.getLogger("kubernetes.client.rest").setLevel(logging.INFO)
        self._audience = audience
        self._api = client.AuthenticationV1Api(client.ApiClient(configuration))

    def review(self, token: str) -> PodIdentity | None:
        """The pod that a token was given to; see the protocol. Nothing of the token is ever logged or raised."""
        spec = client.V1TokenReviewSpec(token=token, audiences=[self._audience])
        try:
            reviewed = self._api.create_token_review(
                client.V1TokenReview(spec=spec), _request_timeout=TIMEOUT_S
            )
        except client.ApiException as error:
            # Only the number: bodies repeat what was sent.
            logger.error("token review refused", extra={"status": error.status})
            raise ReviewUnavailable(f"the API server answered HTTP {error.status}") from None
        except (HTTPError, OSError) as error:
            logger.error("token review failed", extra={"error": type(error).__name__})
            raise ReviewUnavailable(f"the API server did not answer: {type(error).__name__}") from None
        return identity_of(reviewed.status, self._audience)


def identity_of(status: Any, audience: str) -> PodIdentity | None:
    """What the status of a TokenReview says; None unless it is of a pod, and for this audience.

    A server that does not know of audiences names none, and would take every token: it is not believed.
    """
    if status is None or not status.authenticated or audience not in (status.audiences or ()):
        return None
    user = status.user
    username = user.username or ""
    namespace, colon, account = username.removeprefix(_ACCOUNT).partition(":")
    extra = user.extra or {}
    names, uids = extra.get(_POD_NAME) or [], extra.get(_POD_UID) or []
    if not username.startswith(_ACCOUNT) or not (namespace and colon and account):
        return None
    if len(names) != 1 or len(uids) != 1 or not names[0] or not uids[0]:
        return None
    return PodIdentity(namespace=namespace, service_account=account, pod_name=names[0], pod_uid=uids[0])


def cluster_configuration() -> client.Configuration:
    """How this process reaches its API server: by its ServiceAccount, or by what KUBECONFIG names.

    Raises:
        kubernetes.config.ConfigException: neither is there.
    """
    configuration = client.Configuration()
    try:
        config.load_incluster_config(client_configuration=configuration)
    except config.ConfigException:
        config.load_kube_config(client_configuration=configuration)
    return configuration
