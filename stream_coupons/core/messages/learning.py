"""Messages for the learner, and the models that it publishes."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from stream_coupons.core.messages.fields import (
    MONEY,
    Amount,
    Count,
    Domain,
    EpochSeconds,
    Id,
    Label,
    LongId,
    Period,
    Ratio,
)

MAX_THINNING = 7
"""Highest level of thinning of a learner that is behind."""
MAX_PRICE_MINOR = 10**9
"""The largest price that anything is learnt from."""


class OnView(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The item on view when a decision was made."""

    category: Label
    """Category of the item."""
    brand: Label | None = None
    """Brand of the item; absent where it has none, or none is known."""
    price_minor: Annotated[int, Meta(ge=1, le=MAX_PRICE_MINOR, description=MONEY)]
    """Price of one unit."""


class TrainingExample(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Features and prediction of a decision at decision time, and its outcome when its window closed.

    `observed` states that another system gave the coupon, `withheld` that this one would have, but for the holdout.
    `seen` is known where the channel reports impressions. An example with an unseen coupon is recorded, but not learnt.
    """

    example_id: LongId
    """Identifies the example: issue and head."""
    domain: Domain
    """Domain of the coupon: the record's key."""
    head: Literal["click", "redeem", "order", "visit"]
    """The predicted outcome: a click, a redemption, an order without a coupon, or an order within the visit."""
    label: bool
    """True if the outcome happened in time."""
    decided_at: EpochSeconds
    """Time of the decision."""
    at: EpochSeconds
    """Time at which the label was final."""
    feature_schema: str
    """Name of the feature space of `numeric` and `hashed`."""
    numeric: list[float]
    """Numeric features at decision time."""
    hashed: list[int]
    """Indices of hashed features at decision time."""
    predicted: Ratio
    """Prediction at decision time."""
    propensity: Ratio | None = None
    """Probability with which the coupon was chosen, where known."""
    model_version: Count = 0
    """Version of the model that predicted."""
    coupon_id: Id
    """The coupon, or `none`; of a visit, the coupon whose scope was watched."""
    user_id: Id
    """The shopper."""
    issue_id: LongId
    """The issue, or the decision that gave no coupon."""
    observed: bool = False
    """True if another system gave the coupon."""
    withheld: bool = False
    """True if the coupon was not given, because the shopper belongs to the control group."""
    held: bool = False
    """True if the shopper held a coupon for some of the scope in the visit."""
    on_view: OnView | None = None
    """The item on view in a visit, if its category and price are known."""
    seen: bool | None = None
    """True if an impression was reported; absent where the channel does not report them."""
    ordered: bool | None = None
    """True if the shopper ordered in the coupon's scope within its window, given or not, by `order-events`; absent if
    unknown."""
    order_value_minor: Amount | None = None
    """Value of those orders within the scope, before any discount; absent if `ordered` is."""
    other_value_minor: Amount | None = None
    """Value of what the shopper ordered in the domain beside those orders, from the decision until the label was
    final, before any discount; absent if `ordered` is."""
    discount_minor: Amount = 0
    """Discount by the coupon when it was used, in time or not."""
    expected_order_minor: float = 0.0
    """Value of an order in the coupon's scope that was expected at decision time; 0 if it was not valued."""
    expected_discount_minor: float = 0.0
    """Discount on an order that uses the coupon, as expected at decision time; 0 if it was not valued."""

    @property
    def is_lesson(self) -> bool:
        """True if models learn the example: the outcome of a coupon that was never seen carries no information."""
        return self.seen is not False


class HeadQuality(Struct, frozen=True, kw_only=True):
    """Progressive (test-then-train) quality of one head since the start."""

    examples: Count
    """Labels so far, those left out by sampling included."""
    positives: Count
    """Positive labels among them."""
    log_loss: float
    """Mean log loss of the served predictions."""
    roc_auc: float | None
    """ROC AUC of the served predictions; null while undefined."""
    base_log_loss: float
    """Mean log loss of predicting the base rate so far."""


class Array(Struct, frozen=True, array_like=True):
    """A serialized array of numbers: little-endian, zlib-compressed."""

    dtype: Literal["<f8", "<f4", "<u4", "<i8"]
    """NumPy's name of the number type."""
    shape: Annotated[list[Count], Meta(max_length=4)]
    """Length of each axis."""
    data: bytes
    """The numbers, zlib-compressed, little-endian, row by row."""


class HeadState(Struct, frozen=True, kw_only=True):
    """All models of one head: the name of the champion, and the state of each part as named arrays.

    The parts are the models by name, their comparison, drift and level.
    """

    champion: str
    """Name of the model that serves."""
    parts: dict[str, dict[str, Array]]
    """Arrays by part and name."""


class LiftBrake(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Limits on a domain's coupons by the measured lift."""

    period: Period = 0
    """Number of times that the domain was braked or released so far: lift is measured anew from each."""
    given_ratio: Ratio = 1.0
    """Share of the shoppers beside the holdout who may get coupons: less than 1 while the domain is braked."""
    value_ratio: Ratio = 1.0
    """Factor of all values."""

    @property
    def is_on(self) -> bool:
        """True while the domain is braked."""
        return self.given_ratio < 1.0


class ModelSnapshot(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Serialized model of a domain: workers score with it, and the learner resumes from it."""

    domain: str
    """The domain that it scores."""
    version: Count
    """Grows with every snapshot of the domain."""
    format_version: int
    """Format of this message."""
    feature_schema: str
    """Name of the feature space."""
    features: list[str] = []
    """Names of the numeric features, in the order of their columns."""
    hashed: list[str] = []
    """Names of the first hashed features, in the order of their columns; empty in snapshots of earlier releases."""
    earlier: dict[str, list[str]] = {}
    """Names of the numeric features of the feature spaces that the models were carried over from, by feature schema."""
    river_version: str
    """Version of the River library in the learner."""
    examples: Count
    """Number of examples learnt."""
    thinning: Annotated[int, Meta(ge=0, le=MAX_THINNING)] = 0
    """Level of thinning of the examples behind `source_offset`: 0 if all are learnt."""
    source_offset: Annotated[int, Meta(ge=-1)]
    """Offset of the last record of `training-examples` that was learnt from, or left out."""
    origins: dict[str, tuple[int, int]] = {}
    """The last origin learnt from, by partition of the producers."""
    at: EpochSeconds
    """Time of the last example."""
    heads: dict[str, HeadState]
    """The models by head."""
    viewed_prices: dict[str, Array] = {}
    """Prices that visitors look at, as named arrays."""
    incremental: dict[str, Array] = {}
    """Model of the orders that coupons add, as named arrays."""
    quality: dict[str, HeadQuality] = {}
    """Progressive quality by head."""
    brake: LiftBrake = LiftBrake()
    """Limits on the coupons of the domain by the measured lift."""
    checksum: int
    """CRC-32 of all arrays."""
    writer: str = ""
    """Membership in which the learner owned the models; empty in snapshots of earlier releases."""

    @property
    def series(self) -> str:
        """Key of the topic: the domain, the feature schema, the format and the writer.

        A release with another feature schema or format therefore keeps the last model of the previous release, which
        resumes from it after a rollback. A learner that was stopped amid a publication appends the rest when it wakes:
        compaction then keeps the snapshots of its successor, too.
        """
        return f"{self.domain} {self.feature_schema} {self.format_version} {self.writer}".rstrip()
