"""A system that moves to another cluster and to more partitions keeps states, money, caps and triggers."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from typer.testing import CliRunner

from loopback_kafka import BrokerProcess
from stream_coupons.cli.main import app
from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.kafka import topics
from stream_coupons.kafka.settings import Guarantee
from stream_coupons.ops.system.exporting import export_system
from stream_coupons.testing import browse, feedback, item
from stream_coupons_lab.demo.system import LocalSystem
from tests.core.builders import for_life

from .builders import (
    AT,
    DAY_S,
    IDLE_WITHIN_S,
    coupon,
    distinct_issues,
    messages,
    send_ticks,
    settings,
    violations,
    wait_until,
)
from .conftest import RunBroker
from .test_learner_outage import give, learnt

pytestmark = pytest.mark.kafka

STOCK, MOST_MINOR, BUDGET = 10, 100, 4000
COUPONS = [
    coupon("few", stock=STOCK, caps=for_life(1), redeem_within_s=30 * DAY_S),
    coupon("once", budget_minor=BUDGET, caps=for_life(1), redeem_within_s=30 * DAY_S),
]
EARLIER, LATER = [f"u{number}" for number in range(14)], [f"v{number}" for number in range(40)]
USED = 4
"""Coupons used before the move, and as many after it."""
DISCOUNT = 60


def run(system: LocalSystem, *verb: str, code: int = 0) -> str:
    """Return the output of a command for a system."""
    result = CliRunner().invoke(app, [*verb, "--config", str(system.config_file)])
    assert result.exit_code == code, (verb, result.output)
    return result.output


def shoppers_come(system: LocalSystem, users: list[str], visit: str, at: float) -> None:
    with system.publisher() as publisher:
        for user_id in users:
            publisher.send(topics.BROWSE, browse(user_id, item("A"), event_id=f"{user_id}-{visit}", at=at))
        send_ticks(system, publisher, at + 60.0)
    system.wait_idle(IDLE_WITHIN_S)


def use(system: LocalSystem, issues: list[CouponIssue], at: float) -> None:
    """Let shoppers use their coupons."""
    with system.publisher() as publisher:
        for issue in issues:
            order = {"order_id": f"order of {issue.issue_id}", "discount_minor": DISCOUNT}
            publisher.send(topics.FEEDBACK, feedback(issue, "purchase", at=at, **order))
        send_ticks(system, publisher, at + 60.0)
    system.wait_idle(IDLE_WITHIN_S)


def manifest_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    return found


def test_a_system_goes_on_with_more_partitions_on_another_cluster(
    empty_broker: BrokerProcess, run_broker: RunBroker, tmp_path: Path
) -> None:
    first, again = tmp_path / "first", tmp_path / "again"
    (tmp_path / "old").mkdir()
    old = LocalSystem(empty_broker, settings(), tmp_path / "old", workers=1)
    old.prepare(COUPONS)
    with old:
        old.wait_ready()
        shoppers_come(old, EARLIER, "1", AT)
        for visit in range(2, 6):  # leases come between them
            shoppers_come(old, EARLIER, str(visit), AT + 100.0 * visit)
        before = distinct_issues(old)
        of_budget = [issue for issue in before.values() if issue.coupon_id == "once"]
        assert len(of_budget) == len(EARLIER), "all are at their cap"
        use(old, of_budget[:USED], AT + 1200.0)
        give(old, AT)
        wait_until(lambda: learnt(old) > 0, "a snapshot")
        old.wait_idle(IDLE_WITHIN_S)
        assert "member of the group" in run(old, "system", "export", str(first), code=2)
    run(old, "system", "export", str(first))
    exported = manifest_of(first)
    assert exported["accounts"]["money:once"] == {
        "given": USED * DISCOUNT,
        "held": sum(MOST_MINOR for _ in of_budget) - USED * DISCOUNT,
        "closed": 0,
    }

    with run_broker() as broker:
        (tmp_path / "new").mkdir()
        plain = settings(guarantee=Guarantee.EXACTLY_ONCE)
        new = LocalSystem(
            broker, replace(plain, kafka=replace(plain.kafka, partitions=12)), tmp_path / "new", workers=1
        )
        target = ("--partitions", "12", "--bootstrap", broker.bootstrap)
        assert "4 partitions became 12" in run(old, "system", "import", str(first), *target)
        assert "expected empty topics" in run(old, "system", "import", str(first), *target, code=2)
        with new:
            new.wait_ready()
            shoppers_come(new, EARLIER, "1", AT)  # copies of triggers that had a coupon
            shoppers_come(new, EARLIER, "6", AT + 1800.0)
            assert not any(issue.coupon_id == "once" for issue in distinct_issues(new).values()), "all are at their cap"
            shoppers_come(new, LATER, "1", AT + 2400.0)
            shoppers_come(new, LATER, "2", AT + 3000.0)
            use(new, of_budget[USED : 2 * USED], AT + 3600.0)
            [model, *_], [*_, last] = messages(new, topics.SNAPSHOTS), messages(old, topics.SNAPSHOTS)
            assert (model.heads, model.checksum, model.origins) == (last.heads, last.checksum, {})
            give(new, AT + DAY_S)
            wait_until(lambda: learnt(new) > 0, "a snapshot after the move")
            new.wait_idle(IDLE_WITHIN_S)
            after = distinct_issues(new)
            assert violations(new) == []
        export_system(new.settings.kafka, again)
        money = manifest_of(again)["accounts"]["money:once"]
    assert not before.keys() & after.keys()
    triggers = Counter((issue.user_id, issue.trigger_id) for issue in [*before.values(), *after.values()])
    assert set(triggers.values()) == {1}
    given = Counter(issue.coupon_id for issue in [*before.values(), *after.values()])
    assert given["few"] == STOCK
    spent = 2 * USED * DISCOUNT
    assert money["given"] == spent
    # A used coupon frees the part of its hold that it did not spend.
    assert spent + money["held"] <= BUDGET
    assert money["held"] == MOST_MINOR * given["once"] - spent
    assert given["once"] > len(EARLIER)
