import pytest

from training.metrics.indentation import with_plain_indentation


@pytest.mark.parametrize(
    ("source", "plain"),
    [
        ("a", "a"),
        ("\t \t a", "  a"),
        ("    a\n  b", "    a\n  b"),
        ("\ta\n\t b \t", " a\n b \t"),
        ("", ""),
        ("\n\t\n", "\n \n"),
    ],
)
def test_tabs_count_and_spaces_beside_them_do_not(source: str, plain: str) -> None:
    assert with_plain_indentation(source) == plain
