"""Snapshots: what is saved is what goes on, and what does not fit is refused."""

import contextlib
import itertools
import math
import zlib
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from stream_coupons.core.catalogue.compiled import Floats
from stream_coupons.core.errors import SnapshotMismatch
from stream_coupons.core.features.numeric import NUMERIC
from stream_coupons.core.features.rows import DIMENSIONS, FeatureRows
from stream_coupons.core.messages.learning import Array, ModelSnapshot
from stream_coupons.kafka import topics
from stream_coupons.kafka.codec import Decoder, encode
from stream_coupons.models.encoding import BIAS
from stream_coupons.models.inputs import Row, input_of
from stream_coupons.models.learner import Trainer
from stream_coupons.models.linear import ALL_HEADS
from stream_coupons.models.registry import make_model
from stream_coupons.models.rules import LearningRules, ModelName
from stream_coupons.models.serving import compile_snapshot
from stream_coupons.models.snapshots import checksum, pack, unpack

from .builders import each_row, examples, random_rows

RIVER = "river.linear_model:LogisticRegression"


def trained(seed: int = 1, size: int = 150, **rules: Any) -> Trainer:
    trainer = Trainer(LearningRules(**rules))
    for offset, each in enumerate(examples(seed, size)):
        trainer.learn(each, offset, None)
    return trainer


@pytest.fixture(scope="module")
def snapshot() -> ModelSnapshot:
    [made] = trained().snapshots()
    return made


def over_the_wire(snapshot: ModelSnapshot) -> ModelSnapshot:
    decoded: ModelSnapshot = Decoder(topics.SNAPSHOTS)(encode(snapshot), topics.SNAPSHOTS.max_message_bytes)
    return decoded


def test_a_snapshot_survives_the_wire_to_the_last_bit(snapshot: ModelSnapshot) -> None:
    arrived = over_the_wire(snapshot)
    assert arrived == snapshot
    for name, head in trained().models["ecommerce"].heads.items():
        assert arrived.heads[name] == head.state()
        weights = head.contest.models[ModelName.KALMAN].state()["weights"]
        assert unpack(arrived.heads[name].parts["kalman"]["weights"]).tolist() == weights.tolist()


def test_packing_does_not_search_noise_for_repetitions() -> None:
    noise = np.random.default_rng(1).normal(size=4096)
    stored, shrunk = pack(noise), pack(np.zeros(4096))
    assert len(stored.data) >= noise.nbytes > 100 * len(shrunk.data)
    assert unpack(stored).tolist() == noise.tolist()


def test_a_worker_unpacks_no_array_that_it_does_not_serve(snapshot: ModelSnapshot) -> None:
    arrays = snapshot.heads["click"].parts["kalman"]
    others = {
        name: array if name in ("places", "weights") else msgspec.structs.replace(array, data=b"")
        for name, array in arrays.items()
    }
    rows, spoilt = random_rows(3, 20), with_part(snapshot, "kalman", others)
    assert (compile_snapshot(spoilt).predict(rows) == compile_snapshot(snapshot).predict(rows)).all()
    with pytest.raises(SnapshotMismatch, match="an array of"):
        Trainer(LearningRules()).restore({"ecommerce": spoilt})


def log_odds(trainer: Trainer, name: str, rows: FeatureRows) -> Floats:
    """By the champion of a head."""
    head = trainer.models["ecommerce"].heads[name]
    return np.array([head.log_odds(input_of(name, row)) for row in each_row(rows)])


def test_the_compiled_snapshot_predicts_what_the_champion_predicts() -> None:
    trainer = trained(size=300)
    [snapshot] = trainer.snapshots()
    rows, scorer = random_rows(3, 20), compile_snapshot(over_the_wire(snapshot))
    assert scorer.version == snapshot.version == 1
    for column, head in enumerate(ALL_HEADS):
        assert scorer.log_odds(rows)[:, column] == pytest.approx(log_odds(trainer, head, rows), abs=1e-6)


