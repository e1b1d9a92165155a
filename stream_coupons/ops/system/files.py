"""Files of an exported system: one of records for each topic, and a manifest of their digests and of all totals."""

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from stream_coupons.core.errors import BadConfig
from stream_coupons.ops.digest import Digest
from stream_coupons.ops.system.shares import AccountTotals

FORMAT = 1
MANIFEST = "manifest.json"
LENGTH_BYTES = 4


class FileDigest(Struct, frozen=True):
    """The number of records of a file, and the hash of its bytes."""

    records: int
    blake2b: str


class Manifest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Content of an export.

    Attributes
    ----------
    partitions : int
        Number of partitions of the exported system.
    files : dict of str to FileDigest
        By topic.
    states : dict of str to Digest
        Digests of the states that belong to one key, by agent: they do not depend on the number of partitions.
    accounts : dict of str to AccountTotals
        By account.
    """

    format: int
    version: str
    at: float
    partitions: int
    files: dict[str, FileDigest]
    states: dict[str, Digest]
    accounts: dict[str, AccountTotals]


class SavedRecord(Struct, array_like=True, frozen=True):
    """A record of a topic."""

    partition: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]] = []


class RecordWriter:
    """Writes records to a file, each behind its length in bytes, and computes the digest of all."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._hash = blake2b(digest_size=16)
        self._count = 0

    def write(self, record: SavedRecord) -> None:
        """Append a record."""
        data = msgspec.msgpack.encode(record)
        for part in (len(data).to_bytes(LENGTH_BYTES, "big"), data):
            self._file.write(part)
            self._hash.update(part)
        self._count += 1

    @property
    def digest(self) -> FileDigest:
        """The digest of what was written."""
        return FileDigest(self._count, self._hash.hexdigest())


def path_of(folder: Path, topic: str) -> Path:
    """Return the path of a topic's file."""
    return folder / f"{topic}.records"


@contextmanager
def writing(folder: Path, topic: str, files: dict[str, FileDigest]) -> Iterator[RecordWriter]:
    """Yield a writer of a topic's file, and note its digest in `files` at the end."""
    with path_of(folder, topic).open("xb") as file:
        writer = RecordWriter(file)
        yield writer
        files[topic] = writer.digest


def check_files(folder: Path, manifest: Manifest) -> None:
    """Check that the files have the digests of their manifest.

    Raises
    ------
    BadConfig
        If one is missing or has other bytes.
    """
    for topic, expected in manifest.files.items():
        path = path_of(folder, topic)
        try:
            with path.open("rb") as file:
                found = blake2b(digest_size=16)
                while part := file.read(2**20):
                    found.update(part)
        except OSError as error:
            raise BadConfig(f"cannot read {path}: {error.strerror}") from None
        if found.hexdigest() != expected.blake2b:
            raise BadConfig(f"{path} differs from its digest in {MANIFEST}: copy the export again")


def read_saved(folder: Path, topic: str) -> Iterator[SavedRecord]:
    """Yield the records of a topic's file, in their order; `check_files` has checked its bytes."""
    decode = msgspec.msgpack.Decoder(SavedRecord).decode
    with path_of(folder, topic).open("rb") as file:
        while length := file.read(LENGTH_BYTES):
            yield decode(file.read(int.from_bytes(length, "big")))


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of an export.

    Raises
    ------
    BadConfig
        If there is none, or one of another format.
    """
    path = folder / MANIFEST
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    except OSError as error:
        raise BadConfig(
            f"cannot read {path}: {error.strerror}; expected the folder of `stream-coupons system export`"
        ) from None
    except msgspec.DecodeError as error:
        raise BadConfig(f"{path} is no manifest of an export: {error}") from None
    if manifest.format != FORMAT:
        raise BadConfig(f"{path} has format {manifest.format}, expected {FORMAT}: export with this version")
    return manifest
