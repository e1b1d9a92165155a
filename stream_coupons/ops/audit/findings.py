"""The findings of an audit: by check, the numbers checked, open and not checked, and the violations."""

from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from stream_coupons.kafka.records import Record

FIRST_KEPT = 20
"""Violations of a check that are kept; all of them are counted."""


NOT_JUDGED = "not judged"
"""In place of a fault: there is no evidence."""


class Check(Enum):
    """The checks of an audit: the invariant of the design, a name, and what must hold."""

    TRIGGERS = ("I1", "triggers", "a trigger of a shopper has one issue, an issue one trigger")
    STOCK = ("I2", "stock", "issued <= stock and leased to all partitions <= stock, per coupon")
    BUDGET = ("I2", "budget", "held and leased <= budget, and spent within its bound, per coupon and campaign")
    CAPS = ("I2", "caps", "a shopper has a coupon, and those of a campaign, as often as its caps allow")
    CODES = ("I2", "codes", "no code is given twice")
    FREQUENCY = ("I2", "frequency cap", "a shopper gets as many coupons as max_issues_per_window and policy.caps allow")
    LEASES = ("I2", "leases", "totals only grow, and a partition draws no more than it was granted")
    AMOUNTS = ("I2", "amounts", "a partition holds, spends and frees what its issues and purchases say")
    RECORDS = ("I3", "records", "a record read by users or budgets is applied, a duplicate or a dead letter")
    LETTERS = ("I3", "dead letters", "a dead letter is the copy of one record that is or was there")
    ISSUES = ("I4", "issues", "an issue was drawn in its shopper's partition, and what was drawn is issued")
    COPIES = ("I6", "copies", "copies of an issue have the same bytes")
    SIGNATURES = ("I8", "signatures", "a lease or report that is taken in is signed with the secret")
    HOLDOUT = (
        "I9",
        "holdout",
        "a shopper of the permanent control group gets no coupon, one of a campaign's none of it",
    )
    PROPENSITIES = ("I9", "propensities", "result and propensity of a decision follow from its arms and the keyed draw")
    STATES = ("terms", "states", "no coupon is issued in a state of it or its campaign that forbids it to the shopper")
    VALIDITY = ("terms", "validity", "a coupon is issued within its time and that of its campaign")
    QUIET_HOURS = ("rules", "quiet hours", "no coupon is issued within the quiet hours")
    COOLDOWN = ("rules", "cooldown", "decisions for a shopper are cooldown_s apart")
    ERASURES = ("rules", "erasures", "an erased shopper is forgotten, and events of before lead to no coupon")

    def __init__(self, invariant: str, title: str, about: str) -> None:
        self.invariant = invariant
        self.title = title
        self.about = about

    __hash__ = object.__hash__  # members are counted by the million, and the hash of an enum is slow


class Violation(NamedTuple):
    """A violation of a check, and the record that shows it as topic:partition:offset."""

    check: Check
    place: str
    detail: str

    def __str__(self) -> str:
        return f"{self.check.invariant} {self.check.title}: {self.place}: {self.detail}"


@dataclass(slots=True)
class Reported:
    """Reports of money that no hold was for.

    Attributes
    ----------
    reports, minor : int
        Number of reports, and what the coupons took off, minor units.
    """

    reports: int = 0
    minor: int = 0

    def add(self, minor: int) -> None:
        """Count one."""
        self.reports += 1
        self.minor += minor


class Overspent(NamedTuple):
    """An overspent budget.

    Attributes
    ----------
    beyond_minor, budget_minor : int
        The amount spent beyond the budget, and the budget, minor units.
    """

    account_id: str
    beyond_minor: int
    budget_minor: int

    @property
    def share(self) -> float:
        """The amount spent beyond the budget, over the budget."""
        return self.beyond_minor / max(self.budget_minor, 1)

    def __str__(self) -> str:
        return f"{self.account_id} by {self.beyond_minor} of {self.budget_minor} ({self.share:.1%})"


@dataclass(slots=True)
class CheckCounts:
    """The counts of one check.

    Attributes
    ----------
    checked : int
        Checked, violations included.
    open : int
        Waiting for records that the workers have not committed yet: no violation, and not proved.
    not_checked : int
        Without evidence, after retention or a change of the catalogue.
    violations : int
    """

    checked: int = 0
    open: int = 0
    not_checked: int = 0
    violations: int = 0


@dataclass(slots=True)
class Findings:
    """The result of an audit.

    Attributes
    ----------
    tallies : dict
        Counts of every check.
    violations : list of Violation
        The first of every check, in the order in which they were found.
    overspent : list of Overspent
        Overspent budgets; with quantile holds they may be, within a bound.
    used_again, used_late, not_booked : Reported
        Uses of a coupon in a further order; reports that came after a coupon's end; late purchases that were refused.
    shortened : list of str
        Topics that have lost their beginning.
    """

    tallies: dict[Check, CheckCounts] = field(default_factory=lambda: {check: CheckCounts() for check in Check})
    violations: list[Violation] = field(default_factory=list)
    overspent: list[Overspent] = field(default_factory=list)
    used_again: Reported = field(default_factory=Reported)
    used_late: Reported = field(default_factory=Reported)
    not_booked: Reported = field(default_factory=Reported)
    shortened: list[str] = field(default_factory=list)

    def passed(self, check: Check, count: int = 1) -> None:
        """Count one or several that hold."""
        self.tallies[check].checked += count

    def leave_open(self, check: Check) -> None:
        """Count one that the workers have not finished."""
        self.tallies[check].open += 1

    def skip(self, check: Check) -> None:
        """Count one that cannot be checked."""
        self.tallies[check].not_checked += 1

    def violate(self, check: Check, place: str, detail: str) -> None:
        """Count a violation."""
        tally = self.tallies[check]
        tally.checked += 1
        tally.violations += 1
        if tally.violations <= FIRST_KEPT:
            self.violations.append(Violation(check, place, detail))

    def judge(self, check: Check, record: Record, fault: str | None) -> None:
        """Count a record that holds, whose fault is a violation, or that is `NOT_JUDGED`."""
        if fault is None:
            self.passed(check)
        elif fault is NOT_JUDGED:
            self.skip(check)
        else:
            self.violate(check, place_of(record), fault)

    @property
    def count(self) -> int:
        """Number of violations, kept or not."""
        return sum(tally.violations for tally in self.tallies.values())


def place_of(record: Record) -> str:
    """Return a record's topic:partition:offset."""
    return f"{record.topic}:{record.partition}:{record.offset}"
