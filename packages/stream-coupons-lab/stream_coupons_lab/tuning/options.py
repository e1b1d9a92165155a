"""The options of a search: its method, its metric and the prediction that it evaluates."""

from enum import StrEnum


class Method(StrEnum):
    """The choice of the next point: all of a grid, at random, or by the results of previous points."""

    GRID = "grid"
    RANDOM = "random"
    BAYES = "bayes"


class Metric(StrEnum):
    """The metric that settings are chosen by."""

    LOG_LOSS = "log_loss"
    ROC_AUC = "roc_auc"

    @property
    def sign(self) -> int:
        """Factor that makes a difference positive where the second is better."""
        return 1 if self is Metric.ROC_AUC else -1

    @property
    def label(self) -> str:
        """Name in tables and reports."""
        return "ROC AUC" if self is Metric.ROC_AUC else "log loss"


class TunedHead(StrEnum):
    """The prediction that is evaluated."""

    REDEEM = "redeem"
    CLICK = "click"
