"""Other policies on the same shoppers, in processes of low priority beside the live system."""

import multiprocessing
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
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

CHAINS: tuple[tuple[Policy, ...], ...] = (("random", "highest_p_redeem"), ("true_value", "best_on_average"))
"""Policies of each process, in the order of play: `best_on_average` ranks by the results of `true_value`."""
NICENESS = 5
"""Less than the live system's priority, but not so low that a busy machine leaves them nothing."""


class BaselineFailed(StreamCouponsError):
    """A process that plays other policies ended before it had played them."""


class Baselines:
    """Plays policies in child processes; use it as a context manager, which ends them at once.

    Attributes
    ----------
    played : dict
        The policies that have played to the end.
    """

    def __init__(self, world: WorldSettings, settings: Settings) -> None:
        self.played: dict[str, Played] = {}
        self._arguments = (world, settings)
        self._children: list[multiprocessing.process.BaseProcess] = []
        self._open: list[Connection[Any, Any]] = []

    @property
    def share(self) -> float:
        """Share of the policies that have played to the end, 0 to 1."""
        return len(self.played) / sum(map(len, CHAINS))

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
        """Take in the results that are there, waiting for the first one at most `timeout_s` seconds.

        Raises
        ------
        BaselineFailed
            If a process ended before its policies had played; its error is on standard error.
        """
        for connection in wait([each for each in self._open if not each.closed], timeout_s):
            assert isinstance(connection, Connection)
            try:
                played: Played = connection.recv()
            except (EOFError, ConnectionResetError):
                connection.close()
                chain = CHAINS[self._open.index(connection)]
                if not self.played.keys() >= set(chain):
                    raise BaselineFailed(f"the process that plays {' and '.join(chain)} ended by itself") from None
            else:
                self.played[played.policy] = played


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
    """Play policies one after another, and report each result."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(NICENESS)
    average_minor: Mapping[str, float] = {}
    for policy in chain:
        played = play_locally(policy, world, settings, average_minor)
        average_minor = played.average_minor
        connection.send(played)
