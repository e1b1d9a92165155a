"""Feedback becomes examples, examples a new model, and a killed learner goes on where its last snapshot ended."""

import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from loopback_kafka import BrokerProcess
from stream_coupons.core.messages.learning import ModelSnapshot
from stream_coupons.kafka import topics
from stream_coupons.settings import LearningSettings
from stream_coupons.testing import browse, feedback, observed
from stream_coupons_lab.demo.system import LocalSystem, scrape

from .builders import (
    AT,
    DAY_S,
    IDLE_WITHIN_S,
    coupon,
    messages,
    records,
    send_ticks,
    settings,
    wait_for_version,
    wait_until,
)

pytestmark = pytest.mark.kafka

ISSUES = 20
EXAMPLES = 2 * ISSUES
"""A click and a redemption, or none, of each issue."""

PUBLISH_EVERY_S = 3.0
"""Long enough to kill the learner between what it learnt and what it published."""

DEPLOY = Path(__file__).parents[2] / "deploy"


@pytest.fixture(scope="module")
def system(module_broker: BrokerProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSystem]:
    folder: Path = tmp_path_factory.mktemp("workers")
    learning = LearningSettings(publish_every_s=PUBLISH_EVERY_S)
    plain = settings(learning=learning)
    attribution = msgspec.structs.replace(plain.attribution, impression_domains=frozenset({"travel"}))
    system = LocalSystem(module_broker, msgspec.structs.replace(plain, attribution=attribution), folder, workers=2)
    system.prepare([coupon("c1"), coupon("t1", domain="travel")])
    with system:
        system.wait_ready()
        wait_until(lambda: all(scrape(worker.learner_port) for worker in system.workers), "a learner beside each")
        yield system


def observe(system: LocalSystem, at: float) -> None:
    """Coupons that another system gave; every other one is clicked; then all windows close."""
    with system.publisher() as publisher:
        for number in range(ISSUES):
            user_id, issue_id = f"u{number}", f"{number}-{at}"
            given = observed(user_id, at=at, issue_id=issue_id, expires_at=at + 10)
            publisher.send(topics.OBSERVED, given)
            if number % 2:
                publisher.send(topics.FEEDBACK, feedback(given, "click", at=at + 1))
        publisher.flush()
        system.wait_idle(IDLE_WITHIN_S)
        send_ticks(system, publisher, at + 0.5 * DAY_S)


def latest(system: LocalSystem) -> ModelSnapshot:
    snapshot: ModelSnapshot = messages(system, topics.SNAPSHOTS)[-1]
    return snapshot


def learner_of(system: LocalSystem) -> int:
    """Index of the worker beside which the learner learns."""
    learnt = [
        any(name == "stream_coupons_training_examples_total" and value > 0 for (name, _), value in scraped.items())
        for scraped in (scrape(worker.learner_port) for worker in system.workers)
    ]
    assert learnt.count(True) == 1
    return learnt.index(True)


def test_feedback_becomes_a_model_that_every_worker_takes_up_and_a_killed_learner_learns_nothing_twice(
    system: LocalSystem,
) -> None:
    observe(system, AT)
    system.wait_idle(IDLE_WITHIN_S)
    first = latest(system)
    assert (first.examples, first.source_offset) == (EXAMPLES, EXAMPLES - 1)
    assert first.quality["click"].positives == ISSUES // 2
    wait_for_version(system, first.version)

    learner = learner_of(system)
    observe(system, AT + DAY_S)
    wait_until(lambda: len(records(system, "training-examples")) >= 2 * EXAMPLES, "the examples of the second day")
    system.kill(learner)
    system.restart(learner)
    system.wait_ready()
    system.wait_idle(IDLE_WITHIN_S)

    second = latest(system)
    distinct = {example.example_id for example in messages(system, topics.EXAMPLES)}
    assert second.examples == len(distinct) == 2 * EXAMPLES
    versions = [snapshot.version for snapshot in messages(system, topics.SNAPSHOTS)]
    assert versions == sorted(set(versions)), "a version was given twice"
    assert second.version > first.version
    wait_for_version(system, second.version)

    with system.publisher() as publisher:
        publisher.send(topics.BROWSE, browse("u-new", at=AT + 2 * DAY_S, event_id="decided"))
        publisher.flush()
        system.wait_idle(IDLE_WITHIN_S)
    [issue] = messages(system, topics.ISSUES)
    assert (issue.trigger_id, issue.model_version) == ("decided", second.version)


