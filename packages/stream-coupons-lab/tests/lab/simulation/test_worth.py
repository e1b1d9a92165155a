"""The expected margin is the mean of what the simulation books."""

import math

import numpy as np
import pytest

from stream_coupons.testing import issue as issue_of
from stream_coupons_lab.simulation.shoppers import World, WorldSettings


@pytest.mark.long
def test_expected_margin_and_discount_are_what_is_booked_on_average() -> None:
    """Every coupon goes to a few shoppers, each of whom gets no other, so that no response depends on another."""
    expected: list[tuple[float, float, float]] = []
    booked: list[tuple[float, int, int]] = []
    for seed in range(4):
        world = World(WorldSettings(seed=seed, shoppers=400, days=4))
        world.advance(world.now + 86400.0)
        coupons = world.catalogue()
        for number, user_id in enumerate(world.user_ids):
            coupon = coupons[number % len(coupons)]
            worth = world.worth(user_id, [coupon], world.now)
            expected.append((worth.margin_minor[0], worth.discount_minor[0], worth.redeems[0]))
            world.receive(issue_of(user_id, coupon, at=world.now, issue_id=f"i{number}"))
        world.advance(world.ends_at)
        done = world.statistics
        booked.append((done.incremental_margin_minor, done.discount_minor, done.redemptions))
    sums, happened = np.array(expected).sum(axis=0), np.array(booked).sum(axis=0)
    # Counts are sums of coins; money varies with the baskets: by some 14 units where an order is persuaded.
    deviation = math.sqrt(happened[2]) * np.array([1400.0, 500.0, 1.0])
    assert np.all(np.abs(sums - happened) < 3 * deviation), (sums, happened)
    assert happened[2] > 50


def test_a_coupon_is_worth_less_to_who_orders_anyway_and_nothing_once_it_has_ended() -> None:
    world = World(WorldSettings(shoppers=200, days=2))
    world.advance(world.ends_at)
    coupons = world.catalogue()
    for user_id in world.user_ids[:20]:
        worth = world.worth(user_id, coupons, world.now)
        orders = world.truths(user_id, coupons, world.now)[:, 2]
        assert worth.margin_minor.shape == worth.discount_minor.shape == (len(coupons),)
        assert np.all(worth.discount_minor >= 0)
        assert np.all(orders < 1)
        over = world.worth(user_id, coupons, world.now, expires_at=world.now)
        assert np.all(over.discount_minor <= worth.discount_minor + 1e-9)
