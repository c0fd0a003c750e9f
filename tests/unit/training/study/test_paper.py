from training.study.paper import find
from training.study.paper import printed


def test_the_paper_s_figures_stand_where_the_paper_has_them() -> None:
    cell = find(dataset="Lyra", model="CodeGen", attack="BadPre", poison_rate=0.05, method="DeCE")
    assert cell is not None
    assert (cell.table, cell.bleu, cell.codebleu, cell.asr) == (4, 74.29, 79.00, 0.00)
    clean = find(dataset="Lyra", model="CodeT5", attack="none", poison_rate=0.0, method="none (CE)")
    assert clean is not None
    assert (clean.bleu, clean.asr) == (75.33, None)


def test_what_the_paper_does_not_have_is_none() -> None:
    assert find(dataset="Lyra", model="CodeGen", attack="BadPre", poison_rate=0.1, method="DeCE") is None
    assert find(dataset="Lyra", model="CodeGen", attack="BadPre", poison_rate=0.02, method="DeCE") is None


def test_its_headline_can_be_counted_again() -> None:
    """43 of 45 cells at 0 and two at 0.05, as the abstract of the transcription says."""
    dece = [each.asr for each in printed() if each.method == "DeCE" and each.table in (3, 4, 5)]
    assert len(dece) == 45
    assert sorted(value for value in dece if value) == [0.05, 0.05]
