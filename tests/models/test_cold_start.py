"""Before anything is learnt, coupons go to what the shopper turned to; the effect grows with interest and depth."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from stream_coupons.core.catalogue.catalogue import Catalogue
from stream_coupons.core.catalogue.compiled import CouponSet
from stream_coupons.core.catalogue.viewed_prices import NOTHING_VIEWED
from stream_coupons.core.decision import policy
from stream_coupons.core.decision.incremental import USES_RATIO
from stream_coupons.core.decision.scoring import Scorer
from stream_coupons.core.decision.table import CandidateTable
from stream_coupons.core.decision.value import STRANGE_RATIO
from stream_coupons.core.draws import PUBLIC_KEY
from stream_coupons.core.features.affinity import Moment
from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.core.messages.inputs import BrowseEvent, CartEvent, OrderEvent
from stream_coupons.core.rules import PolicyRules, Rules
from stream_coupons.core.shopper.profile import fold
from stream_coupons.core.shopper.state import Shopper
from stream_coupons.models.linear import prior
from stream_coupons.testing import coupon, item
from tests.core.builders import AT, DAY_S, HOUR_S, FixedScorer, browse, cart, order, priced_views, valued

ROOT = Path(__file__).parents[2]
COUPONS = msgspec.json.decode((ROOT / "deploy" / "catalog.json").read_bytes(), type=list[Coupon])
GREEDY = PolicyRules(exploration_ratio=0.0)
RULES = Rules(key=PUBLIC_KEY)
Events = list[BrowseEvent | CartEvent | OrderEvent]


def shop_of(*coupons: Coupon) -> CouponSet:
    found = Catalogue(coupons).domains.get("ecommerce")
    assert found is not None
    return found


def judged(events: Events, shop: CouponSet, scorer: Scorer, rules: Rules = RULES) -> CandidateTable:
    """Scores of all coupons, for a shopper who did all this, the last of it just now."""
    shopper = Shopper()
    for event in events:
        fold(shopper.profile, event, RULES.profile)
    moment = Moment("u", shopper, AT, {}, events[-1] if events else None)
    return valued([moment], [np.arange(len(shop))], shop, scorer, rules)


def effects_and_worth(events: Events, shop: CouponSet) -> dict[str, tuple[float, float]]:
    """P(persuaded) and value of every coupon, for a shopper who did all this, the last of it just now."""
    found = judged(events, shop, prior())
    orders_anyway = found.predicted[:, 2]
    effects = (found.predicted[:, 1] - USES_RATIO * orders_anyway) / (1.0 - orders_anyway)
    return {
        each.coupon_id: (effect, worth)
        for each, effect, worth in zip(shop.coupons, effects.tolist(), found.value_minor.tolist(), strict=True)
    }


def given(events: Events) -> str | None:
    """The coupon of the shipped catalogue that is given by value, if any."""
    shop = shop_of(*COUPONS)
    worth = np.array([worth for _, worth in effects_and_worth(events, shop).values()])
    row = policy.choose(worth, "t", GREEDY, PUBLIC_KEY).row
    return None if row is None else shop.coupons[row].coupon_id


def views(category: str, count: int = 1, gap_s: float = 60.0) -> Events:
    return [browse(f"b{n}", AT - n * gap_s, item(f"{category}-1", category=category)) for n in reversed(range(count))]


def carts(category: str) -> Events:
    return [*views(category, 2), cart("k", AT, item(f"{category}-1", category=category))]


def orders(category: str, every_s: float, last_ago_s: float, count: int = 6) -> Events:
    what = item(f"{category}-1", category=category)
    return [order(f"o{n}", AT - last_ago_s - n * every_s, what) for n in reversed(range(count))]


@pytest.mark.parametrize(
    ("category", "expected"),
    [
        ("coffee", {"coffee-15-percent"}),
        ("cheese", {"cheese-150-off", None}),
        ("laundry", {"household-5-percent", None}),
        ("paper", {"household-5-percent", None}),
        ("lighting", {None}),
    ],
)
@pytest.mark.parametrize("events", [views, carts, lambda category: views(category, 4, gap_s=DAY_S)])
def test_the_first_coupon_is_for_what_the_shopper_turned_to(category: str, expected: set[str | None], events) -> None:  # type: ignore[no-untyped-def]
    assert given(events(category)) in expected


def test_nothing_is_given_to_a_shopper_of_whom_nothing_is_known() -> None:
    assert given([]) is None
    assert given([browse("b", AT, None)]) is None


def test_the_effect_grows_with_interest_in_the_scope() -> None:
    shop = shop_of(*COUPONS)
    stages = [
        views("lighting"),
        [],
        [*views("coffee"), *views("lighting")],
        views("coffee"),
        views("coffee", 3, gap_s=DAY_S),
        views("coffee", 10, gap_s=DAY_S),
        carts("coffee"),
    ]
    effects = [effects_and_worth(events, shop)["coffee-15-percent"][0] for events in stages]
    assert effects == sorted(set(effects))
    assert effects[-1] > 3 * effects[0]


@pytest.mark.parametrize("events", [[], views("tea"), carts("tea"), orders("tea", 7 * DAY_S, 7 * DAY_S)])
def test_the_effect_grows_with_the_depth_of_the_discount(events: Events) -> None:
    depths = (5.0, 10.0, 15.0, 25.0, 40.0)
    shop = shop_of(
        *(
            coupon(
                f"{depth:02.0f}",
                discount_minor=None,
                discount_percent=depth,
                max_discount_minor=900,
                categories=["tea"],
            )
            for depth in depths
        )
    )
    effects = [effect for effect, _ in effects_and_worth(events, shop).values()]
    assert effects == sorted(set(effects))


@pytest.mark.parametrize("turns_to", [views("coffee"), carts("coffee"), views("lighting")])
@pytest.mark.parametrize("every_s", [3 * DAY_S, 7 * DAY_S, 14 * DAY_S])
def test_what_is_bought_anyway_on_schedule_is_not_discounted(every_s: float, turns_to: Events) -> None:
    shop = shop_of(*COUPONS)
    regular = effects_and_worth([*orders("coffee", every_s, every_s), *turns_to], shop)["coffee-15-percent"]
    new = effects_and_worth(turns_to, shop)["coffee-15-percent"]
    assert regular[1] < 0.0
    assert regular[0] < max(new[0], 0.05)
    assert given([*orders("coffee", every_s, every_s), *turns_to]) != "coffee-15-percent"


def test_what_was_bought_just_now_is_not_discounted() -> None:
    assert given([*orders("coffee", DAY_S, HOUR_S, count=1), *views("coffee")]) is None


@pytest.mark.parametrize(("views_of_all", "ratio"), [(0, 0.0), (599, 0.0), (600, STRANGE_RATIO), (9000, STRANGE_RATIO)])
@pytest.mark.parametrize("events", [[], views("lighting"), views("tea", 3)])
def test_a_guess_counts_nothing_in_a_new_shop_and_half_in_one_that_is_known(
    events: Events, views_of_all: int, ratio: float
) -> None:
    def worth(known_after: float, *, is_persuaded: bool) -> list[float]:
        rules = Rules(key=PUBLIC_KEY, policy=PolicyRules(known_after=known_after))
        seen = priced_views(("soap", "x", views_of_all, 512.0)) if views_of_all else NOTHING_VIEWED
        scorer = FixedScorer(redeem=0.5 if is_persuaded else 0.0, viewed_prices=seen)
        return judged(events, shop, scorer, rules).value_minor.tolist()

    shop = shop_of(coupon("c1", categories=["oats"]), coupon("c2", categories=["tea"]))
    strange, turned_to = worth(4.0, is_persuaded=True)
    values = worth(0.0, is_persuaded=True)
    assert min(values) > 0.0
    assert strange == ratio * values[0]
    assert turned_to == (1.0 if events == views("tea", 3) else ratio) * values[1]
    assert worth(4.0, is_persuaded=False) == worth(0.0, is_persuaded=False), "what costs money is not worth less"
