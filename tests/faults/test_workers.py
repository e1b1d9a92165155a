"""Workers that are killed or told to leave."""

from pathlib import Path

import msgspec
import pytest

from stream_coupons.broker import BrokerProcess
from stream_coupons.settings import Guarantee
from tests.integration.builders import records, total, wait_until

from .trial import Trial, settings_under_faults, trial

pytestmark = pytest.mark.kafka

NEVER_S = 600.0
"""A commit interval that does not pass within the test: all that a killed worker did is done again by another."""


def wait_for_issues(running: Trial) -> None:
    """Wait until the system is amid its work."""
    wait_until(lambda: bool(records(running.system, "coupon-issues")), "a first issue")
    running.system.totals()


def test_a_worker_killed_amid_a_closed_loop_loses_and_changes_nothing(
    empty_broker: BrokerProcess, tmp_path: Path, seed: int, guarantee: Guarantee
) -> None:
    settings = settings_under_faults(commit_interval_s=NEVER_S, guarantee=guarantee)
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
        if guarantee is Guarantee.AT_LEAST_ONCE:
            assert total(system, "replays_total") > 0, "nothing was done again: this test tested nothing"


def test_a_worker_told_to_leave_goes_within_its_grace_period(
    empty_broker: BrokerProcess, tmp_path: Path, seed: int, guarantee: Guarantee
) -> None:
    with trial(empty_broker, tmp_path, seed, settings_under_faults(guarantee=guarantee)) as running:
        running.play(0.4)
        wait_for_issues(running)
        leaving = running.system.workers[0].process
        leaving.terminate()
        running.play(0.6)
        assert leaving.wait(30) == 0
        running.system.restart(0)
        running.play(1.0)
        running.check()
