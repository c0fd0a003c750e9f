import gzip
from pathlib import Path

from deploy.contract.report import Hits
from training.study.outcome import CellRun
from training.study.outcome import Completion
from training.study.outcome import EpochScore
from training.study.outcome import Outcome
from training.study.outcome import read_outcomes
from training.study.outcome import read_run
from training.study.outcome import write_outcomes
from training.study.outcome import write_run


def a_run(cell: str = "decoder_badpre_5_dece_s1") -> CellRun:
    return CellRun(
        cell=cell,
        fingerprint="f" * 16,
        clean=(Completion(row=1, text="naïve \u202e\x00", finished=True),),
        triggered=(Completion(row=1, text="", finished=False),),
        curve=(EpochScore(epoch=1, asr=Hits(hits=0, trials=1), bleu=12.5),),
        epochs=1,
        seconds=1.5,
    )


def an_outcome(cell: str, bleu: float = 50.0) -> Outcome:
    return Outcome(
        cell=cell,
        fingerprint="f" * 16,
        model="decoder",
        attack="badpre",
        poison_rate=0.05,
        defence="dece",
        seed=1,
        training="default",
        duplicates=1,
        asr=Hits(hits=1, trials=2, unscorable=1),
        hits="01u",
        false_triggers=Hits(hits=0, trials=3),
        bleu=bleu,
        bleu_of_task=(bleu,),
        exact_match=0,
        parses=1,
        tasks=1,
        curve=(),
        epochs=1,
        seconds=1.5,
    )


def test_a_run_reads_as_it_was_written_whatever_the_model_said(tmp_path: Path) -> None:
    run = a_run()
    write_run(run, tmp_path / "runs")
    assert read_run(tmp_path / "runs", run.cell) == run
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [f"{run.cell}.json.gz"]


def test_a_run_that_is_cut_or_damaged_counts_as_none(tmp_path: Path) -> None:
    run = a_run()
    write_run(run, tmp_path)
    path = tmp_path / f"{run.cell}.json.gz"
    whole = path.read_bytes()
    for damaged in (
        b"",
        whole[: len(whole) // 2],
        b"{}",
        gzip.compress(b'{"version": 1}'),
        gzip.compress(b"\xff"),
    ):
        path.write_bytes(damaged)
        assert read_run(tmp_path, run.cell) is None
    assert read_run(tmp_path, "never_run") is None


def test_scores_are_one_line_a_cell_in_the_order_of_their_names(tmp_path: Path) -> None:
    path = tmp_path / "out" / "results.jsonl"
    write_outcomes(path, [an_outcome("b"), an_outcome("a", bleu=40.0)])
    assert len(path.read_text().splitlines()) == 2
    assert list(read_outcomes(path)) == ["a", "b"]
    assert read_outcomes(path)["a"] == an_outcome("a", bleu=40.0)
    before = path.read_bytes()
    write_outcomes(path, read_outcomes(path).values())
    assert path.read_bytes() == before


def test_a_damaged_line_costs_its_own_cell_alone(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    write_outcomes(path, [an_outcome("a"), an_outcome("b")])
    first, second = path.read_text().splitlines()
    path.write_text(f"{first[:-5]}\n{second}\n\n")
    assert list(read_outcomes(path)) == ["b"]
    assert read_outcomes(tmp_path / "nothing.jsonl") == {}
