"""Snapshots of other numeric features are carried over by name."""

import contextlib
import logging
from collections.abc import Iterable
from functools import cache
from typing import Any

import msgspec
import numpy as np
import pytest

from stream_coupons.core.catalogue.compiled import Floats
from stream_coupons.core.errors import SnapshotMismatch
from stream_coupons.core.features.numeric import NUMERIC
from stream_coupons.core.features.rows import DIMENSIONS, HASHED, SCHEMA, FeatureRows, schema_of
from stream_coupons.core.messages.learning import ModelSnapshot
from stream_coupons.models.carry_over import carried, is_carriable
from stream_coupons.models.encoding import BINS, FIRST_BIN
from stream_coupons.models.inputs import Row
from stream_coupons.models.kalman import KalmanFilter
from stream_coupons.models.learner import Trainer
from stream_coupons.models.linear import prior_array
from stream_coupons.models.rules import LearningRules, ModelName
from stream_coupons.models.serving import compile_snapshot
from stream_coupons.models.snapshots import checksum, pack_state, unpack_state

from .builders import each_row, examples, predict, random_rows

RULES = LearningRules()
ROWS = random_rows(3, 20)
GONE = "carts"
COLUMN = NUMERIC.index(GONE)


@cache
def trained() -> tuple[Trainer, ModelSnapshot]:
    trainer = Trainer(RULES)
    for offset, each in enumerate(examples(1, 120)):
        trainer.learn(each, offset, ("ticks:0", (offset, 0)))
    [snapshot] = trainer.snapshots()
    return trainer, snapshot


def ours() -> ModelSnapshot:
    return trained()[1]


def made_by(
    features: Iterable[str], hashed: Iterable[str] = HASHED, snapshot: ModelSnapshot | None = None
) -> ModelSnapshot:
    """The snapshot as of a release whose columns have these names."""
    schema = schema_of(features, hashed)
    named = {"features": [*features], "hashed": [*hashed], "feature_schema": schema}
    return msgspec.structs.replace(snapshot or ours(), **named)


def renamed(snapshot: ModelSnapshot | None = None) -> ModelSnapshot:
    """A snapshot of a release that has a feature which is gone, in the column of one that it lacks."""
    return made_by(["gone" if name == GONE else name for name in NUMERIC], snapshot=snapshot)


def with_part(head: str, part: str, arrays: dict[str, Any]) -> ModelSnapshot:
    """Our snapshot with other arrays of one part."""
    state = ours().heads[head]
    parts = state.parts | {part: pack_state(arrays)}
    heads = ours().heads | {head: msgspec.structs.replace(state, parts=parts)}
    total = checksum(heads, ours().viewed_prices, ours().incremental)
    return msgspec.structs.replace(ours(), heads=heads, checksum=total)


def resumed(snapshot: ModelSnapshot) -> Trainer:
    trainer = Trainer(RULES)
    trainer.restore({"ecommerce": snapshot})
    return trainer


SHUFFLED = [NUMERIC[at] for at in np.random.default_rng(4).permutation(len(NUMERIC))]


def in_our_order(rows: FeatureRows) -> FeatureRows:
    """Rows whose columns are named by SHUFFLED, as this program has them."""
    return FeatureRows(rows.numeric[:, [SHUFFLED.index(name) for name in NUMERIC]], rows.hashed)


@pytest.mark.long
def test_every_model_predicts_of_the_same_features_in_another_order_what_it_predicted() -> None:
    after = resumed(made_by(SHUFFLED)).models["ecommerce"]
    for head, before in trained()[0].models["ecommerce"].heads.items():
        for name, model in before.contest.models.items():
            expected = predict(model, ROWS)
            assert predict(after.heads[head].contest.models[name], in_our_order(ROWS)) == pytest.approx(
                expected, abs=1e-12
            )


@pytest.mark.long
def test_and_learns_on_as_it_would_have() -> None:
    heads = [resumed(each).models["ecommerce"].heads["effect"] for each in (ours(), made_by(SHUFFLED))]
    filters: list[Any] = [head.contest.models[ModelName.KALMAN] for head in heads]
    rows = random_rows(5, 600)
    for row, moved in zip(each_row(rows), each_row(in_our_order(rows)), strict=True):
        for model, each in zip(filters, (row, moved), strict=True):
            model.learn_one(each, bool(row.numeric[0] > 1.0))
    before, after = (predict(model, each) for model, each in zip(filters, (ROWS, in_our_order(ROWS)), strict=True))
    assert after == pytest.approx(before, abs=1e-9)


def test_a_new_feature_has_its_prior_and_what_is_gone_has_no_weight() -> None:
    served = carried(renamed())
    for head, state in served.heads.items():
        model = unpack_state(state.parts["kalman"])
        before = unpack_state(ours().heads[head].parts["kalman"])
        of = dict(zip(model["places"].tolist(), model["weights"].tolist(), strict=True))
        was = dict(zip(before["places"].tolist(), before["weights"].tolist(), strict=True))
        for index in (DIMENSIONS + COLUMN, *range(FIRST_BIN + COLUMN * BINS, FIRST_BIN + (COLUMN + 1) * BINS)):
            was.pop(index, None)
            assert of.pop(index, 0.0) == pytest.approx(prior_array(head)[index])
        assert of.keys() == was.keys()
    compile_snapshot(renamed())


