"""Who may talk to whom: everything is denied, then exactly these lines are allowed."""

import ipaddress
from collections.abc import Iterator
from typing import Any

import pytest
from rendered_chart import FEATURES
from rendered_chart import NAMESPACE
from rendered_chart import Object
from rendered_chart import Values
from rendered_chart import merged
from rendered_chart import of_kind
from rendered_chart import pods
from rendered_chart import profile_values
from rendered_chart import render
from rendered_chart import variants

METADATA = ipaddress.ip_address("169.254.169.254")
NAME = "app.kubernetes.io/name"
INSTANCE = "app.kubernetes.io/instance"
COMPONENT = "app.kubernetes.io/component"
NAMESPACE_NAME = "kubernetes.io/metadata.name"
each_variant = pytest.mark.parametrize(
    ("values", "upgrade"), [pytest.param(values, upgrade, id=name) for name, values, upgrade in variants()]
)
ANY = "any address without metadata"
DNS = "kube-system/kube-dns:53/TCP,53/UDP"


def allowed(objects: list[Object]) -> set[str]:
    """One line for each pair of pods and peers: ``namespace/component -> peer:ports``."""
    return {
        f"{policy['metadata']['namespace']}/{who} {arrow} {peer}:{_ports(rule)}"
        for policy in of_kind(objects, "NetworkPolicy")
        for who in _components(policy["spec"]["podSelector"])
        for arrow, rules, side in (("->", "egress", "to"), ("<-", "ingress", "from"))
        for rule in policy["spec"].get(rules) or ()
        for found in rule[side]
        for peer in _peer(found, policy["metadata"]["namespace"])
    }


def _components(selector: Object) -> list[str]:
    """Ours alone: a selector that would take others' pods is written out whole."""
    labels = selector.get("matchLabels", {})
    expressions = selector.get("matchExpressions", [])
    if (labels.get(NAME), labels.get(INSTANCE)) != ("temper", "temper"):
        return [str(selector)]
    components = [labels[COMPONENT]] if COMPONENT in labels else []
    for expression in expressions:
        assert (expression["key"], expression["operator"]) == (COMPONENT, "In")
        components += expression["values"]
    return components or ["*"]


def _peer(peer: Object, own: str) -> Iterator[str]:
    block = peer.get("ipBlock")
    if block is not None:
        yield ANY if block["cidr"] in {"0.0.0.0/0", "::/0"} else block["cidr"]
        return
    namespace = own
    if "namespaceSelector" in peer:
        labels = peer["namespaceSelector"].get("matchLabels", {})
        namespace = labels.get(NAMESPACE_NAME, str(peer["namespaceSelector"]))
    pods_of = peer.get("podSelector", {})
    if pods_of.get("matchLabels", {}).get("k8s-app"):
        yield f"{namespace}/{pods_of['matchLabels']['k8s-app']}"
    elif pods_of:
        yield from (f"{namespace}/{component}" for component in _components(pods_of))
    else:
        yield f"{namespace}/all"


def _ports(rule: Object) -> str:
    names = []
    for port in rule["ports"]:
        last = f"-{port['endPort']}" if "endPort" in port else ""
        names.append(
            f"{port['port']}{last}"
            + ("" if port["protocol"] == "TCP" and not last else f"/{port['protocol']}")
        )
    names = sorted(names)
    return ",".join(names) if names != ["53", "53/UDP"] else "53/TCP,53/UDP"


