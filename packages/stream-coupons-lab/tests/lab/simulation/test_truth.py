"""The truth says what happens, as often as it says."""

import numpy as np
import pytest

from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.core.messages.inputs import OrderEvent
from stream_coupons.testing import issue as issue_of
from stream_coupons_lab.simulation.shoppers import World, WorldSettings

from .policy_runs import Run

# Standard errors; issues to one shopper share sessions, so the binomial one is a little too small.
WITHIN = 4.0


def own_orders(world: World) -> dict[str, list[OrderEvent]]:
    alone = World(world.settings)
    orders: dict[str, list[OrderEvent]] = {}
    for _, event in alone.advance(world.now):
        if isinstance(event, OrderEvent):
            orders.setdefault(event.user_id, []).append(event)
    return orders


def would_order(
    issue: CouponIssue, world: World, coupons: dict[str, Coupon], orders: dict[str, list[OrderEvent]]
) -> bool:
    assortment = world._shop.assortment
    scope = assortment.scope(coupons[issue.coupon_id])
    products = {item.item_id for item, within in zip(assortment.items, scope, strict=True) if within}
    return any(
        issue.issued_at < order.occurred_at <= issue.expires_at
        and any(line.item_id in products for line in order.items)
        for order in orders.get(issue.user_id, [])
    )


@pytest.mark.long
@pytest.mark.parametrize("policy", ["random_run", "truth_run"])
def test_truth_is_calibrated(policy: str, request: pytest.FixtureRequest) -> None:
    given: Run = request.getfixturevalue(policy)
    probabilities = np.array(given.probabilities)
    coupons = {coupon.coupon_id: coupon for coupon in given.world.catalogue()}
    orders = own_orders(given.world)
    ordered = sum(would_order(issue, given.world, coupons, orders) for issue in given.issues.values())
    happened = np.array([given.count("click"), given.count("purchase"), ordered])
    expected = probabilities.sum(axis=0)
    error = np.sqrt((probabilities * (1 - probabilities)).sum(axis=0))
    assert (np.abs(happened - expected) < WITHIN * error).all(), (happened, expected, error)


def test_truth_is_calibrated_where_it_is_low_and_where_it_is_high(random_run: Run) -> None:
    redeemed = {event.issue_id for event in random_run.feedback() if event.kind == "purchase"}
    labels = np.array([issue_id in redeemed for issue_id in random_run.issues])
    probability = np.array(random_run.probabilities)[:, 1]
    for part in np.array_split(np.argsort(probability), 5):
        error = np.sqrt((probability[part] * (1 - probability[part])).sum())
        assert abs(labels[part].sum() - probability[part].sum()) < WITHIN * max(error, 1.0)


@pytest.mark.long
def test_a_single_coupon_is_answered_as_often_as_the_truth_says() -> None:
    """One coupon for everybody at the same moment, in several worlds: no other coupon interferes."""
    clicks = redemptions = 0
    expected = np.zeros(2)
    variance = np.zeros(2)
    for number in range(8):
        world = World(WorldSettings(seed=21 + number, shoppers=400, days=3))
        world.advance(world.now + 30 * 3600.0)
        coupons = world.catalogue()
        for index in range(400):
            coupon, user_id = coupons[(index * 7 + number * 3) % 40], f"shopper-{index:05d}"
            chance = world.truths(user_id, [coupon], world.now)[0, :2]
            expected += chance
            variance += chance * (1 - chance)
            world.receive(issue_of(user_id, coupon, at=world.now, issue_id=f"issue-{index}"))
        world.advance(world.ends_at + 3 * 86400.0)
        clicks += world.statistics.clicks
        redemptions += world.statistics.redemptions
    assert (np.abs(np.array([clicks, redemptions]) - expected) < WITHIN * np.sqrt(variance)).all()


def test_whoever_knows_the_truth_redeems_much_more_than_chance(random_run: Run, truth_run: Run) -> None:
    by_chance = np.array(random_run.probabilities)[:, 1].mean()
    by_truth = np.array(truth_run.probabilities)[:, 1].mean()
    assert 0.04 < by_chance < 0.08
    assert 2 * by_chance < by_truth < 6 * by_chance


def test_most_redeemed_is_not_most_profitable(truth_run: Run) -> None:
    """Who would buy anyway redeems gladly: chasing redemptions gives money away."""
    statistics = truth_run.world.statistics
    assert statistics.persuaded < statistics.redemptions
    assert statistics.incremental_margin_minor < statistics.redemptions * 100


def test_asking_changes_nothing() -> None:
    asked, silent = World(WorldSettings(seed=3, shoppers=20)), World(WorldSettings(seed=3, shoppers=20))
    for index in range(20):
        asked.truths(f"shopper-{index:05d}", asked.catalogue(), asked.now + 5 * 86400.0)
    assert asked.advance(asked.ends_at) == silent.advance(silent.ends_at)


def test_one_and_many_agree_and_all_are_probabilities() -> None:
    world = World(WorldSettings(seed=3, shoppers=20))
    world.advance(world.now + 40 * 3600.0)
    for index in range(20):
        user_id = f"shopper-{index:05d}"
        many = world.truths(user_id, world.catalogue(), world.now)
        assert ((many >= 0) & (many <= 1)).all()
        for coupon, expected in zip(world.catalogue(), many, strict=True):
            assert world.truths(user_id, [coupon], world.now)[0] == pytest.approx(expected, rel=1e-12)


def test_too_many_coupons_tire() -> None:
    world = World(WorldSettings(seed=3, shoppers=5))
    coupons = world.catalogue()
    fresh = world.truths("shopper-00000", coupons, world.now)
    for number in range(6):
        world.receive(issue_of("shopper-00000", coupons[number], at=world.now, issue_id=f"issue-{number}"))
    tired = world.truths("shopper-00000", coupons, world.now)
    assert (tired[10:, 1] < fresh[10:, 1]).all()
    assert tired[:, 2] == pytest.approx(fresh[:, 2])


def test_a_deeper_discount_persuades_more_and_an_empty_scope_nobody() -> None:
    world = World(WorldSettings(seed=3, shoppers=5))
    plain = Coupon(coupon_id="other", categories=["coffee"], discount_percent=6.0, max_discount_minor=10_000)
    deep = Coupon(coupon_id="other", categories=["coffee"], discount_percent=40.0, max_discount_minor=10_000)
    nothing = Coupon(coupon_id="nothing", categories=["anvils"], discount_percent=40.0, max_discount_minor=10_000)
    low, high, none = world.truths("shopper-00000", [plain, deep, nothing], world.now)
    assert low[1] < high[1]
    assert low[2] == pytest.approx(high[2])
    assert none == pytest.approx([0.0, 0.0, 0.0], abs=1e-12)
