"""Whether this installation can give a job the machines and the queue that it asks for."""

from deploy.contract.resources import ANY_RESOURCES
from deploy.contract.resources import Resources
from deploy.kubernetes.settings import ClusterSettings
from deploy.kubernetes.settings import JobSettings
from service.errors import BadRequest

RESOURCES = "hardening.resources"
QUEUE = "hardening.queue"


def check_resources(asked: Resources, queue: str | None, cluster: ClusterSettings | None) -> None:
    """Refuse now what could only wait for ever.

    Args:
        asked: body of ``hardening.resources``.
        queue: ``hardening.queue``.
        cluster: where jobs run; None runs them as processes of the service's own machine.

    Raises:
        BadRequest: more than the operator allows, or nothing that this installation knows.
    """
    if cluster is None:
        _refuse_wishes(asked, queue)
        return
    _check_gpus(asked, cluster.jobs)
    if queue is not None:
        _check_queue(queue, cluster.jobs)


def _refuse_wishes(asked: Resources, queue: str | None) -> None:
    # Ignoring them would let a job that needs eight GPUs begin, and fail hours later on a laptop.
    here = "This service runs jobs as processes of its own machine"
    if asked != ANY_RESOURCES:
        raise _refused(RESOURCES, f"{here}, which take it as it is.", "resources_not_supported")
    if queue is not None:
        raise _refused(QUEUE, f"{here} and has no named queues.", "queue_not_found")


def _check_gpus(asked: Resources, jobs: JobSettings) -> None:
    gpus = jobs.job.gpus if asked.gpus is None else asked.gpus
    where = f"{RESOURCES}.{'nodes' if asked.gpus is None else 'gpus'}"
    if asked.nodes > 1 and gpus == 0:
        said = "Several nodes need at least one GPU each, and jobs have none here unless they ask for them."
        raise _refused(where, said, "resources_not_allowed")
    if asked.gpu_type is not None and gpus == 0:
        said = "A job without GPUs cannot choose their type."
        raise _refused(f"{RESOURCES}.gpu_type", said, "resources_not_allowed")
    total = gpus * asked.nodes
    if total > jobs.job.max_gpus:
        said = f"{_counted(total, 'GPU')} in all are more than the {jobs.job.max_gpus} that one job may have."
        raise _refused(where, said, "resources_not_allowed")


def _check_queue(queue: str, jobs: JobSettings) -> None:
    if jobs.queue is None:
        raise _refused(QUEUE, "Jobs are not queued by name here.", "queue_not_found")
    known = sorted({jobs.queue, *jobs.queues})
    if queue not in known:
        said = f"There is no queue {queue!r}; there are {', '.join(known)}."
        raise _refused(QUEUE, said, "queue_not_found")


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _refused(param: str, said: str, code: str) -> BadRequest:
    return BadRequest(f"{param}: {said}", code=code, param=param)


def gpus_of(asked: Resources, cluster: ClusterSettings | None) -> int:
    """GPUs of all nodes of a job together; none are counted where jobs are processes of this machine."""
    if cluster is None:
        return 0
    return (cluster.jobs.job.gpus if asked.gpus is None else asked.gpus) * asked.nodes
