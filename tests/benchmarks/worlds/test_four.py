"""The worlds `households`, `rivals` and `voyages`."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from msgspec import Struct
from msgspec.json import decode, encode

from benchmarks.worlds._four import SteppedWorld
from benchmarks.worlds.rivals import Rivals
from benchmarks.worlds.voyages import Voyages
from benchmarks.worlds.world import AFTER_S
from stream_coupons import testing
from stream_coupons.core.messages.inputs import BrowseEvent, CartEvent, FeedbackEvent

pytestmark = pytest.mark.long

Make = Callable[..., SteppedWorld]
NAMES = ("households", "rivals", "voyages")


def _world(name: str) -> Make:
    if name == "households":
        from benchmarks.worlds.households import Households

        return Households
    return {"rivals": Rivals, "voyages": Voyages}[name]


def _matters(world: SteppedWorld, message: BrowseEvent | CartEvent) -> bool:
    """Return whether a coupon has an effect that some hundred rollouts show: far smaller ones are of rare orders."""
    return bool(np.abs(world.true_values(message.user_id, message.occurred_at)).max() > 20)


def _play(
    world: SteppedWorld, give: float = 0.0, stop_after: int | None = None, given: dict[str, float] | None = None
) -> list[Struct]:
    """Return the events of a world where a share of the triggers leads to a random coupon; stop where one matters."""
    rng, events, seen, triggers = np.random.default_rng(5), world.events(), [], 0
    message = next(events, None)
    while message is not None:
        seen.append(message)
        issues = []
        if isinstance(message, BrowseEvent | CartEvent):
            triggers += 1
            if stop_after and triggers >= stop_after and _matters(world, message):
                break
            if rng.random() < give:
                terms = world.coupons[int(rng.integers(len(world.coupons)))]
                own = testing.issue(message.user_id, terms, at=message.occurred_at, issue_id=f"i{triggers}")
                issues = [own]
                if given is not None:
                    given[own.issue_id] = own.expires_at
        try:
            message = events.send(issues)
        except StopIteration:
            break
    return seen


@pytest.mark.parametrize("name", NAMES)
def test_a_seed_determines_the_events_and_they_are_ordered(name: str) -> None:
    make = partial(_world(name), 3, shoppers=40)
    first = _play(make(), give=0.2)
    assert first == _play(make(), give=0.2)
    assert [decode(encode(message), type=type(message)) for message in first] == first
    times = [message.occurred_at for message in first]  # type: ignore[attr-defined]
    assert times == sorted(times)
    ids = [message.event_id for message in first]  # type: ignore[attr-defined]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("name", NAMES)
def test_a_world_can_be_played_again(name: str) -> None:
    world = _world(name)(3, shoppers=20)
    assert _play(world, give=0.2) == _play(world, give=0.2)


@pytest.mark.parametrize("name", NAMES)
def test_another_draw_is_the_same_shop_with_other_shoppers(name: str) -> None:
    first, second = (_world(name)(3, shoppers=20, draw=draw) for draw in (0, 1))
    assert first.coupons == second.coupons
    assert _play(first) != _play(second)


@pytest.mark.parametrize("name", NAMES)
def test_coupons_are_used_in_their_window_and_once(name: str) -> None:
    expires_at: dict[str, float] = {}
    used = [
        message
        for message in _play(_world(name)(3, shoppers=100), give=0.3, given=expires_at)
        if isinstance(message, FeedbackEvent) and message.kind == "purchase"
    ]
    assert used
    assert all(one.occurred_at <= expires_at[one.issue_id] for one in used)
    assert len({one.issue_id for one in used}) == len(used)
    assert all(0 < (one.discount_minor or 0) <= (one.order_value_minor or 0) for one in used)


@pytest.mark.parametrize("name", NAMES)
def test_some_coupons_pay_for_some_shoppers_and_some_do_not(name: str) -> None:
    world = _world(name)(3, shoppers=100)
    browsed = (message for message in world.events() if isinstance(message, BrowseEvent))
    values = np.array([world.true_values(message.user_id, message.occurred_at) for message in browsed])
    assert (values > 1).any()
    assert (values < -1).any()


@pytest.mark.parametrize("name", NAMES)
def test_the_margin_without_coupons_is_that_of_simulations(name: str) -> None:
    world = _world(name)(3, shoppers=150)
    assert world.margin_without() == pytest.approx(world.simulated_margin(4), rel=0.08)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("give", [0.0, 0.3])
@pytest.mark.parametrize("name", NAMES)
def test_true_values_are_the_means_of_rollouts(name: str, give: float) -> None:
    rollouts = 800
    for stop_after in (151, 232):
        world = _world(name)(4, shoppers=40)
        last = _play(world, give, stop_after)[-1]
        assert isinstance(last, BrowseEvent | CartEvent)
        user_id, at = last.user_id, last.occurred_at
        values = world.true_values(user_id, at)
        for coupon in np.argsort(-np.abs(values))[:3].tolist():
            until = at + world.coupons[coupon].redeem_within_s + AFTER_S
            play = partial(world.future, user_id, at, until)
            effects = np.array([play(coupon, fork) - play(None, fork) for fork in range(1, rollouts + 1)])
            error = effects.std() / rollouts**0.5
            assert abs(effects.mean() - values[coupon]) <= 4 * error + 0.02 * np.abs(values).max()
