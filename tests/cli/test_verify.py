"""Verify and state digest: over what the agents sent, put into a broker's topics as they would have put it there."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from kafka import KafkaConsumer, TopicPartition
from kafka.structs import OffsetAndMetadata

from lab.builders import RULES, Log, live_shop, log_of
from stream_coupons.cli.verify import never_checked
from stream_coupons.kafka import admin, topics
from stream_coupons.kafka.clients import Publisher
from stream_coupons.kafka.connection import Connection
from stream_coupons.kafka.settings import KafkaSettings
from stream_coupons.ops.audit.findings import Check
from stream_coupons.ops.digest import AGENTS, digests_of
from stream_coupons.worker.app import TABLE_OF
from tests.agents.fakes import Shop

from .conftest import Run, RunBroker

PARTITIONS = KafkaSettings().partitions


def put(bootstrap: str, log: Log) -> None:
    """Append a log to a broker's empty topics, and commit all of it."""
    with admin.admin_client(Connection(bootstrap)) as client:
        admin.apply(client, KafkaSettings())
    with Publisher(Connection(bootstrap), PARTITIONS) as publisher:
        for (name, partition), records in log.records.items():
            for one in records:
                headers = [(header, value or b"") for header, value in one.headers]
                publisher.send_bytes(topics.BY_NAME[name], one.key, one.value, partition, headers)
    commit(bootstrap, log)


def commit(bootstrap: str, log: Log) -> None:
    """Be done with all of a log."""
    read = {topic.name for topic in topics.READ_BY_AGENTS}
    offsets = {
        TopicPartition(*place): OffsetAndMetadata(end, "", -1) for place, end in log.ends.items() if place[0] in read
    }
    for group_id in KafkaSettings().group_ids:
        # A consumer waits until a new broker has a coordinator for the group.
        consumer = KafkaConsumer(bootstrap_servers=bootstrap, group_id=group_id, enable_auto_commit=False)
        consumer.assign(list(offsets))
        consumer.commit(offsets)
        consumer.close()


@pytest.fixture(scope="module")
def shop() -> Shop:
    return live_shop(PARTITIONS)


