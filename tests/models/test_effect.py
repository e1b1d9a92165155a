"""The effect of a coupon is learnt apart from demand, by the engine's own decisions."""

import numpy as np
import pytest
from msgspec.structs import replace

from stream_coupons.core.decision.incremental import USES_RATIO
from stream_coupons.core.decision.scoring import HEADS
from stream_coupons.core.features.numeric import NUMERIC
from stream_coupons.core.features.rows import HASHED
from stream_coupons.models.effect import evidence, redemption
from stream_coupons.models.learner import DomainModel, Trainer
from stream_coupons.models.level import Level
from stream_coupons.models.linear import ALL_HEADS, prior
from stream_coupons.models.rules import LearningRules
from stream_coupons.models.serving import compile_snapshot

from .builders import example, examples, random_rows

ROWS = random_rows(5, 30)
LABELS = 3000


def own(trainer: Trainer, each: object, offset: int) -> None:
    trainer.learn(replace(each, observed=False), offset, None)  # type: ignore[type-var]


def test_a_redemption_is_of_those_persuaded_and_of_those_who_order_anyway() -> None:
    assert redemption(0.2, 0.0) == 0.2
    assert redemption(0.0, 0.5) == 0.5 * USES_RATIO
    assert redemption(0.2, 0.5) == pytest.approx(0.5 * 0.2 + 0.5 * USES_RATIO)


@pytest.mark.parametrize("effect", [0.01, 0.2, 0.7])
@pytest.mark.parametrize("anyway", [0.0, 0.1, 0.6])
@pytest.mark.parametrize("label", [True, False])
def test_the_weighted_step_is_the_gradient_of_the_likelihood(effect: float, anyway: float, label: bool) -> None:
    def log_likelihood(z: float) -> float:
        p = redemption(1 / (1 + np.exp(-z)), anyway)
        return float(np.log(p if label else 1 - p))

    z = np.log(effect / (1 - effect))
    slope = (log_likelihood(z + 1e-5) - log_likelihood(z - 1e-5)) / 2e-5
    assert evidence(effect, anyway, label) * (label - effect) == pytest.approx(slope, rel=1e-4)


def test_decisions_of_others_teach_what_own_ones_teach() -> None:
    ours, theirs = Trainer(LearningRules()), Trainer(LearningRules())
    for offset, each in enumerate(examples(1, 60)):
        own(ours, each, offset)
        theirs.learn(each, offset, None)
    [found], [expected] = theirs.scorers().values(), ours.scorers().values()
    assert found.predict(ROWS).tolist() == expected.predict(ROWS).tolist()
    assert np.abs(found.predict(ROWS) - prior().predict(ROWS))[:, :3].max(axis=0).min() > 1e-3
    assert ours.models["ecommerce"].snapshot().quality == theirs.models["ecommerce"].snapshot().quality


def test_what_is_served_of_a_snapshot_is_what_is_served_at_once() -> None:
    at_once, packed = Trainer(LearningRules()), Trainer(LearningRules())
    for offset, each in enumerate(examples(2, 150)):
        own(at_once, each, offset)
        own(packed, each, offset)
    [live], [snapshot] = at_once.live().values(), packed.snapshots()
    assert compile_snapshot(snapshot).predict(ROWS) == pytest.approx(live.predict(ROWS), abs=1e-12)


def learnt(model: DomainModel, rng: np.random.Generator, persuades: float, anyway: float, coupons: list[int]) -> None:
    """Learn of controls, then of as many coupons given, which take turns."""
    for n in range(2 * LABELS):
        hashed = [coupons[n % len(coupons)], *[0] * (len(HASHED) - 1)]
        about = {"numeric": [0.0] * len(NUMERIC), "hashed": hashed, "observed": False, "predicted": 0.1}
        if n < LABELS:
            model.learn(example(head="order", label=bool(rng.random() < anyway), **about))
            continue
        redeems = rng.random() < (USES_RATIO if rng.random() < anyway else persuades)
        model.learn(example(head="redeem", label=bool(redeems), **about))


@pytest.mark.parametrize(("persuades", "anyway"), [(0.1, 0.3), (0.02, 0.1), (0.2, 0.02)])
def test_effect_and_demand_are_told_apart(persuades: float, anyway: float) -> None:
    model = DomainModel("shop", LearningRules())
    place = 40_000
    learnt(model, np.random.default_rng(3), persuades, anyway, [place])
    rows = random_rows(1, 1)
    rows.numeric[:] = 0.0
    rows.hashed[:] = 0
    rows.hashed[0, 0] = place
    _click, redeem, order, _visit = model.scorer().predict(rows)[0]
    assert order == pytest.approx(anyway, rel=0.25)
    assert (redeem - USES_RATIO * order) / (1.0 - order) == pytest.approx(persuades, rel=0.35, abs=0.012)


