"""`benchmarks.worlds`: the shops `thresholds`, `purse` and `generous`, and their true values against simulation."""

from collections.abc import Callable, Iterator

import msgspec
import numpy as np
import pytest
from msgspec import Struct

from benchmarks.worlds._two import DailyWorld
from benchmarks.worlds.generous import Generous
from benchmarks.worlds.purse import Purse
from benchmarks.worlds.thresholds import Thresholds
from benchmarks.worlds.world import Floats
from stream_coupons.core.messages.inputs import BrowseEvent, CartEvent, FeedbackEvent, OrderEvent
from stream_coupons.testing import issue

WORLDS = [Thresholds, Purse, Generous]
Shops = pytest.mark.parametrize("make", WORLDS, ids=[one.name for one in WORLDS])
Make = Callable[..., DailyWorld]
Moment = BrowseEvent | CartEvent


def _played(world: DailyWorld, share: float, seen: Callable[[Moment], None] | None = None) -> Iterator[Struct]:
    """Play a world in which a share of the moments leads to a coupon by chance; `seen` is called at each moment."""
    rng = np.random.default_rng(7)
    events = world.events()
    message = next(events)
    while True:
        issues = []
        if isinstance(message, BrowseEvent | CartEvent):
            if seen is not None:
                seen(message)
            if rng.random() < share:
                terms = world.coupons[int(rng.integers(len(world.coupons)))]
                issues.append(issue(message.user_id, terms, at=message.occurred_at, issue_id=message.event_id))
        yield message
        try:
            message = events.send(issues)
        except StopIteration:
            return


@Shops
def test_events_are_ordered_and_depend_on_the_seed_only(make: Make) -> None:
    one, other = (list(_played(make(3, shoppers=40, days=8), 0.2)) for _ in range(2))
    assert one == other
    times = [message.occurred_at for message in one]  # type: ignore[attr-defined]
    assert times == sorted(times)
    assert {BrowseEvent, CartEvent, OrderEvent, FeedbackEvent} == {type(message) for message in one}
    assert len({message.event_id for message in one}) == len(one)  # type: ignore[attr-defined]


@Shops
def test_another_draw_has_other_shoppers_of_the_same_shop(make: Make) -> None:
    one, other = make(3, shoppers=20, days=3), make(3, shoppers=20, days=3, draw=1)
    assert list(one.coupons) == list(other.coupons) != list(make(4, shoppers=20, days=3).coupons)
    assert list(_played(one, 0.0)) != list(_played(other, 0.0))


@Shops
def test_a_coupon_is_used_once_before_it_expires_in_its_scope(make: Make) -> None:
    world = make(3, shoppers=80, days=14)
    messages = list(_played(world, 0.4))
    given = {held.issue.issue_id: held.issue for person in world.people for held in person.issues if held.issue}
    orders = {
        (message.user_id, message.occurred_at): message for message in messages if isinstance(message, OrderEvent)
    }
    used = [message for message in messages if isinstance(message, FeedbackEvent) and message.kind == "purchase"]
    assert len(used) == len({message.issue_id for message in used}) > 5
    for message in used:
        placed = orders[message.user_id, message.occurred_at]
        assert 0 < (message.discount_minor or 0) <= (placed.discount_minor or 0)
        if message.issue_id in given:
            terms = world.coupons[world.number[given[message.issue_id].coupon_id]]
            assert message.occurred_at <= given[message.issue_id].expires_at
            assert not terms.categories or {one.category for one in placed.items} & set(terms.categories)
            assert not terms.brands or {one.brand for one in placed.items} & set(terms.brands)


@Shops
def test_messages_and_coupons_are_of_plain_numbers(make: Make) -> None:
    world = make(3, shoppers=40, days=8)
    for message in [*world.coupons, *_played(world, 0.3)]:
        msgspec.json.encode(message)


@Shops
def test_a_visit_browses_its_needs_first(make: Make) -> None:
    world = make(3, shoppers=40, days=6)
    seen: dict[tuple[str, int], list[int]] = {}
    needs: dict[tuple[str, int], list[int]] = {}

    def look(message: Moment) -> None:
        key = (message.user_id, world.day(message.occurred_at))
        needs[key] = [number for number, _ in world.open[int(key[0][5:])].needs]
        if isinstance(message, BrowseEvent) and message.item is not None:
            number = int(message.item.item_id[5:])
            seen.setdefault(key, []).append(number // 5 if make is Generous else number)

    list(_played(world, 0.0, look))
    assert len(seen) > 50
    assert all(seen[key][: len(needs[key])] == needs[key] for key in seen)


def _values(world: DailyWorld, every: int) -> Floats:
    rows: list[Floats] = []
    count = iter(range(10**9))

    def value(message: Moment) -> None:
        if next(count) % every == 0:
            rows.append(world.true_values(message.user_id, message.occurred_at))

    list(_played(world, 0.0, value))
    return np.array(rows)


@pytest.mark.long
@Shops
def test_some_coupons_pay(make: Make) -> None:
    values = _values(make(1), 16)
    assert np.isfinite(values).all()
    assert (values.mean(0) > 0).any()
    worthless = float((values.max(1) <= 1.0).mean())
    if make is Generous:
        assert (values.mean(0) > 0).all()
        assert len(set(values.argmax(1))) > 5, "which one is best differs by shopper"
        assert worthless < 0.1
    else:
        assert (values.mean(0) < 0).any()
        assert 0.3 < worthless < 0.7


def _errors(world: DailyWorld, moments: int, rollouts: int) -> Floats:
    """Return the errors of true values at some moments, in standard errors of a simulated mean."""
    errors: list[float] = []
    rng = np.random.default_rng(11)

    def compare(message: Moment) -> None:
        user, at = int(message.user_id[5:]), message.occurred_at
        if world.day(at) < 3 or rng.random() > 0.05 or len(errors) >= 2 * moments:
            return
        values = world.true_values(message.user_id, at)
        for number in (int(np.abs(values).argmax()), int(rng.choice(np.argsort(-np.abs(values))[1:6]))):
            until, seeds = world.until(number, at), rng.integers(2**40, size=rollouts)
            gains = np.array([
                world.rollout(user, number, at, until, np.random.default_rng(seed))
                - world.rollout(user, None, at, until, np.random.default_rng(seed))
                for seed in seeds
            ])  # fmt: skip
            deviation = max(float(gains.std()), 1.0) / rollouts**0.5
            errors.append((float(gains.mean()) - float(values[number])) / deviation)

    list(_played(world, 0.3, compare))
    return np.array(errors)


@pytest.mark.slow
@pytest.mark.long
@Shops
def test_true_values_are_means_of_simulated_futures(make: Make) -> None:
    errors = _errors(make(5, shoppers=40, days=12), moments=6, rollouts=600)
    assert len(errors) == 12
    assert np.abs(errors).max() < 4
    assert abs(errors.sum()) < 4 * len(errors) ** 0.5


@pytest.mark.slow
@pytest.mark.long
@Shops
def test_margin_without_coupons_is_the_mean_of_draws(make: Make) -> None:
    worlds = [make(2, shoppers=150, draw=draw) for draw in range(6)]
    for world in worlds:
        list(_played(world, 0.0))
    earned = np.array([world.earned_minor for world in worlds])
    stated = np.array([world.margin_without() for world in worlds])
    assert abs(earned.sum() / stated.sum() - 1) < 0.1
