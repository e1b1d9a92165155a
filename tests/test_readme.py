"""What README.md says is so: examples run, commands exist, tables are complete, links lead somewhere."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Timer
from typing import Any

import msgspec
import pytest
import typer
import yaml
from kafka import KafkaConsumer, TopicPartition
from prometheus_client import CollectorRegistry
from typer.core import TyperGroup
from typer.testing import CliRunner

from stream_coupons import admin, topics
from stream_coupons.broker import BrokerProcess
from stream_coupons.broker.ports import ClaimedPort
from stream_coupons.cli.catalog_file import read_catalogue
from stream_coupons.cli.main import VERBS, app
from stream_coupons.clients import Publisher
from stream_coupons.codec import Decoder
from stream_coupons.connection import Connection
from stream_coupons.core.events import Coupon, CouponIssue, FeedbackEvent
from stream_coupons.core.reasons import NoCoupon, Rejection
from stream_coupons.evaluation import search_space
from stream_coupons.evaluation.search_space import Range
from stream_coupons.metrics import Metrics
from stream_coupons.settings import KafkaSettings, Settings

ROOT = Path(__file__).parents[1]
PAGES = (
    "README.md",
    "CHANGELOG.md",
    "docs/benchmarks.md",
    "docs/design.md",
    "docs/learning.md",
    "docs/performance.md",
)
SOURCES = {str(path.relative_to(ROOT)) for path in (ROOT / "stream_coupons").rglob("*.py")}
README = (ROOT / "README.md").read_text(encoding="utf-8")
ADDRESS = '"127.0.0.1:9092"'
CODE = re.compile(r"```\w*\n(.*?)```|`([^`\n]+)`", re.DOTALL)
COMMAND = re.compile(r"(?<![\w./-])stream-coupons((?: +[^\s`|<>]+)*)")
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
OWN_PATH = re.compile(r"(?<![\w./:~-])(?:/(?:work|home|root|usr|opt|tmp|var|mnt|Users)\b|~/|[A-Z]:\\)")
RUN_WITHIN_S = 60.0


def page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def block(name: str) -> str:
    """The code block behind the comment `example: name`."""
    found = re.search(rf"<!-- example: {name} -->\n```\w*\n(.*?)```", README, re.DOTALL)
    assert found is not None
    return found[1]


def example(name: str, bootstrap: str) -> str:
    """An example as it is on the page, but for the broker's address."""
    source = block(name)
    assert source.count(ADDRESS) == 1
    return source.replace(ADDRESS, json.dumps(bootstrap))


def table_below(header: str) -> list[list[str]]:
    """Cells of the rows of the table with this header."""
    lines = README.splitlines()
    first = lines.index(header) + 2
    last = next(number for number in range(first, len(lines)) if not lines[number].startswith("|"))
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[first:last]]


def first_column(header: str) -> list[str]:
    return [row[0].strip("`") for row in table_below(header)]


# ------------------------------------------------------------ the examples run


@pytest.fixture
def bootstrap(broker: BrokerProcess) -> str:
    """A broker that has the topics."""
    with admin.admin_client(Connection(broker.bootstrap)) as client:
        admin.apply(client, KafkaSettings())
    return broker.bootstrap


def ends(bootstrap: str, topic: str) -> dict[TopicPartition, int]:
    consumer = KafkaConsumer(bootstrap_servers=bootstrap)
    try:
        partitions = [TopicPartition(topic, number) for number in range(KafkaSettings().partitions)]
        return dict(consumer.end_offsets(partitions))
    finally:
        consumer.close()


def records_between(bootstrap: str, before: dict[TopicPartition, int], after: dict[TopicPartition, int]) -> list[Any]:
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
    try:
        consumer.assign(list(before))
        for tp, offset in before.items():
            consumer.seek(tp, offset)
        found: list[Any] = []
        while any(consumer.position(tp) < after[tp] for tp in before):
            found += [record for records in consumer.poll(200).values() for record in records]
        return found
    finally:
        consumer.close()


@pytest.mark.kafka
@pytest.mark.parametrize("user_id", ["shopper-1042", "u", "Zoë-7", "another-shopper"])
def test_the_publish_example_lands_where_its_owner_reads(bootstrap: str, user_id: str) -> None:
    before = ends(bootstrap, topics.BROWSE.name)
    source = example("publish", bootstrap).replace("shopper-1042", user_id)
    subprocess.run([sys.executable, "-c", source], check=True, timeout=RUN_WITHIN_S)
    [record] = records_between(bootstrap, before, ends(bootstrap, topics.BROWSE.name))
    event = Decoder(topics.BROWSE)(record.value)
    assert event.user_id == user_id
    assert record.key == user_id.encode()
    assert record.partition == topics.partition_for(record.key, KafkaSettings().partitions)
    assert event.item is not None
    assert event.item.price_minor is not None


