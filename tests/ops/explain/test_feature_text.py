"""Every feature has words, the words tell the numbers as they are, and no value can break them."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_coupons.core.catalogue.compiled import CouponSet
from stream_coupons.core.features.affinity import Interests, Moment, look
from stream_coupons.core.features.categories import CATEGORY_TEXTS
from stream_coupons.core.features.numeric import FEATURE_BY_NAME, FEATURES, NUMERIC
from stream_coupons.core.features.rows import HASHED, extract, hashed_names
from stream_coupons.core.messages.decisions import Reason
from stream_coupons.core.rules import ProfileRules
from stream_coupons.core.shopper.profile import fold
from stream_coupons.core.shopper.state import History, Shopper, Tally
from stream_coupons.core.vectors.sparse import pack_vector
from stream_coupons.ops.explain.feature_text import effect, number_of, tell
from stream_coupons.testing import coupon, item
from tests.core.builders import AT, DAY_S, browse, order

RULES = ProfileRules()


def test_every_feature_has_a_phrase_and_every_phrase_a_feature() -> None:
    for feature in FEATURES:
        said = tell(Reason(feature.name, max(feature.bounds) / 2, 1.0)).sentence
        assert not said.startswith(f"{feature.name} is"), said
    assert set(CATEGORY_TEXTS) == set(hashed_names(has_vectors=True))


def test_a_feature_without_a_phrase_is_called_by_its_name() -> None:
    assert tell(Reason("mood", 0.25, 0.1)).sentence == "mood is 0.25: raises the odds of redeeming by 11 %"


@pytest.mark.parametrize(
    ("contribution", "expected"),
    [
        (math.log(1.4), "raises the odds of redeeming by 40 %"),
        (math.log(0.7), "lowers the odds of redeeming by 30 %"),
        (math.log(3.1), "makes the odds of redeeming 3.1 times as high"),
        (0.001, "hardly changes the odds of redeeming"),
        (-0.001, "hardly changes the odds of redeeming"),
        (-1e9, "lowers the odds of redeeming by 100 %"),
    ],
)
def test_a_contribution_is_told_as_a_change_of_the_odds(contribution: float, expected: str) -> None:
    assert effect(contribution) == expected


def sentences() -> dict[str, str]:
    """What is said of a coupon for tea and a shopper of whom all is known."""
    shopper = Shopper()
    fold(shopper.profile, order("o", AT - 4 * DAY_S, item("t", category="tea", price_minor=500)), RULES)
    fold(shopper.profile, browse("b", AT, item("t", category="tea", price_minor=500)), RULES)
    shopper.history = History(
        issued=12,
        clicked=4,
        redeemed=2,
        last_issued_at=AT - 3 * DAY_S,
        exposure=2.0,
        by_coupon={"c1": Tally(issued=5, redeemed=2)},
        by_category={"tea": Tally(issued=6, redeemed=2)},
    )
    shopper.neighbourhood.packed = pack_vector(dict.fromkeys(shopper.profile.interests, 0.5))
    terms = {"categories": ["tea"], "discount_minor": 150, "max_discount_minor": 150, "typical_price_minor": 1000}
    coupons = CouponSet([coupon(redeem_within_s=5 * DAY_S, **terms)], 1000.0)
    moments = [Moment("u", shopper, AT, {}, browse("b", AT, item("t", category="tea")))]
    rows = extract(moments, coupons, [np.array([0])], RULES)
    numbers = zip(NUMERIC, rows.numeric[0].tolist(), strict=True)
    return {name: tell(Reason(name, value, 1.0)).sentence.partition(":")[0] for name, value in numbers}


def test_numbers_are_told_as_they_were() -> None:
    said = sentences()
    for name, expected in {
        "order_recency": "last ordered 4 days ago",
        "mean_price": "pays 500 cents",
        "coupons_issued": "had 12 coupons before",
        "since_last_issue": "3 days after the last coupon",
        "exposure": "had 0.25 coupons within days",
        "event_recency": "last heard of 0 days ago",
        "discount_depth": "takes 15 % off",
        "discount_pull": "in general grows by 53 %",
        "discount_size": "takes 150 cents off",
        "time_to_redeem": "can be used for 5 days",
        "price_fit": "(closeness 50 %)",
        "category_ordered": "ordered 4 days ago",
        "this_coupon_issued": "given to this shopper 5 times before",
        "this_coupon_redeemed": "redeemed by this shopper 2 times before",
        "this_category_issued": "had 6 coupons before",
        "click_rate": f"clicks {100 * (4 + 0.1 * 4) / (12 + 4):.0f} % of their coupons",
        "redeem_rate": f"redeems {100 * (2 + 0.05 * 4) / (12 + 4):.0f} % of their coupons",
        "this_category_redeem_rate": f"redeems {100 * (2 + 0.05 * 4) / (6 + 4):.0f} % of the coupons",
    }.items():
        assert expected in said[name], (name, said[name])
    days = 1 + 2 ** (-4 / 14)
    share = (days + 3 * 0.05) / (days + 3)
    assert said["demand_share"] == f"is for what this shopper looks at most (share of interest {100 * share:.0f} %)"


def test_a_small_share_is_no_liking() -> None:
    assert "hardly looks at (share" in tell(Reason("demand_share", -0.2, 1.0)).sentence
    assert "looks at (share of interest 5 %)" in tell(Reason("demand_share", 0.0, 1.0)).sentence
    assert "hardly look at (share" in tell(Reason("near_scope_share", -0.2, 1.0)).sentence


def test_no_number_and_category_share_a_name() -> None:
    assert not set(NUMERIC) & set(HASHED)


def test_a_value_of_the_context_is_said_as_it_is() -> None:
    assert tell(Reason("weather=rain*kind", 1.0, 0.1)).sentence.startswith(
        "comes with weather=rain and kind: experience"
    )


def test_scores_are_those_of_the_features() -> None:
    shopper = Shopper()
    fold(shopper.profile, order("o", AT, item("t", category="tea")), RULES)
    shopper.neighbourhood.packed = pack_vector(dict.fromkeys(shopper.profile.interests, 2.5))
    coupons = CouponSet([coupon(categories=["tea"])], 1000.0)
    moments = [Moment("u", shopper, AT, {})]
    views = look(Interests.of(moments, coupons, RULES), [np.array([0])])
    rows = extract(moments, coupons, [np.array([0])], RULES, views)
    content, neighbours = (rows.numeric[0, NUMERIC.index(name)] for name in ("content", "collaborative"))
    assert number_of(FEATURE_BY_NAME["content"], content) == pytest.approx(views.content[0], rel=1e-3)
    assert number_of(FEATURE_BY_NAME["collaborative"], neighbours) == pytest.approx(views.collaborative[0], rel=1e-3)


@settings(max_examples=200, derandomize=True)
@given(st.sampled_from([*NUMERIC, *HASHED, "mood"]), st.floats(), st.floats(allow_nan=False, allow_infinity=False))
def test_any_value_can_be_told(name: str, value: float, contribution: float) -> None:
    assert "odds of redeeming" in tell(Reason(name, value, contribution)).sentence