SMALL = {
    f"ml/api -> {DNS}",
    "ml/api -> ml/postgresql:5432",
    f"ml/api -> {ANY}:9000",
    "ml/api -> ml-endpoints/endpoint:8000",
    "ml/api <- ml/test:8000",
    f"ml/reconciler -> {DNS}",
    "ml/reconciler -> ml/postgresql:5432",
    f"ml/reconciler -> {ANY}:9000",
    f"ml/reconciler -> {ANY}:443,6443",
    f"ml/broker -> {DNS}",
    "ml/broker -> ml/postgresql:5432",
    f"ml/broker -> {ANY}:9000",
    f"ml/broker -> {ANY}:443,6443",
    "ml/broker <- ml-jobs/job:8002",
    "ml/broker <- ml-jobs/scan:8002",
    "ml/broker <- ml-endpoints/endpoint:8002",
    f"ml/migrate -> {DNS}",
    "ml/migrate -> ml/postgresql:5432",
    f"ml/test -> {DNS}",
    "ml/test -> ml/api:8000",
    "ml/postgresql <- ml/api:5432",
    "ml/postgresql <- ml/reconciler:5432",
    "ml/postgresql <- ml/broker:5432",
    "ml/postgresql <- ml/migrate:5432",
    f"ml-jobs/job -> {DNS}",
    "ml-jobs/job -> ml/broker:8002",
    f"ml-jobs/job -> {ANY}:9000",
    f"ml-jobs/scan -> {DNS}",
    "ml-jobs/scan -> ml/broker:8002",
    f"ml-jobs/scan -> {ANY}:9000",
    f"ml-endpoints/endpoint -> {DNS}",
    "ml-endpoints/endpoint -> ml/broker:8002",
    f"ml-endpoints/endpoint -> {ANY}:9000",
    "ml-endpoints/endpoint <- ml/api:8000",
}
PRODUCTION = {
    f"ml/api -> {DNS}",
    "ml/api -> 10.1.0.10/32:5432",
    "ml/api -> 10.2.0.0/24:9000",
    "ml/api -> ml-endpoints/endpoint:8000",
    "ml/api <- ingress-nginx/all:8000",
    "ml/api <- monitoring/all:8000",
    "ml/api <- ml/test:8000",
    f"ml/reconciler -> {DNS}",
    "ml/reconciler -> 10.1.0.10/32:5432",
    "ml/reconciler -> 10.2.0.0/24:9000",
    "ml/reconciler -> 10.3.0.1/32:443,6443",
    "ml/reconciler <- monitoring/all:8001",
    f"ml/broker -> {DNS}",
    "ml/broker -> 10.1.0.10/32:5432",
    "ml/broker -> 10.2.0.0/24:9000",
    "ml/broker -> 10.3.0.1/32:443,6443",
    "ml/broker <- ml-jobs/job:8002",
    "ml/broker <- ml-jobs/scan:8002",
    "ml/broker <- ml-endpoints/endpoint:8002",
    "ml/broker <- monitoring/all:8002",
    f"ml/migrate -> {DNS}",
    "ml/migrate -> 10.1.0.10/32:5432",
    f"ml/test -> {DNS}",
    "ml/test -> ml/api:8000",
    f"ml-jobs/job -> {DNS}",
    "ml-jobs/job -> ml/broker:8002",
    "ml-jobs/job -> 10.2.0.0/24:9000",
    "ml-jobs/job -> ml-jobs/job:1024-65535/TCP",
    "ml-jobs/job <- ml-jobs/job:1024-65535/TCP",
    f"ml-jobs/scan -> {DNS}",
    "ml-jobs/scan -> ml/broker:8002",
    "ml-jobs/scan -> 10.2.0.0/24:9000",
    f"ml-endpoints/endpoint -> {DNS}",
    "ml-endpoints/endpoint -> ml/broker:8002",
    "ml-endpoints/endpoint -> 10.2.0.0/24:9000",
    "ml-endpoints/endpoint <- ml/api:8000",
    "ml-endpoints/endpoint <- monitoring/all:8000",
}


def test_l6_small_allows_exactly_this() -> None:
    assert allowed(render(profile_values("small"))) == SMALL


def test_l6_production_allows_exactly_this() -> None:
    assert allowed(render(profile_values("production"))) == PRODUCTION


