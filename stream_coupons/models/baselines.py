"""Models that a data scientist would try first, to be set beside ours: on the raw columns, without features of ours."""

from collections.abc import Mapping
from typing import Any

from river import compose, linear_model, preprocessing

RawRow = Mapping[str, str | float | bool | None]


def raw_features(row: RawRow) -> dict[str, float]:
    """Return numbers as they are, and 1 for each text that a column has; what is missing is left out.

    Examples
    --------
    >>> raw_features({"age": 31, "is_new": True, "city": "Bonn", "spend": None})
    {'age': 31.0, 'is_new': 1.0, 'city=Bonn': 1.0}
    """
    features: dict[str, float] = {}
    for name, value in row.items():
        if isinstance(value, str):
            features[f"{name}={value}"] = 1.0
        elif value is not None:
            features[name] = float(value)
    return features


def online_logistic() -> Any:
    """Return River's logistic regression on scaled columns with its default settings, a `river.base.Classifier`."""
    return compose.Pipeline(preprocessing.StandardScaler(), linear_model.LogisticRegression())
