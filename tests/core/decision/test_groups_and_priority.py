"""Exclusion groups and priority: one held at a time in all domains, and the first of those worth giving."""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_coupons.core.catalogue.catalogue import eligible, objection
from stream_coupons.core.catalogue.compiled import Floats
from stream_coupons.core.decision.commit import charge, note_demand
from stream_coupons.core.decision.pipeline import decide, pass_time, take_in
from stream_coupons.core.decision.pipeline import feedback as hear
from stream_coupons.core.decision.policy import leading
from stream_coupons.core.decision.scoring import REDEEM
from stream_coupons.core.decision.table import Trigger
from stream_coupons.core.messages.decisions import CouponIssue, LoggedDecision
from stream_coupons.core.messages.leases import LeaseReport
from stream_coupons.core.money.accounts import Limit, units_of
from stream_coupons.core.money.price import PRICES as PRICE_GRID
from stream_coupons.core.money.price import demand_of
from stream_coupons.core.money.purses import Purse
from stream_coupons.core.money.wallet import Wallet
from stream_coupons.core.reasons import Ineligible
from stream_coupons.core.shopper.state import Shopper
from stream_coupons.testing import campaign
from tests.core.builders import (
    AT,
    DAY_S,
    browse,
    feedback,
    knowledge,
    of_type,
    purses,
    rules,
    see,
    wallet,
)
from tests.core.builders import repeatable as coupon

GROUPS = {"a": "spring", "b": "spring", "c": "", "d": "spring", "e": "summer", "f": "summer"}
DRAWN = knowledge(
    *(
        coupon(name, exclusion_group=group, domain="travel" if name > "c" else "ecommerce")
        for name, group in GROUPS.items()
    ),
    rules=rules(exploration_ratio=1.0, cooldown_s=0.0),
)


@settings(max_examples=60, derandomize=True, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["ecommerce", "travel"]), st.floats(0, 3 * DAY_S), st.booleans()),
        min_size=1,
        max_size=30,
    )
)
def test_a_shopper_holds_one_coupon_of_a_group_at_a_time_in_all_domains(
    events: list[tuple[str, float, bool]],
) -> None:
    shopper, purses, at = Shopper(), wallet(), AT
    for number, (domain, after, is_used) in enumerate(events):
        at += after
        pass_time("u", shopper, at, DRAWN)
        issues = of_type(see(shopper, browse(f"t{number}", at, domain=domain), DRAWN, purses).messages, CouponIssue)
        held = Counter(GROUPS[name] for name in shopper.held_coupons(at))
        assert all(held[group] <= 1 for group in ("spring", "summer"))
        if is_used and issues:
            hear(shopper, feedback("purchase", issues[0].issue_id, at + 1, f"f{number}"), DRAWN)
            assert issues[0].coupon_id not in shopper.held_coupons(at + 1) or shopper.history.issued > 1


def test_what_is_held_of_a_group_is_named_and_frees_the_group_when_it_is_used() -> None:
    known = knowledge(coupon("a", exclusion_group="g"), coupon("z", domain="travel", exclusion_group="g"))
    shopper, purses = Shopper(), wallet()
    [issue] = of_type(see(shopper, browse("t1"), known, purses).messages, CouponIssue)
    travel = known.catalogue.domains["travel"]
    assert objection(shopper, travel, 0, AT, known.rules) is Ineligible.EXCLUSION_GROUP
    assert eligible(shopper, travel, AT, known.rules).tolist() == []
    hear(shopper, feedback("purchase", issue.issue_id, AT + 1), known)
    assert eligible(shopper, travel, AT + 2, known.rules).tolist() == [0]


def test_a_coupon_withheld_from_the_holdout_excludes_its_group_as_one_given_does() -> None:
    known = knowledge(
        coupon("a", exclusion_group="g"),
        coupon("z", domain="travel", exclusion_group="g"),
        rules=rules(holdout_ratio=1.0),
    )
    shopper, purses = Shopper(), wallet()
    see(shopper, browse("t1"), known, purses)
    assert shopper.history.withheld.coupons == {"a": 1}
    assert eligible(shopper, known.catalogue.domains["travel"], AT, known.rules).tolist() == []


PRICES = {"low": 90, "mid": 60, "high": 80}
"""What each takes off: the less, the more it is worth."""


