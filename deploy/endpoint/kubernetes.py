"""Endpoints as Deployments of a cluster, each behind a Service of its own.

What is known of them comes from watched objects, never from a request for each. Everything of an endpoint carries its
name and our labels, so that making what exists means bringing it up to date, and whatever is left of one that was
half removed is found and removed. A Deployment goes last: as long as anything is left, ``observe`` tells of it.
"""

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import contextmanager
from typing import Any
from typing import Final

from deploy.contract import layout
from deploy.contract.document import sha256_hex
from deploy.endpoint.order import ServeOrder
from deploy.endpoint.protocol import EndpointError
from deploy.endpoint.protocol import EndpointRefused
from deploy.endpoint.protocol import Serve
from deploy.endpoint.protocol import ServePhase
from deploy.endpoint.protocol import Server
from deploy.endpoint.serving_manifest import ENDPOINT
from deploy.endpoint.serving_manifest import KEYS
from deploy.endpoint.serving_manifest import SETTINGS
from deploy.endpoint.serving_manifest import Manifests
from deploy.endpoint.serving_manifest import keys_hash
from deploy.endpoint.serving_manifest import manifests
from deploy.endpoint.serving_manifest import replicas_of
from deploy.endpoint.serving_manifest import settings_hash
from deploy.endpoint.serving_state import server_of
from deploy.endpoint.serving_state import without_template
from deploy.kubernetes.client import KubernetesClient
from deploy.kubernetes.client import Object
from deploy.kubernetes.errors import KubernetesError
from deploy.kubernetes.errors import KubernetesRefused
from deploy.kubernetes.errors import ObjectChanged
from deploy.kubernetes.errors import ObjectExists
from deploy.kubernetes.errors import ObjectGone
from deploy.kubernetes.kept import without_spec
from deploy.kubernetes.kinds import DEPLOYMENTS
from deploy.kubernetes.kinds import HORIZONTAL_POD_AUTOSCALERS
from deploy.kubernetes.kinds import POD_DISRUPTION_BUDGETS
from deploy.kubernetes.kinds import PODS
from deploy.kubernetes.kinds import SCALED_OBJECTS
from deploy.kubernetes.kinds import SERVICES
from deploy.kubernetes.kinds import Kind
from deploy.kubernetes.labels import is_ours
from deploy.kubernetes.labels import selector
from deploy.kubernetes.settings import ClusterSettings
from deploy.kubernetes.watched import WatchedObjects
from deploy.store.opening import object_uri
from deploy.store.protocol import ObjectStore
from deploy.store.protocol import StoreError

logger = logging.getLogger(__name__)
AUTOSCALERS: Final[Mapping[str, tuple[Kind, ...]]] = {
    "none": (),
    "hpa": (HORIZONTAL_POD_AUTOSCALERS,),
    "keda": (SCALED_OBJECTS,),
}
"""The kinds that the operator's settings use: of others, nothing is known and nothing may be asked."""


