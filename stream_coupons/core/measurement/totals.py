"""Totals of one partition that steps add to, and ticks report to a compacted topic.

A total is saved with the shoppers whose steps change it. Each change raises its version. The reader keeps the report
with the greatest version of each partition, and adds up partitions: a late or repeated report changes nothing.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, Generic, Protocol, TypeVar

from msgspec import Struct

PREFIXES = ("lift:", "campaign-lift:", "results:")
"""Prefixes of the keys of totals among the states that all shoppers of a partition share; no account has one."""


class PartitionTotal(Struct, array_like=True):
    """A total with its reports. Mutable, but for its fields' values.

    Attributes
    ----------
    version : int
        Number of changes.
    told, told_at : int, float
        Version and time of the last report.
    """

    version: int = 0
    told: int = 0
    told_at: float = 0.0

    def is_due(self, at: float, every_s: float) -> bool:
        """Return True if a tick must report it: it changed, or the tick is repeated, as its reports may be lost.

        Parameters
        ----------
        at : float
            Time of the tick, UTC epoch seconds.
        every_s : float
            Shortest time between two reports.
        """
        return self.told_at == at or (self.version != self.told and abs(at - self.told_at) >= every_s)

    def told_of(self, at: float) -> None:
        """Note that the present version is reported at a time, UTC epoch seconds."""
        self.told, self.told_at = self.version, at


class TotalChange(Protocol):
    """A change of one total; the changes of a total can be added in any order."""

    @property
    def key(self) -> str:
        """Key of the total among the shared states."""

    def opening(self) -> Any:
        """Return the total before its first change."""


class SharedTotals(Protocol):
    """The shared states of a partition by key, saved together with the shoppers whose steps change them."""

    def change(self, key: str, new: Callable[[], Any]) -> Any:
        """Return the total of a key that no decision reads, for changing.

        Parameters
        ----------
        key : str
            Key of the total.
        new : callable
            Makes a total if there is none.
        """


def book(shared: SharedTotals, changes: Iterable[TotalChange]) -> None:
    """Add changes to their totals.

    Parameters
    ----------
    shared : SharedTotals
        Totals of the partition.
    changes : iterable of TotalChange
        Changes, in any order.
    """
    for change in changes:
        shared.change(change.key, change.opening).add(change)


class Report(Protocol):
    """A report on one total of one partition."""

    @property
    def partition(self) -> int:
        """Number of the partition."""

    @property
    def subject(self) -> Any:
        """Identity of the total over all partitions."""

    @property
    def rank(self) -> Any:
        """Order of the reports on one total of a partition: the greatest one counts."""


Told = TypeVar("Told", bound=Report)


class LatestReports(Generic[Told]):
    """The report that counts of each total and partition.

    Attributes
    ----------
    of : dict of dict
        Reports by partition, by subject.
    """

    def __init__(self) -> None:
        self.of: defaultdict[Any, dict[int, Told]] = defaultdict(dict)

    def take(self, report: Told) -> bool:
        """Take in a report; return False if an equal or later one of its partition is known."""
        of_subject = self.of[report.subject]
        known = of_subject.get(report.partition)
        if known is not None and report.rank <= known.rank:
            return False
        of_subject[report.partition] = report
        return True

    def parts(self, subject: Any) -> list[Told]:
        """Return the reports on a total, by partition in ascending order."""
        return [one for _, one in sorted(self.of[subject].items())]
