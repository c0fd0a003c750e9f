import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.contract.dataset import MAX_RECORD_BYTES
from deploy.contract.dataset import DatasetError
from deploy.contract.dataset import Row
from deploy.contract.dataset import read_rows
from deploy.contract.dataset import row as row_module

LYRA = Path(__file__).resolve().parents[5] / "shared" / "data" / "lyra"


def read(data: bytes, **columns: str) -> list[Row]:
    return list(read_rows([data], format="csv", **columns))


def refusal(data: bytes, **columns: str) -> DatasetError:
    with pytest.raises(DatasetError) as caught:
        read(data, **columns)
    return caught.value


def test_rows_are_counted_without_the_header_and_lines_with_it() -> None:
    assert read(b'src,tgt\na,b\n\n"c\nd",""" ,"\ne,f') == [
        Row(number=1, line=2, prompt="a", completion="b"),
        Row(number=2, line=4, prompt="c\nd", completion='" ,'),
        Row(number=3, line=6, prompt="e", completion="f"),
    ]


def test_a_mark_windows_line_ends_and_other_columns_are_accepted() -> None:
    (row,) = read(b'\xef\xbb\xbfid,tgt,src\r\n7,"b\r\nb",a\r\n')
    assert (row.prompt, row.completion) == ("a", "b\r\nb")


def test_columns_can_be_named() -> None:
    (row,) = read(b"nl,code\na,b\n", prompt_column="nl", completion_column="code")
    assert (row.prompt, row.completion) == ("a", "b")


def test_prompt_and_completion_do_as_well() -> None:
    (row,) = read(b"completion,prompt\nb,a\n")
    assert (row.prompt, row.completion) == ("a", "b")


@pytest.mark.parametrize(
    ("data", "code", "row", "line", "field", "said"),
    [
        (b"src,tgt\na,b\n,b\n", "empty_field", 2, 3, "src", "row 2 (line 3), field src: is empty"),
        (b"src,tgt\na,\n", "empty_field", 1, 2, "tgt", "is empty"),
        (b'src,tgt\na,"  "\n', "empty_field", 1, 2, "tgt", "white space"),
        (b"src,tgt\na\n", "missing_field", 1, 2, None, "has 1 fields, the header has 2"),
        (b"src,tgt\na,b,c\n", "missing_field", 1, 2, None, "has 3 fields"),
        (b"src,code\na,b\n", "missing_column", None, None, "tgt", '"src", "code"'),
        (b"src,src,tgt\na,b,c\n", "duplicate_column", None, None, "src", "more than once"),
        (b'src,tgt\na,"b\n', "incomplete_record", 1, 2, None, "in the middle"),
        (b'src,tgt\na,"b"c\n', "invalid_csv", 1, 2, None, "not valid CSV"),
        (b"src,tgt\na\rb,c\n", "invalid_csv", 1, 2, None, "carriage return"),
        (b"src,tgt\na,b\nc,d\0\n", "invalid_encoding", None, 3, None, "NUL byte"),
        (b"src,tgt\na,caf\xe9\n", "invalid_encoding", None, 2, None, "Latin-1"),
        (b"src;tgt\na;b\n", "wrong_format", None, None, None, "semicolons"),
        (b"src\ttgt\na\tb\n", "wrong_format", None, None, None, "tab-separated"),
        (b'{"prompt":"a","completion":"b"}\n', "wrong_format", None, None, None, "JSON Lines: name it .jsonl"),
        (b'[{"src":"a"}]', "wrong_format", None, None, None, "JSON array"),
        (b"- src: a\n  tgt: b\n", "wrong_format", None, None, None, "YAML"),
        (b"<html><body>", "wrong_format", None, None, None, "HTML"),
        (b"src,tgt\n", "empty_file", None, None, None, "no rows"),
        (b"messages,x\na,b\n", "unsupported_column", None, None, "messages", "JSONL"),
        (b"," * 2000 + b"\n", "invalid_csv", None, None, None, "2001 columns"),
    ],
)  # fmt: skip
def test_c4_each_fault_says_where_and_what(
    *, data: bytes, code: str, row: int | None, line: int | None, field: str | None, said: str
) -> None:
    error = refusal(data)
    assert (error.code, error.row, error.line, error.field) == (code, row, line, field)
    assert said in str(error)


@pytest.mark.parametrize(
    "names", [("", "tgt"), ("src", "src"), ("a\nb", "tgt"), ("src", "x" * 200), ("src", "\0")]
)
def test_impossible_column_names(names: tuple[str, str]) -> None:
    assert (
        refusal(b"src,tgt\na,b\n", prompt_column=names[0], completion_column=names[1]).code
        == "invalid_column_name"
    )


def test_a_quote_left_open_does_not_swallow_the_file() -> None:
    error = refusal(b'src,tgt\na,b\nc,"d\n' + b"e,f\n" * (MAX_RECORD_BYTES // 4))
    assert (error.code, error.row, error.line) == ("row_too_long", 2, 3)
    assert "quotation mark" in str(error)


def test_a_long_field_below_the_limit_is_read() -> None:
    # Above the csv module's own limit of 128 KiB.
    assert len(read(b"src,tgt\na," + b"b" * 200_000)[0].completion) == 200_000


def test_blank_lines_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_module, "MAX_ROWS", 10)
    assert len(read(b"src,tgt\n" + b"a,b\n" * 10)) == 10
    assert refusal(b"src,tgt\na,b\n" + b"\n" * 11).code == "too_many_rows"
    assert refusal(b"src,tgt\n" + b"a,b\n" * 11).code == "too_many_rows"


@pytest.mark.skipif(not LYRA.is_dir(), reason="the Lyra data are not beside this checkout")
@pytest.mark.parametrize("name", ["train", "train_badpre_1", "train_badpre_5", "train_ripple_5"])
def test_lyra_is_read_whole(name: str) -> None:
    rows = list(read_rows(LYRA / f"{name}.csv", format="csv"))
    assert [row.number for row in rows] == list(range(1, 1601))
    with (LYRA / f"{name}.csv").open(newline="", encoding="utf-8") as stream:
        assert [(row.prompt, row.completion) for row in rows] == [
            (each["src"], each["tgt"]) for each in csv.DictReader(stream)
        ]


_text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1).filter(
    lambda text: not text.isspace()
)


@given(st.lists(st.tuples(_text, _text), min_size=1), st.sampled_from(["\n", "\r\n"]), st.integers(1, 50))
def test_round_trip_in_chunks_of_any_size(pairs: list[tuple[str, str]], end: str, size: int) -> None:
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator=end, quoting=csv.QUOTE_ALL).writerows([("src", "tgt"), *pairs])
    data = out.getvalue().encode()
    chunks = [data[at : at + size] for at in range(0, len(data), size)]
    assert [(row.prompt, row.completion) for row in read_rows(chunks, format="csv")] == pairs


_fragments = st.sampled_from(
    [b"src", b"tgt", b",", b'"', b"\n", b"\r", b"\r\n", b"a", b"\0", b"\xff", b";", b"src,tgt\n"]
)


@given(st.lists(_fragments | st.binary(max_size=3), max_size=25).map(b"".join), st.booleans())
def test_nothing_else_is_ever_raised(data: bytes, header: bool) -> None:
    try:
        rows = read(b"src,tgt\n" + data if header else data)
    except DatasetError:
        return
    assert [row.number for row in rows] == list(range(1, len(rows) + 1))
