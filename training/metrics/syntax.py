r"""Whether a completion is valid Python.

Training text for code models is often tokenised: one space around every token, and indentation as a
mixture such as ``"\t \t print"`` that Python refuses as inconsistent. So each line's leading
whitespace is measured first: with any tab in it its depth is its number of tabs, else its number of
spaces; the line is then indented by that depth. Nothing else of the line is changed.

Covers: does ``ast.parse`` accept it. Does not cover: whether it runs, or does what was asked.
Nothing is ever executed.
"""

import ast
import warnings

MAX_PARSED_CHARS = 100_000
"""Longer completions are not parsed: the parser's stack is no place for a model's endless output."""


def parses(completion: str) -> bool:
    """Whether ``completion`` is non-empty, valid Python after normalising its indentation."""
    if not completion.strip() or len(completion) > MAX_PARSED_CHARS:
        return False
    source = "\n".join(_with_plain_indentation(line) for line in completion.split("\n"))
    try:
        with warnings.catch_warnings():
            # Dubious escapes and "is" with a literal are warnings about style here, not about syntax.
            warnings.simplefilter("ignore")
            ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        # ValueError: null characters; the last two: nesting that exhausts the parser.
        return False
    return True


def _with_plain_indentation(line: str) -> str:
    code = line.lstrip(" \t")
    margin = line[: len(line) - len(code)]
    depth = margin.count("\t") if "\t" in margin else len(margin)
    return " " * depth + code
