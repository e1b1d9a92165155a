"""The study of a search: its file, its samplers, and the trials that worker processes run.

Optuna [1]_ keeps the trials in a journal and proposes the points. The n-th trial draws with a seed of its
own, and an interrupted trial is repeated with its values, so the same seed tries the same points across interruptions.
With several jobs that holds for a grid and for random points [2]_; the points of `bayes`, a tree-structured Parzen
estimator [3]_, depend on the results known at that time.

References
----------
.. [1] Akiba, T., Sano, S., Yanase, T., Ohta, T., and Koyama, M. (2019). Optuna: a next-generation hyperparameter
       optimization framework. KDD.
.. [2] Bergstra, J., and Bengio, Y. (2012). Random search for hyper-parameter optimization. JMLR 13.
.. [3] Bergstra, J., Bardenet, R., Bengio, Y., and Kegl, B. (2011). Algorithms for hyper-parameter optimization. NIPS.
"""

import errno
import fcntl
import json
import math
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO

import msgspec
import numpy as np
import optuna
from optuna.samplers import BaseSampler, GridSampler, RandomSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._file import LOCK_FILE_SUFFIX  # no public name says where the lock is
from optuna.trial import FrozenTrial, TrialState

from stream_coupons.core.errors import BadConfig
from stream_coupons.ops.recordings import not_readable, not_writable
from stream_coupons.settings import Settings
from stream_coupons_lab.tuning.options import Method
from stream_coupons_lab.tuning.search_space import SearchSpace, leaves, settings_with, tree_of

STUDY = "tune"
QUESTION = "question"
JOURNAL_BEGINS = b'{"op_code":'
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS}

Evaluate = Callable[[Settings], float]
"""The quality of settings; picklable."""


@dataclass(frozen=True, slots=True)
class SearchPlan:
    """The space and the method of a search."""

    space: SearchSpace
    base: Settings
    method: Method
    trials: int
    seed: int = 0

    @property
    def total(self) -> int:
        """Number of trials: all points of a grid, or as many as asked for."""
        if self.method is not Method.GRID:
            return self.trials
        return math.prod(map(len, self.space.grid(self.trials).values()))

    def sampler(self, number: int) -> BaseSampler:
        """Return the sampler of the n-th trial."""
        if self.method is Method.GRID:
            return GridSampler(self.space.grid(self.trials), self.seed)
        seed = int(np.random.SeedSequence((self.seed, number)).generate_state(1)[0])
        return TPESampler(seed=seed) if self.method is Method.BAYES else RandomSampler(seed=seed)

    def question(self) -> dict[str, object]:
        """Return what a trial depends on; the number of trials counts only if it makes another grid."""
        settings = {name: section for name, section in tree_of(self.base).items() if name not in ("kafka", "worker")}
        return {
            "method": self.method,
            "seed": self.seed,
            "grid": self.total if self.method is Method.GRID else 0,
            "space": msgspec.to_builtins(self.space.axes),
            "settings": settings,
        }


@contextmanager
def opened(path: Path, plan: SearchPlan, question: Mapping[str, object]) -> Iterator[optuna.Study]:
    """Open a study in a file: a new one, or the one that was begun there.

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
    with _owned(path):
        try:
            study = optuna.create_study(storage=_storage(path), study_name=STUDY, load_if_exists=True)
        except (AssertionError, KeyError, TypeError, ValueError) as error:
            raise BadConfig(f"{path} is no study: {error}") from None
        _prepare(study, path, plan, json.loads(json.dumps({**plan.question(), **question})))
        yield study


@contextmanager
def _owned(path: Path) -> Iterator[None]:
    """Hold the file for this process and its workers; the system releases it when the process ends, however it ends."""
    try:
        with path.open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _repair(path, file)
            yield
    except BlockingIOError:
        raise BadConfig(f"{path}: another process works on this study") from None
    except IsADirectoryError as error:
        raise not_readable(path, error) from None
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise not_writable(path, error) from None
    finally:
        _storage.cache_clear()


def _repair(path: Path, file: IO[bytes]) -> None:
    """Remove what a killed process left: its lock, and a last line that was not written to its end."""
    file.seek(0)
    content = file.read()
    if content and not content.startswith(JOURNAL_BEGINS):
        raise BadConfig(f"{path} is no study: expected a new file, or one that tune has written")
    file.truncate(content.rfind(b"\n") + 1)
    path.with_name(path.name + LOCK_FILE_SUFFIX).unlink(missing_ok=True)


@lru_cache(maxsize=1)
def _storage(path: Path) -> JournalStorage:
    return JournalStorage(JournalFileBackend(str(path)))


def _prepare(study: optuna.Study, path: Path, plan: SearchPlan, question: Mapping[str, object]) -> None:
    """See that the study answers this question, and queue the trials that come first."""
    before, now = leaves(study.user_attrs.get(QUESTION, question)), leaves(question)
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) != now.get(name):
            raise BadConfig(
                f"{path} was begun with {name} = {before.get(name)}, now it is {now.get(name)}: trials of the two "
                "cannot be compared; name another --study"
            )
    study.set_user_attr(QUESTION, question)
    if not study.trials and plan.method is not Method.GRID:
        # The first trial has today's settings, so the best trial is never worse than they are.
        study.enqueue_trial(plan.space.inside(plan.base))
    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
        study.add_trial(
            optuna.create_trial(
                state=TrialState.WAITING,
                params=trial.params,
                distributions=trial.distributions,
                system_attrs=trial.system_attrs,
            )
        )


def done(study: optuna.Study) -> list[FrozenTrial]:
    """Return the trials that ended, in order; one without a finite quality is pruned and has no value."""
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))


def best(study: optuna.Study) -> FrozenTrial | None:
    """Return the best complete trial, the first of equals; None when there is none."""
    return study.best_trial if study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)) else None


def search(study: optuna.Study, path: Path, plan: SearchPlan, evaluate: Evaluate, pool: Executor) -> Iterator[None]:
    """Run all trials that are not done yet in the processes of `pool`, and yield after each."""
    for future in as_completed(pool.submit(_run, path, plan, evaluate) for _ in range(len(done(study)), plan.total)):
        future.result()
        yield


def _run(path: Path, plan: SearchPlan, evaluate: Evaluate) -> None:
    """Run the next trial: one that waits, or a new one whose number among those that count is its sampler's."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)

    def quality(trial: optuna.Trial) -> float:
        before = study.get_trials(deepcopy=False)[: trial.number]
        study.sampler = plan.sampler(sum(one.state is not TrialState.FAIL for one in before))
        value = evaluate(settings_with(plan.base, plan.space.suggest(trial)))
        if not math.isfinite(value):
            raise optuna.TrialPruned
        return value

    study = optuna.load_study(study_name=STUDY, storage=_storage(path), sampler=plan.sampler(0))
    study.optimize(quality, n_trials=1)