@pytest.mark.parametrize(
    ("priorities", "stock", "winner"),
    [
        ({}, {}, "mid"),
        ({"low": 1}, {}, "low"),
        ({"low": 1, "high": 1}, {}, "high"),
        ({"low": 2, "high": 1}, {"low": 0}, "high"),
        ({"mid": -1}, {}, "high"),
    ],
)
def test_the_highest_priority_that_can_be_had_wins_and_value_decides_within_it(
    priorities: dict[str, int], stock: dict[str, int], winner: str
) -> None:
    known = knowledge(
        *(
            coupon(name, discount_minor=off, priority=priorities.get(name, 0), stock=stock.get(name))
            for name, off in PRICES.items()
        ),
        rules=rules(min_value_minor=0.0),
    )
    messages = see(Shopper(), browse("t1"), known, wallet()).messages
    [issue], [logged] = of_type(messages, CouponIssue), of_type(messages, LoggedDecision)
    assert (issue.coupon_id, issue.propensity) == (winner, 1.0)
    assert logged.best is not None
    assert logged.arms[logged.best] == winner
    assert dict(zip(logged.arms, logged.priorities, strict=False)) == (
        {name: priorities.get(name, 0) for name in logged.arms} if priorities else {}
    )


def test_a_priority_does_not_give_what_is_not_worth_it() -> None:
    known = knowledge(
        coupon("dear", discount_minor=1900, max_discount_minor=1900, priority=9),
        coupon("fair"),
        rules=rules(min_value_minor=0.0),
    )
    [issue] = of_type(see(Shopper(), browse("t1"), known, wallet()).messages, CouponIssue)
    assert issue.coupon_id == "fair"


@pytest.mark.parametrize(
    ("priorities", "asked"),
    [({}, {"mid"}), ({"low": 1}, {"low", "mid"}), ({"high": 1, "mid": -1}, {"high"}), ({"mid": -1}, set())],
)
def test_what_would_be_given_by_priority_is_asked_for_where_it_is_sold_out(
    priorities: dict[str, int], asked: set[str]
) -> None:
    known = knowledge(
        *(coupon(name, discount_minor=off, priority=priorities.get(name, 0), stock=9) for name, off in PRICES.items()),
        coupon("here", discount_minor=70),
        rules=rules(min_value_minor=0.0),
    )
    empty = purses()
    for name in PRICES:  # all are with other partitions
        empty.change(units_of(name), Purse)
    messages = see(Shopper(), browse("t1"), known, Wallet(empty, 0, 2)).messages
    assert [one.coupon_id for one in of_type(messages, CouponIssue)] == ["here"]
    assert {one.account_id for one in of_type(messages, LeaseReport)} == {f"units:{name}" for name in asked}


@dataclass(frozen=True)
class DemandByAccount(Wallet):
    """A wallet that keeps what is asked of each account, at each price."""

    demand: dict[str, list[float]] = field(default_factory=dict)

    def add_demand(self, limit: Limit, values: Floats, costs: Floats, outside: float) -> None:
        [asked] = demand_of(values[None], costs[None], np.array([outside]))
        self.demand[limit.account_id] = asked.tolist()


@settings(max_examples=60, derandomize=True, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 600), st.sampled_from(["k1", "k2", None])), min_size=1, max_size=6),
    st.dictionaries(st.sampled_from(["k1", "k2", None]), st.integers(-1, 2)),
)
def test_demand_is_what_the_policy_would_give_at_each_price(
    coupons: list[tuple[int, str | None]], priorities: dict[str | None, int]
) -> None:
    until = AT + 90 * DAY_S
    known = knowledge(
        *(
            coupon(f"c{n}", discount_minor=off, max_discount_minor=600, campaign_id=of, priority=priorities.get(of, 0))
            for n, (off, of) in enumerate(coupons)
        ),
        rules=rules(min_value_minor=0.0),
        campaigns=[campaign(name, budget_minor=10**7, ends_at=until) for name in ("k1", "k2")],
    )
    trigger = take_in("u", Shopper(), browse("t1"), known)
    assert isinstance(trigger, Trigger)
    [table], holds = decide([trigger], known), DemandByAccount(purses(), 0, 1)
    table = charge(table, holds)
    note_demand(table, holds, 0.0)
    costs = table.predicted[:, REDEEM] * table.discount_minor
    for name in ("k1", "k2"):
        of_account = np.array([one.campaign_id == name for one in table.listed()])
        expected = []
        for price in PRICE_GRID:
            row = leading(table.value_minor - price * costs * of_account, known.rules.policy, table.priority)
            expected.append(0.0 if row is None or not of_account[row] else float(costs[row]))
        assert holds.demand.get(f"campaign:{name}", [0.0] * len(PRICE_GRID)) == expected
