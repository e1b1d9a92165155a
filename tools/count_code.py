"""Count lines of code by room, and fail where a budget is exceeded: `python tools/count_code.py`.

A code line holds a token that is neither a comment nor a docstring; strings below attributes are docstrings, too. A
room is a folder two levels deep, and four levels in `packages/`. tools/code_budgets.toml has the budgets: each a
ceiling on the code lines of some paths, `without` others, or of what some `entries` import. Every file belongs to one.
"""

import argparse
import ast
import io
import sys
import tokenize
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
BUDGETS = "tools/code_budgets.toml"
COUNTED = ("stream_coupons", "packages", "tests", "benchmarks", "docs", "examples", "tools")
BLANK = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
}


class Size(NamedTuple):
    """Size of a file: lines of code, and all lines."""

    code: int
    lines: int


def size_of(source: str) -> Size:
    """Return the size of Python source code."""
    code: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in BLANK:
            code.update(range(token.start[0], token.end[0] + 1))
    return Size(len(code - _docstring_lines(ast.parse(source))), len(source.splitlines()))


def _docstring_lines(tree: ast.Module) -> set[int]:
    lines: set[int] = set()
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        for statement in body if isinstance(body, list) else ():
            value = statement.value if isinstance(statement, ast.Expr) else None
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                lines.update(range(statement.lineno, statement.end_lineno + 1))
    return lines


def sizes(root: Path) -> dict[str, Size]:
    """Return the size of each Python file below `root`, by its path."""
    files = sorted(path for folder in COUNTED for path in (root / folder).rglob("*.py"))
    return {path.relative_to(root).as_posix(): size_of(path.read_text(encoding="utf-8")) for path in files}


def imported(root: Path, entries: Iterable[str], *, by_functions: bool = False) -> set[str]:
    """Return the files that are loaded with some entries: by imports of modules, or also by those within functions.

    Only `from module import name` counts, the one form in which the engine imports its own modules.
    """
    found, left = set[str](), list(entries)
    while left:
        if (path := left.pop()) in found or not (root / path).is_file():
            continue
        found.add(path)
        tree = ast.parse((root / path).read_text(encoding="utf-8"))
        functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
        nodes = [*tree.body, *(node for function in functions if by_functions for node in ast.walk(function))]
        for node in (node for node in nodes if isinstance(node, ast.ImportFrom)):
            for parts in (f"{node.module}.{one.name}".split(".") for one in node.names):
                places = ["/".join(parts[: n + 1]) for n in range(len(parts))]
                left += [f"{place}{end}" for place in places for end in (".py", "/__init__.py")]
    return found


def room_of(path: str) -> str:
    """Return the room of a file."""
    folders = path.split("/")[:-1]
    return "/".join(folders[: 4 if folders[0] == "packages" else 2])


def table(files: Mapping[str, Size]) -> Iterator[str]:
    """Yield the lines of the table: code lines, lines and files of each room, then of all."""
    code, lines, count = Counter[str](), Counter[str](), Counter[str]()
    for path, size in files.items():
        for room in (room_of(path), "all"):
            code[room] += size.code
            lines[room] += size.lines
            count[room] += 1
    yield f"{'room':40}{'code':>8}{'lines':>8}{'files':>7}"
    for room in [*sorted(room for room in count if room != "all"), "all"]:
        yield f"{room:40}{code[room]:8,}{lines[room]:8,}{count[room]:7,}"


def findings(files: Mapping[str, Size], budgets: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield a line for each budget that is exceeded, and for each file without one."""
    covered: set[str] = set()
    for name, budget in budgets.items():
        own = {path for path in files if _is_in(path, budget["paths"]) and not _is_in(path, budget.get("without", ()))}
        covered |= own
        code, ceiling = sum(files[path].code for path in own), budget["code_lines"]
        if code > ceiling:
            where = ", ".join(budget.get("entries", budget["paths"]))
            yield (
                f"{name}: {code:,} code lines in {where}, expected at most {ceiling:,}: "
                f"remove {code - ceiling:,} lines, or state in the commit why [{name}] of {BUDGETS} grows"
            )
    for path in files.keys() - covered:
        yield f"{path}: no budget of {BUDGETS} covers this file: add its folder to the paths of one"


def _is_in(path: str, others: Iterable[str]) -> bool:
    return any(path == other or path.startswith(f"{other}/") for other in others)


def main() -> int:
    """Print the table, or with `--quiet` only what is wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quiet", action="store_true", help="print no table")
    options = parser.parse_args()
    files, budgets = sizes(ROOT), tomllib.loads((ROOT / BUDGETS).read_text(encoding="utf-8"))
    shown = [*table(files)]
    for name, budget in budgets.items():
        if entries := budget.get("entries"):
            budget["paths"] = imported(ROOT, entries)
            later = imported(ROOT, entries, by_functions=True) - budget["paths"]
            code, more = (sum(files[path].code for path in paths) for paths in (budget["paths"], later))
            shown.append(f"{name}: {code:,} code lines; {more:,} more by imports within functions")
    if not options.quiet:
        print("\n".join(shown))
    wrong = sorted(findings(files, budgets))
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
