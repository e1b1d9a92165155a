"""Estimate the learnable bound: boosted trees fitted on the true value of coupons for other shoppers.

The trees read the product's numeric features and which coupon it is, and are fitted on every decision of other shoppers
of the same world: with the same products, coupons and segments. No shop can know true values.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingRegressor

from stream_coupons.core.catalogue.compiled import Floats
from stream_coupons.core.decision.scoring import ValueScorer
from stream_coupons.core.features.rows import FeatureRows, Subject
from stream_coupons.settings import Settings
from stream_coupons_lab.simulation.behaviour import DAY_S
from stream_coupons_lab.simulation.shoppers import World, WorldSettings

from .direct_play import play_scorer

AT_RANDOM_RATIO = 0.3
"""Share of the recorded decisions that give any coupon, so that not only shoppers who were served well are seen."""
TREES = {
    "learning_rate": 0.12,
    "max_iter": 120,
    "max_leaf_nodes": 47,
    "min_samples_leaf": 100,
    "max_features": 0.4,
    "max_bins": 63,
    "early_stopping": False,
}

Table = NDArray[np.float32]
POSITION = -1
"""Column of the coupon's position in what `table_of` returns."""


def changed_at(world: WorldSettings) -> float:
    """Return the time at which all tastes change, UTC epoch seconds; infinite if they do not."""
    return math.inf if world.taste_drift_day is None else world.start_at + math.ceil(world.taste_drift_day) * DAY_S


def table_of(rows: FeatureRows, changed_at: float = math.inf) -> Table:
    """Return the numeric features, whether tastes have changed, and the coupon's position."""
    counts = [len(subject.positions) for subject in rows.subjects]
    changed = np.repeat([subject.at >= changed_at for subject in rows.subjects], counts)
    positions = np.concatenate([subject.positions for subject in rows.subjects])
    return np.column_stack((rows.numeric, changed, positions)).astype(np.float32)


@dataclass
class Recorder(ValueScorer):
    """Decides by the ground truth, at times at random, and keeps what every coupon was worth.

    Attributes
    ----------
    truth : callable
        Returns the true values of one moment's coupons, minor units, in the order of `subject.positions`.
    seed : int
        Seed of the random decisions.
    changed_at : float
        Time at which all tastes change, UTC epoch seconds.
    """

    truth: Callable[[Subject], Floats]
    seed: int
    changed_at: float = math.inf
    tables: list[Table] = field(default_factory=list)
    margins_minor: list[Floats] = field(default_factory=list)
    reads_features = True

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng([self.seed, 25])

    def values(self, rows: FeatureRows) -> Floats:
        """Return true values, or draws."""
        self.tables.append(table_of(rows, self.changed_at))
        return super().values(rows)

    def values_of(self, subject: Subject) -> Floats:
        """Return the true values of one moment, or draws."""
        margins = self.truth(subject)
        self.margins_minor.append(margins)
        if self._rng.random() < AT_RANDOM_RATIO:
            return np.asarray(100.0 * (1.0 + self._rng.random(len(margins))))
        return margins

    def trees(self, coupons: int) -> "CouponTrees":
        """Return trees fitted on what was recorded of this number of coupons."""
        return CouponTrees(np.concatenate(self.tables), np.concatenate(self.margins_minor), coupons, self.seed)


class Learnable(ValueScorer):
    """Gives the coupon that the trees value most."""

    reads_features = True

    def __init__(self, trees: "CouponTrees", cost_minor: float, changed_at: float = math.inf) -> None:
        self._trees = trees
        self._cost_minor = cost_minor
        self._changed_at = changed_at

    def values(self, rows: FeatureRows) -> Floats:
        """Return predicted values, less the cost of sending."""
        return self._trees.predict(table_of(rows, self._changed_at)) - self._cost_minor


class CouponTrees:
    """Boosted trees that know a coupon by its mean value, and by its position."""

    def __init__(self, table: Table, margins_minor: Floats, coupons: int, seed: int) -> None:
        positions = table[:, POSITION].astype(np.intp)
        counts = np.maximum(np.bincount(positions, minlength=coupons), 1)
        self._means = np.bincount(positions, margins_minor, coupons) / counts
        # Trees that split a coupon's mean value find what a categorical feature would, in half the time.
        self._trees = HistGradientBoostingRegressor(**TREES, random_state=seed)
        self._trees.fit(self._with_means(table), margins_minor)

    def _with_means(self, table: Table) -> Table:
        return np.column_stack((table, self._means[table[:, POSITION].astype(np.intp)])).astype(np.float32)

    def predict(self, table: Table) -> Floats:
        """Return the value of each row, minor units."""
        return np.asarray(self._trees.predict(self._with_means(table)))


def fit(world_settings: WorldSettings, settings: Settings, history_days: int = 0) -> CouponTrees:
    """Play another draw of shoppers of the world, and fit trees on what coupons were truly worth for them."""
    world = World(replace(world_settings, other_shoppers=1))

    def truth(subject: Subject) -> Floats:
        coupons = [subject.coupons.coupons[n] for n in subject.positions]
        return world.worth(subject.user_id, coupons, subject.at).margin_minor

    recorder = Recorder(truth, world_settings.seed, changed_at(world_settings))
    play_scorer("recorded", world, settings, recorder, history_days=history_days)
    return recorder.trees(world_settings.coupons)
