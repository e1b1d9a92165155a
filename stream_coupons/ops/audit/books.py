"""Leases and reports of an account, partition by partition."""

from dataclasses import dataclass, field
from typing import NamedTuple

from stream_coupons.core.messages.leases import Lease, LeaseReport
from stream_coupons.core.money.purses import Purse, PurseTotals
from stream_coupons.ops.audit.terms import WidestTerms

Order = tuple[int, int]
"""Offset of an input and the index among its outputs."""
FIRST: Order = (-1, -1)
"""Before all others."""


@dataclass(slots=True)
class Said:
    """The last report that follows from one source.

    Attributes
    ----------
    judged : Totals, optional
        Its totals, if it began under known terms.
    """

    order: Order = FIRST
    totals: PurseTotals = field(default_factory=PurseTotals)
    judged: PurseTotals | None = None


@dataclass(slots=True)
class Share:
    """One partition's part of an account, by its leases and reports.

    Attributes
    ----------
    lease : Lease, optional
        The last lease; `leased_order` is the order of the report that it follows from.
    said : dict
        Last report of each source. A batch may reorder reports of several sources.
    totals : Totals, optional
        The largest of all reports.
    place : str
        The last report as topic:partition:offset.
    excess : int, optional
        Amount known to be drawn beyond the granted one, less what redemptions took; None if unknown.
    granted : int
        Amount granted by the reports, and the leases that follow from them, up to the current report.
    is_old : bool
        True if it was reported before the oldest known terms.
    """

    lease: Lease | None = None
    leased_order: Order = FIRST
    said: dict[str, Said] = field(default_factory=dict)
    totals: PurseTotals | None = None
    place: str = ""
    excess: int | None = None
    granted: int = 0
    is_old: bool = False


class Grant(NamedTuple):
    """A lease that grants more."""

    order: Order
    partition: int
    granted: int
    at_ms: int
    place: str


@dataclass(slots=True)
class Book:
    """An account: read all leases, then all reports."""

    shares: dict[int, Share] = field(default_factory=dict)
    grants: list[Grant] = field(default_factory=list)
    upto: int = 0
    is_broken: bool = False

    def share(self, partition: int) -> Share:
        """The part of a partition."""
        return self.shares.setdefault(partition, Share())


TOTALS = PurseTotals.__struct_fields__


def totals_of(said: LeaseReport | Purse) -> PurseTotals:
    """Return the totals of a report or a purse."""
    return PurseTotals(*(getattr(said, name) for name in TOTALS))


def shrunk_total(now: PurseTotals, before: PurseTotals) -> str | None:
    """Return the first total that is less than before, in words; None if there is none."""
    for name in TOTALS:
        said, known = getattr(now, name), getattr(before, name)
        if said < known:
            return f"says {name} {said}, expected at least {known}"
    return None


def largest_of(one: PurseTotals, other: PurseTotals) -> PurseTotals:
    """Return the larger of each total."""
    return PurseTotals(*(max(getattr(one, name), getattr(other, name)) for name in TOTALS))


def unexplained_units(totals: PurseTotals, terms: WidestTerms) -> int:
    """Return what is drawn beyond the leases and not by redemptions.

    It never grows. Where holds are quantiles, a redemption may take more than was held, and nothing else may.
    """
    return max(-totals.available, 0) - (0 if terms.holds_most else totals.spent)


def text_beyond(totals: PurseTotals, terms: WidestTerms) -> str:
    """Return the fault of a partition that draws more than it was granted."""
    granted = f"says {totals.committed} drawn, expected at most the {totals.granted - totals.returned} granted"
    return granted if terms.holds_most else f"{granted} and what redemptions took since the last report"


def text_about(lease: Lease) -> str:
    """Return the other fields of a lease, to read."""
    price = f", price {lease.price:g}, risk {lease.risk}" if lease.price or lease.risk is not None else ""
    return f", keep {lease.keep}{price}"


def is_less(lease: Lease, before: Lease) -> bool:
    """Return whether a lease grants less than one before it, has a lower version, or differs under the same version."""
    is_shrunk = lease.version < before.version or lease.granted < before.granted
    said, known = ((one.keep, one.price, one.risk, one.is_spent) for one in (lease, before))
    return is_shrunk or (lease.version == before.version and said != known)
