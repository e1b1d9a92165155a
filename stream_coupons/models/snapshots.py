"""Models as data: never pickle. A snapshot that does not fit is refused and the last good one kept."""

import math
import struct
import zlib
from importlib import metadata
from typing import TYPE_CHECKING

import numpy as np

from stream_coupons.core.errors import SnapshotMismatch
from stream_coupons.core.events import HeadQuality, HeadWeights, ModelSnapshot
from stream_coupons.core.features import DIMENSIONS, SCHEMA
from stream_coupons.core.scoring import HEADS
from stream_coupons.models.encoding import BIAS
from stream_coupons.models.linear import LinearScorer, dense

if TYPE_CHECKING:  # River takes a second to import, and who only serves does not need it
    from stream_coupons.models.online import OnlineHead

FORMAT_VERSION = 2
COMPRESSION_LEVEL = 1


def pack_head(head: "OnlineHead") -> HeadWeights:
    """Weights and accumulators of one head, ascending by index."""
    weights, accumulators = head.weights(), head.accumulators()
    indices = sorted(set(weights) | set(accumulators))
    hashed = [index for index in indices if index < DIMENSIONS]
    numeric = range(DIMENSIONS, BIAS)
    order = [*hashed, *range(DIMENSIONS, BIAS + 1)]
    return HeadWeights(
        intercept=weights.get(BIAS, 0.0),
        numeric=_squeeze([weights.get(index, 0.0) for index in numeric]),
        hashed_indices=zlib.compress(np.array(hashed, "<u4").tobytes(), COMPRESSION_LEVEL),
        hashed=_squeeze([weights.get(index, 0.0) for index in hashed]),
        optimizer=_squeeze([accumulators.get(index, 0.0) for index in order]),
    )


def _squeeze(values: list[float]) -> bytes:
    return zlib.compress(np.array(values, "<f8").tobytes(), COMPRESSION_LEVEL)


def unpack_head(packed: HeadWeights) -> tuple[dict[int, float], dict[int, float]]:
    """(weights, accumulators) by index, as `pack_head` got them."""
    hashed = np.frombuffer(zlib.decompress(packed.hashed_indices), "<u4").tolist()
    order = [*hashed, *range(DIMENSIONS, BIAS + 1)]
    values = [*_floats(packed.hashed), *_floats(packed.numeric), packed.intercept]
    weights = dict(zip(order, values, strict=True))
    accumulators = dict(zip(order, _floats(packed.optimizer), strict=True))
    return weights, {index: total for index, total in accumulators.items() if total}


def _floats(squeezed: bytes) -> list[float]:
    values: list[float] = np.frombuffer(zlib.decompress(squeezed), "<f8").tolist()
    return values


def checksum(heads: dict[str, HeadWeights]) -> int:
    """CRC-32 over all arrays, head by head in order of their names."""
    total = 0
    for name in sorted(heads):
        head = heads[name]
        intercept = struct.pack("<d", head.intercept)
        for part in (name.encode(), intercept, head.numeric, head.hashed_indices, head.hashed, head.optimizer):
            total = zlib.crc32(part, total)
    return total


def make_snapshot(
    domain: str,
    version: int,
    heads: dict[str, "OnlineHead"],
    quality: dict[str, HeadQuality],
    progress: tuple[int, int, dict[str, tuple[int, int]], float],
) -> ModelSnapshot:
    """Pack a domain's heads; `progress` is (examples, source offset, origins, event time)."""
    packed = {name: pack_head(head) for name, head in heads.items()}
    examples, source_offset, origins, at = progress
    return ModelSnapshot(
        domain=domain,
        version=version,
        format_version=FORMAT_VERSION,
        feature_schema=SCHEMA,
        river_version=metadata.version("river"),
        examples=examples,
        source_offset=source_offset,
        origins=dict(origins),
        at=at,
        heads=packed,
        quality=quality,
        checksum=checksum(packed),
    )


def check(snapshot: ModelSnapshot) -> None:
    """Refuse a snapshot of another format, feature schema or content than it says.

    Raises
    ------
    SnapshotMismatch
    """
    for name, found, expected in (
        ("format_version", snapshot.format_version, FORMAT_VERSION),
        ("feature_schema", snapshot.feature_schema, SCHEMA),
        ("heads", sorted(snapshot.heads), sorted(HEADS)),
        ("checksum", snapshot.checksum, checksum(snapshot.heads)),
    ):
        if found != expected:
            raise SnapshotMismatch(
                f"snapshot {snapshot.version} of {snapshot.domain}: {name} is {found}, expected {expected}"
            )


def unpack_heads(snapshot: ModelSnapshot) -> dict[str, tuple[dict[int, float], dict[int, float]]]:
    """(weights, accumulators) of every head.

    Raises
    ------
    SnapshotMismatch
        If the snapshot does not fit this program, or its arrays each other.
    """
    check(snapshot)
    try:
        heads = {name: unpack_head(packed) for name, packed in snapshot.heads.items()}
    except (zlib.error, ValueError) as error:
        raise SnapshotMismatch(f"snapshot {snapshot.version} of {snapshot.domain}: {error}") from error
    for name, (weights, accumulators) in heads.items():
        if max(weights, default=0) > BIAS or not all(map(math.isfinite, (*weights.values(), *accumulators.values()))):
            raise SnapshotMismatch(
                f"snapshot {snapshot.version} of {snapshot.domain}: weights of {name} are not usable"
            )
    return heads


def compile_snapshot(snapshot: ModelSnapshot) -> LinearScorer:
    """Arrays to serve from.

    Raises
    ------
    SnapshotMismatch
        If the snapshot does not fit this program.
    """
    heads = unpack_heads(snapshot)
    return LinearScorer(snapshot.version, dense({name: weights for name, (weights, _) in heads.items()}))
