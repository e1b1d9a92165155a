"""Write the reference pages and the PrometheusRule: `python docs/generate.py`, or `--check` that they are written.

Each page has one source: settings the commented deploy/settings.toml and the types; topics and messages the registry
and the message types; features and fields of rules their declarations; metrics their help texts; alerts their rules;
outcomes the enumerations; commands their help. The PrometheusRule of deploy/kubernetes has the rules of
deploy/prometheus/alerts.yml, which no Kustomize tree can include.
Exit code 1 of `--check` names the files that are stale.
"""

import argparse
import inspect
import json
import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec
import typer
import yaml
from prometheus_client import CollectorRegistry

from stream_coupons import settings
from stream_coupons.contracts import schemas
from stream_coupons.contracts.docstrings import attribute_docs
from stream_coupons.core import reasons
from stream_coupons.core.catalogue import rule_fields
from stream_coupons.core.features import numeric
from stream_coupons.core.features.affinity import PRIOR_SHARE
from stream_coupons.core.features.feature import Feature
from stream_coupons.core.messages.fields import END_OF_TIME, MONEY
from stream_coupons.kafka import topics
from stream_coupons.observability import metrics
from stream_coupons.ops.explain import candidate_verdicts
from stream_coupons_lab.datasets import log_records, log_schema
from stream_coupons_lab.ope import decision_rows, row_files

command_line = import_module("stream_coupons.cli.main")  # the package has a function of that name

ROOT = Path(__file__).parents[1]
ALERTS = ROOT / "deploy" / "prometheus" / "alerts.yml"
OUTPUT = ROOT
"""Folder that the names of written files are relative to."""
WARNING = "<!-- Written by docs/generate.py from the code: change the code, then run it. -->"
RULE_HEADER = """# Written by docs/generate.py from deploy/prometheus/alerts.yml: change the alerts, then run it.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: stream-coupons
spec:
"""
STRICT = {"exclusiveMinimum": "above", "exclusiveMaximum": "below"}
BEYOND_BOUNDS = 1e15
"""A bound of settings that only keeps arithmetic finite: it is not shown."""
HEADERS = schemas.DeadLetterHeaders.__name__
PLACEHOLDERS = {"number": "*x*", "whole": "*n*", "percent": "*p* %"}
"""Numbers in the texts of features."""
UNITS = {"_s": "seconds", "_minor": "minor units of money", "_ratio": "share", "_mib": "MiB", "_bytes": "bytes"}