@pytest.mark.long
def test_the_other_weights_of_a_filter_take_over_what_a_feature_explained_that_is_gone() -> None:
    rng = np.random.default_rng(6)
    whole, without = KalmanFilter({}), KalmanFilter({})

    def rows(count: int) -> Floats:
        numeric = np.round(rng.uniform(0.1, 2.5, (count, len(NUMERIC))) * (rng.random((count, len(NUMERIC))) < 0.2), 4)
        numeric[:, COLUMN] = numeric[:, COLUMN - 1] = rng.uniform(0.1, 2.5, count)
        return numeric

    for numeric in rows(1500):
        label = bool(rng.random() < numeric[COLUMN] / 2.5)
        whole.learn_one(Row(numeric, [1]), label)
        without.learn_one(Row(_left(numeric), [1]), label)
    snapshot = with_part("click", "kalman", whole.state())
    after = resumed(renamed(snapshot)).models["ecommerce"].heads["click"].contest.models[ModelName.KALMAN]
    test = [Row(_left(numeric), [1]) for numeric in rows(50)]
    expected = np.array([without.probability(row) for row in test])
    assert np.array([after.probability(row) for row in test]) == pytest.approx(expected, abs=0.05)
    assert np.abs(np.array([whole.probability(row) for row in test]) - expected).max() > 0.2, "plain removal"


def _left(numeric: Floats) -> Floats:
    return np.where(np.arange(len(NUMERIC)) == COLUMN, 0.0, numeric)


def test_progress_comparisons_level_and_prices_stay(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    after = resumed(renamed()).models["ecommerce"]
    assert (after.examples, after.offset, after.origins, after.at) == (120, 119, {"ticks:0": (119, 0)}, 119.0)
    of_other = after.snapshot()
    for head, state in of_other.heads.items():
        assert state.champion == ours().heads[head].champion
        for part in ("comparison", "drift", "level"):
            assert state.parts[part] == ours().heads[head].parts[part]
    assert of_other.viewed_prices == ours().viewed_prices
    assert f"{len(NUMERIC) - 1} features kept, new: {GONE}, dropped: gone" in caplog.text


@pytest.mark.long
def test_examples_of_the_features_before_are_learnt_by_name_and_their_names_stay_known() -> None:
    other = renamed()
    trainer = resumed(other)
    for restart in range(2):
        lesson = examples(7 + restart, 1)[0]
        old = msgspec.structs.replace(lesson, feature_schema=other.feature_schema)
        numeric = [0.0 if at == COLUMN else value for at, value in enumerate(lesson.numeric)]
        [saved] = [model.snapshot() for model in trainer.models.values()]
        same = resumed(saved)
        assert trainer.learn(old, 120 + restart, None)
        assert same.learn(msgspec.structs.replace(lesson, numeric=numeric), 120 + restart, None)
        assert trainer.snapshots() == same.snapshots()
        trainer = resumed(trainer.models["ecommerce"].snapshot())


def test_a_hashed_feature_more_or_less_changes_no_other_one() -> None:
    without = made_by([*NUMERIC], list(HASHED[:-1]))
    assert without.feature_schema != SCHEMA
    scorer = compile_snapshot(without)
    assert scorer.predict(ROWS).tolist() == compile_snapshot(ours()).predict(ROWS).tolist()
    assert resumed(without).models["ecommerce"].earlier == {}, "its examples have hashed features by position"


def test_a_snapshot_before_hashed_features_were_named_is_carried_over() -> None:
    older = msgspec.structs.replace(renamed(), hashed=[])
    assert is_carriable(older)
    assert compile_snapshot(older).predict(ROWS).tolist() == compile_snapshot(renamed()).predict(ROWS).tolist()


REFUSED: dict[str, dict[str, Any]] = {
    "another hashing space": {"feature_schema": "0123456789abcdef"},
    "another format": {"format_version": 1},
    "names that are not those of the schema": {"features": ["one", "two"]},
}


@pytest.mark.parametrize("about", REFUSED.values(), ids=REFUSED)
def test_what_differs_in_more_than_names_is_refused(about: dict[str, Any]) -> None:
    other = msgspec.structs.replace(renamed(), **about)
    assert not is_carriable(other)
    with pytest.raises(SnapshotMismatch):
        compile_snapshot(other)
    with pytest.raises(SnapshotMismatch):
        resumed(other)


def test_a_feature_twice_is_refused() -> None:
    assert not is_carriable(made_by([*NUMERIC, GONE]))


def test_a_champion_of_unknown_layout_is_not_carried_over() -> None:
    head = msgspec.structs.replace(ours().heads["click"], champion="mine")
    snapshot = msgspec.structs.replace(ours(), heads=ours().heads | {"click": head})
    assert not is_carriable(renamed(snapshot))


@pytest.mark.long
@pytest.mark.parametrize("model", ModelName)
@pytest.mark.parametrize("spoilt", ["nothing", "short", "long", "negative", "table"])
def test_a_damaged_array_is_refused_and_raises_nothing_else(model: ModelName, spoilt: str) -> None:
    arrays = unpack_state(ours().heads["click"].parts[model])
    for name, array in arrays.items():
        filled: Any = {
            "nothing": None,
            "short": array[:-1],
            "long": np.concatenate((array, array)),
            "negative": np.full_like(array, 2**32 - 1 if array.dtype.kind == "u" else -1),
            "table": np.stack((array, array)),
        }[spoilt]
        left = {key: each for key, each in arrays.items() if key != name}
        bad = with_part("click", model, left if filled is None else left | {name: filled})
        try:
            fit = carried(renamed(bad))
        except SnapshotMismatch:
            continue
        with contextlib.suppress(SnapshotMismatch):
            Trainer(RULES).restore({"ecommerce": fit})
