"""Messages, coupons, wallets and knowledge, complete but for what a test cares about; a scorer that says what it is
told."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import msgspec
import numpy as np

from stream_coupons import testing
from stream_coupons.core.caps import Cap
from stream_coupons.core.catalogue.catalogue import Catalogue
from stream_coupons.core.catalogue.compiled import CouponSet, Floats, Positions
from stream_coupons.core.catalogue.viewed_prices import NOTHING_VIEWED, ViewedPrices
from stream_coupons.core.decision import pipeline
from stream_coupons.core.decision.commit import commit
from stream_coupons.core.decision.incremental import STRUCTURAL, IncrementalMargin
from stream_coupons.core.decision.pipeline import ANY_TIME, Times, decide, take_in
from stream_coupons.core.decision.predict import at_viewed_prices, stated_values
from stream_coupons.core.decision.scoring import Knowledge, Scorer
from stream_coupons.core.decision.table import CandidateTable, Trigger
from stream_coupons.core.draws import PUBLIC_KEY
from stream_coupons.core.effects import Booking, Effects, Stake
from stream_coupons.core.features.affinity import PRIOR_SHARE, Interests, Moment, look
from stream_coupons.core.features.numeric import NUMERIC
from stream_coupons.core.features.rows import FeatureRows
from stream_coupons.core.messages.catalogue import Campaign, Coupon
from stream_coupons.core.messages.inputs import (
    MONEY_KINDS,
    BrowseEvent,
    CartEvent,
    ErasureRequest,
    FeedbackEvent,
    Item,
    ObservedIssue,
    OrderEvent,
    ShopEvent,
)
from stream_coupons.core.messages.leases import Lease, LeaseReport
from stream_coupons.core.money import leases
from stream_coupons.core.money.accounts import Limit
from stream_coupons.core.money.holdings import Account, Holding
from stream_coupons.core.money.purses import Purse
from stream_coupons.core.money.wallet import Wallet
from stream_coupons.core.rules import AttributionRules, ProfileRules, Rules, ShopRules
from stream_coupons.core.shopper.issue_counts import IssueCounts, PeriodCounts
from stream_coupons.core.shopper.state import OpenIssue, Shopper
from stream_coupons.core.shopper.uses import Use
from stream_coupons.core.vectors.sparse import SparseVector, as_arrays, feature_index
from stream_coupons.runtime.steps import SharedStates
from stream_coupons.testing import item

AT = testing.START
HOUR_S = 3600.0
DAY_S = 86400.0


def repeatable(coupon_id: str = "c1", **fields: Any) -> Coupon:
    """A coupon that a shopper may hold several of, for tests of something else."""
    return testing.coupon(coupon_id, **{"not_while_held": "none", **fields})


def opened(coupon_id: str = "c1", at: float = AT, **about: Any) -> OpenIssue:
    """A coupon of ours that was given, as it is kept: it can be used for a week, and a day of grace follows."""
    known: dict[str, Any] = {
        "issue_id": "i1",
        "domain": "ecommerce",
        "expires_at": at + 8 * DAY_S,
        "held_minor": 100,
        "most_minor": 100,
        "numeric": b"",
        "hashed": b"",
        "predicted": (0.1, 0.2, 0.3),
        "propensity": 1.0,
        "model_version": 1,
        "observed": False,
        "until": at + 7 * DAY_S,
    }
    return OpenIssue(coupon_id=coupon_id, at=at, **(known | about))


def opening(issue: OpenIssue) -> Booking:
    """Return the booking of an issue when it is given."""
    return issue.booking(Stake(), issue.stake, issue.at)


def used(spent: int, *, is_used: bool = True) -> list[Use]:
    """Uses of a coupon in one order, which may have been cancelled."""
    return [Use(1, AT, spent if is_used else 0, is_used, is_in_time=True)]


# Events of the shopper `u`, by id and time.


def counts_of(coupons: dict[str, int], campaigns: dict[str, int] | None = None) -> IssueCounts:
    """Coupons given in all, long ago."""
    return IssueCounts({"life": PeriodCounts(0, coupons, campaigns or {})})


def for_life(n: int | None) -> list[Cap]:
    return [] if n is None else [Cap(per="life", n=n)]


def browse(
    event_id: str = "b1", at: float = AT, what: Item | None = None, user: str = "u", **about: Any
) -> BrowseEvent:
    return testing.browse(user, what, at=at, event_id=event_id, **about)


def cart(event_id: str = "k1", at: float = AT, what: Item | None = None, user: str = "u", **about: Any) -> CartEvent:
    return testing.cart(user, what or item(), at=at, event_id=event_id, **about)


def order(event_id: str = "o1", at: float = AT, *items: Item, user: str = "u", **about: Any) -> OrderEvent:
    return testing.order(user, *items, at=at, event_id=event_id, **about)


def feedback(kind: str, issue_id: str, at: float = AT, event_id: str = "", **about: Any) -> FeedbackEvent:
    known: dict[str, Any] = {"event_id": event_id or f"f-{kind}-{issue_id}-{at}", "user_id": "u", "occurred_at": at}
    if kind in MONEY_KINDS:
        known["order_id"] = f"order-{issue_id}"
    return FeedbackEvent(issue_id=issue_id, kind=kind, **(known | about))  # type: ignore[arg-type]


def observed(
    issue_id: str = "x1", coupon_id: str = "c1", at: float = AT, user_id: str = "u", **about: Any
) -> ObservedIssue:
    return testing.observed(user_id, coupon_id, at=at, issue_id=issue_id, **about)


def erasure(event_id: str = "x1", at: float = AT, user: str = "u") -> ErasureRequest:
    return testing.erasure(user, at=at, event_id=event_id)


def rules(**policy: Any) -> Rules:
    """Rules without chance, cooldown or caps that a test did not ask for."""
    profile = policy.pop("profile", ProfileRules())
    attribution = policy.pop("attribution", AttributionRules())
    key = policy.pop("key", PUBLIC_KEY)
    shop = policy.pop("shop", ShopRules())
    plain = testing.plain_settings(**policy).policy
    return Rules(policy=plain, profile=profile, attribution=attribution, shop=shop, key=key)


@dataclass(frozen=True)
class FixedScorer:
    """Says the same of every candidate, or ranks them by one of their numbers."""

    click: float = 0.2
    redeem: float = 0.5
    order: float = 0.1
    by: str | None = None
    version: int = 7
    viewed_prices: ViewedPrices = NOTHING_VIEWED
    incremental: IncrementalMargin = STRUCTURAL

    @property
    def own(self) -> Self:
        return self

    def predict(self, rows: FeatureRows) -> Floats:
        predicted = np.tile(np.array([self.click, self.redeem, self.order]), (len(rows), 1))
        if self.by is not None:
            predicted[:, 1] = self.redeem + 0.1 * rows.numeric[:, NUMERIC.index(self.by)]
        return predicted

    def contributions(
        self,
        rows: FeatureRows,
        row: int,
        head: int,
        names: Sequence[str] = (),  # noqa: ARG002
    ) -> list[tuple[str, float, float]]:
        return [("content", float(rows.numeric[row, NUMERIC.index("content")]), 0.1 + head)]


def knowledge(
    *coupons: Coupon,
    rules: Rules | None = None,
    scorer: Scorer | None = None,
    scorers: Mapping[str, Scorer] | None = None,
    campaigns: Iterable[Campaign] = (),
) -> Knowledge:
    catalogue = Catalogue(coupons, campaigns=campaigns)
    return Knowledge(rules or RULES, catalogue, scorers or {}, scorer or FixedScorer())


RULES = rules()


def priced_views(*cells: tuple[str, str, float, float]) -> ViewedPrices:
    """Views of categories and brands, with their price."""
    indexed = sorted(
        (feature_index(f"category:{c}"), feature_index(f"brand:{b}"), n, price) for c, b, n, price in cells
    )
    categories, brands, views, prices = (np.array(column) for column in zip(*indexed, strict=True))
    return ViewedPrices(categories.astype(np.uint32), brands.astype(np.uint32), views, prices, np.log2(prices))


def purses() -> SharedStates[Purse]:
    """The purses of a partition that has none yet."""
    return SharedStates({}, Purse)


def wallet(partitions: int = 1) -> Wallet:
    """The wallet of the first of so many partitions; the only one may give all there is."""
    return Wallet(purses(), 0, partitions)


def see(
    shopper: Shopper,
    event: ShopEvent,
    known: Knowledge,
    holds: Wallet | None = None,
    times: Times = ANY_TIME,
) -> Effects:
    """What an event brings about, decided on if it may lead to a coupon; without a wallet all stock is there."""
    step = take_in(event.user_id, shopper, event, known, times)
    return decided([step], known, holds or wallet())[0] if isinstance(step, Trigger) else step


def valued(
    moments: Sequence[Moment], eligible: Sequence[Positions], coupons: CouponSet, scorer: Scorer, given: Rules
) -> CandidateTable:
    """Candidates with the values that a model and rules give them."""
    return pipeline.valued(moments, eligible, coupons, "", Knowledge(given, Catalogue([]), {}, scorer))


def decided(triggers: Iterable[Effects | Trigger], known: Knowledge, holds: Wallet) -> list[Effects]:
    """What triggers bring about that are decided together, and committed one after the other; no others are left."""
    some = [one for one in triggers if isinstance(one, Trigger)]
    found = []
    for one, table in zip(some, decide(some, known), strict=True):
        found.append(commit(one, table, holds, known))
        holds.settle(found[-1].bookings, found[-1].totals)
    return found


def changes(bookings: Iterable[Booking]) -> list[tuple[int, int]]:
    """By how much each booking changes what a coupon holds, and what it has spent."""
    return [
        (after.held_minor - before.held_minor, after.spent_minor - before.spent_minor)
        for _, _, before, after, *_ in bookings
    ]


def as_read(message: Any) -> Any:
    """A message as its reader decodes it; an error where it says more than its type allows."""
    return msgspec.json.decode(msgspec.json.encode(message), type=type(message))


def restarted(state: Any) -> Any:
    """A state as its next owner reads it."""
    return msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=type(state))


@dataclass
class OwnedAccount:
    """An account with its holdings, as its owner saves them."""

    state: Account = field(default_factory=Account)
    kept: dict[str, Holding] = field(default_factory=dict)

    def take(self, said: LeaseReport, limit: Limit, partitions: int) -> list[Lease]:
        """Take in a report of a partition."""
        shared = SharedStates(self.kept, Holding)
        answers = leases.take_report(self.state, shared, said, limit, partitions)
        self.kept |= shared.changed
        return answers

    def holdings(self) -> dict[int, Holding]:
        """By partition."""
        return {int(key.rpartition(":")[2]): holding for key, holding in self.kept.items()}


def of_type(messages: list[Any], kind: type) -> list[Any]:
    return [message for message in messages if isinstance(message, kind)]


def order_values(
    moments: Sequence[Moment],
    coupons: CouponSet,
    chosen: Sequence[Positions],
    viewed_prices: ViewedPrices = NOTHING_VIEWED,
) -> Floats:
    """Expected values of an order, as a decision computes them."""
    rows = look(Interests.of(moments, coupons, ProfileRules()), chosen)
    stated = stated_values(rows)
    if not viewed_prices.views.size:
        return stated
    return at_viewed_prices(stated, moments, coupons, (rows.owner, rows.position), viewed_prices)


def log_share(share: float) -> float:
    """A share as a feature."""
    return float(np.log(share / PRIOR_SHARE)) / 3.0


def dense(coupons: CouponSet, vector: SparseVector) -> Floats:
    """A vector over the vocabulary of a set, shape (1, columns)."""
    filled = np.zeros((1, coupons.columns))
    coupons.fill(filled, [as_arrays(vector)])
    return filled
