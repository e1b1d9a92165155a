"""Verify and state digest against workers that run, are killed and start again."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from loopback_kafka import BrokerProcess
from stream_coupons.cli.main import app
from stream_coupons.core.messages.catalogue import Campaign
from stream_coupons.kafka import topics
from stream_coupons.kafka.topics import partition_for
from stream_coupons.testing import browse, item
from stream_coupons_lab.demo.system import LocalSystem
from tests.core.builders import for_life

from .builders import (
    AT,
    DAY_S,
    IDLE_WITHIN_S,
    coupon,
    distinct_issues,
    publish_journey,
    send_ticks,
    settings,
)

pytestmark = pytest.mark.kafka

CAMPAIGNS = [Campaign(campaign_id="spring", budget_minor=4000, ends_at=AT + 30 * DAY_S)]
COUPONS = [
    coupon("few", stock=20, redeem_within_s=DAY_S),
    coupon("poor", budget_minor=3000, redeem_within_s=DAY_S),
    coupon("once", caps=for_life(1), redeem_within_s=DAY_S, campaign_id="spring"),
]
ACCOUNTS = 2 * len(COUPONS) + len(CAMPAIGNS)
"""Stock and money of each, and the money of the campaign: of all every partition has a purse."""
SHOPPERS = 40


def run(folder: Path, *verb: str) -> dict[str, Any]:
    """What a verb says as JSON, of the system whose workers have their settings in a folder."""
    result = CliRunner().invoke(app, [*verb, "--json", "--config", str(min(folder.glob("*.toml")))])
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def shoppers_come(system: LocalSystem, visit: int) -> None:
    """Everybody looks at something; some of them buy; a day passes."""
    at = AT + visit * DAY_S
    with system.publisher() as publisher:
        for number in range(SHOPPERS):
            publisher.send(topics.BROWSE, browse(f"u{number}", item(f"i{number % 5}"), at=at))
        publish_journey(publisher, f"buyer-{visit}", "i1", "i2", "i3")
        send_ticks(system, publisher, at + DAY_S)


def test_a_system_is_clean_while_it_runs_and_after_a_restart_its_states_are_the_same(
    empty_broker: BrokerProcess, tmp_path: Path
) -> None:
    system = LocalSystem(empty_broker, settings(), tmp_path, workers=2)
    system.prepare(COUPONS)
    with system.publisher() as publisher:
        for campaign in CAMPAIGNS:
            publisher.send(topics.CAMPAIGNS, campaign)
    with system:
        system.wait_ready()
        for visit in range(3):
            shoppers_come(system, visit)
            assert run(tmp_path, "verify")["clean"]
        system.wait_idle(IDLE_WITHIN_S)
        before = run(tmp_path, "state", "digest")
        partitions = system.settings.kafka.partitions
        given = {
            (partition_for(one.user_id.encode(), partitions), one.coupon_id) for one in distinct_issues(system).values()
        }
        assert {agent: found["keys"] for agent, found in before.items()} == {
            "users": SHOPPERS + 3 + (ACCOUNTS + 1) * partitions + len(given),  # with sums of lift, and results
            "budgets": ACCOUNTS * (1 + partitions),  # with a holding of each partition
            "neighbours": SHOPPERS + 3,
        }

        system.kill(0)
        system.workers[1].process.terminate()
        system.workers[1].process.wait(30)
        for index in range(2):
            system.restart(index)
        system.wait_ready()
        system.wait_idle(IDLE_WITHIN_S)
        assert run(tmp_path, "state", "digest") == before
        audited = run(tmp_path, "verify")
        assert (audited["clean"], audited["not_committed"]) == (True, {})
        checked = {one["check"]: one["checked"] for one in audited["checks"]}
        assert checked["issues"] == len(distinct_issues(system)) > SHOPPERS
        assert checked["records"] > 3 * SHOPPERS

        shoppers_come(system, 3)
        system.wait_idle(IDLE_WITHIN_S)
        assert run(tmp_path, "state", "digest")["users"] != before["users"]
