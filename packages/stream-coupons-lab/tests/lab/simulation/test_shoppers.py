"""The world: determinism, order of time, what coupons change and what they do not."""

from dataclasses import replace

import numpy as np
import pytest

from stream_coupons.core.messages.inputs import FeedbackEvent, OrderEvent
from stream_coupons.kafka.codec import Decoder, encode
from stream_coupons.kafka.topics import BY_NAME
from stream_coupons.testing import issue as issue_of
from stream_coupons_lab.simulation.population import Floats
from stream_coupons_lab.simulation.shoppers import World, WorldSettings

from .policy_runs import Run, at_random, run

SMALL = WorldSettings(seed=3, shoppers=60, days=7)


def wire(events: list) -> list[tuple[str, bytes]]:
    return [(topic, encode(event)) for topic, event in events]


def test_same_settings_give_the_same_bytes() -> None:
    first, second = run(SMALL, at_random()), run(SMALL, at_random())
    assert first.count("purchase") > 0
    assert wire(first.events) == wire(second.events)
    assert encode(first.world.catalogue()) == encode(second.world.catalogue())


def test_another_seed_gives_another_world() -> None:
    one, two = World(SMALL), World(replace(SMALL, seed=4))
    assert wire(one.advance(one.ends_at)) != wire(two.advance(two.ends_at))


@pytest.mark.long
def test_the_size_of_steps_changes_nothing() -> None:
    whole, stepped = World(SMALL), World(SMALL)
    events = []
    while stepped.now < stepped.ends_at:
        events += stepped.advance(stepped.now + 977.0)
    assert wire(events) == wire(whole.advance(stepped.now))


def test_advance_takes_each_event_once_and_none_before_its_time() -> None:
    world = World(SMALL)
    before = world.now
    for _ in range(50):
        until = world.now + 600.0
        events = world.advance(until)
        assert all(before < event.occurred_at <= until for _, event in events)  # type: ignore[attr-defined]
        before = world.now
    assert world.advance(world.now) == []
    assert world.advance(world.now - 100.0) == []


def test_events_are_in_order_of_time_with_unique_ids(truth_run: Run) -> None:
    times = [event.occurred_at for _, event in truth_run.events]  # type: ignore[attr-defined]
    assert times == sorted(times)
    ids = [event.event_id for _, event in truth_run.events]  # type: ignore[attr-defined]
    assert len(ids) == len(set(ids))
    orders = [event.order_id for _, event in truth_run.events if isinstance(event, OrderEvent)]
    assert len(orders) == len(set(orders))


def test_every_message_passes_the_codec(truth_run: Run) -> None:
    decoders = {name: Decoder(topic) for name, topic in BY_NAME.items() if topic.message is not None}
    for topic, event in truth_run.events:
        assert decoders[topic](encode(event)) == event
    for coupon in truth_run.world.catalogue():
        assert decoders["coupon-catalog"](encode(coupon)) == coupon


@pytest.mark.long
def test_coupons_add_reactions_and_alter_nothing_else(random_run: Run, truth_run: Run) -> None:
    alone = World(random_run.world.settings)
    undisturbed = wire(alone.advance(random_run.world.now))
    for given in (random_run, truth_run):
        own = set(undisturbed)
        told = wire(given.events)
        assert [event for event in told if event in own] == undisturbed
        extra = [event for event, sent in zip(given.events, told, strict=True) if sent not in own]
        assert all(isinstance(event, FeedbackEvent | OrderEvent) for _, event in extra)
        persuaded = sum(isinstance(event, OrderEvent) for _, event in extra)
        assert persuaded == given.world.statistics.persuaded > 0


def test_the_response_does_not_depend_on_what_others_got() -> None:
    both, one = World(SMALL), World(SMALL)
    coupon = both.catalogue()[0]
    for world in (both, one):
        world.advance(world.now + 3600.0 * 30)
    for number, user_id in enumerate(f"shopper-{index:05d}" for index in range(60)):
        issue = issue_of(user_id, coupon, at=both.now, issue_id=f"issue-{user_id}")
        both.receive(issue)
        if number % 2:
            one.receive(issue)
    some = wire(one.advance(one.ends_at))
    assert any(topic == "coupon-feedback" for topic, _ in some)
    assert set(some) <= set(wire(both.advance(both.ends_at)))


def test_taste_drift_leaves_what_was_before_it() -> None:
    steady, drifting = World(SMALL), World(replace(SMALL, taste_drift_day=2.5))
    noon = steady.now + 3 * 86400.0
    assert wire(steady.advance(noon)) == wire(drifting.advance(noon))
    assert wire(steady.advance(steady.ends_at)) != wire(drifting.advance(drifting.ends_at))
    user_id, at = "shopper-00001", steady.now
    assert steady.truths(user_id, steady.catalogue(), at).tolist() != (
        drifting.truths(user_id, steady.catalogue(), at).tolist()
    )


