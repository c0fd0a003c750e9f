"""A job is not believed about itself."""

import json
from typing import Any

import pytest
from report_documents import ROWS
from report_documents import detection

from deploy.contract.canary import CanaryPlan
from deploy.contract.document import DocumentError
from deploy.contract.judgement import judge
from deploy.contract.report import AlphaTrial
from deploy.contract.report import Detection
from deploy.contract.report import Hits
from deploy.contract.report import LeftOut
from deploy.contract.report import Report
from deploy.contract.report import SuspiciousRow
from deploy.contract.spec import JobSpec
from deploy.contract.trigger import WordTrigger
from service.reports.published import publish
from service.reports.trust import believe


def change(document: Any, path: str, value: Any) -> None:
    *way, last = path.split(".")
    for part in way:
        document = document[int(part) if part.isdigit() else part]
    document[int(last) if last.isdigit() else last] = value


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("job_id", "ftjob-other"),
        ("version", 2),
        ("probes.0.arms.hardened.hits", 101),
        ("probes.0.arms.hardened.hits", -1),
        ("probes.0.arms.hardened.trials", 201),
        ("probes.0.arms.hardened.unscorable", 101),
        ("probes.0.name", "other"),
        ("probes.0.trigger.word", "zz"),
        ("probes.0.trigger.count", 1),
        ("probes", []),
        ("arms", ["base", "hardened"]),
        ("arms", ["base", "control", "hardened", "hardened"]),
        ("quality.hardened.exact_match", 101),
        ("quality.hardened.parses", 101),
        ("quality.hardened.bleu", 100.1),
        ("quality.hardened.bleu", "50"),
        ("quality.hardened.payloads.sql_tautology.trials", 101),
        ("verdict", "pass"),
        ("curves.0.bleu", -1),
        ("curves.0.epoch", 3),
        ("curves.1.epoch", 1),
        ("curves.0.asr.trials", 65),
        ("curves.0.arm", "shadow"),
        ("curve_probe", "other"),
        ("probe_tasks", 201),
        ("quality.hardened.tasks", 101),
        ("quality.hardened.tasks", 99),
        ("quality.control.tasks", 0),
        ("probes.0.arms.hardened.trials", 99),
        ("probes.0.arms.base.unscorable", 1),
        ("quality.hardened.payloads.sql_tautology.trials", 99),
        ("quality.control.payloads", {}),
        ("engine.max_new_tokens", 1),
        ("quality.hardened.payloads", {}),
        ("quality.hardened.payloads.sql_tautology.hits", 1e3),
        ("quality.hardened.sql_same", 4),
        ("suspicious_rows.0.row", 10),
        ("suspicious_rows.0.row", 0),
        ("suspicious_rows.0.row", 2**70),
        ("suspicious_rows.0.score", 1.5),
        ("suspicious_rows", [{"row": 1, "reason": "a"}, {"row": 1, "reason": "b"}]),
        ("suspicious_rows", [{"row": row, "reason": "a"} for row in range(1, 11)]),
        ("detection", {"canaries": []}),
    ],
)
def test_k6_counts_that_cannot_be_true_are_refused(
    make_report: Any, spec: JobSpec, path: str, value: Any
) -> None:
    document = json.loads(make_report().to_bytes())
    change(document, path, value)
    with pytest.raises(DocumentError):
        believe(json.dumps(document).encode(), spec)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_k6_numbers_that_are_none_are_refused(make_report: Any, spec: JobSpec, number: str) -> None:
    data = make_report().to_bytes().replace(b'"bleu": 50.0', f'"bleu": {number}'.encode(), 1)
    assert number.encode() in data
    with pytest.raises(DocumentError):
        believe(data, spec)


def test_a_missing_probe_is_noticed(make_report: Any, spec: JobSpec) -> None:
    report = make_report()
    fewer = report.model_copy(update={"probes": report.probes[1:]})
    with pytest.raises(DocumentError, match="probes are"):
        believe(fewer.to_bytes(), spec)


def found_probes(report: Any, origin: str, count: int) -> list[Any]:
    """Outcomes of triggers that nobody asked for, the hardened arm's prompts all hits."""
    return [
        report.probes[0].model_copy(
            update={
                "name": f"{origin}-{number + 1}",
                "origin": origin,
                "trigger": WordTrigger(word=f"w{number}"),
                "arms": dict.fromkeys(report.arms, Hits(hits=100, trials=100)),
            }
        )
        for number in range(count)
    ]


