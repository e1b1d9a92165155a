"""The work of the models on a foreign log, in its order: score an issue, learn a label.

The models are those that decide: they predict and value a coupon as in a live decision. Features do not depend on any
model, so those of many issues are made at once, in a tenth of the time. The work on them waits until then, and is done
in the order of its arrival: each issue is scored by the model of its moment.
"""

import sys
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np

from stream_coupons.core.catalogue.compiled import CouponSet
from stream_coupons.core.decision.predict import predict, tabulate
from stream_coupons.core.decision.scoring import HEADS, Scorer, first_of
from stream_coupons.core.decision.table import CandidateTable, stored
from stream_coupons.core.decision.value import value
from stream_coupons.core.features.affinity import Moment
from stream_coupons.core.messages.learning import TrainingExample
from stream_coupons.core.rules import Rules
from stream_coupons.core.shopper.state import Predicted
from stream_coupons.models.inputs import Row
from stream_coupons.models.learner import Trainer
from stream_coupons.models.linear import prior
from stream_coupons.models.rules import LearningRules

MAX_TOGETHER, MAX_ROWS = 256, 4096
"""Issues, and rows of features, that are waited for at most."""
MAX_NUMBERS = 2**17
"""Numbers that an array may have of the issues whose features are made at once: more leave a processor's cache."""


@dataclass(slots=True)
class Arms:
    """Coupons of one domain that an issue is scored with.

    Attributes
    ----------
    positions : list of int
        In `coupons`, no two alike.
    """

    domain: str
    coupons: CouponSet
    positions: list[int] = field(default_factory=list)
    table: CandidateTable | None = None
    """Their features, once they are made."""
    predicted: list[Predicted] = field(default_factory=list)
    """Probabilities of `positions`, once they are scored."""
    worth: list[float] = field(default_factory=list)
    """Values over giving none, minor units, if they are valued."""

    def row_of(self, position: int) -> int:
        """Return the row of a position, which is added if it has none."""
        if position not in self.positions:
            self.positions.append(position)
        return self.positions.index(position)

    def score(self, scorer: Scorer, rules: Rules, *, is_valued: bool) -> None:
        """Predict as in a decision, and value if that is asked for."""
        assert self.table is not None
        if is_valued:
            valued = value(predict(self.table, scorer), rules)
            predicted, self.worth = valued.predicted, valued.value_minor.tolist()
        else:
            predicted = scorer.predict(self.table.features)
        self.predicted = [stored(row) for row in predicted[:, : len(HEADS)].tolist()]


@dataclass(slots=True)
class Issue:
    """An issue to be scored.

    Attributes
    ----------
    arms : list of Arms
        By domain; the first is that of the issue.
    row : int
        Row of what was given, in the first of `arms`.
    on_scored : callable
        Called with the version of the model when `arms` are scored.
    is_valued : bool
        True if the arms are valued, too.
    """

    issue_id: str
    moment: Moment
    arms: list[Arms]
    row: int
    on_scored: Callable[[int], None]
    is_valued: bool = False


class LearningQueue:
    """Models that learn a log and score its issues.

    Parameters
    ----------
    rules : Rules
        Of features and values.
    heads : collection of str
        Those that the log has labels of; no other learns.
    """

    def __init__(self, learning: LearningRules, rules: Rules, heads: Collection[str]) -> None:
        self.heads = frozenset(heads)
        self.trainer = Trainer(learning)
        self._transfer = learning.transfer
        every_arm = msgspec.structs.replace(rules.policy, max_candidates=sys.maxsize)
        self._rules = msgspec.structs.replace(rules, policy=every_arm)
        self._scorers: dict[str, Scorer] = {}
        self._prior = prior()
        self._has_learnt = False
        self._offset = 0
        self._waiting: list[Issue | TrainingExample] = []
        self._issues = self._rows_waiting = 0
        self._known: dict[str, tuple[Row, Predicted, int]] = {}
        """Features, probabilities and model version of the issues whose labels have not come."""

    def score(self, issue: Issue) -> None:
        """Score an issue, soon."""
        self._waiting.append(issue)
        self._issues += 1
        self._rows_waiting += sum(len(arms.positions) for arms in issue.arms)
        if self._issues >= MAX_TOGETHER or self._rows_waiting >= MAX_ROWS:
            self.flush()

    def take(self, label: TrainingExample) -> None:
        """Learn a label when all earlier work is done."""
        self._waiting.append(label)

    def flush(self) -> None:
        """Do all that waits."""
        waiting, self._waiting = self._waiting, []
        self._issues = self._rows_waiting = 0
        self._prepare([one for one in waiting if isinstance(one, Issue)])
        for one in waiting:
            if isinstance(one, Issue):
                self._score(one)
            else:
                self._learn(one)

    def _prepare(self, issues: Sequence[Issue]) -> None:
        """Make the features of issues, together for those of the same coupons."""
        together: defaultdict[int, list[tuple[Moment, Arms]]] = defaultdict(list)
        for issue in issues:
            for arms in issue.arms:
                together[id(arms.coupons)].append((issue.moment, arms))
        for each in together.values():
            size = max(MAX_NUMBERS // each[0][1].coupons.width, 1)
            for begin in range(0, len(each), size):
                self._prepare_of_one_set(each[begin : begin + size])

    def _prepare_of_one_set(self, each: Sequence[tuple[Moment, Arms]]) -> None:
        moments, coupons = [moment for moment, _ in each], each[0][1].coupons
        chosen = [np.array(arms.positions, np.intp) for _, arms in each]
        table = tabulate(moments, chosen, coupons, self._rules)
        for number, (_, arms) in enumerate(each):
            arms.table = table.of(number)

    def scorer(self, domain: str) -> Scorer:
        """Return the model of a domain as it is now, or the one that the domain starts from."""
        if self._has_learnt:
            self._scorers.update(self.trainer.live())
            self._has_learnt = False
        source = first_of(domain, self._scorers, self._transfer)
        return self._scorers[source] if source is not None else self._prior

    def _score(self, issue: Issue) -> None:
        versions: list[int] = []
        for arms in issue.arms:
            scorer = self.scorer(arms.domain)
            arms.score(scorer, self._rules, is_valued=issue.is_valued)
            versions.append(scorer.version)
        own, version = issue.arms[0], versions[0]
        issue.on_scored(version)
        if own.table is not None:
            rows = own.table.features
            hashed = rows.hashed[issue.row]
            row = Row(rows.numeric[issue.row].copy(), hashed[hashed > 0])
            self._known[issue.issue_id] = row, own.predicted[issue.row], version

    def _learn(self, example: TrainingExample) -> None:
        # The click is the first of two labels of a coupon.
        known = (
            self._known.get(example.issue_id) if example.head == "click" else self._known.pop(example.issue_id, None)
        )
        if known is None or example.head not in self.heads or not example.is_lesson:
            return
        row, predicted, version = known
        example = msgspec.structs.replace(
            example, predicted=predicted[HEADS.index(example.head)], model_version=version
        )
        self._offset += 1
        self._has_learnt |= self.trainer.learn(example, self._offset, None, row)
