"""What a search for settings is to do."""

from dataclasses import dataclass
from enum import StrEnum

import msgspec

from stream_coupons.lab.tuning.search_space import SearchSpace, Value, tree_of
from stream_coupons.settings import Settings


class Method(StrEnum):
    """How the next point is chosen: all of a grid, by chance, or by what the points before have shown."""

    GRID = "grid"
    RANDOM = "random"
    BAYES = "bayes"


class Metric(StrEnum):
    """What settings are chosen by."""

    LOG_LOSS = "log_loss"
    ROC_AUC = "roc_auc"

    @property
    def sign(self) -> int:
        """By what to multiply a difference to make it positive where the second is better."""
        return 1 if self is Metric.ROC_AUC else -1


class Head(StrEnum):
    """Which prediction is looked at."""

    REDEEM = "redeem"
    CLICK = "click"


@dataclass(frozen=True, slots=True)
class Plan:
    """What is searched, and how."""

    space: SearchSpace
    base: Settings
    method: Method
    trials: int
    is_maximised: bool
    seed: int = 0

    def grid(self) -> list[dict[str, Value]]:
        """The points of the grid; none with another method."""
        return self.space.grid(self.trials) if self.method is Method.GRID else []

    def question(self) -> dict[str, object]:
        """What a trial depends on; how many there are does not matter, unless it makes another grid."""
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
