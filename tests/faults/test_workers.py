"""Workers that are killed, told to leave, paused, added and taken away."""

import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from loopback_kafka import BrokerProcess
from stream_coupons.kafka.settings import Guarantee
from stream_coupons_lab.demo.system import WORKER
from tests.integration.builders import records, total, wait_until

from .failing_worker import AT
from .trial import DAYS, Trial, trial, unhurried

pytestmark = pytest.mark.kafka

NEVER_S = 600.0
"""A commit interval that does not pass within the test: all that a killed worker did is done again by another."""
ENDS_WITHIN_S = 60.0
NEXT_VERSION = ("tests.faults.next_version_worker",)
Rounds = Callable[[int, int], int]


def wait_for_issues(running: Trial) -> None:
    """Wait until the system is amid its work."""
    wait_until(lambda: bool(records(running.system, "coupon-issues")), "a first issue")
    running.system.totals()


def test_what_a_killed_worker_had_done_and_not_committed_is_done_again_alike(
    empty_broker: BrokerProcess, tmp_path: Path, seed: int
) -> None:
    settings = unhurried(commit_interval_s=NEVER_S)
    with trial(empty_broker, tmp_path, seed, settings) as running:
        system = running.system
        running.play(0.4)
        wait_for_issues(running)

        running.kill(0)
        running.play(0.6)
        kafka = msgspec.structs.replace(system.settings.kafka, commit_interval_s=0.3)
        system.settings = msgspec.structs.replace(system.settings, kafka=kafka)
        system.restart(0)
        system.wait_ready()
        running.play(1.0)
        system.totals()
        running.kill(1)
        system.restart(1)
        system.wait_ready()
        running.check()
        assert total(system, "replays_total") > 0, "nothing was done again: this test tested nothing"


@pytest.mark.essential
def test_one_of_three_workers_killed_again_and_again_at_random_moments(
    empty_broker: BrokerProcess, tmp_path: Path, seed: int, guarantee: Guarantee, rounds: Rounds
) -> None:
    chance = random.Random(seed)
    with trial(empty_broker, tmp_path, seed, unhurried(guarantee=guarantee), workers=3, days=DAYS) as running:
        with running.load():
            wait_for_issues(running)
            for _ in range(rounds(2, 20)):
                time.sleep(chance.uniform(0.2, 4.0))
                victim = chance.randrange(3)
                running.system.totals()
                running.kill(victim)
                running.system.restart(victim)
                running.system.wait_ready()
        running.check()


@pytest.mark.parametrize("at", AT)
def test_a_worker_killed_at_a_failpoint(
    empty_broker: BrokerProcess, tmp_path: Path, seed: int, guarantee: Guarantee, at: str
) -> None:
    chance = random.Random(f"{seed} {at}")
    with trial(empty_broker, tmp_path, seed, unhurried(guarantee=guarantee), days=DAYS) as running:
        system = running.system
        with running.load():
            wait_for_issues(running)
            running.kill(0)
            system.restart(0, ("tests.faults.failing_worker", f"{at}:{chance.randint(1, 30)}"))
            wait_until(lambda: system.workers[0].process.poll() is not None, f"death {at}", ENDS_WITHIN_S)
            assert system.workers[0].process.returncode == -signal.SIGKILL
            running.kills += 1
            system.restart(0)
            system.wait_ready()
        running.check()


def test_a_worker_told_to_leave_goes_within_its_grace_period(
    empty_broker: BrokerProcess, tmp_path: Path, seed: int, guarantee: Guarantee
) -> None:
    with trial(empty_broker, tmp_path, seed, unhurried(guarantee=guarantee), days=DAYS) as running:
        with running.load():
            wait_for_issues(running)
            leaving = running.system.workers[0].process
            leaving.terminate()
            assert leaving.wait(30) == 0
            running.system.restart(0)
            running.system.wait_ready()
        running.check()


def test_a_worker_paused_beyond_its_session_harms_nothing_when_it_wakes(
    empty_broker: BrokerProcess, tmp_path: Path, seed: int, guarantee: Guarantee, rounds: Rounds
) -> None:
    chance = random.Random(seed)
    settings = unhurried(guarantee=guarantee)
    with trial(empty_broker, tmp_path, seed, settings, days=DAYS) as running:
        system = running.system
        with running.load():
            wait_for_issues(running)
            for _ in range(rounds(1, 5)):
                time.sleep(chance.uniform(0.2, 2.0))
                before = len(records(system, "coupon-issues"))
                paused, other = chance.sample(system.workers, 2)
                paused.process.send_signal(signal.SIGSTOP)
                time.sleep(settings.kafka.session_timeout_s)

                def is_taken_over(index: int = system.workers.index(other)) -> bool:
                    system.check()  # who woke in the last round may only now have ended
                    return owns_all(system.workers[index].scrape())

                wait_until(is_taken_over, "a takeover")
                wait_until(lambda before=before: len(records(system, "coupon-issues")) > before, "issues after it")
                paused.process.send_signal(signal.SIGCONT)
                time.sleep(2.0)
                system.wait_ready()
        running.check()


def owns_all(samples: dict[tuple[str, tuple[tuple[str, str], ...]], float]) -> bool:
    """Whether a worker reports the lag of every partition of an input, which it does for those that it owns."""
    owned = {dict(labels)["partition"] for name, labels in samples if name == "stream_coupons_lag_records"}
    return owned >= {"0", "1", "2", "3"}


def test_workers_come_and_go(
    empty_broker: BrokerProcess, tmp_path: Path, seed: int, guarantee: Guarantee, rounds: Rounds
) -> None:
    with trial(empty_broker, tmp_path, seed, unhurried(guarantee=guarantee), workers=1, days=DAYS) as running:
        system = running.system
        with running.load():
            wait_for_issues(running)
            for _ in range(rounds(1, 5)):
                system.add(2)
                system.wait_ready()
                for _ in range(2):
                    system.totals()
                    system.remove()
                system.wait_ready()
        running.check()


def test_workers_of_two_versions_are_exchanged_one_by_one_and_back(
    empty_broker: BrokerProcess, tmp_path: Path, seed: int, guarantee: Guarantee, rounds: Rounds
) -> None:
    with trial(empty_broker, tmp_path, seed, unhurried(guarantee=guarantee), days=DAYS) as running:
        system = running.system
        with running.load():
            wait_for_issues(running)
            for _ in range(rounds(1, 3)):
                for command in (NEXT_VERSION, WORKER):
                    for index, worker in enumerate(list(system.workers)):
                        system.totals()
                        worker.process.terminate()
                        assert worker.process.wait(30) == 0
                        system.restart(index, command)
                        system.wait_ready()
        running.check()
        new = [b"added_in_the_next_version" in record.value for record in records(system, "coupon-issues")]
        assert {True, False} == set(new), "both versions must have issued"
