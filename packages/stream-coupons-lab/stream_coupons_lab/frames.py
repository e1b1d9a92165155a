"""`evaluate` and `ope` in Python, on data frames: the same as the commands of these names.

>>> import pandas as pd
>>> from stream_coupons_lab import frames
>>> table = pd.DataFrame({"customer": ["a", "b"] * 20, "offer": ["tea-10", "none"] * 20, "bought": [1, 0, 0, 1] * 10})
>>> found = frames.evaluate(table, {"arm": "offer", "shopper": "customer", "purchase": "bought"})
>>> found.metrics[["head", "examples", "positives"]].to_dict("records")[1]
{'head': 'redeem', 'examples': 20, 'positives': 10}

Needs the optional extra `frames`: pandas, and pyarrow for Parquet.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd

from stream_coupons.core.errors import BadConfig
from stream_coupons.core.messages.fields import NO_COUPON
from stream_coupons.ops.recordings import Refusal
from stream_coupons.settings import Settings, load
from stream_coupons_lab.datasets import foreign, table_files, tables
from stream_coupons_lab.datasets.foreign import WINDOW_S, ForeignLog
from stream_coupons_lab.datasets.mapping import Mapping as ColumnMapping
from stream_coupons_lab.datasets.mapping import mapping_of
from stream_coupons_lab.offline.arm_effects import ArmEffect
from stream_coupons_lab.offline.baselines import Beside
from stream_coupons_lab.offline.evaluated import Evaluated, evaluated
from stream_coupons_lab.offline.logged_decisions import decisions_of, missing_arms
from stream_coupons_lab.offline.progressive_run import ProgressiveRun, run
from stream_coupons_lab.offline.quality import HeadMetrics, Slice
from stream_coupons_lab.offline.scored import Scored
from stream_coupons_lab.ope import valuation
from stream_coupons_lab.ope.ope import Estimator
from stream_coupons_lab.ope.policies import parse
from stream_coupons_lab.ope.rewards import Reward
from stream_coupons_lab.ope.valuation import Question
from stream_coupons_lab.reports import evaluation_report, ope_report

__all__ = ["Evaluation", "PolicyValues", "evaluate", "ope", "read"]

Source = pd.DataFrame | str | Path
MappingSource = ColumnMapping | Mapping[str, Any] | str | Path | None
SettingsSource = Settings | str | Path | None


@dataclass(frozen=True)
class _Result:
    """Data frames that both results have. Times are UTC, money is in minor units."""

    name: str
    log: ForeignLog
    scored: Sequence[Scored]
    arm_effects: Sequence[ArmEffect]

    @cached_property
    def decisions(self) -> pd.DataFrame:
        """One row for each arm of each decision: predictions, and the outcome of the arm that was chosen."""
        return decisions_frame(self.scored)

    @cached_property
    def effects(self) -> pd.DataFrame:
        """One row for each coupon: effect against giving none, observed and predicted; AUUC, Qini."""
        rows = []
        for one in self.arm_effects:
            row: dict[str, Any] = {"arm": one.arm, "treated": one.treated, "controls": one.controls}
            row |= _interval("observed", one.uplift.mean) | {"predicted": one.predicted}
            row |= _interval("auuc", one.uplift.auuc) | _interval("qini", one.uplift.qini)
            rows.append(row)
        return pd.DataFrame(rows)

    @cached_property
    def refused(self) -> pd.DataFrame:
        """The first rows that could not be used, and why."""
        return _frame(self.log.refusals.first, Refusal)


@dataclass(frozen=True)
class Evaluation(_Result):
    """Quality of the predictions and effects of coupons, as data frames.

    Attributes
    ----------
    found : Evaluated
        The same as objects.
    """

    found: Evaluated

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """One row for each head: log loss, ROC AUC, calibration, with 95 % intervals as `_low` and `_high`."""
        return _frame(self.found.qualities, HeadMetrics)

    @cached_property
    def parts(self) -> pd.DataFrame:
        """The metrics by coupon, and by keys of coupons and context with few values."""
        return _frame(self.found.slices, Slice)

    @cached_property
    def baselines(self) -> pd.DataFrame:
        """Ours and plain models on the same decisions, by head; empty unless they were asked for."""
        return _frame(self.found.baselines, Beside)

    def report(self, path: str | Path) -> None:
        """Write a page with plots."""
        evaluation_report.page(self.name, self.found).write(path)


@dataclass(frozen=True)
class PolicyValues(_Result):
    """Values of policies as data frames.

    Attributes
    ----------
    found : valuation.ValuationReport
        The same as objects; its `warnings` and `notes` say what makes the values doubtful.
    """

    found: valuation.ValuationReport

    @cached_property
    def values(self) -> pd.DataFrame:
        """One row for each policy and estimator: value for each decision, and gain over what was logged."""
        rows = []
        for each in self.found.valued:
            checks = each.valuation.diagnostics
            for estimator in Estimator:
                value, gain = each.valuation.values[estimator], each.valuation.gains[estimator]
                row: dict[str, Any] = {"policy": each.policy, "estimator": estimator.value}
                row |= _interval("value", value) | _interval("gain", gain)
                row |= {"decisions": checks.decisions, "effective": checks.effective, "agreement": checks.agreement}
                row |= {"rewarded": checks.rewarded, "mean_weight": checks.mean_weight.value}
                rows.append(row | {"largest_weight": checks.largest_weight, "unsupported": each.unsupported})
        return pd.DataFrame(rows)

    def report(self, path: str | Path) -> None:
        """Write a page with plots."""
        ope_report.page(self.name, self.found).write(path)


def read(source: Source, mapping: MappingSource = None, window_s: float = WINDOW_S) -> ForeignLog:
    """Read a log: a data frame, a CSV or Parquet file, or JSON lines.

    Parameters
    ----------
    source : DataFrame, str or Path
        One row per decision; JSON lines by any other suffix than .csv, .tsv and .parquet.
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
    if not isinstance(source, pd.DataFrame) and mapping is None and not table_files.is_table(Path(source)):
        log = foreign.read(Path(source), window_s)
    elif mapping is None:
        raise BadConfig(f"{_name(source)}: a table needs a mapping, which names its columns")
    elif isinstance(source, pd.DataFrame):
        log = tables.log_of(source, mapping_of(mapping), _name(source), window_s)
    else:
        log = tables.read_log(Path(source), mapping_of(mapping), window_s)
    if log.refusals.count:
        first = log.refusals.first[0]
        text = f"{_name(source)}: {log.refusals.count} rows are refused, the first is row {first.line}: {first.detail}"
        warnings.warn(text, stacklevel=3)
    return log


