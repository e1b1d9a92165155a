"""A bad network between workers and broker, under load; shoppers and audit reach the broker by another port."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest

from loopback_kafka import BrokerProcess
from stream_coupons.settings import Settings
from tests.integration.builders import wait_until

from .proxy import Direction, Proxy
from .under_load import trial_under_load, unhurried

pytestmark = pytest.mark.kafka

PRODUCE_TIMEOUT_S = 4.0
OUTAGE_S = 9.0
"""Longer than a session and than the patience of a producer: both must give up."""
SLOW_FOR_S = 12.0
NARROW_BYTES_PER_S = 8_000.0
"""64 kbit/s."""
REBALANCE_TIMEOUT_S = 8.0
MOST_SWALLOWED = 5
"""Responses one after another."""

Rounds = Callable[[int, int], int]


def impatient(**about: Any) -> Settings:
    """Settings whose producers give up within an outage."""
    usual = unhurried()
    kafka = msgspec.structs.replace(usual.kafka, produce_timeout_s=PRODUCE_TIMEOUT_S, **about)
    return msgspec.structs.replace(usual, kafka=kafka)


@pytest.mark.essential
@pytest.mark.parametrize("then", ["close", pytest.param("stall", marks=pytest.mark.slow)])
def test_records_whose_acknowledgement_was_lost_are_not_lost_and_not_doubled(
    proxied_broker: BrokerProcess,
    proxy: Proxy,
    tmp_path: Path,
    seed: int,
    rounds: Rounds,
    then: Literal["close", "stall"],
) -> None:
    swallowed = 0
    with trial_under_load(proxied_broker, tmp_path, seed, impatient()) as running:
        for number in range(rounds(3, 20)):
            count = 1 + number % MOST_SWALLOWED
            proxy.swallow(count, then)
            swallowed += count

            def are_swallowed(wanted: int = swallowed) -> bool:
                running.system.check()  # who has tried often enough leaves
                return proxy.swallowed == wanted

            wait_until(are_swallowed, f"{swallowed} responses swallowed")
            running.wait_for_work()
    assert proxy.swallowed == swallowed


def test_a_worker_whose_writes_stall_beyond_a_rebalance_ends_before_others_go_on(
    proxied_broker: BrokerProcess, proxy: Proxy, tmp_path: Path, seed: int, rounds: Rounds
) -> None:
    """It is heard all the time, but has work in hand and cannot join again: the group goes on without it."""
    settings = impatient(rebalance_timeout_s=REBALANCE_TIMEOUT_S)
    with trial_under_load(proxied_broker, tmp_path, seed, settings) as running:
        for _ in range(rounds(1, 5)):
            swallowed, restarts = proxy.swallowed, running.system.restarts
            with proxy.swallowing("stall"):
                wait_until(lambda before=swallowed: proxy.swallowed > before, "a response swallowed")  # type: ignore[misc]
                running.kill(0)
                running.system.restart(0)

                def is_left_behind(before: int = restarts) -> bool:
                    running.system.check()
                    return running.system.restarts > before

                wait_until(is_left_behind, "the end of the other worker")
            running.wait_for_work()
            running.system.wait_ready()


@pytest.mark.parametrize("direction", Direction)
def test_a_cut_of_one_direction_heals(
    proxied_broker: BrokerProcess, proxy: Proxy, tmp_path: Path, seed: int, rounds: Rounds, direction: Direction
) -> None:
    with trial_under_load(proxied_broker, tmp_path, seed, impatient()) as running:
        for _ in range(rounds(1, 10)):
            held = proxy.held_bytes
            with proxy.holding(direction):
                time.sleep(OUTAGE_S)
            assert proxy.held_bytes > held, "nothing wanted to pass"
            running.wait_for_work()


def test_a_network_that_comes_and_goes_heals(
    proxied_broker: BrokerProcess, proxy: Proxy, tmp_path: Path, seed: int, rounds: Rounds
) -> None:
    with trial_under_load(proxied_broker, tmp_path, seed, impatient()) as running:
        for _ in range(rounds(6, 60)):
            dropped, refused = proxy.dropped, proxy.refused
            with proxy.down():
                time.sleep(0.7)
            assert proxy.dropped > dropped, "there was no connection to cut"
            assert proxy.refused > refused, "nobody tried to come back"
            running.wait_for_work()


def test_two_seconds_of_latency_each_way_heal(
    proxied_broker: BrokerProcess, proxy: Proxy, tmp_path: Path, seed: int, rounds: Rounds
) -> None:
    check_slow(proxied_broker, proxy, tmp_path, seed, [proxy.delaying(2.0) for _ in range(rounds(1, 5))])


def test_a_line_of_64_kbit_a_second_heals(
    proxied_broker: BrokerProcess, proxy: Proxy, tmp_path: Path, seed: int, rounds: Rounds
) -> None:
    faults = [proxy.narrowing(NARROW_BYTES_PER_S) for _ in range(rounds(1, 5))]
    check_slow(proxied_broker, proxy, tmp_path, seed, faults)


def check_slow(
    broker: BrokerProcess, proxy: Proxy, folder: Path, seed: int, faults: list[AbstractContextManager[None]]
) -> None:
    """Run a trial in which the network is slow again and again, at last more than a session long."""
    with trial_under_load(broker, folder, seed) as running:
        for fault in faults:
            slowed = proxy.slowed_bytes
            with fault:
                time.sleep(SLOW_FOR_S)
            assert proxy.slowed_bytes > slowed, "nothing was made to wait"
            running.wait_for_work()
