"""What the pages name exists: commands and their options, settings, metrics, topics, files and links."""

import re
from typing import Any

import msgspec
import pytest
import typer
import yaml
from prometheus_client import CollectorRegistry
from typer.core import TyperGroup

from stream_coupons.cli.main import VERBS, app
from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.core.reasons import NoCoupon, Rejection
from stream_coupons.kafka import topics
from stream_coupons.observability.metrics import Metrics
from stream_coupons.settings import Settings

from .pages import NOTEBOOK, PAGES, ROOT, first_column, page, table_below

SOURCES = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "stream_coupons").rglob("*.py"))
CODE = re.compile(r"```\w*\n(.*?)```|`([^`\n]+)`", re.DOTALL)
COMMAND = re.compile(r"(?<![\w./-])stream-coupons((?: +[^\s`|<>;()]+)*)")
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
OWN_PATH = re.compile(r"(?<![\w./:~-])(?:/(?:work|home|root|usr|opt|tmp|var|mnt|Users)\b|~/|[A-Z]:\\)")
IN_THE_CLONE = re.compile(r"(?:stream_coupons|tests|benchmarks|deploy|schemas|docs|examples|\.ci)/[\w./-]*\w")
NO_CONTEXT: Any = None


def code(name: str) -> list[str]:
    """Return what a page has in code, fenced or inline."""
    return [fenced or inline for fenced, inline in CODE.findall(page(name))]


# ------------------------------------------------------------ commands


def commands() -> list[str]:
    """Return what follows `stream-coupons` wherever a page has it in code."""
    found = {words.strip() for name in PAGES for text in code(name) for words in COMMAND.findall(text)}
    return sorted(words for words in found if words)


@pytest.mark.process  # what some commands import asks the system of which architecture it is
@pytest.mark.parametrize("words", commands())
def test_every_command_exists_with_its_options(words: str) -> None:
    command: Any = typer.main.get_command(app)
    verbs: list[str] = []
    for word in words.split():
        if not isinstance(command, TyperGroup) or word.startswith("-"):
            break
        command = command.get_command(NO_CONTEXT, word)
        assert command is not None, word
        verbs.append(word)
    assert not isinstance(command, TyperGroup) or [word for word in words.split() if word[0] != "-"] == verbs
    known = {option for each in command.params for option in (*each.opts, *each.secondary_opts)} | {"--help"}
    assert {word for word in words.split() if word.startswith("-") and word != "-"} <= known


def test_every_verb_is_named() -> None:
    assert {words.split()[0] for words in commands()} >= set(VERBS)


@pytest.mark.parametrize("name", PAGES)
def test_every_target_of_make_exists(name: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", page("Makefile"), re.MULTILINE))
    named = {target for text in code(name) for target in re.findall(r"^make ([a-z-]+)", text, re.MULTILINE)}
    assert named <= targets


def test_the_readme_is_short_and_has_both_commands() -> None:
    text = page("README.md")
    assert text.count("\n") <= 150
    assert "`make demo`" in text
    assert "`make test`" in text


# ------------------------------------------------------------ settings, metrics, topics, outcomes


def leaves(values: dict[str, Any], prefix: str = "") -> set[str]:
    """Return the dotted name of every setting."""
    found: set[str] = set()
    for name, value in values.items():
        if isinstance(value, dict) and value:
            found |= leaves(value, f"{prefix}{name}.")
        else:
            found.add(prefix + name)
    return found


@pytest.mark.parametrize("name", PAGES)
def test_every_setting_that_is_named_exists(name: str) -> None:
    known = leaves(msgspec.to_builtins(Settings()))
    sections = sorted({setting.partition(".")[0] for setting in known})
    text = page(name)
    assert set(re.findall(rf"`((?:{'|'.join(sections)})\.[a-z_0-9]+)(?: ?=[^`]*)?`", text)) <= known
    variables = {
        variable.lower().replace("__", ".") for variable in re.findall(r"(?<!_)STREAM_COUPONS_([A-Z_0-9]+)=", text)
    }
    assert variables <= known


@pytest.mark.parametrize("name", PAGES)
def test_every_metric_that_is_named_is_exported(name: str) -> None:
    exported = set()
    for metric in vars(Metrics(CollectorRegistry())).values():
        if hasattr(metric, "_labelnames"):
            exported.add(metric._name + ("_total" if metric._type == "counter" else ""))
    assert set(re.findall(r"`(stream_coupons_(?!lab\b)\w+)", page(name))) <= exported


@pytest.mark.parametrize("name", PAGES)
def test_every_alert_that_is_named_exists(name: str) -> None:
    groups = yaml.safe_load(page("deploy/prometheus/alerts.yml"))["groups"]
    alerts = {rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule}
    assert set(re.findall(r"`(StreamCoupons\w+)`", page(name))) <= alerts


def test_every_reason_and_outcome_is_explained() -> None:
    text = "".join(page(name) for name in PAGES if name.startswith("docs/reference/"))
    for value in [*Rejection, *NoCoupon]:
        assert f"`{value.value}`" in text


def test_what_a_coupon_must_have_is_marked_as_required() -> None:
    rows = table_below("docs/how-to/write-a-catalogue.md", "| Field | Meaning |")
    marked = {name.strip("`") for name, meaning in rows if meaning.startswith("required")}
    assert marked == {field.name for field in msgspec.structs.fields(Coupon) if field.required}


def test_every_input_topic_is_explained() -> None:
    header = "| Topic | You send it when | Beyond the ids and the time |"
    assert first_column("docs/how-to/send-events.md", header) == [topic.name for topic in topics.INPUTS]


# ------------------------------------------------------------ links, files, paths


def anchors(text: str) -> set[str]:
    """Return how the headings of a page are linked to."""
    headings = re.findall(r"^#+ +(.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", [*PAGES, *NOTEBOOK])
def test_every_link_leads_somewhere_in_the_repository(name: str) -> None:
    for link in LINK.findall(page(name)):
        path, _, anchor = link.partition("#")
        target = (ROOT / name).parent / path if path else ROOT / name
        assert target.resolve().is_relative_to(ROOT), link
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.read_text(encoding="utf-8")), link


@pytest.mark.parametrize("name", PAGES)
def test_every_file_that_is_named_exists(name: str) -> None:
    named = {path for text in code(name) for path in IN_THE_CLONE.findall(text)}
    assert {path for path in named if not (ROOT / path).exists()} == set()


def test_pages_that_the_settings_file_names_exist() -> None:
    named = re.findall(r"docs/[\w./-]+\.md", page("deploy/settings.toml"))
    assert named
    assert all((ROOT / path).exists() for path in named)


@pytest.mark.parametrize("name", PAGES)
def test_no_path_or_host_of_a_machine(name: str) -> None:
    text = page(name)
    assert not OWN_PATH.findall(text)
    assert re.findall(r"https?://(?!127\.0\.0\.1)\S+", text) == []


def test_nothing_is_installed_from_an_index_that_does_not_have_it() -> None:
    for name in [*PAGES, "deploy/settings.toml", *SOURCES]:
        assert not re.findall(r"pip install [^\n]*(?<!packages/)stream-coupons", page(name)), name