def page(title: str, introduction: str, *parts: str) -> str:
    """Return a page of Markdown."""
    return "\n\n".join([f"# {title}", WARNING, introduction, *parts]).rstrip() + "\n"


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table; bars and line breaks within cells are escaped."""
    cells = [[" ".join(cell.split()).replace("|", "\\|") for cell in row] for row in rows]
    lines = [headers, ["---"] * len(headers), *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def code(text: object) -> str:
    """Return text as inline code."""
    return f"`{text}`"


# ------------------------------------------------------------ settings


def settings_page() -> str:
    """Return the page of settings: comments, defaults and bounds."""
    comments = settings_comments()
    defaults = msgspec.to_builtins(settings.Settings(), order="deterministic")
    schema = msgspec.json.schema(settings.Settings, ref_template="{name}")
    of_settings = schema["$defs"]["Settings"]["properties"]
    names = list(comments)
    parts = [
        _setting(name, comments[name], defaults[name], of_settings[name], schema["$defs"], names)
        for name in names
        if "." not in name and name not in settings.SECTIONS
    ]
    for section in (name for name in names if name in settings.SECTIONS):
        parts.append(f"## {section}")
        parts.append(_prose(comments[section], names))
        fields = _resolve(of_settings[section], schema["$defs"])["properties"]
        for name, value in defaults[section].items():
            text = comments[f"{section}.{name}"]
            parts.append(_setting(f"{section}.{name}", text, value, fields[name], schema["$defs"], names))
    introduction = (
        "Defaults, then the file given by `--config`, then the environment: one variable a setting, named below. A\n"
        "name that is none of these is refused. `stream-coupons settings show` prints those in effect.\n\n"
        "Names that end in `_s` are seconds, in `_minor` minor units of money (cents), in `_ratio` shares. All\n"
        "workers of a group need the same secret and the same sections `kafka`, `profile`, `neighbourhood`, `policy`\n"
        "and `attribution`: they share state. Restart all of them to change those."
    )
    return page("Settings", introduction, *parts)


def settings_comments() -> dict[str, str]:
    """Return the comment above each setting and section of deploy/settings.toml, by its dotted name."""
    comments: dict[str, str] = {}
    section, block = "", []
    for line in (ROOT / "deploy" / "settings.toml").read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            block.append(line[1:].removeprefix(" "))
            continue
        if named := re.match(r"\[(\w+)\]|(\w+) = ", line):
            if named[1]:
                section = named[1]
            comments[named[1] or ".".join(filter(None, (section, named[2])))] = "\n".join(block)
        block = []
    return comments


def _setting(name: str, text: str, default: Any, field: Any, definitions: Any, names: Sequence[str]) -> str:
    variable = settings.PREFIX + name.upper().replace(".", "__")
    unit = next((word for suffix, word in UNITS.items() if name.endswith(suffix)), "")
    facts = [f"Default {code(_toml(default))}", unit, _bounds(field, definitions), code(variable)]
    return f"### {code(name)}\n\n{' · '.join(filter(None, facts))}\n\n{_prose(text, names)}"


def _toml(value: Any) -> str:
    return json.dumps(value) if not isinstance(value, float) else repr(value)


def _prose(text: str, names: Sequence[str]) -> str:
    """Return a comment as Markdown: indented lines are choices, names of settings are code."""
    blocks: list[str] = []
    for line in text.splitlines():
        choice = re.match(r"  (?! )(\S+)  +(\S.*)", line)
        if choice:
            before = "" if blocks and blocks[-1].lstrip().startswith("- ") else "\n"
            blocks.append(f"{before}- {code(choice[1])}: {_marked(choice[2], names)}")
        elif line.startswith("  "):
            blocks[-1] += " " + _marked(line.strip(), names)
        else:
            after = "\n" if blocks and blocks[-1].lstrip().startswith("- ") else ""
            blocks.append(after + _marked(line, names))
    return "\n".join(blocks)


def _marked(text: str, names: Sequence[str]) -> str:
    """Return text with settings and metrics in code, and pages as links."""
    known = {name.rpartition(".")[2] for name in names if "_" in name} | {name for name in names if "." in name}
    text = re.sub(r"docs/([\w/-]+)/([\w-]+)\.md(#[\w-]+)?", r"[\2](../\1/\2.md\3)", text)
    return re.sub(
        r"(?<![\w`/.\[-])[a-z][\w.]*\w(?![\w`/])",
        lambda word: code(word[0]) if word[0] in known or word[0].startswith("stream_coupons_") else word[0],
        text,
    )


# ------------------------------------------------------------ types


def _resolve(field: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    reference = field.get("$ref", "").rpartition("/")[2]
    if not reference and len(field.get("allOf", [])) == 1:
        return _resolve(field["allOf"][0], definitions)
    return {**definitions[reference], **field} if reference else dict(field)


def _items(field: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the type of an array's elements; None if it is not one and the same."""
    each = [field["items"]] if field.get("items") else field.get("prefixItems", [])
    return each[0] if each and all(one == each[0] for one in each) else None


