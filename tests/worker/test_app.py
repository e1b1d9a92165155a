"""What the composition root wires: it needs no broker before it starts."""

import time
from collections import Counter

from stream_coupons.core.draws import PUBLIC_KEY
from stream_coupons.runtime.steps import Result
from stream_coupons.settings import Settings, WorkerSettings
from stream_coupons.worker.app import CouponApp
from stream_coupons.worker.member import LIVE_WITHIN_S


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