def test_coupons_that_fail_do_not_spoil_the_level_of_those_that_were_never_given() -> None:
    """A policy gives few of the coupons: their failures must hardly move the base rate of the others."""
    model = DomainModel("shop", LearningRules())
    learnt(model, np.random.default_rng(4), 0.002, 0.03, [40_000, 40_001])
    rows = random_rows(1, 2)
    rows.numeric[:] = 0.0
    rows.hashed[:] = 0
    rows.hashed[:, 0] = 40_000, 50_000
    predicted = model.scorer().predict(rows)
    failed, untried = (predicted[:, 1] - USES_RATIO * predicted[:, 2]).tolist()
    before = prior().predict(rows)[1]
    assert failed < 0.35 * (before[1] - USES_RATIO * before[2])
    assert untried > 0.25 * (before[1] - USES_RATIO * before[2])


def test_the_level_is_that_of_what_chance_drew() -> None:
    model, rng = DomainModel("shop", LearningRules()), np.random.default_rng(6)
    about = {"head": "redeem", "numeric": [0.0] * len(NUMERIC), "hashed": [0] * len(HASHED), "observed": False}
    for n in range(300):
        given = example(**about, label=False, propensity=0.9)
        drawn = example(**about, label=bool(rng.random() < 0.3), propensity=0.001)
        model.learn(given if n % 5 else drawn)
    assert model.heads["effect"].level.ratio > 1.5, "what was given failed, what chance drew did not"


def test_the_level_of_demand_is_that_of_controls_that_chance_drew() -> None:
    model, rng = DomainModel("shop", LearningRules()), np.random.default_rng(6)
    about = {"head": "order", "numeric": [0.0] * len(NUMERIC), "hashed": [0] * len(HASHED)}
    for n in range(300):
        best = example(**about, observed=False, withheld=True, label=False)
        drawn = example(**about, observed=False, label=bool(rng.random() < 0.5))
        of_others = example(**about, observed=True, label=False)
        model.learn((best, drawn, of_others)[n % 3])
    assert model.heads["demand"].level.ratio > 1.4, "the best had no orders, nor had other systems, chance's had"


def test_the_prior_decides_while_the_level_of_the_model_is_off() -> None:
    model = DomainModel("shop", LearningRules())
    rows = random_rows(1, 1)
    about = {"numeric": rows.numeric[0].tolist(), "hashed": rows.hashed[0].tolist(), "head": "redeem"}
    for _ in range(40):
        model.learn(example(**about, label=True, propensity=0.9))
    learnt, effect = model.scorer().log_odds(rows), ALL_HEADS.index("effect")
    level = model.heads["effect"].level
    level.restore({"sums": np.array([5.0, 40.0, 8.0, 0.0])})
    expected = prior().log_odds(rows)
    model.offset = 100
    for scorer in (model.scorer(), compile_snapshot(model.snapshot()), model.live()):
        found = scorer.log_odds(rows)
        assert found[0, effect] == pytest.approx(expected[0, effect])
        assert found[0, effect] < learnt[0, effect]
    level.restore({"sums": np.array([5.0, 40.0, 60.0, 0.0])})
    assert model.scorer().log_odds(rows)[0, effect] == pytest.approx(learnt[0, effect]), "the prior is off more"


def test_a_redemption_that_did_not_come_lowers_the_demand_as_well_as_the_effect() -> None:
    model = DomainModel("shop", LearningRules())
    rows = random_rows(1, 1)
    rows.numeric[:] = 0.0
    rows.hashed[:] = 0
    about = {"numeric": [0.0] * len(NUMERIC), "hashed": [0] * len(HASHED), "observed": False}

    def demand_after(labels: list[bool]) -> float:
        for label in labels:
            model.learn(example(**about, head="redeem", label=label))
        return float(model.scorer().predict(rows)[0, HEADS.index("order")])

    unknown = demand_after([])
    doubted = demand_after([False] * 30)
    assert doubted < 0.95 * unknown
    for _ in range(300):
        model.learn(example(**about, head="order", label=False))
    known = demand_after([])
    assert demand_after([False] * 30) > 0.9 * known, "what is known well moves less"


