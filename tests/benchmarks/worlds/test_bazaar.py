"""The bazaar: events that a seed determines, and true values that simulations confirm."""

from copy import deepcopy
from itertools import islice

import numpy as np
import pytest
from msgspec.structs import replace

from benchmarks.worlds.bazaar import STALLS, Bazaar, Shopper, Visit
from benchmarks.worlds.world import DAY_S, Floats
from stream_coupons.core.messages.inputs import CartEvent, FeedbackEvent, OrderEvent
from stream_coupons.testing import issue


def _play(world: Bazaar, count: int, every: int = 3) -> list[object]:
    """Return the first events of a world that gives a random coupon now and then."""
    rng, events, played = np.random.default_rng(5), world.events(), []
    event = next(events)
    for n in range(count):
        played.append(event)
        given = n % every == 0 and not isinstance(event, FeedbackEvent)
        terms = world.coupons[int(rng.integers(len(world.coupons)))]
        event = events.send([issue(event.user_id, terms, at=event.occurred_at)] if given else [])
    return [*played, event]


def _twin(world: Bazaar, one: Shopper, at: float, copies: int, draw: int) -> Bazaar:
    """Return a world of copies of a shopper at a time, who then go separate ways."""
    twin = Bazaar(world.seed, copies, world.days + 30, draw)
    twin._season_end = world._season_end
    twin._interests = np.repeat(world._interests[one.number : one.number + 1], copies, axis=0)
    twin._habits = np.repeat(world._habits[one.number : one.number + 1], copies, axis=0)
    twin._agenda, rng = [], np.random.default_rng(draw)
    for n, fresh in enumerate(twin._shoppers):
        copy = deepcopy(one)
        copy.number, copy.own, copy.side = n, fresh.own, fresh.side
        lasts = at + DAY_S * rng.exponential(1 / world._fades)
        copy.sated = np.where(np.array(one.sated) > at, lasts, 0.0).tolist()
        twin._shoppers[n] = copy
        twin._plan_visit(copy, at)
        for held in copy.held:
            held.issue = replace(held.issue, user_id=f"s{n}")
            twin._plan_prompt(copy, at, held)
        if isinstance(copy.visit, Visit) and copy.visit.is_open:
            copy.visit.draws = rng.random(20).tolist()
            if copy.visit.is_carted is None:
                twin._plan(copy, at + 0.02, "fill", copy.visit)
            twin._plan(copy, at + 0.04, "decide", copy.visit)
    return twin


def margins(world: Bazaar, one: Shopper, at: float, given: int | None, until: float, size: tuple[int, int]) -> Floats:
    """Return the margins of copies of a shopper until a time, with a coupon or without, less discounts."""
    twin, result = _twin(world, one, at, *size), np.zeros(size[0])
    for copy in twin._shoppers if given is not None else ():
        twin._receive(copy, at, issue(f"s{copy.number}", twin.coupons[given], at=at))
    for event in twin.events():
        if event.occurred_at > until:  # type: ignore[attr-defined]
            break
        n = int(event.user_id[1:])  # type: ignore[attr-defined]
        if isinstance(event, OrderEvent):
            bought = event.items[0]
            paid = (bought.price_minor or 0) * (bought.quantity or 1)
            result[n] += paid * world._ratios[STALLS.index(bought.category or "")]
        elif isinstance(event, FeedbackEvent) and event.kind == "purchase":
            result[n] -= event.discount_minor or 0
    return result


def test_a_seed_determines_ordered_events() -> None:
    first, again = (_play(Bazaar(3, 60), 700) for _ in range(2))
    assert first == again
    times = [event.occurred_at for event in first]  # type: ignore[attr-defined]
    assert times == sorted(times)
    assert any(isinstance(event, CartEvent) for event in first)


@pytest.mark.parametrize("kind", ["narrow", "wide"])
def test_true_values_are_means_of_simulated_continuations(kind: str) -> None:
    world = Bazaar(3, 60)
    last = _play(world, 500)[-1]
    one, at = world._shoppers[int(last.user_id[1:])], last.occurred_at  # type: ignore[attr-defined]
    sizes = [len(scope) for scope in world._scopes]
    given = sizes.index(world._size if kind == "wide" else 1)
    until, copies = at + float(world._horizons[given]) * DAY_S, 400
    change = np.subtract(*(margins(world, one, at, each, until, (copies, 9)) for each in (given, None)))
    error = float(change.std()) / copies**0.5
    assert world.true_values(f"s{one.number}", at)[given] == pytest.approx(change.mean(), abs=4 * error)


def test_some_coupons_pay_and_others_do_not() -> None:
    world = Bazaar(1, 300)
    events = islice(world.events(), 0, 1200, 20)
    means = np.mean([world.true_values(e.user_id, e.occurred_at) for e in events], axis=0)  # type: ignore[attr-defined]
    assert means.min() < 0.0 < means.max()
