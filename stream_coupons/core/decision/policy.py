"""Decision policy: standing objections to any coupon, and the choice of the one to give, if any."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from stream_coupons.core.catalogue.compiled import Floats, Positions
from stream_coupons.core.catalogue.occasions import Context, zone_of
from stream_coupons.core.decision.policy_plugin import Offer, drawn_row, shares
from stream_coupons.core.draws import DrawKey
from stream_coupons.core.local_time import local_time
from stream_coupons.core.messages.decisions import LoggedDecision
from stream_coupons.core.messages.learning import LiftBrake
from stream_coupons.core.reasons import NoCoupon
from stream_coupons.core.rules import STRATEGIES, PolicyRules, Rules
from stream_coupons.core.shopper.issue_counts import IssueCounts
from stream_coupons.core.shopper.state import Shopper


def is_holdout(user_id: str, rules: PolicyRules, key: DrawKey) -> bool:
    """Return whether the shopper is in the permanent control group, which never gets a coupon."""
    return key.uniform("holdout", user_id) < rules.holdout_ratio


def standing_objection(shopper: Shopper, at: float, now: float, rules: Rules, context: Context) -> NoCoupon | None:
    """Return the reason why this shopper gets no coupon at this moment, whatever the coupons; None if there is none.

    Parameters
    ----------
    at, now : float
        Time of the trigger and of the decision, UTC epoch seconds.
    context : mapping
        Context of the trigger, imputed where it lacks a key: its `time_zone` counts for quiet hours.
    """
    policy, history = rules.policy, shopper.history
    if now - at > policy.trigger_timeout_s:
        return NoCoupon.TIMED_OUT
    if shopper.considered_at is not None and at < shopper.considered_at + policy.cooldown_s:
        return NoCoupon.COOLDOWN
    if is_over_frequency_cap(history.recent_issues, history.given, at, policy, rules.shop.time_zone):
        return NoCoupon.FREQUENCY_CAP
    if policy.quiet_from_hour != policy.quiet_until_hour:
        zone = zone_of(context, rules.shop.time_zone)
        if is_quiet(at, policy, zone) or is_quiet(now, policy, zone):
            return NoCoupon.QUIET_HOURS
    return None


def is_over_frequency_cap(
    recent: Sequence[float], counts: IssueCounts, at: float, rules: PolicyRules, zone: str = "UTC"
) -> bool:
    """Return whether the shop's caps allow no more coupons, in the window or in a calendar period.

    Parameters
    ----------
    recent : sequence of float
        Times of the last coupons, UTC epoch seconds.
    counts : IssueCounts
        Number of coupons by calendar period.
    at : float
        End of the window, UTC epoch seconds.
    zone : str
        Time zone of the shop.

    >>> rules = PolicyRules(max_issues_per_window=2, issue_window_s=30.0)
    >>> is_over_frequency_cap([10.0, 50.0], IssueCounts(), 60.0, rules)
    False
    """
    since = at - rules.issue_window_s
    if sum(issued > since for issued in recent) >= rules.max_issues_per_window:
        return True
    return bool(rules.caps) and counts.reached(rules.caps, local_time(at, zone)) is not None


def note_issue(recent: list[float], at: float, rules: PolicyRules) -> None:
    """Add the time of one more coupon, and keep as many times as the cap counts.

    Parameters
    ----------
    recent : list of float
        Times of the last coupons, UTC epoch seconds; changed in place.
    """
    recent.append(at)
    del recent[: -rules.max_issues_per_window]


def is_quiet(at: float, rules: PolicyRules, zone: str = "UTC") -> bool:
    """Return whether the time on the shopper's clock is within the quiet hours; equal bounds mean never.

    >>> night = PolicyRules(quiet_from_hour=22, quiet_until_hour=7)
    >>> [is_quiet(noon_or_night * 3600.0, night, "Asia/Tokyo") for noon_or_night in (3, 14)]
    [False, True]
    """
    start, end = rules.quiet_from_hour, rules.quiet_until_hour
    if start == end:
        return False
    hour = local_time(at, zone).hour
    return start <= hour < end if start <= end else hour >= start or hour < end


def is_watched(objection: NoCoupon, trigger: str, rules: PolicyRules, key: DrawKey) -> bool:
    """Return whether a trigger that leads to no coupon is a control observation: a share of those at the cap.

    Shoppers at the cap show the orders without a coupon. They are many, and not selected by value.

    Parameters
    ----------
    objection : NoCoupon
        The reason why the trigger leads to no coupon.
    trigger : str
        Identity of the trigger.
    """
    return objection is NoCoupon.FREQUENCY_CAP and key.uniform("watched", trigger) < rules.watched_ratio


def control_row(n: int, trigger: str, key: DrawKey) -> int:
    """Return the row, of n candidates, to observe where no coupon is given: a uniform draw."""
    return int(key.uniform("control row", trigger) * n)


SURE_RATIO = 1.0 / 3.0
"""Part of the probability of withholding that is left where the sign of a value is sure."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The policy's answer to one trigger, and the parameters of its probabilities.

    Attributes
    ----------
    row : int or None
        The candidate to give, unless it is withheld; None when NO_COUPON won, or was drawn.
    is_drawn : bool
        True if exploration drew it.
    leader : int or None
        The row to give without exploration: see `leading`.
    tried : list of int
        Rows that exploration draws from, uniformly.
    epsilon : float
        Probability of exploration.
    best : int
        The row that would lead if exploration never drew; the one with the greatest value if none would.
    control_ratio : float
        Probability that chance withholds the candidate, whichever it is.
    is_withheld : bool
        True if chance withholds it.
    shares : list of float
        Probabilities of all rows, and of no coupon, by a policy from another package; empty for the engine's own.
    """

    row: int | None
    is_drawn: bool
    leader: int | None
    tried: list[int]
    epsilon: float
    best: int
    control_ratio: float = 0.0
    is_withheld: bool = False
    shares: list[float] = field(default_factory=list)

    def propensity(self, row: int | None) -> float:
        """Return the probability, over all triggers, that `choose` gives this row; None is NO_COUPON.

        >>> choice = Choice(0, False, leader=0, tried=[0, 1, 2, 3], epsilon=0.2, best=0)
        >>> [round(choice.propensity(row), 3) for row in (0, 1, None)]
        [0.85, 0.05, 0.0]
        """
        drawn = self.epsilon / len(self.tried) if row in self.tried else 0.0
        given = drawn + (1.0 - self.epsilon) * (row == self.leader)
        given = self.shares[-1 if row is None else row] if self.shares else given
        return (1.0 - self.control_ratio) * given + self.control_ratio * (row is None)

    def logged(self, arms: list[str], values_minor: Floats, prices_minor: Floats, **said: Any) -> LoggedDecision:
        """Return the record of a decision.

        Parameters
        ----------
        arms : list of str
            Coupon ids of the rows.
        values_minor, prices_minor : array, shape (n,)
            Values and prices of the rows, minor units.
        said : any
            The other fields of the record.
        """
        return LoggedDecision(
            arms=arms,
            values_minor=values_minor.round(2).tolist(),
            prices_minor=prices_minor.round(2).tolist() if prices_minor.any() else [],
            best=self.leader,
            tried=[] if len(self.tried) == len(arms) else self.tried,
            exploration_ratio=self.epsilon,
            drawn=self.row if self.is_drawn else None,
            control_ratio=self.control_ratio,
            shares=[round(share, 9) for share in self.shares],
            **said,
        )


def is_logged(identity: str, rules: PolicyRules, key: DrawKey) -> bool:
    """Return whether the decision of this identity is recorded: `PolicyRules.decisions_logged_ratio` of all are."""
    ratio = rules.decisions_logged_ratio
    return ratio >= 1.0 or (ratio > 0.0 and key.uniform("logged", identity) < ratio)


class Draw(NamedTuple):
    """The random draw for one trigger, whatever the values of its candidates.

    Attributes
    ----------
    is_explored : bool
        True if one of the best candidates is chosen, whatever its value.
    arm : float
        Draw among them, in [0, 1).
    control : float
        The candidate is withheld if this draw in [0, 1) is below `Choice.control_ratio`.
    """

    is_explored: bool
    arm: float
    control: float


def draw(trigger: str, rules: PolicyRules, key: DrawKey) -> Draw:
    """Return the draw of a trigger; a replay with the same key draws alike.

    Parameters
    ----------
    trigger : str
        Identity that includes the shopper: event ids may be counters, and all shoppers would explore at the same
        ones.
    """
    is_explored = key.uniform("explore", trigger) < (rules.exploration_ratio if rules.strategy == "value" else 1.0)
    arm = key.uniform("arm", trigger) if is_explored else 0.0
    return Draw(is_explored, arm, key.uniform("control", trigger) if rules.control_ratio else 1.0)


def withheld_ratio(worth: float, spread: float, rules: PolicyRules, *, is_first_week: bool) -> float:
    """Return the probability that chance withholds what is chosen: the more, the more its sign is in doubt.

    A choice that is withheld by chance shows what its shopper orders without it (Johnson, Lewis, Nubbemeyer 2017: Ghost
    ads). At least a third of `control_ratio` of all choices keeps the level of values measurable.

    Parameters
    ----------
    worth, spread : float
        Value less price of the row that leads, and its standard deviation, minor units.
    is_first_week : bool
        True if little is known of the shop yet.
    rules : PolicyRules
        The largest probability, and the one in the first week.

    >>> rules = PolicyRules(control_ratio=0.03, first_control_ratio=0.1)
    >>> [round(withheld_ratio(worth, 10.0, rules, is_first_week=True), 3) for worth in (0.0, 5.0, 40.0)]
    [0.1, 0.062, 0.033]
    """
    most = control_bounds(rules)[1]
    doubt = math.erfc(abs(worth) / (spread * math.sqrt(2.0))) if spread > 0.0 else 0.0
    if not is_first_week:
        most = rules.control_ratio
    return most * max(doubt, SURE_RATIO)


def control_bounds(rules: PolicyRules) -> tuple[float, float]:
    """Return the least and the largest probability that chance withholds a choice.

    >>> control_bounds(PolicyRules(control_ratio=0.0))
    (0.0, 0.0)
    """
    ratio = rules.control_ratio
    return ratio * SURE_RATIO, max(rules.first_control_ratio, ratio) if ratio else 0.0


def leading(worth: Floats, rules: PolicyRules, priority: Positions | None = None) -> int | None:
    """Return the best row of the highest priority, of those whose value exceeds `min_value_minor`; None if none does.

    Parameters
    ----------
    worth : array, shape (n,)
        Value less price of each candidate, minor units; n is at least 1.
    priority : array, shape (n,), optional
        Priority of each candidate; None: the same for all.

    >>> leading(np.array([9.0, 5.0, 6.0, 1.0]), PolicyRules(), np.array([0, 1, 1, 2]))
    2
    """
    best = int(np.argmax(worth))
    if not worth[best] > rules.min_value_minor:
        return None
    if priority is None:
        return best
    is_worth_it = worth > rules.min_value_minor
    is_first = is_worth_it & (priority == priority[is_worth_it].max())
    return int(np.argmax(np.where(is_first, worth, -np.inf)))


def pick(
    worth: Floats,
    drawn: Draw,
    rules: PolicyRules,
    offer: Callable[[], Offer] | None = None,
    priority: Positions | None = None,
    control_ratio: float = 0.0,
) -> Choice:
    """Choose by value, but explore: with probability epsilon one of the best k candidates, whatever its value.

    The candidates are all available coupons, so the probability of the choice is exact (`Choice.propensity`). Under the
    strategy "random" epsilon is 1 and k is the number of candidates: the baseline. What is chosen is withheld by chance
    now and then: such decisions show orders without the coupon.

    Parameters
    ----------
    worth : array, shape (n,)
        Value less price of each candidate, minor units; n is at least 1.
    offer : callable, optional
        Returns what a policy from another package decides by; if it fails, that is a `PluginError`.
    priority : array, shape (n,), optional
        Priority of each candidate, which only exploration ignores; None: the same for all.
    control_ratio : float
        Probability that the choice is withheld: see `withheld_ratio`.
    """
    tried, epsilon = explored(worth, rules), rules.exploration_ratio if rules.strategy == "value" else 1.0
    found, of_rows = leading(worth, rules, priority), list[float]()
    best = int(np.argmax(worth)) if found is None else found
    leader = row = found if epsilon < 1.0 else None
    is_drawn = drawn.is_explored
    if offer is not None and rules.strategy not in STRATEGIES:
        of_plugin = shares(offer())
        leader, row, of_rows = None, drawn_row(of_plugin, drawn.arm), of_plugin.tolist()
        is_drawn = row is not None
    elif is_drawn:
        row = tried[int(drawn.arm * len(tried))]
    is_withheld = row is not None and drawn.control < control_ratio
    return Choice(row, is_drawn, leader, tried, epsilon, best, control_ratio, is_withheld, of_rows)


def choose(
    worth: Floats,
    trigger: str,
    rules: PolicyRules,
    key: DrawKey,
    offer: Callable[[], Offer] | None = None,
    priority: Positions | None = None,
) -> Choice:
    """Return the choice of `pick` by the draw of a trigger.

    Parameters
    ----------
    worth : array, shape (n,)
        Value less price of each candidate, minor units.
    trigger : str
        Identity of the trigger.

    >>> from stream_coupons.core.draws import PUBLIC_KEY
    >>> choose(np.array([-1.0, 5.0, 3.0]), "t", PolicyRules(exploration_ratio=0.0), PUBLIC_KEY).row
    1
    """
    return pick(worth, draw(trigger, rules, key), rules, offer, priority, rules.control_ratio)


def ranking(worth: Floats) -> Positions:
    """Return all rows, the largest value first, equal ones in ascending order."""
    return np.argsort(-worth, kind="stable")


def explored(worth: Floats, rules: PolicyRules) -> list[int]:
    """Return the rows that exploration draws from uniformly, ascending.

    Parameters
    ----------
    worth : array, shape (n,)
        Value less price of each candidate, minor units.

    >>> explored(np.array([-1.0, 2.0, 5.0]), PolicyRules(explored_candidates=2))
    [1, 2]
    """
    if rules.strategy != "value":
        return list(range(len(worth)))
    return sorted(np.argsort(-worth, kind="stable")[: rules.explored_candidates].tolist())


class Arm(NamedTuple):
    """The arm of a shopper in the live measurement of lift: those who may get coupons, and those who get none.

    Attributes
    ----------
    is_holdout : bool
        True if the shopper is in the permanent control group.
    is_braked : bool
        True if the shopper gets no coupon because the lift of the domain lies below zero.
    period : int
        Period of the measurement.
    is_without : bool or None
        True in the arm without coupons. While the domain is braked, the few who get coupons are compared with the
        others who got some before; the holdout is in neither arm then (None): it has another past.
    """

    is_holdout: bool
    is_braked: bool
    period: int
    is_without: bool | None


def arm_of(user_id: str, brake: LiftBrake, rules: Rules) -> Arm:
    """Return the arm of a shopper.

    While the lift of a domain lies below zero, a drawn few, `LiftBrake.given_ratio` of the shoppers, go on getting
    coupons: they show whether coupons earn again.

    Parameters
    ----------
    user_id : str
        The shopper.
    brake : LiftBrake
        Brake of the domain of the decision.
    rules : Rules
        Size of the holdout, and the secret.
    """
    in_holdout, is_on = is_holdout(user_id, rules.policy, rules.key), brake.given_ratio < 1.0
    braked = is_on and rules.key.uniform("lift probe", user_id) >= brake.given_ratio
    return Arm(in_holdout, braked, brake.period, braked if not in_holdout else None if is_on else True)
