"""Both stores hold what was saved, forget what is thrown away, and leave nothing behind on the disk."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stream_coupons.core.draws import PUBLIC_KEY
from stream_coupons.core.errors import BadConfig
from stream_coupons.runtime.cells import NewStore, in_memory
from stream_coupons.runtime.rocks import PREFIX, RocksStores
from stream_coupons.settings import Settings, Store, WorkerSettings
from stream_coupons.worker.app import CouponApp

from .fakes import NUMBERS, Worker, log

KEYS = st.sampled_from(["ann", "bob", "ève", "\N{SNOWMAN}"]) | st.text(max_size=3)
CHANGES = st.dictionaries(KEYS, st.none() | st.binary(max_size=40), max_size=4)


@pytest.fixture
def rocks(tmp_path: Path) -> Iterator[RocksStores]:
    store = RocksStores(tmp_path, 1)
    yield store
    store.close()


@pytest.fixture(params=["memory", "rocksdb"])
def new_store(request: pytest.FixtureRequest) -> NewStore:
    if request.param == "memory":
        return in_memory
    return request.getfixturevalue("rocks").of("users")


@given(saved=st.lists(CHANGES, max_size=6))
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_latest_cell_of_a_key_is_what_it_holds(new_store: NewStore, saved: list[dict[str, bytes | None]]) -> None:
    cells = new_store(3)
    expected: dict[str, bytes | None] = {}
    for changes in saved:
        cells.save(changes)
        expected |= changes
        for key in expected:
            assert cells.get(key) == expected[key]
    assert dict(cells.items()) == {key: data for key, data in expected.items() if data is not None}
    cells.discard()


def test_a_partition_that_comes_back_begins_with_nothing(new_store: NewStore) -> None:
    other = new_store(1)
    other.save({"ann": b"other"})
    for data in (b"1", b"2"):
        cells = new_store(0)
        assert list(cells.items()) == []
        cells.save({"ann": data})
        cells.discard()
    assert list(other.items()) == [("ann", b"other")]


def size_of(path: Path) -> int:
    """Return the bytes of a file; 0 of one that was compacted away since it was listed."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def test_more_than_memory_holds_is_found_on_the_disk(rocks: RocksStores, tmp_path: Path) -> None:
    cells, random = rocks.of("users")(0), Random(1)
    saved = {f"shopper-{number}": random.randbytes(1000) for number in range(40_000)}
    for key, data in saved.items():
        cells.save({key: data})
    assert sum(size_of(path) for path in tmp_path.rglob("*.sst")) > 20 << 20
    assert [cells.get(key) for key in ("shopper-0", "shopper-39999", "nobody")] == [
        saved["shopper-0"],
        saved["shopper-39999"],
        None,
    ]
    assert dict(cells.items()) == saved


def test_batches_lead_to_the_same_on_either(rocks: RocksStores) -> None:
    records = log(
        (NUMBERS, b"b", "add 1"), (NUMBERS, b"d", "add 2"), (NUMBERS, b"b", "at 50"), (NUMBERS, b"c", "fail 1")
    )
    quiet, worker = Worker(), Worker(new_store=rocks.of("adder"))
    for each in (quiet, worker):
        each.run(records[:2])
        each.run(records[2:])
        each.restart()
        each.run(records)
    assert worker.cells() == quiet.cells()
    assert worker.sent == quiet.sent


def test_nothing_is_left_on_the_disk(tmp_path: Path) -> None:
    rocks = RocksStores(tmp_path, 1)
    rocks.of("users")(0).save({"ann": b"1"})
    assert len(list(tmp_path.glob(PREFIX + "*"))) == 1
    rocks.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.process
def test_what_a_killed_worker_left_is_removed_and_what_is_in_use_is_not(tmp_path: Path) -> None:
    leave = "import os, pathlib, sys; from stream_coupons.runtime.rocks import RocksStores; "
    leave += "store = RocksStores(pathlib.Path(sys.argv[1]), 1); store.of('users')(0).save({'ann': b'1'}); "
    wait = leave + "print('open', flush=True); sys.stdin.read(); os._exit(9)"
    using = subprocess.Popen(
        [sys.executable, "-c", wait, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert using.stdin is not None
    assert using.stdout is not None
    with using:
        assert using.stdout.readline() == "open\n"
        [used] = tmp_path.iterdir()
        killed = subprocess.run([sys.executable, "-c", leave + "os._exit(9)", str(tmp_path)], check=False)
        assert killed.returncode == 9
        assert len(list(tmp_path.iterdir())) == 2
        RocksStores(tmp_path, 1).close()
        assert list(tmp_path.iterdir()) == [used]
        using.stdin.close()
    RocksStores(tmp_path, 1).close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("installed", "complaint"),
    [
        (True, "worker.store_dir: cannot make a folder in /nowhere: No such file"),
        (False, r"pip install -e '\.\[rocksdb\]'"),
    ],
)
def test_a_store_that_cannot_be_opened_says_what_to_do(
    installed: bool, complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not installed:
        monkeypatch.delitem(sys.modules, "stream_coupons.runtime.rocks")
        monkeypatch.setitem(sys.modules, "rocksdict", None)
    with pytest.raises(BadConfig, match=complaint):
        CouponApp(Settings(worker=WorkerSettings(store=Store.ROCKSDB, store_dir="/nowhere")), PUBLIC_KEY)
