"""State of a shopper: profile, neighbourhood, coupon history, open issues, and the scopes watched for orders."""

from collections.abc import Mapping
from typing import ClassVar, Generic, TypeVar

from msgspec import Struct, field, msgpack

from stream_coupons.core.draws import stable_hash
from stream_coupons.core.effects import Booking, Stake
from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.core.messages.fields import END_OF_TIME, NO_COUPON
from stream_coupons.core.messages.inputs import FeedbackEvent
from stream_coupons.core.messages.learning import OnView
from stream_coupons.core.shopper.issue_counts import IssueCounts
from stream_coupons.core.shopper.outcomes import FollowedOutcomes
from stream_coupons.core.shopper.profile import Profile
from stream_coupons.core.shopper.uses import Use
from stream_coupons.core.vectors.sparse import PackedVector

Predicted = tuple[float, float, float]
"""P(click), P(redeem), P(order in the coupon's scope without a coupon)."""
VISIT_GRACE_S = 600.0
"""Time for which a visit waits for its orders."""
Probabilities = TypeVar("Probabilities")
NEUTRAL_CLICK_RATE = 0.1
NEUTRAL_REDEEM_RATE = 0.05
PRIOR_TRIALS = 4.0
"""Number of trials that a prior rate counts as."""
MAX_TALLIES = 64
MAX_CLOSED = 256
MAX_EARLY = 32
MAX_CLOSED_ISSUES = 32
"""Our closed issues that are kept to book late reports."""


class Neighbourhood(Struct, array_like=True):
    """The sum of the nearest shoppers' vectors, each times its similarity."""

    at: float = 0.0
    packed: PackedVector = (b"", b"")


class Related(Struct, array_like=True):
    """Categories related to those of the shopper: scores of categories that are new to them, see `relations`."""

    bucket: str = ""
    """The bucket that was asked last; empty if none was."""
    asked_at: float = 0.0
    at: float = 0.0
    packed: PackedVector = (b"", b"")


class Tally(Struct, array_like=True):
    """Coupons issued, redeemed and clicked."""

    issued: int = 0
    redeemed: int = 0
    clicked: int = 0


def shrunk_rate(successes: float, trials: float, prior: float, strength: float = PRIOR_TRIALS) -> float:
    """Return the mean of a Beta posterior: the rate, shrunk towards `prior` while there are few trials.

    Parameters
    ----------
    successes, trials : float
        Counts, possibly decayed.
    prior, strength : float
        Mean of the Beta prior, and the number of trials that it counts as.
    """
    return (successes + prior * strength) / (max(trials, successes) + strength)


EXPOSURE_HALF_LIFE_S = 86400.0
WEEKLY_EXPOSURE_HALF_LIFE_S = 7 * 86400.0


