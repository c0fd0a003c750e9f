"""temper COMMAND ...: the one console script. Its commands are entry points, of which only the chosen one is loaded.

The group is ``temper.commands``; each names a function that takes the arguments behind the command and returns the
exit status. An image holds only some of this project's packages: a command whose package is missing is not listed.
"""

import ast
import sys
from collections.abc import Callable
from collections.abc import Sequence
from importlib.metadata import EntryPoint
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Final
from typing import cast

GROUP: Final = "temper.commands"
USAGE: Final = 64
"""EX_USAGE of sysexits.h; 0, 1 and 2 are verdicts of ``temper report --gate``."""

Command = Callable[[Sequence[str]], int]


def commands() -> dict[str, EntryPoint]:
    """The commands whose packages are installed, by name."""
    return {
        each.name: each
        for each in sorted(entry_points(group=GROUP), key=lambda each: each.name)
        if find_spec(each.module.partition(".")[0]) is not None
    }


def summary(command: EntryPoint) -> str:
    """The first line of a command's module, read from its file: importing it could take seconds."""
    source = _source(command.module)
    if source is None:
        return ""
    first = (ast.get_docstring(ast.parse(source.read_bytes())) or "").partition("\n")[0]
    # "temper report JOB: what it does": the list names the command already.
    return first.partition(": ")[2] if first.startswith("temper ") and ": " in first else first


def _source(module: str) -> Path | None:
    package, *rest = module.split(".")
    spec = find_spec(package)
    for place in (spec.submodule_search_locations or []) if spec is not None else []:
        path = Path(place).joinpath(*rest)
        for candidate in (path.with_suffix(".py"), path / "__init__.py"):
            if candidate.is_file():
                return candidate
    return None


def _overview() -> str:
    lines = ["usage: temper COMMAND ...", "", "commands:"]
    lines += [f"  {name:<10} {summary(command)}".rstrip() for name, command in commands().items()]
    lines += ["", "temper COMMAND --help explains one."]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command. Returns its exit status."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    name, rest = (given[0], given[1:]) if given else ("", [])
    if name in {"-h", "--help", "help"}:
        sys.stdout.write(_overview())
        return 0
    known = commands()
    if name not in known:
        said = f"temper: there is no command {name!r}\n" if name else ""
        sys.stderr.write(f"{said}{_overview()}")
        return USAGE
    command = cast(Command, known[name].load())
    return command(rest)


if __name__ == "__main__":
    sys.exit(main())