class KubernetesEndpoints:
    """Implements :class:`deploy.endpoint.protocol.EndpointBackend` in one namespace of a cluster.

    Args:
        client: may create, get, list, watch, patch and delete deployments, services, disruption budgets and the
            autoscaler's objects, and get, list and watch pods.
        settings: the operator's.
        store: where the orders are put; what the pods fetch from.
        keys: public keys that evidence is verified with now, in PEM.
        monotonic: seconds.
    """

    def __init__(
        self,
        client: KubernetesClient,
        settings: ClusterSettings,
        store: ObjectStore,
        *,
        keys: Iterable[str] = (),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._settings = settings
        self._store = store
        self._monotonic = monotonic
        self._namespace = settings.endpoints.namespace
        self._made_by = settings_hash(settings)
        self._keys = keys_hash(keys)
        ours = selector(settings.release, "endpoint")
        kinds = (SERVICES, POD_DISRUPTION_BUDGETS, *AUTOSCALERS[settings.endpoints.autoscaler])
        self._deployments = WatchedObjects(
            client, DEPLOYMENTS, self._namespace, selector=ours, keep=without_template
        )
        self._pods = WatchedObjects(client, PODS, self._namespace, selector=ours, keep=without_spec)
        self._others = {
            kind: WatchedObjects(client, kind, self._namespace, selector=ours, keep=without_spec)
            for kind in kinds
        }
        self._lock = threading.Lock()
        self._unready_since: dict[str, float] = {}

    def serve(self, order: Serve) -> None:
        """Make everything of an endpoint, or bring it up to date: new pods answer before old ones end.

        Raises:
            EndpointRefused: the order is refused, by us or by the cluster.
            EndpointError: the cluster or the store cannot be reached.
        """
        with _endpoint_errors(f"cannot serve {order.name}"):
            wanted = self._manifests(order)
            self._apply(DEPLOYMENTS, wanted.deployment, self._deployments)
            for kind, manifest in wanted.others:
                self._apply(kind, manifest, self._others[kind])
            kept = {kind for kind, _ in wanted.others}
            for kind in self._others.keys() - kept:
                self._delete(kind, order.name)

    def observe(self) -> Mapping[str, Server]:
        """Every endpoint by name, until nothing of it is left.

        Raises:
            EndpointError: nothing recent is known of the cluster.
        """
        with _endpoint_errors("cannot observe"):
            deployments = self._deployments.snapshot()
            others = {kind: watched.snapshot() for kind, watched in self._others.items()}
            pods = self._pods_by_endpoint()
        names = set(deployments).union(*others.values())
        self._unready_since = {name: at for name, at in self._unready_since.items() if name in names}
        return {
            name: self._look(name, deployments.get(name), others, pods.get(name, []))
            for name in sorted(names)
        }

    def remove(self, name: str) -> None:
        """Delete everything of an endpoint; what its pods are asked now, they still answer.

        Raises:
            EndpointError: the cluster cannot be reached.
        """
        with _endpoint_errors(f"cannot remove {name}"):
            for kind in self._others:
                self._delete(kind, name)
            try:
                self._store.delete(layout.endpoint_order_key(name))
            except StoreError as error:  # a small object stays; GPUs must not
                logger.warning("the order of %s stays in the store: %s", name, error)
            self._delete(DEPLOYMENTS, name)

    def close(self) -> None:
        """End the watches; what is served goes on."""
        for watched in (self._deployments, self._pods, *self._others.values()):
            watched.close()

    def _manifests(self, order: Serve) -> Manifests:
        document = ServeOrder.of(order).to_bytes()
        key = layout.endpoint_order_key(order.name)
        wanted = manifests(
            order,
            self._settings,
            order_uri=object_uri(self._store, key),
            order_sha256=sha256_hex(document),
        )
        # Always the same bytes; another version of ours may write them in another form.
        self._store.put(key, document)
        return wanted

    def _apply(self, kind: Kind, manifest: Object, watched: WatchedObjects) -> None:
        """Make an object, or make the one of its name like it."""
        name = manifest["metadata"]["name"]
        try:
            written = self._client.create(kind, self._namespace, manifest)
        except ObjectExists:
            found = self._client.get(kind, self._namespace, name)
            if not is_ours(found["metadata"], self._settings.release):
                raise EndpointRefused(f"there is a {kind.name} {name} already, of somebody else") from None
            written = self._client.patch(kind, self._namespace, name, change_of(kind, found, manifest))
        watched.note(written)

    def _delete(self, kind: Kind, name: str) -> None:
        try:
            found = self._client.get(kind, self._namespace, name)
        except ObjectGone:
            return
        if is_ours(found["metadata"], self._settings.release):
            self._client.delete(kind, self._namespace, name, uid=found["metadata"]["uid"])

    def _pods_by_endpoint(self) -> dict[str, list[Object]]:
        pods: dict[str, list[Object]] = defaultdict(list)
        for pod in self._pods.snapshot().values():
            pods[str((pod["metadata"].get("labels") or {}).get(ENDPOINT))].append(pod)
        return pods

    def _look(
        self,
        name: str,
        deployment: Object | None,
        others: Mapping[Kind, Mapping[str, Object]],
        pods: list[Object],
    ) -> Server:
        if deployment is None:
            reason = "its Deployment is gone"
            return Server(
                name=name, phase=ServePhase.STARTING, reason=reason, current=False, ready_replicas=0
            )
        found = server_of(
            deployment,
            pods,
            base_url=self._url(name),
            timeout_s=self._settings.endpoints.start_timeout_s,
            unready_s=self._unready_s(name, deployment),
            current=self._is_current(name, deployment, others),
        )
        if found.phase is ServePhase.READY and name not in others[SERVICES]:
            return Server(name=name, phase=ServePhase.STARTING, reason="its Service is gone", current=False)
        return found

    def _url(self, name: str) -> str:
        url = self._settings.endpoints.url
        return url.replace("{name}", name).replace("{namespace}", self._namespace).rstrip("/")

    def _unready_s(self, name: str, deployment: Object) -> float:
        """Since when this process has seen no replica of it that answers."""
        now = self._monotonic()
        if (deployment.get("status") or {}).get("readyReplicas"):
            self._unready_since.pop(name, None)
            return 0.0
        return now - self._unready_since.setdefault(name, now)

    def _is_current(self, name: str, deployment: Object, others: Mapping[Kind, Mapping[str, Object]]) -> bool:
        annotations = deployment["metadata"].get("annotations") or {}
        if annotations.get(SETTINGS) != self._made_by or annotations.get(KEYS, self._keys) != self._keys:
            return False
        at_least, at_most = replicas_of(deployment) or (1, 1)
        if not at_least <= int(deployment["spec"].get("replicas") or 0) <= at_most:
            return False  # scaled by hand
        expected = {
            SERVICES: True,
            POD_DISRUPTION_BUDGETS: at_most > 1,
            HORIZONTAL_POD_AUTOSCALERS: at_most > at_least,
            SCALED_OBJECTS: at_most > at_least,
        }
        return all((name in found) == expected[kind] for kind, found in others.items())


def change_of(kind: Kind, found: Object, wanted: Object) -> Object:
    """The merge patch that makes an object of ours like its manifest, and changes nothing of what others set.

    In a Deployment's template and in a Service's ports everything is ours: what the manifest lacks goes. How many
    replicas there are is the autoscaler's to say, within the order's bounds.
    """
    spec = dict(wanted["spec"])
    if kind == DEPLOYMENTS:
        spec["template"] = _made_like(found["spec"].get("template") or {}, spec["template"])
        at_least, at_most = replicas_of(wanted) or (1, 1)
        now = found["spec"].get("replicas")
        spec["replicas"] = min(max(now if isinstance(now, int) else at_least, at_least), at_most)
        del spec["selector"]  # never changes, and could not
    metadata = {
        "uid": found["metadata"]["uid"],
        "labels": wanted["metadata"]["labels"],
        "annotations": wanted["metadata"].get("annotations") or {},
    }
    return {"metadata": metadata, "spec": spec}


def _made_like(found: Any, wanted: Any) -> Any:
    """A merge patch from one value to another: what is not wanted becomes null, which the server fills or drops."""
    if not isinstance(found, dict) or not isinstance(wanted, dict):
        return wanted
    gone = {key: None for key in found.keys() - wanted.keys()}
    return {**gone, **{key: _made_like(found.get(key), value) for key, value in wanted.items()}}


@contextmanager
def _endpoint_errors(what: str) -> Iterator[None]:
    try:
        yield
    except ObjectChanged as error:  # somebody wrote in between: the next look knows more
        raise EndpointError(f"{what}: {error}") from error
    except ObjectGone as error:  # a namespace, or a kind, that may come; or an object that just went
        raise EndpointError(f"{what}: {error}") from error
    except KubernetesRefused as error:
        raise EndpointRefused(f"{what}: {error}") from error
    except (KubernetesError, StoreError) as error:
        raise EndpointError(f"{what}: {error}") from error
