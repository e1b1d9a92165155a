"""I2 from the topics: stock and money of every coupon at every prefix that they prove, caps of every shopper.

A ledger takes proposals in the order of their partition and settlements in the order of theirs. How it mixed the two is
in no topic, but some of it is certain: a reservation was granted before it was settled, and before it all that the same
ledger had granted earlier. So when the settlement of X is read, everything granted up to X is counted, less only what
was given back before that settlement: the ledger held at least that much when it granted X.
"""

from collections import Counter
from dataclasses import dataclass, field

from stream_coupons.codec import Decoder
from stream_coupons.core.errors import BadMessage
from stream_coupons.core.events import Coupon, CouponIssue, Settlement
from stream_coupons.evaluation.findings import Check, Findings, place_of
from stream_coupons.evaluation.marks import Marks
from stream_coupons.runtime.records import Record
from stream_coupons.topics import CATALOG, RESERVATIONS


@dataclass(slots=True)
class Grant:
    """A granted reservation and what became of it.

    Attributes
    ----------
    order : int
        Offset of its proposal: reservations of one coupon were granted in this order.
    is_past : bool
        Whether the workers had committed its proposal when the audit began.
    has_failed : bool
        Whether the step on it failed, so that nothing follows from it.
    position : int
        Its place in that order.
    """

    proposal_id: str
    coupon_id: str
    amount_minor: int
    order: int
    is_past: bool
    has_failed: bool
    partition: int
    offset: int
    at_ms: int
    position: int = -1
    confirmed: bool = False
    released: bool = False
    redeemed: bool = False
    expired: bool = False
    issued: bool = False

    @property
    def place(self) -> str:
        """topic:partition:offset of the reservation."""
        return f"{RESERVATIONS.name}:{self.partition}:{self.offset}"


@dataclass(slots=True)
class Terms:
    """The widest limits among the versions of a coupon in the catalogue's topic; None is no limit.

    What was given before the oldest of them cannot be judged: it had terms that compaction has dropped.
    """

    since_ms: int
    stock: int | None
    budget_minor: int | None
    max_per_user: int | None

    def widen(self, coupon: Coupon) -> None:
        """Take in another version."""
        self.stock = _wider(self.stock, coupon.stock)
        self.budget_minor = _wider(self.budget_minor, coupon.budget_minor)
        self.max_per_user = _wider(self.max_per_user, coupon.max_per_user)


def _wider(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else max(one, other)


@dataclass(slots=True)
class Book:
    """The least that one coupon's ledger held at each reservation; read all grants, then all settlements."""

    grants: list[Grant] = field(default_factory=list)
    units: int = 0
    minor: int = 0
    upto: int = 0
    broken: set[Check] = field(default_factory=set)

    def put_in_order(self) -> None:
        """Number the grants, when all of them are there."""
        self.grants.sort(key=lambda grant: grant.order)
        for position, grant in enumerate(self.grants):
            grant.position = position


class Limits:
    """Checks stock, budgets and caps; read the catalogue, then reservations, settlements and issues."""

    def __init__(self, marks: Marks, findings: Findings) -> None:
        self._findings = findings
        self._decode = Decoder(CATALOG)
        self._unread = marks.ends.get((CATALOG.name, 0), 0)
        self._terms: dict[str, Terms] = {}
        self._books: dict[str, Book] = {}
        self._issued: Counter[str] = Counter()
        self._given: Counter[int] = Counter()

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
            self._terms[coupon.coupon_id] = Terms(record.timestamp_ms, *limits)
        else:
            known.widen(coupon)

    def grant(self, grant: Grant) -> None:
        """A reservation was granted; in any order."""
        self._books.setdefault(grant.coupon_id, Book()).grants.append(grant)

    def begin_settlements(self) -> None:
        """All grants are there."""
        for book in self._books.values():
            book.put_in_order()

    def settle(self, grant: Grant, settlement: Settlement) -> None:
        """A reservation was settled; in the order of their partition, and each outcome once."""
        book = self._books[grant.coupon_id]
        while book.upto <= grant.position:
            self._count(book)
        if settlement.outcome == "released":
            book.units -= 1
        if settlement.outcome != "confirmed":
            book.minor -= grant.amount_minor
        if settlement.outcome == "redeemed":
            book.minor += min(settlement.spent_minor, grant.amount_minor)

    def end_settlements(self) -> None:
        """All settlements are there: with those booked before a grant of the past, whatever comes later is left out."""
        for book in self._books.values():
            while book.upto < len(book.grants) and book.grants[book.upto].is_past:
                self._count(book)
            for _ in book.grants[book.upto :]:
                self._findings.leave_open(Check.STOCK)
                self._findings.leave_open(Check.BUDGET)

    def _count(self, book: Book) -> None:
        grant = book.grants[book.upto]
        book.upto += 1
        book.units += 1
        book.minor += grant.amount_minor
        self._judge(book, grant)

    def _judge(self, book: Book, grant: Grant) -> None:
        terms = self._terms.get(grant.coupon_id)
        stock, budget = (None, None) if terms is None else (terms.stock, terms.budget_minor)
        is_known = terms is not None and grant.at_ms >= terms.since_ms
        for check, count, limit, unit in (
            (Check.STOCK, book.units, stock, "reserved or issued"),
            (Check.BUDGET, book.minor, budget, "held or spent"),
        ):
            if not is_known:
                self._findings.skip(check)
            elif limit is None or count <= limit or check in book.broken:
                self._findings.passed(check)
            else:
                book.broken.add(check)
                detail = f"coupon {grant.coupon_id}: {count} {unit} with {grant.proposal_id}, expected at most {limit}"
                self._findings.violate(check, grant.place, detail)

    def issue(self, record: Record, issue: CouponIssue) -> None:
        """A coupon was issued; every issue once."""
        terms = self._terms.get(issue.coupon_id)
        self._issued[issue.coupon_id] += 1
        if terms is None and not self._unread:
            detail = f"coupon {issue.coupon_id} of issue {issue.issue_id} was never in the catalogue"
            self._findings.violate(Check.STOCK, place_of(record), detail)
        if terms is None or record.timestamp_ms < terms.since_ms:
            self._findings.skip(Check.CAPS)
            return
        count = self._issued[issue.coupon_id]
        if terms.stock is not None and count == terms.stock + 1:
            detail = f"coupon {issue.coupon_id}: {count} issued with {issue.issue_id}, expected at most {terms.stock}"
            self._findings.violate(Check.STOCK, place_of(record), detail)
        if terms.max_per_user is None:
            self._findings.passed(Check.CAPS)
            return
        # Workers count what they gave under a cap: what came before the coupon had one is not counted here either.
        pair = hash((issue.coupon_id, issue.user_id))
        self._given[pair] += 1
        if self._given[pair] != terms.max_per_user + 1:
            self._findings.passed(Check.CAPS)
            return
        given = f"{self._given[pair]} times to {issue.user_id} with {issue.issue_id}"
        detail = f"coupon {issue.coupon_id} {given}, expected at most {terms.max_per_user}"
        self._findings.violate(Check.CAPS, place_of(record), detail)
