"""The quality of settings on a foreign log: progressive evaluation on a stretch of its time; the result of a search.

The log is cut in two by time. Settings are searched on the first part, as if the rest had not happened yet: no record
of it is read, and an issue whose outcome was not known by then does not count. The settings found are judged on the
rest, with a model that goes on learning through both parts, as it would live (Gama, Sebastiao, Rodrigues 2013, "On
evaluating stream learning algorithms", Machine Learning 90: progressive evaluation). A model judged on the part that
its settings were chosen on looks better than it is (Cawley, Talbot 2010, "On over-fitting in model selection", JMLR
11).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import takewhile
from pathlib import Path
from typing import Any

from msgspec import Struct

from stream_coupons.core.errors import BadConfig
from stream_coupons.core.messages.fields import NO_COUPON
from stream_coupons.models.metrics import Interval
from stream_coupons.settings import Settings
from stream_coupons_lab.datasets import sources
from stream_coupons_lab.datasets.foreign import ForeignLog
from stream_coupons_lab.datasets.log_records import LoggedIssue
from stream_coupons_lab.offline.metrics import log_loss, loss_gain
from stream_coupons_lab.offline.progressive_run import ProgressiveRun, run
from stream_coupons_lab.offline.quality import LabelledIssues, judged
from stream_coupons_lab.offline.scored import Scored
from stream_coupons_lab.tuning.options import Method, TunedHead
from stream_coupons_lab.tuning.search_space import Value, leaves, tree_of

BOOTSTRAP_REPEATS = 1000


def sample(scored: Sequence[Scored], head: TunedHead) -> LabelledIssues:
    """Return the issues of a coupon whose outcome is known, except coupons known to be unseen.

    Where none was given there is nothing to click or redeem.
    """
    return next(one for one in judged(scored) if one.head == head)


def loss_of(issues: LabelledIssues) -> float:
    """Return the log loss over all issues; NaN if there are none."""
    return log_loss(issues.probabilities, issues.labels)


def split_at(log: ForeignLog, held_out: float) -> float:
    """Return the moment from which on this share of the issues of a coupon lies.

    Raises
    ------
    BadConfig
        If that leaves none before it.
    """
    issues = (record for record in log.records() if isinstance(record, LoggedIssue))
    times = [issue.occurred_at for issue in issues if issue.coupon_id != NO_COUPON]
    at = times[min(int(len(times) * (1 - held_out)), len(times) - 1)] if times else 0.0
    if not times or at == times[0]:
        raise BadConfig(
            f"the log has {len(times)} issues of a coupon: too few, or too many at one time, to be cut in two"
        )
    return at


_read_once = lru_cache(maxsize=1)(sources.read)
"""Reads a log once in each process."""


@dataclass(frozen=True, slots=True)
class Objective:
    """The objective of a process, which reads the log itself; a table by its mapping."""

    log: Path
    window_s: float
    until: float
    head: TunedHead
    mapping: Path | None = None

    def __call__(self, settings: Settings) -> float:
        """Return the quality of these settings on what was known before `until`; NaN if it is undefined."""
        log = _read_once(self.log, self.window_s, self.mapping)
        running = ProgressiveRun(log, settings)
        for record in takewhile(lambda record: record.occurred_at < self.until, log.records()):
            running.feed(record)
        return loss_of(sample(running.finish(), self.head))

    def predictions(self, settings: Settings) -> LabelledIssues:
        """Return the predictions of these settings over the whole log."""
        return sample(run(_read_once(self.log, self.window_s, self.mapping), settings), self.head)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two settings on the same issues; `gain` is positive where the second are better."""

    issues: int
    positives: int
    first: float
    second: float
    gain: Interval


def compare(first: LabelledIssues, second: LabelledIssues, seed: int = 0) -> Comparison:
    """Compare predictions of the same issues, with a paired bootstrap interval that draws whole shoppers."""
    gain = loss_gain(first.probabilities, second.probabilities, first.labels, first.shoppers, seed, BOOTSTRAP_REPEATS)
    return Comparison(
        issues=len(first.labels),
        positives=int(first.labels.sum()),
        first=loss_of(first),
        second=loss_of(second),
        gain=gain,
    )


class Tuned(Struct, frozen=True, kw_only=True):
    """The result. In `searched` and `held_out`, `first` is the settings used today and `second` those found.

    `searched` are the issues whose outcome was known before `split_at`: by them the settings were chosen. `held_out`
    are the issues from then on.
    """

    log: Path
    method: Method
    head: TunedHead
    seed: int
    trials: int
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
