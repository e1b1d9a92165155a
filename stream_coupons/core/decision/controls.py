"""Control observations: coupons that a shopper does not get, watched for who orders without them."""

import numpy as np

from stream_coupons.core.catalogue.catalogue import cap_objection
from stream_coupons.core.decision import open_issues, policy
from stream_coupons.core.decision.decided import Decision
from stream_coupons.core.features.rows import SCHEMA
from stream_coupons.core.local_time import local_time
from stream_coupons.core.shopper.watched import OpenControl


def open_control(decision: Decision, row: int, *, withheld: bool = False, is_beside: bool = False) -> None:
    """Watch whether the shopper orders in the scope of a coupon that they do not get.

    Parameters
    ----------
    decision : Decision
        The decision.
    row : int
        Of the coupon.
    withheld : bool
        True if it would have been given, but for the holdout.
    is_beside : bool
        True if the decision is a control observation of another coupon, too.
    """
    trigger, table, known = decision.trigger, decision.table, decision.known
    coupon, moment = table.coupon(row), trigger.moment
    numeric, hashed, predicted = table.stored(row)
    control = OpenControl(
        issue_id=f"{trigger.identity}-{coupon.coupon_id}" if is_beside else trigger.identity,
        coupon_id=coupon.coupon_id,
        domain=trigger.event.domain,
        at=moment.at,
        until=moment.at + coupon.redeem_within_s,
        numeric=numeric,
        hashed=hashed,
        predicted=predicted,
        model_version=table.model_version,
        withheld=withheld,
        feature_schema=SCHEMA,
        scope_mark=known.catalogue.scope_mark(coupon.coupon_id),
    )
    open_issues.open_control(moment.shopper, control, known.rules.attribution)


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
    for row in policy.watched(len(decision.table), best, identity, size, rules.key):
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
    overlapping = table.coupons.overlapping(int(table.position[given]))
    for row in policy.watched(len(table), given, identity, rules.policy.controls_apart, rules.key):
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


def withhold(decision: Decision, row: int, *, is_due: bool) -> None:
    """Watch the coupon that a shopper of the holdout would have been given, and some coupons beside it.

    Parameters
    ----------
    decision : Decision
        The decision.
    row : int
        Of the coupon.
    is_due : bool
        True if caps allow it: then it is marked as withheld, and counts towards them.
    """
    history = decision.trigger.moment.shopper.history
    if is_due:
        at, rules, coupon = decision.trigger.moment.at, decision.known.rules, decision.table.coupon(row)
        policy.note_issue(history.recent_withheld, at, rules.policy)
        history.withheld.note(coupon.coupon_id, coupon.campaign_id, local_time(at, rules.shop.time_zone))
    open_control(decision, row, withheld=is_due)
    open_controls_beside(decision, row)
