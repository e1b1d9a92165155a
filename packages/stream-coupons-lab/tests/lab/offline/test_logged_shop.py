"""The shoppers of a log: their features are those that a worker makes, whatever comes later."""

from typing import Any

import numpy as np
import pytest

from stream_coupons.core.decision.candidates import stored
from stream_coupons.core.decision.observation import rows_with, rows_without
from stream_coupons.core.decision.scoring import Knowledge
from stream_coupons.core.features.affinity import Moment
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
    *("cell", "vector_sent_at", "considered_at", "issues", "controls", "visit", "early", "closed"),
    *("closed_observed", "asked", "erased_at", "leaves_at", "followed"),
}


def shop(coupons: list[Coupon] = COUPONS) -> LoggedShop:
    quiet = rules_of(Settings(policy=type(RULES.policy)(triggers=frozenset())))
    made = LoggedShop(quiet, coupons, [].append)
    made.look_at({"ecommerce": ("colour",)}, ())
    for n in range(12):
        what, who = item(f"i{n % 3}", category=["hot", "cold"][n % 2], price_minor=300), f"u{n % 2}"
        made.act(browse(who, what, at=AT + n * HOUR_S))
        made.act(order(who, what, at=AT + n * HOUR_S + 9))
    return made


def given(issue_id: str, at: float) -> ObservedIssue:
    context = {"weather": "rain", "temperature": 7.5}
    about: dict[str, Any] = {"issue_id": issue_id, "expires_at": at + HOUR_S, "arms": ["tea", "milk"]}
    return observed("u1", "tea", at=at, context=context, **about)


def test_all_of_a_shopper_that_features_may_be_made_of_is_kept_for_them() -> None:
    assert {*OF_FEATURES} == {*Shopper.__struct_fields__} - NOT_OF_FEATURES


def test_a_moment_stays_as_it_was() -> None:
    made, moments = shop(), list[Moment]()
    known = Knowledge(RULES, made.catalogue, {}, prior())
    coupons = made.catalogue.domains["ecommerce"]

    def row(moment: Moment) -> list[list[float]]:
        rows = rows_with(moment, coupons, np.array([0, 1]), known)
        return [*rows.numeric.tolist(), *rows.hashed.tolist()]

    made.observe(given("x1", AT + 20 * HOUR_S), moments.append)
    before = row(moments[0])
    made.observe(given("x2", AT + 20 * HOUR_S), moments.append)
    made.act(browse("u1", item("i9"), at=AT + 21 * HOUR_S))
    made.pass_time(AT + 99 * HOUR_S)
    assert row(moments[0]) == before
    assert row(moments[1]) != before, "one more coupon was given by then"


@pytest.mark.parametrize("position", [None, 1])
def test_features_made_together_are_those_that_a_worker_makes_one_by_one(position: int | None) -> None:
    made, moments = shop(), list[Moment]()
    for n in range(5):
        made.observe(given(f"x{n}", AT + (20 + n) * HOUR_S), moments.append)
    known = Knowledge(RULES, made.catalogue, {}, prior())
    bare = made.catalogue.bare_of("ecommerce", ["tea", "milk"])
    together = made.catalogue.beside_nothing("ecommerce", bare, position)
    alone = made.catalogue.domains["ecommerce"].alone(1)
    queue = LearningQueue(Settings().learning, RULES, ())
    asked, versions = list[Arms](), list[int]()
    for n, moment in enumerate(moments):
        # Coupons are in order of their ids: milk, then tea.
        arms = Arms("ecommerce", together, ["tea"], [len(together) - 2, len(together) - 1])
        asked.append(arms)
        queue.score(Issue(f"x{n}", moment, [arms], 0, False, versions.append))
    queue.flush()
    for moment, arms in zip(moments, asked, strict=True):
        assert arms.rows is not None
        one_by_one = (
            rows_with(moment, alone, np.array([0]), known),
            rows_without(moment, "ecommerce", ["tea", "milk"], known),
        )
        for row, single in enumerate(one_by_one):
            assert arms.rows.numeric[row].tolist() == single.numeric[0].tolist()
            assert places(arms.rows.hashed[row]) == places(single.hashed[0])
        assert arms.predicted == [stored(row) for row in prior().own.predict(arms.rows)[:, :3].tolist()]
    assert versions == [0] * len(asked)


def places(hashed: np.ndarray) -> list[int]:  # type: ignore[type-arg]
    return sorted(hashed[hashed > 0].tolist())
