"""Catalogue files as data: JSON, JSON lines or YAML, with the line of each entry and of its fields.

YAML is read by the core schema of YAML 1.2: `no` and `on` are texts, and so are dates and times, which
`ops.entry_checks` reads. A file holds entries of one kind, or is a mapping with `campaigns` and `coupons`.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import yaml
from msgspec import Struct

from stream_coupons.core.errors import BadConfig
from stream_coupons.core.payload_hints import unlike_json
from stream_coupons.core.validation_hints import not_utf8
from stream_coupons.ops.recordings import BYTE_ORDER_MARK

SECTIONS = ("campaigns", "coupons")
MAX_LOCATED_BYTES = 4 * 1024 * 1024
"""Lines within larger JSON files are not looked for: it takes a second a MiB."""
_SCHEMA_KEY = "$schema"
_WORDS = {"~": None, "": None} | {
    form: value
    for word, value in (("null", None), ("true", True), ("false", False))
    for form in (word, word.title(), word.upper())
}
_NUMBER = re.compile(r"[-+]?(?:\d{1,30}|(\.\d+|\d+(\.\d*)?)([eE][-+]?\d+)?)")
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_AT_BYTE = re.compile(r" \(byte (\d+)\)")

_NO_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

Node = yaml.Node | None


class Written(Struct, frozen=True):
    """An entry as it is written.

    Attributes
    ----------
    section : str
        `campaigns` or `coupons`; empty if the file does not state it.
    line : int
        Its first line.
    lines : dict
        Lines of its fields.
    repeated : list of str
        Fields that are written twice.
    fault : str
        Fault of a line of JSON lines that is no JSON.
    """

    section: str
    value: Any
    line: int
    lines: dict[str, int] = {}
    repeated: list[str] = []
    fault: str = ""


def read_written(data: bytes, name: str) -> list[Written]:
    """Return the entries of a file; the end of its name decides its form, else its first character.

    Raises
    ------
    BadConfig
        If it is neither JSON nor YAML, or is no catalogue.
    """
    data = data.removeprefix(BYTE_ORDER_MARK)
    if (what := not_utf8(data)) and not unlike_json(data):
        raise BadConfig(f"{name} {what}")
    if not data.strip():
        return []
    form = Path(name).suffix.lower()
    if form in (".yaml", ".yml") or (form not in (".json", ".jsonl") and data.lstrip()[:1] not in b"[{"):
        return [each for node, value in _composed(data, name) for each in _entries(value, node, name)]
    try:
        value = msgspec.json.decode(data)
    except _NO_JSON as error:
        if form != ".json":
            return list(_json_lines(data, name))
        raise BadConfig(f"{name}{_not_json(error, data)}") from None
    return list(_entries(value, _located(data), name))


def _json_lines(data: bytes, name: str) -> Iterator[Written]:
    for number, line in enumerate(data.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            value = msgspec.json.decode(line)
        except _NO_JSON as error:
            yield Written("", None, number, fault=_not_json(error, line).partition(": ")[2])
            continue
        for each in _entries(value, None, name):
            found = _written(each.section, each.value, _located(line))
            yield msgspec.structs.replace(found, line=number, lines=dict.fromkeys(found.lines, number))


def _entries(value: Any, node: Node, name: str) -> Iterator[Written]:
    if not isinstance(value, dict) or value.keys().isdisjoint(SECTIONS):
        yield from _elements("", value, node)
        return
    for key, of_key in value.items():
        if key in SECTIONS:
            yield from _elements(key, of_key, _child(node, key))
        elif key != _SCHEMA_KEY:
            raise BadConfig(f"{name}: {key}: no such section, expected {' and '.join(SECTIONS)}")


def _elements(section: str, value: Any, node: Node) -> Iterator[Written]:
    """Yield the elements of a list, or the one entry that is none."""
    if not isinstance(value, list):
        yield _written(section, value, node)
        return
    nodes = node.value if isinstance(node, yaml.SequenceNode) else [None] * len(value)
    for each, of_each in zip(value, nodes, strict=True):
        yield _written(section, each, of_each)


def _written(section: str, value: Any, node: Node) -> Written:
    if not isinstance(node, yaml.MappingNode):
        return Written(section, value, 0 if node is None else node.start_mark.line + 1)
    lines: dict[str, int] = {}
    repeated = []
    for key, _ in node.value:
        name = str(key.value)
        if name in lines:
            repeated.append(name)
        lines[name] = key.start_mark.line + 1
    return Written(section, value, node.start_mark.line + 1, lines, repeated)


def _child(node: Node, name: str) -> Node:
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    return next((value for key, value in pairs if key.value == name), None)


def _not_json(error: Exception, data: bytes) -> str:
    place = _AT_BYTE.search(str(error))
    line = 1 + (data[: int(place[1])].count(b"\n") if place else 0)
    what = _AT_BYTE.sub("", str(error))
    return f", line {line}: is no JSON: {what}{unlike_json(data)}; correct the text at or before this place"


def _located(data: bytes) -> Node:
    """Return the nodes of JSON, which is YAML but for its tabs and surrogates; None where the file is large."""
    if len(data) > MAX_LOCATED_BYTES:
        return None
    try:
        return yaml.compose(_SURROGATE.sub(b"??????", data).replace(b"\t", b" "), Loader=yaml.CBaseLoader)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError):
        return None


def _composed(data: bytes, name: str) -> list[tuple[yaml.Node, Any]]:
    """Return the nodes of the documents of YAML, each with its data."""
    try:
        return [(node, _plain(node)) for node in yaml.compose_all(data, Loader=yaml.CBaseLoader)]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = "" if mark is None else f", line {mark.line + 1}"
        what = "indent by spaces" if " tab " in str(error.problem) else "look at the indentation and the colons there"
        raise BadConfig(f"{name}{line}: is no YAML: {error.problem}; {what}") from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise BadConfig(f"{name}: is no YAML: {error}; save it as UTF-8") from None


def _plain(node: yaml.Node) -> Any:
    """Return the data of a node by the core schema of YAML 1.2."""
    if isinstance(node, yaml.MappingNode):
        return {str(key.value): _plain(value) for key, value in node.value}
    if isinstance(node, yaml.SequenceNode):
        return [_plain(each) for each in node.value]
    text: str = node.value
    if getattr(node, "style", None):  # in quotes, or a block
        return text
    if text in _WORDS:
        return _WORDS[text]
    if (number := _NUMBER.fullmatch(text)) is None:
        return text
    return int(text) if number[1] is None else float(text)