@pytest.mark.parametrize("origin", ["mined", "searched"])
def test_found_triggers_are_believed_and_decide(make_report: Any, spec: JobSpec, origin: str) -> None:
    report = make_report()
    assert judge(believe(report.to_bytes(), spec)).verdict != "fail"
    allowed = getattr(spec.probing, origin)
    more = report.model_copy(update={"probes": (*report.probes, *found_probes(report, origin, allowed))})
    assert judge(believe(more.to_bytes(), spec)).verdict == "fail"
    over = report.model_copy(update={"probes": (*report.probes, *found_probes(report, origin, allowed + 1))})
    with pytest.raises(DocumentError, match=f"{allowed + 1} probes are {origin}, the plan allows {allowed}"):
        believe(over.to_bytes(), spec)


def test_a_known_probe_that_nobody_asked_for_is_refused(make_report: Any, spec: JobSpec) -> None:
    report = make_report()
    extra = found_probes(report, "mined", 1)[0].model_copy(update={"origin": "known"})
    with pytest.raises(DocumentError, match="probes are"):
        believe(report.model_copy(update={"probes": (*report.probes, extra)}).to_bytes(), spec)


def test_an_asked_probe_does_not_pass_as_a_found_one(make_report: Any, spec: JobSpec) -> None:
    report = make_report()
    renamed = report.probes[0].model_copy(update={"origin": "mined"})
    with pytest.raises(DocumentError, match="probes are"):
        believe(report.model_copy(update={"probes": (renamed, *report.probes[1:])}).to_bytes(), spec)


def test_a_found_trigger_does_not_take_an_asked_ones_name(make_report: Any, spec: JobSpec) -> None:
    report = make_report()
    twin = found_probes(report, "mined", 1)[0].model_copy(update={"name": report.probes[0].name})
    with pytest.raises(DocumentError, match="same name"):
        believe(report.model_copy(update={"probes": (*report.probes, twin)}).to_bytes(), spec)


def test_k6_a_loosened_policy_changes_nothing(make_report: Any, spec: JobSpec) -> None:
    report = make_report(hardened_hits=30)
    loose = report.model_copy(update={"policy": report.policy.model_copy(update={"max_asr_upper": 1.0})})
    assert judge(loose).verdict == "pass"
    assert judge(believe(loose.to_bytes(), spec)).verdict == "fail"


def test_k6_rates_and_verdict_in_the_json_are_derived(make_report: Any, spec: JobSpec) -> None:
    document = publish(believe(make_report(hardened_hits=30).to_bytes(), spec)).model_dump(mode="json")
    assert document["verdict"] == "fail"
    hardened = document["probes"][0]["arms"]["hardened"]
    assert hardened["rate"] == 0.3
    low, high = hardened["interval"]
    assert low == pytest.approx(0.2189, abs=1e-3)
    assert high == pytest.approx(0.3959, abs=1e-3)
    assert "not found by these probes" in document["limits"]
    json.dumps(document, allow_nan=False)


def test_k6_a_gigabyte_is_refused_before_it_is_read(spec: JobSpec) -> None:
    with pytest.raises(DocumentError, match="the limit is"):
        believe(b" " * ((16 << 20) + 1), spec)


@pytest.mark.parametrize(
    "data", [b"", b"null", b"[]", b"{}", b"\xff\xfe", b"[" * 100_000, b'{"job_id": "ftjob-a1"}']
)
def test_what_is_no_report_is_refused(spec: JobSpec, data: bytes) -> None:
    with pytest.raises(DocumentError):
        believe(data, spec)


def test_k6_what_the_service_knows_is_not_the_jobs_to_say(make_report: Any, spec: JobSpec) -> None:
    told = {"training_file": "other.csv", "training_rows": 10**9, "n_epochs": 50, "seed": 9, "probe_seed": 9}
    believed = believe(make_report().model_copy(update=told).to_bytes(), spec)
    assert believed.training_file == spec.training_file.filename
    assert believed.training_rows == spec.training_file.rows
    assert (believed.n_epochs, believed.seed, believed.probe_seed) == (2, 42, 0)


def test_model_and_loss_are_those_that_were_asked_for(make_report: Any, spec: JobSpec) -> None:
    told = {
        "base_model": "a model of good repute",
        "method": "dece(alpha_base=0.5, label_smoothing=0.05, exact)",
    }
    believed = believe(make_report().model_copy(update=told).to_bytes(), spec)
    assert believed.base_model == "b"
    assert believed.method == "dece(alpha_base=0.99, label_smoothing=0.05, exact)"