def evaluate(
    source: Source,
    mapping: MappingSource = None,
    settings: SettingsSource = None,
    *,
    window_s: float = WINDOW_S,
    baselines: bool = False,
) -> Evaluation:
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
    for record in log.records():
        running.feed(record)
    found = evaluated(running, chosen.policy, in_depth=True, with_baselines=baselines)
    return Evaluation(_name(source), log, found.scored, found.effects, found)


def ope(  # noqa: PLR0913 - the options of the command
    source: Source,
    mapping: MappingSource = None,
    settings: SettingsSource = None,
    *,
    reward: str = "click",
    policies: Iterable[str] = (),
    skip_ratio: float = 0.0,
    window_s: float = WINDOW_S,
) -> PolicyValues:
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
    chosen, log = _settings(settings), read(source, mapping, window_s)
    asked = tuple(parse(text, log.coupon_of) for text in policies)
    doubts = missing_arms(log)
    scored = run(log, chosen, score_arms=True)
    decisions = decisions_of(scored, log, chosen.policy.typical_price_minor)
    question = Question(Reward(reward), asked, skip_ratio)
    found = valuation.report(decisions, question, chosen.policy)
    found.warnings[:0] = doubts
    return PolicyValues(_name(source), log, scored, found.effects, found)


DECISION_COLUMNS = (
    "issue_id", "user_id", "occurred_at", "arm", "is_chosen", "propensity", "p_click", "p_redeem", "p_order", "clicked",
    "redeemed", "seen", "order_value_minor", "labelled_at", "model_version",
)  # fmt: skip


def decisions_frame(scored: Iterable[Scored]) -> pd.DataFrame:
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
    frame = pd.DataFrame(rows, columns=DECISION_COLUMNS).astype(kinds)
    return _timed(_timed(frame, "occurred_at"), "labelled_at")


def _settings(said: SettingsSource) -> Settings:
    return said if isinstance(said, Settings) else load(Path(said) if said is not None else None)


def _name(source: Source) -> str:
    return "data frame" if isinstance(source, pd.DataFrame) else Path(source).name


def _frame(rows: Sequence[Any], kind: type[msgspec.Struct]) -> pd.DataFrame:
    """Return a row for each struct; parts of a part have its name before them, as in `log_loss_low`."""
    if not rows:
        return pd.DataFrame(columns=list(kind.__struct_fields__))
    frame = pd.json_normalize(msgspec.to_builtins(rows), sep="_")
    return frame.rename(columns=lambda name: name.removesuffix("_value"))


def _interval(name: str, interval: Any) -> dict[str, float]:
    return {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}


def _timed(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    return frame.assign(**{column: pd.to_datetime(frame[column], unit="s", utc=True).dt.round("ms")})