def test_an_upgrade_changes_nothing_of_it() -> None:
    assert allowed(render(profile_values("production"), upgrade=True)) == PRODUCTION


def test_without_test_and_metrics_less_is_open() -> None:
    values = profile_values(
        "production", {"tests": {"enabled": False}, "networkPolicy": {"metrics": {"from": []}}}
    )

    closed = {line for line in PRODUCTION if "monitoring" not in line and "ml/test" not in line}
    assert allowed(render(values)) == closed


def test_with_all_bytes_through_the_broker_pods_reach_nothing_else() -> None:
    values = profile_values("production", {"broker": {"direct": False}})

    closed = {
        line
        for line in PRODUCTION
        if not (line.startswith(("ml-jobs", "ml-endpoints")) and "-> 10.2.0.0/24" in line)
    }
    assert allowed(render(values)) == closed
    assert len(closed) == len(PRODUCTION) - 3


@each_variant
def test_l6_everything_else_is_denied_in_both_directions(values: Values, upgrade: bool) -> None:
    objects = render(values, upgrade=upgrade)
    if not values.get("networkPolicy", {}).get("enabled", True):
        assert not of_kind(objects, "NetworkPolicy")
        return
    denying = {
        policy["metadata"]["namespace"]: policy["spec"]["podSelector"]
        for policy in of_kind(objects, "NetworkPolicy")
        if set(policy["spec"]) == {"podSelector", "policyTypes"}
        and set(policy["spec"]["policyTypes"]) == {"Ingress", "Egress"}
    }
    theirs = {each["metadata"]["namespace"] for each in of_kind(objects, "Role")}

    assert set(denying) == {NAMESPACE, *theirs}
    assert all(denying[namespace] == {} for namespace in theirs)
    selected = denying[NAMESPACE]["matchLabels"]
    for name, template in pods(objects):
        assert selected.items() <= template["metadata"]["labels"].items(), name


@each_variant
def test_no_rule_is_without_peer_or_port(values: Values, upgrade: bool) -> None:
    """An empty list of either means all of them."""
    for policy in of_kind(render(values, upgrade=upgrade), "NetworkPolicy"):
        spec = policy["spec"]
        for side, rules in (("to", spec.get("egress")), ("from", spec.get("ingress"))):
            for rule in rules or ():
                assert rule[side], policy["metadata"]["name"]
                assert rule.get("ports") or rule in values["networkPolicy"]["extraEgress"]
                assert all(rule[side]), policy["metadata"]["name"]


@each_variant
def test_credentials_of_the_cloud_are_never_reached(values: Values, upgrade: bool) -> None:
    for policy in of_kind(render(values, upgrade=upgrade), "NetworkPolicy"):
        for rule in policy["spec"].get("egress") or ():
            for peer in rule["to"]:
                assert not _holds_metadata(peer), policy["metadata"]["name"]


def _holds_metadata(peer: Object) -> bool:
    block = peer.get("ipBlock")
    return block is not None and _in(block["cidr"]) and not any(_in(each) for each in block.get("except", []))


def _in(cidr: str) -> bool:
    return METADATA in ipaddress.ip_network(cidr)


BLOCKS = (
    "0.0.0.0/0",
    "128.0.0.0/1",
    "160.0.0.0/3",
    "168.0.0.0/7",
    "169.0.0.0/8",
    "169.254.0.0/15",
    "169.254.0.0/16",
    "169.254.128.0/17",
    "169.254.169.0/24",
    "169.254.169.254/32",
)
PLACES = ("database.to", "objectStore.to", "kubernetesApi.to", "dns.to", "webhooks.to", "extraEgress")


