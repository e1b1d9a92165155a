import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from loopback_kafka.journal import Journal


class Table:
    """A state of texts by name, in a journal."""

    def __init__(self, path: Path) -> None:
        self.values: dict[str, str] = {}
        self.journal = Journal(path, self._apply, self.values.items)

    def put(self, name: str, value: str) -> None:
        self.journal.append([(name, value)])
        self.values[name] = value

    def _apply(self, row: list[str]) -> None:
        name, value = row
        self.values[name] = value


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "table.jsonl"


@pytest.fixture
def table(path: Path) -> Iterator[Table]:
    table = Table(path)
    yield table
    table.journal.close()


def reread(path: Path) -> dict[str, str]:
    table = Table(path)
    table.journal.close()
    return table.values


def test_the_state_is_read_again(path: Path, table: Table) -> None:
    for value in ("1", "2", "\ud800 ü"):
        table.put("a", value)
    table.put("b", "1")
    assert reread(path) == {"a": "\ud800 ü", "b": "1"}


def test_a_torn_line_is_cut_for_good(path: Path, table: Table) -> None:
    table.put("a", "1")
    table.put("a", "2")
    path.write_bytes(path.read_bytes()[:-3])
    assert reread(path) == {"a": "1"}
    assert path.read_text() == '["a", "1"]\n'


def test_a_row_that_cannot_be_applied_is_cut(path: Path) -> None:
    path.write_text('["a", "1"]\n["a"]\n["a", "2"]\n')
    assert reread(path) == {"a": "1"}


def test_a_file_that_has_grown_is_rewritten(path: Path, table: Table) -> None:
    for number in range(1000):
        table.put("a", f"{number} " + "x" * 10_000)
    assert path.stat().st_size < 5 * 1024 * 1024
    assert reread(path) == table.values


def test_a_full_disk_leaves_no_half_row(path: Path, table: Table) -> None:
    table.put("a", "1")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 50, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            table.put("a", "x" * 1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    table.put("b", "2")
    assert reread(path) == {"a": "1", "b": "2"} == table.values
