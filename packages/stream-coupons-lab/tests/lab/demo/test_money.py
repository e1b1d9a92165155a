"""What the figures say is what the sentences say."""

from collections.abc import Mapping

import pytest

from stream_coupons.models.metrics import Interval
from stream_coupons.testing import issue
from stream_coupons_lab.demo.money import Earned, earned, verdict
from stream_coupons_lab.demo.outcomes import Outcomes, Played
from stream_coupons_lab.simulation.shoppers import WorldStatistics

USERS = [f"u{number}" for number in range(200)]


def played(policy: str, margins: Mapping[str, float]) -> Played:
    outcomes = Outcomes(0.0)
    for user_id, margin in margins.items():
        outcomes.add_issue(issue(user_id, at=1.0), 0.1, margin)
    return Played(policy, outcomes, WorldStatistics(incremental_margin_minor=sum(margins.values())))


def test_expected_margin_is_summed_and_its_interval_holds_it() -> None:
    ours = {name: 10.0 + number % 7 for number, name in enumerate(USERS[:150])}
    rows = {row.policy: row for row in earned([played("learned", ours), played("random", {})], USERS)}
    assert rows["learned"].expected.value == pytest.approx(sum(ours.values()))
    assert rows["learned"].expected.low < sum(ours.values()) < rows["learned"].expected.high
    assert (rows["random"].expected.value, rows["random"].issues) == (0.0, 0)
    assert rows["random"].behind == rows["learned"].expected
    assert rows["learned"].behind == Interval(0.0, 0.0, 0.0)


def test_what_both_policies_earn_on_a_shopper_is_not_in_the_interval_of_their_difference() -> None:
    shared = {name: (-1.0) ** number * 1000 for number, name in enumerate(USERS)}
    ahead = {name: margin + 1.0 for name, margin in shared.items()}
    [_, random] = earned([played("learned", ahead), played("random", shared)], USERS)
    assert (random.behind.low, random.behind.high) == pytest.approx((200.0, 200.0))
    assert random.expected.high - random.expected.low > 10_000


def row(policy: str, value: float, behind: Interval) -> Earned:
    return Earned(policy, 1, 1, Interval(value, value - 500, value + 500), behind, value, 10, 1)


@pytest.mark.parametrize(
    ("random", "average", "said"),
    [
        (
            Interval(2e4, 1e4, 3e4),
            Interval(1e4, -1e3, 2e4),
            ("200.00 EUR more than random", "100.00 EUR more", "differ too much"),
        ),
        (
            Interval(2e4, 1e4, 3e4),
            Interval(-1e4, -2e4, -1e3),
            ("100.00 EUR less than best on average (-200.00 to -10.00 EUR).",),
        ),
    ],
)
def test_the_verdict_says_who_is_ahead_and_whether_that_is_sure(
    random: Interval, average: Interval, said: tuple[str, ...]
) -> None:
    none = Interval(0.0, 0.0, 0.0)
    rows = [
        row("learned", 1e4, none),
        row("random", -1e4, random),
        row("best_on_average", 0.0, average),
        row("true_value", 4e4, none),
    ]
    text = verdict(rows)
    for part in (*said, "reaches 25%"):
        assert part in text
    assert "nan" not in text


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (1000.0, "expected to earn 10.00 EUR more"),
        (100.0, "does not show"),
        (-1000.0, "10.00 EUR less than giving no coupons (-15.00 to -5.00 EUR): it loses money"),
    ],
)
def test_a_policy_that_earns_nothing_is_called_that(value: float, said: str) -> None:
    none = Interval(0.0, 0.0, 0.0)
    assert said in verdict([row("learned", value, none), row("random", 0.0, none), row("best_on_average", 0.0, none)])
