"""Who asked to be forgotten does not come back by what they did before: out of dead letters, or by a backfill."""

import pytest

from stream_coupons.core.decision.erasure import STAYS_S
from stream_coupons.core.messages.inputs import ShopEvent
from stream_coupons.core.shopper.profile import DAY_S
from stream_coupons.core.shopper.state import Shopper
from stream_coupons.kafka import topics
from stream_coupons.runtime.cells import CellCodec
from stream_coupons.settings import Settings
from stream_coupons.testing import LocalPipeline, browse, cart, coupon, erasure, item, order

AT = 1_767_348_000.0
CODEC = CellCodec(Shopper)
MOST_BYTES = 256
"""Of the state that an erased shopper leaves; one who is known takes some 2 to 4 kB."""
WHAT = item(category="tea", price_minor=700)


class Case:
    """A system that knows nothing, with one coupon."""

    def __init__(self) -> None:
        self.pipeline = LocalPipeline(Settings(), [coupon(typical_price_minor=None)])
        self.sent = self.pipeline.outputs

    def state(self, user_id: str) -> tuple[Shopper, int] | None:
        """The shopper's state and its size in bytes."""
        found = [cell for name, _, key, cell in self.pipeline.states() if (name, key) == ("users", user_id)]
        return (CODEC.decode(found[0]).state, len(found[0])) if found else None

    def browse(self, user_id: str, event_id: str, at: float) -> None:
        self.pipeline.publish(browse(user_id, WHAT, at=at, event_id=event_id))

    def pass_days(self, start: float, days: int) -> None:
        for day in range(days + 1):
            self.pipeline.tick(start + day * DAY_S)


@pytest.fixture
def case() -> Case:
    case = Case()
    case.browse("ann", "1", AT)
    case.pipeline.publish(erasure("ann", at=AT + DAY_S))
    case.pass_days(AT + DAY_S, int(STAYS_S / DAY_S) + 12)
    return case


@pytest.mark.parametrize("event", [build("ann", WHAT, at=AT - 1) for build in (browse, cart, order)])
def test_an_event_of_before_the_request_makes_no_new_profile_however_late_it_comes(
    case: Case, event: ShopEvent
) -> None:
    case.pass_days(AT + 40 * DAY_S, 400)
    case.sent.clear()
    case.pipeline.publish(event)
    state, size = case.state("ann") or (Shopper(), 0)
    assert state == Shopper(erased_at=AT + DAY_S)
    assert len(case.sent) == 1
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
