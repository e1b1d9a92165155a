"""The worlds `journeys`, `reminders` and `idle`: repeatable, and true values as rollouts find them."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import pytest

from benchmarks.worlds._three import AgendaWorld
from benchmarks.worlds.idle import Idle
from benchmarks.worlds.journeys import Journeys
from benchmarks.worlds.reminders import Reminders
from benchmarks.worlds.world import AFTER_S
from stream_coupons.core.messages.inputs import BrowseEvent, CartEvent, OrderEvent
from stream_coupons.testing import issue

WORLDS: list[Any] = [Journeys, Reminders, Idle]


class Light(Reminders):
    """`reminders` without the heavy tail of its quantities, in which no mean of rollouts settles."""

    most = 1


def played(world: AgendaWorld[Any], share: float, seed: int = 0) -> Iterator[tuple[str, float]]:
    """Play a world with random coupons for a share of its browse and cart events; yield these moments before each."""
    rng, events = np.random.default_rng(seed), world.events()
    message = next(events)
    while True:
        issues = []
        if isinstance(message, BrowseEvent | CartEvent):
            yield message.user_id, message.occurred_at
            if rng.random() < share:
                given = world.coupons[rng.integers(len(world.coupons))]
                issues = [issue(message.user_id, given, at=message.occurred_at)]
        try:
            message = events.send(issues)
        except StopIteration:
            return


def rolled(world: AgendaWorld[Any], user_id: str, at: float, given: int | None, until: float, play: int) -> float:
    """Return the money of one future of a shopper, with a coupon or none."""
    one = world.fork(world.person(user_id), play)
    if given is not None:
        world.give(one, issue(user_id, world.coupons[given], at=at))
    return world.money(world.future(one, until))


def compare(world: AgendaWorld[Any], moments: int, coupons: int, rollouts: int) -> list[tuple[float, float, float]]:
    """Return true value, mean of rollouts and its standard error, for random moments and coupons."""
    rng, found = np.random.default_rng(5), []
    steps = {int(n) for n in rng.choice(np.arange(400, 3000), moments, replace=False)}
    for number, (user_id, at) in enumerate(islice(played(world, 0.25), 3000)):
        if number not in steps:
            continue
        values = world.true_values(user_id, at)
        order = np.argsort(values)
        chosen = {int(order[0]), int(order[-1]), *map(int, rng.choice(order[: len(order) // 2], coupons - 2))}
        for index in chosen:
            until = at + world.coupons[index].redeem_within_s + AFTER_S
            gains = [
                rolled(world, user_id, at, index, until, 100 + n) - rolled(world, user_id, at, None, until, 100 + n)
                for n in range(rollouts)
            ]
            found.append((float(values[index]), float(np.mean(gains)), float(np.std(gains) / rollouts**0.5)))
    return found


@pytest.mark.long
@pytest.mark.parametrize("world", WORLDS)
def test_is_repeatable(world: Any) -> None:
    first, again = list(world(1, 60).events()), list(world(1, 60).events())
    assert first == again
    times = [message.occurred_at for message in first]
    assert times == sorted(times)
    assert len({message.event_id for message in first}) == len(first)
    assert first != list(world(1, 60, draw=1).events())
    assert world(1, 60).coupons == world(1, 60, draw=1).coupons != world(2, 60).coupons


@pytest.mark.slow
@pytest.mark.parametrize("world", [Journeys, Light, Idle])
def test_true_values_are_the_mean_of_rollouts(world: Any) -> None:
    for value, mean, error in compare(world(3, 150), moments=5, coupons=3, rollouts=600):
        # Redemptions can be so rare that the standard error of the rollouts is far too small.
        assert abs(value - mean) <= 4 * error + 3


@pytest.mark.long
@pytest.mark.parametrize("world", WORLDS)
def test_signs_of_true_values(world: Any) -> None:
    shop = world(4, 60)
    values = np.array([shop.true_values(*moment) for moment in played(shop, 0.1)])
    assert np.isfinite(values).all()
    assert values.min() < 0
    assert values.max() > 0 if shop.pays else values.max() <= 1e-9


@pytest.mark.long
def test_coupons_of_idle_move_orders_and_add_none() -> None:
    world, rng, moved = Idle(5, 100), np.random.default_rng(6), 0
    for number, (user_id, at) in enumerate(islice(played(world, 0.1), 900)):
        if number % 6:
            continue
        given = int(rng.integers(len(world.coupons)))
        ends = at + world.coupons[given].redeem_within_s
        lines = []
        for coupon in (given, None):
            one = world.fork(world.person(user_id), 1)
            if coupon is not None:
                world.give(one, issue(user_id, world.coupons[coupon], at=at))
            orders = [message for message in world.future(one, ends + AFTER_S) if isinstance(message, OrderEvent)]
            early = [len(message.items) for message in orders if message.occurred_at < ends]
            lines.append((sum(early), sum(len(message.items) for message in orders)))
        (early_with, all_with), (early_without, all_without) = lines
        assert all_with == all_without
        assert early_with >= early_without
        moved += early_with - early_without
    assert moved > 0