class History(Struct, array_like=True):
    """The shopper's past with coupons: in all, by coupon, by category and by kind; bounded."""

    issued: int = 0
    clicked: int = 0
    redeemed: int = 0
    last_issued_at: float | None = None
    given: IssueCounts = field(default_factory=IssueCounts)
    """Our coupons that were given."""
    by_coupon: dict[str, Tally] = field(default_factory=dict)
    by_category: dict[str, Tally] = field(default_factory=dict)
    by_kind: dict[str, Tally] = field(default_factory=dict)
    recent_issues: list[float] = field(default_factory=list)
    withheld: IssueCounts = field(default_factory=IssueCounts)
    """Coupons that were withheld from a shopper of the holdout, counted as `given`."""
    recent_withheld: list[float] = field(default_factory=list)
    exposure: float = 0.0
    """Number of coupons, fading with a half-life of a day, valued at the last one; see `exposures_at`."""
    weekly_exposure: float = 0.0
    """The same with a half-life of a week."""

    def rates(self) -> tuple[float, float]:
        """Return the click rate and the redeem rate over all coupons, each shrunk towards a neutral one."""
        clicks = self.clicked + NEUTRAL_CLICK_RATE * PRIOR_TRIALS
        redeems = self.redeemed + NEUTRAL_REDEEM_RATE * PRIOR_TRIALS
        return (
            clicks / (max(self.issued, self.clicked) + PRIOR_TRIALS),
            redeems / (max(self.issued, self.redeemed) + PRIOR_TRIALS),
        )

    def exposures_at(self, at: float) -> tuple[float, float]:
        """Return the number of coupons issued, faded with a half-life of a day and of a week: a measure of fatigue."""
        since = max(at - self.last_issued_at, 0.0) if self.last_issued_at is not None else 0.0
        return (
            self.exposure * 2.0 ** (-since / EXPOSURE_HALF_LIFE_S),
            self.weekly_exposure * 2.0 ** (-since / WEEKLY_EXPOSURE_HALF_LIFE_S),
        )

    def counts_of(self, coupon_id: str, coupons: Mapping[str, Coupon]) -> list["History | Tally"]:
        """Return all that a coupon is counted in: the history, and its tallies of coupons, kinds and categories.

        Parameters
        ----------
        coupon_id : str
            Id of the coupon. A tally that is missing is added; it replaces the oldest of `MAX_TALLIES`.
        coupons : mapping
            The current coupons, by id: they know its kind and its first category.
        """
        keys, coupon = [(self.by_coupon, coupon_id)], coupons.get(coupon_id)
        if coupon is not None and coupon.kind:
            keys.append((self.by_kind, coupon.kind))
        if coupon is not None and coupon.categories:
            keys.append((self.by_category, coupon.categories[0]))
        for tallies, key in keys:
            if key not in tallies and len(tallies) == MAX_TALLIES:
                del tallies[next(iter(tallies))]
        return [self, *(tallies.setdefault(key, Tally()) for tallies, key in keys)]


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
    feature_schema: str = ""
    """Feature space of the row, which a release may have changed since; empty for an erased shopper."""
    awaits_impressions: bool = False
    """True if its channel reports every impression."""
    until: float = END_OF_TIME
    """End of the window in which a purchase is a yes; `expires_at` has the grace, too."""
    ordered: bool = False
    """True if the shopper ordered in the coupon's scope up to `until`, with the coupon or without."""
    order_value_minor: int = 0
    """Value of all orders in its scope up to `until`, before any discount."""
    uses: list[Use] = field(default_factory=list)
    """Orders that it was used in, oldest first."""
    scope_mark: int = 0
    """As in `OpenControl`."""
    campaign_id: str | None = None
    most_minor: int = 0
    """Largest discount, minor units."""
    expected_minor: float = 0.0
    variance: float = 0.0
    """Expected value and variance of its cost when it was given."""
    value_minor: float = 0.0
    """Predicted value when it was given, before the correction by the measured lift."""
    code: str | None = None
    """As in `CouponIssue`."""
    is_closed: bool = False
    """True if its window has closed: it holds nothing, and late reports are booked. Of an observed issue: true after an
    `expiry`. It cannot be used any more, and waits for the end of its window to be learnt."""
    day: int = 0
    """Day on which it was given in the shop's time zone, days since 1970-01-01."""
    order_minor: float = 0.0
    discount_minor: float = 0.0
    """Expected value of an order in its scope, and discount on it, when it was given; 0 if it was not valued."""
    other_value_minor: int = 0
    """Value of what the shopper ordered in the domain beside that, until it closes, before any discount."""
    withheld: ClassVar[bool] = False
    """False for every issue: it was given, or another system chose to give none."""

    @property
    def is_falling(self) -> bool:
        """True if its hold falls evenly to nothing."""
        return self.held_minor < self.most_minor

    @property
    def redeemed(self) -> bool:
        """True if an order that it was used in was not cancelled."""
        return any(use.is_used for use in self.uses)

    @property
    def spent_minor(self) -> int:
        """The discount on all of its orders."""
        return sum(use.minor for use in self.uses)

    @property
    def stake(self) -> Stake:
        """The money that it takes from its budgets.

        Until its window closes, it holds what it held at first less what is spent: no report releases money that a
        later report may take.
        """
        spent_minor = self.spent_minor
        if self.is_closed:
            return Stake(spent_minor=spent_minor)
        rest_minor = max(self.most_minor - spent_minor, 0)
        if not self.redeemed:
            return Stake(self.held_minor, self.expected_minor, self.variance, rest_minor=rest_minor)
        return Stake(max(self.held_minor - spent_minor, 0), spent_minor=spent_minor, rest_minor=rest_minor)

    def booking(self, before: Stake, after: Stake, at: float, final_expected_minor: float | None = None) -> Booking:
        """Return a change of the money that it takes from its budgets.

        Parameters
        ----------
        before, after : Stake
            Money that it had held and spent before, and now.
        at : float
            UTC epoch seconds, no later than now.
        final_expected_minor : float or None
            See `Booking.final_expected_minor`.
        """
        span = at, self.at, self.expires_at
        return Booking(self.coupon_id, self.campaign_id, before, after, *span, self.is_falling, final_expected_minor)

    @property
    def has_sold(self) -> bool:
        """True if the shopper bought up to `until`: with the coupon, or without one if none was given."""
        return any(use.has_sold for use in self.uses)

    @property
    def was_seen(self) -> bool:
        """True if the shopper saw it: a click or a purchase implies an impression."""
        return self.seen or self.clicked or self.redeemed

    @property
    def can_teach(self) -> bool:
        """True if its features are stored; an erased shopper has none."""
        return bool(self.numeric)

    @property
    def is_given(self) -> bool:
        """True if there is a coupon; False for an observed decision of another system to give none."""
        return self.coupon_id != NO_COUPON

    def forget_features(self) -> None:
        """Drop the features of its decision."""
        self.numeric = self.hashed = b""
        self.feature_schema = ""


