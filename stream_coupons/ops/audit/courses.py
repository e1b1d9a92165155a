"""Courses of events that an issue may have taken, and bounds of what they draw, spend and free."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import NamedTuple

from stream_coupons.core.messages.inputs import FeedbackEvent
from stream_coupons.core.shopper.uses import Use, keep_use, use_in

MAX_UNSURE = 6
"""Reports on one coupon that may be applied or not, of which all courses are followed."""
ENDLESS = 10**15
"""More than any sum of money that a purse can have."""


class Settlement(NamedTuple):
    """A purchase, refund or cancellation.

    Attributes
    ----------
    is_sure : bool
        True if it was applied for certain.
    may_be_late : bool
        True if the window of its coupon may have closed before.
    """

    event_id: int
    order_id: str
    at: float
    kind: str
    taken_minor: int
    may_be_late: bool
    is_sure: bool


class Course(NamedTuple):
    """One course of events of an issue, minor units.

    Attributes
    ----------
    spent, refunded : int
        Spent and refunded in all.
    released, again : int
        Part of the hold that reports took, in all, and that they gave back.
    standing : int
        Hold that is left when the window closes.
    """

    spent: int = 0
    refunded: int = 0
    released: int = 0
    again: int = 0
    standing: int = 0

    @property
    def net(self) -> int:
        """Spent and not refunded."""
        return self.spent - self.refunded


def course_of(held_minor: int, applied: Iterable[Settlement], *, closes: bool = False) -> Course:
    """Return the effect of reports applied in this order: of each order, the one that happened last counts.

    Parameters
    ----------
    held_minor : int
        Hold of the issue when it was given.
    applied : iterable of Settlement
        The reports.
    closes : bool
        True if reports that may be late are.

    Examples
    --------
    >>> purchase = Settlement(1, "o1", 10.0, "purchase", 60, may_be_late=False, is_sure=True)
    >>> course_of(100, [purchase, purchase._replace(at=12.0, kind="refund", taken_minor=20)])
    Course(spent=60, refunded=40, released=60, again=40, standing=80)
    """
    uses: list[Use] = []
    spent = refunded = released = again = 0
    standing = held_minor
    for one in applied:
        use = use_in(uses, one.order_id)
        if one.at < use.reported_at or (one.kind == "refund" and one.taken_minor > use.minor):
            continue
        spent += max(one.taken_minor - use.minor, 0)
        refunded += max(use.minor - one.taken_minor, 0)
        use.reported_at, use.minor = one.at, one.taken_minor
        keep_use(uses, use)
        if not (closes and one.may_be_late):
            before, standing = standing, max(held_minor - spent + refunded, 0)
            released += max(before - standing, 0)
            again += max(standing - before, 0)
    return Course(spent, refunded, released, again, standing)


@dataclass(slots=True)
class Given:
    """An issue and what may have become of it.

    Attributes
    ----------
    at_ms : int
        When the issue was appended.
    propensity : float
        Its probability, by the issue.
    is_explored : bool
        True if the issue states that chance drew it.
    settlements : tuple of Settlement
        In the order in which they were appended.
    """

    content: int
    user: int
    coupon_id: str
    campaign_id: str | None
    partition: int
    held_minor: int
    most_minor: int
    issued_at: float
    expires_at: float
    at_ms: int
    propensity: float
    is_explored: bool
    settlements: tuple[Settlement, ...] = ()

    @property
    def order_ids(self) -> set[str]:
        """Orders that reports on it name."""
        return {one.order_id for one in self.settlements}

    def courses(self, *, has_lost: bool) -> Iterator[Course]:
        """Return all courses that events may have taken; `has_lost` if feedback may be there no more."""
        unsure = [index for index, one in enumerate(self.settlements) if not one.is_sure]
        if has_lost or len(unsure) > MAX_UNSURE:
            yield Course(standing=self.held_minor)
            yield Course(self.most_minor * max(len(self.order_ids), 1), 0, ENDLESS, ENDLESS)
            yield Course(ENDLESS, ENDLESS, ENDLESS, ENDLESS)
            return
        for applied in product((False, True), repeat=len(unsure)):
            left_out = {index for index, is_applied in zip(unsure, applied, strict=True) if not is_applied}
            known = [one for index, one in enumerate(self.settlements) if index not in left_out]
            yield course_of(self.held_minor, known)
            if any(one.may_be_late for one in known):
                yield course_of(self.held_minor, known, closes=True)


class PartitionClock(NamedTuple):
    """The time reached in a partition, epoch seconds.

    Attributes
    ----------
    reached : float
        The latest tick; ticks end coupons.
    settled : float
        The latest tick that the workers have committed: feedback that waited in vain until then has a dead letter.
    latest : float
        The latest of all records, by which holds fall.
    gap_s : float
        The longest time between two ticks.
    """

    reached: float = -math.inf
    latest: float = -math.inf
    gap_s: float = 0.0
    settled: float = -math.inf

    def fallen(self, given: Given) -> float:
        """Return the share of a hold that may have fallen: above 1 if a coupon was over before a tick ended it."""
        length = max(given.expires_at - given.issued_at, 1.0)
        passed = min(self.latest - given.issued_at, length)
        beyond = min(max(self.latest - given.expires_at, 0.0), max(self.gap_s, self.latest - self.reached))
        return max(passed + beyond, 0.0) / length


@dataclass(slots=True)
class Bounds:
    """Bounds of a sum over issues, minor units."""

    least: float = 0
    most: float = 0

    def add(self, values: Iterable[float]) -> None:
        """Add one of several values."""
        known = list(values)
        self.least += min(known)
        self.most += max(known)


@dataclass(slots=True)
class Sums:
    """Sums over all issues of an account in one partition, minor units.

    Attributes
    ----------
    held : int
        Held when they were issued.
    again : Bounds
        Held again after refunds and cancellations.
    spent : Bounds
        Spent and not refunded.
    open, worst : Bounds
        Held now, and spent in the end if each open coupon takes the most that it can.
    """

    place: str
    held: int = 0
    again: Bounds = field(default_factory=Bounds)
    spent: Bounds = field(default_factory=Bounds)
    refunded: Bounds = field(default_factory=Bounds)
    freed: Bounds = field(default_factory=Bounds)
    open: Bounds = field(default_factory=Bounds)
    worst: Bounds = field(default_factory=Bounds)

    def add(self, given: Given, courses: list[Course], clock: PartitionClock, *, is_over: bool) -> None:
        """Add an issue; `is_over` if its time may be over."""
        self.held += given.held_minor
        ways = [_way(given, course, clock, is_over=is_over) for course in courses]
        self.spent.add(course.net for course in courses)
        self.refunded.add(course.refunded for course in courses)
        for bounds, values in zip(
            (self.again, self.freed, self.open, self.worst), zip(*ways, strict=True), strict=True
        ):
            bounds.add(values)


def _way(given: Given, course: Course, clock: PartitionClock, *, is_over: bool) -> tuple[float, float, float, float]:
    """Return what of one issue is held again, at most freed, at least held, and at most spent in the end."""
    fallen = clock.fallen(given) if given.held_minor < given.most_minor else 0.0
    freed = course.refunded + course.released + course.standing * (max(fallen, 1.0) if is_over else fallen)
    left = 0.0 if is_over else course.standing * max(1.0 - fallen, 0.0)
    worst = course.net if is_over else max(course.net, given.most_minor)
    return course.again, freed, left, worst


def taken(event: FeedbackEvent, given: Given) -> int:
    """Return what the coupon has taken off its order in all, by a report."""
    if event.kind == "cancel":
        return 0
    if event.discount_minor is None:
        return given.most_minor if event.kind == "purchase" else 0
    return min(event.discount_minor, given.most_minor)


def is_repeated(one: Settlement, known: tuple[Settlement, ...]) -> bool:
    """Return whether it is a copy, which changes nothing even if it is applied again."""
    is_copy = any(other[:-1] == one[:-1] for other in known)
    return is_copy and all(other.at != one.at or other[:-1] == one[:-1] for other in known)
