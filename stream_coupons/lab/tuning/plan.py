"""The plan of a search for settings."""

from dataclasses import dataclass
from enum import StrEnum

import msgspec

from stream_coupons.lab.tuning.search_space import SearchSpace, Value, tree_of
from stream_coupons.settings import Settings


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


class TunedHead(StrEnum):
    """The prediction that is evaluated."""

    REDEEM = "redeem"
    CLICK = "click"


@dataclass(frozen=True, slots=True)
class SearchPlan:
    """The space and the method of a search."""

    space: SearchSpace
    base: Settings
    method: Method
    trials: int
    is_maximised: bool
    seed: int = 0

    def grid(self) -> list[dict[str, Value]]:
        """Return the points of the grid; none with another method."""
        return self.space.grid(self.trials) if self.method is Method.GRID else []

    def question(self) -> dict[str, object]:
        """Return what a trial depends on; the number of trials counts only if it makes another grid."""
        return {
            "method": self.method,
            "seed": self.seed,
            "direction": "maximize" if self.is_maximised else "minimize",
            "grid": len(self.grid()),
            "space": msgspec.to_builtins(self.space.axes),
            "settings": {
                section: values for section, values in tree_of(self.base).items() if section not in ("kafka", "worker")
            },
        }
