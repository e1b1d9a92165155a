"""Worlds of maker "one": reproducible events, and true values against rollouts of the world itself."""

from collections.abc import Iterator
from copy import copy

import numpy as np
import pytest
from msgspec import Struct

from benchmarks.worlds._one import Basket, DayWorld, Shopper
from benchmarks.worlds.barren import Barren
from benchmarks.worlds.world import AFTER_S, Floats
from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.core.messages.inputs import BrowseEvent, CartEvent, FeedbackEvent, Item, OrderEvent
from stream_coupons.testing import issue

WORLDS = [Barren]
every_world = pytest.mark.parametrize("make", WORLDS, ids=lambda make: make.name)
Moment = tuple[Shopper, float]


def _value(line: Item) -> float:
    return (line.price_minor or 0) * (line.quantity or 1.0)


def _play(world: DayWorld, ratio: float, seed: int = 0) -> Iterator[tuple[Struct, float]]:
    """Yield the messages of a run in which some browse and cart events lead to a random coupon, and their times."""
    rng, events, given = np.random.default_rng(seed), world.events(), 0
    message = next(events)
    while True:
        at = message.occurred_at  # type: ignore[attr-defined]
        yield message, at
        issues: list[CouponIssue] = []
        if isinstance(message, BrowseEvent | CartEvent) and rng.random() < ratio:
            terms, given = world.coupons[int(rng.integers(len(world.coupons)))], given + 1
            issues = [issue(message.user_id, terms, at=at, issue_id=f"issue-{given}")]
        try:
            message = events.send(issues)
        except StopIteration:
            return


@every_world
def test_events_depend_on_the_seed_only_and_are_in_order(make: type[DayWorld]) -> None:
    first, second = ([message for message, _ in _play(make(3, 25), 0.3)] for _ in range(2))
    assert first == second
    times = [message.occurred_at for message in first]  # type: ignore[attr-defined]
    assert times == sorted(times)
    assert len({message.event_id for message in first}) == len(first)  # type: ignore[attr-defined]
    assert times[-1] < make(3, 25).ends_at


@every_world
def test_another_draw_is_the_same_shop_with_other_shoppers(make: type[DayWorld]) -> None:
    assert make(3, 5).coupons == make(3, 5, draw=1).coupons != make(4, 5).coupons
    assert next(make(3, 5).events()) != next(make(3, 5, draw=1).events())


@every_world
def test_a_coupon_is_used_once_in_scope_before_it_expires(make: type[DayWorld]) -> None:
    world, used = make(3, 60), []
    terms = {one.coupon_id: one for one in world.coupons}
    held: dict[str, CouponIssue] = {}
    order = None
    rng, events = np.random.default_rng(1), world.events()
    message = next(events)
    while message is not None:
        if isinstance(message, OrderEvent):
            order = message
        if isinstance(message, FeedbackEvent) and message.kind == "purchase":
            one = held[message.issue_id]
            scope = terms[one.coupon_id].categories
            assert order is not None
            assert (order.user_id, order.occurred_at) == (message.user_id, message.occurred_at)
            assert message.occurred_at < one.expires_at
            worth = sum(_value(line) for line in order.items if not scope or line.category in scope)
            assert 0 <= (message.discount_minor or 0) <= min(one.max_discount_minor, worth)
            assert message.order_value_minor == worth > 0
            used.append(message.issue_id)
        issues: list[CouponIssue] = []
        if isinstance(message, BrowseEvent) and rng.random() < 0.5:
            coupon = world.coupons[int(rng.integers(len(world.coupons)))]
            issues = [issue(message.user_id, coupon, at=message.occurred_at, issue_id=f"i{len(held)}")]
            held[issues[0].issue_id] = issues[0]
        try:
            message = events.send(issues)
        except StopIteration:
            break
    assert len(set(used)) == len(used) > 5


def _copied(s: Shopper, draws: Floats, rng: np.random.Generator) -> Shopper:
    twin = copy(s)
    twin.draws, twin.rng, twin.looks = draws, rng, list(s.looks)
    twin.basket = Basket(s.basket.lines, s.basket.used, s.basket.tag) if s.basket else None
    return twin


