"""The search space: names and values are those of the settings, and what cannot be is refused by name."""

import math

import pytest

from stream_coupons.core.errors import BadConfig
from stream_coupons.core.rules import NeighbourhoodRules, PolicyRules, ProfileRules
from stream_coupons.settings import LearningSettings, Settings
from stream_coupons_lab.tuning.search_space import (
    BUILT_IN,
    Choices,
    Range,
    SearchSpace,
    build,
    rounded,
    settings_with,
    tree_of,
)

RATE = "learning.prior_variance"
NEIGHBOURS = "neighbourhood.neighbours"
PRICE = "profile.missing_price"


def test_the_built_in_space_is_of_settings_and_holds_the_defaults() -> None:
    space = build()
    assert space.axes.keys() == BUILT_IN.keys()
    assert space.inside(Settings()) == space.values(Settings())


def test_values_become_settings_and_leave_the_rest() -> None:
    base = Settings(secret_file="secret.key", profile=ProfileRules(half_life_s=5.0))
    found = settings_with(base, {RATE: 0.5, NEIGHBOURS: 7, PRICE: "last"})
    assert found == Settings(
        secret_file="secret.key",
        learning=LearningSettings(prior_variance=0.5),
        profile=ProfileRules(half_life_s=5.0, missing_price="last"),
        neighbourhood=NeighbourhoodRules(neighbours=7),
    )


def test_values_outside_the_space_are_left_to_the_sampler() -> None:
    space = SearchSpace(
        {RATE: Range(low=0.01, high=0.1), NEIGHBOURS: Range(low=1, high=50), PRICE: Choices(choices=["last"])}
    )
    assert space.inside(Settings()) == {NEIGHBOURS: 20}


def test_values_are_tried_with_four_digits() -> None:
    assert rounded({RATE: 0.123456, NEIGHBOURS: 12345, PRICE: "last"}) == {
        RATE: 0.1235,
        NEIGHBOURS: 12345,
        PRICE: "last",
    }
    assert settings_with(Settings(), {RATE: 0.123456}).learning.prior_variance == 0.1235


def test_a_grid_takes_as_many_values_as_the_trials_allow() -> None:
    space = SearchSpace({RATE: Range(low=0.01, high=1, log=True), PRICE: Choices(choices=["last", "median"])})
    assert space.grid(7) == {PRICE: ["last", "median"], RATE: [0.01, pytest.approx(0.1), 1.0]}


def test_a_grid_has_each_whole_number_once() -> None:
    assert SearchSpace({NEIGHBOURS: Range(low=1, high=3)}).grid(50) == {NEIGHBOURS: [1, 2, 3]}
    assert SearchSpace({PRICE: Choices(choices=["last", "median"])}).grid(50) == {PRICE: ["last", "median"]}


@pytest.mark.parametrize(("trials", "axes"), [(3, {RATE: 2, NEIGHBOURS: 2}), (1, {RATE: 2}), (2, {PRICE: 3})])
def test_a_grid_that_does_not_fit_is_refused(trials: int, axes: dict[str, int]) -> None:
    with pytest.raises(BadConfig, match=rf"--trials {trials}: a grid of .* has {math.prod(axes.values())} points"):
        build(only=axes).grid(trials)


def test_settings_are_the_same_in_every_process() -> None:
    """The order of a set is not: a study would be taken for that of other settings."""
    rules = PolicyRules(triggers=frozenset({"order", "cart", "browse"}))
    assert tree_of(Settings(policy=rules))["policy"]["triggers"] == ["browse", "cart", "order"]


def test_a_name_outside_the_space_is_refused_with_those_that_are_in_it() -> None:
    with pytest.raises(
        BadConfig, match=r"--only learning.rate: is not in the search space: .*learning\.prior_variance"
    ):
        build(only=["learning.rate"])


def test_only_what_is_named_is_searched() -> None:
    assert list(build([PRICE, RATE]).axes) == [RATE, PRICE]


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_ends_of_every_range_are_settings(name: str) -> None:
    axis = BUILT_IN[name]
    for value in axis.choices if isinstance(axis, Choices) else (axis.low, axis.high):
        assert settings_with(Settings(), {name: value})
