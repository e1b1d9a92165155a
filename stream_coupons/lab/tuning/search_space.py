"""The settings that are searched for better values, their ranges, and the plan of a search.

Names are those of the settings file, dotted: `profile.half_life_s`. A name's type is that of the setting, so a range
of a whole number gives whole numbers, and both ends of every range are read as the settings themselves are.
"""

import difflib
import itertools
import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, get_args

import msgspec
import numpy as np
from msgspec import Struct

from stream_coupons.core.errors import BadConfig
from stream_coupons.core.rules import MissingPolicy
from stream_coupons.lab.recordings import not_readable
from stream_coupons.settings import Settings

DAY_S = 86400.0
DIGITS = 4
"""Significant digits of a value that is tried: what is found is short to read, and is exactly what was judged."""

Value = float | int | str | bool


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


class Range(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Numbers from `low` to `high`, both included; `log` searches their logarithms."""

    low: float
    high: float
    log: bool = False


class Choices(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
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
    "neighbourhood.min_similarity": Range(low=0.0, high=0.3),
}

TABLES = {"learning.transfer"}
"""Settings that are mappings themselves."""

NOT_SEARCHED = {
    "attribution": "it says what counts as a label: values under different labels cannot be compared",
    "kafka": "it changes nothing of what is predicted",
    "policy": "it says what is given, which the predictions on a log do not show: compare policies with `ope`",
    "secret_file": "better luck is not a better setting",
    "worker": "it changes nothing of what is predicted",
}


class SearchSpace:
    """The settings that are searched, by name in alphabetical order.

    Parameters
    ----------
    axes : mapping of str to Range or Choices
        By dotted name.
    source : str
        Where they were written, for errors.

    Raises
    ------
    BadConfig
        If a name is no setting or one that is not to be searched, or its values are not of its type.
    """

    def __init__(self, axes: Mapping[str, Axis], source: str = "the built-in space") -> None:
        if not axes:
            raise BadConfig(f"{source}: names no setting, expected one at least")
        self.axes = {name: _checked(name, axes[name], source) for name in sorted(axes)}

    def is_whole(self, name: str) -> bool:
        """Return whether this setting is a whole number."""
        return type(_DEFAULTS[name]) is int

    def settings(self, base: Settings, values: Mapping[str, Value]) -> Settings:
        """Return these settings with some values replaced."""
        tree = tree_of(base)
        for name, value in values.items():
            *sections, field = name.split(".")
            branch = tree
            for section in sections:
                branch = branch[section]
            branch[field] = value
        return msgspec.convert(tree, Settings)

    def values(self, settings: Settings) -> dict[str, Value]:
        """Return the values of these settings on the axes of this space."""
        values = leaves(tree_of(settings))
        return {name: values[name] for name in self.axes}

    def nearest(self, settings: Settings) -> dict[str, Value]:
        """Return the point of the space nearest to these settings; a value that is none of its choices is left out."""
        point: dict[str, Value] = {}
        for name, value in self.values(settings).items():
            match self.axes[name]:
                case Range(low=low, high=high):
                    point[name] = type(_DEFAULTS[name])(min(max(value, low), high))
                case Choices(choices=choices) if value in choices:
                    point[name] = value
        return point

    def rounded(self, values: Mapping[str, Value], base: Settings) -> dict[str, Value]:
        """Return values with `DIGITS` significant digits, as they are tried; those of these settings stay exact."""
        today = self.values(base)
        return {
            name: float(f"{value:.{DIGITS}g}") if type(value) is float and value != today[name] else value
            for name, value in values.items()
        }

    def grid(self, trials: int) -> list[dict[str, Value]]:
        """Return all combinations of evenly spaced values, as many of each range as `trials` allow.

        Raises
        ------
        BadConfig
            If there are more combinations than trials already with two values of each range.
        """
        points = 1
        while self._grid_size(points + 1) <= trials and self._grid_size(points + 1) > self._grid_size(points):
            points += 1
        has_range = any(isinstance(axis, Range) for axis in self.axes.values())
        if self._grid_size(points) > trials or (has_range and points < 2):
            raise BadConfig(
                f"--trials {trials}: a grid of {len(self.axes)} settings with two values of each range has "
                f"{self._grid_size(2)} points; raise it, or search fewer settings with --only"
            )
        along = [self._along(name, points) for name in self.axes]
        return [dict(zip(self.axes, point, strict=True)) for point in itertools.product(*along)]

    def _grid_size(self, points: int) -> int:
        return math.prod(len(self._along(name, points)) for name in self.axes)

    def _along(self, name: str, points: int) -> list[Value]:
        axis = self.axes[name]
        if isinstance(axis, Choices):
            return axis.choices
        spaced = (np.geomspace if axis.log else np.linspace)(axis.low, axis.high, points)
        # The ends are exact: geomspace may miss them by the last bit, and they are the bounds.
        values = np.clip(spaced, axis.low, axis.high).tolist()
        return list(dict.fromkeys(round(value) for value in values)) if self.is_whole(name) else values


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


def build(file: Path | None = None, only: Iterable[str] = ()) -> SearchSpace:
    """The built-in space, with what a file adds or replaces, or only some names of both.

    Raises
    ------
    BadConfig
    """
    axes = dict(BUILT_IN)
    source = "the built-in space"
    if file is not None:
        source = str(file)
        axes |= read(file)
    names = list(only)
    for name in names:
        if name not in axes:
            raise BadConfig(f"--only {name}: is not in the search space{_nearest(name, axes)}")
    return SearchSpace({name: axes[name] for name in names} if names else axes, source)


def read(file: Path) -> dict[str, Axis]:
    """The axes in a TOML file: `"section.field" = {low, high, log}` or `{choices}`; sections may be tables.

    Raises
    ------
    BadConfig
    """
    try:
        tree = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise not_readable(file, error) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadConfig(f"{file} is not TOML: {error}") from None
    return dict(_axes(tree, "", file))


def _axes(tree: Mapping[str, Any], prefix: str, file: Path) -> Iterable[tuple[str, Axis]]:
    for key, value in tree.items():
        name = prefix + key
        if not isinstance(value, dict):
            raise BadConfig(f"{file}: {name} = {value!r}: expected {{low, high, log}} or {{choices}}")
        if name in _SECTIONS or any(isinstance(inner, dict) for inner in value.values()):
            yield from _axes(value, name + ".", file)
            continue
        shape: type[Axis] = Choices if "choices" in value else Range
        try:
            yield name, msgspec.convert(value, shape)
        except msgspec.ValidationError as error:
            raise BadConfig(f"{file}: {name}: {error}; expected {{low, high, log}} or {{choices}}") from None


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
_SECTIONS = {name.rpartition(".")[0] for name in _DEFAULTS}
_SEARCHED = [name for name in _DEFAULTS if name.partition(".")[0] not in NOT_SEARCHED]


def _checked(name: str, axis: Axis, source: str) -> Axis:
    section = name.partition(".")[0]
    if section in NOT_SEARCHED:
        raise BadConfig(f"{source}: {name} is not searched: {NOT_SEARCHED[section]}")
    if name not in _DEFAULTS:
        raise BadConfig(f"{source}: {name}: there is no such setting{_nearest(name, _SEARCHED)}")
    match axis:
        case Choices(choices=[]):
            raise BadConfig(f"{source}: {name}: choices is empty, expected one at least")
        case Choices(choices=choices):
            return Choices(choices=[_read(name, value, source) for value in choices])
        case Range(low=low, high=high, log=log):
            if not isinstance(_DEFAULTS[name], int | float) or isinstance(_DEFAULTS[name], bool):
                raise BadConfig(f"{source}: {name} is no number, expected {{choices}}")
            if not low < high < math.inf or (log and low <= 0):
                least = "0 < low < high" if log else "low < high"
                raise BadConfig(f"{source}: {name} = {{low = {low}, high = {high}}}: expected {least}, both finite")
            ends = (_read(name, low, source), _read(name, high, source))
            return Range(low=ends[0], high=ends[1], log=log)


def _read(name: str, value: Value, source: str) -> Any:
    """One value as its setting reads it."""
    if type(_DEFAULTS[name]) is int and isinstance(value, float) and value.is_integer():
        value = int(value)  # the ends of a range come as floats
    *sections, field = name.split(".")
    tree: dict[str, Any] = {field: value}
    for section in reversed(sections):
        tree = {section: tree}
    try:
        return leaves(tree_of(msgspec.convert(tree, Settings)))[name]
    except msgspec.ValidationError as error:
        raise BadConfig(f"{source}: {name} = {value!r}: {error}") from None


def _nearest(name: str, names: Iterable[str]) -> str:
    found = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"; did you mean {found[0]}?" if found else ""