@pytest.mark.long
def test_the_largest_snapshot_fits_into_its_topic() -> None:
    trainer, rng = trained(models=LearningRules().models), np.random.default_rng(8)
    for head in trainer.models["ecommerce"].heads.values():
        for model in head.contest.models.values():
            for places in rng.permutation(DIMENSIONS).reshape(-1, 256):
                model.learn_one(Row(rng.random(len(NUMERIC)).tolist(), places.tolist()), bool(rng.random() < 0.5))
            state = model.state()
            size = len(state["places"])
            assert size > DIMENSIONS
            # As if every place had learnt something of its own.
            apart = {name: array * rng.uniform(0.5, 1.0, size) for name, array in state.items() if len(array) == size}
            model.restore(state | apart | {"places": state["places"]})
    [snapshot] = trainer.snapshots()
    assert 0.25 < len(encode(snapshot)) / topics.SNAPSHOTS.max_message_bytes < 0.9


def test_a_snapshot_says_how_far_and_how_well_it_learnt(snapshot: ModelSnapshot) -> None:
    assert (snapshot.examples, snapshot.source_offset, snapshot.at) == (150, 149, 149.0)
    assert {head: quality.examples for head, quality in snapshot.quality.items()} == {
        "click": 50,
        "redeem": 50,
        "order": 50,
    }
    assert all(quality.log_loss > 0 for quality in snapshot.quality.values())


OTHER: list[dict[str, Any]] = [
    {"format_version": 1},
    {"feature_schema": "0123456789abcdef"},
    {"checksum": 1},
    {"heads": {}},
]


@pytest.mark.parametrize("other", OTHER, ids=lambda other: next(iter(other)))
def test_a_snapshot_of_another_kind_is_refused_by_name(snapshot: ModelSnapshot, other: dict[str, Any]) -> None:
    with pytest.raises(SnapshotMismatch, match=next(iter(other))):
        compile_snapshot(msgspec.structs.replace(snapshot, **other))


def test_features_that_differ_are_named(snapshot: ModelSnapshot) -> None:
    features = [*NUMERIC[1:], "mood"]
    other = msgspec.structs.replace(snapshot, features=features, feature_schema="0123456789abcdef")
    with pytest.raises(SnapshotMismatch, match=f"it has mood; it lacks {NUMERIC[0]}. Install the packages"):
        compile_snapshot(other)


def with_part(
    snapshot: ModelSnapshot, part: str, arrays: dict[str, Array] | None, *, is_honest: bool = True
) -> ModelSnapshot:
    """A snapshot whose click head has another part or lacks it, with the checksum that fits it or the old one."""
    parts = {name: held for name, held in snapshot.heads["click"].parts.items() if name != part}
    head = msgspec.structs.replace(snapshot.heads["click"], parts=parts | ({part: arrays} if arrays else {}))
    heads = snapshot.heads | {"click": head}
    total = checksum(heads, snapshot.viewed_prices, snapshot.incremental) if is_honest else snapshot.checksum
    return msgspec.structs.replace(snapshot, heads=heads, checksum=total)


