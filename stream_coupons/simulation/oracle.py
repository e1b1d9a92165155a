"""A scorer that knows the simulation's truth: how well any model could do there."""

from collections.abc import Sequence

import numpy as np

from stream_coupons.core.coupons import Floats
from stream_coupons.core.features import FeatureRows
from stream_coupons.simulation.shoppers import World


class OracleScorer:
    """Predicts the true probabilities of a world at its present moment."""

    version = 0

    def __init__(self, world: World) -> None:
        self._world = world

    def predict(self, rows: FeatureRows) -> Floats:
        """The truth, shape (n, 3)."""
        if len(rows) and not rows.subjects:
            raise ValueError("rows without a subject: an oracle has to be told whom they are about")
        truths = [
            self._world.truths(subject.user_id, [subject.coupons.coupons[n] for n in subject.positions], subject.at)
            for subject in rows.subjects
        ]
        return np.concatenate(truths)

    def contributions(
        self,
        rows: FeatureRows,  # noqa: ARG002
        row: int,  # noqa: ARG002
        head: int,  # noqa: ARG002
        names: Sequence[str] = (),  # noqa: ARG002
    ) -> list[tuple[str, float, float]]:
        """Nothing: the truth has no weights."""
        return []
