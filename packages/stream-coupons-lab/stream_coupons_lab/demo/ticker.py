"""Single decisions in words: the events that a shopper sent, and the coupon, or none, that came of them."""

from collections import Counter, deque
from collections.abc import Iterable

from msgspec import Struct

from stream_coupons.core.decision.policy import is_over_frequency_cap
from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.core.messages.inputs import BrowseEvent, CartEvent, OrderEvent
from stream_coupons.core.rules import PolicyRules
from stream_coupons.core.shopper.state import Shopper
from stream_coupons.core.shopper.watched import OpenControl
from stream_coupons_lab.demo import words

KEPT = 40


class Ticker:
    """Keeps the latest decisions, each as a line.

    Parameters
    ----------
    coupons : iterable of Coupon
        The catalogue.
    rules : PolicyRules
        The caps that may stand against a coupon.

    Attributes
    ----------
    lines : deque of str
        Oldest first.
    """

    def __init__(self, coupons: Iterable[Coupon], rules: PolicyRules) -> None:
        self.lines: deque[str] = deque(maxlen=KEPT)
        self._coupons = {coupon.coupon_id: coupon for coupon in coupons}
        self._rules = rules
        self._orders: Counter[str] = Counter()
        self._did: dict[str, str] = {}
        self._latest: dict[str, tuple[float, str]] = {}

    def hear(self, message: Struct) -> None:
        """Take notice of an event that a shopper sent."""
        match message:
            case BrowseEvent():
                about = message.item.category if message.item is not None else None
                did = f"looked at {about or 'something'}"
            case CartEvent():
                did = f"put {message.item.category or 'something'} into the cart"
                did = did if message.action == "add" else f"took {message.item.category or 'something'} out of the cart"
            case OrderEvent():
                self._orders[message.user_id] += 1
                return
            case _:
                return
        self._did[message.event_id] = did
        self._latest[message.user_id] = message.occurred_at, did

    def give(self, issue: CouponIssue) -> None:
        """Add a line on a coupon that was given."""
        offer = words.offer(self._coupons[issue.coupon_id]) if issue.coupon_id in self._coupons else issue.coupon_id
        did = self._did.get(issue.trigger_id, "did something")
        is_tried = issue.value_minor <= self._rules.min_value_minor
        why = "tried out, to learn" if is_tried else words.worth(issue.value_minor)
        self.lines.append(f"{self._who(issue.user_id, did)}: {offer}, {why}")

    def refuse(self, user_id: str, shopper: Shopper) -> bool:
        """Add a line on why a shopper got nothing; False if there is nothing to say.

        Parameters
        ----------
        shopper : Shopper
            The state after the shopper's last event.
        """
        latest = self._latest.get(user_id)
        why = None if latest is None else self._why(shopper, latest[0])
        if latest is None or why is None:
            return False
        self.lines.append(f"{self._who(user_id, latest[1])}: nothing: {why}")
        return True

    def next_slice(self) -> None:
        """Forget the events that were decided on."""
        self._did.clear()
        self._latest.clear()

    @property
    def active(self) -> list[str]:
        """The shoppers who sent a trigger in this slice."""
        return list(self._latest)

    def _who(self, user_id: str, did: str) -> str:
        return f"{words.short_name(user_id)} {did}, {words.bought(self._orders[user_id])}"

    def _why(self, shopper: Shopper, at: float) -> str | None:
        considered_at = shopper.considered_at
        control = next((each for each in reversed(shopper.controls.values()) if each.at == considered_at), None)
        if is_over_frequency_cap(shopper.history.recent_issues, at, self._rules):
            return f"had {self._rules.max_issues_per_window} coupons this week"
        if control is None or considered_at is None or considered_at < at - self._rules.cooldown_s:
            return None
        if control.withheld:
            return "is in the control group"
        return self._not_worth_it(control)

    def _not_worth_it(self, control: OpenControl) -> str:
        _, redeem, order = control.predicted
        if order >= redeem:
            return f"would buy anyway ({order:.0%} without a coupon, {redeem:.0%} with)"
        return f"no discount pays off ({redeem:.0%} would use it)"