_pack_issue = msgpack.Encoder().encode
_unpack_issue = msgpack.Decoder(OpenIssue).decode


class WatchedScope(Struct, Generic[Probabilities], array_like=True):
    """A decision, the coupon whose scope is watched after it, and whether the shopper orders there."""

    issue_id: str
    """The id of the decision."""
    coupon_id: str
    domain: str
    at: float
    until: float
    """End of the time in which an order is a yes; it closes some time later, for orders that are late."""
    numeric: bytes
    hashed: bytes
    predicted: Probabilities
    """One for each outcome, in the order of `scoring.LABELS`."""
    model_version: int
    ordered: bool = False
    """True if the shopper ordered in the coupon's scope up to `until`."""
    feature_schema: str = ""
    """Feature space of the row, as in `OpenIssue`."""
    scope_mark: int = 0
    """Mark of the coupon's scope at that time; 0 if the catalogue did not have the coupon."""
    order_value_minor: int = 0
    """Value of all orders in its scope up to `until`, before any discount."""
    order_minor: float = 0.0
    other_value_minor: int = 0
    """As in `OpenIssue`."""
    discount_minor: ClassVar[float] = 0.0
    spent_minor: ClassVar[int] = 0
    propensity: ClassVar[None] = None
    observed: ClassVar[bool] = False
    """Constants shared with issues: the decision was ours, and the coupon does not count as given."""


class OpenControl(WatchedScope[Predicted]):
    """A control observation: a coupon that was the best but was not given, and whether the shopper orders without it.

    The comparison group of uplift (Johnson, Lewis, Nubbemeyer 2017: Ghost ads).
    """

    withheld: bool = False
    """True if it would have been given, but for the holdout."""


