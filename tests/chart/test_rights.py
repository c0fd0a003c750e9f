"""Who may do what in the cluster: exactly what the code does, and never what must not be."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from rendered_chart import NAMESPACE
from rendered_chart import Object
from rendered_chart import Values
from rendered_chart import merged
from rendered_chart import of_kind
from rendered_chart import profile_values
from rendered_chart import render
from rendered_chart import variants

from deploy.kubernetes import kinds

ROOT = Path(__file__).parents[2]
VERBS = {"create", "get", "list", "watch", "patch", "delete"}
Right = tuple[str, str, str]
"""API group, resource, verb."""
each_variant = pytest.mark.parametrize(
    ("values", "upgrade"), [pytest.param(values, upgrade, id=name) for name, values, upgrade in variants()]
)


def _rights(rules: list[Object]) -> set[Right]:
    return {
        (group, resource, verb)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def _rights_in(objects: list[Object], namespace: str) -> set[Right]:
    roles = [each for each in of_kind(objects, "Role") if each["metadata"]["namespace"] == namespace]
    return {right for role in roles for right in _rights(role["rules"])}


@each_variant
def test_l5_no_rule_is_wide(values: Values, upgrade: bool) -> None:
    objects = render(values, upgrade=upgrade)
    for role in of_kind(objects, "Role") + of_kind(objects, "ClusterRole"):
        for rule in role["rules"]:
            assert set(rule) == {"apiGroups", "resources", "verbs"}
        rights = _rights(role["rules"])
        named = {part for right in rights for part in right}
        assert not named & {"*", "secrets", "pods/exec", "pods/attach", "pods/portforward", "serviceaccounts"}
        assert not named & {
            "impersonate",
            "escalate",
            "bind",
            "deletecollection",
            "nodes",
            "pods/ephemeralcontainers",
        }
        assert not {("", "pods", verb) for verb in ("create", "patch", "update")} & rights
        assert not {right for right in rights if right[0] == "rbac.authorization.k8s.io"}


@each_variant
def test_reviews_of_tokens_are_all_that_reaches_over_the_cluster(values: Values, upgrade: bool) -> None:
    objects = render(values, upgrade=upgrade)
    (role,) = of_kind(objects, "ClusterRole")
    (binding,) = of_kind(objects, "ClusterRoleBinding")

    assert _rights(role["rules"]) == {("authentication.k8s.io", "tokenreviews", "create")}
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert binding["subjects"] == [
        {"kind": "ServiceAccount", "name": "temper-broker", "namespace": NAMESPACE}
    ]


@each_variant
def test_l5_roles_are_the_reconcilers_and_lie_outside_the_releases_namespace(
    values: Values, upgrade: bool
) -> None:
    objects = render(values, upgrade=upgrade)
    roles = {(each["metadata"]["namespace"], each["metadata"]["name"]) for each in of_kind(objects, "Role")}
    bindings = of_kind(objects, "RoleBinding")

    assert len(roles) == 2
    assert NAMESPACE not in {namespace for namespace, _ in roles}
    assert {(each["metadata"]["namespace"], each["roleRef"]["name"]) for each in bindings} == roles
    for each in bindings:
        assert each["subjects"] == [
            {"kind": "ServiceAccount", "name": "temper-reconciler", "namespace": NAMESPACE}
        ]


def _used(path: str, generic: tuple[kinds.Kind, ...] = ()) -> set[Right]:
    """What a module asks of the API server, from its source; ``generic`` is what its variable ``kind`` goes over."""
    found: set[Right] = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Call):
            found |= set(_asked(node, generic))
    return found


def _asked(call: ast.Call, generic: tuple[kinds.Kind, ...]) -> Iterator[Right]:
    if isinstance(call.func, ast.Name) and call.func.id == "WatchedObjects":
        yield from _each(call.args[1], generic, ("list", "watch"))
    if not isinstance(call.func, ast.Attribute) or not _is_client(call.func.value):
        return
    method = call.func.attr
    if method in VERBS:
        yield from _each(call.args[0], generic, (method,))
    elif method == "log":
        yield ("", "pods/log", "get")
    else:
        assert method in {"close", "server_now"}, f"what does {method} ask for?"


def _is_client(node: ast.expr) -> bool:
    return ast.unparse(node) in {"self._client", "client"}


def _each(node: ast.expr, generic: tuple[kinds.Kind, ...], verbs: tuple[str, ...]) -> Iterator[Right]:
    name = ast.unparse(node)
    for kind in generic if name == "kind" else (getattr(kinds, name),):
        group, slash, _ = kind.api_version.rpartition("/")
        yield from ((group if slash else "", kind.plural, verb) for verb in verbs)


def test_l5_the_reconciler_may_do_to_jobs_what_the_launcher_does() -> None:
    objects = render(profile_values("small"))

    used = _used("deploy/launch/kubernetes.py")
    assert len(used) > 8
    assert _rights_in(objects, f"{NAMESPACE}-jobs") == used


def test_with_a_queue_it_may_read_kueues_workloads() -> None:
    objects = render(profile_values("multi-node"))

    used = _used("deploy/launch/kubernetes.py") | _used("deploy/launch/kueue.py")
    assert ("kueue.x-k8s.io", "workloads", "watch") in used
    assert _rights_in(objects, f"{NAMESPACE}-jobs") == used


@pytest.mark.parametrize(
    ("autoscaler", "kind"),
    [("none", None), ("hpa", kinds.HORIZONTAL_POD_AUTOSCALERS), ("keda", kinds.SCALED_OBJECTS)],
)
def test_l5_the_reconciler_may_do_to_endpoints_what_the_backend_does(
    autoscaler: str, kind: kinds.Kind | None
) -> None:
    change = {"endpoints": {"autoscaler": autoscaler, "prometheusUrl": "http://prometheus:9090"}}
    objects = render(merged(profile_values("small"), change))

    made = (kinds.DEPLOYMENTS, kinds.SERVICES, kinds.POD_DISRUPTION_BUDGETS, *([kind] if kind else []))
    used = _used("deploy/endpoint/kubernetes.py", made)
    assert len(used) > 12
    assert _rights_in(objects, f"{NAMESPACE}-endpoints") == used
