"""The base rate from answers that came before their windows closed: which it is, when labels take over, restarts."""

import itertools
import math

import numpy as np
import pytest
from numpy.random import Generator

from stream_coupons.core.catalogue.compiled import Floats
from stream_coupons.core.decision.candidates import packed_row
from stream_coupons.core.decision.scoring import HEADS
from stream_coupons.core.errors import BadMessage, SnapshotMismatch
from stream_coupons.core.features.numeric import NUMERIC
from stream_coupons.core.features.rows import FeatureRows
from stream_coupons.core.messages.fields import NO_COUPON
from stream_coupons.core.messages.learning import ModelSnapshot, OpenDecision
from stream_coupons.models.delayed_feedback import SAMPLE, EarlyAnswers, shifts_of
from stream_coupons.models.learner import Trainer
from stream_coupons.models.linear import PRIOR_RATE
from stream_coupons.models.rules import LearningRules
from stream_coupons.models.serving import compile_snapshot

from .builders import example, random_rows

DAY_S = 86400.0
HALF_LIFE = 5000
WINDOW_S = 10 * DAY_S
ROW = random_rows(5, 1)
RATE = 0.1
"""What the model says of every decision."""


def decision(number: int, decided_at: float = 0.0, at: float | None = None, **about: object) -> OpenDecision:
    """The first message of a decision or, at a later time, what has come of it."""
    features = {} if at is not None else dict(zip(("numeric", "hashed"), packed_row(ROW, 0), strict=True))
    schema = "" if at is not None else example().feature_schema
    plain = {"domain": "ecommerce", "coupon_id": "c1", "feature_schema": schema, "until": decided_at + WINDOW_S}
    plain["label_at"] = decided_at + WINDOW_S + DAY_S
    return OpenDecision(
        issue_id=f"i{number}",
        at=decided_at if at is None else at,
        decided_at=decided_at,
        **(plain | features | about),
    )


def at_rate(rows: FeatureRows) -> Floats:
    return np.full((len(rows), len(HEADS)), math.log(RATE / (1 - RATE)))


def played(rate: float, at: float, random: Generator, *, soonness: float = 0.5, decisions: int = 2000) -> EarlyAnswers:
    """Decisions from 0 until a time, answered at a rate, with the delays that `soonness` says."""
    early = EarlyAnswers(["redeem"], HALF_LIFE)
    for number in range(decisions):
        decided_at = at * number / decisions
        early.take(decision(number, decided_at), [False])
        answered_at = decided_at + WINDOW_S * random.uniform() ** (1 / soonness)
        if random.uniform() < rate and answered_at <= at:
            early.take(decision(number, decided_at, answered_at), [True])
    early.fit(at_rate, at)
    return early


def found(early: EarlyAnswers) -> float:
    """The rate that a shift comes to."""
    odds = RATE / (1 - RATE) * math.exp(early.shifts["redeem"])
    return odds / (1 + odds)


@pytest.mark.parametrize("rate", [0.03, 0.1, 0.35])
def test_the_rate_is_nearly_known_before_the_first_window_closes(rate: float) -> None:
    errors = [math.log(found(played(rate, 0.4 * WINDOW_S, np.random.default_rng(seed))) / rate) for seed in range(10)]
    without = abs(math.log(RATE / rate))
    assert np.mean(np.abs(errors)) < max(0.5 * without, 0.35)


@pytest.mark.parametrize("soonness", [0.1, 0.5, 1.0])
def test_it_is_told_from_how_soon_answers_come_once_some_windows_are_nearly_over(soonness: float) -> None:
    errors = [
        math.log(found(played(0.3, 0.95 * WINDOW_S, np.random.default_rng(seed), soonness=soonness)) / 0.3)
        for seed in range(10)
    ]
    assert abs(np.mean(errors)) < 0.3


def test_answers_that_are_all_there_are_not_taken_for_the_first_of_many() -> None:
    median = 1 / 12

    def rate_at(share: float, seed: int) -> float:
        random, early = np.random.default_rng(seed), EarlyAnswers(["redeem"], HALF_LIFE)
        for number in range(600):
            early.take(decision(number), [False])
            answered_at = WINDOW_S * median * math.exp(0.7 * random.normal())
            if random.uniform() < 0.2 and answered_at <= share * WINDOW_S:
                early.take(decision(number, at=answered_at), [True])
        early.fit(at_rate, share * WINDOW_S)
        return found(early)

    rates = [np.mean([rate_at(median * times, seed) for seed in range(10)]) for times in (1.0, 2.0, 3.0, 5.0)]
    assert all(0.1 < rate < 0.3 for rate in rates)
    assert rates[-1] == pytest.approx(0.2, abs=0.03)