def test_a_flipped_bit_in_any_array_is_noticed(snapshot: ModelSnapshot) -> None:
    for part, arrays in snapshot.heads["click"].parts.items():
        for name, array in arrays.items():
            data = bytearray(array.data)
            data[len(data) // 2] ^= 4
            changed = arrays | {name: Array(array.dtype, array.shape, bytes(data))}
            with pytest.raises(SnapshotMismatch, match="checksum"):
                compile_snapshot(with_part(snapshot, part, changed, is_honest=False))


def test_another_champion_is_noticed(snapshot: ModelSnapshot) -> None:
    head = msgspec.structs.replace(snapshot.heads["click"], champion="other")
    with pytest.raises(SnapshotMismatch, match="checksum"):
        compile_snapshot(msgspec.structs.replace(snapshot, heads=snapshot.heads | {"click": head}))


def test_a_snapshot_without_a_model_that_is_set_starts_it_from_the_prior(snapshot: ModelSnapshot) -> None:
    trainer = trained(seed=5)
    trainer.restore({"ecommerce": with_part(snapshot, "kalman", None)})
    heads = trainer.models["ecommerce"].heads
    fresh = make_model(ModelName.KALMAN, "click", LearningRules())
    assert (
        heads["click"].contest.models[ModelName.KALMAN].state()["weights"].tolist() == fresh.state()["weights"].tolist()
    )
    assert heads["effect"].contest.models[ModelName.KALMAN].state()["weights"].size > fresh.state()["weights"].size


def test_a_model_that_is_not_set_any_more_is_left_behind() -> None:
    [snapshot] = trained(models=[ModelName.KALMAN, RIVER]).snapshots()
    trainer = Trainer(LearningRules())
    trainer.restore({"ecommerce": snapshot})
    trainer.learn(examples(6, 1)[0], 1000, None)
    [left] = trainer.snapshots()
    assert RIVER in snapshot.heads["click"].parts
    assert RIVER not in left.heads["click"].parts


PLACES = np.array([1, BIAS], np.uint32)
ONES = np.ones(2)
MISFITS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "no weights": {"places": PLACES},
    "too few weights": {"places": PLACES, "weights": np.ones(1)},
    "weights as text": {"places": PLACES, "weights": Array("<f8", [2], b"not zlib")},
    "fewer bytes than said": {"places": PLACES, "weights": Array("<f8", [2], zlib.compress(b"odd"))},
    "more bytes than said": {"places": PLACES, "weights": Array("<f8", [2], zlib.compress(b"0" * 999))},
    "cut short": {"places": PLACES, "weights": Array("<f8", [2], zlib.compress(ONES.tobytes())[:-3])},
    "nothing times too much": {"places": PLACES, "weights": Array("<f8", [0, 2**53, 2**53], zlib.compress(b""))},
    "too large together": {
        "places": PLACES,
        "weights": pack(ONES),
        **{f"bomb {n}": Array("<f8", [2**21], zlib.compress(bytes(2**24))) for n in range(3)},
    },
    "beyond all sums": {"places": PLACES, "weights": np.array([1.0, 1e300])},
    "huge": {"places": PLACES, "weights": Array("<f8", [2**40], zlib.compress(b""))},
    "no number": {"places": PLACES, "weights": np.array([1.0, np.nan])},
    "infinite": {"places": PLACES, "weights": np.array([1.0, np.inf])},
    "single precision": {"places": PLACES, "weights": np.ones(2, np.float32)},
    "signed places": {"places": PLACES.astype(np.int64), "weights": ONES},
    "a table": {"places": np.array([[1], [2]], np.uint32), "weights": np.ones((2, 1))},
    "a place out of range": {"places": np.array([1, BIAS + 1], np.uint32), "weights": ONES},
    "a place far out of range": {"places": np.array([1, 2**32 - 1], np.uint32), "weights": ONES},
}


@pytest.mark.parametrize("misfit", MISFITS)
def test_arrays_that_do_not_fit_are_refused_although_their_checksum_does(snapshot: ModelSnapshot, misfit: str) -> None:
    arrays = {name: array if isinstance(array, Array) else pack(array) for name, array in MISFITS[misfit].items()}
    spoilt = with_part(snapshot, "kalman", arrays)
    with pytest.raises(SnapshotMismatch, match="ecommerce, click"):
        compile_snapshot(spoilt)
    with pytest.raises(SnapshotMismatch, match="ecommerce"):
        Trainer(LearningRules()).restore({"ecommerce": spoilt if arrays else lacking(spoilt)})


def forged(array: NDArray[Any]) -> list[NDArray[Any]]:
    """What a stranger may write for one of the learner's arrays."""
    values = [-(2**62), 2**62] if array.dtype.kind == "i" else [0, 2**32 - 1]
    if array.dtype.kind == "f":
        values = [-1e300, -1.0, 0.0, 1e9, math.nan]
    with np.errstate(over="ignore"):
        filled = [np.full_like(array, value) for value in values]
    return [*filled, array.reshape(-1)[:0], array.reshape(1, -1), np.array(1.0), array.astype("<f4"), array[::-1]]


