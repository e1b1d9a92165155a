"""Recordings of every decision moment of a simulated world, with the true worth of each coupon that could be given.

The world is played once. Some decisions, drawn by chance, give a coupon; none is missed for a frequency cap. Policies
are then replayed on the recording: in seconds, and all on the same moments. What a replayed policy gives does not
change later moments: fatigue and boredom are those of the recording.
"""

from dataclasses import dataclass, fields
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.catalogue.compiled import Floats
from stream_coupons.core.decision.scoring import ValueScorer
from stream_coupons.core.features.rows import Subject
from stream_coupons.settings import Settings
from stream_coupons_lab.simulation.behaviour import DAY_S
from stream_coupons_lab.simulation.shoppers import World

from .direct_play import play_scorer
from .money_runs import Configuration, key_of

RECORDING = "recording"
"""Name of a recording in `key_of`."""
GIVEN_RATIO = 0.25
"""Share of the recorded decisions that give a coupon: one or two to a shopper and week."""
NO_CAP = 1_000_000

Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Moments:
    """D decision moments in order of time; moment d has the R candidates `starts[d]` to `starts[d + 1]`.

    Attributes
    ----------
    day : array, shape (D,)
        Days since the start of the world.
    shopper : array of int, shape (D,)
        Index of the shopper.
    starts : array of int, shape (D + 1,)
        The first row of each moment, and the number of rows.
    position : array of int, shape (R,)
        Position of the candidate in the catalogue.
    margin_minor, discount_minor, redeems : array, shape (R,)
        Expected incremental margin, expected discount and P(redeem) of the candidate: ground truth.
    """

    day: Floats
    shopper: Integers
    starts: Integers
    position: Integers
    margin_minor: Floats
    discount_minor: Floats
    redeems: Floats

    def dense(self, column: Floats, missing: float, coupons: int) -> Floats:
        """Return a column as an array of shape (D, coupons), with `missing` where a coupon is no candidate."""
        table = np.full((len(self.day), coupons), missing)
        table[np.repeat(np.arange(len(self.day)), np.diff(self.starts)), self.position] = column
        return table


class Recorder(ValueScorer):
    """Gives any coupon at some moments, and keeps the true worth of all candidates."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._starts_at = world.now
        self._index = {user_id: n for n, user_id in enumerate(world.user_ids)}
        self._rng = np.random.default_rng([world.settings.seed, 26])
        self._moments: list[tuple[float, int, int]] = []
        self._candidates: list[tuple[NDArray[np.intp], Floats, Floats, Floats]] = []

    def values_of(self, subject: Subject) -> Floats:
        """Return draws where a coupon is given, else values below that of giving none."""
        coupons = [subject.coupons.coupons[n] for n in subject.positions]
        worth = self._world.worth(subject.user_id, coupons, subject.at)
        day = (subject.at - self._starts_at) / DAY_S
        self._moments.append((day, self._index[subject.user_id], len(coupons)))
        self._candidates.append((subject.positions, worth.margin_minor, worth.discount_minor, worth.redeems))
        if self._rng.random() < GIVEN_RATIO:
            return np.asarray(100.0 * (1.0 + self._rng.random(len(coupons))))
        return np.full(len(coupons), -1.0)

    def moments(self) -> Moments:
        """Return what was recorded."""
        day, shopper, count = (np.array(column) for column in zip(*self._moments, strict=True))
        starts = np.concatenate(([0], np.cumsum(count)))
        position, margin, discount, redeems = (np.concatenate(column) for column in zip(*self._candidates, strict=True))
        return Moments(day, shopper, starts, position.astype(np.int64), margin, discount, redeems)


def record(configuration: Configuration, seed: int, settings: Settings, folder: Path) -> Moments:
    """Return the moments of a world, from a file of the folder if it was recorded by this code and these settings.

    The holdout is left out: all shoppers may get coupons.
    """
    world, rules = configuration.settings(seed), settings.policy
    name = f"{configuration.world}-{world.shoppers}-{world.days}-{configuration.drift}-{seed}"
    path = folder / f"moments-{name}-{key_of(RECORDING, settings)}.npz"
    if path.exists():
        with np.load(path) as kept:
            return Moments(**{field.name: kept[field.name] for field in fields(Moments)})
    rules = msgspec.structs.replace(
        rules, holdout_ratio=0.0, exploration_ratio=0.0, control_ratio=0.0, max_issues_per_window=NO_CAP
    )
    recorder = Recorder(played := World(world))
    play_scorer(RECORDING, played, msgspec.structs.replace(settings, policy=rules), recorder)
    moments = recorder.moments()
    folder.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{seed}.part")
    with partial.open("wb") as file:
        np.savez_compressed(file, **{field.name: getattr(moments, field.name) for field in fields(Moments)})
    partial.replace(path)
    return moments
