"""Everything that is owned per shopper: profile, neighbourhood, coupon history, and what is open."""

from typing import ClassVar

from msgspec import Struct, field, msgpack

from stream_coupons.core.effects import Stake
from stream_coupons.core.messages.fields import END_OF_TIME, NO_COUPON
from stream_coupons.core.messages.inputs import FeedbackEvent
from stream_coupons.core.rules import AttributionRules
from stream_coupons.core.shopper.profile import Profile
from stream_coupons.core.vectors.sparse import PackedVector

Predicted = tuple[float, float, float]
"""P(click), P(redeem), P(order in the coupon's scope without a coupon)."""


class Neighbourhood(Struct, array_like=True):
    """The sum of the nearest shoppers' vectors, each times its similarity."""

    at: float = 0.0
    packed: PackedVector = (b"", b"")


class Related(Struct, array_like=True):
    """Categories related to those of the shopper: scores of categories that are new to them, see `relations`."""

    bucket: str = ""
    """The one that was asked last; empty if none was."""
    asked_at: float = 0.0
    at: float = 0.0
    packed: PackedVector = (b"", b"")


class Tally(Struct, array_like=True):
    """Coupons issued, redeemed and clicked."""

    issued: int = 0
    redeemed: int = 0
    clicked: int = 0


EXPOSURE_HALF_LIFE_S = 86400.0
WEEKLY_EXPOSURE_HALF_LIFE_S = 7 * 86400.0


class History(Struct, array_like=True):
    """The shopper's past with coupons, all in all, by coupon and by category; bounded."""

    issued: int = 0
    clicked: int = 0
    redeemed: int = 0
    last_issued_at: float | None = None
    given: dict[str, int] = field(default_factory=dict)
    """Coupons of ours by id; never forgotten, for their caps last as long as they do."""
    by_coupon: dict[str, Tally] = field(default_factory=dict)
    by_category: dict[str, Tally] = field(default_factory=dict)
    by_kind: dict[str, Tally] = field(default_factory=dict)
    recent_issues: list[float] = field(default_factory=list)
    withheld: dict[str, int] = field(default_factory=dict)
    """Coupons that a shopper of the holdout would have been given, by id; never forgotten, as `given` is not."""
    recent_withheld: list[float] = field(default_factory=list)
    exposure: float = 0.0
    """Coupons that fade within days, as of the last one; see `exposures_at`."""
    weekly_exposure: float = 0.0
    """The same, within weeks."""

    def exposures_at(self, at: float) -> tuple[float, float]:
        """Coupons issued, each halved with every half-life since, that of days and that of weeks: who had many lately
        is tired of them."""
        since = max(at - self.last_issued_at, 0.0) if self.last_issued_at is not None else 0.0
        return (
            self.exposure * 2.0 ** (-since / EXPOSURE_HALF_LIFE_S),
            self.weekly_exposure * 2.0 ** (-since / WEEKLY_EXPOSURE_HALF_LIFE_S),
        )


class OpenIssue(Struct, array_like=True):
    """A coupon given, ours or observed, or observed to be withheld, whose outcome is not known yet."""

    issue_id: str
    coupon_id: str
    domain: str
    at: float
    expires_at: float
    held_minor: int
    numeric: bytes
    hashed: bytes
    predicted: Predicted
    propensity: float | None
    model_version: int
    observed: bool
    seen: bool = False
    """True if an impression was reported."""
    clicked: bool = False
    redeemed: bool = False
    feature_schema: str = ""
    """Feature space of the row, which a release may have changed since; empty for an erased shopper."""
    awaits_impressions: bool = False
    """True if its channel was said to report every impression when it was given."""
    until: float = END_OF_TIME
    """End of the window in which a purchase is a yes; `expires_at` has the grace, too."""
    is_late: bool = False
    """True if it was redeemed after that only: the money is spent, and no control is watched for so long."""
    ordered: bool = False
    """True if the shopper ordered in the coupon's scope until then, with it or without: as of a control."""
    order_value_minor: int = 0
    """Of all that was ordered in its scope until then, before any discount."""
    spent_minor: int = 0
    """The discount that was taken, whenever it was redeemed."""
    scope_mark: int = 0
    """As in `OpenControl`."""
    campaign_id: str | None = None
    most_minor: int = 0
    """The most that it may take off."""
    keeps_rest: bool = False
    """True if the rest of what it may take off stays held after a purchase, of which more may be reported later."""
    expected_minor: float = 0.0
    variance: float = 0.0
    """Of its cost, when it was given."""
    reported_at: float = 0.0
    """Time of the purchase, refund or cancellation that counts."""
    withheld: ClassVar[bool] = False
    """It was given, or another system chose not to."""

    @property
    def is_falling(self) -> bool:
        """True if its hold falls evenly to nothing."""
        return not self.keeps_rest and self.held_minor < self.most_minor

    @property
    def stake(self) -> Stake:
        """The money that it takes of its budgets."""
        if not self.redeemed:
            return Stake(self.held_minor, self.expected_minor, self.variance, self.spent_minor)
        return Stake(self.most_minor - self.spent_minor if self.keeps_rest else 0, spent_minor=self.spent_minor)

    @property
    def has_sold(self) -> bool:
        """True if the shopper bought with it, or without one where none was given, in as much time as a control has."""
        return self.redeemed and not self.is_late

    @property
    def was_seen(self) -> bool:
        """True if anything says that the shopper saw it: who clicked or bought did, impression or not."""
        return self.seen or self.clicked or self.redeemed

    @property
    def can_teach(self) -> bool:
        """True if its features are kept; those of an erased shopper are not."""
        return bool(self.numeric)

    @property
    def is_given(self) -> bool:
        """True if there is a coupon: another system may have given none, and observed what the shopper does."""
        return self.coupon_id != NO_COUPON


