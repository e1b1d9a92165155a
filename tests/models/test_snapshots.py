"""Snapshots: what is saved is what goes on, and what does not fit is refused."""

import zlib
from typing import Any

import msgspec
import numpy as np
import pytest

from stream_coupons import topics
from stream_coupons.codec import Decoder, encode
from stream_coupons.core.errors import SnapshotMismatch
from stream_coupons.core.events import ModelSnapshot
from stream_coupons.core.features import DIMENSIONS
from stream_coupons.models.learner import Trainer
from stream_coupons.models.linear import BIAS
from stream_coupons.models.snapshots import checksum, compile_snapshot, unpack_heads

from .builders import examples, random_rows


def trained(seed: int = 1, size: int = 150) -> Trainer:
    trainer = Trainer(0.05, 1e-6)
    for offset, each in enumerate(examples(seed, size)):
        trainer.learn(each, offset, None)
    return trainer


@pytest.fixture(scope="module")
def snapshot() -> ModelSnapshot:
    [made] = trained().snapshots()
    return made


def over_the_wire(snapshot: ModelSnapshot) -> ModelSnapshot:
    decoded: ModelSnapshot = Decoder(topics.SNAPSHOTS)(encode(snapshot))
    return decoded


def test_a_snapshot_survives_the_wire_to_the_last_bit(snapshot: ModelSnapshot) -> None:
    arrived = over_the_wire(snapshot)
    assert arrived == snapshot
    model = trained().models["ecommerce"]
    for name, (weights, accumulators) in unpack_heads(arrived).items():
        head = model.heads[name]
        assert {index: weight for index, weight in weights.items() if weight} == {
            index: weight for index, weight in head.weights().items() if weight
        }
        assert accumulators == {index: total for index, total in head.accumulators().items() if total}


def test_the_compiled_snapshot_predicts_what_the_learner_predicts(snapshot: ModelSnapshot) -> None:
    rows, model = random_rows(2, 20), trained().models["ecommerce"]
    scorer = compile_snapshot(over_the_wire(snapshot))
    assert scorer.version == snapshot.version == 1
    for column, head in enumerate(("click", "redeem", "order")):
        river = [model.heads[head].predict(rows.numeric[n].tolist(), rows.hashed[n].tolist()) for n in range(20)]
        assert scorer.predict(rows)[:, column] == pytest.approx(river, abs=1e-9)


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


def with_head(snapshot: ModelSnapshot, *, honest: bool, **parts: Any) -> ModelSnapshot:
    """A snapshot whose click head differs, with the checksum that fits it or the old one."""
    heads = snapshot.heads | {"click": msgspec.structs.replace(snapshot.heads["click"], **parts)}
    total = checksum(heads) if honest else snapshot.checksum
    return msgspec.structs.replace(snapshot, heads=heads, checksum=total)


@pytest.mark.parametrize("part", ["numeric", "hashed_indices", "hashed", "optimizer"])
def test_a_flipped_bit_in_any_array_is_noticed(snapshot: ModelSnapshot, part: str) -> None:
    array = bytearray(getattr(snapshot.heads["click"], part))
    array[len(array) // 2] ^= 4
    with pytest.raises(SnapshotMismatch, match="checksum"):
        compile_snapshot(with_head(snapshot, honest=False, **{part: bytes(array)}))


def test_a_changed_intercept_is_noticed(snapshot: ModelSnapshot) -> None:
    with pytest.raises(SnapshotMismatch, match="checksum"):
        compile_snapshot(with_head(snapshot, honest=False, intercept=snapshot.heads["click"].intercept + 1e-9))


def squeezed(values: list[float], kind: str = "<f8") -> bytes:
    return zlib.compress(np.array(values, kind).tobytes())


MISFITS: list[dict[str, Any]] = [
    {"hashed": b"not zlib"},
    {"hashed": squeezed([1.0])},
    {"numeric": squeezed([1.0] * 3)},
    {"numeric": zlib.compress(b"odd")},
    {"optimizer": squeezed([])},
    {"intercept": float("nan")},
    {"intercept": float("inf")},
    {"numeric": squeezed([float("nan")] * (BIAS - DIMENSIONS))},
    {"hashed_indices": squeezed([2**32 - 1], "<u4"), "hashed": squeezed([1.0]), "optimizer": squeezed([0.0] * 28)},
    {"hashed_indices": squeezed([BIAS + 1], "<u4"), "hashed": squeezed([1.0]), "optimizer": squeezed([0.0] * 28)},
]


@pytest.mark.parametrize("parts", MISFITS, ids=lambda parts: str(list(parts)))
def test_arrays_that_do_not_fit_are_refused_although_their_checksum_does(
    snapshot: ModelSnapshot, parts: dict[str, Any]
) -> None:
    with pytest.raises(SnapshotMismatch, match="ecommerce"):
        compile_snapshot(with_head(snapshot, honest=True, **parts))


def test_a_refused_snapshot_leaves_the_learner_as_it_was(snapshot: ModelSnapshot) -> None:
    trainer = trained(seed=5)
    before = {name: head.weights() for name, head in trainer.models["ecommerce"].heads.items()}
    with pytest.raises(SnapshotMismatch):
        trainer.restore({"ecommerce": with_head(snapshot, honest=True, hashed=b"")})
    assert {name: head.weights() for name, head in trainer.models["ecommerce"].heads.items()} == before
    assert trainer.models["ecommerce"].offset == 149
