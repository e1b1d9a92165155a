"""I2 from the topics: the leases that every account is given by, and the purses that draw on them.

An owner applies the reports on an account in the order of their partition, and a lease names the report that it follows
from. So leases of all partitions and reports have one order, and what was granted and not returned is known at each
report. A report or a lease that is older than another one of the same source is a copy, and changes nothing.

What is held or spent never exceeds the leases where coupons hold the most that they can cost. Where they hold a share
of a quantile, it exceeds them by redemptions alone. An account is then overspent: that is a figure up to a bound, and a
violation beyond.
"""

from collections import Counter
from collections.abc import Mapping

from stream_coupons.core.messages.leases import Lease, LeaseReport
from stream_coupons.core.money.accounts import UNITS, Limit
from stream_coupons.core.money.purses import Purse, PurseTotals, first_lease
from stream_coupons.kafka import topics
from stream_coupons.kafka.records import Record, origin_of
from stream_coupons.kafka.topics import LEASE_REPORTS, LEASES
from stream_coupons.ops.audit.books import (
    Book,
    Grant,
    Said,
    Share,
    is_less,
    largest_of,
    shrunk_total,
    text_about,
    text_beyond,
    totals_of,
    unexplained_units,
)
from stream_coupons.ops.audit.coverage_check import PlacedPurse
from stream_coupons.ops.audit.findings import Check, Findings, Overspent, place_of
from stream_coupons.ops.audit.offsets import AuditedOffsets, Retained
from stream_coupons.ops.audit.terms import KnownTerms, WidestTerms, began_ms