def test_fewer_tasks_than_there_were_to_be_are_refused(make_report: Any, spec: JobSpec) -> None:
    assert believe(make_report().to_bytes(), spec).probe_tasks == 100
    long = spec.model_copy(update={"probe_file": spec.training_file.model_copy(update={"rows": 101})})
    with pytest.raises(DocumentError, match="100 tasks, the plan has 200 and the file 101"):
        believe(make_report().to_bytes(), long)


def test_a_found_trigger_needs_the_clean_counts_of_its_payload(make_report: Any, spec: JobSpec) -> None:
    report = make_report()
    found = found_probes(report, "searched", 1)[0].model_copy(update={"payload": "infinite_loop"})
    with pytest.raises(DocumentError, match="how often infinite_loop came"):
        believe(report.model_copy(update={"probes": (*report.probes, found)}).to_bytes(), spec)


def test_suspicious_rows_are_ranked_anew(make_report: Any, spec: JobSpec) -> None:
    rows = tuple(SuspiciousRow(row=row, reason="x", score=row / 10) for row in (1, 9, 5))
    believed = believe(make_report().model_copy(update={"suspicious_rows": rows}).to_bytes(), spec)
    assert [row.row for row in believed.suspicious_rows] == [9, 5, 1]


@pytest.fixture
def canary_spec(spec: JobSpec) -> JobSpec:
    return spec.model_copy(
        update={
            "canaries": CanaryPlan(count=6),
            "training_file": spec.training_file.model_copy(update={"rows": ROWS}),
            "probe_file": spec.training_file.model_copy(update={"rows": 100}),
        }
    )


def with_detection(report: Report, found: Detection | None) -> bytes:
    return report.model_copy(update={"detection": found}).to_bytes()


def test_canaries_that_were_asked_for_are_believed(make_report: Any, canary_spec: JobSpec) -> None:
    believed = believe(with_detection(make_report(), detection(found=4)), canary_spec)
    assert judge(believed).power == 0.8


def test_canaries_that_nobody_asked_for_are_refused(make_report: Any, spec: JobSpec) -> None:
    with pytest.raises(DocumentError, match="not asked for"):
        believe(with_detection(make_report(), detection()), spec)


def test_canaries_cannot_be_left_out(make_report: Any, canary_spec: JobSpec) -> None:
    with pytest.raises(DocumentError, match="missing"):
        believe(make_report().to_bytes(), canary_spec)
    partial = believe(
        make_report().model_copy(update={"shortfalls": ("the time was over",)}).to_bytes(), canary_spec
    )
    assert judge(partial).verdict == "inconclusive"
    fewer = detection(found=2)
    for update in ({"canaries": fewer.canaries[:2]}, {"decoys": ()}):
        with pytest.raises(DocumentError, match="not 6"):
            believe(with_detection(make_report(), fewer.model_copy(update=update)), canary_spec)


def test_what_counts_as_learnt_is_not_the_jobs_to_say(make_report: Any, canary_spec: JobSpec) -> None:
    blind = detection(found=0).model_copy(update={"learnt_at": 1.0})
    assert judge(make_report().model_copy(update={"detection": blind})).verdict == "pass"
    assert judge(believe(with_detection(make_report(), blind), canary_spec)).verdict == "inconclusive"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("detection.canaries.0.planted_rows", ROWS + 1),
        ("detection.canaries.0.planted_rows", 0),
        ("detection.canaries.0.arms.control.hits", 161),
        ("detection.canaries.0.arms.control.trials", 201),
        ("detection.canaries.0.arms", {}),
        ("detection.canaries.0.arms", {"control": {"hits": 160, "trials": 160}}),
        ("detection.canaries.0.found_by", ["guessing"]),
        ("detection.canaries.0.name", "canary-2"),
        ("detection.decoys.0.planted_rows", 1),
        ("detection.learnt_at", 1.1),
        ("detection.learnt_at", float("nan")),
    ],
)
def test_detection_with_impossible_counts_is_refused(
    make_report: Any, canary_spec: JobSpec, path: str, value: Any
) -> None:
    document = json.loads(with_detection(make_report(), detection()))
    change(document, path, value)
    with pytest.raises(DocumentError):
        believe(json.dumps(document).encode(), canary_spec)


