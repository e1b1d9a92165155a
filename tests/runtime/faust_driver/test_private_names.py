"""The page on Faust lists every override, private name and assignment on a library's object, and all of it exists.

After an upgrade of a library the names that fail here are the checklist.
"""

import ast
import importlib
import inspect
import pkgutil
import re
import textwrap
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest

import stream_coupons

pytestmark = pytest.mark.process  # Faust's imports ask the system of which architecture it is
PACKAGE = Path(stream_coupons.__file__).parent
PAGE = (PACKAGE.parent / "docs" / "explanation" / "faust.md").read_text(encoding="utf-8")
ROOMS = ("runtime", "kafka", "worker", "agents")
LIBRARIES = ("faust", "mode", "aiokafka", "kafka")
METHODS = (FunctionType, property, staticmethod, classmethod, type)
OF_PYTHON = {"_replace", "_exit"}
CODE = re.compile(r"`([^`]+)`")
Names = dict[str, set[str]]


def table(heading: str) -> Names:
    """Return the names in the second column of a section's table, by the first column; each row has a reason."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    found: Names = {}
    for line in section.splitlines():
        if line.startswith("| `"):
            first, names, reason = (cell.strip() for cell in line.strip("|").split("|"))
            assert reason, first
            found.setdefault(CODE.findall(first)[0], set()).update(CODE.findall(names))
    return found


OVERRIDDEN, PRIVATE, ASSIGNED = (table(heading) for heading in ("Overridden", "Private names", "Assigned"))


def resolve(dotted: str) -> Any:
    """Import a class or a module by its full name."""
    try:
        return importlib.import_module(dotted)
    except ModuleNotFoundError:
        owner, _, name = dotted.rpartition(".")
        return getattr(resolve(owner), name)


def is_foreign(cls: type) -> bool:
    return cls.__module__.split(".")[0] in LIBRARIES


@cache
def source_of(cls: type) -> str:
    return inspect.getsource(cls)


@cache
def has_itself(owner: Any, name: str) -> bool:
    """Return whether a class or a module defines a name, or sets it on its instances."""
    if name in vars(owner):
        return True
    if not inspect.isclass(owner) or "_crecords" in owner.__module__:  # what is compiled has no source
        return False
    return re.search(rf"\bself\.{name}\b[^=\n(]*=[^=]", source_of(owner)) is not None


@pytest.mark.parametrize("owner", sorted({*OVERRIDDEN, *PRIVATE}))
def test_every_listed_name_is_in_the_installed_version(owner: str) -> None:
    found = resolve(owner)
    places = [each for each in getattr(found, "__mro__", [found]) if each is not object]
    names = OVERRIDDEN.get(owner, set()) | PRIVATE.get(owner, set())
    assert sorted(name for name in names if not any(has_itself(each, name) for each in places)) == []


def sources() -> Iterator[tuple[str, ast.Module]]:
    for room in ROOMS:
        for path in sorted((PACKAGE / room).rglob("*.py")):
            yield path.relative_to(PACKAGE).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def derived() -> Iterator[tuple[type, list[type]]]:
    """Yield our classes that have bases in a library, each with these bases."""
    for room in ROOMS:
        for found in pkgutil.walk_packages([str(PACKAGE / room)], f"stream_coupons.{room}."):
            module = importlib.import_module(found.name)
            for cls in vars(module).values():
                is_ours = inspect.isclass(cls) and cls.__module__ == module.__name__
                if is_ours and (bases := [base for base in cls.__mro__ if is_foreign(base)]):
                    yield cls, bases


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name not in OF_PYTHON


def test_every_overridden_method_is_listed() -> None:
    found: dict[type, set[str]] = {}
    for cls, bases in derived():
        for name, value in vars(cls).items():
            owner = next((base for base in bases if name in vars(base)), None)
            is_method = isinstance(value, METHODS) and not name.startswith("__")
            if owner is not None and is_method:
                found.setdefault(owner, set()).add(name)
    assert found == {resolve(owner): names for owner, names in OVERRIDDEN.items()}


def test_every_private_name_of_a_base_is_listed() -> None:
    owners = PRIVATE.keys() | OVERRIDDEN.keys()
    listed = {resolve(each): PRIVATE.get(each, set()) | OVERRIDDEN.get(each, set()) for each in owners}
    unlisted = set()
    for cls, bases in derived():
        for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(cls)))):
            if not isinstance(node, ast.Attribute) or not is_private(node.attr):
                continue
            if ast.unparse(node.value) not in ("self", "super()"):
                continue
            owner = next((base for base in bases if has_itself(base, node.attr)), None)
            if owner is not None and node.attr not in listed.get(owner, set()):
                unlisted.add(f"{owner.__module__}.{owner.__qualname__}.{node.attr} in {cls.__name__}")
    assert unlisted == set()


def private_names() -> Iterator[tuple[str, str]]:
    """Yield the private names that are read from other objects, or imported, each with its place."""
    for path, tree in sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and is_private(node.attr):
                if ast.unparse(node.value) not in ("self", "cls", "super()"):
                    yield node.attr, f"{path}:{node.lineno}"
            elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in LIBRARIES:
                for alias in node.names:
                    if is_private(alias.name):
                        yield alias.name, f"{path}:{node.lineno}"
            elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "setattr", "hasattr"):
                name = node.args[1].value if isinstance(node.args[1], ast.Constant) else ""
                if is_private(str(name)):
                    yield str(name), f"{path}:{node.lineno}"


def test_every_private_name_of_another_object_is_listed() -> None:
    listed = {name for names in PRIVATE.values() for name in names}
    assert {(name, place) for name, place in private_names() if name not in listed} == set()


def test_every_listed_private_name_is_used() -> None:
    used = {node.attr for _, tree in sources() for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    used |= {name for name, _ in private_names()}
    assert {name for names in PRIVATE.values() for name in names} - used == set()


def test_every_assignment_on_an_object_of_a_library_is_listed() -> None:
    found: Names = {}
    for path, tree in sources():
        if not path.startswith(("kafka/", "runtime/faust_driver/")):
            continue
        for node in ast.walk(tree):
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", node)]
            for target in (each for one in targets for each in getattr(one, "elts", [one])):
                is_stored = isinstance(target, ast.Attribute) and isinstance(target.ctx, ast.Store)
                if is_stored and ast.unparse(target.value) != "self":
                    found.setdefault(path, set()).add(ast.unparse(target))
    assert found == ASSIGNED
