"""The result of a search for settings: the figures, the verdict, and the settings as a file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from stream_coupons.lab.tuning.objective import Comparison
from stream_coupons.lab.tuning.plan import Method, Metric, TunedHead
from stream_coupons.lab.tuning.search_space import Value, leaves, tree_of
from stream_coupons.settings import Settings


class Tuned(Struct, frozen=True, kw_only=True):
    """The result. In `searched` and `held_out`, `first` is the settings used today and `second` those found.

    `searched` are the issues whose outcome was known before `split_at`: by them the settings were chosen. `held_out`
    are the issues from then on.
    """

    log: Path
    method: Method
    metric: Metric
    head: TunedHead
    seed: int
    trials: int
    given_up: int
    failed: int
    best_trial: int
    best_quality: float
    used_today: dict[str, Value]
    found: dict[str, Value]
    split_at: float
    searched: Comparison
    held_out: Comparison
    is_better: bool
    written: Path | None


def verdict(tuned: Tuned) -> str:
    """Return the verdict of the comparison on the later part, and the action taken."""
    if tuned.is_better:
        text = "better than the settings used today"
    elif tuned.held_out.gain.value > 0:
        text = "not shown to be better than the settings used today: the interval reaches below zero"
    else:
        text = "no better than the settings used today"
    if tuned.written is not None:
        return f"{text}; written to {tuned.written}"
    return text if tuned.is_better else f"{text}; nothing is written"


def settings_file(found: Mapping[str, Value], base: Settings) -> str:
    """Return the settings found as TOML, with all values of `base` that are not the default."""
    import tomli_w  # of an optional extra

    defaults = leaves(tree_of(Settings()))
    kept = {name: value for name, value in leaves(tree_of(base)).items() if value != defaults[name]}
    tree: dict[str, Any] = {}
    for name, value in sorted((kept | dict(found)).items()):
        *sections, field = name.split(".")
        branch = tree
        for section in sections:
            branch = branch.setdefault(section, {})
        branch[field] = value
    return "# Found by `stream-coupons tune`. What is not here has its default.\n\n" + tomli_w.dumps(tree)
