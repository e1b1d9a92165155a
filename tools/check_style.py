"""Check how the package is written: `python tools/check_style.py`, or `--write` to shorten the list of exceptions.

Five rules for the packages, read with `ast`:

- docstrings, those of attributes too, open with a noun or a verb, never with "Whether", "What", "Of which" and the like
- a class has a name that no other class of the package has
- a function has at most `MAX_FUNCTION_LINES` lines, its docstring not counted
- a file has at most `MAX_FILE_LINES` lines
- a public function of `DOCUMENTED_ROOMS` with more than one parameter has a Parameters section, of which ruff's D417
  checks that it is complete, or refers to one ("parameters as of `name`"), unless it implements a method of a protocol
  or of a base class that has one

What breaks a rule today is listed in tools/style_exceptions.toml. The list only gets shorter: an offender that is not
listed fails the check, and so does an entry that is no offender any more. `--write` writes the list anew, after files
were cleaned or renamed, and refuses if a rule would get more exceptions than it has. `--share` prints how many public
functions of the core have which sections.
"""

import argparse
import ast
import re
import sys
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = "stream_coupons"
PACKAGES = (PACKAGE, "packages/stream-coupons-lab/stream_coupons_lab", "packages/loopback-kafka/loopback_kafka")
EXCEPTIONS = "tools/style_exceptions.toml"
MAX_FUNCTION_LINES = 40
MAX_FILE_LINES = 500
DOCUMENTED_ROOMS = ("core", "models", "runtime", "kafka", "testing")
OPENING = re.compile(
    r"""(?ix)
    (?:what(?:ever)?|whether|how|which(?:ever)?|who(?:se|m|ever)?|why|where(?:ver)?|when(?:ever)?|of|that|those|such)\b
    | (?:as\ of|all\ (?:that|of|those)|the\ same\ of)\b
    | (?:at|by|for|from|in|on|to|until|with)\ (?:how|what|when|where|which|whom|whose)\b
    """
)
REFERENCE = re.compile(r"(?i)parameters\s+as\s+of\s+`([\w.]+)`")

Trees = Mapping[str, ast.Module]
Rule = Callable[[Path, Trees], dict[str, str]]
Function = ast.FunctionDef | ast.AsyncFunctionDef
Documented = ast.Module | ast.ClassDef | Function
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def parsed(root: Path) -> Trees:
    """Return the syntax tree of each module of the packages, by its path below `root`."""
    files = [file for package in PACKAGES for file in sorted((root / package).rglob("*.py"))]
    return {str(path.relative_to(root)): ast.parse(path.read_text(encoding="utf-8")) for path in files}


# ------------------------------------------------------------ rules: offenders, each with what is wrong


def docstring_openings(_: Path, trees: Trees) -> dict[str, str]:
    """Return the files with docstrings that do not open with a noun or a verb."""
    found: dict[str, list[str]] = {}
    for name, tree in trees.items():
        for line, text in docstrings(tree):
            if opening := OPENING.match(text.lstrip()):
                found.setdefault(name, []).append(f"line {line} {opening[0]!r}")
    return {name: f"docstrings open with a clause: {', '.join(lines)}" for name, lines in found.items()}


def docstrings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield line and text of each docstring of a module: its own and those of classes, functions and attributes."""
    for node in ast.walk(tree):
        if not isinstance(node, DOCUMENTED):
            continue
        for before, statement in zip([None, *node.body], node.body, strict=False):
            if isinstance(before, ast.Assign | ast.AnnAssign | None):
                match statement:
                    case ast.Expr(ast.Constant(str() as text)):
                        yield statement.lineno, text


def repeated_classes(_: Path, trees: Trees) -> dict[str, str]:
    """Return the names that several classes have."""
    places: dict[str, list[str]] = {}
    for name, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(name)
    return {
        name: f"several classes have this name: {', '.join(files)}" for name, files in places.items() if len(files) > 1
    }


def long_functions(_: Path, trees: Trees) -> dict[str, str]:
    """Return the functions that are too long."""
    found = {}
    for name, tree in trees.items():
        for qualname, node in functions(tree):
            lines = length(node)
            if lines > MAX_FUNCTION_LINES:
                found[f"{name}: {qualname}"] = f"{lines} lines, at most {MAX_FUNCTION_LINES}"
    return found


def functions(node: ast.AST, prefix: str = "") -> Iterator[tuple[str, Function]]:
    """Yield the functions below a node with their qualified names."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, DOCUMENTED[1:]):
            name = f"{prefix}{child.name}"
            if not isinstance(child, ast.ClassDef):
                yield name, child
            yield from functions(child, f"{name}.")
        else:
            yield from functions(child, prefix)


