"""Single decisions in words: the event that a shopper sent, and the coupon, or none, that came of it."""

from collections import deque
from collections.abc import Iterable

from msgspec import Struct

from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.core.messages.decisions import LoggedDecision
from stream_coupons.core.messages.inputs import BrowseEvent, CartEvent
from stream_coupons_lab.demo import words

KEPT = 40


class Ticker:
    """Keeps the latest decisions, each as a line.

    Parameters
    ----------
    coupons : iterable of Coupon
        The catalogue.

    Attributes
    ----------
    lines : deque of str
        Oldest first.
    """

    def __init__(self, coupons: Iterable[Coupon]) -> None:
        self.lines: deque[str] = deque(maxlen=KEPT)
        self._titles = {coupon.coupon_id: coupon.title or coupon.coupon_id for coupon in coupons}

    def tell(self, events: Iterable[Struct], decisions: Iterable[LoggedDecision]) -> None:
        """Add a line for each decision on one of the events."""
        triggers = {event.event_id: event for event in events if isinstance(event, BrowseEvent | CartEvent)}
        for decision in sorted(decisions, key=lambda decision: decision.at):
            event = triggers.pop(decision.trigger_id, None)
            if event is not None:  # else the decision was sent a second time
                who = f"u{decision.user_id.removeprefix('shopper-').lstrip('0') or 0}"
                self.lines.append(f"{who} {words.did(event)}: {self._result(decision)}")

    def _result(self, decision: LoggedDecision) -> str:
        if decision.result != words.GIVEN:
            return f"nothing: {words.REASONS[decision.result]}"
        value_minor = decision.values_minor[decision.arms.index(decision.coupon_id)]
        why = f"worth {words.euros(value_minor, sign='+')}" if decision.drawn is None else "tried out, to learn"
        return f"{self._titles[decision.coupon_id]}, {why}"
