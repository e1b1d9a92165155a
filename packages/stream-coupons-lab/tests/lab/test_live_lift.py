"""The live measurement of lift is the offline one: the same shoppers, outcomes and sums, from the same log."""

from collections.abc import Iterable

import numpy as np
import pytest
from msgspec import Struct
from msgspec.structs import replace

from stream_coupons.core.measurement.lift import contrast
from stream_coupons.core.measurement.lift_sums import COVARIATES, MARGIN, ORDERS, matrices
from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.core.messages.inputs import OrderEvent
from stream_coupons.core.messages.lift import LiftTotals
from stream_coupons.core.rules import PolicyRules
from stream_coupons.ops.digest import digests_of
from stream_coupons.ops.lift_log import LiftLog
from stream_coupons.ops.measured_lift import LiftRow, report
from stream_coupons.settings import Settings
from stream_coupons.testing import LocalPipeline, order
from stream_coupons_lab.simulation.shoppers import World, WorldSettings

HOUR_S = 3600.0
RULES = PolicyRules(holdout_ratio=0.3, cooldown_s=HOUR_S, totals_every_s=0.0, known_after=0.0, min_value_minor=-1e6)
DAYS, OF_HISTORY = 5, 2
WORLD = WorldSettings(seed=3, shoppers=90, coupons=12, days=DAYS)


def with_prices(message: Struct) -> Struct:
    """The same message; an order's items without a price get one, which the two measurements impute differently.

    Every other order states a margin of its items.
    """
    if not isinstance(message, OrderEvent):
        return message
    margin_ratio = 0.2 if message.event_id[-1] in "13579" else None
    return replace(
        message,
        items=[replace(one, price_minor=one.price_minor or 500, margin_ratio=margin_ratio) for one in message.items],
    )


def played(partitions: int) -> LocalPipeline:
    """A simulated shop: shoppers use none of the coupons of the first two days, and are given more on the others."""
    world, given = World(WORLD), list[CouponIssue]()
    shop = LocalPipeline(Settings(policy=RULES), world.catalogue(), partitions=partitions, serves_at_once=False)
    shop.listen(CouponIssue, given.append)
    shop.publish(order("first", at=world.settings.start_at))  # the offline measurement begins with the first order
    for hour in range(1, 24 * DAYS + 1):
        until = world.settings.start_at + hour * HOUR_S
        shop.publish(*(with_prices(message) for _, message in world.advance(until)))
        shop.tick(until)
        for issue in given if hour > 24 * OF_HISTORY else []:
            world.receive(issue)
        given.clear()
    return shop


@pytest.fixture(scope="module")
def shop() -> LocalPipeline:
    return played(partitions=1)


def offline(shop: LocalPipeline) -> LiftRow:
    log = LiftLog(RULES)
    for output in shop.outputs:
        log.take(output.topic, output.value)
    for coupon in World(WORLD).catalogue():
        log.note(coupon)
    return report(log, RULES).rows[0]


def latest(totals: Iterable[LiftTotals]) -> list[LiftTotals]:
    return list({one.partition: one for one in totals}.values())


@pytest.mark.parametrize("partitions", [1, 3])
def test_live_totals_are_the_offline_report_on_the_same_log(shop: LocalPipeline, partitions: int) -> None:
    of_log = shop if partitions == 1 else played(partitions)
    row, totals = offline(of_log), latest(of_log.messages(LiftTotals))
    assert len(totals) == partitions
    sums = matrices(np.sum([one.products for one in totals], axis=0))
    counts = sums[..., 0, 0].sum(axis=0)
    assert (counts[0], counts[1], sums[..., 0, ORDERS].sum()) == (row.treated, row.holdout, row.orders)
    assert min(counts) > 20
    for place, outcome in ((MARGIN, "margin"), (ORDERS, "orders")):
        kept = [0, *COVARIATES, place]
        assert float(contrast(sums[..., kept, :][..., kept]).value) == pytest.approx(
            row.effects[outcome].lift.value, rel=1e-4
        )
    assert sum(one.predicted_minor for one in totals) == pytest.approx(row.predicted_minor)
    assert row.given > 50


def test_a_replay_of_the_log_has_the_same_states_and_totals(shop: LocalPipeline) -> None:
    again = played(partitions=1)
    assert again.messages(LiftTotals) == shop.messages(LiftTotals)
    assert digests_of(again.states()) == digests_of(shop.states())
