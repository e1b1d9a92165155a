"""The search space: names and values are those of the settings, and what cannot be is refused by name."""

import math
from pathlib import Path

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


def written(folder: Path, text: str) -> Path:
    path = folder / "space.toml"
    path.write_text(text, encoding="utf-8")
    return path


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


def test_a_file_adds_and_replaces(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        '"learning.prior_variance" = {low = 0.1, high = 0.2}\n'
        '[profile]\nmax_interests = {low = 8, high = 64, log = true}\nmissing_price = {choices = ["last"]}\n',
    )
    space = build(path)
    assert space.axes.keys() == BUILT_IN.keys() | {"profile.max_interests"}
    assert space.axes[RATE] == Range(low=0.1, high=0.2)
    assert space.axes["profile.max_interests"] == Range(low=8, high=64, log=True)
    assert space.axes[PRICE] == Choices(choices=["last"])


def test_only_what_is_named_is_searched(tmp_path: Path) -> None:
    path = written(tmp_path, "[profile]\nmax_interests = {low = 8, high = 64}\n")
    assert list(build(path, ["profile.max_interests", RATE]).axes) == [RATE, "profile.max_interests"]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (
            "[learning]\nprior_varianc = {low = 1, high = 2}",
            "learning.prior_varianc: .* did you mean learning.prior_variance",
        ),
        ('"nonsense" = {low = 1, high = 2}', "nonsense: there is no such setting$"),
        ("[policy]\nholdout_ratio = {low = 0, high = 1}", "policy.holdout_ratio is not searched: .*`ope`"),
        ("[attribution]\ngrace_s = {low = 0, high = 1}", "attribution.grace_s is not searched: .*label"),
        ("secret_file = {low = 0, high = 9}", "secret_file is not searched: .*luck"),
        ("[learning]\nprior_variance = 3", "learning = .*prior_variance.*; expected {low, high, log} or {choices}"),
        ("[learning]\nprior_variance = {low = 1}", "learning.prior_variance = .*high.*expected {low, high, log}"),
        ("[learning]\nprior_variance = {low = 1, hihg = 2}", "learning.prior_variance = .*hihg"),
        ("[learning]\nprior_variance = {low = 2, high = 1}", "learning.prior_variance: expected finite low < high"),
        (
            "[learning]\nprior_variance = {low = 0, high = 1, log = true}",
            "learning.prior_variance = 0: .*> 0",
        ),
        ("[learning]\nprior_variance = {low = 1, high = inf}", "learning.prior_variance = inf: "),
        ("[learning]\nprior_variance = {low = nan, high = 1}", "learning.prior_variance = nan: "),
        ("[learning]\nprior_variance = {low = -1, high = 1}", "learning.prior_variance = -1: .*> 0"),
        ("[learning]\nprior_variance = {choices = []}", "learning.prior_variance: choices is empty"),
        ("[neighbourhood]\nneighbours = {low = 0.5, high = 3}", "neighbourhood.neighbours = 0.5: .*int"),
        ("[profile]\nmissing_price = {low = 0, high = 1}", "profile.missing_price = 0: .*"),
        ('[profile]\nmissing_price = {choices = ["mode"]}', "profile.missing_price = 'mode': "),
        ("= 3", "is not TOML"),
    ],
)
def test_a_bad_file_says_what_is_wrong_with_which_name(tmp_path: Path, text: str, error: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(BadConfig, match=error) as caught:
        build(path)
    assert str(path) in str(caught.value)


def test_a_name_outside_the_space_is_refused_with_the_nearest() -> None:
    with pytest.raises(BadConfig, match=r"--only learning.rate: is not in the search space; did you mean learning\."):
        build(only=["learning.rate"])


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match=r"none\.toml"):
        build(tmp_path / "none.toml")
