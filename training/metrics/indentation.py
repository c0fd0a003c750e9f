r"""Indentation of tokenised source code.

Training text for code models is often tokenised: one space around every token, and indentation as a mixture such as
``"\t \t print"`` that Python refuses as inconsistent.
"""


def with_plain_indentation(source: str) -> str:
    """Indent every line by spaces alone: by the number of its leading tabs if it has any, else as it was."""
    return "\n".join(_indented(line) for line in source.split("\n"))


def _indented(line: str) -> str:
    code = line.lstrip(" \t")
    margin = line[: len(line) - len(code)]
    depth = margin.count("\t") if "\t" in margin else len(margin)
    return " " * depth + code