@pytest.mark.parametrize("log_odds", [-5000.0, 5000.0])
@pytest.mark.parametrize("is_answered", [False, True])
def test_a_model_that_is_certain_and_wrong_makes_no_shift_that_a_snapshot_would_not_take(
    log_odds: float, is_answered: bool
) -> None:
    early = EarlyAnswers(["redeem"], HALF_LIFE)
    for number in range(50):
        early.take(decision(number), [is_answered])
    early.fit(
        lambda rows: np.full((len(rows), len(HEADS)), log_odds), 0.9 * WINDOW_S, start=math.copysign(18, -log_odds)
    )
    assert shifts_of(early.state(), ["redeem"]) == early.shifts


def test_nothing_is_told_from_decisions_that_were_just_made() -> None:
    early = EarlyAnswers(["redeem"], HALF_LIFE)
    for number in range(SAMPLE):
        early.take(decision(number), [False])
    early.fit(at_rate, 0.0)
    assert early.shifts["redeem"] == 0.0


def test_labels_take_over() -> None:
    shifts = []
    for labels in (0, 100, 1000, 10_000):
        early = played(0.3, 0.4 * WINDOW_S, np.random.default_rng(1))
        for _ in range(labels):
            early.learn("redeem", 0.3)
        early.fit(at_rate, 0.4 * WINDOW_S)
        shifts.append(early.shifts["redeem"])
    assert shifts == sorted(shifts, reverse=True)
    assert shifts[0] > 1.0
    assert 0.0 < shifts[-1] < 0.1 * shifts[0]


def test_what_is_over_is_forgotten_but_for_when_its_answers_came() -> None:
    early = played(0.3, 0.4 * WINDOW_S, np.random.default_rng(1))
    early.fit(at_rate, 2 * WINDOW_S)
    assert early.shifts["redeem"] == 0.0
    state = early.state()
    assert len(state["identities"]) == 0
    assert state["closed"].sum() > 10


def test_what_is_over_before_its_time_is_forgotten() -> None:
    early = EarlyAnswers(["click"], HALF_LIFE)
    early.take(decision(1), [False])
    early.take(decision(1, at=0.5 * WINDOW_S), [True])
    assert early.take(decision(1, at=0.6 * WINDOW_S, is_over=True), [True])
    assert not early.take(decision(1, at=0.6 * WINDOW_S, is_over=True), [True])
    assert len(early.state()["identities"]) == 0
    assert early.state()["closed"].sum() == 1.0


def test_the_sample_does_not_hang_on_what_came_of_a_decision() -> None:
    def identities(answered: set[int]) -> set[int]:
        early = EarlyAnswers(["click"], HALF_LIFE)
        for number in range(4 * SAMPLE):
            early.take(decision(number), [False])
            if number in answered:
                early.take(decision(number, at=1.0), [True])
        for number in range(4 * SAMPLE):
            early.take(decision(number, at=2.0), [number in answered])
        return set(early.state()["identities"].tolist())

    assert len(identities(set())) == SAMPLE
    assert identities(set()) == identities(set(range(0, 4 * SAMPLE, 3))) == identities(set(range(4 * SAMPLE)))


def test_a_second_copy_says_nothing_new() -> None:
    early = EarlyAnswers(["click"], HALF_LIFE)
    assert early.take(decision(1), [False])
    assert not early.take(decision(1), [False])
    assert early.take(decision(1, at=5.0), [True])
    before = early.state()["answered"].tolist()
    assert not early.take(decision(1, at=9.0), [True])
    assert not early.take(decision(2, at=9.0), [True])
    assert early.state()["answered"].tolist() == before


