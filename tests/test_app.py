"""What the composition root wires: it needs no broker before it starts."""

from collections import Counter

from stream_coupons.app import CouponApp
from stream_coupons.runtime.attempt import Result
from stream_coupons.settings import Settings, WorkerSettings


def test_an_agent_that_has_stopped_is_exported() -> None:
    parts = CouponApp(Settings(worker=WorkerSettings(bad_window_records=10)))
    [users] = [lane for lane in parts.lanes if lane.name == "users"]

    def stopped() -> dict[str, float | None]:
        return {
            lane.name: parts.metrics.registry.get_sample_value("stream_coupons_stopped", {"agent": lane.name})
            for lane in parts.lanes
        }

    assert stopped() == {"users": 0, "budgets": 0, "neighbours": 0}
    users._spoilage.is_over_with([Result(0, dead=Counter({("order-events", "invalid"): 10}))])
    assert stopped() == {"users": 1, "budgets": 0, "neighbours": 0}
