"""Orders in the scopes of open issues, controls and visits, and the training examples of their outcomes."""

from typing import Literal

from stream_coupons.core.catalogue.catalogue import Catalogue
from stream_coupons.core.catalogue.coupon_terms import is_in_scope
from stream_coupons.core.decision.scoring import LABELS
from stream_coupons.core.decision.table import unpack
from stream_coupons.core.messages.inputs import OrderEvent
from stream_coupons.core.messages.learning import OnView, TrainingExample
from stream_coupons.core.rules import AttributionRules
from stream_coupons.core.shopper.state import OpenControl, OpenIssue, OpenVisit, Shopper

MAX_VALUE_MINOR = 2**53
"""Bound of the value of orders in the scope of one coupon: the maximum of the message field."""

OF_ORDERS = ("ordered", "order_value_minor", "other_value_minor")
"""Fields that an example has in common with what is open, where orders were noted all the time."""

Opened = OpenIssue | OpenControl | OpenVisit
Head = Literal["click", "redeem", "order", "visit"]


def observe_order(shopper: Shopper, event: OrderEvent, catalogue: Catalogue) -> None:
    """Mark the issues, the controls and the visit whose coupon has the order in its scope, used or not.

    The same events mark both, so that shoppers with and without a coupon can be compared. A coupon without a scope
    covers all of its domain, so orders of other domains do not count. A control whose coupon has another scope now is
    dropped: its features describe the old scope.

    Parameters
    ----------
    shopper : Shopper
        State, changed in place.
    event : OrderEvent
        The order.
    catalogue : Catalogue
        The current scopes of coupons.
    """
    for control in [*shopper.controls.values()]:
        if has_other_scope(control, catalogue):
            del shopper.controls[control.issue_id]
        else:
            _note_order(control, event, catalogue)
    visit = shopper.visit
    if visit is not None and not has_other_scope(visit, catalogue):
        _note_order(visit, event, catalogue)
    for issue_id in shopper.issues:
        issue = shopper.issue(issue_id)
        is_same = not has_other_scope(issue, catalogue)
        if is_same and _note_order(issue, event, catalogue):
            shopper.keep_issue(issue)


def _note_order(opened: Opened, event: OrderEvent, catalogue: Catalogue) -> bool:
    """Add an order to the orders in the coupon's scope, or to the others; return whether it is of the domain."""
    coupon = catalogue.by_id.get(opened.coupon_id)
    if coupon is None or event.domain != opened.domain or event.occurred_at < opened.at:
        return False
    is_in_time = event.occurred_at <= opened.until
    inside = [item for item in event.items if is_in_time and is_in_scope(coupon, item)]
    value, whole = (sum(catalogue.value_of(item, coupon) for item in items) for items in (inside, event.items))
    opened.ordered = opened.ordered or bool(inside)
    opened.order_value_minor = min(opened.order_value_minor + value, MAX_VALUE_MINOR)
    opened.other_value_minor = min(opened.other_value_minor + whole - value, MAX_VALUE_MINOR)
    return True


def has_other_scope(opened: Opened, catalogue: Catalogue) -> bool:
    """Return True if the coupon has another scope now than when it was given or withheld.

    Parameters
    ----------
    opened : OpenIssue, OpenControl or OpenVisit
        An issue, a control or a visit.
    catalogue : Catalogue
        The current scopes of coupons.
    """
    return catalogue.scope_mark(opened.coupon_id) not in (0, opened.scope_mark)


def is_still_watched(opened: OpenControl | OpenVisit, catalogue: Catalogue) -> bool:
    """Return whether all orders in the scope of decision time were noted: the coupon still has it.

    Parameters
    ----------
    opened : OpenControl or OpenVisit
        A control or a visit.
    catalogue : Catalogue
        The current scopes of coupons.
    """
    return opened.coupon_id in catalogue.by_id and not has_other_scope(opened, catalogue)


def example(  # noqa: PLR0913 - what is known of one outcome
    user_id: str,
    stored: Opened,
    head: Head,
    label: bool,
    at: float,
    *,
    seen: bool | None = None,
    knows_orders: bool = True,
    held: bool = False,
    on_view: OnView | None = None,
) -> TrainingExample:
    """Return a stored decision with one of its labels.

    Parameters
    ----------
    user_id : str
        The shopper.
    stored : OpenIssue, OpenControl or OpenVisit
        The decision: an open issue, control or visit.
    head : str
        "click", "redeem" or "order"; "visit" of a visit.
    label : bool
        The label of that head.
    at : float
        Time at which the label is final, UTC epoch seconds.
    seen : bool or None
        Whether an impression was reported; None where that is not known.
    knows_orders : bool
        Whether orders in the coupon's scope were noted all the time.
    held : bool
        Of a visit: whether a coupon for its scope was held.
    on_view : OnView, optional
        Of a visit: the item on view.
    """
    rows = unpack(stored.numeric, stored.hashed)
    return TrainingExample(
        example_id=f"{stored.issue_id}:{head}",
        domain=stored.domain,
        head=head,
        label=label,
        decided_at=stored.at,
        at=at,
        feature_schema=stored.feature_schema,
        numeric=rows.numeric[0].tolist(),
        hashed=rows.hashed[0].tolist(),
        predicted=stored.predicted[LABELS.index(head)],
        propensity=stored.propensity,
        model_version=stored.model_version,
        coupon_id=stored.coupon_id,
        user_id=user_id,
        issue_id=stored.issue_id,
        observed=stored.observed,
        withheld=stored.withheld,
        held=held,
        on_view=on_view,
        seen=seen,
        **{name: getattr(stored, name) for name in OF_ORDERS if knows_orders},
        discount_minor=stored.spent_minor,
        expected_order_minor=stored.order_minor,
        expected_discount_minor=stored.discount_minor,
    )


def awaits_impression(issue: OpenIssue, rules: AttributionRules) -> bool:
    """Return True if an impression of the issue would be reported.

    Parameters
    ----------
    issue : OpenIssue
        If it was given before its channel reported impressions, silence does not show that it was not seen.
    rules : AttributionRules
        Domains whose channels report impressions now.
    """
    return issue.awaits_impressions and issue.domain in rules.impression_domains