def length(node: Function) -> int:
    """Return the number of lines of a function without its decorators and its docstring."""
    lines = (node.end_lineno or node.lineno) - node.lineno + 1
    if ast.get_docstring(node, clean=False) is None:
        return lines
    docstring = node.body[0]
    return lines - ((docstring.end_lineno or docstring.lineno) - docstring.lineno + 1)


def long_files(root: Path, trees: Trees) -> dict[str, str]:
    """Return the files that are too long."""
    lengths = {name: len((root / name).read_text(encoding="utf-8").splitlines()) for name in trees}
    return {
        name: f"{lines} lines, at most {MAX_FILE_LINES}" for name, lines in lengths.items() if lines > MAX_FILE_LINES
    }


def undocumented_parameters(_: Path, trees: Trees) -> dict[str, str]:
    """Return the public functions with several parameters and no Parameters section, theirs or that of a base."""
    rooms = {name: tree for room in DOCUMENTED_ROOMS for name, tree in in_room(trees, room).items()}
    functions = [(name, qualname, node) for name, tree in rooms.items() for qualname, node in public_functions(tree)]
    inherited = documented_in_bases(rooms)
    sections: dict[str, set[str]] = {}
    for _name, qualname, node in functions:
        if has_section(node, "Parameters"):
            sections.setdefault(qualname, set()).update(parameters(node))
    found = {}
    for name, qualname, node in functions:
        names = parameters(node)
        reference = REFERENCE.search(ast.get_docstring(node) or "")
        is_documented = (
            has_section(node, "Parameters")
            or (reference is not None and sections.get(reference[1], set()).issuperset(names))
            or (node.name, names) in inherited
        )
        if len(names) > 1 and not is_documented:
            found[f"{name}: {qualname}"] = f"no Parameters section for {', '.join(names)}"
    return found


def in_room(trees: Trees, room: str) -> Trees:
    """Return the modules of a room: a folder of the package."""
    return {name: tree for name, tree in trees.items() if name.startswith(f"{PACKAGE}/{room}/")}


