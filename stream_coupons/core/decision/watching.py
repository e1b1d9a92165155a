"""Scopes watched after a decision, for who orders in them: control observations, and the visit.

A control observation is of a coupon that a shopper does not get: who orders without it. The windows of coupons last
days. A visit shows within the hour how often an item on view ends in an order, and every decision has one. The example
records the item on view with its price, from which prices by category and brand are learnt. It also records whether a
coupon for the scope was held, by this decision or an earlier one: what it adds to the orders is learnt as a weight of
its own, and left out of the prediction.
"""

import numpy as np

from stream_coupons.core.catalogue.catalogue import Catalogue, cap_objection
from stream_coupons.core.catalogue.compiled import Positions
from stream_coupons.core.catalogue.coupon_terms import may_overlap
from stream_coupons.core.decision import policy
from stream_coupons.core.decision.open_issues import example, is_still_watched
from stream_coupons.core.decision.scoring import VISIT
from stream_coupons.core.decision.table import Decision, stored_row
from stream_coupons.core.draws import DrawKey
from stream_coupons.core.features.numeric import NUMERIC
from stream_coupons.core.features.rows import SCHEMA
from stream_coupons.core.local_time import local_time
from stream_coupons.core.messages.inputs import OrderEvent, ShopEvent
from stream_coupons.core.messages.learning import MAX_PRICE_MINOR, OnView, TrainingExample
from stream_coupons.core.shopper.state import OpenControl, OpenVisit, Shopper


def open_control(decision: Decision, row: int, *, withheld: bool = False, is_beside: bool = False) -> None:
    """Watch whether the shopper orders in the scope of a coupon that they do not get.

    Parameters
    ----------
    decision : Decision
        The decision.
    row : int
        Of the coupon.
    withheld : bool
        True if it was chosen, and the holdout or chance withholds it.
    is_beside : bool
        True if the decision is a control observation of another coupon, too.
    """
    trigger, table, known = decision.trigger, decision.table, decision.known
    coupon, moment = table.coupon(row), trigger.moment
    predictions = table.predicted if withheld else table.of_model
    numeric, hashed, predicted = stored_row(table.features, row, predictions[row])
    control = OpenControl(
        issue_id=f"{trigger.identity}-{coupon.coupon_id}" if is_beside else trigger.identity,
        coupon_id=coupon.coupon_id,
        domain=trigger.event.domain,
        at=moment.at,
        until=moment.at + coupon.redeem_within_s,
        numeric=numeric,
        hashed=hashed,
        predicted=predicted,
        model_version=table.scorer.version,
        withheld=withheld,
        order_minor=round(float(table.order_minor[row]), 1),
        feature_schema=SCHEMA,
        scope_mark=known.catalogue.scope_mark(coupon.coupon_id),
    )
    moment.shopper.keep_control(control, known.rules.attribution.max_open_controls)


