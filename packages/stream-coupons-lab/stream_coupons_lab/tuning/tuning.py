"""The search for better settings: a study of trials in a file, which one process writes and many work for.

Optuna [1]_ proposes trials and keeps them. Only the process that owns the study talks to it: it asks for a trial, has
it tried by a worker process, and tells the result. So all that is asked and told has one order; and as the sampler of
each trial is seeded by its number, the same seed gives the same trials, across interruptions too. With several jobs
that holds for a grid and for random points [3]_; what `bayes`, a tree-structured Parzen estimator [2]_, asks for
depends on what was known by then.

References
----------
.. [1] Akiba, T., Sano, S., Yanase, T., Ohta, T., and Koyama, M. (2019). Optuna: a next-generation hyperparameter
       optimization framework. KDD.
.. [2] Bergstra, J., Bardenet, R., Bengio, Y., and Kegl, B. (2011). Algorithms for hyper-parameter optimization. NIPS.
.. [3] Bergstra, J., and Bengio, Y. (2012). Random search for hyper-parameter optimization. JMLR 13.
.. [4] Golovin, D., Solnik, B., Moitra, S., Kochanski, G., Karro, J., and Sculley, D. (2017). Google Vizier: a service
       for black-box optimization. KDD, sec. 3.2.2 (median stopping).
.. [5] Breiman, L. (2001). Random forests. Machine Learning 45(1), sec. 10 (decrease in impurity).
"""

import errno
import fcntl
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.importance import MeanDecreaseImpurityImportanceEvaluator, get_param_importances
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, TrialState

from stream_coupons.core.errors import BadConfig
from stream_coupons.ops.recordings import not_readable, not_writable
from stream_coupons.settings import Settings
from stream_coupons_lab.tuning.objective import CHECKPOINTS, ObjectiveValue
from stream_coupons_lab.tuning.search_space import Method, Range, SearchPlan, Value, leaves

STUDY = "tune"
QUESTION = "question"
JOURNAL_BEGINS = b'{"op_code":'

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS}

ENOUGH = 5
"""Trials whose median is a bar to others."""

Evaluate = Callable[[Settings, Sequence[float]], ObjectiveValue]
"""The quality of settings, given up below the bars; it is sent to worker processes, so it must be picklable."""


@dataclass(frozen=True, slots=True)
class Best:
    """The best of the trials that are done."""

    number: int
    quality: float
    values: dict[str, Value]
    settings: Settings


@dataclass(frozen=True, slots=True)
class Tried:
    """A trial that is done. `quality` is what it reached: at its end, or where it was given up; NaN if it has none."""

    number: int
    quality: float
    is_given_up: bool
    values: dict[str, Value]