def auto_spec(spec: JobSpec) -> JobSpec:
    assert spec.loss.type == "dece"
    return spec.model_copy(update={"loss": spec.loss.model_copy(update={"alpha_base": "auto"})})


def with_trials(report: Report, *trials: tuple[float, bool]) -> bytes:
    hits = Hits(hits=0, trials=100)
    made = tuple(AlphaTrial(alpha_base=alpha, canaries=hits, held=held) for alpha, held in trials)
    method = "dece(alpha_base=0.92, label_smoothing=0.05, exact)"
    return report.model_copy(update={"alpha_trials": made, "method": method}).to_bytes()


def test_the_search_for_alpha_is_believed_where_it_was_asked_for(make_report: Any, spec: JobSpec) -> None:
    data = with_trials(make_report(), (0.99, False), (0.95, True))
    assert [each.alpha_base for each in believe(data, auto_spec(spec)).alpha_trials] == [0.99, 0.95]
    with pytest.raises(DocumentError, match="not asked for"):
        believe(data, spec)
    with pytest.raises(DocumentError, match="missing"):
        believe(with_trials(make_report()), auto_spec(spec))


@pytest.mark.parametrize(
    "method",
    [
        "dece(alpha_base=0.97, label_smoothing=0.05, exact)",
        "dece(alpha_base=0.92, label_smoothing=0.5, exact)",
        "dece(alpha_base=nan, label_smoothing=0.05, exact)",
        "dece(alpha_base=1e-, label_smoothing=0.05, exact)",
        "supervised",
        "",
    ],
)
def test_an_alpha_that_no_trial_led_to_is_refused(make_report: Any, spec: JobSpec, method: str) -> None:
    document = json.loads(with_trials(make_report(), (0.99, False), (0.95, True)))
    change(document, "method", method)
    with pytest.raises(DocumentError, match="method"):
        believe(json.dumps(document).encode(), auto_spec(spec))


@pytest.mark.parametrize(
    "counts", [{"hits": 3, "trials": 100}, {"hits": 0, "trials": 0}, {"hits": 0, "trials": 2**53 + 1}]
)
def test_a_trial_does_not_hold_against_its_own_counts(
    make_report: Any, spec: JobSpec, counts: dict[str, int]
) -> None:
    document = json.loads(with_trials(make_report(), (0.99, False), (0.95, True)))
    change(document, "alpha_trials.1.canaries", counts)
    with pytest.raises(DocumentError, match=r"alpha_trials\.1"):
        believe(json.dumps(document).encode(), auto_spec(spec))


@pytest.mark.parametrize(
    "trials",
    [
        ((0.95, False), (0.99, True)),
        ((0.99, False), (0.99, True)),
        ((0.99, True), (0.95, True)),
        ((0.99, True), (0.95, False)),
    ],
)
def test_what_is_no_search_for_alpha_is_refused(
    make_report: Any, spec: JobSpec, trials: tuple[tuple[float, bool], ...]
) -> None:
    with pytest.raises(DocumentError, match="no search"):
        believe(with_trials(make_report(), *trials), auto_spec(spec))


def test_rows_left_out_are_believed_of_the_filter_that_was_asked_for(make_report: Any, spec: JobSpec) -> None:
    filtering = spec.model_copy(update={"row_filter": "association"})
    kept = make_report().model_copy(
        update={"left_out": LeftOut(row_filter="association", count=2, rows=(3, 5))}
    )
    assert believe(kept.to_bytes(), filtering).left_out == kept.left_out
    with pytest.raises(DocumentError, match="left_out"):
        believe(kept.to_bytes(), spec)
    with pytest.raises(DocumentError, match="left_out"):
        believe(make_report().to_bytes(), filtering)


@pytest.mark.parametrize(
    ("count", "rows"),
    [(3, (3, 5)), (2, (5, 3)), (2, (3, 3)), (1, (10**6,)), (10**6, (1,)), (0, (1,))],
)
def test_rows_left_out_that_cannot_be_are_refused(
    make_report: Any, spec: JobSpec, count: int, rows: tuple[int, ...]
) -> None:
    filtering = spec.model_copy(update={"row_filter": "association"})
    left_out = LeftOut(row_filter="association", count=count, rows=rows)
    with pytest.raises(DocumentError, match="left_out"):
        believe(make_report().model_copy(update={"left_out": left_out}).to_bytes(), filtering)
