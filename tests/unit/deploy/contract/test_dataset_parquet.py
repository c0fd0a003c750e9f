from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deploy.contract.dataset import DatasetError
from deploy.contract.dataset import Row
from deploy.contract.dataset import parquet as parquet_module
from deploy.contract.dataset import read_rows
from deploy.contract.dataset import row as row_module


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data.parquet"


def write(path: Path, columns: dict[str, Any], **options: Any) -> None:
    pq.write_table(pa.table(columns), path, **options)


def read(path: Path, **columns: str) -> list[Row]:
    return list(read_rows(path, format="parquet", **columns))


def refusal(path: Path) -> DatasetError:
    with pytest.raises(DatasetError) as caught:
        read(path)
    return caught.value


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_columns_of_text_are_read(path: Path, kind: Any) -> None:
    texts = [f"text {number} \n é" for number in range(1000)]
    array = pa.array(texts, pa.string()).cast(kind)
    write(path, {"id": list(range(1000)), "src": array, "tgt": array}, row_group_size=300)
    assert read(path) == [
        Row(number=number, prompt=text, completion=text) for number, text in enumerate(texts, start=1)
    ]


def test_columns_can_be_named_and_prompt_and_completion_do_as_well(path: Path) -> None:
    write(path, {"prompt": ["a"], "completion": ["b"], "c": ["d"]})
    assert read(path) == [Row(number=1, prompt="a", completion="b")]
    assert read(path, prompt_column="c", completion_column="prompt") == [
        Row(number=1, prompt="d", completion="a")
    ]


@pytest.mark.parametrize(
    ("columns", "code", "row", "field"),
    [
        ({"src": ["a", "b"], "tgt": ["c", None]}, "null_field", 2, "tgt"),
        ({"src": ["a", ""], "tgt": ["c", "d"]}, "empty_field", 2, "src"),
        ({"src": [1], "tgt": ["c"]}, "wrong_type", None, "src"),
        ({"src": [b"a"], "tgt": ["c"]}, "wrong_type", None, "src"),
        ({"src": ["a"], "tgt": [["c"]]}, "wrong_type", None, "tgt"),
        ({"src": ["a"]}, "missing_column", None, "tgt"),
        ({"messages": [[{"role": "user", "content": "a"}]]}, "unsupported_column", None, "messages"),
        ({"src": pa.array([], pa.string()), "tgt": pa.array([], pa.string())}, "empty_file", None, None),
        ({"src": ["a"], "tgt": ["x" * 300_000]}, "row_too_long", 1, None),
        ({"src": ["a"], "tgt": ["x\0"]}, "nul_character", 1, "tgt"),
    ],
)
def test_c4_each_fault_says_where_and_what(
    path: Path, columns: dict[str, Any], code: str, row: int | None, field: str | None
) -> None:
    write(path, columns)
    error = refusal(path)
    assert (error.code, error.row, error.field) == (code, row, field)


def test_text_that_is_not_utf8(path: Path) -> None:
    bad = pa.array([b"caf\xe9"]).view(pa.string())
    write(path, {"src": bad, "tgt": ["a"]})
    assert refusal(path).code == "invalid_encoding"


def test_a_file_cut_short(path: Path) -> None:
    write(path, {"src": ["a"], "tgt": ["b"]})
    whole = path.read_bytes()
    for size in (4, 11, 12, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        assert refusal(path).code in {"incomplete_record", "invalid_parquet"}


def test_a_footer_that_claims_too_much(path: Path) -> None:
    write(path, {"src": ["a"], "tgt": ["b"]})
    whole = path.read_bytes()
    path.write_bytes(whole[:-8] + (1 << 31).to_bytes(4, "little") + b"PAR1")
    assert "footer claims" in str(refusal(path))


def test_row_groups_and_rows_are_bounded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(path, {"src": ["abc"] * 20, "tgt": ["def"] * 20})
    assert len(read(path)) == 20
    monkeypatch.setattr(row_module, "MAX_ROWS", 19)
    assert refusal(path).code == "too_many_rows"
    monkeypatch.setattr(row_module, "MAX_ROWS", 20)
    monkeypatch.setattr(parquet_module, "MAX_ROW_GROUP_BYTES", 10)
    assert "smaller row groups" in str(refusal(path))


def test_parquet_needs_a_file(path: Path) -> None:
    write(path, {"src": ["a"], "tgt": ["b"]})
    with pytest.raises(TypeError, match="local file"):
        list(read_rows([path.read_bytes()], format="parquet"))


def test_a_file_that_is_gone_is_not_the_users_fault(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read(path)
