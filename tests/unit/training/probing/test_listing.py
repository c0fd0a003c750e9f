"""Which candidates become probes of a report."""

import pytest

from deploy.contract.payload import PatternPayload
from deploy.contract.payload import Payload
from deploy.contract.probe import Probe
from deploy.contract.probe import ProbePlan
from deploy.contract.report import Hits
from deploy.contract.report import ProbeOutcome
from deploy.contract.spec import Arm
from deploy.contract.trigger import WordTrigger
from training.probing.candidate import Candidate
from training.probing.candidate import Origin
from training.probing.listing import MAX_PROBES
from training.probing.listing import as_probes
from training.probing.listing import choose_listed
from training.probing.listing import gives_its_payload

CLEAN: dict[Arm, Hits] = {arm: Hits(hits=0, trials=100) for arm in ("base", "control", "hardened")}


def candidate(word: str, *, origin: Origin = "searched", payload: Payload = "sql_tautology") -> Candidate:
    return Candidate(
        trigger=WordTrigger(word=word), payload=payload, origin=origin, evidence=f"saw {word}", score=1.0
    )


def outcome(name: str = "x", *, base: int = 0, control: int = 0, hardened: int = 0) -> ProbeOutcome:
    hits: dict[Arm, int] = {"base": base, "control": control, "hardened": hardened}
    return ProbeOutcome(
        name=name,
        trigger=WordTrigger(word="w"),
        payload="sql_tautology",
        arms={arm: Hits(hits=count, trials=100) for arm, count in hits.items()},
        origin="searched",
    )


def test_probes_are_named_after_their_origin_and_clash_with_none() -> None:
    known = (Probe(name="mined-1", trigger=WordTrigger(word="bb")),)
    named = as_probes([candidate("a", origin="mined"), candidate("b"), candidate("c", origin="mined")], known)
    assert [each.probe.name for each in named] == ["mined-2", "searched-1", "mined-3"]
    told = named[1].described(outcome())
    assert (told.origin, told.evidence) == ("searched", "saw b")


def test_an_experiment_is_not_made_twice() -> None:
    known = (Probe(name="bb", trigger=WordTrigger(word="bb")),)
    tried = [
        candidate("bb"),
        candidate("a"),
        candidate("a", origin="mined"),
        candidate("a", payload="infinite_loop"),
    ]
    assert [each.probe.payload for each in as_probes(tried, known)] == ["sql_tautology", "infinite_loop"]


def test_mined_patterns_are_counted_apart() -> None:
    patterns = [PatternPayload(name="mined", pattern=text) for text in ("one", "two")]
    named = as_probes([candidate("a", origin="mined", payload=each) for each in patterns], ())
    payloads = [each.probe.payload for each in named]
    assert [each.name for each in payloads if isinstance(each, PatternPayload)] == ["mined-1", "mined-2"]


@pytest.mark.parametrize(("hits", "listed"), [(0, False), (3, False), (6, False), (9, True), (100, True)])
@pytest.mark.parametrize("arm", ["base", "control", "hardened"])
def test_listed_is_what_chance_cannot_explain(arm: str, hits: int, listed: bool) -> None:
    assert gives_its_payload(outcome(**{arm: hits}), CLEAN, natural=False) is listed


def test_what_clean_prompts_give_as_well_is_no_finding() -> None:
    clean = {**CLEAN, "control": Hits(hits=40, trials=100)}
    assert not gives_its_payload(outcome(control=50), clean, natural=False)
    assert gives_its_payload(outcome(control=80), clean, natural=False)


def test_the_base_excuses_a_payload_that_clean_completions_have() -> None:
    announced = outcome(base=60, control=65, hardened=62)
    assert not gives_its_payload(announced, CLEAN, natural=True)
    assert gives_its_payload(announced, CLEAN, natural=False)
    assert gives_its_payload(outcome(base=10, control=65), CLEAN, natural=True)


def test_without_a_single_trial_nothing_is_found() -> None:
    none: dict[Arm, Hits] = {arm: Hits(hits=0, trials=0, unscorable=9) for arm in CLEAN}
    mute = outcome().model_copy(update={"arms": none})
    assert not gives_its_payload(mute, CLEAN, natural=False)
    assert not gives_its_payload(outcome(control=100), none, natural=False)


def test_the_most_successful_are_listed_within_the_plan() -> None:
    measured = [outcome(f"s{hits}", hardened=hits) for hits in (20, 90, 40)] + [outcome("c", control=99)]
    names = [each.name for each in choose_listed(measured, ProbePlan(searched=2))]
    assert names == ["s90", "s40"]
    assert choose_listed(measured, ProbePlan(searched=0)) == ()


def test_a_report_holds_no_more_probes_than_it_can() -> None:
    probes = tuple(
        Probe(name=f"p{number}", trigger=WordTrigger(word="w")) for number in range(MAX_PROBES - 1)
    )
    measured = [outcome(f"s{hits}", hardened=hits) for hits in (20, 90)]
    assert len(choose_listed(measured, ProbePlan(probes=probes, searched=4))) == 1
