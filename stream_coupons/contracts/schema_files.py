"""Files of the contracts: written from the types, and checked to be fresh and only ever to grow.

Packages add schemas by an entry point: a function that takes the folder of examples, and returns texts by file name.
"""

import json
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

from stream_coupons.contracts import catalogue_schema, clients
from stream_coupons.contracts.schemas import DEFINITIONS, Schema, document, stem, text_of
from stream_coupons.core.errors import BadConfig
from stream_coupons.core.messages.fields import SCHEMA_VERSION
from stream_coupons.kafka.topics import DEAD_LETTERS, with_message

OF_PACKAGES = "stream_coupons.schemas"
"""Entry points of packages that add schemas."""

# Raising a keyword of the first tuple admits fewer values, raising one of the second admits more.
LOWER_BOUNDS = ("minimum", "exclusiveMinimum", "minLength", "minItems")
UPPER_BOUNDS = ("maximum", "exclusiveMaximum", "maxLength", "maxItems")


def generate(examples: Path | None = None) -> dict[str, str]:
    """Return the text of every schema file, by file name.

    Parameters
    ----------
    examples : Path, optional
        Folder of the hand-written `<topic>.v1.json`; those found there become the schemas' `examples`.
    """
    documents = {}
    for topic in [*with_message(), DEAD_LETTERS]:
        source = examples / f"{stem(topic.name)}.json" if examples else None
        shown = json.loads(source.read_text(encoding="utf-8")) if source and source.is_file() else []
        documents[f"{stem(topic.name)}.schema.json"] = text_of(document(topic), shown)
    documents[catalogue_schema.NAME] = text_of(catalogue_schema.catalogue_schema(), [])
    documents |= clients.documents()
    for point in entry_points(group=OF_PACKAGES):
        documents |= point.load()(examples)
    return documents


def stale(folder: Path) -> list[str]:
    """Return the differences between a folder of schemas and the types; empty if none."""
    wanted = generate(folder / "examples")
    present = {path.name for path in folder.iterdir() if path.is_file()}
    problems = [f"{name}: missing" for name in sorted(wanted.keys() - present)]
    problems += [f"{name}: nothing has it" for name in sorted(present - wanted.keys()) if _is_current(name)]
    problems += [
        f"{name}: differs from the message types"
        for name in sorted(wanted.keys() & present)
        if (folder / name).read_text(encoding="utf-8") != wanted[name]
    ]
    return problems


def breaking(folder: Path) -> list[str]:
    """Every change between the schemas of a folder and the types that must not be made within a version."""
    wanted = generate()
    problems = []
    for path in sorted(folder.glob("*.schema.json")):
        if path.name in wanted:
            old = json.loads(path.read_text(encoding="utf-8"))
            changes = breaking_changes(old, json.loads(wanted[path.name]))
            problems += [f"{path.name}: {change}" for change in changes]
        elif _is_current(path.name):
            problems.append(f"{path.name}: what it describes was removed")
    return problems


def write(folder: Path, *, allow_breaking: bool = False) -> list[str]:
    """Write the schemas that are missing or stale, and say which.

    Raises
    ------
    BadConfig
        When a change is not additive: such a change needs a new version, not a new text.
    """
    problems = [] if allow_breaking else breaking(folder)
    if problems:
        raise BadConfig("only additive changes keep the version:\n  " + "\n  ".join(problems))
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, text in generate(folder / "examples").items():
        path = folder / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            written.append(name)
    return written


def breaking_changes(old: Schema, new: Schema) -> list[str]:
    """Return reasons why `new` may not replace `old` within a version; empty if it only adds to `old`.

    A topic's producers and consumers are upgraded at different times, so both directions count:
    messages of v1 producers must stay valid, and new messages must stay readable to v1 consumers.
    """
    before, after = old.get("$comment"), new.get("$comment")
    changes = [] if before == after else [f"topic and key were {before!r}, are {after!r}"]
    return [*changes, *_Comparison(old, new).differences("$", old, new)]


def _is_current(name: str) -> bool:
    return name.endswith(f".v{SCHEMA_VERSION}.schema.json")