def demand_of_shop(seed: int, share: float, anyway: float, *, is_noted: bool) -> float:
    """Return P(order), learnt from 2,000 outcomes of which one of fifty is a control.

    Parameters
    ----------
    share : float
        Share of the orders that would be placed anyway, on which the coupon is used.
    anyway : float
        True P(order without the coupon).
    is_noted : bool
        True if orders in scope are known; else redemptions alone.
    """
    model, rng = DomainModel("shop", LearningRules()), np.random.default_rng(seed)
    about = {"numeric": [0.0] * len(NUMERIC), "hashed": [40_000, *[0] * (len(HASHED) - 1)], "observed": False}
    for _ in range(2000):
        orders_anyway, is_control = bool(rng.random() < anyway), rng.random() < 0.02
        redeems = not is_control and bool(rng.random() < (share if orders_anyway else 0.1))
        ordered = orders_anyway or redeems
        head, label = ("order", ordered) if is_control else ("redeem", redeems)
        model.learn(example(head=head, label=label, ordered=ordered if is_noted else None, **about))
    rows = random_rows(1, 1)
    rows.numeric[:], rows.hashed[:] = 0.0, 0
    rows.hashed[0, 0] = 40_000
    return float(model.scorer().predict(rows)[0, HEADS.index("order")])


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2, 3))])
def test_demand_is_learnt_from_orders_of_holders_who_use_their_coupons_on_a_third(seed: int) -> None:
    assert demand_of_shop(seed, 1 / 3, 0.3, is_noted=True) == pytest.approx(0.3, rel=0.15)
    assert demand_of_shop(seed, 1 / 3, 0.3, is_noted=False) < 0.75 * 0.3, "redemptions alone say half"


def test_an_order_without_the_coupon_raises_the_demand_and_lowers_the_effect() -> None:
    about = {"numeric": [0.0] * len(NUMERIC), "hashed": [0] * len(HASHED), "observed": False}

    def after(*, label: bool, ordered: bool | None) -> tuple[float, float]:
        model = DomainModel("shop", LearningRules())
        before = own_of_nothing(model)
        for _ in range(20):
            model.learn(example(**about, head="redeem", label=label, ordered=ordered))
        _, redeem, order, _ = own_of_nothing(model)
        uses_ratio = model.incremental.uses_ratio
        effects = (before[1] - USES_RATIO * before[2]) / (1 - before[2]), (redeem - uses_ratio * order) / (1 - order)
        return order - before[2], effects[1] - effects[0]

    demand, effect = after(label=False, ordered=True)
    assert demand > 0.0 > effect
    unknown = after(label=False, ordered=None)
    assert unknown[0] < 0.0, "without orders, a coupon that was not used is an order that was not placed"
    assert after(label=True, ordered=False) == after(label=True, ordered=True), "a redemption is an order"


def test_a_level_with_little_to_go_by_changes_little() -> None:
    level = Level(1000)
    assert level.ratio == 1.0
    level.update(0.1, 0.1, True, known=0.05)
    assert 1.0 < level.ratio < 1.25


def visits(model: DomainModel, rng: np.random.Generator, within: float, of_held: float | None = None) -> None:
    """Learn of visits; in every other one a coupon is held if that has a probability of its own."""
    for n in range(LABELS):
        held = of_held is not None and n % 2 == 1
        label = rng.random() < (of_held if held else within)
        about = {"numeric": [0.0] * len(NUMERIC), "hashed": [0] * len(HASHED), "observed": False}
        model.learn(example(head="visit", label=bool(label), held=held, **about))


def own_of_nothing(model: DomainModel) -> list[float]:
    """Return the probabilities of a row without features."""
    rows = random_rows(1, 1)
    rows.numeric[:], rows.hashed[:] = 0.0, 0
    predicted: list[float] = model.scorer().predict(rows)[0].tolist()
    return predicted


def test_orders_within_the_visit_and_after_it_are_told_apart() -> None:
    model, rng = DomainModel("shop", LearningRules()), np.random.default_rng(8)
    visits(model, rng, 0.1)
    for _ in range(LABELS):
        label = rng.random() < 0.1 + 0.9 * 0.2
        about = {"numeric": [0.0] * len(NUMERIC), "hashed": [0] * len(HASHED), "observed": False}
        model.learn(example(head="order", label=bool(label), **about))
    _click, _redeem, order, visit = own_of_nothing(model)
    assert visit == pytest.approx(0.1, rel=0.25)
    assert order == pytest.approx(0.28, rel=0.15)


def test_what_a_coupon_in_hand_adds_to_a_visit_is_left_out() -> None:
    model = DomainModel("shop", LearningRules())
    visits(model, np.random.default_rng(9), 0.05, of_held=0.3)
    assert own_of_nothing(model)[3] == pytest.approx(0.05, rel=0.3)
