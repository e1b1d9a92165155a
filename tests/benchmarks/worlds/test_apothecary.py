"""The drugstore: events that a seed determines, and true values that simulations confirm."""

from itertools import islice

import numpy as np
import pytest

from benchmarks.worlds.apothecary import Apothecary
from benchmarks.worlds.world import AFTER_S, DAY_S, Floats
from stream_coupons.core.messages.inputs import FeedbackEvent, OrderEvent
from stream_coupons.testing import builders


def _play(world: Apothecary, count: int, every: int) -> list[object]:
    """Return the first events of a world that gives a random coupon now and then."""
    rng, events, played = np.random.default_rng(5), world.events(), []
    event = next(events)
    for n in range(count):
        played.append(event)
        given = n % every == 0 and not isinstance(event, FeedbackEvent)
        terms = world.coupons[int(rng.integers(28))]
        event = events.send([builders.issue(event.user_id, terms, at=event.occurred_at)] if given else [])
    return [*played, event]


def _margins(world: Apothecary, i: int, at: float, k: int | None, horizon: float, copies: int) -> Floats:
    """Return the margin of copies of a shopper, with a coupon or without, less discounts."""
    twin, result = Apothecary(world.seed, copies, world.days + 20, draw=1 + int(at) % 99991), np.zeros(copies)
    for name in ("_classes", "_hours"):
        setattr(twin, name, np.repeat(getattr(world, name)[i : i + 1], copies))
    twin._next = [world._next[i]] * copies
    twin._needs = [world._needs[i].copy() for _ in range(copies)]
    twin._trials, twin._stock = ([each[i].copy() for _ in range(copies)] for each in (world._trials, world._stock))
    twin._held, twin._cut_day = [world._held[i].copy() for _ in range(copies)], world._cut_day
    for j in range(copies) if k is not None else ():
        twin._receive(j, builders.issue(f"u{j}", twin.coupons[k], at=at), at)
    ratio = world._ratio
    first = int((at - world.starts_at) // DAY_S)
    for day in range(first, first + 16):
        for row in twin._schedule(day):
            for event in twin._happen(day, row) if at < row[0] <= horizon else ():
                if isinstance(event, OrderEvent):
                    paid = [(o.price_minor or 0) * (o.quantity or 1) * ratio[_number(o.category)] for o in event.items]
                    result[row[1]] += sum(paid) + world._per_order
                elif isinstance(event, FeedbackEvent):
                    result[row[1]] -= event.discount_minor or 0
    return result


def _number(category: str | None) -> int:
    return ("hair", "skin", "oral", "makeup", "baby", "household", "health", "pet").index(category or "")


def test_a_seed_determines_ordered_events() -> None:
    first, again = (_play(Apothecary(3, 60), 700, 9) for _ in range(2))
    assert first == again
    times = [event.occurred_at for event in first]  # type: ignore[attr-defined]
    assert times == sorted(times)


@pytest.mark.parametrize("k", [2, 14, 26])
def test_true_values_are_means_of_simulated_continuations(k: int) -> None:
    world = Apothecary(3, 60)
    last = _play(world, 700, 9)[-1]
    i, at = int(last.user_id[1:]), last.occurred_at  # type: ignore[attr-defined]
    horizon = at + world.coupons[k].redeem_within_s + AFTER_S
    change = np.subtract(*(_margins(world, i, at, given, horizon, 800) for given in (k, None)))
    error = float(change.std()) / len(change) ** 0.5
    assert world.true_values(f"u{i}", at)[k] == pytest.approx(change.mean(), abs=4 * error)


def test_some_coupons_pay_and_others_do_not() -> None:
    world = Apothecary(3, 60)
    events = islice(world.events(), 60)
    means = np.mean([world.true_values(e.user_id, e.occurred_at) for e in events], axis=0)  # type: ignore[attr-defined]
    assert means.min() < 0.0 < means.max()
