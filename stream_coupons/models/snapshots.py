"""Serialized models. A snapshot that does not fit is refused and the last good one kept.

The learner resumes from all parts of a snapshot. Workers serve from its champions' arrays alone, without River, unless
a model from another package is champion. Only River classifiers are pickled, and signed: see `river_model`.
"""

import math
import struct
import zlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib import metadata
from itertools import chain
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.draws import PUBLIC_KEY, DrawKey
from stream_coupons.core.errors import SnapshotMismatch
from stream_coupons.core.features.numeric import NUMERIC
from stream_coupons.core.features.rows import HASHED, SCHEMA
from stream_coupons.core.messages.learning import Array, HeadQuality, HeadState, ModelSnapshot
from stream_coupons.models.linear import ALL_HEADS
from stream_coupons.models.states import PICKLE, State

FORMAT_VERSION = 14
COMPARISON, DRIFT, LEVEL = "comparison", "drift", "level"
"""Names of the parts of a head that are not models."""
COMPRESSION_LEVEL = 1
SAMPLE_BYTES = 1024
MIN_SAVED_RATIO = 0.25
"""Part of a sample that compression saves, below which an array is stored as it is: the digits of learnt weights are
noise, and the search for repetitions in them would take most of the time of a snapshot."""
MAX_PART_BYTES = 2**25
"""Bound of the size of a part. Larger shapes are refused before unpacking: a few kB of packed zeros can be gigabytes.
The largest model has some 6 MB."""
MAX_NAMES = 10
"""Names of features in a message, the first ones."""
MAX_OFFSET = 2**52
"""Bound of an offset; a larger one is forged, as it does not fit its schema."""


def pack(array: NDArray[Any], level: int = COMPRESSION_LEVEL) -> Array:
    """Return one serialized array.

    Parameters
    ----------
    array : array
        Numbers of one of `states.DTYPES`.
    level : int
        Compression level of zlib; 0 for an array that stays in this process, or does not shrink.
    """
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    dtype: Any = little.dtype.str
    data = little.tobytes()
    return Array(dtype, list(array.shape), zlib.compress(data, level if _shrinks(data, level) else 0))


def _shrinks(data: bytes, level: int) -> bool:
    """Return whether compression of the beginning of an array saves enough; always True for a short array."""
    sample = data[:SAMPLE_BYTES]
    return len(data) <= SAMPLE_BYTES or len(zlib.compress(sample, level)) <= (1.0 - MIN_SAVED_RATIO) * SAMPLE_BYTES


def unpack(packed: Array) -> NDArray[Any]:
    """Return the array of `pack`, to the last bit; read-only.

    Raises
    ------
    SnapshotMismatch
        If its data is corrupt or does not match its shape.
    """
    dtype, size = np.dtype(packed.dtype), _size(packed)
    unpacker = zlib.decompressobj()
    try:
        raw = unpacker.decompress(packed.data, size + 1)
    except zlib.error as error:
        raise SnapshotMismatch(f"an array cannot be unpacked: {error}") from error
    if len(raw) != size or not unpacker.eof:
        raise SnapshotMismatch(f"an array of {size} bytes, by its shape, holds another number of them")
    return np.frombuffer(raw, dtype).reshape(packed.shape)


def _size(packed: Array) -> int:
    """Return the bytes of an array, by its shape.

    Raises
    ------
    SnapshotMismatch
        If the shape is too large, also for numpy, which refuses large lengths even beside a 0.
    """
    size = np.dtype(packed.dtype).itemsize
    _check_size(size * math.prod(length or 1 for length in packed.shape))
    return size * math.prod(packed.shape)


def _check_size(size: int) -> None:
    if size > MAX_PART_BYTES:
        raise SnapshotMismatch(f"arrays of {size} bytes: expected at most {MAX_PART_BYTES}")


def pack_head(champion: str, parts: Mapping[str, State]) -> HeadState:
    """Return all parts of a head, serialized.

    Parameters
    ----------
    champion : str
        Name of the model that serves.
    parts : mapping of str to State
        Models by name, and `COMPARISON`, `DRIFT` and `LEVEL`.
    """
    return HeadState(champion=champion, parts={part: pack_state(state) for part, state in parts.items()})