class BudgetCheck:
    """Checks leases, the reports and purses of partitions, and what is held and spent of every account.

    Read leases and feedback, then reports and purses.
    """

    def __init__(
        self,
        marks: AuditedOffsets,
        retained: Retained,
        purses: Mapping[tuple[str, int], PlacedPurse],
        known: KnownTerms,
        findings: Findings,
    ) -> None:
        self._marks = marks
        self._retained = retained
        self._purses = purses
        self._known = known
        self._terms = known.widest
        self._findings = findings
        self._books: dict[str, Book] = {}
        self._unheld: Counter[tuple[str, int]] = Counter()
        self._partitions = marks.partitions(LEASES.name) or 1

    def take_unheld(self, account_ids: tuple[str, ...], partition: int, minor: int) -> None:
        """Allow an amount beyond the leases of accounts: a coupon was used again, or reported late."""
        for account_id in account_ids:
            self._unheld[account_id, partition] += minor

    def commit(self, account_id: str, held_minor: int, worst_minor: int, place: str) -> None:
        """So much of an account is certain to be held at one moment, and to be spent if all open coupons are used."""
        terms = self._terms.get(account_id)
        if terms is None or not self.has_known_terms(account_id):
            self._findings.skip(Check.BUDGET)
            return
        worst = "held or spent" if terms.holds_most else "spent or still to be taken by open coupons"
        bounds = [(worst_minor, worst, terms.worst), (held_minor, "held", terms.most)]
        for minor, name, most in bounds[: 1 if terms.holds_most else 2]:
            if most is None or minor <= most:
                self._findings.passed(Check.BUDGET)
            else:
                detail = f"{account_id}: {minor} {name}, expected at most {most}"
                self._findings.violate(Check.BUDGET, place, detail)

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
        if before is not None and is_less(lease, before):
            said, known = (f"version {one.version}, granted {one.granted}{text_about(one)}" for one in (lease, before))
            detail = f"{lease.account_id}: {said} comes after {known}, expected no less"
            self._findings.violate(Check.LEASES, place_of(record), detail)
        else:
            self._findings.passed(Check.LEASES)
        if before is None or lease.granted > before.granted:
            book.grants.append(Grant(order, lease.partition, lease.granted, began_ms(record), place_of(record)))
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
        share, totals = book.share(report.partition), totals_of(report)
        self._take_report(record, report, share, totals)
        if share.totals is not None:
            share.granted = max(share.granted, share.totals.granted)
        self._grant(report.account_id, book, record.offset)

    def _take_report(self, record: Record, report: LeaseReport, share: Share, totals: PurseTotals) -> None:
        source = origin_of(record)
        if source is None or source[0].rpartition(":")[2] != str(report.partition):
            detail = f"it follows from no record of partition {report.partition}, expected an origin there"
            self._disbelieve(record, detail)
            return
        before = share.said.setdefault(source[0], Said())
        terms, at_ms = self._terms.get(report.account_id), began_ms(record)
        is_judged = terms is not None and at_ms >= terms.since_ms
        share.is_old |= not is_judged
        fault, known = None, before.judged
        if source[1] > before.order:  # else it is a copy, or what a tick says that comes again
            fault = shrunk_total(totals, before.totals)
            grown = largest_of(totals, before.totals)
            share.said[source[0]] = Said(source[1], grown, grown if is_judged else None)
        share.totals = largest_of(totals, share.totals or PurseTotals())
        share.place = place_of(record)
        self._judge(report.account_id, report.partition, share, totals, known, share.place, fault, is_judged=is_judged)

    def end_purses(self) -> None:
        """Judge the purses as they are now: all reports are there."""
        reported = [
            (account_id, partition)
            for account_id, book in self._books.items()
            for partition, share in book.shares.items()
            if share.totals is not None
        ]
        for key in dict.fromkeys([*self._purses, *reported]):
            self._end_purse(*key)

    def end_accounts(self) -> None:
        """Judge what is spent, and leave open what follows from later reports."""
        for account_id in dict.fromkeys(account_id for account_id, _ in self._purses):
            self._end_account(account_id)
        for account_id, book in self._books.items():
            for _ in book.grants[book.upto :]:
                self._findings.leave_open(_check_of(account_id))

    def _end_purse(self, account_id: str, partition: int) -> None:
        """A purse has at least what was reported."""
        share = self._books.setdefault(account_id, Book()).share(partition)
        purse, place = self._purses.get((account_id, partition)) or PlacedPurse(Purse(), share.place)
        totals, known = totals_of(purse), None if share.is_old else share.totals
        fault = shrunk_total(totals, share.totals or PurseTotals())
        is_judged = account_id in self._terms
        self._judge(account_id, partition, share, totals, known, place, fault, is_judged=is_judged)

    def _end_account(self, account_id: str) -> None:
        """Say by how much a budget is overspent."""
        terms = self._terms.get(account_id)
        if terms is None or terms.most is None or _is_stock(account_id) or not self.has_known_terms(account_id):
            return
        placed = [self._purses.get((account_id, partition)) for partition in range(self._partitions)]
        purses = [one for one in placed if one is not None]
        spent = sum(purse.spent - purse.refunded for purse, _ in purses)
        if spent > terms.most:
            self._findings.overspent.append(Overspent(account_id, spent - terms.most, terms.most))
        if spent > (terms.worst or 0):
            detail = f"{account_id}: {spent} spent, expected at most {terms.worst}"
            self._findings.violate(Check.BUDGET, purses[0].place, detail)
        else:
            self._findings.passed(Check.BUDGET)

    def _home(self, account_id: str) -> int:
        return topics.partition_for(account_id.encode(), self._partitions)

    def _first_lease(self, terms: WidestTerms, partition: int) -> int:
        """The most that a partition may draw before its owner has heard of it."""
        return first_lease(Limit(terms.most, 1), self._partitions, partition)

    def has_known_terms(self, account_id: str) -> bool:
        """Return whether all that was ever leased and given of an account was so under known terms.

        When a limit is lowered, partitions give what they were leased before until it is called back.
        """
        book, since_ms = self._books.get(account_id, Book()), self._terms[account_id].since_ms
        is_whole = all(self._known.is_whole(account_id, partition) for partition in range(self._partitions))
        return is_whole and all(grant.at_ms >= since_ms for grant in book.grants)

    def _judge(  # noqa: PLR0913 - all that is known of what a partition says
        self,
        account_id: str,
        partition: int,
        share: Share,
        totals: PurseTotals,
        before: PurseTotals | None,
        place: str,
        fault: str | None,
        *,
        is_judged: bool,
    ) -> None:
        """Check that a partition draws no more than its grant, and that it reports its grant correctly."""
        terms, excess = self._terms.get(account_id), -totals.available
        is_known = False
        if terms is not None and is_judged:
            unheld, unexplained = self._unheld[account_id, partition], unexplained_units(totals, terms)
            bounds = [] if share.excess is None else [max(share.excess, 0)]
            if share.excess is None and self._known.is_whole(account_id, partition):
                bounds, share.excess = [0], 0
            if before is not None and not terms.holds_most:
                bounds.append(unexplained_units(before, terms))
            is_beyond = excess > 0 and terms.most is not None and any(unexplained > bound + unheld for bound in bounds)
            if share.excess is None or is_beyond:
                share.excess = unexplained
            is_known = not is_beyond and bool(bounds) and (unheld > 0 or not terms.holds_most)
            if fault is None and is_beyond:
                fault = text_beyond(totals, terms)
            elif fault is None and terms.most is not None:
                fault = self._granted_fault(account_id, partition, share, totals, terms)
        if fault is not None:
            self._findings.violate(Check.LEASES, place, f"{account_id} in partition {partition} {fault}")
        elif terms is None or (excess > 0 and terms.most is not None and not is_known):
            self._findings.skip(Check.LEASES)
        else:
            self._findings.passed(Check.LEASES)

    def _granted_fault(
        self, account_id: str, partition: int, share: Share, totals: PurseTotals, terms: WidestTerms
    ) -> str | None:
        """Return the fault in the grant that a partition reports, if there is one."""
        leased = max(self._first_lease(terms, partition), share.lease.granted if share.lease else 0)
        homes = (LEASES.name, partition), (LEASE_REPORTS.name, self._home(account_id))
        is_known = self._known.is_whole(account_id, partition) and not share.is_old
        if totals.granted <= leased or not is_known or any(self._retained.begin(*home) for home in homes):
            return None
        return f"says granted {totals.granted}, expected at most {leased} by its leases"

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
        check, terms = _check_of(account_id), self._terms.get(account_id)
        if terms is None or grant.at_ms < terms.since_ms or self._has_lost_returns(account_id, book):
            self._findings.skip(check)
            return
        # A lease that says the first one again grants nothing. What is called back may be beyond a lowered limit.
        first = self._first_lease(terms, grant.partition)
        is_first = grant.granted <= max(before, first)
        total = sum(max(share.granted - (share.totals or PurseTotals()).returned, 0) for share in book.shares.values())
        if terms.most is None or total <= terms.most or is_first or book.is_broken:
            self._findings.passed(check)
            return
        book.is_broken = True
        detail = f"{account_id}: {total} leased with this to partition {grant.partition}, expected at most {terms.most}"
        self._findings.violate(check, grant.place, detail)

    def _has_lost_returns(self, account_id: str, book: Book) -> bool:
        """Return whether a partition may have returned its grant in reports that retention has dropped."""
        is_shortened = self._retained.begin(LEASE_REPORTS.name, self._home(account_id)) > 0
        return is_shortened and any(share.granted and share.totals is None for share in book.shares.values())


def _is_stock(account_id: str) -> bool:
    return account_id.startswith(f"{UNITS}:")


def _check_of(account_id: str) -> Check:
    return Check.STOCK if _is_stock(account_id) else Check.BUDGET
