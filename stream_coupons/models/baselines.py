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


class OnlineLogistic:
    """River's logistic regression on scaled columns with its default settings; test, then train."""

    def __init__(self) -> None:
        self._model: Any = compose.Pipeline(preprocessing.StandardScaler(), linear_model.LogisticRegression())

    def predict(self, features: Mapping[str, float]) -> float:
        """Return the probability; 0.5 before the first example."""
        return float(self._model.predict_proba_one(dict(features)).get(True, 0.5))

    def learn(self, features: Mapping[str, float], label: bool) -> None:
        """Take one step."""
        self._model.learn_one(dict(features), label)
