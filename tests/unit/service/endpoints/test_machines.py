"""What an endpoint may ask of a cluster."""

from typing import Any

import pytest
from cluster_settings import cluster_settings

from deploy.contract.resources import Resources
from deploy.kubernetes.settings import ClusterSettings
from service.endpoints.machines import check_replicas
from service.endpoints.machines import check_resources
from service.errors import BadRequest


def cluster(**endpoints: Any) -> ClusterSettings:
    plain = cluster_settings()
    return plain.model_copy(update={"endpoints": plain.endpoints.model_copy(update=endpoints)})


def test_what_the_operator_offers_is_taken() -> None:
    check_resources(Resources(gpus=8, gpu_type="NVIDIA-H100", cpus=4, memory_gib=64), cluster())
    check_resources(Resources(gpus=0), cluster())
    check_replicas(1, 8, cluster(autoscaler="keda"))
    check_replicas(3, 3, cluster())
    check_replicas(1, 1, None)


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        (Resources(gpus=9), "resources.gpus"),
        (Resources(gpus=1, nodes=2), "resources.nodes"),
        (Resources(gpus=0, gpu_type="NVIDIA-H100"), "resources.gpu_type"),
    ],
)
def test_what_it_does_not_offer_is_refused_by_its_key(asked: Resources, param: str) -> None:
    with pytest.raises(BadRequest) as raised:
        check_resources(asked, cluster())
    assert raised.value.param == param


@pytest.mark.parametrize(
    ("least", "most", "param"), [(1, 9, "max_replicas"), (2, 1, "min_replicas"), (1, 2, "max_replicas")]
)
def test_replicas_that_would_never_be(least: int, most: int, param: str) -> None:
    with pytest.raises(BadRequest) as raised:
        check_replicas(least, most, cluster())
    assert raised.value.param == param