def _margin(world: DayWorld, s: Shopper, ends_at: float) -> float:
    """Return the margin less discounts of one simulated future, by the messages of the world itself."""
    margins, total = dict(zip(world.shop.names, world.shop.margins, strict=True)), 0.0
    for at, message in world.life(s):
        if at >= ends_at:
            break
        if isinstance(message, OrderEvent):
            total += sum(_value(line) * margins[line.category or ""] for line in message.items)
        elif isinstance(message, FeedbackEvent):
            total -= message.discount_minor or 0
    return total


def rollouts(world: DayWorld, s: Shopper, at: float, number: int, times: int) -> tuple[float, float]:
    """Return the mean effect of a coupon over rollouts with common random numbers, and its standard error."""
    effects, terms = [], world.coupons[number]
    ends_at = at + terms.redeem_within_s + AFTER_S
    given = issue(s.user_id, terms, at=at)
    for n in range(times):
        draws = np.zeros((s.day + 16, s.draws.shape[1]))
        draws[s.day :] = np.random.default_rng([7, s.number, int(at), n]).random((16, s.draws.shape[1]))
        without, having = (_copied(s, draws, np.random.default_rng([8, n])) for _ in range(2))
        world.receive(having, number, given, at)
        effects.append(_margin(world, having, ends_at) - _margin(world, without, ends_at))
    return float(np.mean(effects)), float(np.std(effects) / np.sqrt(times))


def moments(world: DayWorld, ratio: float, every: int) -> Iterator[tuple[Shopper, float, Floats]]:
    """Yield states at browse and cart events, with the true values there; most have a cart or a full wallet."""
    seen = 0
    for message, at in _play(world, ratio):
        if isinstance(message, BrowseEvent | CartEvent):
            s = world.state_of(message.user_id)
            seen += 1 + 2 * isinstance(message, CartEvent) + 2 * len(s.held(at))
            if seen >= every:
                seen = 0
                yield _copied(s, s.draws, s.rng), at, world.true_values(s.user_id, at)


def compared(make: type[DayWorld], count: int, times: int, every: int = 90) -> list[tuple[float, float, float]]:
    """Return true value, mean of rollouts and standard error, of the best, the worst and a random coupon."""
    world, rng = make(5, 60), np.random.default_rng(2)
    rows: list[tuple[float, float, float]] = []
    for (s, at, values), _ in zip(moments(world, 0.25, every), range(count), strict=False):
        numbers = {int(values.argmax()), int(values.argmin()), int(rng.integers(len(values)))}
        rows.extend((float(values[number]), *rollouts(world, s, at, number, times)) for number in sorted(numbers))
    return rows


@pytest.mark.slow
@every_world
def test_true_values_are_the_mean_of_rollouts(make: type[DayWorld]) -> None:
    # An effect that occurs in a few of the rollouts only has no usable standard error: two cents are its least.
    rows = compared(make, 12, 600)
    scores = [(mean - value) / max(error, 2.0) for value, mean, error in rows if value or mean]
    assert len(scores) >= 15
    assert np.abs(scores).max() < 4.0
    assert np.sqrt(np.mean(np.square(scores))) < 1.5


@pytest.mark.slow
@every_world
def test_the_margin_without_coupons_is_the_mean_of_runs(make: type[DayWorld]) -> None:
    worlds = [make(5, 200, draw=draw) for draw in range(6)]
    margins = dict(zip(worlds[0].shop.names, worlds[0].shop.margins, strict=True))
    gaps = []
    for world in worlds:
        lines = [line for message in world.events() if isinstance(message, OrderEvent) for line in message.items]
        total = sum(_value(line) * margins[line.category or ""] for line in lines)
        gaps.append(total / world.margin_without() - 1.0)
    assert abs(np.mean(gaps)) < 4.0 * np.std(gaps, ddof=1) / np.sqrt(len(gaps))


@every_world
@pytest.mark.long
def test_no_coupon_pays(make: type[DayWorld]) -> None:
    values = np.array([found for _, _, found in moments(make(5, 100), 0.0, 5)])
    assert (values.mean(axis=0) < 0).any()
    assert values.max() <= 1e-9
