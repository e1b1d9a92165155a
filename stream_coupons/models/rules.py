"""Settings of the learner: its models, their learning rates, and the promotion of champions."""

from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct, field

from stream_coupons.core import plugins
from stream_coupons.core.rules import NonNegative, Positive, Size

Share = Annotated[float, Meta(gt=0, le=1)]
MAX_RATES = 8
Domain = Annotated[str, Meta(min_length=1, max_length=64)]
RESERVED = frozenset({"comparison", "calibration", "drift", "level"})
"""Names of the parts of a head's snapshot that are not models."""


class ModelName(StrEnum):
    """Names of the models in settings, snapshots and metrics."""

    KALMAN = "kalman"
    ADAGRAD = "adagrad"
    NEURAL = "neural"
    DEEP = "deep"


COMPILED = frozenset({ModelName.KALMAN, ModelName.ADAGRAD})
"""Models that compile to arrays."""
CHALLENGERS = frozenset({ModelName.NEURAL, ModelName.DEEP})
"""Models that cannot be champion."""


class LearningRules(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Rules of learning, and of the choice of the champion."""

    models: list[str] = field(default_factory=lambda: [ModelName.KALMAN, ModelName.ADAGRAD])
    pinned: str = ""
    prior_variance: Positive = 1.0
    learning_rate: Positive = 0.05
    l2: NonNegative = 1e-6
    forgetting_rates: Annotated[list[Share], Meta(min_length=1, max_length=MAX_RATES)] = field(
        default_factory=lambda: [1.0]
    )
    calibrate: bool = False
    comparison_half_life: Size = 5000
    promotion_margin_ratio: NonNegative = 0.01
    promotion_min_examples: Size = 1000
    transfer: dict[Domain, Domain] = {}

    def __post_init__(self) -> None:
        for text in self.models:
            check_model(text)
        able = self.able
        if not able:
            raise ValueError(f"models: one of them must be able to serve, as {', '.join(sorted(COMPILED))} are")
        if self.pinned and self.pinned not in able:
            raise ValueError(
                f"pinned is {self.pinned!r}: expected one of models that is able to serve ({', '.join(able)})"
            )
        for domain in self.transfer:
            self._check_chain(domain)

    @property
    def imported(self) -> list[str]:
        """The models that other packages provide."""
        return [name for name in self.models if name not in {*ModelName}]

    @property
    def able(self) -> list[str]:
        """The models that can be champion."""
        return [name for name in self.models if name not in CHALLENGERS]

    def _check_chain(self, domain: str) -> None:
        chain = [domain]
        while (source := self.transfer.get(chain[-1])) is not None:
            chain.append(source)
            if chain.count(source) > 1:
                raise ValueError(
                    f"transfer: {' starts from '.join(map(repr, chain))}: expected no domain that leads back to itself"
                )

    @property
    def first_champion(self) -> str:
        """The model that serves before the first comparison: the pinned one, or the first one that can serve."""
        return self.pinned or self.able[0]


def check_model(text: str) -> None:
    """Refuse an entry of `learning.models` that names no model.

    Raises
    ------
    ValueError
    """
    if text in {*ModelName}:
        return
    try:
        plugins.point_of(text, plugins.MODELS, ModelName)
    except ValueError as error:
        raise ValueError(f"models: {error}") from None
    if text in RESERVED:
        raise ValueError(f"models: {text!r} names a part of a snapshot, expected another name for the entry point")
