"""Parts of the value of coupons, learnt from outcomes: the ratios of a simulated shop are found, and restarts agree."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_coupons.core.catalogue.compiled import Floats
from stream_coupons.core.decision.incremental import (
    ANYWAY,
    DISCOUNT,
    KEPT_RATIO,
    OWN_VALUE,
    PARTS,
    REDEEMED,
    REDEEMED_VALUE,
    STRUCTURAL,
    UNUSED,
    USES_RATIO,
    IncrementalMargin,
    OrderTimes,
    Prediction,
    uses_of,
)
from stream_coupons.core.decision.scoring import ORDER, REDEEM
from stream_coupons.core.draws import DrawKey
from stream_coupons.core.errors import SnapshotMismatch
from stream_coupons.core.features.rows import DIMENSIONS, PLACES, FeatureRows
from stream_coupons.core.messages.learning import ModelSnapshot
from stream_coupons.core.rules import PolicyRules
from stream_coupons.models.effect import probabilities
from stream_coupons.models.incremental import (
    HALF_LIVES_S,
    IN_SCOPE,
    KINDS,
    MAX_TIMES,
    MAX_USES_RATIO,
    NUMBER,
    OTHERS,
    OTHERS_WITHHELD,
    PREDICTED,
    RECENT,
    SEEN,
    USUAL,
    WITHHELD,
    CouponOutcome,
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
RIVER = "tests.plugins.model_plugin.shop_models:scaled"
KEY = DrawKey(b"the workers'")
Outcomes = Mapping[int, Iterable[CouponOutcome]]
"""By hashed feature of the coupon."""


def simulated(
    rng: np.random.Generator, truth: Floats, size: int, at: float = 0.0, withheld: float = 0.2, taken: float = 0.0
) -> list[CouponOutcome]:
    """Draw outcomes of a coupon whose parts are `truth` times the predicted ones, shape (len(PARTS),).

    Of each order by a holder beyond those expected without the coupon, a share `taken` is lost out of scope.
    """
    redeem, anyway = rng.uniform(0.05, 0.3, size), rng.uniform(0.1, 0.4, size)
    order_minor, discount_minor = rng.uniform(500.0, 3000.0, size), rng.uniform(50.0, 300.0, size)
    is_given, draw = rng.random(size) >= withheld, rng.random(size)
    redeemed = is_given & (draw < truth[REDEEMED] * redeem)
    times = OrderTimes.of(redeem, anyway, USES_RATIO)
    unused = is_given & (draw > 1.0 - truth[UNUSED] * (1.0 - USES_RATIO) * anyway)
    ordered = redeemed | unused | (~is_given & (draw < truth[ANYWAY] * anyway))
    own = truth[OWN_VALUE] * np.where(is_given, times.unused, times.anyway)
    of_order = np.where(redeemed, truth[REDEEMED_VALUE] * times.redeemed, own) * ordered
    value_minor = of_order * order_minor * rng.gamma(4.0, 0.25, size)
    taken_minor = redeemed * truth[DISCOUNT] * discount_minor * rng.gamma(4.0, 0.25, size)
    added = truth[REDEEMED] * redeem * truth[REDEEMED_VALUE] * times.redeemed + truth[OWN_VALUE] * anyway * (
        truth[UNUSED] * (1.0 - USES_RATIO) * times.unused - truth[ANYWAY] * times.anyway
    )
    other_minor = (rng.uniform(0.4, 0.6, size) - taken * is_given * added) * order_minor
    columns = redeem, anyway, np.full(size, USES_RATIO), order_minor, discount_minor, is_given, ordered, redeemed
    rows = zip(*(column.tolist() for column in (*columns, value_minor, taken_minor, other_minor)), strict=True)
    return [CouponOutcome(*row, at) for row in rows]


def shop_of(spread: float, coupons: int, seed: int) -> Floats:
    """Draw the true ratios of coupons around 1, shape (coupons, len(PARTS))."""
    return np.exp(spread * np.random.default_rng(seed).uniform(-1.0, 1.0, (coupons, len(PARTS))))


def truth_of(**ratios: float) -> Floats:
    return np.array([ratios.get(name, 1.0) for name in PARTS])


def learnt(*outcomes: Outcomes, learner: IncrementalLearner | None = None) -> IncrementalLearner:
    learner = learner or IncrementalLearner()
    for each in outcomes:
        for coupon, some in each.items():
            for one in some:
                learner.learn_one(coupon, one)
    return learner


def ratios(model: IncrementalLearner, coupon: int) -> Floats:
    return model.served.ratios[model.served.places.tolist().index(coupon)]


# ------------------------------------------------------------ ratios of coupons


@pytest.mark.parametrize("seed", SEEDS)
def test_ratios_converge_on_the_truth_of_each_coupon(seed: int) -> None:
    rng, truth = np.random.default_rng(seed), shop_of(0.5, 8, seed)
    learner, errors, before = IncrementalLearner(), [], 0
    for size in (500, 20_000):
        shop = {place: simulated(rng, one, (size - before) // len(truth)) for place, one in enumerate(truth)}
        errors.append(np.sqrt(np.mean(np.log(learnt(shop, learner=learner).served.ratios[:-1] / truth) ** 2, axis=0)))
        before = size
    assert errors[1].mean() < errors[0].mean() / 3
    assert errors[1].max() < 0.2


@pytest.mark.parametrize("seed", SEEDS)
def test_a_coupon_with_few_outcomes_stays_near_the_ratio_of_its_shop(seed: int) -> None:
    rng, usual, odd = np.random.default_rng(seed), truth_of(redeemed=0.6), truth_of(redeemed=1.8)
    learner = learnt({place: simulated(rng, usual, 1000) for place in range(10)}, {10: simulated(rng, odd, 5)})
    shop = learner.served.ratios[-1]
    assert shop[REDEEMED] == pytest.approx(0.6, rel=0.15)
    assert ratios(learner, 10)[REDEEMED] == pytest.approx(shop[REDEEMED], rel=0.2)
    learnt({10: simulated(rng, odd, 4000)}, learner=learner)
    assert ratios(learner, 10)[REDEEMED] == pytest.approx(1.8, rel=0.15)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_shop_whose_coupons_agree_draws_them_together_more_than_one_whose_coupons_differ(seed: int) -> None:
    def pulled(spread: float) -> Floats:
        """Return the part of the deviation of a coupon with twice the usual outcomes that is believed."""
        rng, truth = np.random.default_rng(seed), shop_of(spread, 30, seed)
        learner = learnt({place: simulated(rng, one, 400) for place, one in enumerate(truth)})
        odd = CouponOutcome(0.1, 0.25, USES_RATIO, 1000.0, 100.0, True, True, True, 2000.0, 200.0, 0.0, 0.0)
        learnt({99: [odd] * 6 + [odd._replace(ordered=False, redeemed=False, value_minor=0.0)] * 24}, learner=learner)
        return (ratios(learner, 99) / learner.served.ratios[-1] - 1.0)[[REDEEMED, REDEEMED_VALUE, DISCOUNT]]

    alike, different = pulled(0.0), pulled(1.0)
    assert (alike > 0.0).all()
    assert (alike < 0.6 * different).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_coupon_that_changes_is_relearnt(seed: int) -> None:
    rng, was, is_now = np.random.default_rng(seed), truth_of(redeemed=0.3), truth_of(redeemed=1.5)
    of_both = [
        ratios(learnt({1: simulated(rng, was, 4000)}, {1: simulated(rng, is_now, 2000, at=days * 86400.0)}), 1)
        for days in (0, 90)
    ]
    assert of_both[0][REDEEMED] < 0.9
    assert of_both[1][REDEEMED] == pytest.approx(1.5, rel=0.15)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_coupon_of_which_much_is_seen_is_relearnt_within_days_and_one_of_few_outcomes_is_not(seed: int) -> None:
    rng, was, is_now = np.random.default_rng(seed), truth_of(redeemed=1.5), truth_of(redeemed=0.4)
    found = []
    for a_day in (4, 200):
        days = [(simulated(rng, was if day < 14 else is_now, a_day, at=day * 86400.0)) for day in range(21)]
        found.append(ratios(learnt({1: [one for each in days for one in each]}), 1)[REDEEMED])
    few, many = found
    assert few > 0.8
    assert many == pytest.approx(0.55, abs=0.15)


def test_outcomes_lose_half_of_their_weight_in_a_half_life() -> None:
    [one] = simulated(np.random.default_rng(0), truth_of(), 1)
    once = learnt({1: [one]}).state()["sums"]
    for at in (8 * 86400.0, 30 * 86400.0, 0.0, -8 * 86400.0):
        state = learnt({1: [one, one._replace(at=at)]}).state()
        weights = 0.5 ** (max(at, 0.0) / HALF_LIVES_S)[:, None, None]
        assert state["sums"][0].ravel().tolist() == pytest.approx(((1.0 + weights) * once[0]).ravel().tolist())
        assert state["times"].tolist() == [max(at, 0.0)], "an outcome that is late does not turn time back"


def test_one_forged_order_moves_a_ratio_by_no_more_than_an_order_of_the_largest_value_does() -> None:
    honest = simulated(np.random.default_rng(0), truth_of(), 1000)
    forged = CouponOutcome(0.2, 0.2, USES_RATIO, 1750.0, 175.0, True, True, True, 1e12, 1e12, 1e12, 0.0)
    bound = dict.fromkeys(("value_minor", "other_minor"), MAX_TIMES * 1750.0)
    largest = forged._replace(taken_minor=MAX_TIMES * 175.0, **bound)
    assert same(learnt({1: honest, 2: [forged]}).state(), learnt({1: honest, 2: [largest]}).state())
    orders = sum(one.redeemed for one in honest)
    moved = ratios(learnt({1: [*honest, forged]}), 1) - ratios(learnt({1: honest}), 1)
    assert abs(moved).max() < MAX_TIMES / orders
    assert moved[[REDEEMED_VALUE, DISCOUNT]].min() > 0.0


def test_withheld_choices_decide_against_unused_orders_as_they_grow() -> None:
    given_ = CouponOutcome(0.2, 0.25, USES_RATIO, 0.0, 0.0, True, False, False, 0.0, 0.0, 0.0, 0.0)
    withheld = given_._replace(is_given=False)
    # Half more orders without the coupon than predicted, by holders; half of those predicted, by whom it was withheld.
    holders = [given_._replace(ordered=True, weight=150.0), given_._replace(weight=850.0)]
    found = [
        ratios(
            learnt({1: [*holders, withheld._replace(ordered=True, weight=n / 8), withheld._replace(weight=n * 7 / 8)]}),
            1,
        )
        for n in (0.0, 10.0, 100.0, 1000.0, 100_000.0)
    ]
    anyway = [each[ANYWAY] for each in found]
    assert anyway == sorted(anyway, reverse=True)
    assert anyway[0] == pytest.approx(found[0][UNUSED], rel=0.1)
    assert anyway[0] > 1.3 > 0.9 > anyway[3]
    assert anyway[-1] == pytest.approx(0.5, rel=0.01)
    assert {each[UNUSED] for each in found} == {found[0][UNUSED]}


def test_the_order_of_outcomes_of_one_time_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    some = [(place, one) for place in range(3) for one in simulated(rng, truth_of(), 100)]
    one, other = IncrementalLearner(), IncrementalLearner()
    for learner, rows in ((one, range(len(some))), (other, rng.permutation(len(some)))):
        for row in rows:
            learner.learn_one(*some[row])
    assert other.served.ratios == pytest.approx(one.served.ratios, rel=1e-9)


def test_an_outcome_counts_as_often_as_it_stands_for() -> None:
    some = simulated(np.random.default_rng(0), truth_of(), 30, withheld=0.5)
    one, each = learnt({1: [outcome_._replace(weight=8.0) for outcome_ in some]}), learnt({1: some * 8})
    assert one.state()["sums"] == pytest.approx(each.state()["sums"])


def test_nothing_learnt_leaves_the_predictions_alone() -> None:
    for served in (IncrementalLearner().served, prior_shop_models().incremental):
        assert served.ratios.tolist() == STRUCTURAL.ratios.tolist() == [[1.0] * len(PARTS)]
        assert len(served.places) == 0
        assert served.uses_ratio == pytest.approx(STRUCTURAL.uses_ratio, abs=1e-12)


CHANCES, MONEY = st.floats(0.0, 1.0), st.floats(0.0, 1e6)
ANY_OUTCOME = st.builds(
    CouponOutcome,
    *(CHANCES, CHANCES, CHANCES, MONEY, MONEY, st.booleans(), st.booleans(), st.booleans()),
    *(*[st.floats(0.0, 1e15)] * 3, st.floats(0.0, 4e9), st.floats(0.0, 1000.0)),
)


@settings(max_examples=200, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 3), ANY_OUTCOME), max_size=12))
def test_ratios_are_positive_and_finite_for_any_outcomes(outcomes: list[tuple[int, CouponOutcome]]) -> None:
    learner = IncrementalLearner()
    for coupon, outcome_ in outcomes:
        learner.learn_one(coupon, outcome_)
    assert ((learner.served.ratios > 0.0) & np.isfinite(learner.served.ratios)).all()
    assert 0.0 <= learner.served.kept_ratio <= 1.0


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("taken", [0.0, 0.5])
def test_the_share_of_added_orders_that_is_taken_from_the_rest_of_the_shop_is_found(seed: int, taken: float) -> None:
    rng, truth = np.random.default_rng(seed), truth_of(redeemed=1.8)
    outcomes = simulated(rng, truth, 8000, withheld=0.4, taken=taken)
    few, many = (learnt({1: outcomes[:size]}).served.kept_ratio for size in (20, 8000))
    assert few == pytest.approx(KEPT_RATIO, abs=0.1)
    assert many == pytest.approx(1.0 - taken, abs=0.1)
    assert learnt({1: [one for one in outcomes if one.is_given]}).served.kept_ratio == KEPT_RATIO


# ------------------------------------------------------------ the share of own orders with the coupon


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("share", [0.2, 0.6, 0.95])
def test_the_share_of_use_is_found(seed: int, share: float) -> None:
    learner, rng = IncrementalLearner(), np.random.default_rng(seed)
    for anyway in rng.uniform(0.05, 0.5, 2000):
        ordered, redeemed = rng.random() < anyway, rng.random() < share
        learner.learn_use(anyway, ordered=ordered, redeemed=ordered and redeemed)
    assert learner.uses_ratio == pytest.approx(share, abs=0.1)
    assert learner.served.uses_ratio == served_by(learner.state()).uses_ratio == learner.uses_ratio


@pytest.mark.parametrize(("redeemed", "bound"), [(False, 0.0), (True, MAX_USES_RATIO)])
def test_the_share_of_use_is_bounded(redeemed: bool, bound: float) -> None:
    learner, shares = IncrementalLearner(), []
    for _ in range(2000):
        learner.learn_use(0.3, ordered=True, redeemed=redeemed)
        shares.append(learner.uses_ratio)
    assert shares == sorted(shares, reverse=not redeemed)
    assert shares[-1] == bound
    assert 0.0 <= min(shares) < max(shares) <= MAX_USES_RATIO < 1.0


# ------------------------------------------------------------ restarts and transfer


def learn_some(learner: IncrementalLearner, seed: int, size: int) -> None:
    """Learn outcomes of all kinds, with time between."""
    rng = np.random.default_rng(seed)
    for one in simulated(rng, truth_of(redeemed=2.0, anyway=1.5), size, withheld=0.5):
        learner.learn_one(int(rng.integers(1, 9)), one._replace(at=float(rng.uniform(0.0, 1e6))))
        learner.learn_use(one.anyway, ordered=one.ordered, redeemed=one.redeemed)


def learnt_of(seed: int, size: int) -> IncrementalLearner:
    learner = IncrementalLearner()
    learn_some(learner, seed, size)
    return learner


def bits(arrays: Iterable[Any]) -> list[tuple[Any, ...]]:
    return [(array.dtype, array.shape, array.tobytes()) for array in arrays]


def same(one: State, other: State) -> bool:
    assert one.keys() == other.keys()
    return bits(one.values()) == bits(other[name] for name in one)


def as_served(model: IncrementalMargin) -> list[tuple[Any, ...]]:
    return bits([model.places, model.ratios, np.array([model.uses_ratio, model.kept_ratio])])


def test_what_is_served_does_not_change_by_later_learning() -> None:
    learner = learnt_of(0, 50)
    served = learner.served
    before = as_served(served)
    assert learner.served is served
    learn_some(learner, 1, 50)
    assert as_served(served) == before != as_served(learner.served)
    assert learner.served.uses_ratio != served.uses_ratio


@pytest.mark.parametrize("size", [0, 1, 60])
def test_a_restored_model_learns_on_to_the_last_bit(size: int) -> None:
    learner, again = learnt_of(0, size), learnt_of(5, 9)
    again.restore(learner.state())
    assert same(again.state(), learner.state())
    assert as_served(served_by(learner.state())) == as_served(again.served) == as_served(learner.served)
    for each in (learner, again):
        learn_some(each, 1, 40)
    assert same(again.state(), learner.state())
    assert as_served(again.served) == as_served(learner.served)
    assert len(learner.served.places) > 1
    assert (np.diff(learner.served.places) > 0).all()


def test_a_start_from_another_domain_takes_the_ratios_of_its_shop_only() -> None:
    donor, learner = learnt_of(0, 600), IncrementalLearner()
    of_donor = donor.state()
    assert learner.served.ratios.tolist() == STRUCTURAL.ratios.tolist()
    learner.start_from(donor)
    assert learner.served.ratios == pytest.approx(donor.served.ratios[-1:], rel=1e-12)
    assert abs(learner.served.ratios - 1.0).max() > 0.2
    state = learner.state()
    assert len(state["places"]) == len(state["sums"]) == len(learner.served.places) == 0
    assert learner.uses_ratio == IncrementalLearner().uses_ratio != donor.uses_ratio
    learn_some(learner, 1, 20)
    assert same(donor.state(), of_donor)


def spoilt(array: Any, value: float, at: Any = 0) -> Any:
    changed = array.copy()
    changed[at] = value
    return changed


DAMAGED: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "a ratio too few": ("shop", lambda array: array[:-1]),
    "ratios in two rows": ("shop", lambda array: array[None]),
    "ratios of half precision": ("shop", lambda array: array.astype(np.float32)),
    "a ratio that is no number": ("shop", lambda array: spoilt(array, np.nan)),
    "an endless ratio": ("shop", lambda array: spoilt(array, np.inf)),
    "a ratio of zero": ("shop", lambda array: spoilt(array, 0.0)),
    "a time too few": ("times", lambda array: array[:-1]),
    "a time that is no number": ("times", lambda array: spoilt(array, np.nan)),
    "a negative time": ("times", lambda array: spoilt(array, -1.0)),
    "places that descend": ("places", lambda array: array[::-1]),
    "a place twice": ("places", lambda array: spoilt(array, array[1])),
    "places of another type": ("places", lambda array: array.astype(np.int64)),
    "places in two rows": ("places", lambda array: array[None]),
    "a place beyond the last": ("places", lambda array: spoilt(array, DIMENSIONS, -1)),
    "a place too few": ("places", lambda array: array[:-1]),
    "sums of a coupon too few": ("sums", lambda array: array[:-1]),
    "sums of fewer parts": ("sums", lambda array: array[:, :-1]),
    "sums without their number": ("sums", lambda array: array[:, :, :NUMBER]),
    "a sum that is no number": ("sums", lambda array: spoilt(array, np.nan, (1, 0, SEEN))),
    "a negative sum": ("sums", lambda array: spoilt(array, -1e-9, (1, 1, PREDICTED))),
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


@pytest.mark.parametrize("missing", ["places", "times", "sums", "shop", "own_orders"])
def test_a_state_with_an_array_too_few_or_too_many_is_refused(missing: str) -> None:
    state = learnt_of(0, 10).state()
    for damaged in ({name: array for name, array in state.items() if name != missing}, state | {"other": np.zeros(1)}):
        with pytest.raises(SnapshotMismatch, match="arrays are"):
            check_state(damaged)


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


def test_outcomes_of_issues_and_of_withheld_choices_are_learnt_by_their_coupon() -> None:
    place = int((np.array(outcome().hashed, np.uint32) & PLACES)[0])
    for given_, numbered in (
        (outcome(expected_order_minor=900.0), [REDEEMED, UNUSED, IN_SCOPE, OTHERS]),
        (outcome("order", withheld=True, expected_order_minor=900.0), [WITHHELD, OTHERS_WITHHELD]),
    ):
        state = after(given_)
        assert state["places"].tolist() == [place]
        assert state["times"].tolist() == [given_.at]
        assert np.flatnonzero(state["sums"][0, USUAL, :, NUMBER]).tolist() == sorted(numbered)
    far = outcome(hashed=[place + 3 * DIMENSIONS, *range(2, 9)])
    assert after(far)["places"].tolist() == [place], "a coupon is found without its group"


def test_outcomes_are_compared_with_predictions_of_the_models_at_learning_and_stated_money() -> None:
    money = {"order_value_minor": 900, "other_value_minor": 30}
    money |= {"expected_order_minor": 800.0, "expected_discount_minor": 90.0}
    one = outcome(discount_minor=100, predicted=0.9, **money)
    rows = FeatureRows(np.array([one.numeric]), np.array([one.hashed], np.uint32))
    predicted = DomainModel("ecommerce", LearningRules()).live().predict(rows)[0]
    uses = uses_of(rows.numeric[0], USES_RATIO)
    expected = np.zeros((KINDS, 3))
    expected[REDEEMED] = 1.0, predicted[REDEEM], 1.0
    times = OrderTimes.of(predicted[REDEEM], predicted[ORDER], uses)
    expected[UNUSED] = 0.0, (1.0 - uses) * predicted[ORDER], 1.0
    expected[[REDEEMED_VALUE, DISCOUNT]] = (900.0, 800.0 * times.redeemed, 1.0), (100.0, 90.0, 1.0)
    of_scope = 800.0 * predicted[ORDER] * times.anyway
    expected[[IN_SCOPE, OTHERS]] = (900.0, of_scope, 1.0), (30.0, 900.0, 1.0)
    found = after(one)["sums"][0]
    for kept in found:
        assert kept.ravel().tolist() == pytest.approx(expected.ravel().tolist(), rel=1e-9)
    withheld = after(outcome("order", withheld=True, **money))["sums"][0, USUAL]
    assert withheld[WITHHELD].tolist() == pytest.approx([1.0, predicted[ORDER], 1.0], rel=1e-9)
    assert withheld[OWN_VALUE].tolist() == pytest.approx([900.0, 800.0 * times.anyway, 1.0], rel=1e-9)
    assert withheld[OTHERS_WITHHELD].tolist() == [30.0, 900.0, 1.0]


@pytest.mark.parametrize(
    "silent",
    [
        outcome(ordered=None),
        outcome("order", ordered=None, withheld=True),
        outcome("order"),
        outcome("click"),
        outcome("visit"),
        outcome(observed=True, ordered=None),
        outcome("order", observed=True),
    ],
)
def test_nothing_is_learnt_where_orders_are_unknown_or_nothing_was_given_or_withheld(silent: Any) -> None:
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
    def seen(**about: Any) -> list[float]:
        return after(outcome(**about))["sums"][0, RECENT, [REDEEMED, UNUSED], SEEN].tolist()

    assert seen(label=True) == seen(label=False, discount_minor=200) == [1.0, 0.0]
    assert seen(label=True, ordered=False) == [1.0, 0.0], "a redemption without an order event is an order"
    assert seen(label=False) == [0.0, 1.0]
    assert seen(label=False, ordered=False) == [0.0, 0.0]


def taught() -> Trainer:
    trainer, rng = Trainer(LearningRules()), np.random.default_rng(0)
    for n in range(40):
        head, ordered = ("redeem", "order")[n % 2], bool(rng.random() < 0.4)
        about = {"withheld": head == "order", "hashed": [1 + n % 7, *range(8, 12)], "at": float(n)}
        one = outcome(head, label=ordered, ordered=ordered, **about)
        trainer.learn(msgspec.structs.replace(one, example_id=f"x{n}"), n, None)
    return trainer


def test_a_snapshot_serves_what_was_learnt() -> None:
    model = taught().models["ecommerce"]
    for scorer in (compile_snapshot(model.snapshot()), model.scorer(), model.live()):
        assert as_served(scorer.incremental) == as_served(model.incremental.served)
    assert model.incremental.served.places.tolist() == list(range(1, 8))
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
        given_ = outcome("redeem", label=redeemed, **about)
        model.learn(given_ if is_given else outcome("order", label=ordered, withheld=True, **about))
    model.offset = 150
    live, share = model.live(), model.incremental.uses_ratio
    assert abs(share - USES_RATIO) > 0.1
    predicted, uses = live.predict(rows), uses_of(rows.numeric, share)
    by_prior = probabilities(live.log_odds(rows))
    assert abs(predicted - by_prior).max(axis=0)[REDEEM] > 0.001, "the share of use shows in P(redeem)"
    assert predicted.tobytes() == probabilities(live.log_odds(rows), uses).tobytes()
    coupons, ones = rows.hashed[:, 0].astype(np.int64) % DIMENSIONS, np.ones(len(rows))
    known = Prediction(predicted[:, REDEEM], predicted[:, ORDER], uses, 1000.0 * ones, 100.0 * ones, 0.3 * ones)
    for other in (compile_snapshot(model.snapshot(), learning, KEY), model.scorer()):
        assert other.predict(rows).tobytes() == predicted.tobytes()
        assert other.incremental.uses_ratio == live.incremental.uses_ratio == share
        found, expected = (each.incremental.of(known, coupons, PolicyRules()) for each in (other, live))
        assert bits(found) == bits(expected)


def with_incremental(snapshot: ModelSnapshot, state: State, *, is_honest: bool) -> ModelSnapshot:
    packed = pack_state(state)
    total = checksum(snapshot.heads, snapshot.viewed_prices, packed) if is_honest else snapshot.checksum
    return msgspec.structs.replace(snapshot, incremental=packed, checksum=total)


def test_a_snapshot_with_a_damaged_model_is_refused() -> None:
    model = taught().models["ecommerce"]
    snapshot, state = model.snapshot(), model.incremental.state()
    changed = state | {"shop": state["shop"] + 1e-9}
    compile_snapshot(with_incremental(snapshot, changed, is_honest=True))
    with pytest.raises(SnapshotMismatch, match="checksum"):
        compile_snapshot(with_incremental(snapshot, changed, is_honest=False))
    damaged = with_incremental(snapshot, state | {"shop": state["shop"][:-1]}, is_honest=True)
    for refuse in (compile_snapshot, DomainModel("ecommerce", LearningRules()).restore):
        with pytest.raises(SnapshotMismatch, match="incremental"):
            refuse(damaged)
