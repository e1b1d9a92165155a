"""The scored issues of a log as arrays: their arms, the predictions for these, the chosen arms and the outcomes."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.catalogue.compiled import CouponSet
from stream_coupons.core.errors import BadConfig
from stream_coupons.core.messages.fields import NO_COUPON
from stream_coupons_lab.datasets.foreign import ForeignLog
from stream_coupons_lab.datasets.log_records import LoggedIssue
from stream_coupons_lab.offline.scored import Scored
from stream_coupons_lab.ope.policies import ArmTable

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]
Mask = NDArray[np.bool_]

OF_LOG = {"names", "coupons", "position"}
"""Fields of `LoggedDecisions` that do not have one row per decision."""


@dataclass(frozen=True, slots=True)
class LoggedDecisions(ArmTable):
    """n decisions of another system in order of time; `names` begins with the arm most often chosen.

    Attributes
    ----------
    chosen : array of int, shape (n,)
        Column of the arm that was chosen.
    probability : array, shape (n, a, 3)
        P(click), P(redeem), P(order) of every arm by the model as it stood then.
    worth : array, shape (n, a)
        Value of every arm over giving none as a decision has it, minor units; 0 in columns that a row does not have.
    propensity : array, shape (n,)
        NaN where the log lacks it.
    order_value : array, shape (n,)
        Minor units; NaN where there was no purchase, or the log lacks it.
    labelled_at : array, shape (n,)
        Time at which the outcome was known.
    """

    coupons: CouponSet
    position: Rows
    """Position in `coupons` of the coupon of each name; 0 for `none`."""
    chosen: Rows
    shopper: Rows
    at: Floats
    labelled_at: Floats
    probability: Floats
    worth: Floats
    propensity: Floats
    clicked: Mask
    purchased: Mask
    order_value: Floats

    @property
    def chosen_arm(self) -> Rows:
        """Index in `names` of the chosen arm, shape (n,)."""
        return self.arm[np.arange(len(self)), self.chosen]

    @property
    def times_chosen(self) -> Rows:
        """Number of decisions that chose each of `names`."""
        return np.bincount(self.chosen_arm, minlength=len(self.names))

    def at_rows(self, rows: Mask) -> "LoggedDecisions":
        """Return some of the decisions."""
        names = {one.name for one in fields(self)} - OF_LOG
        return replace(self, **{name: getattr(self, name)[rows] for name in names})


def decisions_of(scored: Sequence[Scored], log: ForeignLog, typical_price_minor: float) -> LoggedDecisions:
    """Return arrays of the issues that name their arms and whose outcome is known; these arms must have been scored.

    A purchase without a click reported counts as no click, as it does in the log.

    Raises
    ------
    BadConfig
        If the outcome of no issue is known.
    """
    known = [each for each in scored if each.labelled_at is not None and each.by_arm]
    if not known:
        raise BadConfig(
            f"the log ends before the window of any of its {len(scored)} issues: no outcome is known. "
            "Give an expires_at, a shorter window, or more records after the issues"
        )
    counts = Counter(_chosen_name(each) for each in known)
    names = tuple(sorted({name for each in known for name in each.by_arm}, key=lambda name: (-counts[name], name)))
    index = {name: i for i, name in enumerate(names)}
    width = max(len(each.by_arm) for each in known)
    arm = np.full((len(known), width), -1)
    probability = np.zeros((len(known), width, 3))
    worth = np.zeros((len(known), width))
    chosen = np.zeros(len(known), dtype=np.intp)
    for row, each in enumerate(known):
        columns = sorted(each.by_arm, key=lambda name: name != NO_COUPON)
        arm[row, : len(columns)] = [index[name] for name in columns]
        probability[row, : len(columns)] = [each.by_arm[name] for name in columns]
        worth[row, : len(columns)] = [each.worth_by_arm[name] for name in columns]
        chosen[row] = columns.index(_chosen_name(each))
    coupons = CouponSet(log.coupons, typical_price_minor)
    shoppers: dict[str, int] = {}
    return LoggedDecisions(
        names=names,
        coupons=coupons,
        position=np.array([coupons.position.get(log.coupon_of[name], 0) for name in names]),
        arm=arm,
        chosen=chosen,
        shopper=np.array([shoppers.setdefault(each.user_id, len(shoppers)) for each in known]),
        at=np.array([each.occurred_at for each in known]),
        labelled_at=np.array([each.labelled_at for each in known], dtype=np.float64),
        probability=probability,
        worth=worth,
        propensity=np.array([each.propensity for each in known], dtype=np.float64),
        clicked=np.array([bool(each.clicked) for each in known]),
        purchased=np.array([bool(each.redeemed) for each in known]),
        order_value=np.array([each.value_minor for each in known], dtype=np.float64),
    )


def _chosen_name(scored: Scored) -> str:
    """Return the arm's name in the issue's list of arms: its own or that of its coupon."""
    return scored.arm if scored.arm in scored.by_arm else scored.coupon_id


def missing_arms(log: ForeignLog) -> list[str]:
    """Return the notes on issues that name no arms.

    Raises
    ------
    BadConfig
        If none of the issues names its arms: the alternatives are unknown then.
    """
    issues = [record for record in log.records() if isinstance(record, LoggedIssue)]
    missing = sum(not issue.arms for issue in issues)
    if not missing:
        return []
    if missing == len(issues):
        raise BadConfig(
            "no issue of the log names its arms: what else could have been chosen is not known, so no other policy can "
            'be valued. Give each issue its "arms" (with "none" if nothing could be given), and its "propensity"'
        )
    return [f"{missing} of {len(issues)} issues name no arms and are left out"]
