"""Other policies on the same shoppers, in processes of low priority beside the live system."""

import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any, Self

from stream_coupons.core.errors import StreamCouponsError
from stream_coupons.ops.interrupts import uninterrupted
from stream_coupons.settings import Settings
from stream_coupons_lab.demo.outcomes import Played
from stream_coupons_lab.demo.play import Policy, play_locally
from stream_coupons_lab.simulation.shoppers import WorldSettings

Progress = tuple[Policy, int]
"""A policy, and how many days it has played."""
CHAINS: tuple[tuple[Policy, ...], ...] = (("random", "highest_p_redeem"), ("true_value", "best_on_average"))
"""Policies of each process, in the order of play: `best_on_average` ranks by the results of `true_value`."""
NICENESS = 5
"""Less than the live system's priority, but not so low that a busy machine leaves them nothing."""


class BaselineFailed(StreamCouponsError):
    """A process that played a baseline ended with an error."""


class Baselines:
    """Plays policies in child processes; use it as a context manager, which ends them at once.

    Attributes
    ----------
    days : dict
        Number of days that each policy has played so far.
    played : dict
        The policies that have played to the end.
    """

    def __init__(self, world: WorldSettings, settings: Settings) -> None:
        self.days: dict[Policy, int] = {policy: 0 for chain in CHAINS for policy in chain}
        self.played: dict[str, Played] = {}
        self._world_days = world.days
        self._arguments = (world, settings)
        self._children: list[multiprocessing.process.BaseProcess] = []
        self._open: list[Connection[Any, Any]] = []

    @property
    def share(self) -> float:
        """Share of all days that has been played, 0 to 1."""
        done = sum(self._world_days if policy in self.played else days for policy, days in self.days.items())
        return done / (self._world_days * len(self.days))

    @property
    def is_over(self) -> bool:
        """True if all policies have played to the end."""
        return len(self.played) == len(self.days)

    def __enter__(self) -> Self:
        context = multiprocessing.get_context("spawn")
        try:
            for chain in CHAINS:
                ours, theirs = context.Pipe(duplex=False)
                self._open.append(ours)
                child = context.Process(target=_play_chain, args=(theirs, chain, *self._arguments), daemon=True)
                with uninterrupted(), _without_ctrl_c():
                    child.start()
                    self._children.append(child)
                theirs.close()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for child in self._children:
            child.kill()
        for child in self._children:
            child.join()
        for connection in self._open:
            connection.close()

    def look(self, timeout_s: float = 0.0) -> None:
        """Take in what the processes have reported, waiting for the first report at most `timeout_s` seconds.

        Raises
        ------
        BaselineFailed
            If a process ended before its policies had played.
        """
        while ready := wait(self._open, timeout_s):
            timeout_s = 0.0
            for connection in ready:
                assert isinstance(connection, Connection)
                try:
                    report: Progress | Played | str | None = connection.recv()
                except (EOFError, ConnectionResetError):
                    report = "it ended by itself"
                if isinstance(report, str):
                    raise BaselineFailed(f"a baseline could not be played: {report}")
                if report is None:
                    self._open.remove(connection)
                    connection.close()
                elif isinstance(report, Played):
                    self.played[report.policy] = report
                else:
                    policy, day = report
                    self.days[policy] = day


@contextmanager
def _without_ctrl_c() -> Iterator[None]:
    """Start processes that a terminal's Ctrl-C does not reach: it is for this process, which ends them."""
    resource_tracker.ensure_running()  # starting it with the first process would let Ctrl-C through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _play_chain(
    connection: "Connection[Any, Any]", chain: Sequence[Policy], world: WorldSettings, settings: Settings
) -> None:
    """Play policies one after another, and report each day, each result, and the end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(NICENESS)
    average_minor: dict[str, float] = {}
    try:
        for policy in chain:

            def report(day: int, policy: Policy = policy) -> None:
                connection.send((policy, day))

            played = play_locally(policy, world, settings, report, average_minor=average_minor)
            average_minor = played.average_minor
            connection.send(played)
        connection.send(None)
    except BrokenPipeError:
        pass  # nobody waits for it any more
    except Exception as error:
        connection.send(repr(error))
        raise