class _Comparison:
    """A walk through two schemas in step."""

    def __init__(self, old: Schema, new: Schema) -> None:
        self._old_definitions: dict[str, Schema] = old.get("$defs", {})
        self._new_definitions: dict[str, Schema] = new.get("$defs", {})

    def differences(self, at: str, old: Schema, new: Schema) -> Iterator[str]:
        old, new = _resolved(old, self._old_definitions), _resolved(new, self._new_definitions)
        if "default" in old and ("default" not in new or old["default"] != new["default"]):
            yield f"{at}: its default was {old['default']!r}, is {new.get('default', 'none')!r}"
        before = self._by_kind(old, self._old_definitions)
        after = self._by_kind(new, self._new_definitions)
        for kind in sorted(before.keys() - after.keys()):
            yield f"{at}: may no longer be {kind}"
        for kind in sorted(after.keys() - before.keys()):
            yield f"{at}: may now be {kind}, which readers would refuse"
        for kind in sorted(before.keys() & after.keys()):
            yield from self._same_kind(at, before[kind], after[kind])

    def _by_kind(self, schema: Schema, definitions: dict[str, Schema]) -> dict[str, Schema]:
        branches = [_resolved(branch, definitions) for branch in schema.get("anyOf", [schema])]
        return {_kind(branch): branch for branch in branches}

    def _same_kind(self, at: str, old: Schema, new: Schema) -> Iterator[str]:
        yield from _bounds(at, old, new)
        yield from _choices(at, old, new)
        if old.get("pattern") != new.get("pattern"):
            yield f"{at}: its pattern was {old.get('pattern')!r}, is {new.get('pattern')!r}"
        if "properties" in old or "properties" in new:
            yield from self._fields(at, old, new)
        for place, (left, right) in enumerate(
            zip(old.get("prefixItems", []), new.get("prefixItems", []), strict=False)
        ):
            yield from self.differences(f"{at}[{place}]", left, right)
        if len(new.get("prefixItems", [])) < len(old.get("prefixItems", [])):
            yield f"{at}: elements were removed"
        for keyword, suffix in (("items", "[]"), ("additionalProperties", "{}"), ("propertyNames", "{name}")):
            left, right = old.get(keyword) or {}, new.get(keyword) or {}
            if left or right:
                yield from self.differences(at + suffix, left, right)

    def _fields(self, at: str, old: Schema, new: Schema) -> Iterator[str]:
        before, after = old.get("properties", {}), new.get("properties", {})
        was_required, is_required = set(old.get("required", [])), set(new.get("required", []))
        for name in sorted(before.keys() - after.keys()):
            yield f"{at}.{name}: the field was removed"
        for name in sorted(is_required - before.keys()):
            yield f"{at}.{name}: a new field must not be required"
        for name in sorted(is_required & before.keys() - was_required):
            yield f"{at}.{name}: was optional, is required"
        for name in sorted(was_required & after.keys() - is_required):
            yield f"{at}.{name}: was required, is optional, and readers rely on it"
        for name in sorted(before.keys() & after.keys()):
            yield from self.differences(f"{at}.{name}", before[name], after[name])


def _kind(schema: Schema) -> str:
    """Return the label that identifies a branch of a schema: its type and, for log lines, the line's `type`."""
    tag = schema.get("properties", {}).get("type", {}).get("enum")
    if tag is not None:
        return f"{schema['type']} of type {tag[0]}"
    kind: str = schema.get("type", "one of a set" if "enum" in schema else "anything")
    return kind


def _resolved(schema: Schema, definitions: dict[str, Schema]) -> Schema:
    reference = schema.get("$ref")
    if reference is None:
        return schema
    return {**definitions[reference.removeprefix(DEFINITIONS)], **schema}


def _bounds(at: str, old: Schema, new: Schema) -> Iterator[str]:
    for keywords, sign in ((LOWER_BOUNDS, 1), (UPPER_BOUNDS, -1)):
        for keyword in keywords:
            before, after = old.get(keyword), new.get(keyword)
            if before == after:
                continue
            is_narrower = before is None or (after is not None and sign * (after - before) > 0)
            how = "narrower" if is_narrower else "wider than readers allow"
            yield f"{at}: {keyword} was {before}, is {after}: {how}"


def _choices(at: str, old: Schema, new: Schema) -> Iterator[str]:
    before, after = _allowed(old), _allowed(new)
    if before == after:
        return
    if before is None or after is None:
        yield f"{at}: allowed values were {before or 'any'}, are {after or 'any'}"
        return
    for value in sorted(before - after):
        yield f"{at}: {value} is no longer allowed"
    for value in sorted(after - before):
        yield f"{at}: {value} is now allowed, which readers would refuse"


def _allowed(schema: Schema) -> set[str] | None:
    values = schema["enum"] if "enum" in schema else [schema["const"]] if "const" in schema else None
    return None if values is None else {json.dumps(value) for value in values}
