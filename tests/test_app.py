"""What the composition root wires: it needs no broker before it starts."""

import time
from collections import Counter
from types import SimpleNamespace

from faust.types import TP

from stream_coupons import topics
from stream_coupons.app import LIVE_WITHIN_S, CouponApp
from stream_coupons.core.draws import PUBLIC_KEY
from stream_coupons.runtime.attempt import Result
from stream_coupons.settings import Settings, WorkerSettings


def test_a_topic_that_is_held_back_is_exported_with_its_reason_and_not_fetched() -> None:
    parts = CouponApp(Settings(worker=WorkerSettings(bad_window_records=10)), PUBLIC_KEY)
    [users] = [lane for lane in parts.lanes if lane.name == "users"]
    about = {"agent": "users", "topic": "order-events", "reason": "invalid"}

    def stopped() -> float | None:
        return parts.metrics.registry.get_sample_value("stream_coupons_stopped", about)

    users._breaker.watch([Result(0, dead=Counter({("order-events", "invalid"): 10}))])
    assert stopped() == 1
    transport = parts.faust.transport
    assert [topic for topic in sorted(transport.agents) if not transport.may_fetch(topic)] == ["order-events"]
    users._breaker.watch([Result(0, applied=Counter({"order-events": 10}))])
    assert stopped() == 0
    assert transport.may_fetch("order-events")


def test_a_worker_is_live_while_its_event_loop_turns_whether_or_not_a_broker_answers() -> None:
    parts = CouponApp(Settings(), PUBLIC_KEY)
    assert parts.why_not_live() == [], "it has not begun yet"
    parts.beat_at = time.monotonic()
    assert not parts.is_ready()
    assert parts.why_not_live() == []
    parts.beat_at -= LIVE_WITHIN_S + 1
    assert parts.why_not_live() == ["its event loop has hung for 31 s"]


def test_what_is_learnt_is_progress_before_a_snapshot_acknowledges_it() -> None:
    parts = CouponApp(Settings(), PUBLIC_KEY)
    examples, events = TP(topics.EXAMPLES.name, 0), TP(topics.BROWSE.name, 0)
    parts.faust.transport.takers = []
    parts.faust._consumer = SimpleNamespace(
        is_coordinated=True,
        is_member=True,
        assignment=lambda: {examples, events},
        highwater=lambda _: 500,
        committed=lambda names, _: {names[0]: 100},
    )
    assert parts.progress() == {examples: 100, events: 100}
    parts.learner.taken += 7
    assert parts.progress() == {examples: 107, events: 100}


def test_a_learner_that_stands_still_makes_the_worker_unready() -> None:
    parts = CouponApp(Settings(), PUBLIC_KEY)
    parts.learner._publish_at = 0.0
    parts.learner._unacknowledged.append((None, []))
    assert "learner stands still: what it has learnt is not published" in parts.why_not_ready()