def watched(n: int, chosen: int, trigger: str, size: int, key: DrawKey) -> list[int]:
    """Return the control rows of a decision besides the chosen one: evenly spaced from a random start.

    A shopper without a coupon is a control observation of every coupon at once, and one with a coupon of every other
    scope. The best row alone would train P(order) on the best coupons only.

    Parameters
    ----------
    n : int
        Number of candidates.
    chosen : int
        Row that is observed already, or whose coupon is given.
    trigger : str
        Identity of the trigger.
    size : int
        Number of rows to draw.
    key : DrawKey
        Signs the draw.

    >>> from stream_coupons.core.draws import PUBLIC_KEY
    >>> watched(10, 0, "t", 3, PUBLIC_KEY), watched(1, 0, "t", 4, PUBLIC_KEY)
    ([9, 2, 5], [])
    """
    size = min(size, n)
    start = int(key.uniform("watched", trigger) * n)
    rows = [(start + step * n // max(size, 1)) % n for step in range(size)]
    return [row for row in rows if row != chosen]


def open_controls_beside(decision: Decision, best: int) -> None:
    """Watch some more coupons that the shopper does not get, evenly among all.

    Parameters
    ----------
    decision : Decision
        Among all coupons that could be given.
    best : int
        Row that is watched already.
    """
    rules = decision.known.rules
    size, identity = rules.policy.holdout_controls - 1, decision.trigger.identity
    for row in watched(len(decision.table.position), best, identity, size, rules.key):
        open_control(decision, row, is_beside=True)


def open_controls_apart(decision: Decision, given: int) -> None:
    """Watch some coupons of other scopes than the one that is given: for these, the shopper has no coupon.

    Parameters
    ----------
    decision : Decision
        Among all coupons that could be given.
    given : int
        Row of the coupon that is given.
    """
    rules, table, identity = decision.known.rules, decision.table, decision.trigger.identity
    rows = watched(len(table.position), given, identity, rules.policy.controls_apart, rules.key)
    overlapping = table.coupons.overlapping(int(table.position[given]))
    for row in rows:
        if int(table.position[row]) not in overlapping:
            open_control(decision, row, is_beside=True)


def under_caps_of_holdout(decision: Decision) -> tuple[Decision, bool]:
    """Return the decision among the candidates that a shopper of the holdout may be withheld.

    They are those that others would be given under the same caps: else those who come often would count for more in the
    holdout than among others.

    Parameters
    ----------
    decision : Decision
        Among all coupons that could be given.

    Returns
    -------
    decision : Decision
        Among those that the caps leave; all if they leave none.
    is_due : bool
        False if the caps leave none.
    """
    moment, table = decision.trigger.moment, decision.table
    history = moment.shopper.history
    rules, counts, coupons = decision.known.rules, history.withheld, table.coupons
    positions, zone = table.position.tolist(), rules.shop.time_zone
    kept = np.array([cap_objection(counts, coupons, position, moment.at, zone) is None for position in positions])
    if not kept.any() or policy.is_over_frequency_cap(history.recent_withheld, counts, moment.at, rules.policy, zone):
        return decision, False
    return decision.among(table, kept), True


def withhold(decision: Decision, row: int, *, is_holdout: bool, is_due: bool) -> None:
    """Watch the coupon that a shopper would have been given, and some coupons beside it.

    A coupon that chance withholds counts towards the caps as if it had been given: both sides of the comparison go on
    alike.

    Parameters
    ----------
    decision : Decision
        The decision.
    row : int
        Of the coupon.
    is_holdout : bool
        True if the shopper is in the holdout, whose coupons count apart; false if chance withholds this one.
    is_due : bool
        True if caps allow it: then it is marked as withheld, and counts towards them.
    """
    history = decision.trigger.moment.shopper.history
    if is_due:
        at, rules, coupon = decision.trigger.moment.at, decision.known.rules, decision.table.coupon(row)
        policy.note_issue(history.recent_withheld if is_holdout else history.recent_issues, at, rules.policy)
        counts = history.withheld if is_holdout else history.given
        counts.note(coupon.coupon_id, coupon.campaign_id, local_time(at, rules.shop.time_zone))
    open_control(decision, row, withheld=is_due)
    open_controls_beside(decision, row)


ON_VIEW_RATIO = 0.5
"""Share of visits watched in a scope of the item on view, if there is one."""
ON_VIEW = [NUMERIC.index("browsed_now"), NUMERIC.index("carted_now")]


def watched_row(n: int, on_view: Positions, trigger: str, key: DrawKey) -> int:
    """Return the row whose scope is watched in a visit: every other time one of those with the item on view.

    Chance draws among them. P(order | features) is learnt, so that which rows are watched more often does not matter.

    Parameters
    ----------
    n : int
        Number of candidates.
    on_view : array of int
        Rows that the item on view or in the cart fits.
    trigger : str
        Identity of the trigger.
    key : DrawKey
        Signs the draw.

    >>> from stream_coupons.core.draws import PUBLIC_KEY
    >>> [watched_row(9, np.array([4]), f"t{n}", PUBLIC_KEY) for n in range(6)]
    [5, 4, 4, 7, 4, 6]
    """
    if len(on_view) and key.uniform("on view", trigger) < ON_VIEW_RATIO:
        return int(on_view[int(key.uniform("visit row", trigger) * len(on_view))])
    return int(key.uniform("visit row", trigger) * n)


def watch_visit(decision: Decision) -> None:
    """Watch whether the shopper orders within the visit in the scope of one candidate; one visit at a time.

    Parameters
    ----------
    decision : Decision
        A trigger with its candidates, whatever is given.
    """
    trigger, table, known = decision.trigger, decision.table, decision.known
    moment, identity, rules = trigger.moment, trigger.identity, known.rules
    knows_visits = table.predicted.shape[1] > VISIT
    if not knows_visits or moment.shopper.visit is not None or not rules.attribution.visit_s:
        return
    on_view = np.flatnonzero(table.features.numeric[:, ON_VIEW].any(axis=1))
    row = watched_row(len(table.position), on_view, identity, rules.key)
    coupon_id, (numeric, hashed, predicted) = (
        table.coupon(row).coupon_id,
        stored_row(table.features, row, table.predicted[row]),
    )
    moment.shopper.visit = OpenVisit(
        issue_id=identity,
        coupon_id=coupon_id,
        domain=trigger.event.domain,
        at=moment.at,
        until=moment.at + rules.attribution.visit_s,
        numeric=numeric,
        hashed=hashed,
        predicted=(*predicted, round(float(table.predicted[row, VISIT]), 6)),
        model_version=table.scorer.version,
        feature_schema=SCHEMA,
        scope_mark=known.catalogue.scope_mark(coupon_id),
        on_view=item_on_view(trigger.event),
    )


def item_on_view(event: ShopEvent) -> OnView | None:
    """Return the item on view in a trigger; None for an order, and where the category or the price is not known.

    Parameters
    ----------
    event : ShopEvent
        The trigger.
    """
    item = None if isinstance(event, OrderEvent) else event.item
    if item is None or not item.category or not item.price_minor or item.price_minor > MAX_PRICE_MINOR:
        return None
    return OnView(category=item.category, brand=item.brand or None, price_minor=item.price_minor)


def close_visit(user_id: str, shopper: Shopper, at: float, catalogue: Catalogue) -> list[TrainingExample]:
    """Return the example of a visit that is over; none if its scope is no longer known.

    Parameters
    ----------
    user_id : str
        The shopper.
    shopper : Shopper
        State with a visit, changed in place.
    at : float
        Current time, UTC epoch seconds.
    catalogue : Catalogue
        The current scopes of coupons.
    """
    visit = shopper.visit
    assert visit is not None
    shopper.visit = None
    if not is_still_watched(visit, catalogue):
        return []
    held = _holds_coupon(shopper, visit, catalogue)
    return [example(user_id, visit, "visit", visit.ordered, at, held=held, on_view=visit.on_view)]


def _holds_coupon(shopper: Shopper, visit: OpenVisit, catalogue: Catalogue) -> bool:
    """Return whether the shopper held a coupon in the visit that may bring about an order in the watched scope."""
    watched = catalogue.by_id[visit.coupon_id]
    for issue in map(shopper.issue, shopper.issues):
        if issue.is_given and issue.at <= visit.until and visit.at <= issue.until:
            coupon = catalogue.by_id.get(issue.coupon_id)
            if coupon is None or may_overlap(watched, coupon):
                return True
    return False
