"""The outlet: one seed, one stream of events; true values are means of what shoppers then do; not all coupons pay."""

from collections import defaultdict

import numpy as np
from msgspec import Struct

from benchmarks.worlds.outlet import NAMES, Outlet
from benchmarks.worlds.world import DAY_S, Floats
from stream_coupons.core.messages.inputs import FeedbackEvent, OrderEvent
from stream_coupons.testing import issue

SEED, DAYS = 3, 11


def played(world: Outlet, given: int | None = None, values: dict[str, Floats] | None = None) -> list[Struct]:
    """Return all events; on the first day a shopper gets a coupon at once, and values are recorded before."""
    events, heard, seen = world.events(), [], set()
    event = next(events, None)
    while event is not None:
        heard.append(event)
        user, at, issues = event.user_id, event.occurred_at, []
        if at < world.starts_at + DAY_S and user not in seen:
            seen.add(user)
            if values is not None:
                values[user] = world.true_values(user, at)
            issues = [] if given is None else [issue(user, world.coupons[given], at=at)]
        try:
            event = events.send(issues)
        except StopIteration:
            break
    return heard


def margins(world: Outlet, events: list[Struct], days: int) -> defaultdict[str, float]:
    sums: defaultdict[str, float] = defaultdict(float)
    for event in events:
        day = int((event.occurred_at - world.starts_at) // DAY_S)
        if isinstance(event, OrderEvent) and day < days:
            one = event.items[0]
            ratio = world._ratios[int(day >= world._season_end), NAMES.index(one.category)]
            sums[event.user_id] += ratio * one.price_minor * one.quantity
        elif isinstance(event, FeedbackEvent) and event.kind == "purchase" and day < days:
            sums[event.user_id] -= event.discount_minor
    return sums


def test_a_seed_determines_events_in_order_of_time() -> None:
    first, second = played(Outlet(SEED, 60, 3)), played(Outlet(SEED, 60, 3))
    times = [event.occurred_at for event in first]
    assert first == second
    assert first != played(Outlet(SEED, 60, 3, draw=1))
    assert times == sorted(times)


def test_true_values_are_means_of_what_follows_and_some_coupons_pay() -> None:
    world, values = Outlet(SEED, 1500, DAYS), {}
    coupon = next(n for n, days in enumerate(world._days) if days == 1 and n < len(world.coupons) - 2)
    plain = margins(world, played(world, None, values), 9)
    treated = margins(world, played(Outlet(SEED, 1500, DAYS), coupon), 9)
    errors = np.array([treated[user] - plain[user] - values[user][coupon] for user in values])
    assert abs(errors.mean()) < 4 * errors.std() / len(errors) ** 0.5
    means = np.mean(list(values.values()), axis=0)
    assert means.min() < -5 < 0 < means.max()
