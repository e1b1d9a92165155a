"""The options of a search: its method, and the prediction that it evaluates."""

from enum import StrEnum


class Method(StrEnum):
    """The choice of the next point: all of a grid, at random, or by the results of previous points."""

    GRID = "grid"
    RANDOM = "random"
    BAYES = "bayes"


class TunedHead(StrEnum):
    """The prediction that is evaluated."""

    REDEEM = "redeem"
    CLICK = "click"
