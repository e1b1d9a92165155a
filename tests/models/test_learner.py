"""The learner: every example once, and after a restart it goes on as if nothing had happened."""

import numpy as np
import pytest

from stream_coupons.core.errors import BadMessage
from stream_coupons.core.features.numeric import NUMERIC
from stream_coupons.core.features.rows import DIMENSIONS, GROUPS, HASHED, MAX_PLACES, FeatureRows
from stream_coupons.core.messages.learning import ModelSnapshot
from stream_coupons.core.reasons import Rejection
from stream_coupons.models.learner import Trainer
from stream_coupons.models.rules import LearningRules
from stream_coupons.models.serving import compile_snapshot

from .builders import example, examples

Origin = tuple[str, tuple[int, int]]


def new() -> Trainer:
    return Trainer(LearningRules())


def feed(trainer: Trainer, each: list, start: int = 0) -> list[bool]:
    return [trainer.learn(one, offset, None) for offset, one in enumerate(each, start)]


def brain(snapshot: ModelSnapshot) -> tuple:
    return snapshot.heads, snapshot.version, snapshot.examples, snapshot.source_offset, snapshot.at


@pytest.mark.parametrize("cut", [0, 1, 100, 299])
def test_learning_goes_on_after_a_restart_exactly(cut: int) -> None:
    log = examples(1, 300)
    whole = new()
    feed(whole, log[:cut])
    saved = whole.snapshots()
    feed(whole, log[cut:], cut)
    resumed = new()
    resumed.restore({snapshot.domain: snapshot for snapshot in saved})
    feed(resumed, log[cut:], cut)
    [one], [other] = whole.snapshots(), resumed.snapshots()
    assert brain(one) == brain(other)


def test_a_restart_learns_nothing_twice_and_misses_nothing() -> None:
    log = examples(2, 60)
    trainer = new()
    feed(trainer, log[:40])
    [saved] = trainer.snapshots()
    resumed = new()
    resumed.restore({"ecommerce": saved})
    assert feed(resumed, log) == [False] * 40 + [True] * 20
    feed(trainer, log[40:], 40)
    assert brain(trainer.snapshots()[0]) == brain(resumed.snapshots()[0])


def test_another_copy_of_an_example_is_known_by_its_origin_also_after_a_restart() -> None:
    trainer = new()
    origins: list[Origin] = [("ticks:0", (5, 0)), ("ticks:0", (5, 1)), ("ticks:1", (2, 0)), ("ticks:0", (5, 1))]
    assert [trainer.learn(example(), n, origin) for n, origin in enumerate(origins)] == [True, True, True, False]
    [saved] = trainer.snapshots()
    resumed = new()
    resumed.restore({"ecommerce": saved})
    assert not resumed.learn(example(), 10, ("ticks:0", (5, 0)))
    assert not resumed.learn(example(), 11, ("ticks:1", (2, 0)))
    assert resumed.learn(example(), 12, ("ticks:1", (2, 1)))
    assert resumed.learn(example(), 13, None)


def test_a_snapshot_is_not_changed_by_what_is_learnt_later() -> None:
    trainer = new()
    trainer.learn(example(), 0, ("ticks:0", (1, 0)))
    [saved] = trainer.snapshots()
    trainer.learn(example(), 1, ("ticks:0", (2, 0)))
    assert saved.origins == {"ticks:0": (1, 0)}


def test_what_is_served_in_process_is_what_a_snapshot_would_be_compiled_to() -> None:
    log = examples(3, 200)
    here, there = new(), new()
    feed(here, log)
    feed(there, log)
    [snapshot] = there.snapshots()
    [(domain, scorer)] = here.scorers().items()
    assert here.scorers() == {}
    rows = FeatureRows(np.array([one.numeric for one in log]), np.array([one.hashed for one in log], np.uint32))
    compiled = compile_snapshot(snapshot)
    assert (domain, scorer.version) == (snapshot.domain, compiled.version)
    assert scorer.predict(rows).tolist() == compiled.predict(rows).tolist()


