"""Everything of ours that reads bytes of strangers, as functions that may refuse in their own words and do nothing else."""

import io
import tempfile
from collections.abc import Callable
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deploy.contract import strict_json
from deploy.contract.dataset import DatasetError
from deploy.contract.dataset import DatasetFormat
from deploy.contract.dataset import format_of
from deploy.contract.dataset import read_rows
from deploy.contract.document import Document
from deploy.contract.document import DocumentError
from deploy.contract.judgement import judge
from deploy.contract.report import Report
from deploy.contract.result import JobResult
from deploy.contract.scan import ScanResult
from deploy.contract.spec import JobSpec
from deploy.contract.strict_json import StrictJsonError
from deploy.contract.weights import ModelRefused
from deploy.contract.weights import check_config
from deploy.contract.weights import check_name
from deploy.contract.weights import read_header
from deploy.contract.weights.tokenizer import TOKENIZER
from deploy.contract.weights.tokenizer import rewrite_tokenizer
from service.body import parse_body
from service.errors import BadRequest
from service.jobs.schemas import CreateJob
from service.projects.secret import parse_secret
from service.webhooks.targets import AllowedHost
from service.webhooks.targets import TargetRefused
from service.webhooks.targets import parse_target

Read = Callable[[bytes], object]
ALLOWED: Final = (AllowedHost.parse("hooks.example.com"), AllowedHost.parse("*.example.org"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Parser:
    """A reader, and the ways in which it may refuse."""

    read: Read
    refuses: tuple[type[Exception], ...]

    def __call__(self, data: bytes) -> None:
        """Read ``data``; anything but an answer or a refusal is raised."""
        with suppress(*self.refuses):
            self.read(data)


def _text(data: bytes) -> str:
    return data.decode("utf-8", errors="surrogateescape")


def _rows(data: bytes, form: DatasetFormat) -> None:
    for row in read_rows([data[:7], data[7:]], format=form):
        row.prompt.encode()
        row.completion.encode()


def _parquet(data: bytes) -> None:
    with tempfile.NamedTemporaryFile(suffix=".parquet") as file:
        file.write(data)
        file.flush()
        for _ in read_rows(Path(file.name), format="parquet"):
            pass


def _config(data: bytes) -> None:
    document = strict_json.parse(_text(data))
    if isinstance(document, dict):
        check_config(document)


def _tokenizer(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / TOKENIZER).write_bytes(data)
        rewrite_tokenizer(Path(name), [TOKENIZER])


def _document(kind: type[Document]) -> Parser:
    def read(data: bytes) -> None:
        document = kind.from_bytes(data)
        assert kind.from_bytes(document.to_bytes()) == document

    return Parser(read=read, refuses=(DocumentError,))


def _report(data: bytes) -> None:
    assert judge(Report.from_bytes(data)).verdict in {"pass", "fail", "inconclusive"}


def _secret(data: bytes) -> None:
    found = parse_secret(_text(data))
    assert found is None or found.text == _text(data)


def _target(data: bytes) -> None:
    target = parse_target(_text(data), ALLOWED)
    assert any(entry.matches(target) for entry in ALLOWED)
    assert target.scheme == "https"


PARSERS: Final[Mapping[str, Parser]] = {
    "strict_json": Parser(read=lambda data: strict_json.parse(_text(data)), refuses=(StrictJsonError,)),
    "jsonl": Parser(read=lambda data: _rows(data, "jsonl"), refuses=(DatasetError,)),
    "csv": Parser(read=lambda data: _rows(data, "csv"), refuses=(DatasetError,)),
    "parquet": Parser(read=_parquet, refuses=(DatasetError,)),
    "file_name": Parser(read=lambda data: format_of(_text(data)), refuses=(DatasetError,)),
    "weights_name": Parser(read=lambda data: check_name(_text(data)), refuses=(ModelRefused,)),
    "safetensors": Parser(
        read=lambda data: read_header(io.BytesIO(data), len(data)), refuses=(ModelRefused,)
    ),
    "config": Parser(read=_config, refuses=(ModelRefused, StrictJsonError)),
    "tokenizer": Parser(read=_tokenizer, refuses=(ModelRefused,)),
    "spec": _document(JobSpec),
    "result": _document(JobResult),
    "scan_result": _document(ScanResult),
    "report": Parser(read=_report, refuses=(DocumentError,)),
    "body": Parser(read=lambda data: parse_body(data, CreateJob), refuses=(BadRequest,)),
    "api_key": Parser(read=_secret, refuses=()),
    "webhook_target": Parser(read=_target, refuses=(TargetRefused,)),
}