@pytest.mark.long
def test_a_forged_snapshot_is_refused_or_leaves_a_model_that_can_go_on() -> None:
    rules = LearningRules()
    trainer, lessons = Trainer(rules), examples(7, 45)
    for offset, each in enumerate(lessons):
        trainer.learn(each, offset, None)
    [snapshot] = trainer.snapshots()
    parts = snapshot.heads["click"].parts
    for part in ("kalman", "comparison", "drift", "level"):
        for array_name, packed in parts[part].items():
            for array in forged(unpack(packed)):
                spoilt = over_the_wire(with_part(snapshot, part, parts[part] | {array_name: pack(array)}))
                with contextlib.suppress(SnapshotMismatch):
                    compile_snapshot(spoilt)
                resumed = Trainer(rules)
                try:
                    resumed.restore({"ecommerce": spoilt})
                except SnapshotMismatch:
                    continue
                for offset, lesson in enumerate(lessons[:9], 1000):
                    resumed.learn(lesson, offset, None)
                [again] = resumed.snapshots()
                compile_snapshot(over_the_wire(again))


PROGRESS: list[dict[str, Any]] = [{"version": 2**53}, {"source_offset": 2**70}, {"origins": {"ticks:0": (0, 2**64)}}]


@pytest.mark.parametrize("progress", PROGRESS, ids=lambda progress: next(iter(progress)))
def test_a_count_that_cannot_be_gone_on_from_is_refused(snapshot: ModelSnapshot, progress: dict[str, Any]) -> None:
    with pytest.raises(SnapshotMismatch, match="offset"):
        compile_snapshot(msgspec.structs.replace(snapshot, **progress))


def lacking(snapshot: ModelSnapshot) -> ModelSnapshot:
    """Without what every head has."""
    return with_part(snapshot, "level", None)


def test_without_a_level_nothing_is_served(snapshot: ModelSnapshot) -> None:
    with pytest.raises(SnapshotMismatch, match="level"):
        compile_snapshot(lacking(snapshot))


def test_a_refused_snapshot_leaves_the_learner_as_it_was(snapshot: ModelSnapshot) -> None:
    trainer = trained(seed=5)
    before = {name: head.state() for name, head in trainer.models["ecommerce"].heads.items()}
    with pytest.raises(SnapshotMismatch):
        trainer.restore({"ecommerce": lacking(snapshot)})
    assert {name: head.state() for name, head in trainer.models["ecommerce"].heads.items()} == before
    assert trainer.models["ecommerce"].offset == 149


def test_what_is_served_at_once_is_what_a_snapshot_serves_to_the_last_bit() -> None:
    rules, rows = LearningRules(), random_rows(41, 30)
    trainer = Trainer(rules)
    for offset, each in enumerate(examples(42, 200)):
        trainer.learn(each, offset, None)
        served = trainer.live()["ecommerce"].predict(rows)
    [snapshot] = trainer_of(rules, 42, 200).snapshots()
    assert served.tolist() == compile_snapshot(snapshot).predict(rows).tolist()


def trainer_of(rules: LearningRules, seed: int, size: int) -> Trainer:
    trainer = Trainer(rules)
    for offset, each in enumerate(examples(seed, size)):
        trainer.learn(each, offset, None)
    return trainer


def test_what_is_served_at_once_follows_every_example() -> None:
    trainer, rows = Trainer(LearningRules()), random_rows(43, 5)
    served, versions = [], []
    for offset, each in enumerate(examples(44, 30)):
        trainer.learn(each, offset, None)
        scorer = trainer.live()["ecommerce"]
        served.append(scorer.predict(rows).tolist())
        versions.append(scorer.version)
    assert versions == list(range(1, 31))
    assert all(before != after for before, after in itertools.pairwise(served))
    assert trainer.live() == {}, "nothing was learnt since"
