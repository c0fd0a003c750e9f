"""Whether this installation can give an endpoint the machines and replicas that it asks for."""

from deploy.contract.resources import ANY_RESOURCES
from deploy.contract.resources import Resources
from deploy.kubernetes.settings import ClusterSettings
from deploy.kubernetes.settings import EndpointSettings
from service.errors import BadRequest


def check_resources(asked: Resources, cluster: ClusterSettings | None) -> None:
    """Refuse now what could only wait for ever.

    Args:
        asked: of one replica.
        cluster: where servers run; None runs them as processes of the service's own machine.

    Raises:
        BadRequest: more than the operator allows, or nothing that this installation knows.
    """
    if asked.nodes != 1:
        raise _refused("resources.nodes", "A replica runs on one node.", "resources_not_allowed")
    if cluster is None:
        if asked != ANY_RESOURCES:
            said = "This service runs servers as processes of its own machine, which take it as it is."
            raise _refused("resources", said, "resources_not_supported")
        return
    gpus = cluster.endpoints.gpus if asked.gpus is None else asked.gpus
    if gpus > cluster.endpoints.max_gpus:
        said = f"{gpus} GPUs are more than the {cluster.endpoints.max_gpus} that one replica may have."
        raise _refused("resources.gpus", said, "resources_not_allowed")
    if asked.gpu_type is not None and gpus == 0:
        said = "A replica without GPUs cannot choose their type."
        raise _refused("resources.gpu_type", said, "resources_not_allowed")


def check_replicas(at_least: int, at_most: int, cluster: ClusterSettings | None) -> None:
    """Refuse replicas that would never be there. Raises BadRequest."""
    if at_least > at_most:
        said = f"There would be at least {at_least} and at most {at_most}."
        raise _refused("min_replicas", said, "invalid_replicas")
    if cluster is None:
        if at_most > 1:
            said = "This service runs servers as processes of its own machine, one for each endpoint."
            raise _refused("max_replicas", said, "replicas_not_allowed")
        return
    _check_maximum(at_least, at_most, cluster.endpoints)


def _check_maximum(at_least: int, at_most: int, endpoints: EndpointSettings) -> None:
    if at_most > endpoints.max_replicas:
        said = f"{at_most} are more than the {endpoints.max_replicas} that one endpoint may have."
        raise _refused("max_replicas", said, "replicas_not_allowed")
    if at_most > at_least and endpoints.autoscaler == "none":
        said = "Nothing scales endpoints in this cluster: min_replicas and max_replicas have to be the same."
        raise _refused("max_replicas", said, "replicas_not_allowed")


def _refused(param: str, said: str, code: str) -> BadRequest:
    return BadRequest(f"{param}: {said}", code=code, param=param)