def test_it_goes_on_from_a_state() -> None:
    early, other = played(0.3, 0.4 * WINDOW_S, np.random.default_rng(1)), EarlyAnswers(["redeem"], HALF_LIFE)
    early.learn("redeem", 0.2)
    other.restore(early.state())
    assert other.shifts["redeem"] == early.shifts["redeem"] == shifts_of(early.state(), ["redeem"])["redeem"]
    for each in (early, other):
        each.take(decision(10**6, 0.41 * WINDOW_S), [False])
        each.fit(at_rate, 0.7 * WINDOW_S)
    assert other.shifts["redeem"] == early.shifts["redeem"]
    assert {name: array.tolist() for name, array in other.state().items()} == {
        name: array.tolist() for name, array in early.state().items()
    }


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("shifts", lambda array: array * np.nan),
        ("shifts", lambda array: array[:0]),
        ("information", lambda array: -1.0 - array),
        ("information", lambda array: array[:0]),
        ("closed", lambda array: -1.0 - array),
        ("windows", lambda array: array[:, :2]),
        ("windows", lambda array: array * [1.0, 0.0, 1.0]),
        ("windows", lambda array: array[1:]),
        ("answered", lambda array: np.tile(array, 2)),
        ("answered", lambda array: array * np.nan),
        ("answered", lambda array: array * 0.0 - 5.0),
        ("answered", lambda array: array * 0.0 + 1.5),
        ("starts", lambda array: array * np.nan),
        ("shifts", lambda array: array * 0.0 + 21.0),
        ("identities", lambda array: array.astype(np.float64)),
        ("identities", lambda array: array[1:]),
        ("identities", lambda array: array[0]),
        ("identities", lambda array: array[:, None]),
        ("numeric", lambda array: array[:, 1:]),
        ("numeric", lambda array: array * np.inf),
        ("hashed", lambda array: array + np.uint32(2**31)),
        ("hashed", lambda array: array.astype(np.int64)),
        ("hashed", lambda array: np.tile(array, (1, 100))),
    ],
)
def test_a_state_that_does_not_fit_is_refused(name: str, spoil: object) -> None:
    early = played(0.3, 0.4 * WINDOW_S, np.random.default_rng(1), decisions=20)
    state = early.state()
    with np.errstate(invalid="ignore"):
        state[name] = spoil(state[name])  # type: ignore[operator]
    with pytest.raises(SnapshotMismatch):
        EarlyAnswers(["redeem"], HALF_LIFE).restore(state)


OFFSETS = itertools.count()


def new() -> Trainer:
    return Trainer(LearningRules())


def tell(trainer: Trainer, said: OpenDecision) -> bool:
    """Append it to the log and let it be read."""
    return trainer.watch(said, next(OFFSETS))


def test_a_domain_without_labels_is_served_at_its_rate_and_a_snapshot_says_the_same() -> None:
    trainer = new()
    for number in range(200):
        assert tell(trainer, decision(number))
        if number % 2:
            tell(trainer, decision(number, at=0.2 * (number / 200) ** 2 * WINDOW_S, clicked=True))
    scorer = trainer.scorers()["ecommerce"]
    assert trainer.scorers() == {}
    tell(trainer, decision(999))
    [snapshot] = trainer.snapshots()
    before, after = (Trainer(LearningRules())._model("ecommerce").scorer().predict(ROW)[0], scorer.predict(ROW)[0])
    click, redeem, order = HEADS.index("click"), HEADS.index("redeem"), HEADS.index("order")
    assert after[click] > before[click] + 0.1
    assert after[redeem] < before[redeem]
    assert after[order] < before[order]  # it is learnt as the difference from P(redeem)
    assert PRIOR_RATE["click"] < 0.4 < after[click] < 0.8
    served = trainer.models["ecommerce"].scorer().predict(ROW).tolist()
    assert compile_snapshot(snapshot).predict(ROW).tolist() == served
    resumed = new()
    resumed.restore({"ecommerce": snapshot})
    assert resumed.models["ecommerce"].scorer().predict(ROW).tolist() == served


def test_where_nothing_was_given_an_answer_is_an_order() -> None:
    trainer = new()
    for number in range(100):
        tell(trainer, decision(number, coupon_id=NO_COUPON))
        tell(trainer, decision(number, at=0.3 * WINDOW_S, coupon_id=NO_COUPON, redeemed=True))
    before, after = (Trainer(LearningRules())._model("ecommerce").scorer(), trainer.scorers()["ecommerce"])
    is_more = after.predict(ROW)[0] > before.predict(ROW)[0]
    assert is_more.tolist() == [False, False, True]


@pytest.mark.parametrize(
    "about",
    [
        {"until": 0.0},
        {"feature_schema": "another"},
        {"numeric": b"1234"},
        {"numeric": b"12345"},
        {"hashed": b"\xff" * 4},
        {"numeric": b"\xff" * 4 * len(NUMERIC)},
    ],
)
def test_what_cannot_be_used_is_refused_and_changes_nothing(about: dict[str, object]) -> None:
    trainer = new()
    with pytest.raises(BadMessage):
        tell(trainer, decision(1, **about))
    assert trainer.models == {}


