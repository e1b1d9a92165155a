"""The engine's own decisions as arrays: arms, what was left of each, how likely each was, what was given.

Arms that sell out are what makes this more than reading: the probability of an arm depends on which of the others could
be had at that moment. The log says so of those that were asked for; of the others the next decision that asked for them
does: a coupon whose last unit is given is found sold out by the next one that asks.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.errors import BadConfig
from stream_coupons.core.events import NO_COUPON, LoggedDecision

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]
Mask = NDArray[np.bool_]

CONCLUDED = ("given", "not_worth_it", "control", "sold_out")
"""Results that say what the policy led to; the others say that something else came between."""


@dataclass(frozen=True, slots=True)
class OwnDecisions:
    """n decisions in order of time; the first of the a columns gives nothing, the others are a row's coupons.

    Attributes
    ----------
    names : tuple of str
        Every arm; `none` is the first.
    arm : array of int, shape (n, a)
        Which of `names` each column is; -1 for columns that a row does not have.
    value : array, shape (n, a)
        Value of each arm at that moment, minor units; 0 for none, -inf in columns that a row does not have.
    available : array of bool, shape (n, a)
        Which could be had: not sold out. Giving nothing always can.
    logging : array, shape (n, a)
        Probability of each arm by the policy that decided, given what could be had; rows sum to 1.
    chosen : array of int, shape (n,)
        Column of what was given.
    user_ids : list of str
    shopper : array of int, shape (n,)
    at : array, shape (n,)
        Time of the decision.
    left_out : Counter of str
        Decisions that are not among these, by result.
    """

    names: tuple[str, ...]
    arm: Rows
    value: Floats
    available: Mask
    logging: Floats
    chosen: Rows
    user_ids: list[str]
    shopper: Rows
    at: Floats
    left_out: Counter[str]

    def __len__(self) -> int:
        return len(self.chosen)

    @property
    def is_coupon(self) -> Mask:
        """Which columns are a coupon of the row, shape (n, a)."""
        is_coupon: Mask = self.arm > 0
        return is_coupon

    @property
    def propensity(self) -> Floats:
        """Probability of what was given, shape (n,)."""
        probability: Floats = self.logging[np.arange(len(self)), self.chosen]
        return probability


def arrays(decisions: Sequence[LoggedDecision], domain: str, until: float) -> OwnDecisions:
    """Return the decisions of a domain, up to a time, that the policy alone decided.

    The permanent control group is left out, for no policy would give it anything, and so is what ended by a time-out or
    a cap between proposal and answer.

    Raises
    ------
    BadConfig
        If none is left.
    """
    ordered = sorted((one for one in decisions if one.domain == domain), key=lambda one: (one.at, one.decision_id))
    kept, left_out = [], Counter[str]()
    for one in ordered:
        if one.is_holdout:
            left_out["holdout"] += 1
        elif one.result not in CONCLUDED:
            left_out[one.result] += 1
        elif one.at > until:
            left_out["window still open"] += 1
        else:
            kept.append(one)
    if not kept:
        why = ", ".join(f"{count} {result}" for result, count in left_out.most_common()) or "there is none"
        raise BadConfig(f"no decision of domain {domain!r} can be valued: {why}")
    names = (NO_COUPON, *sorted({arm for one in kept for arm in one.arms}))
    index = {name: number for number, name in enumerate(names)}
    n, width = len(kept), 1 + max(len(one.arms) for one in kept)
    arm, value = np.full((n, width), -1), np.full((n, width), -np.inf)
    arm[:, 0] = value[:, 0] = 0
    for row, one in enumerate(kept):
        arm[row, 1 : 1 + len(one.arms)] = [index[name] for name in one.arms]
        value[row, 1 : 1 + len(one.arms)] = one.values_minor
    at = np.array([one.at for one in kept])
    available = _available(_Sightings(ordered), names, arm, at)
    for row, one in enumerate(kept):  # what a decision saw itself, however many there are at its moment
        for place, is_left in _seen_by(one):
            available[row, 1 + place] = is_left
    users: dict[str, int] = {}
    return OwnDecisions(
        names=names,
        arm=arm,
        value=value,
        available=available,
        logging=_logging(kept, arm, available),
        chosen=np.array([1 + one.arms.index(one.coupon_id) if one.result == "given" else 0 for one in kept]),
        shopper=np.array([users.setdefault(one.user_id, len(users)) for one in kept]),
        user_ids=list(users),
        at=at,
        left_out=left_out,
    )


def _seen_by(one: LoggedDecision) -> list[tuple[int, bool]]:
    """Which arms a decision asked for, and whether they could be had."""
    seen = [(place, False) for place in one.refused]
    if one.result == "given":
        seen.append((one.arms.index(one.coupon_id), True))
    if one.drawn in one.ranking and one.result in CONCLUDED:
        above = one.ranking[: one.ranking.index(one.drawn)]
        # The first that could be had ended the asking.
        seen += [(place, True) for place in above if place not in one.refused][:1]
    return seen


class _Sightings:
    """When a coupon was asked for, and whether it could be had, by coupon and in order of time."""

    def __init__(self, ordered: Sequence[LoggedDecision]) -> None:
        self.of: defaultdict[str, list[tuple[float, bool]]] = defaultdict(list)
        for one in ordered:
            for place, is_left in _seen_by(one):
                self.of[one.arms[place]].append((one.at, is_left))


def _available(sightings: _Sightings, names: tuple[str, ...], arm: Rows, at: Floats) -> Mask:
    """What could be had, by the sighting at that moment or the next one; by the last one if none follows."""
    available = arm >= 0
    for number, name in enumerate(names):
        seen = sightings.of.get(name)
        if not seen or all(is_left for _, is_left in seen):
            continue
        times, is_left = np.array([when for when, _ in seen]), np.array([left for _, left in seen])
        rows, columns = np.nonzero(arm == number)
        following = np.minimum(np.searchsorted(times, at[rows], side="left"), len(times) - 1)
        available[rows, columns] = is_left[following]
    return available


def _logging(kept: Sequence[LoggedDecision], arm: Rows, available: Mask) -> Floats:
    """Probability of each arm by the policy that decided, shape (n, a)."""
    tried, reached = np.zeros(arm.shape, dtype=np.bool_), np.zeros(len(kept), dtype=np.intp)
    for row, one in enumerate(kept):
        tried[row, [1 + place for place in one.tried or range(len(one.arms))]] = True
        reached[row] = next((1 + place for place in one.ranking if available[row, 1 + place]), 0)
    chosen = probabilities(reached, tried, np.array([one.exploration_ratio for one in kept]), available)
    control = np.array([one.control_ratio for one in kept])
    logging: Floats = (1.0 - control[:, None]) * chosen
    logging[:, 0] += control
    return logging


def probabilities(reached: Rows, tried: Mask, epsilon: Floats, available: Mask) -> Floats:
    """Return the probability of giving each arm, as `core.policy.propensity_of` has it of one, shape (n, a).

    Parameters
    ----------
    reached : array of int, shape (n,)
        Column that the ranking comes to when not exploring; 0 gives nothing.
    tried : array of bool, shape (n, a)
        What exploring draws from, all alike. What it draws and cannot be had leads to nothing.
    epsilon : array, shape (n,)
        Probability of exploring.
    available : array of bool, shape (n, a)

    Examples
    --------
    Of three coupons the first leads, the last is sold out.

    >>> can = np.array([[True, True, True, False]])
    >>> probabilities(np.array([1]), np.array([[False, True, True, True]]), np.array([0.3]), can).round(6).tolist()
    [[0.1, 0.8, 0.1, 0.0]]
    """
    count = tried.sum(axis=1)
    given: Floats = epsilon[:, None] * tried * available / np.maximum(count, 1)[:, None]
    # By counting, so that it is 0 where nothing is sold out, and not nearly.
    given[:, 0] = epsilon * np.where(count > 0, (tried & ~available).sum(axis=1) / np.maximum(count, 1), 1.0)
    given[np.arange(len(reached)), reached] += 1.0 - epsilon
    return given
