"""Control observations: coupons that a shopper does not get, watched to learn who orders without them."""

import numpy as np

from stream_coupons.core.catalogue.eligibility import is_over_own_cap
from stream_coupons.core.decision import attribution, policy
from stream_coupons.core.decision.candidates import Candidates
from stream_coupons.core.decision.scoring import Knowledge
from stream_coupons.core.features.rows import SCHEMA
from stream_coupons.core.shopper.state import OpenControl


def open_control(
    decision: Candidates, row: int, known: Knowledge, *, withheld: bool = False, is_beside: bool = False
) -> None:
    """Watch whether the shopper orders in the scope of a coupon that they do not get.

    Parameters
    ----------
    row : int
        Of the coupon.
    withheld : bool
        True if it would have been given, but for the holdout.
    is_beside : bool
        True if the decision is a control observation of another coupon, too.
    """
    coupon, moment, identity = decision.coupon(row), decision.undecided.moment, decision.undecided.identity
    numeric, hashed = decision.features(row)
    control = OpenControl(
        issue_id=f"{identity}-{coupon.coupon_id}" if is_beside else identity,
        coupon_id=coupon.coupon_id,
        domain=decision.undecided.event.domain,
        at=moment.at,
        until=moment.at + coupon.redeem_within_s,
        numeric=numeric,
        hashed=hashed,
        predicted=decision.probabilities(row),
        model_version=decision.model_version,
        withheld=withheld,
        feature_schema=SCHEMA,
        scope_mark=known.catalogue.scope_mark(coupon.coupon_id),
    )
    attribution.open_control(moment.shopper, control, known.rules.attribution)


def open_controls_beside(decision: Candidates, best: int, known: Knowledge) -> None:
    """Watch some more coupons that the shopper does not get, evenly among all; `best` is the row that is watched."""
    identity, rules = decision.undecided.identity, known.rules
    for row in policy.watched(len(decision.positions), best, identity, rules.policy, rules.key):
        open_control(decision, row, known, is_beside=True)


def under_caps_of_holdout(decision: Candidates, known: Knowledge) -> tuple[Candidates, bool]:
    """Return the candidates that a shopper of the holdout may be withheld, and True; all and False if caps leave none.

    They are those that others would be given under the same caps: else those who come often would count for more in the
    holdout than among others.
    """
    history, at = decision.undecided.moment.shopper.history, decision.undecided.moment.at
    kept = np.array([not is_over_own_cap(history.withheld, coupon) for coupon in decision.coupons()])
    if not kept.any() or policy.is_over_frequency_cap(history.recent_withheld, at, known.rules.policy):
        return decision, False
    return decision.narrowed(kept), True


def withhold(decision: Candidates, row: int, known: Knowledge, *, is_due: bool) -> None:
    """Watch the coupon that a shopper of the holdout would have been given, and some coupons beside it.

    Parameters
    ----------
    row : int
        Of the coupon.
    is_due : bool
        True if caps allow it: then it is marked as withheld, and counts towards them.
    """
    history = decision.undecided.moment.shopper.history
    if is_due:
        policy.note_issue(history.recent_withheld, decision.undecided.moment.at, known.rules.policy)
        coupon_id = decision.coupon(row).coupon_id  # capped or not: the catalogue may set a cap later
        history.withheld[coupon_id] = history.withheld.get(coupon_id, 0) + 1
    open_control(decision, row, known, withheld=is_due)
    open_controls_beside(decision, row, known)
