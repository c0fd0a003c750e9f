import pytest

from deploy.contract.plain_text import escape_controls
from deploy.contract.plain_text import spreadsheet_cell


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("a\tb", "a\tb"),
        ("\x1b]0;title\x07", "\\u{1b}]0;title\\u{7}"),
        ("\x1b[2J", "\\u{1b}[2J"),
        ("nul\x00", "nul\\u{0}"),
        ("c1\x9b31m", "c1\\u{9b}31m"),
        ("bidi\u202eevil", "bidi\\u{202e}evil"),
        ("zero\u200bwidth", "zero\\u{200b}width"),
        ("line\u2028separator", "line\\u{2028}separator"),
        ("größe 模型", "größe 模型"),
    ],
)
def test_k4_controls_are_shown_and_not_obeyed(text: str, shown: str) -> None:
    assert escape_controls(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        '=HYPERLINK("http://x","y")',
        "+1",
        "-1",
        "@SUM(A1)",
        "|calc",
        "%0a=1",
        "  =1+1",
        "\t=1+1",
        "\N{NO-BREAK SPACE}=1",
        "\N{FULLWIDTH EQUALS SIGN}1",
    ],
)
def test_k5_a_formula_is_quoted(text: str) -> None:
    assert spreadsheet_cell(text).startswith("'")


@pytest.mark.parametrize("text", ["", " ", "a=b", "row 1: or 1=1", "größe", "'quoted'"])
def test_what_is_no_formula_stays_as_it_is(text: str) -> None:
    assert spreadsheet_cell(text) == text


@pytest.mark.parametrize("text", ["a\nb", "a\r=1", "a\tb", "\x1b[2J", "\x00"])
def test_a_cell_is_one_line_without_controls(text: str) -> None:
    assert spreadsheet_cell(text).isprintable()
