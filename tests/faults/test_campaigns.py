"""One budget shared by many coupons, under kills; pause and resume under load; money that is reported anew."""

import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from benchmarks.cluster_faults.supervised import SupervisedSystem
from loopback_kafka import BrokerProcess
from stream_coupons.core.messages.catalogue import BudgetHold, Campaign
from stream_coupons.core.money.accounts import campaign_of
from stream_coupons.kafka import topics
from stream_coupons.testing import feedback
from stream_coupons_lab.simulation.shoppers import WorldSettings
from tests.integration.builders import records, total, wait_until

from .trial import (
    BUDGET_OF_CAMPAIGN,
    DAYS,
    CampaignWorld,
    Trial,
    purses,
    trial,
    trial_of,
    unhurried,
)

pytestmark = pytest.mark.kafka

COUPONS = 50
QUIET_EVENTS = 200
"""Events that must pass without a coupon before a pause counts as in effect."""


@pytest.mark.essential
@pytest.mark.parametrize("hold", ["maximum", "quantile"])
def test_a_budget_of_fifty_coupons_holds_whoever_dies(
    empty_broker: BrokerProcess, tmp_path: Path, seed: int, rounds: Callable[[int, int], int], hold: BudgetHold
) -> None:
    world = CampaignWorld(WorldSettings(seed=seed, shoppers=60, days=DAYS, coupons=COUPONS), hold)
    system = SupervisedSystem(empty_broker, unhurried(), tmp_path, workers=2)
    with trial_of(system, world) as running:
        with running.load():
            for number in range(rounds(3, 20)):
                running.wait_for_work()
                running.kill(number % 2)
                system.restart(number % 2)
                system.wait_ready()
            running.wait_for_work()
        use_all(running)
        running.check()
        shared = purses(system, campaign_of(world.campaign.campaign_id))
        committed = shared.drawn - shared.freed
        assert committed > 0
        assert shared.spent - shared.refunded > 0
        if hold == "maximum":
            assert committed <= BUDGET_OF_CAMPAIGN


@pytest.mark.essential
def test_a_paused_campaign_gives_nothing_until_it_is_resumed(
    empty_broker: BrokerProcess, tmp_path: Path, seed: int
) -> None:
    with trial(empty_broker, tmp_path, seed, unhurried(), days=DAYS) as running:
        campaign = Campaign(campaign_id="pausing")
        running.send(topics.CAMPAIGNS, campaign)
        running.add_coupons([])
        for one in running.world.catalogue():
            running.send(topics.CATALOG, msgspec.structs.replace(one, campaign_id=campaign.campaign_id))
        running.flush()
        with running.load():
            wait_until(lambda: count(running) >= 10, "the first coupons")
            running.send(topics.CAMPAIGNS, msgspec.structs.replace(campaign, state="paused"))
            running.flush()
            paused_at = time.time()
            wait_until(lambda: is_quiet(running), "no coupon while events go on")
            before = count(running)
            last_at = max(record.timestamp for record in records(running.system, topics.ISSUES.name)) / 1000
            running.figures["paused after ms"] = max(round((last_at - paused_at) * 1000), 0)
            running.wait_for_work()
            assert count(running) == before
            running.send(topics.CAMPAIGNS, campaign)
            running.flush()
            wait_until(lambda: count(running) > before, "coupons after the pause")
        running.check()


def use_all(running: Trial) -> None:
    """Every coupon that was handed out is used, for 1 cent, unless its shopper has used it since."""
    for issue in running.issues.values():
        running.send(topics.FEEDBACK, feedback(issue, "purchase", discount_minor=1))
    running.flush()


def count(running: Trial) -> int:
    """How many coupons were issued."""
    return len(records(running.system, topics.ISSUES.name))


def is_quiet(running: Trial) -> bool:
    """Return True if no coupon is issued while workers process `QUIET_EVENTS` browse events."""

    def processed() -> float:
        return total(running.system, "records_total", topic=topics.BROWSE.name)

    issued, before = count(running), processed()
    wait_until(lambda: processed() >= before + QUIET_EVENTS, "events")
    return count(running) == issued
