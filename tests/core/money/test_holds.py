"""Holds of open coupons: between their expected cost and the most that they can cost, in all a quantile."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_coupons.core.money.holds import Falling, cost_of, hold_of, risk_of
from tests.core.builders import AT, DAY_S

fast = settings(max_examples=60, derandomize=True)
ratios = st.floats(0.0, 1.0)
money = st.floats(0.0, 1e7)


class TestHold:
    @fast
    @given(money, ratios, ratios, st.floats(0.0, 10.0), st.floats(0.0, 10.0))
    def test_a_hold_is_between_expectation_and_the_most_and_grows_with_the_risk(
        self, most: float, redeems: float, part: float, risk: float, more: float
    ) -> None:
        discount = most * part
        hold = hold_of("quantile", most, redeems, discount, risk)
        assert redeems * discount <= hold * (1 + 1e-9)
        assert hold <= hold_of("quantile", most, redeems, discount, risk + more) <= most
        assert hold_of("maximum", most, redeems, discount, risk) == most

    @fast
    @given(money, st.floats(1.0, 1e6), ratios, ratios, st.floats(0.0, 10.0))
    def test_a_hold_grows_with_the_most(
        self, most: float, more: float, redeems: float, part: float, risk: float
    ) -> None:
        holds = [hold_of("quantile", each, redeems, most * part, risk) for each in (most, most + more)]
        assert holds == sorted(holds)

    def test_the_first_open_coupon_holds_the_most(self) -> None:
        assert hold_of("quantile", 500.0, 0.1, 300.0, risk_of(0.0, 1.64)) == 500.0

    def test_what_costs_nothing_for_certain_holds_nothing(self) -> None:
        assert hold_of("quantile", 500.0, 0.0, 0.0, math.inf) == 0.0

    def test_holds_of_many_coupons_sum_to_a_quantile_of_all(self) -> None:
        costs = [cost_of(0.01 + 0.0002 * n, 100.0 + n) for n in range(500)]
        mean, variance = (sum(column) for column in zip(*costs, strict=True))
        risk = risk_of(variance, 1.64)
        held = sum(hold_of("quantile", 1000.0, 0.01 + 0.0002 * n, 100.0 + n, risk) for n in range(500))
        assert held == pytest.approx(mean + 1.64 * math.sqrt(variance))

    def test_the_quantile_holds(self) -> None:
        rng = np.random.default_rng(1)
        redeems, discount = rng.uniform(0.02, 0.2, 300), rng.uniform(50.0, 500.0, 300)
        mean, variance = np.array([cost_of(*each) for each in zip(redeems, discount, strict=True)]).sum(axis=0)
        costs = (rng.random((4000, 300)) < redeems) @ discount
        assert np.mean(costs > mean + 1.64 * math.sqrt(variance)) == pytest.approx(0.05, abs=0.015)


class TestFalling:
    @fast
    @given(st.lists(st.tuples(money, st.floats(0.0, DAY_S), st.floats(60.0, 3 * DAY_S)), max_size=20), ratios)
    def test_partitions_add_up_and_nothing_is_left_when_all_are_removed(
        self, coupons: list[tuple[float, float, float]], part: float
    ) -> None:
        whole, halves, at = Falling(), [Falling(), Falling()], AT + DAY_S + part * 60.0
        spans = [(AT + DAY_S - since * 60.0 / DAY_S, AT + DAY_S + 60.0 + length) for _, since, length in coupons]
        for number, ((amount, _, _), span) in enumerate(zip(coupons, spans, strict=True)):
            whole, halves[number % 2] = whole.added(amount, *span), halves[number % 2].added(amount, *span)
        rough = 1e-9 * max(1.0, halves[0].level + halves[1].level)
        assert halves[0].at(at) + halves[1].at(at) == pytest.approx(whole.at(at), abs=rough)
        assert whole.at(at + 1.0) <= whole.at(at) + rough
        for (amount, _, _), span in zip(coupons, spans, strict=True):
            whole = whole.added(-amount, *span)
        assert whole.at(at) == pytest.approx(0.0, abs=rough)

    def test_half_is_left_after_half_of_the_window(self) -> None:
        total = Falling().added(100.0, AT, AT + DAY_S)
        assert [total.at(AT + part * DAY_S) for part in (0.0, 0.5, 1.0)] == pytest.approx([100.0, 50.0, 0.0])