def open_many(trainer: Trainer, first: int, answered: float, *, at: float = 0.0, **about: object) -> None:
    """Some hundred decisions of the first moment, of which a part is answered at another one."""
    for number in range(first, first + SAMPLE):
        tell(trainer, decision(number, **about))
        if number - first < answered * SAMPLE:
            tell(trainer, decision(number, at=at, redeemed=True, **about))


def test_what_labels_say_of_orders_outweighs_what_has_come_of_coupons() -> None:
    def order_by(labels: int) -> float:
        trainer = new()
        model = trainer._model("ecommerce")
        for _ in range(labels):
            model.early["none_given"].learn("order", 0.3)
        open_many(trainer, 0, 0.0)
        tell(trainer, decision(10**6, 0.99 * WINDOW_S))
        trainer.scorers()
        assert model.shifts["redeem"] < -1.0
        return model.shifts["order"]

    assert order_by(0) < -1.0
    assert -0.02 < order_by(3000) < 0.0


def test_silence_alone_comes_into_use_as_time_passes() -> None:
    trainer = new()
    open_many(trainer, 0, 0.0)
    trainer.scorers()
    beyond = next(number for number in range(10**6) if not tell(trainer, decision(10**6 + number)))
    trainer.scorers()
    for part, is_looked_at in ((1 / 100, False), (1 / 50, True), (1 / 3, True)):
        assert tell(trainer, decision(10**6 + beyond, at=part * WINDOW_S, clicked=True)) == is_looked_at
        assert set(trainer.scorers()) == ({"ecommerce"} if is_looked_at else set())
    shift = trainer.models["ecommerce"].shifts["redeem"]
    assert shift < -0.5
    assert not tell(trainer, decision(10**6 + beyond, at=(1 / 3 + 1 / 100) * WINDOW_S))


def test_a_restart_between_two_snapshots_changes_nothing() -> None:
    trainer = new()
    open_many(trainer, 0, 0.5)
    [snapshot] = trainer.snapshots()
    resumed = new()
    resumed.restore({"ecommerce": snapshot})
    for each in (trainer, resumed):
        assert not each.watch(decision(1, at=5.0, redeemed=True), snapshot.open_offset)
        each.watch(decision(SAMPLE - 1, at=0.5 * WINDOW_S, redeemed=True), snapshot.open_offset + 1)
    [one], [other] = trainer.snapshots(), resumed.snapshots()
    assert one == other


def test_a_domain_that_starts_from_another_one_keeps_the_base_rate_of_that_until_its_own_labels_come() -> None:
    trainer = Trainer(LearningRules(transfer={"travel": "retail"}))
    open_many(trainer, 0, 0.6, domain="retail")
    retail = trainer.scorers()["retail"]
    tell(trainer, decision(10**6, domain="travel"))
    travel = trainer.scorers()["travel"]
    assert travel.predict(ROW)[0] == pytest.approx(retail.predict(ROW)[0])
    [snapshot] = [each for each in _published(trainer) if each.domain == "travel"]
    model = trainer.models["travel"]
    for _ in range(1000):
        model.early["given"].learn("redeem", 0.3)
    model.scorer()
    assert 0.0 < model.shifts["redeem"] < 0.05
    resumed = Trainer(LearningRules())
    resumed.restore({"travel": snapshot})
    assert resumed.models["travel"].scorer().predict(ROW)[0].tolist() == travel.predict(ROW)[0].tolist()


def _published(trainer: Trainer) -> list[ModelSnapshot]:
    for number, domain in enumerate(trainer.models):
        tell(trainer, decision(2 * 10**6 + number, domain=domain))
    return trainer.snapshots()


def test_where_impressions_come_to_be_reported_silence_of_before_is_doubted() -> None:
    trainer = new()
    open_many(trainer, 0, 0.1)
    trainer.doubt_silence("ecommerce")
    trainer.doubt_silence("nobody's")
    [snapshot] = trainer.snapshots()
    assert snapshot.early["given"]["identities"].shape == [0]


def test_a_base_rate_is_the_same_however_often_it_is_asked_for() -> None:
    trainer = new()
    open_many(trainer, 0, 0.6)
    shifts = set()
    for number in range(3):
        tell(trainer, decision(10**6 + number, is_over=True))
        trainer._changed.add("ecommerce")
        assert set(trainer.scorers()) == {"ecommerce"}
        shifts.add(trainer.models["ecommerce"].shifts["redeem"])
    assert len(shifts) == 1
