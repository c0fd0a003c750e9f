"""The embedded service: jobs and servers as local processes, reconciled by a thread of this process."""

import os
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from functools import partial

from deploy.endpoint.local import LocalEndpoints
from deploy.kubernetes.settings import ClusterSettings
from deploy.launch.local import LocalLauncher
from service.context import Context
from service.evidence.keyring import open_keyring
from service.leading import leading
from service.reconcile.loop import Reconciler


@contextmanager
def embedded(
    context: Context,
    *,
    job_command: Sequence[str] | None = None,
    scan_command: Sequence[str] | None = None,
    server_command: Sequence[str] | None = None,
) -> Iterator[None]:
    """Companion of the app: reconciles for as long as the app lives.

    Args:
        context: of the process.
        job_command: what runs an attempt of a job; None is ``python -m training``.
        scan_command: what runs an attempt of a scan; None is ``python -m training.scan``.
        server_command: what serves a model; None is this project's vLLM server.
    """
    build = partial(
        reconciler_of, job_command=job_command, scan_command=scan_command, server_command=server_command
    )
    with leading(context, build):
        yield


def reconciler_of(
    context: Context,
    *,
    job_command: Sequence[str] | None = None,
    scan_command: Sequence[str] | None = None,
    server_command: Sequence[str] | None = None,
) -> Reconciler:
    """The reconciler of a process, over the cluster that its settings name, or over processes of this machine.

    Raises:
        KubernetesError: there is no telling which cluster to use.
    """
    if context.settings.cluster is not None:
        return _of_cluster(context, context.settings.cluster)
    home = context.settings.home
    for name in ("jobs", "endpoints"):
        (home / name).mkdir(mode=0o700, parents=True, exist_ok=True)
    launcher = LocalLauncher(
        home / "jobs",
        max_running=context.settings.max_running_jobs,
        max_running_scans=context.settings.max_running_scans,
        command=job_command,
        scan_command=scan_command,
    )
    return Reconciler(context, launcher, LocalEndpoints(home / "endpoints", command=server_command))


def _of_cluster(context: Context, cluster: ClusterSettings) -> Reconciler:
    # The client takes half a second to import, and a laptop has no use for it.
    from deploy.endpoint.kubernetes import KubernetesEndpoints
    from deploy.kubernetes.client import connect
    from deploy.launch.kubernetes import KubernetesLauncher

    client = connect(kubeconfig=os.environ.get("KUBECONFIG"))
    endpoints = KubernetesEndpoints(client, cluster, context.store, keys=open_keyring(context.settings).pems)
    return Reconciler(context, KubernetesLauncher(client, cluster), endpoints)