class Study:
    """The trials in a file; open it with `opened`.

    A trial is done when all its values were chosen and its quality is known, or known to be none, or it was given up.
    One that was under way when a process died is taken up again, under its number.
    """

    def __init__(self, study: optuna.Study, plan: SearchPlan) -> None:
        self._study = study
        self._plan = plan
        self._space = plan.space
        self._distributions = {name: self._distribution(name) for name in plan.space.axes}
        self._grid = plan.grid()
        self.total = len(self._grid) or plan.trials
        self._again: list[FrozenTrial] = []
        for trial in self._trials(TrialState.RUNNING):
            if self._is_chosen(trial):
                self._again.append(trial)
            else:
                self._study.tell(trial.number, state=TrialState.FAIL)
        if not self._trials() and plan.method is not Method.GRID:
            # What is used today is tried first: a search that knows it does not end below it.
            self._study.enqueue_trial(self._space.nearest(plan.base))

    def _distribution(self, name: str) -> BaseDistribution:
        axis = self._space.axes[name]
        if not isinstance(axis, Range):
            return CategoricalDistribution(axis.choices)
        if self._space.is_whole(name):
            return IntDistribution(int(axis.low), int(axis.high), log=axis.log)
        return FloatDistribution(axis.low, axis.high, log=axis.log)

    def _trials(self, *states: TrialState) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False, states=states or None)

    def _is_chosen(self, trial: FrozenTrial) -> bool:
        return trial.params.keys() == self._distributions.keys()

    def done(self) -> int:
        """Return the number of trials that are done."""
        return sum(trial.state.is_finished() and self._is_chosen(trial) for trial in self._trials())

    def bars(self) -> list[float]:
        """Return the metric to reach by each checkpoint: the median of the trials that went to the end [4]_.

        Empty while these are too few. A bar is NaN, which no trial fails, if none of them had a metric by then.
        """
        steps = [trial.intermediate_values for trial in self._trials(TrialState.COMPLETE)]
        if len(steps) < ENOUGH:
            return []
        reached = [[each[step] for each in steps if step in each] for step in range(len(CHECKPOINTS))]
        return [float(np.median(values)) if values else math.nan for values in reached]

    def next(self) -> FrozenTrial | None:
        """Return a trial to work on; None when as many as planned are done or under way."""
        if self._again:
            return self._again.pop(0)
        begun = [trial for trial in self._trials() if self._is_chosen(trial)]
        if len(begun) >= self.total:
            return None
        if self._grid and not self._trials(TrialState.WAITING):
            tried = [trial.params for trial in begun]
            self._study.enqueue_trial(next(point for point in self._grid if point not in tried))
        self._study.sampler = self._sampler(len(self._trials()))
        number = self._study.ask(self._distributions).number
        return self._trials()[number]

    def _sampler(self, number: int) -> BaseSampler:
        seed = int(np.random.SeedSequence((self._plan.seed, number)).generate_state(1)[0])
        return TPESampler(seed=seed) if self._plan.method is Method.BAYES else RandomSampler(seed=seed)

    def tell(self, trial: FrozenTrial, quality: ObjectiveValue) -> None:
        """Keep the result of a trial, on the disk when this returns."""
        reporter = optuna.Trial(self._study, trial._trial_id)
        for step, value in enumerate(quality.steps):
            if math.isfinite(value) and step not in trial.intermediate_values:
                reporter.report(value, step)
        if quality.is_given_up:
            self._study.tell(trial.number, state=TrialState.PRUNED)
        elif math.isfinite(quality.value):
            self._study.tell(trial.number, quality.value)
        else:
            self._study.tell(trial.number, state=TrialState.FAIL)

    def tried(self) -> list[Tried]:
        """Return all trials that are done, in order."""
        found = []
        for trial in self._trials():
            if trial.state.is_finished() and self._is_chosen(trial):
                is_given_up = trial.state is TrialState.PRUNED
                value = trial.value
                if is_given_up:
                    steps = trial.intermediate_values
                    value = steps[max(steps)] if steps else None
                found.append(Tried(trial.number, math.nan if value is None else value, is_given_up, self.values(trial)))
        return found

    def importances(self) -> dict[str, float]:
        """Return each setting's share of what a random forest explains of the trials' quality [5]_, the largest first.

        Not functional ANOVA: Optuna's takes ranges that are searched on a logarithmic scale as if they were not. Empty
        if it is unknown: it takes at least `ENOUGH` trials that went to the end, with different qualities.
        """
        whole = self._trials(TrialState.COMPLETE)
        if len(whole) < ENOUGH or len({trial.value for trial in whole}) < 2:
            return {}
        evaluator = MeanDecreaseImpurityImportanceEvaluator(seed=self._plan.seed)
        return {name: float(share) for name, share in get_param_importances(self._study, evaluator=evaluator).items()}

    def best(self) -> Best | None:
        """Return the best trial that is done, the first of equals; None when none has a quality."""
        if not self._trials(TrialState.COMPLETE):
            return None
        best = self._study.best_trial
        assert best.value is not None
        return Best(best.number, best.value, self.values(best), self.settings(best))

    def values(self, trial: FrozenTrial) -> dict[str, Value]:
        """The values that a trial tries."""
        return self._space.rounded(trial.params, self._plan.base)

    def settings(self, trial: FrozenTrial) -> Settings:
        """The settings that a trial tries."""
        return self._space.settings(self._plan.base, self.values(trial))


