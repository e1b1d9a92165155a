"""Cells in RocksDB, on a disk: what is in memory does not grow with shoppers.

It is written without a log and never synced: see `stores`. Memory is bounded by one cache, which blocks that were read
share with what is not written to the disk yet. What was written lately is not compressed: it is soon overwritten.
"""

import contextlib
import logging
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rocksdict import (
    BlockBasedOptions,
    Cache,
    DBCompressionType,
    Options,
    Rdict,
    ReadOptions,
    WriteBatch,
    WriteBufferManager,
    WriteOptions,
)

from stream_coupons.runtime.cells import Changes, NewStore

log = logging.getLogger(__name__)

PREFIX = "stream-coupons-cells-"
MIB = 1024 * 1024
WRITE_BUFFER_BYTES = 8 * MIB
"""Size of a partition's write buffer before it is flushed to the disk."""
READAHEAD_BYTES = 2 * MIB
MAX_OPEN_FILES = 256
"""A process may often have 1,024, and needs them for its connections."""
BLOOM_BITS = 10
"""Bloom filter bits per key: one in a hundred absent keys is read from disk."""


class RocksCells:
    """The saved cells of one partition, in a column family of a database."""

    def __init__(self, database: Rdict, name: str, options: Options) -> None:
        self._database, self._name = database, name
        self._family = database.create_column_family(name, options)
        self._handle = database.get_column_family_handle(name)
        self._writing = WriteOptions()
        self._writing.disable_wal = True

    def get(self, key: str) -> bytes | None:
        """Return the bytes of a key's cell; None if there is none."""
        found: bytes | None = self._family.get(key.encode())
        return found

    def items(self) -> Iterator[tuple[str, bytes]]:
        """Return all keys and cells; the content of the cache stays there."""
        reading = ReadOptions()
        reading.fill_cache(False)
        reading.set_readahead_size(READAHEAD_BYTES)
        return ((key.decode(), data) for key, data in self._family.items(read_opt=reading))

    def save(self, changes: Changes) -> None:
        """Replace cells by new ones."""
        batch = WriteBatch(raw_mode=True)
        for key, data in changes.items():
            if data is None:
                batch.delete(key.encode(), self._handle)
            else:
                batch.put(key.encode(), data, self._handle)
        self._database.write(batch, self._writing)

    def discard(self) -> None:
        """Delete all cells."""
        self._database.drop_column_family(self._name)


class RocksStores:
    """The database of one worker: a column family for each agent and partition that it owns.

    Parameters
    ----------
    folder : Path
        Where to make the database's folder; it should be on a disk. What workers that were killed left there is
        removed.
    cache_mib : int
        Memory for blocks that were read and for what is not written to the disk yet.

    Raises
    ------
    OSError
        If the folder cannot be written to.
    """

    def __init__(self, folder: Path, cache_mib: int) -> None:
        _remove_left_over(folder)
        self._path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=folder))
        self._cache = Cache(cache_mib * MIB)
        self._buffers = WriteBufferManager.new_write_buffer_manager_with_cache(cache_mib * MIB // 2, False, self._cache)
        self._database = Rdict(str(self._path), self._options())

    def _options(self) -> Options:
        blocks = BlockBasedOptions()
        blocks.set_block_cache(self._cache)
        blocks.set_cache_index_and_filter_blocks(True)
        blocks.set_pin_l0_filter_and_index_blocks_in_cache(True)
        blocks.set_bloom_filter(BLOOM_BITS, False)
        options = Options(raw_mode=True)
        options.create_if_missing(True)
        options.set_block_based_table_factory(blocks)
        none, lz4 = DBCompressionType.none(), DBCompressionType.lz4()
        options.set_compression_per_level([none, none, *[lz4] * 5])
        options.set_max_open_files(MAX_OPEN_FILES)
        options.set_write_buffer_size(WRITE_BUFFER_BYTES)
        options.set_write_buffer_manager(self._buffers)
        return options

    def of(self, agent: str) -> NewStore:
        """Return the function that makes the stores of an agent."""
        return lambda partition: RocksCells(self._database, f"{agent}-{partition}", self._options())

    def close(self) -> None:
        """Remove the database; no cell can be read any more."""
        self._database.close()
        shutil.rmtree(self._path, ignore_errors=True)


def _remove_left_over(folder: Path) -> None:
    """Remove the databases that nobody has open: RocksDB locks one while it is in use."""
    for path in folder.glob(PREFIX + "*"):
        with contextlib.suppress(Exception):  # in use, or somebody else's
            Rdict.destroy(str(path))
            log.info("removed %s, which a worker had left", path)