def test_learning_goes_on_after_forged_snapshots_and_a_restart(system: LocalSystem) -> None:
    observe(system, AT + 10 * DAY_S)
    system.wait_idle(IDLE_WITHIN_S)
    good, most = latest(system), 2**52
    forged = [
        {"version": most, "source_offset": most},
        {"origins": {f"ticks:{home}": (most - 1, 0) for home in range(system.settings.kafka.partitions)}},
    ]
    with system.publisher() as publisher:
        for about in forged:
            publisher.send(topics.SNAPSHOTS, msgspec.structs.replace(good, **about))
    refused = ("stream_coupons_snapshots_refused_total", ())
    wait_until(lambda: all(worker.scrape().get(refused) == 1 for worker in system.workers), "a snapshot refused")
    wait_for_version(system, good.version)

    for index in range(len(system.workers)):
        system.kill(index)
        system.restart(index)
    system.wait_ready()
    before = len(records(system, "training-examples"))
    observe(system, AT + 20 * DAY_S)
    wait_until(lambda: len(records(system, "training-examples")) >= before + EXAMPLES, "the examples")
    wait_until(lambda: latest(system).examples >= good.examples + EXAMPLES, "a model that has learnt them")
    assert good.version < latest(system).version < most
    wait_for_version(system, latest(system).version)


def test_where_impressions_are_reported_coupons_that_nobody_saw_are_counted_and_not_learnt(system: LocalSystem) -> None:
    with system.publisher() as publisher:
        for number in range(3):
            given = observed(f"t{number}", "t1", issue_id=f"t-{number}", expires_at=AT + 10, domain="travel")
            publisher.send(topics.OBSERVED, given)
        publisher.send(topics.FEEDBACK, feedback(given, "impression"))
        publisher.flush()
        system.wait_idle(IDLE_WITHIN_S)
        send_ticks(system, publisher, AT + 2.5 * DAY_S)

    def is_learnt() -> bool:
        return any(snapshot.domain == "travel" for snapshot in messages(system, topics.SNAPSHOTS))

    wait_until(is_learnt, "a model of travel")
    system.wait_idle(IDLE_WITHIN_S)
    found = [example for example in messages(system, topics.EXAMPLES) if example.domain == "travel"]
    assert sorted((example.issue_id, example.seen) for example in found) == [
        (f"t-{number}", number == 2) for number in (0, 0, 1, 1, 2, 2)
    ]
    snapshots = [snapshot for snapshot in messages(system, topics.SNAPSHOTS) if snapshot.domain == "travel"]
    assert snapshots[-1].examples == 2
    counted = [
        worker.scrape().get(("stream_coupons_unseen_issues_total", (("domain", "travel"),)), 0)
        for worker in system.workers
    ]
    assert sum(counted) == 2


def test_a_worker_and_a_learner_serve_every_metric_that_dashboard_and_alerts_name(system: LocalSystem) -> None:
    named: set[str] = set()
    for path in ("grafana/dashboards/stream-coupons.json", "prometheus/alerts.yml"):
        named |= set(re.findall(r"\bstream_coupons_[a-z0-9_]+", (DEPLOY / path).read_text(encoding="utf-8")))
    assert len(named) > 15
    of_processes = {"process_resident_memory_bytes", "process_open_fds", "python_info"}
    for worker in system.workers:
        deciding, learning = served(worker.port.number), served(worker.learner_port)
        assert named - (deciding | learning) == of_processes - (deciding & learning) == set()


def served(port: int) -> set[str]:
    """Names that an endpoint declares, whether anything was counted under them yet or not."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain")
        declared = re.findall(r"^# TYPE (\w+) (\w+)$", answer.read().decode(), re.MULTILINE)
    names = {name for name, _ in declared}
    return names | {
        name + part for name, kind in declared if kind == "histogram" for part in ("_bucket", "_count", "_sum")
    }
