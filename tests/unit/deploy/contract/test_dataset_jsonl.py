import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.contract.dataset import MAX_RECORD_BYTES
from deploy.contract.dataset import MAX_ROW_BYTES
from deploy.contract.dataset import DatasetError
from deploy.contract.dataset import Row
from deploy.contract.dataset import read_rows
from deploy.contract.dataset import render_prompt
from deploy.contract.dataset import row as row_module

GOOD = b'{"prompt":"p","completion":"c"}\n'


def read(data: bytes) -> list[Row]:
    return list(read_rows([data], format="jsonl"))


def refusal(data: bytes) -> DatasetError:
    with pytest.raises(DatasetError) as caught:
        read(data)
    return caught.value


def chat(*messages: tuple[str, Any], **extra: Any) -> bytes:
    value = {"messages": [{"role": role, "content": content} for role, content in messages], **extra}
    return json.dumps(value).encode() + b"\n"


def test_numbers_are_those_of_lines() -> None:
    assert read(GOOD + b"\n  \r\n" + GOOD.strip()) == [
        Row(number=1, line=1, prompt="p", completion="c"),
        Row(number=4, line=4, prompt="p", completion="c"),
    ]


def test_c2_a_mark_and_windows_line_ends_are_accepted() -> None:
    assert len(read(b"\xef\xbb\xbf" + GOOD.replace(b"\n", b"\r\n") * 2)) == 2


def test_text_is_kept_as_it_is() -> None:
    text = " a\r\n\tb\u2028c\x85 \U0001f600 "
    (row,) = read(json.dumps({"prompt": text, "completion": text}, ensure_ascii=False).encode())
    assert (row.prompt, row.completion) == (text, text)


@pytest.mark.parametrize(
    ("line", "code", "field", "said"),
    [
        (b'{"prompt":"p","completion":""}', "empty_field", "completion", "is empty"),
        (b'{"prompt":"","completion":"c"}', "empty_field", "prompt", "is empty"),
        (b'{"prompt":"p","completion":" \\n\\t"}', "empty_field", "completion", "only white space"),
        (b'{"prompt":null,"completion":"c"}', "null_field", "prompt", "is null"),
        (b'{"prompt":1,"completion":"c"}', "wrong_type", "prompt", "not a number"),
        (b'{"prompt":1.5,"completion":"c"}', "wrong_type", "prompt", "not a number"),
        (b'{"prompt":true,"completion":"c"}', "wrong_type", "prompt", "not a boolean"),
        (b'{"prompt":["p"],"completion":"c"}', "wrong_type", "prompt", "not a list"),
        (b'{"prompt":{},"completion":"c"}', "wrong_type", "prompt", "not an object"),
        (b'{"prompt":"p"}', "missing_field", "completion", "is missing"),
        (b"{}", "missing_field", "prompt", "is missing"),
        (b'{"prompt":"p","completion":"c","x":1}', "unknown_field", '"x"', "is not known"),
        (b'{"messages":[],"prompt":"p"}', "unknown_field", '"prompt"', "a row has messages"),
        (b'{"prompt":"p","prompt":"q","completion":"c"}', "duplicate_key", None, '"prompt" occurs twice'),
        (b'{"prompt":NaN,"completion":"c"}', "not_a_number", None, "NaN"),
        (b'{"prompt":-Infinity,"completion":"c"}', "not_a_number", None, "-Infinity"),
        (b'{"prompt":1e999,"completion":"c"}', "not_a_number", None, "1e999"),
        (b'{"prompt":"\\ud800","completion":"c"}', "lone_surrogate", "prompt", "\\ud800"),
        (b'{"prompt":"p","completion":"a\\u0000"}', "nul_character", "completion", "NUL"),
        (b'{"prompt":"p\0","completion":"a"}', "invalid_encoding", None, "NUL byte at column 13"),
        (b'{"prompt":"caf\xe9","completion":"c"}', "invalid_encoding", None, "0xe9 at column 15"),
        (b'{"prompt":"\xed\xa0\x80","completion":"c"}', "invalid_encoding", None, "not valid UTF-8"),
        (b"[" * 5000, "nested_too_deeply", None, "nested too deeply"),
        (b'{"prompt":' + b"[" * 200 + b"]" * 200 + b"}", "missing_field", "completion", "is missing"),
        (b"{prompt: 1}", "invalid_json", None, "column 2"),
        (b'"text"', "wrong_type", None, "must be a JSON object"),
        (b"17", "wrong_type", None, "must be a JSON object"),
    ],
)
def test_c4_each_fault_names_row_field_and_reason(
    line: bytes, code: str, field: str | None, said: str
) -> None:
    error = refusal(GOOD * 16 + line + b"\n" + GOOD)
    assert (error.code, error.row, error.field) == (code, 17, field)
    assert said in str(error)
    assert str(error).startswith("row 17")


def test_the_message_reads_as_promised() -> None:
    assert str(refusal(GOOD * 16 + b'{"prompt":"p","completion":""}')) == "row 17, field completion: is empty"


@pytest.mark.parametrize("cut", range(1, len(GOOD) - 2))
def test_c10_a_file_cut_anywhere_in_its_last_record_is_told(cut: int) -> None:
    error = refusal(GOOD + GOOD[: cut + 1])
    assert (error.code, error.row) == ("incomplete_record", 2)