class OpenVisit(WatchedScope[tuple[float, float, float, float]]):
    """A visit in which a decision was made: whether its coupon was given does not matter."""

    on_view: OnView | None = None
    """The item on view, if its category and price are known."""
    withheld: ClassVar[bool] = False

    @property
    def closes_at(self) -> float:
        """Time by which the orders of the visit are known."""
        return self.until + VISIT_GRACE_S


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
    visit: OpenVisit | None = None
    early: list[EarlyFeedback] = field(default_factory=list)
    closed: list[int] = field(default_factory=list)
    closed_observed: list[int] = field(default_factory=list)
    """Observed issues that are closed, apart from ours: their number depends on their producer."""
    closed_issues: dict[str, tuple[float, bytes]] = field(default_factory=dict)
    """Our issues that are closed, by id, oldest first: (expires_at, packed)."""
    erased_at: float | None = None
    """Time up to which nothing that the shopper did may be known."""
    leaves_at: float | None = None
    """Time at which this state ends, unless the shopper comes back before; None: never."""
    related: Related = field(default_factory=Related)
    outcomes: FollowedOutcomes | None = None
    """Orders, and the outcomes by which lift is measured; None before the first order or decision."""
    new_until: float | None = None
    """Time until which the shopper is new; None before the first event."""

    @property
    def has_nothing_open(self) -> bool:
        """True if nothing waits for feedback or for its time to pass."""
        return not (self.issues or self.controls or self.visit or self.early)

    def note_arrival(self, at: float, new_for_s: float) -> None:
        """Note the time of the first event: from then on the shopper is new for a while.

        Parameters
        ----------
        at : float
            Time of an event, UTC epoch seconds.
        new_for_s : float
            `policy.new_for_s`.
        """
        if self.new_until is None:
            self.new_until = at + new_for_s

    def is_new(self, at: float) -> bool:
        """Return True if the shopper is still new at this time, UTC epoch seconds."""
        return self.new_until is not None and at < self.new_until

    def issue(self, issue_id: str) -> OpenIssue:
        """Return a copy of the open issue of this id; `keep_issue` stores it again."""
        return _unpack_issue(self.issues[issue_id][1])

    def open_issue(self, issue: OpenIssue, coupons: Mapping[str, Coupon]) -> None:
        """Remember a new issue and, if a coupon was given, count it in the history.

        Parameters
        ----------
        issue, coupons : OpenIssue and mapping
            An issue of this system or of another one, and the current coupons by id.
        """
        self.keep_issue(issue)
        if not issue.is_given:
            return
        history = self.history
        of_days, of_weeks = history.exposures_at(issue.at)
        history.exposure, history.weekly_exposure = of_days + 1.0, of_weeks + 1.0
        history.last_issued_at = max(issue.at, history.last_issued_at or 0.0)
        for each in history.counts_of(issue.coupon_id, coupons):
            each.issued += 1

    def keep_control(self, control: OpenControl, most: int) -> None:
        """Remember a coupon that was not given, and drop the oldest beyond the limit.

        Parameters
        ----------
        control, most : OpenControl and int
            The control, and the most that are kept.
        """
        self.controls[control.issue_id] = control
        while len(self.controls) > most:
            del self.controls[next(iter(self.controls))]

    def keep_issue(self, issue: OpenIssue) -> None:
        """Add an issue, or replace it."""
        self.issues[issue.issue_id] = (issue.expires_at, _pack_issue(issue))

    def closed_issue(self, issue_id: str) -> OpenIssue | None:
        """Return a copy of our closed issue of this id; None if it is not kept any more."""
        kept = self.closed_issues.get(issue_id)
        return None if kept is None else _unpack_issue(kept[1])

    def keep_closed(self, issue: OpenIssue) -> None:
        """Keep what late reports on our closed issue need, of the last `MAX_CLOSED_ISSUES`."""
        issue.is_closed = True
        issue.awaits_impressions = False  # nothing is learnt of it any more
        issue.forget_features()
        self.closed_issues[issue.issue_id] = (issue.expires_at, _pack_issue(issue))
        while len(self.closed_issues) > MAX_CLOSED_ISSUES:
            del self.closed_issues[next(iter(self.closed_issues))]

    def forget_closed(self, at: float) -> None:
        """Forget our issues that closed up to a time, UTC epoch seconds."""
        for issue_id in [issue_id for issue_id, (expires_at, _) in self.closed_issues.items() if expires_at <= at]:
            del self.closed_issues[issue_id]

    def held_coupons(self, at: float) -> set[str]:
        """Return the ids of the coupons that the shopper may still use at this time, UTC epoch seconds.

        A coupon that is withheld from the holdout counts as held until an order in its scope.
        """
        issues = (_unpack_issue(packed) for _, packed in self.issues.values())
        usable = (one for one in issues if one.is_given and not one.redeemed and not one.is_closed)
        held = {one.coupon_id for one in usable if at < one.until}
        withheld = (one for one in self.controls.values() if one.withheld)
        return held | {one.coupon_id for one in withheld if not one.ordered and at < one.until}

    def remember_closed(self, issue_id: str, *, observed: bool = False) -> None:
        """Remember that an issue is over: the last `MAX_CLOSED` of ours, and as many observed ones.

        Observed ones are remembered apart. Another system may give an issue the id of one of ours, and any number of
        its issues must not make us forget our own, or a trigger that comes again would lead to a second coupon.

        Parameters
        ----------
        issue_id : str
            Id of the issue.
        observed : bool
            True if another system gave it.
        """
        closed = self.closed_observed if observed else self.closed
        closed.append(stable_hash("observed", issue_id) if observed else stable_hash(issue_id))
        del closed[:-MAX_CLOSED]

    def has_closed(self, issue_id: str) -> bool:
        """Return True if an issue of this id is over, ours or observed."""
        return stable_hash(issue_id) in self.closed or stable_hash("observed", issue_id) in self.closed_observed

    def has_closed_own(self, issue_id: str) -> bool:
        """Return True if an issue of ours of this id is over."""
        return stable_hash(issue_id) in self.closed

    def has_decided(self, issue_id: str) -> bool:
        """Return True if this id led to an issue of ours; another system may have given the id to one of its own."""
        is_open = issue_id in self.issues and not self.issue(issue_id).observed
        return is_open or (bool(self.closed) and self.has_closed_own(issue_id))

    def has_forgotten(self, at: float) -> bool:
        """Return True if the shopper asked to be forgotten at this time, UTC epoch seconds, or later."""
        return self.erased_at is not None and at <= self.erased_at

    def take_expired_issues(self, at: float) -> list[OpenIssue]:
        """Remove and return the issues whose window has closed."""
        expired = [issue_id for issue_id, (expires_at, _) in self.issues.items() if expires_at <= at]
        return [_unpack_issue(self.issues.pop(issue_id)[1]) for issue_id in expired]

    def next_due(self, grace_s: float) -> float | None:
        """Return the time at which the first deadline changes this state, UTC epoch seconds; None if none does.

        Controls wait `grace_s` for late orders.
        """
        deadlines = [expires_at for expires_at, _ in self.issues.values()]
        deadlines += [control.until + grace_s for control in self.controls.values()]
        deadlines += [early.waits_until for early in self.early]
        if self.visit is not None:
            deadlines.append(self.visit.closes_at)
        if self.leaves_at is not None:
            deadlines.append(self.leaves_at)
        return min(deadlines, default=None)
