"""Other policies on the same shoppers, in processes of low priority beside the live system."""

import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import resource_tracker

from stream_coupons.ops.interrupts import uninterrupted
from stream_coupons.settings import Settings
from stream_coupons_lab.demo.outcomes import Played
from stream_coupons_lab.demo.play import Policy, play_locally
from stream_coupons_lab.processes import processes
from stream_coupons_lab.simulation.shoppers import WorldSettings

CHAINS: tuple[tuple[Policy, ...], ...] = (("random", "highest_p_redeem"), ("true_value", "best_on_average"))
"""Policies of each process, in the order of play: `best_on_average` ranks by the results of `true_value`."""
NICENESS = 5
"""Less than the live system's priority, but not so low that a busy machine leaves them nothing."""


@dataclass(frozen=True, slots=True)
class Baselines:
    """Policies at play in other processes."""

    chains: list[Future[list[Played]]]

    @property
    def share(self) -> float:
        """Share of the chains that have played to the end, 0 to 1."""
        return sum(chain.done() for chain in self.chains) / len(self.chains)

    @property
    def played(self) -> dict[str, Played]:
        """The policies that have played to the end; an error of theirs is raised."""
        return {one.policy: one for chain in self.chains if chain.done() for one in chain.result()}

    def look(self, timeout_s: float = 0.0) -> None:
        """Wait at most `timeout_s` seconds for the next chain, and raise what made one fail."""
        wait([chain for chain in self.chains if not chain.done()], timeout_s, FIRST_COMPLETED)
        for chain in self.chains:
            if chain.done():
                chain.result()


@contextmanager
def baselines(world: WorldSettings, settings: Settings) -> Iterator[Baselines]:
    """Play the other policies; their processes end with the block.

    Raises
    ------
    BadConfig
        If one of them was killed.
    """
    with processes(len(CHAINS)) as pool:
        with uninterrupted(), _without_ctrl_c():
            chains = [pool.submit(_play_chain, chain, world, settings) for chain in CHAINS]
        yield Baselines(chains)


@contextmanager
def _without_ctrl_c() -> Iterator[None]:
    """Start processes that a terminal's Ctrl-C does not reach: it is for this process, which ends them."""
    resource_tracker.ensure_running()  # starting it with the first process would let Ctrl-C through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _play_chain(chain: Sequence[Policy], world: WorldSettings, settings: Settings) -> list[Played]:
    """Play policies one after another."""
    os.nice(NICENESS)
    played: list[Played] = []
    average_minor: Mapping[str, float] = {}
    for policy in chain:
        played.append(play_locally(policy, world, settings, average_minor))
        average_minor = played[-1].average_minor
    return played