_pack_issue = msgpack.Encoder().encode
_unpack_issue = msgpack.Decoder(OpenIssue).decode


class OpenControl(Struct, array_like=True):
    """A coupon that was the best but was not given: does the shopper order in its scope all the same?

    The comparison group of uplift (Johnson, Lewis, Nubbemeyer 2017: Ghost ads).
    """

    issue_id: str
    """The id of the issue that was not made."""
    coupon_id: str
    domain: str
    at: float
    until: float
    """End of the window in which an order is a yes; it is waited for the grace longer, as feedback on an issue is."""
    numeric: bytes
    hashed: bytes
    predicted: Predicted
    model_version: int
    ordered: bool = False
    """True if the shopper ordered in the coupon's scope until then."""
    withheld: bool = False
    """True if it would have been given, but for the holdout."""
    feature_schema: str = ""
    """Of the row, as in `OpenIssue`."""
    scope_mark: int = 0
    """Mark of the coupon's scope at that time; 0 if the catalogue did not have the coupon."""
    order_value_minor: int = 0
    """Of all that was ordered in its scope until then, before any discount."""
    spent_minor: ClassVar[int] = 0
    propensity: ClassVar[None] = None
    observed: ClassVar[bool] = False
    """The decision was ours, and nothing was given."""


class EarlyFeedback(Struct, array_like=True):
    """Feedback that came before its issue, waiting for it."""

    waits_until: float
    event: FeedbackEvent


class Shopper(Struct, array_like=True):
    """State of one shopper. Mutable; owned by one step at a time."""

    profile: Profile = field(default_factory=Profile)
    neighbourhood: Neighbourhood = field(default_factory=Neighbourhood)
    history: History = field(default_factory=History)
    cell: str = ""
    vector_sent_at: float | None = None
    considered_at: float | None = None
    issues: dict[str, tuple[float, bytes]] = field(default_factory=dict)
    """Open issues by id: (expires_at, packed). Most events touch none of them, so they stay bytes until one does."""
    controls: dict[str, OpenControl] = field(default_factory=dict)
    early: list[EarlyFeedback] = field(default_factory=list)
    closed: list[int] = field(default_factory=list)
    closed_observed: list[int] = field(default_factory=list)
    """Apart from ours: how many there are is for their sender to say."""
    erased_at: float | None = None
    """Up to when nothing that the shopper did may be known any more."""
    leaves_at: float | None = None
    """Time at which this state ends, unless the shopper comes back until then; None: never."""
    related: Related = field(default_factory=Related)

    @property
    def has_nothing_open(self) -> bool:
        """True if nothing waits for feedback or for its time to pass."""
        return not (self.issues or self.controls or self.early)

    def issue(self, issue_id: str) -> OpenIssue:
        """A copy of the open issue of this id; `keep_issue` puts it back."""
        return _unpack_issue(self.issues[issue_id][1])

    def keep_issue(self, issue: OpenIssue) -> None:
        """Add an issue, or replace it."""
        self.issues[issue.issue_id] = (issue.expires_at, _pack_issue(issue))

    def take_expired_issues(self, at: float) -> list[OpenIssue]:
        """Remove and return the issues whose window has closed."""
        expired = [issue_id for issue_id, (expires_at, _) in self.issues.items() if expires_at <= at]
        return [_unpack_issue(self.issues.pop(issue_id)[1]) for issue_id in expired]


MAX_TALLIES = 64
MAX_CLOSED = 256
MAX_EARLY = 32


def tally(tallies: dict[str, Tally], key: str) -> Tally:
    """The tally of a key, made when it is new; the oldest key makes room for it."""
    found = tallies.get(key)
    if found is None:
        found = tallies[key] = Tally()
        if len(tallies) > MAX_TALLIES:
            del tallies[next(iter(tallies))]
    return found


def next_due(shopper: Shopper, rules: AttributionRules) -> float | None:
    """Return the time at which time alone changes this state next; None when nothing is open."""
    deadlines = [expires_at for expires_at, _ in shopper.issues.values()]
    if shopper.controls:
        deadlines += [control.until + rules.grace_s for control in shopper.controls.values()]
    if shopper.early:
        deadlines += [early.waits_until for early in shopper.early]
    if shopper.leaves_at is not None:
        deadlines.append(shopper.leaves_at)
    return min(deadlines) if deadlines else None
