"""I2 from the topics: stock, money and caps of every coupon, and the leases that its stock and money are given by.

An owner applies the reports on an account in the order of their partition, and a lease names the report that it follows
from. So leases of all partitions and reports have one order, and what was granted and not returned is known at each
report. A report or a lease that is older than another one of the same source is a copy, and changes nothing.

A limit may have been wider before the oldest version of a coupon that its topic still has. So only what was granted or
given since then is judged, by when the event was appended that it began with: a worker that crashed may have sent it
much later than it was decided.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from stream_coupons import topics
from stream_coupons.codec import Decoder
from stream_coupons.core.errors import BadMessage
from stream_coupons.core.events import Coupon, CouponIssue, Lease, LeaseReport
from stream_coupons.core.leases import UNITS, Limit, Purse, first_lease, money_of, units_of
from stream_coupons.evaluation.accounts import PlacedPurse
from stream_coupons.evaluation.findings import Check, Findings, place_of
from stream_coupons.evaluation.marks import Marks, Retained
from stream_coupons.runtime.records import Record, began_header, origin_of
from stream_coupons.topics import CATALOG, LEASE_REPORTS, LEASES

Order = tuple[int, int]
"""Offset of an input and the index among what it led to."""
FIRST: Order = (-1, -1)
"""Before all others."""


@dataclass(slots=True)
class Terms:
    """The widest limits among the versions of a coupon in the catalogue's topic; None is no limit.

    What was given before the oldest of them cannot be judged: it had terms that compaction has dropped.
    """

    since_ms: int
    stock: int | None
    budget_minor: int | None
    max_per_user: int | None
    quanta: set[int] = field(default_factory=set)
    """The most that one coupon may cost, of all versions."""

    def widen(self, coupon: Coupon) -> None:
        """Take in another version."""
        self.quanta.add(coupon.max_discount_minor)
        self.stock = _wider(self.stock, coupon.stock)
        self.budget_minor = _wider(self.budget_minor, coupon.budget_minor)
        self.max_per_user = _wider(self.max_per_user, coupon.max_per_user)


def _wider(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else max(one, other)


class Totals(NamedTuple):
    """What a partition says of its leases of an account; none of it ever shrinks."""

    version: int = 0
    granted: int = 0
    returned: int = 0
    drawn: int = 0
    freed: int = 0
    spent: int = 0
    wanted: int = 0

    @classmethod
    def of(cls, said: LeaseReport | Purse) -> "Totals":
        """Those of a report or a purse."""
        return cls(said.version, said.granted, said.returned, said.drawn, said.freed, said.spent, said.wanted)

    def shrunk(self, before: "Totals") -> str | None:
        """The first total that is less than before, in words; None if there is none."""
        for name, now, known in zip(self._fields, self, before, strict=True):
            if now < known:
                return f"says {name} {now}, expected at least {known}"
        return None

    def grown(self, other: "Totals") -> "Totals":
        """The larger of each."""
        return Totals(*map(max, self, other))

    @property
    def excess(self) -> int:
        """What is drawn beyond what is granted; below 0 if something is left."""
        return self.drawn - self.freed - self.granted + self.returned


@dataclass(slots=True)
class Share:
    """What leases and reports say of one partition's part of an account.

    Attributes
    ----------
    lease : Lease, optional
        The last one; `leased_order` is that of the report that it follows from.
    said : dict
        By source, the last report that follows from it. A batch may put reports of several sources in another order.
    totals : Totals, optional
        The largest of all reports.
    place : str
        The last report as topic:partition:offset.
    excess : int, optional
        The most that was known to be drawn beyond what was granted; None: nothing is known of it.
    granted : int
        By the reports, and the leases that follow from them, up to the report at hand.
    """

    lease: Lease | None = None
    leased_order: Order = FIRST
    said: dict[str, tuple[Order, Totals]] = field(default_factory=dict)
    totals: Totals | None = None
    place: str = ""
    excess: int | None = None
    granted: int = 0


class Grant(NamedTuple):
    """A lease that grants more."""

    order: Order
    partition: int
    granted: int
    at_ms: int
    place: str
    is_recall: bool


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


class Limits:
    """Checks stock, budgets, caps and leases; read the catalogue, then issues, leases, reports and purses."""

    def __init__(
        self, marks: Marks, retained: Retained, purses: Mapping[tuple[str, int], PlacedPurse], findings: Findings
    ) -> None:
        self._marks = marks
        self._retained = retained
        self._purses = purses
        self._findings = findings
        self._decode = Decoder(CATALOG)
        self._unread = marks.ends.get((CATALOG.name, 0), 0)
        self._terms: dict[str, Terms] = {}
        self._books: dict[str, Book] = {}
        self._issued: Counter[str] = Counter()
        self._issued_since: Counter[tuple[str, int]] = Counter()
        self._sold_out: dict[str, tuple[str, str]] = {}
        self._given: Counter[int] = Counter()
        self._partitions = marks.partitions(LEASES.name) or 1

    # ------------------------------------------------------------ catalogue and issues

    def take_coupon(self, record: Record) -> None:
        """A version of a coupon; what workers ignore is ignored here."""
        self._unread -= 1
        try:
            coupon: Coupon = self._decode(record.value)
        except BadMessage:
            return
        if record.key != coupon.coupon_id.encode():
            return
        known = self._terms.get(coupon.coupon_id)
        if known is None:
            limits = (coupon.stock, coupon.budget_minor, coupon.max_per_user)
            known = self._terms[coupon.coupon_id] = Terms(record.timestamp_ms, *limits)
        known.widen(coupon)

    def issue(self, record: Record, issue: CouponIssue) -> None:
        """A coupon was issued; every issue once."""
        coupon_id = issue.coupon_id
        terms = self._terms.get(coupon_id)
        self._issued[coupon_id] += 1
        if terms is None and not self._unread:
            detail = f"coupon {coupon_id} of issue {issue.issue_id} was never in the catalogue"
            self._findings.violate(Check.STOCK, place_of(record), detail)
        if terms is None or _began_ms(record) < terms.since_ms:
            self._findings.skip(Check.STOCK)
            self._findings.skip(Check.CAPS)
            return
        self._issued_since[coupon_id, topics.partition_for(issue.user_id.encode(), self._partitions)] += 1
        count = self._issued[coupon_id]
        if terms.stock is None or count <= terms.stock or coupon_id in self._sold_out:
            self._findings.passed(Check.STOCK)
        else:
            detail = f"coupon {coupon_id}: {count} issued with {issue.issue_id}, expected at most {terms.stock}"
            self._sold_out[coupon_id] = place_of(record), detail
        if terms.max_per_user is None:
            self._findings.passed(Check.CAPS)
            return
        # Workers count what they gave under a cap: what came before the coupon had one is not counted here either.
        pair = hash((coupon_id, issue.user_id))
        self._given[pair] += 1
        if self._given[pair] != terms.max_per_user + 1:
            self._findings.passed(Check.CAPS)
            return
        given = f"{self._given[pair]} times to {issue.user_id} with {issue.issue_id}"
        detail = f"coupon {coupon_id} {given}, expected at most {terms.max_per_user}"
        self._findings.violate(Check.CAPS, place_of(record), detail)

    def commit(self, coupon_id: str, minor: int, place: str) -> None:
        """So much money of a coupon is certain to be held or spent, all of it at one moment."""
        terms = self._terms.get(coupon_id)
        if terms is None or not self._has_known_terms(money_of(coupon_id)):
            self._findings.skip(Check.BUDGET)
        elif terms.budget_minor is None or minor <= terms.budget_minor:
            self._findings.passed(Check.BUDGET)
        else:
            detail = f"coupon {coupon_id}: {minor} held or spent, expected at most {terms.budget_minor}"
            self._findings.violate(Check.BUDGET, place, detail)

    # ------------------------------------------------------------ leases, reports and purses

    def lease(self, record: Record, lease: Lease) -> None:
        """A lease; all of them before the first report."""
        book = self._books.setdefault(lease.account_id, Book())
        share, home = book.share(lease.partition), self._home(lease.account_id)
        source = origin_of(record)
        if source is None or source[0] != f"{LEASE_REPORTS.name}:{home}":
            detail = (
                f"it follows from no report on {lease.account_id}, expected an origin in {LEASE_REPORTS.name}:{home}"
            )
            self._disbelieve(record, detail)
            return
        before, order = share.lease, source[1]
        is_old = before is not None and order <= share.leased_order
        if is_old and before is not None and max(lease.version - before.version, lease.granted - before.granted) <= 0:
            self._findings.passed(Check.LEASES)  # a copy
            return
        if is_old:
            detail = f"{lease.account_id}: it says more than a lease that follows from a later report, expected no more"
            self._findings.violate(Check.LEASES, place_of(record), detail)
            return
        if before is not None and _is_less(lease, before):
            said, known = (f"version {one.version}, granted {one.granted}, keep {one.keep}" for one in (lease, before))
            detail = f"{lease.account_id}: {said} comes after {known}, expected no less"
            self._findings.violate(Check.LEASES, place_of(record), detail)
        else:
            self._findings.passed(Check.LEASES)
        if before is None or lease.granted > before.granted:
            grant = (order, lease.partition, lease.granted, _began_ms(record), place_of(record))
            book.grants.append(Grant(*grant, is_recall=lease.keep is not None))
        share.lease, share.leased_order = lease, order

    def _disbelieve(self, record: Record, detail: str) -> None:
        """None of our agents sent a record that another one has taken in, or may yet refuse."""
        if self._marks.is_committed(record.topic, record.partition, record.offset):
            self._findings.violate(Check.LEASES, place_of(record), detail)
        else:
            self._findings.leave_open(Check.LEASES)

    def end_leases(self) -> None:
        """All leases are there."""
        for book in self._books.values():
            book.grants.sort()

    def report(self, record: Record, report: LeaseReport) -> None:
        """A report; in the order of their partition."""
        book = self._books.setdefault(report.account_id, Book())
        share, totals = book.share(report.partition), Totals.of(report)
        self._take_report(record, report, share, totals)
        if share.totals is not None:
            share.granted = max(share.granted, share.totals.granted)
        self._grant(report.account_id, book, record.offset)

    def _take_report(self, record: Record, report: LeaseReport, share: Share, totals: Totals) -> None:
        source = origin_of(record)
        if source is None or source[0].rpartition(":")[2] != str(report.partition):
            detail = f"it follows from no record of partition {report.partition}, expected an origin there"
            self._disbelieve(record, detail)
            return
        order, before = share.said.get(source[0], (FIRST, Totals()))
        fault = None
        if source[1] > order:  # else it is a copy, or what a tick says that comes again
            fault = totals.shrunk(before)
            share.said[source[0]] = source[1], totals.grown(before)
        share.totals = totals.grown(share.totals or Totals())
        share.place = place_of(record)
        self._judge(report.account_id, report.partition, share, totals, _began_ms(record), share.place, fault)

    def end(self) -> None:
        """All reports are there, and the purses as they are now; what follows from later reports is open."""
        reported = [
            (account_id, partition)
            for account_id, book in self._books.items()
            for partition, share in book.shares.items()
            if share.totals is not None
        ]
        for key in dict.fromkeys([*self._purses, *reported]):
            self._end_purse(*key)
        for coupon_id, (place, detail) in self._sold_out.items():
            if self._has_known_terms(units_of(coupon_id)):
                self._findings.violate(Check.STOCK, place, detail)
            else:
                self._findings.skip(Check.STOCK)
        for account_id, book in self._books.items():
            check = Check.STOCK if _is_stock(account_id) else Check.BUDGET
            for _ in book.grants[book.upto :]:
                self._findings.leave_open(check)

    def _end_purse(self, account_id: str, partition: int) -> None:
        """A purse has at least what was reported."""
        share = self._books.setdefault(account_id, Book()).share(partition)
        purse, place = self._purses.get((account_id, partition)) or PlacedPurse(Purse(), share.place)
        totals = Totals.of(purse)
        fault = totals.shrunk(share.totals or Totals())
        terms = self._terms.get(account_id.partition(":")[2])
        at_ms = 0 if terms is None else terms.since_ms
        self._judge(account_id, partition, share, totals, at_ms, place, fault)

    def _home(self, account_id: str) -> int:
        return topics.partition_for(account_id.encode(), self._partitions)

    def _most(self, account_id: str) -> int | None:
        """The widest limit of an account whose coupon is known."""
        terms = self._terms[account_id.partition(":")[2]]
        return terms.stock if _is_stock(account_id) else terms.budget_minor

    def _first_lease(self, account_id: str, most: int, partition: int, *, is_kept: bool = False) -> int:
        """The most that a partition may draw before its owner has heard of it, or `is_kept` for it until then."""
        quanta = {1} if _is_stock(account_id) else self._terms[account_id.partition(":")[2]].quanta
        # The owner keeps enough for a limit that rises until the partition draws.
        limits = (Limit(most + 2 * (quantum - 1) * is_kept, quantum) for quantum in quanta)
        return max((first_lease(limit, self._partitions, partition) for limit in limits), default=0)

    def _is_whole(self, coupon_id: str, partition: int) -> bool:
        """Whether all that a partition ever gave of a coupon was given under terms that are known."""
        placed = self._purses.get((units_of(coupon_id), partition))
        return placed is None or placed.purse.drawn <= self._issued_since[coupon_id, partition]

    def _has_known_terms(self, account_id: str) -> bool:
        """Whether all that was ever leased and given of an account was so under terms that are known.

        When a limit is lowered, partitions give what they were leased before until it is called back.
        """
        coupon_id = account_id.partition(":")[2]
        book, since_ms = self._books.get(account_id, Book()), self._terms[coupon_id].since_ms
        is_whole = all(self._is_whole(coupon_id, partition) for partition in range(self._partitions))
        return is_whole and all(grant.at_ms >= since_ms for grant in book.grants)

    def _judge(  # noqa: PLR0913 - all that is known of what a partition says
        self, account_id: str, partition: int, share: Share, totals: Totals, at_ms: int, place: str, fault: str | None
    ) -> None:
        """Check that a partition draws no more than it was granted, and was granted what it says."""
        coupon_id = account_id.partition(":")[2]
        terms = self._terms.get(coupon_id)
        most = None if terms is None else self._most(account_id)
        excess, known = totals.excess, share.excess
        if terms is not None and at_ms >= terms.since_ms:
            share.excess = excess if known is None else max(known, excess)
            whole = self._is_whole(coupon_id, partition)
            if fault is None and most is not None:
                first = self._first_lease(account_id, most, partition)
                leased = max(first, share.lease.granted if share.lease else 0)
                if excess > max(known or 0, 0) and (whole or known is not None):
                    said, expected = totals.drawn - totals.freed, totals.granted - totals.returned
                    fault = f"says {said} drawn, expected at most the {expected} granted"
                elif totals.granted > leased and whole and not self._retained.begin(LEASES.name, partition):
                    fault = f"says granted {totals.granted}, expected at most {leased} by its leases"
        if fault is not None:
            self._findings.violate(Check.LEASES, place, f"{account_id} in partition {partition} {fault}")
        elif terms is None or (excess > 0 and most is not None):
            self._findings.skip(Check.LEASES)
        else:
            self._findings.passed(Check.LEASES)

    def _grant(self, account_id: str, book: Book, offset: int) -> None:
        """Take in the leases that follow from reports up to an offset."""
        while book.upto < len(book.grants) and book.grants[book.upto].order[0] <= offset:
            grant = book.grants[book.upto]
            book.upto += 1
            share = book.share(grant.partition)
            before, share.granted = share.granted, max(share.granted, grant.granted)
            self._judge_grant(account_id, book, grant, before)

    def _judge_grant(self, account_id: str, book: Book, grant: Grant, before: int) -> None:
        """Check that all partitions together have no more than the limit, now that one of them has more than before."""
        check = Check.STOCK if _is_stock(account_id) else Check.BUDGET
        terms = self._terms.get(account_id.partition(":")[2])
        if terms is None or grant.at_ms < terms.since_ms or self._has_lost_returns(account_id, book):
            self._findings.skip(check)
            return
        most = self._most(account_id)
        # What is called back may be beyond a limit that was lowered; it grants the first lease at most.
        first = self._first_lease(account_id, most or 0, grant.partition, is_kept=True)
        is_first = grant.is_recall and grant.granted <= max(before, first)
        total = sum(max(share.granted - (share.totals or Totals()).returned, 0) for share in book.shares.values())
        if most is None or total <= most or is_first or book.is_broken:
            self._findings.passed(check)
            return
        book.is_broken = True
        detail = f"{account_id}: {total} leased with this to partition {grant.partition}, expected at most {most}"
        self._findings.violate(check, grant.place, detail)

    def _has_lost_returns(self, account_id: str, book: Book) -> bool:
        """Whether some partition may have returned what it was granted in reports that retention has dropped."""
        is_shortened = self._retained.begin(LEASE_REPORTS.name, self._home(account_id)) > 0
        return is_shortened and any(share.granted and share.totals is None for share in book.shares.values())


def _began_ms(record: Record) -> int:
    """When the event was appended that a record began with."""
    return int(began_header(record)[1])


def _is_stock(account_id: str) -> bool:
    return account_id.partition(":")[0] == UNITS


def _is_less(lease: Lease, before: Lease) -> bool:
    """Whether a lease says less than one before it, or something else under the same version."""
    is_shrunk = lease.version < before.version or lease.granted < before.granted
    return is_shrunk or (lease.version == before.version and lease.keep != before.keep)