def _kind(field: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    """Return a type in words; the name of a message as a link."""
    reference = field.get("$ref", "").rpartition("/")[2]
    if reference and definitions[reference].get("type") in ("object", "array"):
        return f"[{reference}](#{reference.lower()})"
    field = _resolve(field, definitions)
    if "anyOf" in field:
        return " or ".join(_kind(each, definitions) for each in field["anyOf"])
    if "enum" in field:
        return ", ".join(code(json.dumps(each)) for each in field["enum"])
    if "const" in field:
        return code(json.dumps(field["const"]))
    if field.get("type") == "array":
        items = _items(field)
        return f"list of {_kind(items, definitions)}" if items else "list"
    if field.get("type") == "object" and field.get("additionalProperties"):
        values = field["additionalProperties"]
        kinds = [_kind(each, definitions) for each in values.get("anyOf", [values])]
        return f"object of {', '.join(kinds)}"
    return {"number": "number", "integer": "whole number", "string": "text", "boolean": "true or false"}.get(
        field.get("type", ""), field.get("type", "anything")
    )


def _bounds(field: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    """Return what values are allowed, in words."""
    field = _resolve(field, definitions)
    if "anyOf" in field:
        return ", ".join(filter(None, (_bounds(each, definitions) for each in field["anyOf"])))
    if field.get("maximum") == END_OF_TIME:
        return "until the year 2100"
    if "enum" in field:
        return "one of " + ", ".join(code(json.dumps(each)) for each in field["enum"])
    words = [
        _range(field.get(low), field.get(high), noun)
        for low, high, noun in (
            ("minimum", "maximum", ""),
            ("minLength", "maxLength", " characters"),
            ("minItems", "maxItems", " elements"),
        )
    ]
    words[0] = ", ".join(
        filter(None, [*(f"{word} {_number(field[key])}" for key, word in STRICT.items() if key in field), words[0]])
    )
    items = _items(field)
    if items and (inner := _bounds(items, definitions)):
        words.append(f"each {inner}")
    return ", ".join(filter(None, words))


def _range(low: float | None, high: float | None, noun: str) -> str:
    low, high = (None if end is not None and abs(end) == BEYOND_BOUNDS else end for end in (low, high))
    if low is not None and low == high:
        return f"{_number(low)}{noun}"
    if low is not None and high is not None:
        return f"{_number(low)} to {_number(high)}{noun}"
    if low is None and high is None:
        return ""
    return f"at least {_number(low)}{noun}" if low is not None else f"at most {_number(high or 0)}{noun}"


def _number(value: float) -> str:
    if abs(value) == 2**53:
        return "2^53" if value > 0 else "-2^53"
    return f"{int(value):,}" if value == int(value) and abs(value) < 2**53 else f"{value:,}"


def member_docs(enumeration: type[StrEnum]) -> dict[str, str]:
    """Return the docstring below each member of an enumeration, by the member's value.

    Raises
    ------
    LookupError
        If a member has none.
    """
    docs = attribute_docs(enumeration)
    missing = [member.value for member in enumeration if member.name not in docs]
    if missing:
        raise LookupError(f"{enumeration.__name__}: no docstring below {', '.join(missing)}")
    return {member.value: docs[member.name] for member in enumeration}


# ------------------------------------------------------------ topics and messages


def topics_page() -> str:
    """Return the page of topics."""
    groups: dict[str, Sequence[topics.Topic]] = {
        "You write": topics.INPUTS,
        "You read": (topics.ISSUES, topics.DEAD_LETTERS),
        "You fill by the command line": (topics.CATALOG, topics.CAMPAIGNS),
        "Changelogs": [topic for topic in topics.ALL if topic.name.endswith("-changelog")],
    }
    named = [topic for members in groups.values() for topic in members]
    groups["Between the agents"] = [topic for topic in topics.ALL if topic not in named]
    parts = []
    for title, members in groups.items():
        rows = [
            [
                code(topic.name),
                topic.about,
                code(topic.key) if " " not in topic.key and "'" not in topic.key else topic.key,
                _message_link(topic),
                ", ".join(topic.written_by),
                ", ".join(topic.read_by),
                _retention(topic),
                _partitions(topic),
                _size(topic.max_message_bytes),
            ]
            for topic in members
        ]
        headers = ["Topic", "Content", "Key", "Message", "Written by", "Read by", "Kept", "Partitions", "Largest batch"]
        parts.append(f"## {title}\n\n{table(headers, rows)}")
    return page(
        "Topics",
        "`stream-coupons topics apply` creates them as stated here and checks those that exist; "
        "`stream-coupons topics list` shows the same. The partition of a key is that of Java's producer (murmur2).",
        *parts,
    )


def _message_link(topic: topics.Topic) -> str:
    return f"[{topic.message.__name__}](messages.md#{topic.message.__name__.lower()})" if topic.message else ""


def _retention(topic: topics.Topic) -> str:
    if topic.cleanup is topics.Cleanup.COMPACT:
        return "the last record of each key"
    if topic.retention_ms == topics.FOR_EVER:
        return "for ever"
    days = topic.retention_ms / topics.DAY_MS
    last = "the last record of each key, for " if topic.cleanup is topics.Cleanup.COMPACT_AND_DELETE else ""
    return f"{last}{days:g} day{'s' if days != 1 else ''}"


def _partitions(topic: topics.Topic) -> str:
    return code("kafka.partitions") if topic.partitions is None else str(topic.partitions)


def _size(number: int) -> str:
    return f"{number / topics.MIB:g} MiB"


def messages_page() -> str:
    """Return the page of messages: fields, types, bounds, meaning."""
    carried = topics.with_message()
    definitions: dict[str, Any] = {}
    for message in (*(topic.message for topic in carried), schemas.DeadLetterHeaders, log_records.LogLine):
        definitions |= schemas.definitions_of(message, log_schema.MODULES)[0]
    of = {topic.message.__name__: topic for topic in carried if topic.message}
    parts = [name for name in definitions if name not in of and not name.endswith("Line") and name != HEADERS]
    lines = [name for name in definitions if name.endswith("Line")]
    introduction = (
        "Messages are JSON, each of them in the topic named with it. Unknown fields are ignored, and fields that have "
        "their default are left out. New fields get a default; any other change makes a new `schema_version`.\n\n"
        "Names that end in `_minor` are money in minor units (cents), as whole numbers: `899`, not `899.0`. Those that "
        "end in `_at` are UTC epoch seconds."
    )
    return page(
        "Messages",
        introduction,
        *(_message(name, definitions, of.get(name)) for name in (*of, *sorted(parts))),
        _message(HEADERS, definitions, topics.DEAD_LETTERS),
        f"## Lines of a log\n\n{inspect.cleandoc(log_records.__doc__ or '')}",
        *("#" + _message(name, definitions, None) for name in lines),
        f"## Rows of an export\n\n{decision_rows.DecisionRow.__doc__}",
        table(
            ["Column", "Type", "Meaning"],
            [
                [
                    code(field.name),
                    f"{field.type}{' or missing' * field.nullable}",
                    field.metadata[b"description"].decode(),
                ]
                for field in row_files.schema()
            ],
        ),
    )


def _message(name: str, definitions: Mapping[str, Any], topic: topics.Topic | None) -> str:
    definition = definitions[name]
    parts = [f"## {name}", inspect.cleandoc(definition.get("description", ""))]
    if topic is not None:
        stem = schemas.stem(topic.name)
        example = ROOT / "schemas" / "examples" / f"{stem}.json"
        examples = f" and `schemas/examples/{stem}.json`" if example.is_file() else ""
        parts.append(f"In {code(topic.name)}; see `schemas/{stem}.schema.json`{examples}.")
    if "properties" in definition:
        required = set(definition.get("required", ()))
        fields = [(field, body, field in required) for field, body in definition["properties"].items()]
    elif "prefixItems" in definition:
        struct = schemas.type_of(name)
        fields = [
            (field, body, True) for field, body in zip(struct.__struct_fields__, definition["prefixItems"], strict=True)
        ]
        parts.append("An array of these, in this order:")
    else:
        return "\n\n".join(parts)
    rows = [
        [code(field), _type(body, definitions), "required" if is_required else _default(body), _meaning(body)]
        for field, body, is_required in fields
    ]
    parts.append(table(["Field", "Type", "Default", "Meaning"], rows))
    return "\n\n".join(parts)


def _type(field: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    """Return the type of a field and what values are allowed."""
    bounds = "" if "enum" in _resolve(field, definitions) else _bounds(field, definitions)
    return ", ".join(filter(None, (_kind(field, definitions), bounds)))


def _meaning(field: Mapping[str, Any]) -> str:
    """Return the description of a field; that of its type is in the introduction."""
    text: str = field.get("description", "")
    return text.removesuffix(f"; {MONEY}.").removesuffix("; UTC epoch seconds.").rstrip(".") + "."


def _default(field: Mapping[str, Any]) -> str:
    default = field.get("default")
    return code(json.dumps(default)) if default is not None else "none"


# ------------------------------------------------------------ metrics and alerts


def metrics_page() -> str:
    """Return the page of metrics."""
    rows = []
    for metric in vars(metrics.Metrics(CollectorRegistry())).values():
        if hasattr(metric, "_labelnames"):
            name = metric._name + ("_total" if metric._type == "counter" else "")
            rows.append([code(name), metric._type, ", ".join(metric._labelnames), metric._documentation])
    introduction = (
        "Workers and learners serve these at `/metrics` on `worker.metrics_host`: a worker on `worker.metrics_port`, a "
        "learner on the next port. Memory, CPU time and descriptors are `process_*`. Names end in their unit; labels "
        "are closed sets, or the domains and campaigns of your catalogue."
    )
    return page("Metrics", introduction, table(["Metric", "Type", "Labels", "Meaning"], rows))


def alerts_page() -> str:
    """Return the page of alerts."""
    text = ALERTS.read_text(encoding="utf-8")
    parts: list[str] = []
    for group in yaml.safe_load(text)["groups"]:
        topic = group["name"].removeprefix("stream-coupons-")
        rows = [_alert(rule, topic) for rule in group["rules"] if "alert" in rule]
        parts += [f"## {topic.capitalize()}", table(["Alert", "Severity", "Fires when", "Summary"], rows)]
    introduction = (
        "The rules of `deploy/prometheus/alerts.yml`, each linked to its runbook. *Critical* wakes somebody, *warning* "
        "waits for the morning."
    )
    return page("Alerts", introduction, *parts)


def _alert(rule: Mapping[str, Any], topic: str) -> list[str]:
    notes = {name: _without_templates(" ".join(text.split())) for name, text in rule["annotations"].items()}
    lasts = f" It has to last {_duration(rule['for'])}." if "for" in rule else ""
    link = f"[{code(rule['alert'])}](../runbooks/{topic}.md#{rule['alert'].lower()})"
    return [link, rule["labels"]["severity"], f"{notes['condition']}{lasts}", notes["summary"]]


def _without_templates(text: str) -> str:
    return re.sub(r"\{\{ \$labels\.(\w+) \}\}", r"*\1*", re.sub(r"\{\{ \$value[^}]*\}\}", "*n*", text))


def _duration(text: str) -> str:
    number, unit = int(text[:-1]), {"m": "minute", "h": "hour"}[text[-1]]
    return f"{number} {unit}{'s' if number != 1 else ''}"


def prometheus_rule() -> str:
    """Return the alerts as an object of the Prometheus Operator."""
    _, groups, rules = ALERTS.read_text(encoding="utf-8").partition("groups:\n")
    return f"{RULE_HEADER}{textwrap.indent(groups + rules, '  ')}"


# ------------------------------------------------------------ outcomes


def outcomes_page() -> str:
    """Return the page of outcomes, reasons and codes."""
    decisions = {"proposed": "A coupon was proposed; `sold_out` or another outcome may follow."}
    decisions |= member_docs(reasons.NoCoupon)
    letters = []
    for value, text in member_docs(reasons.Rejection).items():
        meaning, _, fix = text.partition(" Fix: ")
        letters.append([code(value), meaning, _sentence(fix)])
    names = [*settings_comments(), "caps"]
    ineligible = [
        [code(one), _sentence(_marked(candidate_verdicts.WORDS[one], names))]
        for one in (*reasons.Ineligible, *reasons.Passed)
    ]
    exits = [[code(number), _sentence(text)] for number, text in exit_codes()]
    return page(
        "Outcomes, reasons and exit codes",
        "The closed sets of codes in metrics, dead letters, explanations and scripts.",
        "## Decisions",
        "What a trigger leads to: the label `outcome` of `stream_coupons_decisions_total`.",
        table(["Outcome", "Meaning"], [[code(name), text] for name, text in decisions.items()]),
        "## Dead letters",
        "The header `reason` of a record of `dead-letters`, and a label of `stream_coupons_dead_letters_total`.",
        table(["Reason", "Meaning", "Who fixes it"], letters),
        "## Why not this coupon",
        "Codes of `stream-coupons explain` for a coupon that was not given. A shopper who gets none has an outcome of "
        "decisions.",
        table(["Code", "Meaning"], ineligible),
        "## Exit codes",
        table(["Code", "Meaning"], exits),
    )


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


def exit_codes() -> list[tuple[str, str]]:
    """Return the exit codes of the command line with their meaning."""
    text = " ".join((command_line.__doc__ or "").split())
    found = re.search(r"Exit codes: (.*?)\.(?: |$)", text)
    assert found is not None
    return [(number, meaning) for number, _, meaning in (part.strip().partition(" ") for part in found[1].split(";"))]


# ------------------------------------------------------------ features


def features_page() -> str:
    """Return the page of numeric features by group."""
    parts = [
        f"## {subject.capitalize()}\n\n"
        + table(["Feature", "Text", "Bounds", "Prior weights"], list(_features(features)))
        for subject, features in numeric.BUILT_IN.items()
    ]
    return page(
        "Features",
        "The numeric features of a shopper, a coupon and a moment, in the order of their columns. The text continues "
        '"the coupon ..." in [explanations](../how-to/explain-a-decision.md). Prior weights are those of the log-odds '
        "before learning, by model; a model that is not named has 0. [Cold start](../explanation/cold-start.md) gives "
        "the reasons. [Add a feature](../how-to/add-a-feature.md) tells how to declare another one.",
        *parts,
    )


def rule_fields_page() -> str:
    """Return the page of the fields that eligibility rules may read."""
    fields = {**rule_fields.OCCASION_FIELDS, **rule_fields.COUPON_FIELDS}
    parts = []
    for root, declared in (
        ("shopper", rule_fields.ShopperFields),
        ("trigger", rule_fields.TriggerFields),
        ("coupon", rule_fields.CouponFields),
    ):
        of_root = [(name, field) for name, field in fields.items() if name.startswith(f"{root}.")]
        rows = [[f"`{name}`", f"`{field.kind}`", field.doc.rstrip(".")] for name, field in of_root]
        heading = f"## {root.capitalize()}\n\n{(declared.__doc__ or '').strip()}"
        parts.append(f"{heading}\n\n{table(['Field', 'Type', 'Value'], rows)}")
    return page(
        "Fields of rules",
        "An [eligibility rule](../how-to/write-a-catalogue.md#rules) may read these fields, with their types in CEL.",
        *parts,
    )


def _features(features: Iterable[Feature]) -> Iterator[list[str]]:
    for feature in features:
        text = feature.text if isinstance(feature.text, str) else feature.text(PRIOR_SHARE)
        low, high = feature.bounds
        weights = ", ".join(f"{head} {weight:g}" for head, weight in feature.prior.items())
        shown = re.sub(r"\{(\w+)\}", lambda form: PLACEHOLDERS[form[1]], text)
        yield [code(feature.name), shown, f"{low:g} to {high:g}", weights]


# ------------------------------------------------------------ the command line


def command_line_page() -> str:
    """Return the page of commands with their options, from their help."""
    root: Any = typer.main.get_command(command_line.app)
    context = root.make_context("stream-coupons", [], resilient_parsing=True)
    commands = list(_commands(root, context, ()))
    overview = [
        [f"[{code('stream-coupons ' + ' '.join(path))}](#stream-coupons-{'-'.join(path)})", _first(command.help)]
        for path, command in commands
    ]
    introduction = (
        "Each command has `--help` with the same text. Results go to standard output, all else to standard error; the "
        "[exit code](outcomes.md#exit-codes) says how it ended. An error is one line: what is wrong, where, what to "
        "do. Colours are for terminals, and for none where `NO_COLOR` is set."
    )
    completion = (
        "`stream-coupons --install-completion` lets your shell complete commands, options and their values. "
        "`_STREAM_COUPONS_COMPLETE=source_zsh stream-coupons` (or `source_bash`, `source_fish`) prints the script to "
        "install by hand."
    )
    return page(
        "Command line",
        introduction,
        completion,
        table(["Command", "What it does"], overview),
        *(_command(path, command) for path, command in commands),
    )


def _commands(group: Any, context: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if getattr(command, "hidden", False):
            continue
        if hasattr(command, "list_commands"):
            yield from _commands(command, context, (*path, name))
        else:
            yield (*path, name), command


def _first(text: str | None) -> str:
    return " ".join(re.sub(r"-\n\s*", "-", (text or "").strip().split("\n\n")[0]).split())


def _command(path: tuple[str, ...], command: Any) -> str:
    name = "stream-coupons " + " ".join(path)
    context = command.make_context(name, [], resilient_parsing=True)
    usage = " ".join(command.get_usage(context).removeprefix("Usage: ").split())
    records = [
        parameter.get_help_record(context)
        for parameter in command.params
        if not parameter.hidden and parameter.name != "help"
    ]
    rows = [[code(_plainer(names)), text.replace("  [", " [")] for names, text in records]
    options = [table(["Argument or option", "Meaning"], rows)] if rows else []
    text = _help(inspect.cleandoc(command.help or ""))
    return "\n\n".join([f"## {name}", f"```text\n{usage}\n```", *text, *options])


def _plainer(metavar: str) -> str:
    """Return an option's name and type without Click's words for ranges, which the help states."""
    return metavar.replace(" range>", ">")


def _help(text: str) -> Iterator[str]:
    """Return the paragraphs of a help text; its examples as a block of code."""
    for paragraph in text.replace("\b\n", "").split("\n\n"):
        if paragraph.startswith("Example"):
            lines = [line.strip() for line in paragraph.partition(":")[2].splitlines()]
            yield "```\n" + "\n".join(line for line in lines if line) + "\n```"
        else:
            yield paragraph


FILES: Mapping[str, Callable[[], str]] = {
    "docs/reference/settings.md": settings_page,
    "docs/reference/topics.md": topics_page,
    "docs/reference/messages.md": messages_page,
    "docs/reference/metrics.md": metrics_page,
    "docs/reference/alerts.md": alerts_page,
    "docs/reference/features.md": features_page,
    "docs/reference/rule-fields.md": rule_fields_page,
    "docs/reference/outcomes.md": outcomes_page,
    "docs/reference/command-line.md": command_line_page,
    "deploy/kubernetes/monitoring/rules.yml": prometheus_rule,
}


def stale() -> list[str]:
    """Return the names of the files that differ from what the code says."""
    return [
        name
        for name, write in FILES.items()
        if not (OUTPUT / name).is_file() or (OUTPUT / name).read_text(encoding="utf-8") != write()
    ]


def main() -> int:
    """Write the files, or check them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if a file is stale")
    if parser.parse_args().check:
        names = stale()
        for name in names:
            print(f"{name} is stale: run python docs/generate.py", file=sys.stderr)
        return 1 if names else 0
    for name in stale():
        (OUTPUT / name).write_text(FILES[name](), encoding="utf-8")
        print(name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
