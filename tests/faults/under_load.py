"""A trial whose load goes on from before a fault until it has healed."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from stream_coupons.broker import BrokerProcess
from stream_coupons.settings import Settings
from tests.integration.builders import DAY_S, records, wait_until

from .trial import Trial, settings_under_faults, trial

DAYS = 60
"""More than shoppers live through while a fault lasts: the load must not end before it."""
ISSUES_BEFORE = 10
HEALED_FOR_S = 2.0


def unhurried() -> Settings:
    """Settings that suit an answer which takes simulated days: they fly by while it waits.

    Proposals would expire meanwhile. And after an outage ticks may overtake feedback that is older by milliseconds,
    which is more simulated time than the usual grace: it would be refused as late.
    """
    usual = settings_under_faults(proposal_timeout_s=DAYS * DAY_S, max_issues_per_window=20, reorder_suppress_s=0)
    attribution = msgspec.structs.replace(usual.attribution, grace_s=DAYS * DAY_S)
    return msgspec.structs.replace(usual, attribution=attribution)


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
            time.sleep(HEALED_FOR_S)
        running.check()
