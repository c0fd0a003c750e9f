"""What every test on a real cluster needs: the cluster, and one release of the chart for all of them."""

import os
from collections.abc import Iterator

import kubernetes
import pytest
from helm_release import Release
from helm_release import installed_release
from helm_release import new_release


@pytest.fixture(scope="session")
def release() -> Iterator[Release]:
    """An installed release; its namespaces are gone afterwards, unless it was there before."""
    for variable in ("KUBECONFIG", "TEMPER_CLUSTER_VALUES"):
        if variable not in os.environ:
            pytest.fail(f"{variable} is not set: see 'Try an install' in docs/cluster.md")
    if "TEMPER_CLUSTER_RELEASE" in os.environ:
        there = installed_release(os.environ["TEMPER_CLUSTER_RELEASE"])
        yield there
        there.close()
        return
    release = new_release()
    try:
        try:
            release.install()
        except Exception as error:
            raise AssertionError(f"{error}\n{release.describe()}") from error
        yield release
    finally:
        if "TEMPER_CLUSTER_KEEP" not in os.environ:
            release.uninstall()
            kubernetes.client.CoreV1Api(release.client).delete_namespace(release.namespace)
        release.close()