def pack_state(state: State, level: int = COMPRESSION_LEVEL) -> dict[str, Array]:
    """Return named arrays, each serialized.

    Parameters
    ----------
    state, level : State, int
        The arrays; the level is as in `pack`.
    """
    return {name: pack(array, level) for name, array in state.items()}


def unpack_state(arrays: Mapping[str, Array], names: Collection[str] | None = None) -> State:
    """Return the arrays of `pack_state`.

    Parameters
    ----------
    arrays : mapping of str to Array
        All arrays of the state.
    names : collection of str, optional
        Names of those that are unpacked, if they exist; by default all.

    Raises
    ------
    SnapshotMismatch
        If an array is corrupt, or all of them are too large.
    """
    _check_size(sum(map(_size, arrays.values())))
    return {name: unpack(array) for name, array in arrays.items() if names is None or name in names}


def unpack_part(state: HeadState, part: str, names: Collection[str] | None = None) -> State | None:
    """Return the arrays of one part; None if the head has no such part.

    Parameters
    ----------
    state : HeadState
        The serialized head.
    part : str
        Name of the part.
    names : collection of str, optional
        As of `unpack_state`.

    Raises
    ------
    SnapshotMismatch
        If an array is corrupt, or all of them are too large.
    """
    arrays = state.parts.get(part)
    return None if arrays is None else unpack_state(arrays, names)


def unpack_model(state: HeadState, name: str, key: DrawKey, names: Collection[str] | None = None) -> State | None:
    """Return the arrays of a model; None if the head has no such model.

    Parameters
    ----------
    state : HeadState
        The head.
    name : str
        The model.
    key : DrawKey
        The workers' secret, or the public key.
    names : collection of str, optional
        As of `unpack_state`.

    Raises
    ------
    SnapshotMismatch
        If they do not fit, or hold a pickle and the key is public: anybody could have signed it.
    """
    arrays = unpack_part(state, name, names)
    if arrays is not None and PICKLE in arrays and key == PUBLIC_KEY:
        raise SnapshotMismatch(
            f"model {name!r} is a pickle, which is read only by the workers' secret: set secret_file"
        )
    return arrays


def checksum(
    heads: Mapping[str, HeadState], viewed_prices: Mapping[str, Array], incremental: Mapping[str, Array]
) -> int:
    """Return the CRC-32 of the content of all arrays, in order of names.

    Parameters
    ----------
    heads, viewed_prices, incremental : mapping
        Those of a snapshot.
    """
    total = 0
    for head, state in sorted(heads.items()):
        total = zlib.crc32(f"{head} {state.champion}".encode(), total)
        for part, arrays in sorted(state.parts.items()):
            total = _checksum(part, arrays, total)
    return _checksum("incremental", incremental, _checksum("viewed_prices", viewed_prices, total))


def _checksum(part: str, arrays: Mapping[str, Array], total: int) -> int:
    for name, array in sorted(arrays.items()):
        total = zlib.crc32(f"{part} {name} {array.dtype}".encode(), total)
        total = zlib.crc32(struct.pack(f"<{len(array.shape)}q", *array.shape), total)
        total = zlib.crc32(array.data, total)
    return total


@cache
def _river_version() -> str:
    """Return the version of River, which is read from the files of its distribution."""
    return metadata.version("river")


def make_snapshot(
    domain: str,
    version: int,
    heads: dict[str, HeadState],
    shop: tuple[State, State],
    quality: dict[str, HeadQuality],
    progress: tuple[int, int, dict[str, tuple[int, int]], float],
) -> ModelSnapshot:
    """Return the snapshot of a domain.

    Parameters
    ----------
    domain, version : str, int
        The domain, and the number of the snapshot among its own.
    heads, quality : dict
        Packed heads and qualities, by head.
    shop : tuple
        States of `viewed_prices.ViewCounts` and of `incremental.IncrementalLearner`.
    progress : tuple
        (examples, source offset, origins, event time in epoch seconds).
    """
    examples, source_offset, origins, at = progress
    viewed_prices, incremental = map(pack_state, shop)
    return ModelSnapshot(
        domain=domain,
        version=version,
        format_version=FORMAT_VERSION,
        feature_schema=SCHEMA,
        features=list(NUMERIC),
        hashed=list(HASHED),
        river_version=_river_version(),
        examples=examples,
        source_offset=source_offset,
        origins=dict(origins),
        at=at,
        heads=heads,
        viewed_prices=viewed_prices,
        incremental=incremental,
        quality=quality,
        checksum=checksum(heads, viewed_prices, incremental),
    )


