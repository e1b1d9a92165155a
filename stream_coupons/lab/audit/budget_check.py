"""I2 from the topics: stock, money and caps, and the leases that every account is given by.

An owner applies the reports on an account in the order of their partition, and a lease names the report that it follows
from. So leases of all partitions and reports have one order, and what was granted and not returned is known at each
report. A report or a lease that is older than another one of the same source is a copy, and changes nothing.

What is held or spent never exceeds the leases where coupons hold the most that they can cost. Where they hold a share
of a quantile, it exceeds them by redemptions alone. An account is then overspent: that is a figure up to a bound, and a
violation beyond.

A limit may have been wider before the oldest version of a coupon or a campaign that its topic still has. So only what
was granted or given since then is judged, by when the event was appended that it began with: a worker that crashed may
have sent it much later than it was decided.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping

from stream_coupons.core.errors import BadMessage
from stream_coupons.core.messages.catalogue import Campaign, Coupon
from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.core.messages.leases import Lease, LeaseReport
from stream_coupons.core.money.accounts import UNITS, Accounts, Limit, budgets_of, campaign_of, units_of
from stream_coupons.core.money.purses import Purse, PurseTotals, first_lease
from stream_coupons.kafka import topics
from stream_coupons.kafka.codec import Decoder
from stream_coupons.kafka.records import Record, began_header, origin_of
from stream_coupons.kafka.topics import CAMPAIGNS, CATALOG, FEEDBACK, LEASE_REPORTS, LEASES
from stream_coupons.lab.audit.books import (
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
from stream_coupons.lab.audit.coverage_check import PlacedPurse
from stream_coupons.lab.audit.findings import Check, Findings, Overspent, place_of
from stream_coupons.lab.audit.offsets import AuditedOffsets, Retained
from stream_coupons.lab.audit.terms import Cap, WidestTerms, wider


class BudgetCheck:
    """Checks stock, budgets, caps and leases.

    Read coupons and campaigns, then issues, leases and feedback, then reports and purses.
    """

    def __init__(
        self,
        marks: AuditedOffsets,
        retained: Retained,
        purses: Mapping[tuple[str, int], PlacedPurse],
        findings: Findings,
    ) -> None:
        self._marks = marks
        self._retained = retained
        self._purses = purses
        self._findings = findings
        self._decoders = {topic.name: Decoder(topic) for topic in (CATALOG, CAMPAIGNS)}
        self._unread = {topic.name: marks.ends.get((topic.name, 0), 0) for topic in (CATALOG, CAMPAIGNS)}
        self._terms: dict[str, WidestTerms] = {}
        self._caps: dict[str, Cap] = {}
        self._quanta: defaultdict[str, set[int]] = defaultdict(set)
        """By campaign, the most that one of its coupons may cost."""
        self._drawn_on_by: defaultdict[str, set[str]] = defaultdict(set)
        """By account, the coupons that draw on it."""
        self._books: dict[str, Book] = {}
        self._issued: Counter[str] = Counter()
        self._issued_in: Counter[tuple[str, int]] = Counter()
        self._issued_before: set[tuple[str, int]] = set()
        """Accounts and partitions in which something was given before the oldest known terms."""
        self._whole: dict[tuple[str, int], bool] = {}
        self._sold_out: dict[str, tuple[str, str]] = {}
        self._given: Counter[int] = Counter()
        self._held_again: Counter[tuple[str, int]] = Counter()
        self._partitions = marks.partitions(LEASES.name) or 1

    # ------------------------------------------------------------ catalogue and issues

    def take_terms(self, record: Record) -> None:
        """A version of a coupon or a campaign; what workers ignore is ignored here."""
        self._unread[record.topic] -= 1
        try:
            entry: Coupon | Campaign = self._decoders[record.topic](record.value)
        except BadMessage:
            return
        if record.key != topics.BY_NAME[record.topic].key_of(entry):
            return
        made = Accounts((entry,)) if isinstance(entry, Coupon) else Accounts((), (entry,))
        for limit in made.limits.values():
            known = self._terms.setdefault(limit.account_id, WidestTerms(record.timestamp_ms, limit.most))
            known.widen(limit)
        if isinstance(entry, Coupon):
            cap = self._caps.setdefault(entry.coupon_id, Cap(record.timestamp_ms, entry.max_per_user))
            cap.max_per_user = wider(cap.max_per_user, entry.max_per_user)
            self._note_use(entry.coupon_id, entry.campaign_id)
            if entry.campaign_id is not None:
                self._quanta[campaign_of(entry.campaign_id)].add(entry.max_discount_minor)

    def end_terms(self) -> None:
        """All coupons and campaigns are there."""
        for account_id, quanta in self._quanta.items():
            if account_id in self._terms:
                self._terms[account_id].quanta |= quanta

    def _note_use(self, coupon_id: str, campaign_id: str | None) -> None:
        for account_id in (units_of(coupon_id), *budgets_of(coupon_id, campaign_id)):
            self._drawn_on_by[account_id].add(coupon_id)

    def drawn_on_by(self, account_id: str) -> set[str]:
        """Coupons that draw on an account, by all that was read."""
        return self._drawn_on_by[account_id]

    def issue(self, record: Record, issue: CouponIssue) -> None:
        """A coupon was issued; every issue once."""
        self._issued[issue.coupon_id] += 1
        home = topics.partition_for(issue.user_id.encode(), self._partitions)
        self._issued_in[issue.coupon_id, home] += 1
        self._note_use(issue.coupon_id, issue.campaign_id)
        self._check_stock(record, issue, home)
        self._check_cap(record, issue)
        self._check_hold(record, issue, home)

    def _check_stock(self, record: Record, issue: CouponIssue, home: int) -> None:
        coupon_id = issue.coupon_id
        terms = self._terms_at(units_of(coupon_id), home, _began_ms(record))
        if units_of(coupon_id) not in self._terms and not self._unread[CATALOG.name]:
            detail = f"coupon {coupon_id} of issue {issue.issue_id} was never in the catalogue"
            self._findings.violate(Check.STOCK, place_of(record), detail)
        if terms is None:
            self._findings.skip(Check.STOCK)
            return
        count = self._issued[coupon_id]
        if terms.most is None or count <= terms.most or coupon_id in self._sold_out:
            self._findings.passed(Check.STOCK)
        else:
            detail = f"coupon {coupon_id}: {count} issued with {issue.issue_id}, expected at most {terms.most}"
            self._sold_out[coupon_id] = place_of(record), detail

    def _check_cap(self, record: Record, issue: CouponIssue) -> None:
        coupon_id, cap = issue.coupon_id, self._caps.get(issue.coupon_id)
        if cap is None or _began_ms(record) < cap.since_ms:
            self._findings.skip(Check.CAPS)
            return
        if cap.max_per_user is None:
            self._findings.passed(Check.CAPS)
            return
        # Workers count what they gave under a cap: what came before the coupon had one is not counted here either.
        pair = hash((coupon_id, issue.user_id))
        self._given[pair] += 1
        if self._given[pair] != cap.max_per_user + 1:
            self._findings.passed(Check.CAPS)
            return
        given = f"{self._given[pair]} times to {issue.user_id} with {issue.issue_id}"
        detail = f"coupon {coupon_id} {given}, expected at most {cap.max_per_user}"
        self._findings.violate(Check.CAPS, place_of(record), detail)

    def _check_hold(self, record: Record, issue: CouponIssue, home: int) -> None:
        """Check that an issue holds what its budgets ask for."""
        account_ids = budgets_of(issue.coupon_id, issue.campaign_id)
        known = [(one, self._terms_at(one, home, _began_ms(record))) for one in account_ids]
        if issue.campaign_id is not None and account_ids[-1] not in self._terms and not self._unread[CAMPAIGNS.name]:
            detail = f"campaign {issue.campaign_id} of issue {issue.issue_id} was never in {CAMPAIGNS.name}"
            self._findings.violate(Check.BUDGET, place_of(record), detail)
        held, most = issue.held_minor, issue.max_discount_minor
        asking = [account_id for account_id, terms in known if terms is not None and terms.holds_most]
        about = f"issue {issue.issue_id} of coupon {issue.coupon_id} holds {held}"
        if held > most:
            detail = f"{about}, expected at most the {most} that it can cost"
            self._findings.violate(Check.BUDGET, place_of(record), detail)
        elif held < most and asking:
            detail = f"{about}, expected the {most} that it can cost: {asking[0]} holds the maximum"
            self._findings.violate(Check.BUDGET, place_of(record), detail)
        elif any(terms is None for _, terms in known):
            self._findings.skip(Check.BUDGET)
        else:
            self._findings.passed(Check.BUDGET)

    def _terms_at(self, account_id: str, home: int, began_ms: int) -> WidestTerms | None:
        """Return the terms by which something was given in a partition; None if they are not known."""
        terms = self._terms.get(account_id)
        if terms is not None and began_ms >= terms.since_ms:
            return terms
        self._issued_before.add((account_id, home))
        return None

    def keeps(self, record: Record, issue: CouponIssue) -> tuple[bool, ...]:
        """Return whether the rest of what an issue may take off stays held after a purchase: True, False or both."""
        if issue.held_minor < issue.max_discount_minor:
            return (False,)
        known = [self._terms.get(account_id) for account_id in budgets_of(issue.coupon_id, issue.campaign_id)]
        is_known = [terms is not None and _began_ms(record) >= terms.since_ms for terms in known]
        holds = [terms.holds if terms is not None else set() for terms in known]
        if any(all_ == {"maximum"} for all_, is_sure in zip(holds, is_known, strict=True) if is_sure):
            return (True,)
        return (True, False) if not all(is_known) or any("maximum" in all_ for all_ in holds) else (False,)

    def hold_again(self, account_ids: tuple[str, ...], partition: int, held_minor: int) -> None:
        """So much may be held again of accounts: the order was cancelled that a coupon was used in."""
        for account_id in account_ids:
            self._held_again[account_id, partition] += held_minor

    def commit(self, account_id: str, held_minor: int, committed_minor: int, place: str) -> None:
        """So much money of an account is certain to be held, and to be held or spent, all of it at one moment."""
        terms = self._terms.get(account_id)
        if terms is None or not self._has_known_terms(account_id):
            self._findings.skip(Check.BUDGET)
            return
        minor, name = (committed_minor, "held or spent") if terms.holds_most else (held_minor, "held")
        if terms.most is None or minor <= terms.most:
            self._findings.passed(Check.BUDGET)
        else:
            detail = f"{account_id}: {minor} {name}, expected at most {terms.most}"
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
        if before is not None and is_less(lease, before):
            said, known = (f"version {one.version}, granted {one.granted}{text_about(one)}" for one in (lease, before))
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
        terms, at_ms = self._terms.get(report.account_id), _began_ms(record)
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
        if terms is None or terms.most is None or _is_stock(account_id) or not self._has_known_terms(account_id):
            return
        placed = [self._purses.get((account_id, partition)) for partition in range(self._partitions)]
        purses = [one for one in placed if one is not None]
        spent = sum(purse.spent - purse.refunded for purse, _ in purses)
        if spent > terms.most:
            self._findings.overspent.append(Overspent(account_id, spent - terms.most, terms.most))
        if spent > terms.most + terms.most_overspent:
            most = f"{terms.most} and {terms.most_overspent:.0f} beyond" if terms.most_overspent else f"{terms.most}"
            detail = f"{account_id}: {spent} spent, expected at most {most}"
            self._findings.violate(Check.BUDGET, purses[0].place, detail)
        else:
            self._findings.passed(Check.BUDGET)

    def _home(self, account_id: str) -> int:
        return topics.partition_for(account_id.encode(), self._partitions)

    def _first_lease(self, terms: WidestTerms, partition: int, *, is_kept: bool = False) -> int:
        """The most that a partition may draw before its owner has heard of it, or `is_kept` for it until then."""
        # The owner keeps enough for a limit that rises until the partition draws; of the only one it always hears.
        beyond = 2 if is_kept and self._partitions > 1 else 0
        limits = (Limit((terms.most or 0) + beyond * (quantum - 1), quantum) for quantum in terms.quanta)
        return max((first_lease(limit, self._partitions, partition) for limit in limits), default=0)

    def _is_whole(self, account_id: str, partition: int) -> bool:
        """Return whether all that a partition ever gave of an account was given under known terms."""
        key = account_id, partition
        if key not in self._whole:
            units = {one: self._purses.get((units_of(one), partition)) for one in self._drawn_on_by[account_id]}
            self._whole[key] = key not in self._issued_before and all(
                placed is None or placed.purse.drawn <= self._issued_in[coupon_id, partition]
                for coupon_id, placed in units.items()
            )
        return self._whole[key]

    def _has_known_terms(self, account_id: str) -> bool:
        """Return whether all that was ever leased and given of an account was so under known terms.

        When a limit is lowered, partitions give what they were leased before until it is called back.
        """
        book, since_ms = self._books.get(account_id, Book()), self._terms[account_id].since_ms
        is_whole = all(self._is_whole(account_id, partition) for partition in range(self._partitions))
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
            again, unexplained = self._held_again[account_id, partition], unexplained_units(totals, terms)
            bounds = [] if share.excess is None else [max(share.excess, 0)]
            if share.excess is None and self._is_whole(account_id, partition):
                bounds, share.excess = [0], 0
            if before is not None and not terms.holds_most:
                bounds.append(unexplained_units(before, terms))
            is_beyond = excess > 0 and terms.most is not None and any(unexplained > bound + again for bound in bounds)
            if share.excess is None or is_beyond:
                share.excess = unexplained
            # A cancellation that is dropped may have brought a hold back.
            has_lost = not terms.holds_most and self._retained.begin(FEEDBACK.name, partition) > 0
            is_known = not is_beyond and (bool(bounds) and not terms.holds_most)
            if fault is None and is_beyond and not has_lost:
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
        is_known = self._is_whole(account_id, partition) and not share.is_old
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
        first = self._first_lease(terms, grant.partition, is_kept=grant.is_recall)
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


def _began_ms(record: Record) -> int:
    """Return the append time, ms, of the event that a record began with."""
    return int(began_header(record)[1])


def _is_stock(account_id: str) -> bool:
    return account_id.startswith(f"{UNITS}:")


def _check_of(account_id: str) -> Check:
    return Check.STOCK if _is_stock(account_id) else Check.BUDGET
