"""The messages of every topic, as types.

Each is a `msgspec.Struct`: the JSON on the wire, the validation and the JSON Schema in `schemas/`
all come from it.
Evolution is additive: new fields get a default, unknown fields are ignored, `schema_version` stays.
Anything may be missing from an event but its ids and its time.
"""

from typing import Annotated, Literal, NewType

from msgspec import Meta, Struct

from stream_coupons.core.vector_form import MAX_NUMBERS, check_vector

SCHEMA_VERSION = 1

UserId = NewType("UserId", str)
CouponId = NewType("CouponId", str)
IssueId = NewType("IssueId", str)

Id = Annotated[str, Meta(min_length=1, max_length=200)]
LongId = Annotated[str, Meta(min_length=1, max_length=256)]
"""One made of others: of a trigger and the coupon that was not given for it, or of an issue and a head. The longest has
33 + 1 + 200 + 6 characters."""
Label = Annotated[str, Meta(max_length=200)]
Domain = Annotated[str, Meta(min_length=1, max_length=64)]
END_OF_TIME = 4_102_444_800.0
"""The start of the year 2100, UTC epoch seconds: no time is later."""
EpochSeconds = Annotated[float, Meta(ge=0, le=int(END_OF_TIME), description="UTC epoch seconds")]
MONEY = "money in minor units (cents), written as a whole number: 899, not 899.0"
Minor = Annotated[int, Meta(ge=-(2**53), le=2**53, description=MONEY)]
Amount = Annotated[int, Meta(ge=0, le=2**53, description=MONEY)]
Ratio = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=0, le=2**53)]
Text = Annotated[str, Meta(max_length=500)]
"""A value that names one of several. It is kept with open proposals and stands as it is in the reasons of issues: what
is meant to be read has no place there."""
Base64 = Annotated[
    bytes,
    Meta(extra_json_schema={"pattern": "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"}),
]
Context = dict[Annotated[str, Meta(min_length=1, max_length=64)], Text | float | bool | None]
MAX_ARMS = 100
MAX_SCOPE = 10_000
"""Pairs of a category and a brand that one coupon may name: they are written out, and a record of 46 kB could name nine
million."""
MAX_ALTERNATIVES = 100
"""Coupons that one proposal names."""
MAX_WEIGHT = 1e6
"""Of one entry of a sparse vector, and of a sum of such."""
MAX_WINDOW_S = 366 * 86400.0
"""How long a coupon can be used: for as long its issue is part of a shopper's state, and written with every event."""
NO_COUPON = "none"
"""The arm that gives nothing: where an issue or an example has this for its coupon_id, no coupon was given."""


