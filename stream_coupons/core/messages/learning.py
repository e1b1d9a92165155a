"""What the learner is told, and the models that it publishes."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from stream_coupons.core.messages.fields import Amount, Base64, Count, Domain, EpochSeconds, Id, LongId, Ratio


class TrainingExample(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was known when a decision was made, and what had come of it when its window closed.

    `observed` says that another system gave the coupon; `withheld` that ours would have, but for the holdout. `seen` is
    known where the channel reports impressions: one that was never seen is on record here, and nobody learns from it.
    """

    example_id: LongId
    """Identifies the example: issue and head."""
    domain: Domain
    """Domain of the coupon: the record's key."""
    head: Literal["click", "redeem", "order"]
    """What is predicted: a click, a redemption, or an order without a coupon."""
    label: bool
    """Whether it happened in time."""
    decided_at: EpochSeconds
    """Time of the decision."""
    at: EpochSeconds
    """When the label was final."""
    feature_schema: str
    """Names what `numeric` and `hashed` mean."""
    numeric: list[float]
    """Numeric features at decision time."""
    hashed: list[int]
    """Indices of hashed features at decision time."""
    predicted: Ratio
    """What was predicted then."""
    propensity: Ratio | None = None
    """Probability with which the coupon was chosen, where known."""
    model_version: Count = 0
    """Version of the model that predicted."""
    coupon_id: Id
    """The coupon, or `none`."""
    user_id: Id
    """The shopper."""
    issue_id: LongId
    """The issue, or the decision that none was given in."""
    observed: bool = False
    """Another system gave the coupon."""
    withheld: bool = False
    """The coupon was not given, because the shopper belongs to the control group."""
    seen: bool | None = None
    """Whether an impression was reported, where the channel reports them."""
    ordered: bool | None = None
    """The shopper ordered in the coupon's scope within its window, given or not, by `order-events`; absent if that is
    not known."""
    order_value_minor: Amount | None = None
    """Value of all that was ordered so, before any discount; absent if `ordered` is."""
    discount_minor: Amount = 0
    """What the coupon took off when it was used, whether in time or not."""

    @property
    def is_lesson(self) -> bool:
        """Return whether a model learns from it: silence on a coupon that was never seen says nothing."""
        return self.seen is not False


class OpenDecision(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A decision whose label has not come, and what has come of it by now: clicks and purchases that came in time.

    What comes until `until` counts; the label is due at `label_at`, when what was on its way has come, too. The first
    message of a decision has its features: numbers and places as little-endian bytes of 32 bits each. Those that follow
    say what has come since, or that it is over before its time.
    """

    issue_id: LongId
    """The issue, or the decision that none was given in."""
    domain: Domain
    """Domain of the coupon: the record's key."""
    coupon_id: Id
    """The coupon, or `none`."""
    at: EpochSeconds
    """Time of this message."""
    decided_at: EpochSeconds
    """Time of the decision."""
    until: EpochSeconds
    """What happens until then counts."""
    label_at: EpochSeconds
    """When the label is final."""
    clicked: bool = False
    """A click came in time."""
    redeemed: bool = False
    """A purchase came in time."""
    is_over: bool = False
    """It is settled before its time."""
    feature_schema: str = ""
    """Names what `numeric` and `hashed` mean; in the first message only."""
    numeric: Base64 = b""
    """Numeric features, base64 of little-endian 32-bit floats; in the first message only."""
    hashed: Base64 = b""
    """Indices of hashed features, base64 of little-endian 32-bit integers; in the first message only."""

    @property
    def is_first(self) -> bool:
        """Return whether it is the first message of its decision."""
        return bool(self.numeric)


class HeadQuality(Struct, frozen=True, kw_only=True):
    """Progressive (test-then-train) quality of one head since the start."""

    examples: Count
    """Labels so far."""
    positives: Count
    """Positive labels among them."""
    log_loss: float
    """Mean log loss of the served predictions."""
    roc_auc: float | None
    """ROC AUC of the served predictions; null while undefined."""
    base_log_loss: float
    """Mean log loss of predicting the base rate so far."""


class Array(Struct, frozen=True, array_like=True):
    """An array of numbers as data: little-endian, zlib-compressed."""

    dtype: Literal["<f8", "<f4", "<u4", "<i8"]
    """NumPy's name of the number type."""
    shape: Annotated[list[Count], Meta(max_length=4)]
    """Length of each axis."""
    data: bytes
    """The numbers, zlib-compressed, little-endian, row by row."""


class HeadState(Struct, frozen=True, kw_only=True):
    """All models of one head: which of them serves, and the state of each part as named arrays.

    The parts are the models by name, and what stands beside them: how they compare, calibration and drift.
    """

    champion: str
    """The model that serves."""
    parts: dict[str, dict[str, Array]]
    """Arrays by part and name."""


class ModelSnapshot(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The model of a domain as data: what workers score with and what the learner resumes from."""

    domain: str
    """The domain that it scores."""
    version: Count
    """Grows with every snapshot of the domain."""
    format_version: int
    """Format of this message."""
    feature_schema: str
    """Names what the features mean."""
    river_version: str
    """Version of the library that learnt it."""
    examples: Count
    """Examples learnt."""
    source_offset: Annotated[int, Meta(ge=-1)]
    """Offset of the last record of `training-examples` that was learnt from."""
    origins: dict[str, tuple[int, int]] = {}
    """By partition of the senders, the last origin learnt from."""
    at: EpochSeconds
    """Time of the last example."""
    heads: dict[str, HeadState]
    """The models by head."""
    early: dict[str, dict[str, Array]] = {}
    """Outcomes so far of open decisions, with and without a coupon, as named arrays."""
    quality: dict[str, HeadQuality] = {}
    """Progressive quality by head."""
    checksum: int
    """CRC-32 of the arrays of `heads`."""
    early_checksum: int = 0
    """CRC-32 of the arrays of `early`."""
    open_offset: Annotated[int, Meta(ge=-1)] = -1
    """Offset of the last record of `open-decisions` that was read."""

    @property
    def series(self) -> str:
        """Return the key of the topic: the domain, the feature schema and the format.

        So a release with other features, or another format, leaves the last model of the one before, which goes on from
        it if the release is rolled back.
        """
        return f"{self.domain} {self.feature_schema} {self.format_version}"
