"""Settings of the learner: its models, their learning rates, and the promotion of champions."""

from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct, field

from stream_coupons.core import plugins
from stream_coupons.core.rules import NonNegative, Positive, Size

Domain = Annotated[str, Meta(min_length=1, max_length=64)]
RESERVED = frozenset({"comparison", "drift", "level"})
"""Names of the parts of a head's snapshot that are not models."""


class ModelName(StrEnum):
    """Names of the engine's models in settings, snapshots and metrics: they compile to arrays."""

    KALMAN = "kalman"


class LearningRules(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Rules of learning, and of the choice of the champion."""

    models: Annotated[list[str], Meta(min_length=1)] = field(default_factory=lambda: [ModelName.KALMAN])
    pinned: str = ""
    prior_variance: Positive = 1.0
    comparison_half_life: Size = 5000
    promotion_margin_ratio: NonNegative = 0.01
    promotion_min_examples: Size = 1000
    transfer: dict[Domain, Domain] = {}

    def __post_init__(self) -> None:
        for text in self.models:
            check_model(text)
        if self.pinned and self.pinned not in self.models:
            raise ValueError(f"pinned is {self.pinned!r}: expected one of models ({', '.join(self.models)})")
        for domain in self.transfer:
            self._check_chain(domain)

    @property
    def imported(self) -> list[str]:
        """The models that other packages provide."""
        return [name for name in self.models if name not in {*ModelName}]

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
        """The model that serves before the first comparison: the pinned one, or the first one."""
        return self.pinned or self.models[0]


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
