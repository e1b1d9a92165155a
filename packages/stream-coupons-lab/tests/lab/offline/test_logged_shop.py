"""The shoppers of a log: their features are those that a worker makes, whatever comes later."""

from typing import Any

import numpy as np

from stream_coupons.core.catalogue.compiled import CouponSet
from stream_coupons.core.decision.table import stored
from stream_coupons.core.features.affinity import Moment
from stream_coupons.core.features.rows import FeatureRows, extract
from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.core.messages.inputs import ObservedIssue
from stream_coupons.core.shopper.state import Shopper
from stream_coupons.models.linear import prior
from stream_coupons.secret import rules_of
from stream_coupons.settings import Settings
from stream_coupons.testing import browse, item, observed, order
from stream_coupons_lab.offline.learning_queue import Arms, Issue, LearningQueue
from stream_coupons_lab.offline.logged_shop import OF_FEATURES, LoggedShop

AT, HOUR_S = 1_767_348_000.0, 3600.0
RULES = rules_of(Settings())
COUPONS = [
    Coupon(
        coupon_id="tea", categories=["hot"], discount_percent=10, max_discount_minor=100, attributes={"colour": "red"}
    ),
    Coupon(coupon_id="milk", categories=["cold"], discount_percent=20, max_discount_minor=90, vector=[1.0, -1.0]),
]
NOT_OF_FEATURES = {
    *("cell", "vector_sent_at", "considered_at", "issues", "controls", "visit", "early", "closed", "closed_issues"),
    *("closed_observed", "asked", "erased_at", "leaves_at", "outcomes", "new_until"),
}


def shop(coupons: list[Coupon] = COUPONS) -> LoggedShop:
    quiet = rules_of(Settings(policy=type(RULES.policy)(triggers=frozenset())))
    made = LoggedShop(quiet, coupons, [].append)
    made.look_at({"ecommerce": ("colour",)}, ())
    for n in range(12):
        what, who = item(f"i{n % 3}", category=["hot", "cold"][n % 2], price_minor=300), f"u{n % 2}"
        made.take(browse(who, what, at=AT + n * HOUR_S))
        made.take(order(who, what, at=AT + n * HOUR_S + 9))
    return made


def given(issue_id: str, at: float) -> ObservedIssue:
    context = {"weather": "rain", "temperature": 7.5}
    about: dict[str, Any] = {"issue_id": issue_id, "expires_at": at + HOUR_S, "arms": ["tea", "milk"]}
    return observed("u1", "tea", at=at, context=context, **about)


def test_all_of_a_shopper_that_features_may_be_made_of_is_kept_for_them() -> None:
    assert {*OF_FEATURES} == {*Shopper.__struct_fields__} - NOT_OF_FEATURES


def test_a_moment_stays_as_it_was() -> None:
    made, moments = shop(), list[Moment]()
    coupons = made.catalogue.domains["ecommerce"]

    def row(moment: Moment) -> list[list[float]]:
        rows = extract([moment], coupons, [np.array([0, 1])], RULES.profile)
        return [*rows.numeric.tolist(), *rows.hashed.tolist()]

    made.observe(given("x1", AT + 20 * HOUR_S), moments.append)
    before = row(moments[0])
    made.observe(given("x2", AT + 20 * HOUR_S), moments.append)
    made.take(browse("u1", item("i9"), at=AT + 21 * HOUR_S))
    made.pass_time(AT + 99 * HOUR_S)
    assert row(moments[0]) == before
    assert row(moments[1]) != before, "one more coupon was given by then"


def test_features_made_together_are_those_that_a_worker_makes_one_by_one() -> None:
    made, moments = shop(), list[Moment]()
    for n in range(5):
        made.observe(given(f"x{n}", AT + (20 + n) * HOUR_S), moments.append)
    together = made.catalogue.domains["ecommerce"]
    queue = LearningQueue(Settings().learning, RULES, ())
    asked, versions = list[Arms](), list[int]()
    for n, moment in enumerate(moments):
        arms = Arms("ecommerce", together, [1, 0])
        asked.append(arms)
        queue.score(Issue(f"x{n}", moment, [arms], 0, versions.append))
    queue.flush()
    for moment, arms in zip(moments, asked, strict=True):
        assert arms.table is not None
        rows = arms.table.features
        for row, position in enumerate(arms.positions):
            single = one_by_one(moment, together, position)
            assert rows.numeric[row].tolist() == single.numeric[0].tolist()
            assert places(rows.hashed[row]) == places(single.hashed[0])
        assert arms.predicted == [stored(row) for row in prior().predict(rows)[:, :3].tolist()]
    assert versions == [0] * len(asked)


def one_by_one(moment: Moment, coupons: CouponSet, position: int) -> FeatureRows:
    return extract([moment], coupons.alone(position), [np.array([0])], RULES.profile)


def places(hashed: np.ndarray) -> list[int]:  # type: ignore[type-arg]
    return sorted(hashed[hashed > 0].tolist())
