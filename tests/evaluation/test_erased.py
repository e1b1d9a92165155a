"""Who asked to be forgotten does not come back by what they did before: out of dead letters, or by a backfill."""

import pytest

from stream_coupons.core.decision.erasure import STAYS_S
from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.core.messages.inputs import BrowseEvent, CartEvent, ErasureRequest, Item, OrderEvent
from stream_coupons.core.shopper.profile import DAY_S
from stream_coupons.core.shopper.state import Shopper
from stream_coupons.kafka import topics
from stream_coupons.kafka.records import Output
from stream_coupons.runtime.cells import CellCodec
from stream_coupons.settings import Settings
from stream_coupons.testing.local import LocalPipeline

AT = 1_767_348_000.0
CODEC = CellCodec(Shopper)
MOST_BYTES = 256
"""Of the state that an erased shopper leaves; one who is known takes some 2 to 4 kB."""
WHAT = Item(item_id="A", category="tea", price_minor=700)


class Case:
    """A system that knows nothing, with one coupon."""

    def __init__(self) -> None:
        self.sent: list[Output] = []
        coupon = Coupon(coupon_id="c", discount_minor=100, max_discount_minor=100)
        self.pipeline = LocalPipeline(Settings(), [coupon], on_output=self.sent.append)

    def state(self, user_id: str) -> tuple[Shopper, int] | None:
        """The shopper's state and its size in bytes."""
        found = [cell for name, _, key, cell in self.pipeline.states() if (name, key) == ("users", user_id)]
        return (CODEC.decode(found[0]).state, len(found[0])) if found else None

    def browse(self, user_id: str, event_id: str, at: float) -> None:
        self.pipeline.send("browse-events", BrowseEvent(event_id=event_id, user_id=user_id, occurred_at=at, item=WHAT))

    def erase(self, user_id: str, at: float) -> None:
        self.pipeline.send("erasure-requests", ErasureRequest(event_id=f"x-{user_id}", user_id=user_id, occurred_at=at))

    def pass_days(self, start: float, days: int) -> None:
        for day in range(days + 1):
            self.pipeline.tick(start + day * DAY_S)


@pytest.fixture
def case() -> Case:
    case = Case()
    case.browse("ann", "1", AT)
    case.erase("ann", AT + DAY_S)
    case.pass_days(AT + DAY_S, int(STAYS_S / DAY_S) + 12)
    return case


OLD = {
    "browse-events": BrowseEvent(event_id="old", user_id="ann", occurred_at=AT - 1, item=WHAT),
    "cart-events": CartEvent(event_id="old", user_id="ann", occurred_at=AT - 1, item=WHAT),
    "order-events": OrderEvent(event_id="old", user_id="ann", occurred_at=AT - 1, order_id="o", items=[WHAT]),
}


@pytest.mark.parametrize("topic", OLD)
def test_an_event_of_before_the_request_makes_no_new_profile_however_late_it_comes(case: Case, topic: str) -> None:
    case.pass_days(AT + 40 * DAY_S, 400)
    case.sent.clear()
    case.pipeline.send(topic, OLD[topic])
    state, size = case.state("ann") or (Shopper(), 0)
    assert state == Shopper(erased_at=AT + DAY_S)
    assert [output for output in case.sent if output.topic != topic] == []
    assert 0 < size <= MOST_BYTES


def test_the_mark_does_not_grow_by_what_is_ignored(case: Case) -> None:
    for number in range(500):
        case.browse("ann", f"old-{number}", AT + number)
    state, size = case.state("ann") or (Shopper(), 0)
    assert state == Shopper(erased_at=AT + DAY_S)
    assert 0 < size <= MOST_BYTES


def test_who_comes_back_after_that_is_known_by_what_they_do_from_then_on(case: Case) -> None:
    case.browse("ann", "new", AT + 90 * DAY_S)
    state, _ = case.state("ann") or (Shopper(), 0)
    assert state.profile.last_event_at == AT + 90 * DAY_S
    assert any(output.topic == "user-vectors" for output in case.sent)
    case.browse("ann", "old", AT + DAY_S)
    assert state.profile.browses == (case.state("ann") or (Shopper(), 0))[0].profile.browses


@pytest.mark.parametrize("table", topics.OWNERS)
def test_what_a_changelog_held_before_is_compacted_within_a_week(table: str) -> None:
    assert topics.changelog(table).configs()["max.compaction.lag.ms"] == str(7 * topics.DAY_MS)
