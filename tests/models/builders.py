"""Training examples and rows of features, drawn by seed."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from stream_coupons.core.catalogue.compiled import Floats
from stream_coupons.core.decision.scoring import HEADS
from stream_coupons.core.features.numeric import NUMERIC
from stream_coupons.core.features.rows import DIMENSIONS, HASHED, SCHEMA, FeatureRows
from stream_coupons.core.messages.learning import TrainingExample
from stream_coupons.models.inputs import Row
from stream_coupons.models.model import Model


def random_rows(seed: int, size: int) -> FeatureRows:
    """Rows with zeros, empty places and places hit twice."""
    rng = np.random.default_rng(seed)
    numeric = np.round(rng.uniform(0, 3, (size, len(NUMERIC))) * (rng.random((size, len(NUMERIC))) < 0.8), 4)
    hashed = rng.integers(0, DIMENSIONS, (size, len(HASHED)), dtype=np.uint32)
    hashed[:, :4] = rng.integers(0, 6, (size, 4))
    return FeatureRows(numeric, hashed)


def each_row(rows: FeatureRows) -> Iterator[Row]:
    return (Row(numeric, hashed) for numeric, hashed in zip(rows.numeric, rows.hashed, strict=True))


def predict(model: Model, rows: FeatureRows) -> Floats:
    """P(label) of each row, shape (n,)."""
    return np.array([model.probability(row) for row in each_row(rows)], np.float64)


def example(**about: Any) -> TrainingExample:
    """An example of a stranger who did nothing."""
    plain: dict[str, Any] = {
        "example_id": "x",
        "domain": "ecommerce",
        "head": "click",
        "label": False,
        "decided_at": 0.0,
        "at": 1.0,
        "feature_schema": SCHEMA,
        "numeric": [0.5] * len(NUMERIC),
        "hashed": list(range(1, len(HASHED) + 1)),
        "predicted": 0.1,
        "coupon_id": "c",
        "user_id": "u",
        "issue_id": "i",
        "observed": True,
    }
    return TrainingExample(**(plain | about))


def examples(seed: int, size: int, domain: str = "ecommerce") -> list[TrainingExample]:
    """Examples of all heads whose labels hang on their features."""
    rng = np.random.default_rng(seed)
    rows = random_rows(seed, size)
    return [
        example(
            example_id=f"{seed}-{n}",
            domain=domain,
            head=HEADS[n % 3],
            label=bool(rng.random() < rows.numeric[n, 0] / 3),
            at=float(n),
            numeric=rows.numeric[n].tolist(),
            hashed=rows.hashed[n].tolist(),
        )
        for n in range(size)
    ]
