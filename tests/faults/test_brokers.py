"""A broker that is killed under load, or restarted in peace, and comes back."""

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from loopback_kafka import BrokerProcess
from stream_coupons.kafka.settings import Guarantee

from .test_workers import wait_for_issues
from .trial import DAYS, trial, unhurried

pytestmark = pytest.mark.kafka


@pytest.mark.essential
@pytest.mark.parametrize(
    "end",
    [BrokerProcess.kill, pytest.param(BrokerProcess.stop, marks=pytest.mark.slow)],
    ids=["killed", "restarted"],
)
def test_a_broker_that_ends_under_load_and_comes_back_loses_nothing(
    empty_broker: BrokerProcess,
    tmp_path: Path,
    seed: int,
    guarantee: Guarantee,
    end: Callable[[BrokerProcess], None],
    rounds: Callable[[int, int], int],
) -> None:
    chance = random.Random(seed)
    with trial(empty_broker, tmp_path, seed, unhurried(guarantee=guarantee), days=DAYS) as running:
        with running.load():
            wait_for_issues(running)
            for _ in range(rounds(1, 10)):
                time.sleep(chance.uniform(0.0, 1.0))
                end(empty_broker)
                time.sleep(chance.uniform(0.0, 2.0))
                empty_broker.start()
                running.system.wait_ready()
                running.wait_for_work()
        running.check()