@contextmanager
def running(source: str) -> Iterator[subprocess.Popen[str]]:
    """A program whose output is read; it is killed in the end, or when that takes too long."""
    with subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, text=True) as process:
        timer = Timer(RUN_WITHIN_S, process.kill)
        timer.start()
        try:
            yield process
        finally:
            timer.cancel()
            process.kill()


def issue(user_id: str, number: int) -> CouponIssue:
    return CouponIssue(
        issue_id=f"{user_id}-i{number}", user_id=user_id, coupon_id="c", domain="ecommerce", issued_at=1.0,
        expires_at=2.0, trigger_id=f"t{number}", max_discount_minor=1, p_click=0.1, p_redeem=0.1, p_order=0.1,
        value_minor=1.0, propensity=1.0, model_version=0,
    )  # fmt: skip


@pytest.mark.kafka
def test_the_consume_example_delivers_every_issue_once(bootstrap: str, unique: str) -> None:
    first, second, third = (issue(unique, number) for number in range(3))
    with Publisher(Connection(bootstrap), KafkaSettings().partitions) as publisher:
        for message in (first, first, second, first, second, third):
            publisher.send(topics.ISSUES, message)
    delivered: list[str] = []
    with running(example("consume", bootstrap)) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if unique in line:
                delivered.append(line.split()[-1])
            if third.issue_id in line:
                break
    # One shopper is one partition: what came before the third issue was read before it.
    assert delivered == [first.issue_id, second.issue_id, third.issue_id]