def documented_in_bases(trees: Trees) -> set[tuple[str, tuple[str, ...]]]:
    """Return name and parameters of each documented method of a protocol, or of a class that others derive from."""
    classes = [node for tree in trees.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    bases = {node.name: {ast.unparse(base).partition("[")[0] for base in node.bases} for node in classes}
    derived_from = set[str]().union(*bases.values())
    return {
        (method.name, parameters(method))
        for node in classes
        if "Protocol" in bases[node.name] or node.name in derived_from
        for _, method in public_functions(node)
        if has_section(method, "Parameters")
    }


def public_functions(node: ast.AST, prefix: str = "") -> Iterator[tuple[str, Function]]:
    """Yield the public functions of a module or class, and the methods of its public classes; no overloads."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, DOCUMENTED[1:]) or child.name.startswith("_"):
            continue
        if isinstance(child, ast.ClassDef):
            yield from public_functions(child, f"{prefix}{child.name}.")
        elif "overload" not in decorators(child):
            yield f"{prefix}{child.name}", child


def parameters(node: Function) -> tuple[str, ...]:
    """Return the names of a function's parameters without self and cls."""
    of = node.args
    every = [*of.posonlyargs, *of.args, of.vararg, *of.kwonlyargs, of.kwarg]
    return tuple(argument.arg for argument in every if argument is not None and argument.arg not in ("self", "cls"))


def decorators(node: Function) -> set[str]:
    """Return a function's decorators, as they are written."""
    return {ast.unparse(decorator) for decorator in node.decorator_list}


def has_section(node: Function, title: str) -> bool:
    """Return True if a function's docstring has this section of numpydoc."""
    return f"\n{title}\n{'-' * len(title)}\n" in (ast.get_docstring(node) or "")


RULES: Mapping[str, Rule] = {
    rule.__name__: rule
    for rule in (docstring_openings, repeated_classes, long_functions, long_files, undocumented_parameters)
}


def share(trees: Trees, room: str = "core") -> str:
    """Return how many public functions of a room have Parameters, of those with parameters, and Examples."""
    functions = [node for tree in in_room(trees, room).values() for _, node in public_functions(tree)]
    taking = [node for node in functions if parameters(node)]
    parts = [
        f"{sum(has_section(node, title) for node in nodes)} of {len(nodes)} {kind} have {title}"
        for title, nodes, kind in (
            ("Parameters", taking, "functions with parameters"),
            ("Parameters", [node for node in taking if len(parameters(node)) > 1], "with more than one"),
            ("Examples", functions, "functions"),
        )
    ]
    return f"{room}: {', '.join(parts)}"


# ------------------------------------------------------------ exceptions


def offenders(root: Path) -> dict[str, dict[str, str]]:
    """Return what breaks each rule, and how."""
    trees = parsed(root)
    return {name: rule(root, trees) for name, rule in RULES.items()}


def exceptions(root: Path) -> dict[str, list[str]]:
    """Return the listed exceptions of each rule.

    Raises
    ------
    ValueError
        If the list names a rule that does not exist, or an exception twice.
    """
    listed: dict[str, list[str]] = tomllib.loads((root / EXCEPTIONS).read_text(encoding="utf-8"))
    if unknown := listed.keys() - RULES.keys():
        raise ValueError(f"{EXCEPTIONS} names rules that do not exist: {', '.join(sorted(unknown))}")
    for rule, names in listed.items():
        if twice := [name for name, count in Counter(names).items() if count > 1]:
            raise ValueError(f"{EXCEPTIONS} lists twice for {rule}: {', '.join(twice)}")
    return {rule: listed.get(rule, []) for rule in RULES}


def findings(root: Path) -> Iterator[str]:
    """Yield a line for each offender that is not listed, and for each exception that is none."""
    found, excused = offenders(root), exceptions(root)
    for rule in RULES:
        for name, problem in found[rule].items():
            if name not in excused[rule]:
                yield f"{name}: {problem} ({rule})"
        for name in excused[rule]:
            if name not in found[rule]:
                yield f"{EXCEPTIONS}: {rule} lists {name!r}, which follows the rule now: run with --write"


def write(root: Path) -> None:
    """Write the list of exceptions anew, as after files were renamed.

    Raises
    ------
    ValueError
        If a rule would get more exceptions than it has.
    """
    found, excused = offenders(root), exceptions(root)
    for rule in RULES:
        if len(found[rule]) > len(excused[rule]):
            raise ValueError(f"{rule} would get {len(found[rule])} exceptions, expected at most {len(excused[rule])}")
    path = root / EXCEPTIONS
    parts = ["".join(line for line in path.read_text(encoding="utf-8").splitlines(True) if line.startswith("#"))]
    for rule in RULES:
        lines = "".join(f'  "{name}",\n' for name in sorted(found[rule]))
        parts.append(f"{rule} = [\n{lines}]\n")
    path.write_text("\n".join(parts), encoding="utf-8")


def main() -> int:
    """Check the package, or write the list of exceptions anew."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--write", action="store_true", help="write the list of exceptions anew, if none gets longer")
    parser.add_argument("--share", action="store_true", help="print how many functions of the core have which sections")
    options = parser.parse_args()
    if options.share:
        print(share(parsed(ROOT)))
    try:
        if options.write:
            write(ROOT)
        lines = list(findings(ROOT))
    except ValueError as bad:
        lines = [str(bad)]
    for line in lines:
        print(line, file=sys.stderr)
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
