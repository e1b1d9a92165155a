"""Workers whose clocks are days ahead or behind, and step while they run.

Where libfaketime is missing the tests are skipped, or fail in continuous integration.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from benchmarks.cluster_faults.supervised import SupervisedSystem
from loopback_kafka import BrokerProcess
from stream_coupons.core.messages.inputs import FeedbackEvent
from stream_coupons.core.money.accounts import money_of
from stream_coupons.kafka import topics
from stream_coupons.testing import browse
from stream_coupons_lab.simulation.shoppers import World, WorldSettings
from tests.integration.builders import DAY_S, coupon, messages, wait_until

from .trial import Trial, are_taken, purses, settings_under_faults, trial_of, valid

pytestmark = pytest.mark.kafka

LEFT = 30
SHOPPERS, GROUPS = 50, 20
STEP_DAYS = 3
WITHIN_S = 2 * DAY_S
"""Coupons can be used for so long: with their grace of an hour, a clock that is three days ahead has seen their end."""


def library() -> Path:
    """libfaketime, which answers for the system's clock; the monotonic one it leaves alone."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not found:
        reason = "no libfaketime: apt-get install faketime"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
    return found[0]


@dataclass(frozen=True)
class Clock:
    """The clock of one worker."""

    file: Path

    def step(self, days: int) -> None:
        """Be so many days ahead of the true time from now on; negative for behind."""
        temporary = self.file.with_suffix(".new")
        temporary.write_text(f"{days:+d}d\n")
        temporary.replace(self.file)  # the worker reads it at any time

    def environment(self) -> dict[str, str]:
        """What makes a process read this clock."""
        return {
            "LD_PRELOAD": str(library()),
            "FAKETIME_TIMESTAMP_FILE": str(self.file),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DONT_RESET": "1",
        }


PHASES = {"apart": (STEP_DAYS, -STEP_DAYS), "ahead": (STEP_DAYS, 0), "behind": (0, -STEP_DAYS)}
"""How many days the clocks of the two workers are ahead."""
LOAD_DAYS = 2
HOUR_TAKES_S = 3.0
"""The load must not be ahead of time, nor far behind: the ticks of true clocks end its coupons."""


def test_no_clock_of_a_worker_ends_a_promise_early_or_gives_its_money_twice(
    empty_broker: BrokerProcess, tmp_path: Path, seed: int, rounds: Callable[[int, int], int]
) -> None:
    phases = dict(list(PHASES.items())[: rounds(1, len(PHASES))])
    clocks = [Clock(tmp_path / f"clock-{number}") for number in (1, 2)]
    for clock in clocks:
        clock.step(0)
    settings = settings_under_faults(trigger_timeout_s=30 * DAY_S)
    settings = msgspec.structs.replace(settings, worker=msgspec.structs.replace(settings.worker, tick_every_s=0.5))
    start_at = time.time() - LOAD_DAYS * DAY_S
    world = World(WorldSettings(seed=seed, shoppers=60, days=LOAD_DAYS, coupons=12, start_at=start_at))
    system = SupervisedSystem(empty_broker, settings, tmp_path / "workers", len(clocks))
    system.environment = {f"worker-{number}": clock.environment() for number, clock in enumerate(clocks, 1)}
    with trial_of(system, world) as running:
        terms = {"budget_minor": LEFT * 100, "redeem_within_s": WITHIN_S}
        running.add_coupons([coupon(phase, domain=phase, **terms) for phase in phases])
        promised = {}
        for phase, days in phases.items():
            with running.load(pause_s=HOUR_TAKES_S):
                promised[phase] = ask(running, phase)
                for clock, ahead in zip(clocks, days, strict=True):
                    clock.step(ahead)
                wait_until(lambda days=days: days_of_ticks(running) >= set(days), f"ticks of clocks that are {phase}")
                time.sleep(2)
                send_browses(running, phase, "second")
                wait_answers(running, phase)
                redeem(running, phase, promised[phase])
                send_browses(running, phase, "third")
                time.sleep(3)
                for clock in clocks:
                    clock.step(0)
                wait_answers(running, phase)
        running.check()
        check_promises(running, promised)


def send_browses(running: Trial, phase: str, visit: str) -> None:
    """Shoppers of every partition want the coupon of a phase."""
    now = time.time()
    for number in range(SHOPPERS):
        user_id = f"{phase}-{visit}-{number}"
        running.send(topics.BROWSE, browse(user_id, at=now, event_id=user_id, domain=phase))
    running.flush()


def ask(running: Trial, phase: str) -> dict[str, str]:
    """Let shoppers want the coupon of a phase until all are given; who was given which issue.

    Who comes between a partition's lease and the next one finds it sold out, so others come after them.
    """
    for group in range(GROUPS):
        send_browses(running, phase, f"first-{group}")
        wait_answers(running, phase)
        if len(given(running, phase)) == LEFT:
            return given(running, phase)
    raise AssertionError(f"{GROUPS * SHOPPERS} shoppers were given {len(given(running, phase))} of {LEFT} coupons")


def wait_answers(running: Trial, phase: str) -> None:
    """Wait until all shoppers of a phase have their answer."""

    def answered() -> bool:
        running.system.check()
        return are_taken(running.system, topics.BROWSE, f"{phase}-")

    wait_until(answered, f"answers of {phase}", within_s=90)


def given(running: Trial, phase: str) -> dict[str, str]:
    """Issues of a phase's coupon by id, and to whom."""
    return {one.issue_id: one.user_id for one in valid(running.system, topics.ISSUES) if one.coupon_id == phase}


def redeem(running: Trial, phase: str, promised: dict[str, str]) -> None:
    """All who were given the coupon of a phase use it, two days before its end."""
    for issue_id, user_id in promised.items():
        about = {"event_id": f"used-{issue_id}", "user_id": user_id, "occurred_at": time.time(), "domain": phase}
        running.send(topics.FEEDBACK, FeedbackEvent(issue_id=issue_id, order_id=issue_id, kind="purchase", **about))
    running.flush()


def days_of_ticks(running: Trial) -> set[int]:
    """How many days ahead of now the ticks have been."""
    now = time.time()
    return {round((tick.at - now) / DAY_S) for tick in messages(running.system, topics.TICKS)}


def check_promises(running: Trial, promised: dict[str, dict[str, str]]) -> None:
    """Whoever was given a coupon could use it, and nobody was given the same money meanwhile."""
    for phase, issues in promised.items():
        money = purses(running.system, money_of(phase))
        assert (money.committed, money.spent) == (LEFT * 100, LEFT * 100), phase
        assert given(running, phase) == issues, f"the money of {phase} was promised twice"