@pytest.fixture(scope="module")
def idle(run_broker: RunBroker, shop: Shop) -> Iterator[str]:
    """A system that is idle."""
    with run_broker() as broker:
        put(broker.bootstrap, log_of(shop))
        yield broker.bootstrap


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The settings of the agents."""
    path = tmp_path_factory.mktemp("verify") / "settings.toml"
    rates = ("exploration_ratio", "control_ratio", "holdout_ratio")
    changed = ("cooldown_s", "max_issues_per_window", "min_value_minor", *rates)
    path.write_text("\n".join(["[policy]", *(f"{name} = {getattr(RULES.policy, name)}" for name in changed)]))
    return path


@pytest.mark.kafka
def test_an_idle_system_is_clean(run: Run, idle: str, config: Path) -> None:
    result = run("verify", "-b", idle, "-c", config)
    assert result.exit_code == 0, result.stdout
    for check in Check:
        assert check.about in result.stdout
    assert result.stdout.splitlines()[-2:] == [f"never checked: {'; '.join(never_checked())}", "clean"]
    assert "the system was idle: nothing was on its way" in result.stdout
    assert "not checked:" not in result.stdout
    assert result.stderr == ""


@pytest.mark.kafka
def test_json_has_every_check_with_its_counts(run: Run, idle: str, shop: Shop, config: Path) -> None:
    found = json.loads(run("verify", "-b", idle, "--json", "-c", config).stdout)
    assert (found["clean"], found["violations"], found["first"], found["not_committed"]) == (True, 0, [], {})
    assert (found["overspent"], found["not_judged"], found["never_checked"]) == ([], [], never_checked())
    assert {name: one["reports"] > 0 for name, one in found["beyond_holds"].items()} == {
        "used_again": False,
        "used_late": True,
        "not_booked": False,
    }
    counts = {one["check"]: one for one in found["checks"]}
    assert list(counts) == [check.title for check in Check]
    issued = len(shop.messages(topics.ISSUES))
    assert counts["issues"] == {
        "invariant": "I4",
        "check": "issues",
        "about": Check.ISSUES.about,
        "checked": issued,
        "open": 0,
        "not_checked": 0,
        "violations": 0,
    }
    assert counts["records"]["checked"] > 10 * issued


@pytest.mark.kafka
def test_the_digests_are_those_of_the_states(run: Run, idle: str, shop: Shop) -> None:
    states = (
        (name, partition, key, cell)
        for name, owner in shop.owners.items()
        for partition, cells in owner.tables.items()
        for key, cell in cells.items()
    )
    expected = digests_of(state for state in states if state[0] != "neighbours")
    result = run("state", "digest", "-b", idle, "--json")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert list(found) == list(AGENTS)
    for agent in ("users", "budgets"):
        assert found[agent] == {
            "keys": expected[agent].keys,
            "bytes": expected[agent].bytes,
            "blake2b": expected[agent].blake2b,
        }
    only = run("state", "digest", "-b", idle, "--agent", "budgets")
    assert expected["budgets"].blake2b in only.stdout
    assert expected["users"].blake2b not in only.stdout
    assert only.stderr == ""


@pytest.mark.kafka
def test_settings_that_the_workers_do_not_have_are_found(run: Run, idle: str) -> None:
    result = run("verify", "-b", idle)
    assert result.exit_code == 1
    assert "first violation: I9 holdout: coupon-issues:" in result.stdout
    since = run("verify", "-b", idle, "--settings-since", "2099-01-01")
    assert (since.exit_code, since.stdout.splitlines()[-1]) == (0, "clean")
    rules = "holdout, draws, cooldown, frequency cap, and caps by day, week and month"
    assert f"not checked: {rules} before 2099-01-01T00:00:00" in since.stdout


@pytest.mark.kafka
def test_without_the_secret_of_the_workers_verify_says_what_it_leaves_out(
    run: Run, run_broker: RunBroker, config: Path, tmp_path: Path
) -> None:
    log, secret_file = Log(PARTITIONS), tmp_path / "secret.key"
    with run_broker() as broker:
        put(broker.bootstrap, log)
        with_secret = tmp_path / "settings.toml"
        with_secret.write_text(f'secret_file = "{secret_file}"\n' + config.read_text())
        assert run("secret", "make", secret_file).exit_code == 0
        assert run("secret", "adopt", "-c", with_secret, "-b", broker.bootstrap).exit_code == 0
        result = run("verify", "-c", config, "-b", broker.bootstrap)
        assert result.exit_code == 0
        assert "not checked: holdout, draws and signatures: set secret_file as the workers do" in result.stdout
        known = run("verify", "-c", with_secret, "-b", broker.bootstrap)
        assert "not checked: holdout, draws and signatures before 20" in known.stdout
        secret_file.unlink()
        assert run("secret", "make", secret_file).exit_code == 0
        other = run("verify", "-c", with_secret, "-b", broker.bootstrap)
        assert (other.exit_code, "do not draw" in other.stderr) == (2, True)


@pytest.mark.kafka
def test_a_system_that_has_no_topics_then_runs_then_is_wrong(
    run: Run, run_broker: RunBroker, shop: Shop, config: Path
) -> None:
    log = log_of(shop)
    with run_broker() as broker:
        for verb in (["verify"], ["state", "digest"]):
            result = run(*verb, "-b", broker.bootstrap)
            assert result.exit_code == 2
            assert "has none of the topics" in result.stderr

        put(broker.bootstrap, log)
        first = next(iter(log.read((topics.LEASE_REPORTS.name,))))
        event = next(iter(log.read((topics.BROWSE.name,))))
        with Publisher(Connection(broker.bootstrap), PARTITIONS) as publisher:
            publisher.send_bytes(topics.LEASE_REPORTS, first.key, first.value, first.partition, list(first.headers))  # type: ignore[arg-type]
            publisher.send_bytes(topics.BROWSE, b"eva", event.value)
        result = run("verify", "-b", broker.bootstrap, "-c", config)
        assert result.exit_code == 0, result.stdout
        assert (
            "2 records are not committed yet (browse-events 1, lease-reports 1); their effects were not checked"
        ) in result.stdout
        digest = run("state", "digest", "-b", broker.bootstrap, "--agent", "users", "--json")
        assert (digest.exit_code, len(json.loads(digest.stdout))) == (0, 1)
        assert "warning: the workers have not committed 2 records yet: states will change" in digest.stderr

        issue = next(iter(log.read((topics.ISSUES.name,))))
        twice = (issue.value or b"").replace(b'"propensity"', b'"title":"[bold]","propensity"')
        with Publisher(Connection(broker.bootstrap), PARTITIONS) as publisher:
            publisher.send_bytes(topics.ISSUES, issue.key, twice, issue.partition, list(issue.headers))  # type: ignore[arg-type]
            publisher.send_bytes(topics.changelog(TABLE_OF["budgets"]), b"units:few", b"nonsense", 0)
        result = run("verify", "-b", broker.bootstrap, "-c", config)
        assert result.exit_code == 1
        place = f"coupon-issues:{issue.partition}:{log.ends['coupon-issues', issue.partition]}"
        identity = json.loads(twice)["issue_id"]
        detail = f"issue {identity} differs from its first copy, expected the same key, value and origin"
        assert f"I6 copies: {place}: {detail}" in run("verify", "-b", broker.bootstrap, "-c", config, "--json").stdout
        assert "first violation: I3 records: stream-coupons-accounts-changelog:0:" in result.stdout
        assert result.stdout.splitlines()[-1] == "2 violations"

        result = run("state", "digest", "-b", broker.bootstrap)
        assert result.exit_code == 2
        assert "error: stream-coupons-accounts-changelog:0:" in result.stderr
        assert "is no state of budgets" in result.stderr