def is_of_this_version(format_version: int, feature_schema: str) -> bool:
    """Return True if this program can read a snapshot.

    Parameters
    ----------
    format_version, feature_schema : int, str
        Those of the snapshot.
    """
    return (format_version, feature_schema) == (FORMAT_VERSION, SCHEMA)


def other_features(snapshot: ModelSnapshot) -> str:
    """Return how the numeric features of a snapshot differ from those of this program; an empty text if they do not.

    Features of installed packages count: see `core.features.plugins`.
    """
    lacking = [name for name in snapshot.features if name not in NUMERIC]
    unknown = [name for name in NUMERIC if name not in snapshot.features]
    parts = [
        f"{text} {', '.join(names[:MAX_NAMES])}{' ...' if len(names) > MAX_NAMES else ''}"
        for text, names in (("it has", lacking), ("it lacks", unknown))
        if names
    ]
    return f"its features are not those of this program: {'; '.join(parts)}" if parts else ""


def check(snapshot: ModelSnapshot) -> None:
    """Refuse a snapshot of another format or feature schema, or with inconsistent content.

    Raises
    ------
    SnapshotMismatch
    """
    if snapshot.format_version == FORMAT_VERSION and (difference := other_features(snapshot)):
        raise SnapshotMismatch(
            f"{label(snapshot)}: {difference}. Install the packages that the models were trained with, or start with "
            "new models"
        )
    for name, found, expected in (
        ("format_version", snapshot.format_version, FORMAT_VERSION),
        ("feature_schema", snapshot.feature_schema, SCHEMA),
        ("heads", sorted(snapshot.heads), sorted(ALL_HEADS)),
        ("checksum", snapshot.checksum, checksum(snapshot.heads, snapshot.viewed_prices, snapshot.incremental)),
    ):
        if found != expected:
            raise SnapshotMismatch(f"{label(snapshot)}: {name} is {found}, expected {expected}")
    offsets = (snapshot.source_offset, *chain(*snapshot.origins.values()))
    if not all(-1 <= offset <= MAX_OFFSET for offset in offsets):
        raise SnapshotMismatch(f"{label(snapshot)}: an offset is not within -1..{MAX_OFFSET}")
    # An example is one record, and a new version needs at least one, or a new brake.
    most = snapshot.source_offset + 1
    for name, found in (("examples", snapshot.examples), ("version", snapshot.version - snapshot.brake.period)):
        if found > most:
            raise SnapshotMismatch(f"{label(snapshot)}: {name} is {found}, expected at most {most}, by its offset")


def check_offset(snapshot: ModelSnapshot, end: int) -> None:
    """Refuse a snapshot with an offset beyond the end of the topic.

    A learner resumed from it would skip every example up to that offset as known.

    Parameters
    ----------
    snapshot : ModelSnapshot
        The snapshot.
    end : int
        The next offset of `training-examples`, read after the snapshot.

    Raises
    ------
    SnapshotMismatch
        If an offset is at or beyond its end.
    """
    if snapshot.source_offset >= end:
        found = snapshot.source_offset
        raise SnapshotMismatch(f"{label(snapshot)}: source_offset is {found}, but the topic ends at {end}")


def with_possible_origins(snapshot: ModelSnapshot, ends: Mapping[str, int]) -> ModelSnapshot:
    """Return the snapshot without origins beyond the end of their source, or of a source without an end.

    An origin beyond the end would hide every example of the source.

    Parameters
    ----------
    snapshot : ModelSnapshot
        The snapshot.
    ends : mapping of str to int
        The next offset of each source, by its name `topic:partition`.
    """
    possible = {source: origin for source, origin in snapshot.origins.items() if origin[0] < ends.get(source, -1)}
    return msgspec.structs.replace(snapshot, origins=possible)


@contextmanager
def named(what: str) -> Iterator[None]:
    """Prefix a mismatch with the name of the part of a snapshot."""
    try:
        yield
    except SnapshotMismatch as error:
        raise SnapshotMismatch(f"{what}: {error}") from error


def label(snapshot: ModelSnapshot) -> str:
    """Return the label of a snapshot in messages."""
    return f"snapshot {snapshot.version} of {snapshot.domain}"