class Item(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing looked at, put in a cart or ordered."""

    item_id: Id
    category: Label | None = None
    brand: Label | None = None
    price_minor: Amount | None = None
    quantity: Annotated[float, Meta(gt=0, le=1e6)] | None = None


class Envelope(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What every input event carries; `event_id` makes it idempotent."""

    event_id: Id
    user_id: Id
    occurred_at: EpochSeconds
    schema_version: int = SCHEMA_VERSION
    domain: Domain = "ecommerce"


class BrowseEvent(Envelope, frozen=True, kw_only=True, omit_defaults=True):
    """A shopper looked at an item."""

    item: Item | None = None
    context: Context = {}


class CartEvent(Envelope, frozen=True, kw_only=True, omit_defaults=True):
    """A shopper put an item into the cart, or took it out."""

    item: Item
    action: Literal["add", "remove"] = "add"
    context: Context = {}


class OrderEvent(Envelope, frozen=True, kw_only=True, omit_defaults=True):
    """A shopper ordered; `discount_minor` is what coupons, whoever gave them, took off.

    Only `event_id` is remembered: an order that is sent again with another one counts twice, whatever its `order_id`.
    """

    order_id: Id
    items: Annotated[list[Item], Meta(max_length=1000)] = []
    total_minor: Amount | None = None
    discount_minor: Amount | None = None
    context: Context = {}


class FeedbackEvent(Envelope, frozen=True, kw_only=True, omit_defaults=True):
    """What a shopper did with a coupon that was issued to them.

    `expiry` says that a coupon which another system gave can no longer be used; those of ours end by themselves.
    """

    issue_id: Id
    kind: Literal["impression", "click", "purchase", "expiry"]
    coupon_id: Id | None = None
    discount_minor: Amount | None = None
    order_value_minor: Amount | None = None


class ObservedIssue(Envelope, frozen=True, kw_only=True, omit_defaults=True):
    """A coupon that another system gave: scored and learnt from, never issued again.

    The coupon_id `none` says that it gave nothing, and that a purchase by `expires_at` was made without a coupon.
    `arms` are the coupons that it chose among: if all are for the same, so is that purchase. An issue ends at most 366
    days after it was given.
    """

    issue_id: Id
    coupon_id: Id
    expires_at: EpochSeconds
    propensity: Ratio | None = None
    arms: Annotated[list[Id], Meta(max_length=MAX_ARMS)] = []
    context: Context = {}


class ErasureRequest(Envelope, frozen=True, kw_only=True, omit_defaults=True):
    """A shopper is to be forgotten, in all domains: events up to `occurred_at` say nothing of them any more.

    Coupons that are open stay good, and their money held, until their time is over.
    """


def window_fault(occurred_at: float, expires_at: float) -> str | None:
    """What is wrong with an issue that is open for longer than a coupon of ours can be; no schema can say that."""
    if expires_at <= occurred_at + MAX_WINDOW_S:
        return None
    days, most = (expires_at - occurred_at) / 86400, MAX_WINDOW_S / 86400
    return f"expires_at is {days:.1f} days after occurred_at, expected at most {most:.0f}"


class Tick(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The passing of time in one partition: closes windows, expires proposals."""

    at: EpochSeconds


class Coupon(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A coupon of the catalogue: what it is for, what it gives, what it may cost.

    `attributes` are whatever else is known of it; `vector` is its content as a model of texts or images sees it,
    `description` a text to make one from. No coupon is called `none`: that is the arm that gives nothing. The number of
    categories times that of brands is at most 10,000.
    """

    coupon_id: Id
    domain: Domain = "ecommerce"
    title: Label = ""
    kind: Label = ""
    categories: list[Label] = []
    brands: list[Label] = []
    items: list[Id] = []
    discount_percent: Annotated[float, Meta(gt=0, le=100)] | None = None
    discount_minor: Amount | None = None
    max_discount_minor: Annotated[int, Meta(gt=0, le=2**53, description="what one redemption can cost at most")]
    typical_price_minor: Amount | None = None
    margin_ratio: Ratio = 0.3
    valid_from: EpochSeconds = 0.0
    valid_until: EpochSeconds = END_OF_TIME
    redeem_within_s: Annotated[float, Meta(gt=0, le=int(MAX_WINDOW_S))] = 7 * 86400.0
    stock: Count | None = None
    budget_minor: Amount | None = None
    max_per_user: Count | None = None
    pacing: Literal["none", "even"] = "none"
    attributes: Context = {}
    description: Annotated[str, Meta(max_length=10_000)] = ""
    vector: Annotated[list[float], Meta(min_length=1, max_length=MAX_NUMBERS)] | None = None

    def __post_init__(self) -> None:
        if self.coupon_id == NO_COUPON:
            raise ValueError(f"coupon_id {NO_COUPON!r} stands for giving no coupon, expected another one")
        if len(self.categories) * len(self.brands) > MAX_SCOPE:
            named = f"{len(self.categories)} categories times {len(self.brands)} brands"
            raise ValueError(f"{named}, expected at most {MAX_SCOPE} pairs")
        if self.vector is not None:
            check_vector(self.vector)


class UserVector(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A shopper's interests as a sparse vector, for the owner of a cell; empty: the shopper moved away."""

    user_id: Id
    cell: Id
    at: EpochSeconds
    indices: list[int]
    weights: list[float]

    def __post_init__(self) -> None:
        _check_sparse(self.indices, self.weights)

    @property
    def has_left(self) -> bool:
        """Whether it says that the shopper moved away."""
        return not self.indices


def _check_sparse(indices: list[int], weights: list[float]) -> None:
    if len(indices) != len(weights):
        raise ValueError(f"{len(indices)} indices but {len(weights)} weights")
    # Both are kept in 32 bits, in which a weight may be infinite; damped ones are far below.
    if indices and not 0 <= min(indices) <= max(indices) < 2**32:
        raise ValueError(f"indices are {min(indices)} to {max(indices)}, expected 32 bits without a sign")
    if weights and not -MAX_WEIGHT <= min(weights) <= max(weights) <= MAX_WEIGHT:
        raise ValueError(f"weights are {min(weights)} to {max(weights)}, expected -1e6 to 1e6")


class Neighbour(Struct, frozen=True, array_like=True):
    """A near shopper and how near."""

    user_id: Id
    similarity: float


class NeighbourUpdate(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A shopper's nearest neighbours and the sum of their vectors, each times its similarity.

    R(u, i) = sum_j sim(u, j) c(j, i) is linear in j's vector, so the sum is all that scoring needs.
    """

    user_id: Id
    cell: Id
    at: EpochSeconds
    neighbours: list[Neighbour]
    indices: list[int]
    weights: list[float]

    def __post_init__(self) -> None:
        _check_sparse(self.indices, self.weights)


class Alternative(Struct, frozen=True, array_like=True):
    """A coupon that would do, and what one redemption can cost at most."""

    coupon_id: Id
    amount_minor: Amount


class Proposal(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A wish to issue a coupon, asked of the owner of its stock; ranked alternatives ride along."""

    proposal_id: Id
    user_id: Id
    at: EpochSeconds
    expires_at: EpochSeconds
    alternatives: Annotated[list[Alternative], Meta(min_length=1, max_length=MAX_ALTERNATIVES)]
    rank: Count = 0

    def __post_init__(self) -> None:
        if self.rank >= len(self.alternatives):
            raise ValueError(f"rank {self.rank} of {len(self.alternatives)} alternatives")

    @property
    def coupon_id(self) -> str:
        """The coupon asked for now: the key of the topic."""
        return self.alternatives[self.rank].coupon_id


class Reservation(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The answer: one unit and its money are held for the proposal of this identity and time, or none could be."""

    proposal_id: Id
    user_id: Id
    at: EpochSeconds
    granted: bool
    coupon_id: Id
    amount_minor: Amount = 0


class Settlement(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of a reservation: confirmed, released, redeemed or expired."""

    proposal_id: Id
    coupon_id: Id
    at: EpochSeconds
    outcome: Literal["confirmed", "released", "redeemed", "expired"]
    held_minor: Amount
    spent_minor: Amount = 0


class Reason(Struct, frozen=True, array_like=True):
    """One contribution to a score: the feature, its value, what it added to the log-odds."""

    feature: str
    value: float
    contribution: float


class CouponIssue(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """THE OUTPUT: give this shopper this coupon. Deduplicate on `issue_id`."""

    issue_id: Id
    user_id: Id
    coupon_id: Id
    domain: str
    issued_at: EpochSeconds
    expires_at: EpochSeconds
    trigger_id: Id
    schema_version: int = SCHEMA_VERSION
    title: Label = ""
    discount_percent: float | None = None
    discount_minor: Amount | None = None
    max_discount_minor: Amount
    p_click: Ratio
    p_redeem: Ratio
    p_order: Ratio
    value_minor: float
    propensity: Ratio
    model_version: Count
    reasons: list[Reason] = []


class TrainingExample(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was known when a decision was made, and what had come of it when its window closed.

    `observed` says that another system gave the coupon; `withheld` that ours would have, but for the holdout. `seen` is
    known where the channel reports impressions: one that was never seen is on record here, and nobody learns from it.
    `feature_schema` names what `numeric` and `hashed` mean; empty: a version kept them that did not say so.
    """

    example_id: LongId
    domain: Domain
    head: Literal["click", "redeem", "order"]
    label: bool
    decided_at: EpochSeconds
    at: EpochSeconds
    feature_schema: str
    numeric: list[float]
    hashed: list[int]
    predicted: Ratio
    propensity: Ratio | None = None
    model_version: Count = 0
    coupon_id: Id
    user_id: Id
    issue_id: LongId
    observed: bool = False
    withheld: bool = False
    seen: bool | None = None

    @property
    def is_lesson(self) -> bool:
        """Whether its label says something: silence on a coupon that was never seen does not."""
        return self.seen is not False


class OpenDecision(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A decision whose label has not come, and what has come of it by now: clicks and purchases that came in time.

    What comes until `until` counts; the label is due at `label_at`, when what was on its way has come, too. The first
    message of a decision has its features: numbers and places as little-endian bytes of 32 bits each. Those that follow
    say what has come since, or that it is over before its time.
    """

    issue_id: LongId
    domain: Domain
    coupon_id: Id
    at: EpochSeconds
    decided_at: EpochSeconds
    until: EpochSeconds
    label_at: EpochSeconds
    clicked: bool = False
    redeemed: bool = False
    is_over: bool = False
    feature_schema: str = ""
    numeric: Base64 = b""
    hashed: Base64 = b""

    @property
    def is_first(self) -> bool:
        """Whether it is the first message of its decision."""
        return bool(self.numeric)


class HeadQuality(Struct, frozen=True, kw_only=True):
    """Progressive (test-then-train) quality of one head since the start."""

    examples: Count
    positives: Count
    log_loss: float
    roc_auc: float | None
    base_log_loss: float


class Array(Struct, frozen=True, array_like=True):
    """An array of numbers as data: little-endian, zlib-compressed."""

    dtype: Literal["<f8", "<f4", "<u4", "<i8"]
    shape: Annotated[list[Count], Meta(max_length=4)]
    data: bytes


class HeadState(Struct, frozen=True, kw_only=True):
    """All models of one head: which of them serves, and the state of each part as named arrays.

    The parts are the models by name, and what stands beside them: how they compare, calibration and drift.
    """

    champion: str
    parts: dict[str, dict[str, Array]]


class ModelSnapshot(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The model of a domain as data: what workers score with and what the learner resumes from."""

    domain: str
    version: Count
    format_version: int
    feature_schema: str
    river_version: str
    examples: Count
    source_offset: Annotated[int, Meta(ge=-1)]
    origins: dict[str, tuple[int, int]] = {}
    at: EpochSeconds
    heads: dict[str, HeadState]
    early: dict[str, dict[str, Array]] = {}
    """What has come by now of decisions to give a coupon, and of those to give none, as named arrays."""
    quality: dict[str, HeadQuality] = {}
    checksum: int
    early_checksum: int = 0
    open_offset: Annotated[int, Meta(ge=-1)] = -1
    """Of the last record of `open-decisions` that is known."""

    @property
    def series(self) -> str:
        """The domain, and what programs can read it: the key of the topic.

        So a release with other features, or another format, leaves the last model of the one before, which goes on from
        it if the release is rolled back.
        """
        return f"{self.domain} {self.feature_schema} {self.format_version}"
