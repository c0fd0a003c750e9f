import bz2
import gzip
import io
import lzma
import pickle
import zipfile
from typing import get_args

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.contract.dataset import DatasetError
from deploy.contract.dataset import DatasetFormat
from deploy.contract.dataset import format_of
from deploy.contract.dataset import read_rows

LINE = '{"prompt":"p","completion":"c"}\n'


def refusal(data: bytes, declared: DatasetFormat) -> DatasetError:
    with pytest.raises(DatasetError) as caught:
        list(read_rows([data], format=declared))
    return caught.value


def zipped() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("data.jsonl", LINE)
    return out.getvalue()


def parquet() -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table({"src": ["a"], "tgt": ["b"]}), out)
    return out.getvalue()


def safetensors() -> bytes:
    header = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    return len(header).to_bytes(8, "little") + header + bytes(4)


OTHERS = {
    "gzip": (gzip.compress(LINE.encode(), mtime=0), "gzip-compressed"),
    "bzip2": (bz2.compress(LINE.encode()), "bzip2-compressed"),
    "xz": (lzma.compress(LINE.encode()), "xz-compressed"),
    "zip": (zipped(), "zip archive"),
    "pickle": (pickle.dumps({"prompt": "p"}), "pickle"),
    "old pickle": (pickle.dumps({"prompt": "p"}, protocol=2), "pickle"),
    "pdf": (b"%PDF-1.7\n%\xe2\xe3", "PDF"),
    "safetensors": (safetensors(), "safetensors"),
    "sqlite": (b"SQLite format 3\0" + bytes(80), "SQLite"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(80), "HDF5"),
    "zstd": (b"\x28\xb5\x2f\xfd" + bytes(20), "zstd"),
    "tar": (b"data.jsonl" + bytes(247) + b"ustar\x0000" + bytes(100), "tar archive"),
}


@pytest.mark.parametrize("declared", ["jsonl", "csv"])
@pytest.mark.parametrize("name", OTHERS)
def test_c3_a_file_that_is_something_else_is_called_by_its_name(name: str, declared: DatasetFormat) -> None:
    data, said = OTHERS[name]
    error = refusal(data, declared)
    assert error.code == "wrong_format"
    assert said in str(error)


@pytest.mark.parametrize(
    ("data", "declared", "said"),
    [
        (parquet(), "jsonl", "Parquet: name it .parquet"),
        (parquet(), "csv", "Parquet: name it .parquet"),
        (LINE.encode(), "parquet", "JSON Lines: name it .jsonl"),
        (b"src,tgt\na,b\n", "parquet", "CSV"),
        (gzip.compress(b"a", mtime=0), "parquet", "gzip"),
        (b"src,tgt\na,b\n", "jsonl", "CSV"),
        (b'[\n {"prompt":"p"}\n]', "jsonl", "JSON array"),
        (b'[{"prompt":"p","completion":"c"}]', "jsonl", "JSON array"),
        (b'{\n "prompt": "p"\n}', "jsonl", "one JSON document over several lines"),
        (b"---\nprompt: p\n", "jsonl", "YAML"),
        (b"- prompt: p\n  completion: c\n", "jsonl", "YAML"),
        (b"prompt: p\n", "jsonl", "YAML"),
        (b"prompt\tcompletion\n", "jsonl", "tab-separated"),
        (b"<!DOCTYPE html>\n", "jsonl", "HTML"),
    ],
)
def test_c3_text_under_the_wrong_name(data: bytes, declared: DatasetFormat, said: str) -> None:
    error = refusal(data, declared)
    assert error.code == "wrong_format"
    assert said in str(error)


@pytest.mark.parametrize("declared", ["jsonl", "csv", "parquet"])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_c2_other_encodings(encoding: str, declared: DatasetFormat) -> None:
    error = refusal(LINE.encode(encoding), declared)
    assert error.code == "invalid_encoding"
    assert "save it as UTF-8" in str(error)


@pytest.mark.parametrize(
    ("data", "said"),
    [(b"", "the file is empty"), (b" \n\t\r\n", "only white space"), (b"\xef\xbb\xbf", "only white space"), (b"\xef\xbb\xbf\n", "only white space")],
)  # fmt: skip
@pytest.mark.parametrize("declared", ["jsonl", "csv"])
def test_c1_nothing(data: bytes, said: str, declared: DatasetFormat) -> None:
    error = refusal(data, declared)
    assert error.code == "empty_file"
    assert said in str(error)


@pytest.mark.parametrize(
    ("name", "declared"), [("a.jsonl", "jsonl"), ("A.CSV", "csv"), ("x.y.parquet", "parquet")]
)
def test_the_name_tells_the_format(name: str, declared: str) -> None:
    assert format_of(name) == declared


@pytest.mark.parametrize("name", ["", "csv", "a.json", "a.csv.gz", "a.tsv", "a.jsonl\n", "jsonl"])
def test_other_names(name: str) -> None:
    with pytest.raises(DatasetError) as caught:
        format_of(name)
    assert caught.value.code == "unsupported_format"


@given(st.binary(max_size=300), st.sampled_from(["jsonl", "csv"]), st.integers(1, 64))
def test_any_bytes_give_rows_or_a_dataset_error(data: bytes, declared: DatasetFormat, size: int) -> None:
    chunks = [data[at : at + size] for at in range(0, len(data), size)]
    try:
        rows = list(read_rows(chunks, format=declared))
    except DatasetError:
        return
    assert rows


def test_formats_are_those_of_the_job_spec() -> None:
    from deploy.contract.spec import DatasetRef

    assert get_args(DatasetRef.model_fields["format"].annotation) == get_args(DatasetFormat)
