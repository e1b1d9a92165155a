"""A trial whose load goes on from before a fault until it has healed."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from loopback_kafka import BrokerProcess
from stream_coupons.settings import Settings
from tests.integration.builders import records, wait_until

from .trial import DAYS, Trial, trial, unhurried

ISSUES_BEFORE = 10


@contextmanager
def trial_under_load(
    broker: BrokerProcess, folder: Path, seed: int, settings: Settings | None = None
) -> Iterator[Trial]:
    """Work that is amid its flow when the block begins, and goes on when all workers are ready; then the check."""
    with trial(broker, folder, seed, settings or unhurried(), days=DAYS) as running:
        with running.load():
            wait_until(lambda: len(records(running.system, "coupon-issues")) >= ISSUES_BEFORE, "the first issues")
            yield running
            running.system.wait_ready()
            running.wait_for_work()
        running.check()