@contextmanager
def shell(command: str, environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A line of a page, run as it stands; told to end if it has not."""
    with subprocess.Popen(
        command, shell=True, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        timer = Timer(4 * RUN_WITHIN_S, process.kill)
        timer.start()
        try:
            yield process
        finally:
            timer.cancel()
            process.terminate()


def test_the_system_by_hand_issues_a_coupon_on_a_fresh_broker(tmp_path: Path) -> None:
    """The very lines of the page, but for the ports, which others may have taken."""
    port = ClaimedPort()
    tool = tmp_path / "stream-coupons"
    tool.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m stream_coupons "$@"\n', encoding="utf-8")
    tool.chmod(0o755)
    environment = os.environ | {
        "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "STREAM_COUPONS_KAFKA__BOOTSTRAP": f"127.0.0.1:{port.number}",
        "STREAM_COUPONS_WORKER__METRICS_PORT": "0",
    }
    lines = [line.replace("stream-coupons", "exec stream-coupons", 1) for line in block("by-hand").splitlines()]
    lines[0] += f" --port {port.number} --data {tmp_path / 'data'}"
    lasting = (" broker", " worker")
    with ExitStack() as running:
        for line in lines[:-1]:
            process = running.enter_context(shell(line, environment))
            if not any(word in line for word in lasting):
                assert process.wait() == 0, line
        tail = running.enter_context(shell(lines[-1], environment))
        assert tail.stdout is not None
        assert "shopper-" in tail.stdout.readline(), "no coupon was issued"


def test_the_search_space_example_is_good(tmp_path: Path) -> None:
    path = tmp_path / "space.toml"
    path.write_text(block("space"), encoding="utf-8")
    assert search_space.build(path).axes["profile.max_interests"] == Range(low=32, high=256, log=True)


def test_the_catalogue_example_is_good() -> None:
    reading = read_catalogue(block("catalogue").encode(), "README.md", now=1_767_348_000.0)
    assert not reading.refusals.count
    assert not reading.warnings
    assert len(reading.coupons) == 1


def test_the_log_example_can_be_evaluated(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text(block("foreign-log"), encoding="utf-8")
    result = CliRunner().invoke(app, ["evaluate", str(log), "--json"])
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert (found["issues"], found["labelled"], found["refused_lines"]) == (2, 2, {})
    assert {head["head"]: (head["examples"], head["positives"]) for head in found["heads"]} == {
        "click": (1, 1),
        "redeem": (1, 1),
        "order": (1, 0),
    }


def test_the_feedback_example_is_feedback() -> None:
    texts = [text for text in re.findall(r"```json\n(.*?)```", README, re.DOTALL) if "issue_id" in text]
    assert [type(Decoder(topics.FEEDBACK)(text.encode())) for text in texts] == [FeedbackEvent]


# ------------------------------------------------------------ commands and tables are those of the program


def commands() -> list[str]:
    """What follows `stream-coupons` wherever a page has it in code, without comments."""
    found = set()
    for name in PAGES:
        for fenced, inline in CODE.findall(page(name)):
            found |= {words.strip() for words in COMMAND.findall(fenced or inline)}
    return sorted(words for words in found if words)


NO_CONTEXT: Any = None


@pytest.mark.parametrize("words", commands())
def test_every_command_exists_with_its_options(words: str) -> None:
    command: Any = typer.main.get_command(app)
    verbs: list[str] = []
    for word in words.split():
        if not isinstance(command, TyperGroup):
            break
        command = command.get_command(NO_CONTEXT, word)
        assert command is not None, word
        verbs.append(word)
    assert not isinstance(command, TyperGroup) or words.split() == verbs
    known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    assert {word for word in words.split() if word.startswith("-") and word != "-"} <= known
    assert CliRunner().invoke(app, [*verbs, "--help"]).exit_code == 0


def test_every_verb_is_named() -> None:
    named = {words.split()[0] for words in commands()}
    assert named >= set(VERBS)


@pytest.mark.parametrize("target", ["demo", "test"])
def test_both_commands_are_targets_of_make(target: str) -> None:
    assert f"make {target}\n" in README
    assert re.search(rf"^{target}:", page("Makefile"), re.MULTILINE)


def leaves(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted name to value, for every setting; sets and lists are sorted."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict) and value:
            found.update(leaves(value, f"{prefix}{name}."))
        else:
            found[prefix + name] = sorted(value) if isinstance(value, list) else value
    return found


def test_the_settings_table_is_the_settings() -> None:
    rows = table_below("| Setting | Default | Meaning |")
    stated = leaves({name.strip("`"): json.loads(default.strip("`")) for name, default, _ in rows})
    assert len(stated) == len(rows)
    assert stated == leaves(msgspec.to_builtins(Settings()))
    assert all(meaning for _, _, meaning in rows)


def test_settings_named_in_the_text_exist() -> None:
    known = leaves(msgspec.to_builtins(Settings()))
    sections = {name.partition(".")[0] for name in known}
    for name in PAGES:
        named = set(re.findall(rf"`((?:{'|'.join(sorted(sections))})\.[a-z_0-9]+)(?: =[^`]*)?`", page(name)))
        assert named <= set(known)


def test_the_metrics_table_is_the_metrics() -> None:
    metrics = Metrics(CollectorRegistry())
    stated = {row[0].strip("`"): row[1] for row in table_below("| Metric | Labels | Meaning |")}
    exported = {}
    for metric in vars(metrics).values():
        if hasattr(metric, "_labelnames"):
            name = metric._name + ("_total" if metric._type == "counter" else "")
            exported[name] = ", ".join(metric._labelnames)
    assert stated == exported


def test_every_reason_and_outcome_is_explained() -> None:
    assert first_column("| Reason | What it means | Who mends it |") == [reason.value for reason in Rejection]
    assert first_column("| Outcome | Why |") == ["proposed", *(outcome.value for outcome in NoCoupon)]


def test_every_alert_is_named() -> None:
    groups = yaml.safe_load(page("deploy/prometheus/alerts.yml"))["groups"]
    table = " ".join(row[1] for row in table_below("| Look first at | Alerts |"))
    assert sorted(re.findall(r"`(StreamCoupons\w+)`", table)) == sorted(
        rule["alert"] for group in groups for rule in group["rules"]
    )


def test_what_a_coupon_must_have_is_marked_as_required() -> None:
    rows = table_below("| Field | Meaning |")
    marked = {name.strip("`") for name, meaning in rows if meaning.startswith("required")}
    assert marked == {field.name for field in msgspec.structs.fields(Coupon) if field.required}


def test_sections_that_the_settings_file_names_exist() -> None:
    text = re.sub(r"\n# +", " ", page("deploy/settings.toml"))
    named = re.findall(r"see README, ([\w ]+)\.", text)
    assert named
    assert all(f"\n## {name}\n" in README for name in named)


def test_every_input_topic_is_explained() -> None:
    assert first_column("| Topic | You send it when | Beyond the ids and the time |") == [t.name for t in topics.INPUTS]


def test_nothing_is_installed_from_an_index_that_does_not_have_it() -> None:
    for name in [*PAGES, "deploy/settings.toml", *sorted(SOURCES)]:
        assert not re.findall(r"pip install [^\n]*stream-coupons", page(name)), name


# ------------------------------------------------------------ links and paths


def anchors(text: str) -> set[str]:
    """How the headings of a page are linked to."""
    headings = re.findall(r"^#+ +(.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", PAGES)
def test_every_link_leads_somewhere_in_the_repository(name: str) -> None:
    for link in LINK.findall(page(name)):
        path, _, anchor = link.partition("#")
        target = (ROOT / name).parent / path if path else ROOT / name
        assert target.resolve().is_relative_to(ROOT), link
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.read_text(encoding="utf-8")), link


@pytest.mark.parametrize("name", PAGES)
def test_no_path_or_host_of_a_machine(name: str) -> None:
    text = page(name)
    assert not OWN_PATH.findall(text)
    assert re.findall(r"https?://\S+", text) == []
