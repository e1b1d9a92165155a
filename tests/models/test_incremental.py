"""The orders that coupons add, learnt from outcomes: known effects are found, and a restart changes nothing."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pytest

from stream_coupons.core.catalogue.compiled import Floats
from stream_coupons.core.decision.incremental import (
    COLUMNS,
    NUMBERS,
    STRUCTURAL,
    TERMS,
    USES_RATIO,
    Chances,
    IncrementalOrders,
    uses_of,
)
from stream_coupons.core.decision.scoring import ORDER, REDEEM
from stream_coupons.core.draws import DrawKey
from stream_coupons.core.errors import SnapshotMismatch
from stream_coupons.core.features.numeric import NUMERIC
from stream_coupons.core.features.rows import DIMENSIONS, PLACES
from stream_coupons.core.messages.learning import ModelSnapshot
from stream_coupons.models.effect import probabilities
from stream_coupons.models.incremental import (
    BASE,
    BASE_PRIOR,
    DEVIATION_SPREAD,
    EFFECT,
    EFFECT_PRIOR,
    MAX_USES_RATIO,
    SIZE,
    IncrementalLearner,
    check_state,
    prior_shop_models,
    served_by,
)
from stream_coupons.models.learner import DomainModel, Trainer
from stream_coupons.models.rules import LearningRules
from stream_coupons.models.serving import compile_snapshot
from stream_coupons.models.snapshots import checksum, pack_state
from stream_coupons.models.states import State

from .builders import each_row, example, random_rows

SEEDS = range(3)
OUTCOMES = 2000
SHALLOW, DEEP = 0.05, 0.15
RIVER = "tests.plugins.model_plugin.shop_models:scaled"
KEY = DrawKey(b"the workers'")


class World(NamedTuple):
    """Outcomes of issues and of control observations: arrays of shape (n,).

    Attributes
    ----------
    redeem, anyway, depth : array
        Predicted P(redeem) and P(order without a coupon); discount over the value of an order.
    coupon : array of int
        Hashed feature.
    is_given : array of bool
        True for an issue.
    effect : array
        What the coupon adds to P(order), in truth.
    level : float
        P(order without a coupon), over the predicted one.
    """

    redeem: Floats
    anyway: Floats
    depth: Floats
    coupon: Any
    is_given: Any
    effect: Floats
    level: float = 1.0

    @property
    def order(self) -> Floats:
        """Probability of an order in truth."""
        return self.level * self.anyway + self.is_given * self.effect

    @property
    def chances(self) -> Chances:
        numbers = np.zeros((len(self.depth), len(NUMBERS)))
        numbers[:, NUMBERS.index("discount_pull")] = np.log(self.depth / SHALLOW)
        return Chances(self.redeem, self.anyway, numbers)

    def outcomes(self, seed: int) -> tuple[Any, Any]:
        """Return whether each shopper ordered, and whether the order was with the coupon."""
        draw = np.random.default_rng(1000 + seed).random(len(self.depth))
        return draw < self.order, self.is_given & (draw < np.minimum(self.redeem, self.order))

    def learnt(self, seed: int) -> IncrementalLearner:
        learner, numbers = IncrementalLearner(), self.chances.numbers
        ordered, redeemed = self.outcomes(seed)
        for row in range(len(self.depth)):
            numeric = np.zeros(len(NUMERIC))
            numeric[COLUMNS] = numbers[row]
            learner.learn_one(
                numeric,
                int(self.coupon[row]),
                (float(self.redeem[row]), float(self.anyway[row])),
                is_given=bool(self.is_given[row]),
                ordered=bool(ordered[row]),
                redeemed=bool(redeemed[row]),
            )
        return learner

    def effects(self, model: IncrementalOrders) -> Floats:
        return model.of(self.chances, self.coupon)


def world(
    seed: int,
    effect: Callable[[Floats, Floats], Floats],
    redeem: Callable[[Floats, Floats], Floats],
    given: Callable[[Floats], Floats] = lambda anyway: np.full_like(anyway, 0.5),
    level: float = 1.0,
) -> World:
    """Return a world of shallow and deep coupons.

    Effect and P(redeem) are functions of P(order without a coupon) and depth.
    """
    rng = np.random.default_rng(seed)
    anyway, is_deep = rng.uniform(0.05, 0.5, OUTCOMES), rng.random(OUTCOMES) < 0.5
    depth = np.where(is_deep, DEEP, SHALLOW)
    coupon = np.where(is_deep, 100, 200) + rng.integers(0, 5, OUTCOMES)
    is_given = rng.random(OUTCOMES) < given(anyway)
    return World(redeem(anyway, depth), anyway, depth, coupon, is_given, effect(anyway, depth), level)


def nothing(anyway: Floats, _: Floats) -> Floats:
    return np.zeros_like(anyway)


def all_who_order(anyway: Floats, _: Floats) -> Floats:
    return anyway


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("uses", [0.3, 1.0])
def test_a_known_effect_is_found(seed: int, uses: float) -> None:
    # In one shop coupons are used on a third of the orders that come anyway, in the other on all of them.
    known = world(seed, lambda anyway, _: 0.25 + (0.6 - uses) * anyway, lambda anyway, _: 0.25 + 0.6 * anyway)
    truth, before, after = known.effect, known.effects(STRUCTURAL), known.effects(known.learnt(seed).served)
    for kind in (known.depth == SHALLOW, known.depth == DEEP):
        off = abs(after[kind].mean() - truth[kind].mean())
        assert off < 0.5 * abs(before[kind].mean() - truth[kind].mean())
        assert off < 0.04


def value(one: World, effects: Floats, margin: float = 0.5) -> Floats:
    """Return the margin that coupons add, over the value of an order, if no order is taken from others."""
    return margin * effects - one.depth * one.redeem


@pytest.mark.parametrize("seed", SEEDS)
def test_coupons_that_bring_nothing_are_worth_nothing_within_2000_outcomes(seed: int) -> None:
    barren = world(seed, nothing, all_who_order)
    assert value(barren, barren.effects(STRUCTURAL)).mean() > 0.02
    learnt = barren.effects(barren.learnt(seed).served)
    assert learnt.mean() < 0.25 * barren.effects(STRUCTURAL).mean()
    assert value(barren, learnt).mean() < -0.01
    for depth in (SHALLOW, DEEP):
        assert value(barren, learnt)[barren.depth == depth].mean() <= 0.0


@pytest.mark.parametrize("seed", SEEDS)
def test_deep_coupons_that_pay_are_told_from_shallow_ones_that_do_not(seed: int) -> None:
    def added(_: Floats, depth: Floats) -> Floats:
        return np.where(depth == DEEP, 0.3, 0.0)

    mixed = world(seed, added, lambda anyway, depth: anyway + added(anyway, depth))
    is_deep = mixed.depth == DEEP
    before, learnt = mixed.effects(STRUCTURAL), mixed.effects(mixed.learnt(seed).served)
    assert before[~is_deep].mean() > 0.1 > 0.0 == mixed.effect[~is_deep].mean()
    assert learnt[~is_deep].mean() < 0.05
    assert learnt[is_deep].mean() == pytest.approx(0.3, abs=0.05)
    assert value(mixed, learnt)[~is_deep].mean() < 0.01 < 0.04 < value(mixed, learnt)[is_deep].mean()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_coupon_that_is_worse_than_its_terms_say_is_told_from_others(seed: int) -> None:
    plain = world(seed, lambda anyway, _: np.full_like(anyway, 0.2), lambda anyway, _: 0.2 + 0.6 * anyway)
    worse = int(plain.coupon[0])
    is_worse = plain.coupon == worse
    odd = plain._replace(effect=np.where(is_worse, -0.1, plain.effect))
    served = odd.learnt(seed).served
    deviation = dict(zip(served.places.tolist(), served.deviations.tolist(), strict=True))
    assert set(deviation) == set(plain.coupon.tolist())
    lowest = deviation.pop(worse)
    assert lowest < -2 / 3 * DEVIATION_SPREAD
    assert lowest < min(deviation.values()) - DEVIATION_SPREAD / 3
    of_terms = replace(served, places=served.places[:0], deviations=served.deviations[:0])
    assert odd.effects(served)[is_worse].mean() < odd.effects(of_terms)[is_worse].mean() - 2 / 3 * DEVIATION_SPREAD


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("level", [1.0, 1.3])
def test_orders_of_likely_buyers_are_not_mistaken_for_an_effect(seed: int, level: float) -> None:
    # Nine of ten coupons go to who orders anyway, a little more often than predicted, and uses the coupon for it.
    likely = world(
        seed,
        nothing,
        lambda anyway, _: level * anyway,
        given=lambda anyway: np.where(anyway > 0.275, 0.9, 0.1),
        level=level,
    )
    ordered, _ = likely.outcomes(seed)
    apart = ordered[likely.is_given].mean() - ordered[~likely.is_given].mean()
    assert apart > 0.15, "orders with a coupon, less those without, say that coupons bring much"
    learner = likely.learnt(seed)
    assert likely.effects(learner.served).mean() == pytest.approx(0.0, abs=0.04)
    if level > 1.0:
        base = dict(zip(BASE_PRIOR, learner.weights[BASE].tolist(), strict=True))
        assert base["order_anyway"] > BASE_PRIOR["order_anyway"][0] + 0.05


def test_controls_alone_say_nothing_of_the_effect_and_little_of_a_coupon() -> None:
    barren = world(0, nothing, all_who_order)
    watched = barren._replace(is_given=np.zeros(OUTCOMES, np.bool_)).learnt(0)
    assert watched.served.weights == pytest.approx(IncrementalLearner().served.weights)
    assert not watched.served.deviations.any()
    assert watched.weights[BASE].tolist() != [mean for mean, _ in BASE_PRIOR.values()]


# ------------------------------------------------------------ the share of own orders with the coupon


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("share", [0.2, 0.6, 0.95])
def test_the_share_of_use_is_found(seed: int, share: float) -> None:
    def persuaded(anyway: Floats, _: Floats) -> Floats:
        return 0.15 * (1.0 - anyway)

    holders = world(seed, persuaded, lambda anyway, depth: persuaded(anyway, depth) + share * anyway)
    learner = holders.learnt(seed)
    assert learner.uses_ratio == pytest.approx(share, abs=0.1)
    assert learner.served.uses_ratio == served_by(learner.state()).uses_ratio == learner.uses_ratio


def test_the_share_of_use_is_the_prior_one_without_outcomes_of_holders() -> None:
    assert USES_RATIO == 0.6
    assert IncrementalLearner().uses_ratio == pytest.approx(USES_RATIO, abs=1e-12)
    assert prior_shop_models().incremental.uses_ratio == pytest.approx(USES_RATIO, abs=1e-12)
    barren = world(0, nothing, all_who_order)
    controls = barren._replace(is_given=np.zeros(OUTCOMES, np.bool_)).learnt(0)
    assert controls.uses_ratio == IncrementalLearner().uses_ratio


@pytest.mark.parametrize(("redeemed", "bound"), [(False, 0.0), (True, MAX_USES_RATIO)])
def test_the_share_of_use_is_bounded(redeemed: bool, bound: float) -> None:
    learner, shares = IncrementalLearner(), []
    for _ in range(OUTCOMES):
        learner.learn_one(np.zeros(len(NUMERIC)), 1, (0.2, 0.3), is_given=True, ordered=True, redeemed=redeemed)
        shares.append(learner.uses_ratio)
    assert shares == sorted(shares, reverse=not redeemed)
    assert shares[-1] == bound
    assert 0.0 <= min(shares) < max(shares) <= MAX_USES_RATIO < 1.0


def test_before_learning_a_part_of_the_structural_model_is_believed() -> None:
    served = IncrementalLearner().served
    assert served.weights.tolist() == [mean for mean, _ in EFFECT_PRIOR.values()]
    assert 0.0 < served.weights[0] < STRUCTURAL.weights[0]
    assert tuple(EFFECT_PRIOR) == TERMS
    assert len(served.places) == len(served.deviations) == 0
    assert served.uses_ratio == pytest.approx(STRUCTURAL.uses_ratio, abs=1e-12)
    assert prior_shop_models().incremental.weights.tolist() == served.weights.tolist()


def test_what_is_served_does_not_change_by_later_learning() -> None:
    learner = learnt_of(0, 50)
    served = learner.served
    before = served.weights.tobytes(), served.deviations.tobytes(), served.uses_ratio
    assert learner.served is served
    learn_some(learner, 1, 50)
    assert (served.weights.tobytes(), served.deviations.tobytes(), served.uses_ratio) == before
    assert learner.served.weights.tolist() != served.weights.tolist()
    assert learner.served.uses_ratio != served.uses_ratio


# ------------------------------------------------------------ restarts and transfer


def learn_some(learner: IncrementalLearner, seed: int, size: int) -> None:
    """Learn outcomes of all kinds, with all numbers."""
    rng = np.random.default_rng(seed)
    for _ in range(size):
        is_given, ordered = bool(rng.random() < 0.5), bool(rng.random() < 0.4)
        learner.learn_one(
            rng.uniform(0.0, 2.0, len(NUMERIC)),
            int(rng.integers(1, 9)),
            (float(rng.random()), float(rng.random())),
            is_given=is_given,
            ordered=ordered,
            redeemed=is_given and ordered and bool(rng.random() < 0.5),
        )


def learnt_of(seed: int, size: int) -> IncrementalLearner:
    learner = IncrementalLearner()
    learn_some(learner, seed, size)
    return learner


def same(one: State, other: State) -> bool:
    assert one.keys() == other.keys()
    return all(
        one[name].dtype == other[name].dtype
        and one[name].shape == other[name].shape
        and one[name].tobytes() == other[name].tobytes()
        for name in one
    )


@pytest.mark.parametrize("size", [0, 1, 60])
def test_a_restored_model_learns_on_to_the_last_bit(size: int) -> None:
    learner, again = learnt_of(0, size), learnt_of(5, 9)
    again.restore(learner.state())
    assert same(again.state(), learner.state())
    for each in (learner, again):
        learn_some(each, 1, 40)
    assert same(again.state(), learner.state())
    assert again.served.deviations.tobytes() == learner.served.deviations.tobytes()
    assert again.uses_ratio == again.served.uses_ratio == learner.uses_ratio


def test_what_a_state_serves_is_what_its_model_serves_to_the_last_bit() -> None:
    learner = learnt_of(0, 60)
    one, other = served_by(learner.state()), learner.served
    for name in ("weights", "places", "deviations"):
        found, expected = getattr(one, name), getattr(other, name)
        assert (found.dtype, found.tobytes()) == (expected.dtype, expected.tobytes())
    assert one.uses_ratio == other.uses_ratio != STRUCTURAL.uses_ratio
    assert len(one.places) > 1
    assert (np.diff(one.places) > 0).all()


def test_variances_fall_and_stay_above_zero() -> None:
    state, prior = learnt_of(0, 300).state(), IncrementalLearner().state()
    assert (np.linalg.eigvalsh(state["covariance"]) > 0.0).all()
    assert (np.diag(state["covariance"]) <= np.diag(prior["covariance"])).all()
    assert state["covariance"] == pytest.approx(state["covariance"].T, abs=1e-15)
    assert (state["deviations"][:, 1::2] > 0.0).all()


def test_a_start_from_another_domain_takes_its_pooled_weights_only() -> None:
    donor, learner = learnt_of(0, 60), IncrementalLearner()
    assert learner.served.weights.tolist() == [mean for mean, _ in EFFECT_PRIOR.values()]
    learner.start_from(donor)
    state = learner.state()
    assert state["weights"].tobytes() == donor.state()["weights"].tobytes()
    assert state["covariance"].tobytes() == IncrementalLearner().state()["covariance"].tobytes()
    assert len(state["places"]) == len(state["deviations"]) == 0
    assert learner.served.weights.tobytes() == donor.served.weights.tobytes()
    assert len(learner.served.places) == 0
    assert learner.uses_ratio == IncrementalLearner().uses_ratio != donor.uses_ratio
    of_donor = donor.state()["weights"].tobytes()
    learn_some(learner, 1, 20)
    assert donor.state()["weights"].tobytes() == of_donor


def spoilt(array: Any, value: float, at: Any = 0) -> Any:
    changed = array.copy()
    changed[at] = value
    return changed


DAMAGED: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "a weight too few": ("weights", lambda array: array[:-1]),
    "weights in two rows": ("weights", lambda array: array[None]),
    "weights of half precision": ("weights", lambda array: array.astype(np.float32)),
    "a weight that is no number": ("weights", lambda array: spoilt(array, np.nan)),
    "an endless weight": ("weights", lambda array: spoilt(array, np.inf)),
    "a covariance of fewer terms": ("covariance", lambda array: array[:-1, :-1]),
    "a covariance in one row": ("covariance", lambda array: array.ravel()),
    "a covariance that is no number": ("covariance", lambda array: spoilt(array, np.nan, (1, 2))),
    "a negative variance of a weight": ("covariance", lambda array: spoilt(array, -1e-6, (3, 3))),
    "places that descend": ("places", lambda array: array[::-1]),
    "a place twice": ("places", lambda array: spoilt(array, array[1])),
    "places of another type": ("places", lambda array: array.astype(np.int64)),
    "places in two rows": ("places", lambda array: array[None]),
    "a place beyond the last": ("places", lambda array: spoilt(array, DIMENSIONS, -1)),
    "a place too few": ("places", lambda array: array[:-1]),
    "a deviation too few": ("deviations", lambda array: array[:-1]),
    "deviations of the effect alone": ("deviations", lambda array: array[:, :2]),
    "a deviation that is no number": ("deviations", lambda array: spoilt(array, np.nan, (1, 0))),
    "a negative variance of an effect": ("deviations", lambda array: spoilt(array, -1e-9, (1, 1))),
    "a negative variance of a base": ("deviations", lambda array: spoilt(array, -1e-9, (0, 3))),
    "own orders without the unused": ("own_orders", lambda array: array[:1]),
    "own orders of half precision": ("own_orders", lambda array: array.astype(np.float32)),
    "own orders that are no number": ("own_orders", lambda array: spoilt(array, np.nan)),
    "negative own orders": ("own_orders", lambda array: spoilt(array, -1e-9)),
    "negative unused orders": ("own_orders", lambda array: spoilt(array, -1.0, 1)),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_state_is_refused_and_changes_nothing(name: str) -> None:
    part, damage = DAMAGED[name]
    state = learnt_of(0, 60).state()
    damaged = state | {part: damage(state[part])}
    learner = learnt_of(3, 10)
    before = learner.state()
    for refuse in (check_state, served_by, learner.restore):
        with pytest.raises(SnapshotMismatch):
            refuse(damaged)
    assert same(learner.state(), before)


@pytest.mark.parametrize("missing", ["weights", "covariance", "places", "deviations", "own_orders"])
def test_a_state_with_an_array_too_few_or_too_many_is_refused(missing: str) -> None:
    state = learnt_of(0, 10).state()
    for damaged in ({name: array for name, array in state.items() if name != missing}, state | {"other": np.zeros(1)}):
        with pytest.raises(SnapshotMismatch, match="arrays are"):
            check_state(damaged)


def test_a_state_has_the_arrays_that_it_names() -> None:
    state = learnt_of(0, 10).state()
    assert {name: array.shape for name, array in state.items() if name not in ("places", "deviations")} == {
        "weights": (SIZE,),
        "covariance": (SIZE, SIZE),
        "own_orders": (2,),
    }
    check_state(state)
    check_state(IncrementalLearner().state())


# ------------------------------------------------------------ examples and snapshots


def outcome(head: str = "redeem", *, label: bool = True, **about: Any) -> Any:
    plain = {"observed": False, "ordered": True, "discount_minor": 0}
    return example(head=head, label=label, **(plain | about))


def after(*examples: Any) -> State:
    model = DomainModel("ecommerce", LearningRules())
    for each in examples:
        model.learn(each)
    return model.incremental.state()


UNTAUGHT = after()


def test_outcomes_of_issues_and_of_controls_are_learnt_by_their_coupon() -> None:
    place = int((np.array(outcome().hashed, np.uint32) & PLACES)[0])
    for head in ("redeem", "order"):
        state = after(outcome(head))
        assert state["places"].tolist() == [place]
        is_of_effect = state["weights"][EFFECT].tolist() != UNTAUGHT["weights"][EFFECT].tolist()
        assert is_of_effect is (head == "redeem")
    far = outcome(hashed=[place + 3 * DIMENSIONS, *range(2, 9)])
    assert after(far)["places"].tolist() == [place], "a coupon is found without its group"


@pytest.mark.parametrize(
    "silent",
    [
        outcome(ordered=None),
        outcome("order", ordered=None),
        outcome("click"),
        outcome("visit"),
        outcome(observed=True, ordered=None),
        outcome("order", observed=True),
    ],
)
def test_nothing_is_learnt_where_orders_are_unknown(silent: Any) -> None:
    assert same(after(silent), UNTAUGHT)


@pytest.mark.parametrize("about", [{"label": True}, {"label": False}, {"label": False, "ordered": False}])
def test_outcomes_of_other_systems_show_no_effect_but_how_often_coupons_are_used(about: Any) -> None:
    theirs, ours = after(outcome(observed=True, **about)), after(outcome(**about))
    assert same(theirs | {"own_orders": UNTAUGHT["own_orders"]}, UNTAUGHT)
    assert theirs["own_orders"].tolist() == ours["own_orders"].tolist() != UNTAUGHT["own_orders"].tolist()


def test_an_order_without_the_coupon_lowers_the_share_of_use() -> None:
    def share(head: str = "redeem", **about: Any) -> float:
        model = DomainModel("ecommerce", LearningRules())
        for _ in range(20):
            model.learn(outcome(head, **about))
        return model.incremental.uses_ratio

    at_first = IncrementalLearner().uses_ratio
    assert share(label=False) < at_first < share(label=False, ordered=False)
    assert share(label=False) < at_first < share(label=True) == share(label=True, ordered=False)
    late = share(label=False, discount_minor=200)
    assert late > at_first, "a coupon that was used too late was used"
    assert share("order") == share("order", observed=True) == share(label=False, ordered=None) == at_first
    assert share(observed=True, label=False) < at_first < share(observed=True, label=True)


def test_an_order_counts_with_or_without_the_coupon() -> None:
    def deviation(**about: Any) -> float:
        return float(after(outcome(**about))["deviations"][0, 0])

    assert (
        deviation(label=False)
        == deviation(label=True, discount_minor=200)
        == deviation(label=True, ordered=False)
        > 0.0
        > deviation(label=False, ordered=False)
    ), "a redemption without an order event is an order"


def taught() -> Trainer:
    trainer, rng = Trainer(LearningRules()), np.random.default_rng(0)
    for n in range(40):
        head, ordered = ("redeem", "order")[n % 2], bool(rng.random() < 0.4)
        one = outcome(head, label=ordered, ordered=ordered, hashed=[1 + n % 7, *range(8, 12)], at=float(n))
        trainer.learn(msgspec.structs.replace(one, example_id=f"x{n}"), n, None)
    return trainer


def test_a_snapshot_serves_what_was_learnt() -> None:
    model = taught().models["ecommerce"]
    served, found = model.incremental.served, compile_snapshot(model.snapshot()).incremental
    assert (found.weights.tobytes(), found.deviations.tobytes()) == (
        served.weights.tobytes(),
        served.deviations.tobytes(),
    )
    for scorer in (model.scorer(), model.live()):
        assert scorer.incremental.weights.tobytes() == served.weights.tobytes()
    again = DomainModel("ecommerce", LearningRules())
    again.restore(model.snapshot())
    assert same(again.incremental.state(), model.incremental.state())


@pytest.mark.parametrize("pinned", ["kalman", RIVER])
def test_a_snapshot_and_live_serve_the_learnt_share_of_use_to_the_last_bit(pinned: str) -> None:
    learning = LearningRules(models=["kalman"] + [RIVER] * (pinned == RIVER), pinned=pinned)
    model, rng = DomainModel("ecommerce", learning, key=KEY), np.random.default_rng(3)
    of_examples, rows = random_rows(7, 150), random_rows(8, 40)
    for n, row in enumerate(each_row(of_examples)):
        is_given, redeemed = n % 3 > 0, n % 3 > 0 and bool(rng.random() < 0.05)
        ordered = redeemed or bool(rng.random() < 0.6)
        about = {"ordered": ordered, "numeric": row.numeric.tolist(), "hashed": row.hashed.tolist(), "at": float(n)}
        model.learn(
            outcome("redeem", label=redeemed, **about) if is_given else outcome("order", label=ordered, **about)
        )
    model.offset = 150
    live, share = model.live(), model.incremental.uses_ratio
    assert abs(share - USES_RATIO) > 0.1
    predicted = live.predict(rows)
    by_prior = probabilities(live.log_odds(rows))
    assert abs(predicted - by_prior).max(axis=0)[REDEEM] > 0.001, "the share of use shows in P(redeem)"
    assert predicted.tobytes() == probabilities(live.log_odds(rows), uses_of(rows.numeric, share)).tobytes()
    coupons = rows.hashed[:, 0].astype(np.int64) % DIMENSIONS
    chances = Chances(predicted[:, REDEEM], predicted[:, ORDER], rows.numeric[:, COLUMNS])
    for other in (compile_snapshot(model.snapshot(), learning, KEY), model.scorer()):
        assert other.predict(rows).tobytes() == predicted.tobytes()
        assert other.incremental.uses_ratio == live.incremental.uses_ratio == share
        found, expected = (each.incremental.of(chances, coupons) for each in (other, live))
        assert found.tobytes() == expected.tobytes()


def with_incremental(snapshot: ModelSnapshot, state: State, *, is_honest: bool) -> ModelSnapshot:
    packed = pack_state(state)
    total = checksum(snapshot.heads, snapshot.viewed_prices, packed) if is_honest else snapshot.checksum
    return msgspec.structs.replace(snapshot, incremental=packed, checksum=total)


def test_a_snapshot_with_a_damaged_model_is_refused() -> None:
    model = taught().models["ecommerce"]
    snapshot, state = model.snapshot(), model.incremental.state()
    changed = state | {"weights": state["weights"] + 1e-9}
    compile_snapshot(with_incremental(snapshot, changed, is_honest=True))
    with pytest.raises(SnapshotMismatch, match="checksum"):
        compile_snapshot(with_incremental(snapshot, changed, is_honest=False))
    damaged = with_incremental(snapshot, state | {"weights": state["weights"][:-1]}, is_honest=True)
    for refuse in (compile_snapshot, DomainModel("ecommerce", LearningRules()).restore):
        with pytest.raises(SnapshotMismatch, match="incremental"):
            refuse(damaged)
