"""The settings that are searched for better values, and their ranges.

Names are those of the settings file, dotted: `profile.half_life_s`. A name's type is that of the setting, so a range
of a whole number gives whole numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, get_args

import msgspec
import numpy as np
from msgspec import Struct

from stream_coupons.core.errors import BadConfig
from stream_coupons.core.rules import MissingPolicy
from stream_coupons.settings import Settings

if TYPE_CHECKING:  # of an optional extra
    from optuna import Trial

DAY_S = 86400.0
DIGITS = 4
"""Significant digits of a value that is tried: what is found is short to read, and is exactly what was judged."""

Value = float | int | str | bool


class Range(Struct, frozen=True, kw_only=True):
    """Numbers from `low` to `high`, both included; `log` searches their logarithms."""

    low: int | float
    high: int | float
    log: bool = False


class Choices(Struct, frozen=True, kw_only=True):
    """A few values."""

    choices: list[Value]


Axis = Range | Choices

BUILT_IN: dict[str, Axis] = {
    "learning.prior_variance": Range(low=0.05, high=20.0, log=True),
    "profile.half_life_s": Range(low=1 * DAY_S, high=180 * DAY_S, log=True),
    "profile.habit_half_life_s": Range(low=14 * DAY_S, high=730 * DAY_S, log=True),
    # Only the proportions of the three weights matter: order_weight stays, the others move.
    "profile.browse_weight": Range(low=0.1, high=10.0, log=True),
    "profile.cart_weight": Range(low=0.1, high=10.0, log=True),
    "profile.missing_price": Choices(choices=list(get_args(MissingPolicy))),
    "neighbourhood.neighbours": Range(low=5, high=100, log=True),
}

TABLES = {"learning.transfer"}
"""Settings that are mappings themselves."""


class SearchSpace:
    """The settings that are searched, by name in alphabetical order.

    Parameters
    ----------
    axes : mapping of str to Range or Choices
        By dotted name.
    """

    def __init__(self, axes: Mapping[str, Axis]) -> None:
        self.axes = {name: axes[name] for name in sorted(axes)}

    def suggest(self, trial: Trial) -> dict[str, Any]:
        """Ask the sampler of a trial for a point."""
        return {name: _suggested(trial, name, axis) for name, axis in self.axes.items()}

    def values(self, settings: Settings) -> dict[str, Value]:
        """Return the values of these settings on the axes of this space."""
        values = leaves(tree_of(settings))
        return {name: values[name] for name in self.axes}

    def inside(self, settings: Settings) -> dict[str, Value]:
        """Return those values of these settings that the search could try."""
        return {name: value for name, value in self.values(settings).items() if _holds(self.axes[name], value)}

    def grid(self, trials: int) -> dict[str, list[Value]]:
        """Return evenly spaced values by setting, with as many of each range as `trials` allow.

        Raises
        ------
        BadConfig
            If there are more combinations than trials already with two values of each range.
        """
        points = 2
        while _size(self._spaced(points)) < _size(self._spaced(points + 1)) <= trials:
            points += 1
        grid = self._spaced(points)
        if _size(grid) > trials:
            raise BadConfig(
                f"--trials {trials}: a grid of {len(self.axes)} settings with two values of each range has "
                f"{_size(grid)} points; raise it, or search fewer settings with --only"
            )
        return grid

    def _spaced(self, points: int) -> dict[str, list[Value]]:
        return {name: _along(name, axis, points) for name, axis in self.axes.items()}


def build(only: Iterable[str] = ()) -> SearchSpace:
    """Return the built-in space, or only some of its settings.

    Raises
    ------
    BadConfig
        If one of them is not in the space.
    """
    names = list(only)
    for name in names:
        if name not in BUILT_IN:
            raise BadConfig(f"--only {name}: is not in the search space: {', '.join(BUILT_IN)}")
    return SearchSpace({name: BUILT_IN[name] for name in names} if names else BUILT_IN)


def settings_with(base: Settings, values: Mapping[str, Value]) -> Settings:
    """Return these settings with some values replaced, numbers rounded to `DIGITS` significant digits."""
    tree = tree_of(base)
    for name, value in rounded(values).items():
        *sections, field = name.split(".")
        branch = tree
        for section in sections:
            branch = branch[section]
        branch[field] = value
    return msgspec.convert(tree, Settings)


def rounded(values: Mapping[str, Value]) -> dict[str, Value]:
    """Return values with `DIGITS` significant digits."""
    return {name: float(f"{v:.{DIGITS}g}") if isinstance(v, float) else v for name, v in values.items()}


def tree_of(settings: Settings) -> dict[str, Any]:
    """Settings as their file has them; sets in one order, which that of a process is not."""
    tree: dict[str, Any] = msgspec.to_builtins(settings, order="deterministic")
    return tree


def leaves(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The values of nested mappings by dotted name."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        is_branch = isinstance(value, dict) and prefix + key not in TABLES
        found.update(leaves(value, f"{prefix}{key}.") if is_branch else {prefix + key: value})
    return found


_DEFAULTS = leaves(tree_of(Settings()))


def _is_whole(name: str) -> bool:
    return type(_DEFAULTS[name]) is int


def _suggested(trial: Trial, name: str, axis: Axis) -> Any:
    match axis:
        case Choices(choices=choices):
            return trial.suggest_categorical(name, choices)
        case Range(low=low, high=high, log=log) if _is_whole(name):
            return trial.suggest_int(name, int(low), int(high), log=log)
        case Range(low=low, high=high, log=log):
            return trial.suggest_float(name, low, high, log=log)


def _holds(axis: Axis, value: Any) -> bool:
    return value in axis.choices if isinstance(axis, Choices) else axis.low <= value <= axis.high


def _along(name: str, axis: Axis, points: int) -> list[Value]:
    if isinstance(axis, Choices):
        return axis.choices
    spaced = (np.geomspace if axis.log else np.linspace)(axis.low, axis.high, points)
    # The ends are exact: geomspace may miss them by the last bit, and they are the bounds.
    values: list[Value] = np.clip(spaced, axis.low, axis.high).tolist()
    return list(dict.fromkeys(map(round, map(float, values)))) if _is_whole(name) else values


def _size(grid: Mapping[str, list[Value]]) -> int:
    return math.prod(map(len, grid.values()))
