"""Settings, messages and ways to watch a running system."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stream_coupons import testing
from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.core.messages.inputs import Tick
from stream_coupons.core.rules import AttributionRules, NeighbourhoodRules, PolicyRules, ProfileRules
from stream_coupons.kafka import topics
from stream_coupons.kafka.clients import Publisher, Reader
from stream_coupons.kafka.codec import Decoder, encode
from stream_coupons.kafka.settings import Guarantee, KafkaSettings
from stream_coupons.ops.audit.audit_topics import audit_topics
from stream_coupons.ops.audit.findings import Violation
from stream_coupons.settings import LearningSettings, Settings, Store, WorkerSettings
from stream_coupons.testing import browse, cart, item, order
from stream_coupons_lab.demo.system import LocalSystem, WorkerProcess

AT = testing.START
DAY_S = 86400.0
IDLE_WITHIN_S = 90.0
STALLED_AFTER_S = 30.0

PLAIN_POLICY: dict[str, Any] = {
    "exploration_ratio": 0.0,
    "control_ratio": 0.0,
    "holdout_ratio": 0.0,
    "cooldown_s": 0.0,
    "min_value_minor": -1000.0,
    "new_shopper_ratio": 1.0,
    "triggers": frozenset({"browse"}),
}
"""Every browse leads to a coupon: no chance, no cooldown, no threshold, and no bound on new shoppers."""


def settings(
    commit_interval_s: float = 0.3,
    guarantee: Guarantee = Guarantee.AT_LEAST_ONCE,
    learning: LearningSettings | None = None,
    early_feedback_s: float = 60.0,
    store: Store = Store.MEMORY,
    **policy: Any,
) -> Settings:
    """Unit weights, one cell, quick commits; time passes only by the ticks that a test sends."""
    return Settings(
        kafka=KafkaSettings(
            guarantee=guarantee, commit_interval_s=commit_interval_s, session_timeout_s=6, heartbeat_interval_s=1
        ),
        worker=WorkerSettings(tick_every_s=0, stalled_after_s=STALLED_AFTER_S, store=store),
        profile=ProfileRules(browse_weight=1, cart_weight=1, order_weight=1),
        neighbourhood=NeighbourhoodRules(cells=1, publish_every_s=0),
        policy=PolicyRules(**(PLAIN_POLICY | policy)),
        attribution=AttributionRules(early_feedback_s=early_feedback_s, grace_s=3600),
        learning=learning or LearningSettings(publish_every_s=0.5),
    )


def coupon(coupon_id: str, **terms: Any) -> Coupon:
    """A coupon of 1.00 off, whose budget is never overspent, and of which a shopper may hold several."""
    usual = {"typical_price_minor": None, "budget_hold": "maximum", "not_while_held": "none"}
    return testing.coupon(coupon_id, **(usual | terms))


def publish_journey(publisher: Publisher, user_id: str, browsed: str, carted: str, ordered: str) -> None:
    """One shopper browses an item, puts a second into the cart and orders a third."""
    publisher.send(topics.BROWSE, browse(user_id, item(browsed), event_id=f"{user_id}-1"))
    publisher.send(topics.CART, cart(user_id, item(carted)))
    publisher.send(topics.ORDER, order(user_id, item(ordered)))
    publisher.flush()


def send_ticks(system: LocalSystem, publisher: Publisher, at: float) -> None:
    """Tell every partition what time it is."""
    for partition in range(system.settings.kafka.partitions):
        publisher.send_bytes(topics.TICKS, str(partition).encode(), encode(Tick(at=at)), partition)
    publisher.flush()


def records(system: LocalSystem, *names: str) -> list[Any]:
    """All records of some topics, in order within each partition."""
    with Reader(system.connection, names, from_beginning=True) as reader:
        return list(reader.read_to_end())


def messages(system: LocalSystem, topic: topics.Topic) -> list[Any]:
    """All messages of a topic, in order within each partition, without records that delete a key."""
    decode, found = Decoder(topic), records(system, topic.name)
    return [decode(record.value, limit=topic.max_message_bytes) for record in found if record.value is not None]


def distinct_issues(system: LocalSystem) -> dict[str, CouponIssue]:
    """The issues by id: what a consumer that deduplicates sees."""
    return {issue.issue_id: issue for issue in messages(system, topics.ISSUES)}


def violations(system: LocalSystem) -> list[Violation]:
    """What the audit finds in the topics of an idle system, of which nothing is open."""
    findings = audit_topics(system.settings)
    assert not any(tally.open for tally in findings.tallies.values()), findings
    return findings.violations


def total(system: LocalSystem, metric: str, **labels: str) -> float:
    """A metric summed over all workers and over the labels not named."""
    name, wanted = f"stream_coupons_{metric}", set(labels.items())
    return sum(value for (found, having), value in system.totals().items() if found == name and wanted <= set(having))


def learner_of(worker: WorkerProcess) -> int:
    """Process id of the learner beside a worker."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[1]) == worker.process.pid and fields[0] != "Z":
            return int(stat.parent.name)
    raise AssertionError(f"{worker.name} has no learner")


def wait_until(holds: Callable[[], bool], what: str, within_s: float = 60.0) -> None:
    """Wait for a condition.

    Raises
    ------
    AssertionError
        Naming what did not come about.
    """
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, f"not within {within_s:.0f} s: {what}"
        time.sleep(0.05)


def wait_for_version(system: LocalSystem, version: int) -> None:
    """Wait until every worker serves a version of the model."""
    sample = ("stream_coupons_model_version", (("domain", "ecommerce"),))

    def everywhere() -> bool:
        return all(worker.scrape().get(sample) == version for worker in system.workers)

    wait_until(everywhere, f"version {version} of the model on every worker")
