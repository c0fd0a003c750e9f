"""Writes the table of values into the chart's README, from the comments of values.yaml.

    python helm/value_table.py           rewrite the table
    python helm/value_table.py --check   end with status 1 when it is not that of the comments

Comments are those of helm-docs: ``# --`` and text, over as many lines as it takes, right above a key.
"""

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from typing import Final

import yaml

CHART: Final = Path(__file__).parent / "temper"
BEGIN: Final = "<!-- values: made by helm/value_table.py -->\n"
END: Final = "<!-- end of values -->\n"
_KEY: Final = re.compile(r"(?P<indent> *)(?P<key>[A-Za-z][A-Za-z0-9_]*):(?: |$)")
_FIRST: Final = re.compile(r" *# -- (?P<text>.*)")
_NEXT: Final = re.compile(r" *# (?P<text>.*)")


class TableError(ValueError):
    """values.yaml cannot be made into a table; names the key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """One row."""

    key: str
    default: Any
    text: str


def read_values(text: str) -> list[Value]:
    """Every value of values.yaml, in its order.

    Raises:
        TableError: a value has no comment.
    """
    defaults = yaml.safe_load(text)
    comments = dict(_comments(text))
    found = []
    for key, default in _leaves(defaults, set(comments)):
        if key not in comments:
            raise TableError(f"{key} has no comment")
        found.append(Value(key=key, default=default, text=comments[key]))
    return found


def _comments(text: str) -> Iterator[tuple[str, str]]:
    above: list[tuple[int, str]] = []
    comment: list[str] = []
    for line in text.splitlines():
        if first := _FIRST.match(line):
            comment = [first["text"]]
        elif comment and (more := _NEXT.match(line)):
            comment.append(more["text"])
        elif found := _KEY.match(line):
            depth = len(found["indent"])
            above = [(each, name) for each, name in above if each < depth]
            above.append((depth, found["key"]))
            if comment:
                yield ".".join(name for _, name in above), " ".join(comment)
            comment = []


def _leaves(node: dict[str, Any], documented: set[str], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in node.items():
        key = f"{above}{name}"
        if isinstance(value, dict) and value and key not in documented:
            yield from _leaves(value, documented, f"{key}.")
        else:
            yield key, value


def table(values: list[Value]) -> str:
    """The rows in Markdown."""
    rows = ["| Key | Default | What it is |", "|---|---|---|"]
    for value in values:
        default = json.dumps(value.default, separators=(",", ":"))
        rows.append(f"| `{value.key}` | `{_cell(default)}` | {_cell(value.text)} |")
    return "\n".join(rows) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def with_table(readme: str, rows: str) -> str:
    """The README with these rows.

    Raises:
        TableError: it has no place for them.
    """
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise TableError(f"README.md lacks the lines {BEGIN.strip()} and {END.strip()}")
    return before + begin + rows + end + after


def main(arguments: list[str]) -> int:
    """Write or check. Returns the exit status."""
    readme = CHART / "README.md"
    try:
        fresh = with_table(readme.read_text(), table(read_values((CHART / "values.yaml").read_text())))
    except TableError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if "--check" in arguments:
        stale = fresh != readme.read_text()
        sys.stderr.write("README.md of the chart is stale: run python helm/value_table.py\n" * stale)
        return int(stale)
    readme.write_text(fresh)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
