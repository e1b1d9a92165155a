"""The widest terms of accounts and coupons among the versions that their topics still have.

A limit may have been wider before the oldest version of a coupon or a campaign that its topic still has. So only what
was granted or given since then is judged, by when the event was appended that it began with: a worker that crashed may
have sent it much later than it was decided.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from stream_coupons.core.caps import Cap, CapPeriod
from stream_coupons.core.errors import BadMessage
from stream_coupons.core.messages.catalogue import BudgetHold, Campaign, Coupon
from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.core.money.accounts import Accounts, Limit, budgets_of, campaign_of, units_of
from stream_coupons.kafka.codec import Decoder
from stream_coupons.kafka.records import Record, began_header
from stream_coupons.kafka.topics import BY_NAME, CAMPAIGNS, CATALOG
from stream_coupons.ops.audit.catalogue_history import CatalogueHistory
from stream_coupons.ops.audit.coverage_check import PlacedPurse
from stream_coupons.ops.audit.offsets import AuditedOffsets


@dataclass(slots=True)
class WidestTerms:
    """The widest terms of an account among the versions of its coupon or campaign.

    What was given before the oldest of them cannot be judged: it had terms that compaction has dropped.

    Attributes
    ----------
    most : int or None
        None is no limit.
    holds : set
        What coupons hold, by version; None of one without a limit.
    worst : int or None
        The most that may be spent if each open coupon takes the most that it can; None is no limit.
    """

    since_ms: int
    most: int | None
    holds: set[BudgetHold | None] = field(default_factory=set)
    worst: int | None = 0

    def widen(self, limit: Limit) -> None:
        """Take in another version."""
        self.most, self.worst = wider(self.most, limit.most), wider(self.worst, limit.worst)
        self.holds.add(None if limit.most is None else limit.hold)

    @property
    def holds_most(self) -> bool:
        """True if each coupon holds the most that it can cost, by every version."""
        return self.holds == {"maximum"}


@dataclass(slots=True)
class WidestCaps:
    """The widest caps among the versions of a coupon or a campaign: None, or a missing period, is no cap."""

    since_ms: int
    most: dict[CapPeriod, int | None]

    @classmethod
    def of(cls, since_ms: int, caps: Iterable[Cap]) -> "WidestCaps":
        """Return the caps of one version."""
        most: dict[CapPeriod, int | None] = {}
        for cap in caps:
            known = most.get(cap.per)
            most[cap.per] = cap.n if known is None else min(known, cap.n)
        return cls(since_ms, most)

    def widen(self, other: "WidestCaps") -> None:
        """Take in another version."""
        self.most = {per: wider(most, other.most.get(per)) for per, most in self.most.items()}


def wider(one: int | None, other: int | None) -> int | None:
    """Return the wider of two limits; None is no limit."""
    return None if one is None or other is None else max(one, other)


def began_ms(record: Record) -> int:
    """Return the append time, ms, of the event that a record began with."""
    return int(began_header(record)[1])


class KnownTerms:
    """The terms that are known, and which accounts gave something under older ones.

    Read all coupons and campaigns, then all issues.
    """

    def __init__(self, marks: AuditedOffsets, purses: Mapping[tuple[str, int], PlacedPurse]) -> None:
        self.widest: dict[str, WidestTerms] = {}
        """By account."""
        self.caps: dict[str, WidestCaps] = {}
        """By account: the stock of a coupon, the budget of a campaign."""
        self.history = CatalogueHistory()
        self._purses = purses
        self._decoders = {topic.name: Decoder(topic) for topic in (CATALOG, CAMPAIGNS)}
        self._unread = {topic.name: marks.ends.get((topic.name, 0), 0) for topic in (CATALOG, CAMPAIGNS)}
        self._drawn_on_by: defaultdict[str, set[str]] = defaultdict(set)
        """By account, the coupons that draw on it."""
        self._issued_in: Counter[tuple[str, int]] = Counter()
        self._issued_before: set[tuple[str, int]] = set()
        """Accounts and partitions in which something was given before the oldest known terms."""
        self._whole: dict[tuple[str, int], bool] = {}

    def take(self, record: Record) -> None:
        """Take in a version of a coupon or a campaign; what workers ignore is ignored here."""
        self._unread[record.topic] -= 1
        if record.value is None:
            self.history.take(record, None)
            return
        try:
            entry: Coupon | Campaign = self._decoders[record.topic](record.value)
        except BadMessage:
            return
        if record.key != BY_NAME[record.topic].key_of(entry):
            return
        self.history.take(record, entry)
        made = Accounts((entry,)) if isinstance(entry, Coupon) else Accounts((), (entry,))
        for limit in made.limits.values():
            if limit.revoked is not None:
                continue  # pools of codes only grow, and are leased by number
            known = self.widest.setdefault(limit.account_id, WidestTerms(record.timestamp_ms, limit.most))
            known.widen(limit)
        caps = WidestCaps.of(record.timestamp_ms, entry.caps)
        capped = units_of(entry.coupon_id) if isinstance(entry, Coupon) else campaign_of(entry.campaign_id)
        self.caps.setdefault(capped, caps).widen(caps)
        if isinstance(entry, Coupon):
            self._note_use(entry.coupon_id, entry.campaign_id)

    def end(self) -> None:
        """Note whether all versions of coupons and campaigns were there to be read."""
        self.history.is_whole = not any(self._unread.values())

    def take_issue(self, issue: CouponIssue, home: int) -> None:
        """Count an issue in its partition, once, before it is judged."""
        self._issued_in[issue.coupon_id, home] += 1
        self._note_use(issue.coupon_id, issue.campaign_id)

    def _note_use(self, coupon_id: str, campaign_id: str | None) -> None:
        for account_id in (units_of(coupon_id), *budgets_of(coupon_id, campaign_id)):
            self._drawn_on_by[account_id].add(coupon_id)

    def drawn_on_by(self, account_id: str) -> set[str]:
        """Return the coupons that draw on an account, by all that was read."""
        return self._drawn_on_by[account_id]

    def never_had(self, account_id: str, topic: str) -> bool:
        """Return whether a topic never had the coupon or campaign of an account: it has lost no record."""
        return account_id not in self.widest and not self._unread[topic]

    def at(self, account_id: str, home: int, began: int) -> WidestTerms | None:
        """Return the terms by which something was given in a partition; None if they are not known.

        Parameters
        ----------
        began : int
            Append time, ms, of the event that it began with.
        """
        terms = self.widest.get(account_id)
        if terms is not None and began >= terms.since_ms:
            return terms
        self._issued_before.add((account_id, home))
        return None

    def is_whole(self, account_id: str, partition: int) -> bool:
        """Return whether all that a partition ever gave of an account was given under known terms."""
        key = account_id, partition
        if key not in self._whole:
            units = {one: self._purses.get((units_of(one), partition)) for one in self._drawn_on_by[account_id]}
            self._whole[key] = key not in self._issued_before and all(
                placed is None or placed.purse.drawn <= self._issued_in[coupon_id, partition]
                for coupon_id, placed in units.items()
            )
        return self._whole[key]
