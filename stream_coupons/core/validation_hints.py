"""Hints in refusals of data: the name that was meant, and the values that are allowed."""

import difflib
import re
from collections.abc import Iterable, Iterator
from enum import Enum
from functools import lru_cache
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Struct

NEAR = 0.75
"""Similarity from which a name is suggested for another one."""
MAX_NAME = 100
"""Characters of the longest name that is compared with others: the comparison is quadratic."""
_UNIT = re.compile(r"_(minor|s|at|id)$")
"""Ends of names that state a unit, and no likeness."""
_PLACE = re.compile(r" - at (?:`key` in )?`\$([^`]*)`$")
_STEP = re.compile(r"\.(\w+)|\[(\d+|\.\.\.)\]")


def near(name: str, names: Iterable[str]) -> str:
    """Return the name that was probably meant, as the end of a sentence; empty if none comes near.

    Parameters
    ----------
    name : str
        The name that was found.
    names : iterable of str
        The names that are allowed.

    Examples
    --------
    >>> near("titel", ["title", "stock"]), near("x", ["title"])
    (', expected title?', '')
    """
    if len(name) > MAX_NAME:
        return ""
    stems = {_UNIT.sub("", each): each for each in names}
    found = difflib.get_close_matches(_UNIT.sub("", name), stems, 1, NEAR)
    return f", expected {stems[found[0]]}?" if found else ""


def not_utf8(data: bytes) -> str:
    r"""Return where a file is not UTF-8 and what to do, as the end of a sentence; empty if it is.

    Examples
    --------
    >>> not_utf8("name: tea\ntitle: thé".encode("latin-1")), not_utf8(b"name: tea")
    ('is not UTF-8: line 2 has the byte 0xe9; save it as UTF-8', '')
    """
    try:
        data.decode()
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        return f"is not UTF-8: line {line} has the byte {data[error.start]:#04x}; save it as UTF-8"
    return ""


def explained(error: msgspec.ValidationError, kind: Any) -> str:
    """Return the text of an error with what it leaves out: the name that was meant, the values that are allowed.

    Parameters
    ----------
    error : msgspec.ValidationError
        The error.
    kind : type
        The expected type of the data.
    """
    text = str(error)
    wanted = type_at(kind, steps_to(text))
    if wanted is None:
        return text
    if "unknown field `" in text:
        name = text.split("unknown field `")[1].split("`")[0]
        return text + near(name, [field for option in options_of(wanted) for field in fields_of(option)])
    if text.startswith("Invalid enum value") and (allowed := list(_allowed(wanted))):
        return f"{text}, expected one of {', '.join(allowed)}"
    return text


def steps_to(text: str) -> list[str]:
    """Return the names and indices that lead to the place of an error of msgspec."""
    place = _PLACE.search(text)
    return [name or index for name, index in _STEP.findall(place[1])] if place else []


def unknown_fields(found: Any, kind: Any) -> Iterator[tuple[str, Iterable[str]]]:
    """Yield the path of each name within data that its type does not have, and the names it has; readers ignore these.

    Parameters
    ----------
    found : any
        The data as dicts and lists.
    kind : type
        Its expected type.

    Examples
    --------
    >>> from stream_coupons.core.messages.inputs import BrowseEvent
    >>> found = {"item": {"categry": "tea"}, "context": {"any": 1}}
    >>> [(path, near("categry", names)) for path, names in unknown_fields(found, BrowseEvent)]
    [('item.categry', ', expected category?')]
    """
    return _unknown(found, _shape(kind), "")


Shape = dict[str, "Shape"]
"""The names of a struct, or of the structs in a list, with the shape of each; empty for anything else."""


def _unknown(found: Any, shape: Shape, path: str) -> Iterator[tuple[str, Iterable[str]]]:
    if isinstance(found, list):
        for each in found:
            yield from _unknown(each, shape, path)
    elif isinstance(found, dict):
        for name, value in found.items():
            if (inner := shape.get(name)) is None:
                yield path + name, shape
            elif inner:
                yield from _unknown(value, inner, f"{path}{name}.")


@lru_cache
def _shape(kind: Any) -> Shape:
    shape: Shape = {}
    for option in options_of(kind):
        if get_origin(option) is list:
            shape |= _shape(get_args(option)[0])
        shape |= {name: _shape(of) for name, of in fields_of(option).items()}
    return shape


def options_of(kind: Any) -> Iterator[Any]:
    """Yield the types that a value may have, without the bounds of their range."""
    if get_origin(kind) is Annotated:
        yield from options_of(kind.__origin__)
    elif get_origin(kind) in (Union, UnionType):
        for each in get_args(kind):
            yield from options_of(each)
    else:
        yield kind


@lru_cache
def fields_of(kind: Any) -> dict[str, Any]:
    """Return the types of the fields of a struct; none if `kind` is no struct."""
    is_struct = isinstance(kind, type) and issubclass(kind, Struct)
    return get_type_hints(kind, include_extras=True) if is_struct else {}


def type_at(kind: Any, steps: Iterable[str]) -> Any:
    """Return the type at a place within another; None if it is not known.

    Parameters
    ----------
    kind : type
        The outer type.
    steps : iterable of str
        Names and indices that lead to the place.
    """
    for step in steps:
        for option in options_of(kind):
            if step in fields_of(option):
                kind = fields_of(option)[step]
                break
            if not step.isidentifier() and get_args(option):
                kind = get_args(option)[-1 if step == "..." else 0]
                break
        else:
            return None
    return kind


def _allowed(kind: Any) -> Iterator[str]:
    for option in options_of(kind):
        if get_origin(option) is Literal:
            yield from map(str, get_args(option))
        elif isinstance(option, type) and issubclass(option, Enum):
            yield from (str(member.value) for member in option)
