"""Runs of a benchmark: one policy on one world each, played in processes, and kept in a file."""

import ast
import hashlib
import multiprocessing
import signal
from collections.abc import Hashable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from functools import lru_cache
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import msgspec
import threadpoolctl

from stream_coupons.core.errors import BadConfig

TRUE_VALUE = "true_value"
"""Policy whose runs others may need."""


class AnyRun(Protocol):
    """A finished run: a msgspec struct."""

    @property
    def policy(self) -> str:
        """Name of the policy."""

    @property
    def seed(self) -> int:
        """Seed of the world."""

    @property
    def configuration(self) -> Hashable:
        """World but for its seed."""

    @property
    def key(self) -> str:
        """Digest of what the result depends on."""


R = TypeVar("R", bound=AnyRun)
Name = tuple[str, int, Hashable]


class AnyTask(AnyRun, Protocol[R]):
    """A run to be made, which processes can be sent."""

    def play(self) -> R:
        """Return the run."""

    def ready(self, truth: R | None) -> "AnyTask[R] | None":
        """Return the task with what it needs of the run of true value; None if it has to wait for that run."""


def name_of(one: AnyRun) -> Name:
    """Return policy, seed and configuration."""
    return one.policy, one.seed, one.configuration


@lru_cache
def digest_of(root: Path, patterns: Sequence[str]) -> bytes:
    """Return a digest of the source code of files, without comments and docstrings.

    Parameters
    ----------
    root : Path
        Directory of the patterns.
    patterns : tuple of str
        Globs.
    """
    digest = hashlib.blake2b()
    for path in sorted({path for pattern in patterns for path in root.glob(pattern)}):
        digest.update(_code_of(path.read_text()).encode())
    return digest.digest()


def _code_of(source: str) -> str:
    """Return source code without comments, docstrings and layout."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(body := getattr(node, "body", None), list):
            body[:] = [each for each in body if not _is_text(each)]
    return ast.dump(tree)


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


class Kept(Generic[R]):
    """Finished runs, in a file of a JSON object a line if there is one.

    Parameters
    ----------
    path : Path or None
        The file.
    kind : type
        Type of a run.

    Raises
    ------
    BadConfig
        If the file cannot be read, or a line of it is no run.
    """

    def __init__(self, path: Path | None, kind: type[R]) -> None:
        self._path = path
        self._runs: dict[tuple[Name, str], R] = {}
        if path is None or not path.exists():
            return
        decoder = msgspec.json.Decoder(kind)
        try:
            lines = path.read_bytes().splitlines()
        except OSError as error:
            raise BadConfig(f"cannot read {path}: {error.strerror}") from None
        for number, line in enumerate(lines, 1):
            try:
                self._add(decoder.decode(line))
            except msgspec.DecodeError as error:
                raise BadConfig(
                    f"{path}, line {number}: not a run: {error}; delete the line or name another file"
                ) from (None)

    def find(self, task: AnyRun) -> R | None:
        """Return the finished run of a task, if there is one."""
        return self._runs.get((name_of(task), task.key))

    def add(self, run: R) -> None:
        """Keep a finished run, and write it at once."""
        self._add(run)
        if self._path is not None:
            with self._path.open("ab") as file:
                file.write(msgspec.json.encode(run) + b"\n")

    def _add(self, run: R) -> None:
        self._runs[name_of(run), run.key] = run


def runs_of(tasks: Iterable[AnyTask[R]], kept: Kept[R], jobs: int, again: frozenset[str] = frozenset()) -> Iterator[R]:
    """Yield the run of each task, those that are kept first; play the others in processes.

    Parameters
    ----------
    kept : Kept
        Finished runs, to which new ones are added.
    jobs : int
        Processes.
    again : frozenset of str
        Policies that are played even if they are kept.
    """
    waiting: list[AnyTask[R]] = []
    known: dict[Name, R] = {}
    for task in tasks:
        run = None if task.policy in again else kept.find(task)
        if run is None:
            waiting.append(task)
            continue
        known[name_of(run)] = run
        yield run
    for run in _played(waiting, known, jobs):
        kept.add(run)
        yield run


def _played(waiting: list[AnyTask[R]], known: dict[Name, R], jobs: int) -> Iterator[R]:
    """Yield runs as they are finished; those that need what a run of `true_value` has seen come after it."""
    if jobs == 1:
        while waiting:
            run = _ready(waiting, known)[0].play()
            _note(run, waiting, known)
            yield run
        return
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("forkserver"), _start)
    try:
        open_runs: set[Future[R]] = set()
        started: set[Name] = set()
        while waiting:
            new = [task for task in _ready(waiting, known) if name_of(task) not in started]
            started |= {name_of(task) for task in new}
            open_runs |= {pool.submit(task.play) for task in new}
            done, open_runs = wait(open_runs, return_when=FIRST_COMPLETED)
            for future in done:
                run = future.result()
                _note(run, waiting, known)
                yield run
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in multiprocessing.active_children():
            child.terminate()


def _ready(waiting: Sequence[AnyTask[R]], known: dict[Name, R]) -> list[AnyTask[R]]:
    """Return the tasks that can be started, with what they need."""
    ready = (task.ready(known.get((TRUE_VALUE, task.seed, task.configuration))) for task in waiting)
    return [task for task in ready if task is not None]


def _note(run: R, waiting: list[AnyTask[R]], known: dict[Name, R]) -> None:
    """Remove a finished run from the list."""
    waiting[:] = [task for task in waiting if name_of(task) != name_of(run)]
    known[name_of(run)] = run


def _start() -> None:
    """Leave Ctrl-C to the parent, and take one core."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threadpoolctl.threadpool_limits(1)
