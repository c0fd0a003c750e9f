"""What a file seems to be, by its first bytes: so that a mistaken upload is called by its name."""

import re
from typing import Final

HEAD_BYTES: Final = 512
"""Enough for every signature below; tar's lies at 257."""

_SIGNATURES: Final = (
    (b"\x1f\x8b", "gzip-compressed: upload it uncompressed"),
    (b"PK\x03\x04", "a zip archive (or a spreadsheet, or PyTorch weights)"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"BZh", "bzip2-compressed: upload it uncompressed"),
    (b"\xfd7zXZ\0", "xz-compressed: upload it uncompressed"),
    (b"\x28\xb5\x2f\xfd", "zstd-compressed: upload it uncompressed"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"Rar!", "a RAR archive"),
    (b"%PDF-", "a PDF document"),
    (b"\x89HDF", "an HDF5 file"),
    (b"GGUF", "GGUF weights"),
    (b"ARROW1", "an Arrow IPC file: convert it to Parquet"),
    (b"Obj\x01", "an Avro file"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"\x7fELF", "a program"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"\xd0\xcf\x11\xe0", "an old Office document"),
    (b"\x93NUMPY", "a NumPy array"),
)
_UTF_MARKS: Final = (
    (b"\xff\xfe\0\0", "UTF-32"),
    (b"\0\0\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)


def foreign_encoding(head: bytes) -> str | None:
    """``UTF-16`` or ``UTF-32`` when the file begins like one, else None."""
    for mark, name in _UTF_MARKS:
        if head.startswith(mark):
            return name
    # ASCII in UTF-16 without a mark has a NUL at every second byte.
    pairs = head[:64]
    low, high = pairs[::2], pairs[1::2]
    if len(pairs) >= 8 and ((not any(low) and all(high)) or (not any(high) and all(low))):
        return "UTF-16"
    return None


def is_parquet(head: bytes) -> bool:
    """Whether the file begins like Parquet."""
    return head.startswith(b"PAR1")


def binary_kind(head: bytes) -> str | None:
    """What a binary file seems to be, as the end of "the file seems to be ..."; None for text."""
    for signature, name in _SIGNATURES:
        if head.startswith(signature):
            return name
    if head[:1] == b"\x80" and head[1:2] in {b"\x02", b"\x03", b"\x04", b"\x05"}:
        return "a Python pickle, which can run code and is never opened"
    if len(head) > 9 and head[5:8] == b"\0\0\0" and head[8:9] == b"{":
        return "safetensors weights"
    if head[257:262] == b"ustar":
        return "a tar archive"
    return None


_TEXT_KINDS: Final = (
    (r"(?i)<!doctype html|<html", "an HTML page"),
    (r"<\?xml", "an XML document"),
    (r"\{\s*$", "one JSON document over several lines: write one object per line"),
    (r"\{\s*\"", "JSON Lines: name it .jsonl"),
    (r"\[", "a JSON array: write one object per line"),
    (r"---|%YAML|(?:- )?[A-Za-z_][\w-]*:(?:\s|$)", "YAML"),
    (r"[^,]*\t", "tab-separated text"),
    (r"[^,]*;[^,]*$", "separated by semicolons"),
    (r".*,", "CSV"),
)


def text_kind(line: str) -> str | None:
    """What a text file seems to be by its first line that is not blank, or None."""
    text = line.strip()
    return next((kind for pattern, kind in _TEXT_KINDS if re.match(pattern, text)), None)


def first_line(head: bytes) -> str:
    """The first line that is not blank, as far as ``head`` goes."""
    text = head.removeprefix(b"\xef\xbb\xbf").decode(errors="replace").strip()
    return text.split("\n", 1)[0]