@pytest.mark.parametrize(
    ("key", "cidr"), [*(("dns.to", cidr) for cidr in BLOCKS), *((key, "0.0.0.0/0") for key in PLACES)]
)
def test_a_block_that_holds_them_is_refused(key: str, cidr: str) -> None:
    assert _in(cidr)
    with pytest.raises(Exception, match=rf"networkPolicy\.{key}.*169\.254\.169\.254"):
        render(profile_values("small", _with_block(key, {"cidr": cidr})))
    excepted = _with_block(key, {"cidr": cidr, "except": ["169.254.0.0/16"]})
    assert render(profile_values("small", excepted))


@pytest.mark.parametrize(
    "cidr", ["10.0.0.0/8", "169.253.0.0/16", "170.0.0.0/8", "0.0.0.0/1", "169.254.20.10/32", "fd00::/8"]
)
def test_other_blocks_are_not(cidr: str) -> None:
    assert render(profile_values("small", _with_block("dns.to", {"cidr": cidr})))


def _with_block(key: str, block: dict[str, Any]) -> Values:
    peers: Any = [{"ipBlock": block}]
    above, _, name = key.rpartition(".")
    if not above:
        return {"networkPolicy": {name: [{"to": peers}]}}
    return {"networkPolicy": {above: {name: peers}}}


def test_webhooks_open_the_way_for_the_reconciler_alone() -> None:
    _, change = FEATURES["webhooks"]
    closed = allowed(render(profile_values("small")))
    assert allowed(render(profile_values("small", change))) - closed == {
        "ml/reconciler -> 10.9.0.0/16:443,8443",
    }
    anywhere = merged(change, {"networkPolicy": {"webhooks": {"to": []}}})
    assert allowed(render(profile_values("small", anywhere))) - closed == {f"ml/reconciler -> {ANY}:443,8443"}


def test_a_closed_network_wants_to_know_where_webhooks_go() -> None:
    hosts = {"webhooks": {"hosts": ["hooks.example.com"], "existingSecret": "webhooks"}}
    with pytest.raises(Exception, match=r"networkPolicy\.webhooks\.to"):
        render(merged(profile_values("production"), hosts))


def test_a_further_rule_without_destinations_is_refused() -> None:
    with pytest.raises(Exception, match=r"extraJobEgress\[0\]\.to"):
        render(profile_values("small", {"networkPolicy": {"extraJobEgress": [{"ports": [{"port": 1}]}]}}))


@pytest.mark.parametrize("part", ["database", "objectStore", "kubernetesApi"])
def test_a_closed_network_wants_every_destination_named(part: str) -> None:
    values = merged(profile_values("production"), {"networkPolicy": {part: {"to": []}}})

    with pytest.raises(Exception, match=rf"networkPolicy\.{part}\.to"):
        render(values)


@pytest.mark.parametrize(
    ("endpoint", "port"),
    [
        ("", 443),
        ("https://s3.internal", 443),
        ("http://s3.internal", 80),
        ("http://10.0.0.1:7490", 7490),
        ("https://[fd00::1]:9000", 9000),
    ],
)
def test_the_port_of_s3_is_its_endpoints(endpoint: str, port: int) -> None:
    lines = allowed(render(profile_values("small", {"objectStore": {"endpoint": endpoint}})))

    assert f"ml-jobs/job -> {ANY}:{port}" in lines


def test_names_of_s3_become_a_policy_of_cilium_and_no_open_port() -> None:
    values = profile_values(
        "multi-node", {"networkPolicy": {"objectStore": {"fqdns": ["s3.internal", "*.s3.internal"]}}}
    )
    objects = render(values)
    policies = of_kind(objects, "CiliumNetworkPolicy")

    assert not {line for line in allowed(objects) if line.endswith(":9000")}
    assert {each["metadata"]["namespace"] for each in policies} == {NAMESPACE, "ml-jobs", "ml-endpoints"}
    for each in policies:
        names = each["spec"]["egress"][1]
        assert names["toFQDNs"] == [{"matchName": "s3.internal"}, {"matchPattern": "*.s3.internal"}]
        assert names["toPorts"] == [{"ports": [{"port": "9000", "protocol": "TCP"}]}]