def test_an_over_long_line_is_refused() -> None:
    assert refusal(GOOD + b'{"prompt":"' + b"a" * MAX_RECORD_BYTES + b'"}\n').code == "row_too_long"
    assert refusal(GOOD + b" " * (MAX_RECORD_BYTES + 1) + b"\n").row == 2


def test_an_over_long_row_is_refused_and_the_longest_is_taken() -> None:
    def line(size: int) -> bytes:
        return b'{"prompt":"p","completion":"' + b"a" * (size - 1) + b'"}\n'

    assert len(read(line(MAX_ROW_BYTES))[0].completion) == MAX_ROW_BYTES - 1
    error = refusal(line(MAX_ROW_BYTES + 1))
    assert (error.code, error.row) == ("row_too_long", 1)
    assert str(MAX_ROW_BYTES) in str(error)


def test_c1_an_endless_line_is_left_after_the_limit() -> None:
    given_bytes = 0

    def endless() -> Iterator[bytes]:
        nonlocal given_bytes
        while True:
            given_bytes += 1 << 16
            yield b"a" * (1 << 16)

    with pytest.raises(DatasetError, match="without a line break"):
        list(read_rows(endless(), format="jsonl"))
    assert given_bytes <= MAX_RECORD_BYTES + (2 << 16)


def test_too_many_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_module, "MAX_ROWS", 3)
    assert len(read(GOOD * 3)) == 3
    error = refusal(GOOD * 4)
    assert (error.code, error.row) == ("too_many_rows", 4)
    assert refusal(GOOD + b"\n" * 10).code == "too_many_rows"


def test_a_single_user_message_is_its_plain_text() -> None:
    (row,) = read(chat(("user", "q"), ("assistant", "a")))
    assert (row.prompt, row.completion) == ("q", "a")
    assert render_prompt(["q"]) == "q"


def test_messages_before_the_last_make_the_prompt() -> None:
    (row,) = read(chat(("system", "s"), ("user", "q"), ("assistant", "a"), ("user", "r"), ("assistant", "b")))
    assert (row.prompt, row.completion) == ("s\n\nq\n\na\n\nr", "b")


@pytest.mark.parametrize(
    ("line", "code", "field"),
    [
        (chat(("user", "q")), "invalid_messages", "messages"),
        (b'{"messages":[]}', "invalid_messages", "messages"),
        (b'{"messages":null}', "null_field", "messages"),
        (b'{"messages":"hello"}', "wrong_type", "messages"),
        (b'{"messages":["a","b"]}', "wrong_type", "messages[0]"),
        (chat(("user", "q"), ("assistant", "a"), ("user", "r")), "invalid_messages", "messages[2].role"),
        (chat(("system", "q"), ("assistant", "a")), "invalid_messages", "messages"),
        (chat(("user", "q"), ("system", "s"), ("assistant", "a")), "invalid_messages", "messages[1].role"),
        (chat(("tool", "q"), ("assistant", "a")), "invalid_messages", "messages[0].role"),
        (chat(("user", "q"), ("assistant", "")), "empty_field", "messages[1].content"),
        (chat(("user", ""), ("assistant", "a")), "empty_field", "messages[0].content"),
        (chat(("user", "q"), ("assistant", None)), "null_field", "messages[1].content"),
        (
            chat(("user", [{"type": "text", "text": "q"}]), ("assistant", "a")),
            "wrong_type",
            "messages[0].content",
        ),
        (chat(("user", "q"), ("assistant", "a"), tools=[]), "unknown_field", '"tools"'),
        (
            b'{"messages":[{"role":"user"},{"role":"assistant","content":"a"}]}',
            "missing_field",
            "messages[0].content",
        ),
        (b'{"messages":[{"role":"user","content":"q","weight":1},{}]}', "unknown_field", "messages[0]"),
        (chat(*[("user", "q")] * 3000, ("assistant", "a")), "invalid_messages", "messages"),
    ],
)
def test_messages_are_checked(line: bytes, code: str, field: str) -> None:
    error = refusal(GOOD + line)
    assert (error.code, error.row, error.field) == (code, 2, field)


_text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1).filter(
    lambda text: not text.isspace()
)


@given(st.lists(st.tuples(_text, _text), min_size=1), st.booleans(), st.integers(1, 50))
def test_round_trip_in_chunks_of_any_size(pairs: list[tuple[str, str]], escape: bool, size: int) -> None:
    lines = [json.dumps({"prompt": p, "completion": c}, ensure_ascii=escape) for p, c in pairs]
    data = "\n".join(lines).encode()
    chunks = [data[at : at + size] for at in range(0, len(data), size)]
    assert [(row.prompt, row.completion) for row in read_rows(chunks, format="jsonl")] == pairs


_fragments = st.sampled_from(
    [GOOD, b"{", b"}", b'"', b"\\u", b"d800", b"[", b"]", b"\n", b"\r", b"\0", b"\xff", b"\xef\xbb\xbf", b",", b":",
     b'"prompt"', b'"completion"', b'"messages"', b'{"role":"user","content":"q"}', b"NaN", b"1e999", b"null"]
)  # fmt: skip


@given(st.lists(_fragments | st.binary(max_size=4), max_size=20).map(b"".join))
def test_nothing_else_is_ever_raised(data: bytes) -> None:
    try:
        rows = read(data)
    except DatasetError:
        return
    assert all(row.prompt.strip() and row.completion.strip() for row in rows)
    assert rows