def test_duplicates_are_ignored() -> None:
    world, once = World(SMALL), World(SMALL)
    coupon = world.catalogue()[0]
    for index in range(40):
        issue = issue_of(f"shopper-{index:05d}", coupon, at=world.now, issue_id=f"issue-{index}")
        once.receive(issue)
        world.receive(issue)
        world.receive(issue)
    assert wire(world.advance(world.ends_at)) == wire(once.advance(once.ends_at))
    assert world.statistics.issues == 40


def test_an_issue_that_comes_late_is_answered_from_now_on() -> None:
    world = World(SMALL)
    issued_at = world.now
    world.advance(issued_at + 86400.0)
    arrived_at = world.now
    for index in range(60):
        world.receive(issue_of(f"shopper-{index:05d}", world.catalogue()[index % 40], at=issued_at))
    heard = [event for _, event in world.advance(world.ends_at) if isinstance(event, FeedbackEvent)]
    assert heard
    assert all(arrived_at < event.occurred_at <= issued_at + 2 * 86400.0 for event in heard)


def test_a_decision_that_took_no_simulated_time_is_answered_from_its_moment_on() -> None:
    """Shoppers react alike whether the world hands over a coupon promptly, or later with the time of the decision."""
    prompt, late = World(SMALL), World(SMALL)
    decided_at = prompt.now + 3600.0 * 30
    before = wire(prompt.advance(decided_at))
    later = wire(late.advance(decided_at + 3600.0 * 4))
    for index in range(60):
        issue = issue_of(f"shopper-{index:05d}", prompt.catalogue()[index % 40], at=decided_at, issue_id=f"i{index}")
        prompt.receive(issue)
        late.receive(issue, decided_at)
    reactions = late.advance(late.ends_at)
    assert any(isinstance(event, FeedbackEvent) and event.occurred_at < decided_at + 3600.0 for _, event in reactions)
    assert sorted(before + wire(prompt.advance(prompt.ends_at))) == sorted(later + wire(reactions))
    assert prompt.statistics == late.statistics


def test_an_expired_issue_moves_nobody() -> None:
    world = World(SMALL)
    issued_at = world.now
    world.advance(issued_at + 3 * 86400.0)
    for index in range(60):
        world.receive(issue_of(f"shopper-{index:05d}", world.catalogue()[0], at=issued_at))
    assert not any(isinstance(event, FeedbackEvent) for _, event in world.advance(world.ends_at))


def test_a_shopper_makes_five_or_six_events_a_day() -> None:
    world = World(WorldSettings(seed=1, shoppers=400, days=10))
    assert 4.5 <= len(world.advance(world.ends_at)) / 4000 <= 6.5


def test_upstream_leaves_out_a_brand_a_category_or_a_price_sometimes() -> None:
    world = World(WorldSettings(seed=1, shoppers=100, days=10))
    events = [event for topic, event in world.advance(world.ends_at) if topic == "browse-events"]
    items = [event.item for event in events if event.item is not None]  # type: ignore[attr-defined]
    assert 0 < len(events) - len(items) < 0.03 * len(events)
    for name in ("brand", "category", "price_minor"):
        assert 0.01 < sum(getattr(item, name) is None for item in items) / len(items) < 0.08


def test_other_shoppers_of_a_world_have_its_coupons_and_segments_and_do_something_else() -> None:
    settings = WorldSettings(seed=4, shoppers=200, days=1)
    one, other = World(settings), World(replace(settings, other_shoppers=1))
    assert one.catalogue() == other.catalogue()
    assert [event for _, event in one.advance(one.ends_at)] != [event for _, event in other.advance(other.ends_at)]
    # What coupons are worth on average is common to all shoppers of a world.
    means = [mean_margins(world) for world in (one, other, World(replace(settings, seed=5)))]
    assert np.corrcoef(means[0], means[1])[0, 1] > 0.9
    assert np.corrcoef(means[0], means[2])[0, 1] < 0.6


def mean_margins(world: World) -> Floats:
    at = world.settings.start_at + 12 * 3600.0
    return np.mean([world.worth(user_id, world.catalogue(), at).margin_minor for user_id in world.user_ids], axis=0)


def test_more_own_orders_that_use_coupons_make_coupons_worth_less() -> None:
    plain = WorldSettings(seed=4, shoppers=200, days=1)
    deadweight = replace(plain, median_order_ratio=0.3, uses_if_ordering=0.98)
    assert mean_margins(World(deadweight)).mean() < mean_margins(World(plain)).mean() - 5