@contextmanager
def opened(path: Path, plan: SearchPlan, question: Mapping[str, object]) -> Iterator[Study]:
    """A study in a file: a new one, or the one that was begun there.

    Parameters
    ----------
    path : Path
        A journal of Optuna's, which its other tools read as well.
    question : mapping of str to JSON values
        All that the quality of a trial depends on beside the plan; a study answers one question only.

    Raises
    ------
    BadConfig
        If the file is no study, one of another question, or another process works on it.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with _owned(path) as file, _appended(path):
        _mend(path, file)
        try:
            storage = JournalStorage(JournalFileBackend(str(path), _AlreadyOwned(str(path))))
            names = optuna.get_all_study_names(storage)
        except (AssertionError, KeyError, TypeError, ValueError) as error:
            raise BadConfig(f"{path} is no study: {error}") from None
        whole = json.loads(json.dumps({**plan.question(), **question}))
        if not names:
            study = optuna.create_study(study_name=STUDY, storage=storage, direction=whole["direction"])
            study.set_user_attr(QUESTION, whole)
        elif STUDY not in names:
            raise BadConfig(f"{path} is a study of something else: expected {STUDY}, found {', '.join(names)}")
        else:
            study = optuna.load_study(study_name=STUDY, storage=storage)
            _require_same(path, study.user_attrs.get(QUESTION), whole)
        yield Study(study, plan)


@contextmanager
def _appended(path: Path) -> Iterator[None]:
    """Name the study where it takes no more: Optuna's errors do not, and a trial that is not kept is tried again."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise not_writable(path, error) from None


def _require_same(path: Path, begun: Mapping[str, object] | None, question: Mapping[str, object]) -> None:
    before, now = leaves(begun or {}), leaves(question)
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) != now.get(name):
            raise BadConfig(
                f"{path} was begun with {name} = {before.get(name)}, now it is {now.get(name)}: trials of the two "
                "cannot be compared; name another --study"
            )


@contextmanager
def _owned(path: Path) -> Iterator[IO[bytes]]:
    """The file, for this process alone; the system lets go of it when the process ends, however it ends."""
    try:
        file = path.open("a+b")
    except OSError as error:
        raise not_readable(path, error) from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BadConfig(f"{path}: another process works on this study") from None
        yield file


class _AlreadyOwned(JournalFileOpenLock):
    """No lock of Optuna's: one that a killed process leaves behind would have to be waited out."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        pass


def _mend(path: Path, file: IO[bytes]) -> None:
    """Drop a last line that was not written to its end: the next one would be appended to it.

    Raises
    ------
    BadConfig
        If it is no journal, which is then left as it is.
    """
    file.seek(0)
    content = file.read()
    if content and not content.startswith(JOURNAL_BEGINS):
        raise BadConfig(f"{path} is no study: expected a new file, or one that tune has written")
    if content and not content.endswith(b"\n"):
        file.truncate(content.rfind(b"\n") + 1)


def results(
    study: Study, evaluate: Evaluate, pool: Executor, jobs: int
) -> Iterator[list[tuple[FrozenTrial, ObjectiveValue]]]:
    """Try trials, so many at a time, and give what came, with its quality; the caller tells the study.

    It waits in here only, so a caller that takes Ctrl-C while it waits never loses what has come.
    """
    at_work: dict[Future[ObjectiveValue], FrozenTrial] = {}
    while True:
        while len(at_work) < jobs and (trial := study.next()) is not None:
            at_work[pool.submit(evaluate, study.settings(trial), study.bars())] = trial
        if not at_work:
            return
        finished, _ = wait(at_work, return_when=FIRST_COMPLETED)
        yield [(at_work.pop(future), future.result()) for future in finished]
