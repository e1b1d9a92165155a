"""A system without records decides what the one with records decides."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from msgspec import Struct

from benchmarks.direct import DirectPipeline
from stream_coupons.core.decision.scoring import Scorer
from stream_coupons.core.messages.catalogue import Campaign, Coupon
from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.core.shopper.profile import HOUR_S
from stream_coupons.kafka import topics
from stream_coupons.kafka.codec import Decoder
from stream_coupons.kafka.records import Output
from stream_coupons.settings import Settings
from stream_coupons.testing import START, LocalPipeline, browse, coupon, item
from stream_coupons_lab.demo.rankings import TrueValue
from stream_coupons_lab.simulation.shoppers import World, WorldSettings

WORLD = WorldSettings(seed=5, shoppers=40, days=5, coupons=12)
SETTINGS = msgspec.structs.replace(
    Settings(),
    neighbourhood=msgspec.structs.replace(Settings().neighbourhood, cells=2, publish_every_s=600.0),
    attribution=msgspec.structs.replace(Settings().attribution, grace_s=3600.0),
)


def catalogue_of(world: World) -> list[Coupon]:
    """The world's coupons: the money of some is scarce and has a price, some share that of a campaign."""
    terms = {"valid_from": world.now, "valid_until": world.ends_at}
    spring: dict[str, Any] = {"campaign_id": "spring"}
    own: list[dict[str, Any]] = [spring, spring, {"budget_hold": "maximum"} | terms, terms]
    return [
        msgspec.structs.replace(
            each, budget_minor=each.max_discount_minor * 8 if number % 4 > 1 else None, **own[number % 4]
        )
        for number, each in enumerate(world.catalogue())
    ]


def campaigns_of(world: World) -> list[Campaign]:
    return [Campaign(campaign_id="spring", budget_minor=900, starts_at=world.now, ends_at=world.ends_at)]


def played(
    world: World, send: Callable[[Struct], None], tick: Callable[[float], None], issues: list[CouponIssue]
) -> list[CouponIssue]:
    given = []
    while world.now < world.ends_at:
        for _, message in world.advance(min(world.now + 3600.0, world.ends_at)):
            send(message)
        tick(world.now)
        for issue in issues:
            world.receive(issue)
        given += issues
        issues.clear()
    return given


@pytest.mark.long
@pytest.mark.parametrize("learns", [True, False])
def test_it_decides_what_the_system_with_records_decides(learns: bool) -> None:
    def scorer_of(world: World) -> Scorer | None:
        return None if learns else TrueValue(world, 2.0)

    world, issues = World(WORLD), list[CouponIssue]()
    decode = Decoder(topics.ISSUES)

    def take(output: Output) -> None:
        if output.topic == topics.ISSUES.name:
            issues.append(decode(output.value))

    facts = []
    local = LocalPipeline(
        SETTINGS,
        catalogue_of(world),
        scorer=scorer_of(world),
        on_output=take,
        on_result=lambda r: facts.append(r.facts),
        campaigns=campaigns_of(world),
    )
    expected = played(world, local.publish, local.tick, issues)

    world, issues = World(WORLD), []
    direct = DirectPipeline(
        SETTINGS,
        catalogue_of(world),
        scorer=scorer_of(world),
        on_message=lambda message: issues.append(message) if isinstance(message, CouponIssue) else None,
        campaigns=campaigns_of(world),
    )
    found = played(world, direct.send, direct.tick, issues)
    assert len(found) > 40
    assert found == expected
    assert {issue.campaign_id for issue in found} == {None, "spring"}
    assert any(issue.price_minor > 0.0 for issue in found)
    assert direct.facts == sum(facts[1:], facts[0])
    assert direct.facts["lease", "granted"] > 0, "one partition has all: leases carry prices"
    assert not direct.refused


def test_a_history_leads_to_no_coupon_and_tells_what_shoppers_like() -> None:
    issues: list[CouponIssue] = []
    direct = DirectPipeline(
        SETTINGS,
        [coupon("coffee", categories=["coffee"]), coupon("tea", categories=["tea"])],
        on_message=lambda message: issues.append(message) if isinstance(message, CouponIssue) else None,
    )
    with direct.without_coupons():
        for visit in range(10):
            direct.send(browse("u", item("T", category="tea"), at=START + 8 * HOUR_S * visit))
    direct.tick(START + 100 * HOUR_S)
    assert not issues
    assert not [kind for noun, kind in direct.facts if noun == "decision"]

    direct.send(browse("u", at=START + 101 * HOUR_S))
    assert [issue.coupon_id for issue in issues] == ["tea"]