def test_only_domains_that_learnt_something_are_published() -> None:
    trainer = new()
    feed(trainer, [*examples(3, 10, "b"), *examples(4, 10, "a")])
    assert [(each.domain, each.version) for each in trainer.snapshots()] == [("a", 1), ("b", 1)]
    assert trainer.snapshots() == []
    feed(trainer, examples(5, 10, "b"), 20)
    assert [(each.domain, each.version) for each in trainer.snapshots()] == [("b", 2)]


def test_domains_learn_apart() -> None:
    together, alone = new(), new()
    feed(together, [one for pair in zip(examples(6, 30, "a"), examples(7, 30, "b"), strict=True) for one in pair])
    feed(alone, examples(6, 30, "a"))
    assert together.snapshots()[0].heads == alone.snapshots()[0].heads


def test_a_crash_between_two_domains_snapshots_loses_nothing_of_either() -> None:
    trainer = new()
    feed(trainer, [*examples(8, 10, "a"), *examples(9, 10, "b")])
    old = {snapshot.domain: snapshot for snapshot in trainer.snapshots()}
    later = [*examples(10, 10, "b"), *examples(11, 10, "a")]
    feed(trainer, later, 20)
    new_a, new_b = trainer.snapshots()
    resumed = new()
    resumed.restore({"a": new_a, "b": old["b"]})
    assert feed(resumed, later, 20) == [True] * 10 + [False] * 10
    [again] = resumed.snapshots()
    assert brain(again) == brain(new_b)


def test_versions_go_on_after_a_restart() -> None:
    trainer = new()
    for n in range(3):
        trainer.learn(example(), n, None)
        [saved] = trainer.snapshots()
    resumed = new()
    resumed.restore({"ecommerce": saved})
    resumed.learn(example(), 3, None)
    assert [each.version for each in resumed.snapshots()] == [4]


def test_quality_is_that_of_the_stored_predictions() -> None:
    good, bad = new(), new()
    for n in range(100):
        good.learn(example(label=n % 2 == 0, predicted=0.9 if n % 2 == 0 else 0.1), n, None)
        bad.learn(example(label=n % 2 == 0, predicted=0.5), n, None)
    [one], [other] = good.snapshots(), bad.snapshots()
    assert one.quality["click"].roc_auc == pytest.approx(1.0)
    assert other.quality["click"].roc_auc == pytest.approx(0.5)
    assert one.quality["click"].log_loss == pytest.approx(0.105, abs=0.001)
    assert (one.quality["click"].examples, one.quality["click"].positives) == (100, 50)
    assert set(one.quality) == {"click"}


def test_quality_without_a_positive_has_no_auc() -> None:
    trainer = new()
    trainer.learn(example(), 0, None)
    assert trainer.snapshots()[0].quality["click"].roc_auc is None


MISFITS = [
    {"feature_schema": "other"},
    {"numeric": [0.0] * (len(NUMERIC) - 1)},
    {"hashed": [1] * (MAX_PLACES + 1)},
    {"hashed": [DIMENSIONS * GROUPS] * len(HASHED)},
    {"hashed": [-1] * len(HASHED)},
]


@pytest.mark.parametrize("misfit", MISFITS, ids=lambda misfit: next(iter(misfit)))
def test_an_example_of_another_feature_space_is_refused_and_not_learnt(misfit: dict) -> None:
    trainer = new()
    with pytest.raises(BadMessage) as caught:
        trainer.learn(example(**misfit), 5, None)
    assert caught.value.reason == Rejection.INVALID
    assert trainer.snapshots() == []
    assert trainer.learn(example(), 5, None)


@pytest.mark.parametrize("size", [1e100, 1e200, 1e308, -1e308])
def test_absurd_numbers_leave_a_model_that_can_be_published(size: float) -> None:
    # A forged example must not make weights that every worker would refuse.
    trainer = new()
    for n in range(5):
        try:
            trainer.learn(example(numeric=[size] * len(NUMERIC), label=n % 2 == 0), n, None)
        except BadMessage:
            trainer.learn(example(), n, None)
    [snapshot] = trainer.snapshots()
    assert compile_snapshot(snapshot)
