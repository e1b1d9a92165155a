"""`evaluate` and `ope` in Python, on data frames: the same as the commands of these names.

>>> import pandas as pd
>>> from stream_coupons_lab import frames
>>> table = pd.DataFrame({"customer": ["a", "b"] * 20, "offer": ["tea-10", "none"] * 20, "bought": [1, 0, 0, 1] * 10})
>>> found = frames.evaluate(table, {"arm": "offer", "shopper": "customer", "purchase": "bought"})
>>> frames.frame(found.qualities)[["head", "examples", "positives"]].to_dict("records")[1]
{'head': 'redeem', 'examples': 20, 'positives': 10}

Needs the optional extra `frames`: pandas, and pyarrow for Parquet.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd

from stream_coupons.core.errors import BadConfig
from stream_coupons.core.messages.fields import NO_COUPON
from stream_coupons.settings import Settings, load
from stream_coupons_lab.datasets import sources, table_files, tables
from stream_coupons_lab.datasets.foreign import WINDOW_S, ForeignLog
from stream_coupons_lab.datasets.mapping import MappingSource, mapping_of
from stream_coupons_lab.offline.evaluated import Evaluated, evaluated
from stream_coupons_lab.offline.progressive_run import ProgressiveRun
from stream_coupons_lab.offline.scored import Scored
from stream_coupons_lab.ope import valuation
from stream_coupons_lab.ope.policies import parse
from stream_coupons_lab.ope.rewards import Reward
from stream_coupons_lab.ope.valuation import Question, ValuationReport

__all__ = ["decisions", "evaluate", "frame", "ope", "read"]

Source = pd.DataFrame | str | Path
SettingsSource = Settings | str | Path | None


def read(source: Source, mapping: MappingSource | None = None, window_s: float = WINDOW_S) -> ForeignLog:
    """Read a log: a data frame, a CSV or Parquet file, or JSON lines.

    Parameters
    ----------
    source : DataFrame, str or Path
        One row per decision; JSON lines by any other suffix than .csv and .parquet.
    mapping : Mapping, dict, str or Path
        Mapping of its columns; a path is of a TOML file. JSON lines need none.
    window_s : float
        Seconds after which an outcome is known, where neither the mapping nor the log states it.

    Raises
    ------
    BadConfig
        Naming the file, the column and what was expected.

    Warns
    -----
    UserWarning
        If rows are refused.
    """
    name = "data frame" if isinstance(source, pd.DataFrame) else Path(source).name
    if not isinstance(source, pd.DataFrame):
        log = sources.read(Path(source), window_s, mapping)
    elif mapping is None:
        raise BadConfig(f"{name}: a table needs a mapping, which names its columns")
    else:
        log = tables.log_of(source, mapping_of(mapping), name, window_s)
    if log.refusals.count:
        first = log.refusals.first[0]
        text = f"{name}: {log.refusals.count} rows are refused, the first is row {first.line}: {first.detail}"
        warnings.warn(text, stacklevel=3)
    return log


def evaluate(
    source: Source,
    mapping: MappingSource | None = None,
    settings: SettingsSource = None,
    *,
    window_s: float = WINDOW_S,
    baselines: bool = False,
) -> Evaluated:
    """Learn from a log decision by decision and return how good the predictions were.

    Every decision is scored by the model as it stood then, and learnt when its window has closed.

    Parameters
    ----------
    source, mapping, window_s
        See `read`.
    settings : Settings, str or Path, optional
        As a worker's; a path is of a TOML file.
    baselines : bool
        True to learn a River logistic regression and boosted trees beside ours.

    Raises
    ------
    BadConfig
    """
    chosen, log = _settings(settings), read(source, mapping, window_s)
    running = ProgressiveRun(log, chosen, score_arms=True)
    running.feed_all()
    return evaluated(running, chosen.policy, in_depth=True, with_baselines=baselines)


def ope(  # noqa: PLR0913 - the options of the command
    source: Source,
    mapping: MappingSource | None = None,
    settings: SettingsSource = None,
    *,
    reward: str = "click",
    policies: Iterable[str] = (),
    skip_ratio: float = 0.0,
    window_s: float = WINDOW_S,
) -> ValuationReport:
    """Value policies on a log of another one.

    Parameters
    ----------
    source, mapping, settings, window_s
        See `read` and `evaluate`.
    reward : {"click", "purchase", "margin"}
        Reward of a decision.
    policies : iterable of str
        Such as "greedy", "epsilon:0.1", "random", "logged", "always:ARM"; by default all of these.
    skip_ratio : float
        Share of the decisions, from the first on, to learn from but not to value.

    Raises
    ------
    BadConfig
    """
    if reward not in list(Reward):
        raise BadConfig(f"reward is {reward!r}, expected one of {', '.join(Reward)}")
    log = read(source, mapping, window_s)
    asked = tuple(parse(text, log.coupon_of) for text in policies)
    return valuation.value_log(log, _settings(settings), Question(Reward(reward), asked, skip_ratio))


def frame(records: Sequence[Any]) -> pd.DataFrame:
    """Return one row for each record of a result, such as `Evaluated.qualities` or `ValuationReport.valued`.

    A part of a field has the field's name before its own, as in `log_loss_low`; the value of an interval has the
    field's name.
    """
    rows = msgspec.to_builtins(records, enc_hook=table_files.item)
    return pd.json_normalize(rows, sep="_").rename(columns=lambda name: name.removesuffix("_value"))


DECISION_COLUMNS = (
    "issue_id", "user_id", "occurred_at", "arm", "is_chosen", "propensity", "p_click", "p_redeem", "p_order", "clicked",
    "redeemed", "seen", "order_value_minor", "labelled_at", "model_version",
)  # fmt: skip


def decisions(scored: Iterable[Scored]) -> pd.DataFrame:
    """Return one row for each arm of each decision: predictions, and the outcome of the arm that was chosen.

    P(click) and P(redeem) are missing for `none`; propensity and outcome for arms that were not chosen, the outcome
    also where the window was open when the log ended. Where arms were not scored, the one row is of the arm chosen.
    """
    rows = []
    for one in scored:
        own = one.arm if one.arm in one.by_arm or one.coupon_id not in one.by_arm else one.coupon_id
        decision = {name: getattr(one, name) for name in ("issue_id", "user_id", "occurred_at", "model_version")}
        outcome = {name: getattr(one, name) for name in ("propensity", "clicked", "redeemed", "seen", "labelled_at")}
        outcome["order_value_minor"] = one.value_minor
        by_arm = one.by_arm or {own: (one.p_click, one.p_redeem, one.p_order)}
        for arm, (click, redeem, order) in by_arm.items():
            row = {**decision, "arm": arm, "is_chosen": arm == own, "p_order": order}
            if arm != NO_COUPON:
                row |= {"p_click": click, "p_redeem": redeem}
            rows.append(row | outcome if arm == own else row)
    kinds = {"clicked": "boolean", "redeemed": "boolean", "seen": "boolean", "order_value_minor": "Int64"}
    table = pd.DataFrame(rows, columns=DECISION_COLUMNS).astype(kinds)
    times = {name: pd.to_datetime(table[name], unit="s", utc=True) for name in ("occurred_at", "labelled_at")}
    return table.assign(**{name: of_table.dt.round("ms") for name, of_table in times.items()})


def _settings(said: SettingsSource) -> Settings:
    return said if isinstance(said, Settings) else load(Path(said) if said is not None else None)
