"""Hostile text commands no terminal."""

import gzip
from pathlib import Path

import pytest

from stream_coupons.cli import terminal
from stream_coupons.cli.terminal import opened, printable, stdout, summary_table
from stream_coupons.core.errors import BadConfig


def test_an_id_that_nobody_reads_to_its_end_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.print_error(f"no shopper {'9' * 5000} is known")
    assert capsys.readouterr().err == f"error: no shopper {'9' * 80}... is known\n"


def test_control_characters_are_not_printed() -> None:
    assert printable("a\x1b[2Jb\n") == "a\ufffd[2Jb\ufffd"


def test_a_compressed_file_is_called_so(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl.gz"
    path.write_bytes(gzip.compress(b"{}"))
    with pytest.raises(BadConfig, match=r"events\.jsonl\.gz is no JSON: it is compressed by gzip"), opened(path):
        pass


@pytest.mark.parametrize("line", [rb'{"title": "\ud83d"}', b'{"price": NaN}', b"{'price': 1}"])
def test_a_line_that_is_no_json_is_for_whoever_reads_lines(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(line)
    with opened(path) as file:
        assert file.read() == line


def test_tables_are_as_wide_as_they_need_where_there_is_no_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table = summary_table({"a name": "x" * 300})
    monkeypatch.delenv("COLUMNS", raising=False)
    stdout().print(table)
    assert capsys.readouterr().out == f"a name  {'x' * 300}\n"
    monkeypatch.setenv("COLUMNS", "60")
    stdout().print(table)
    assert max(map(len, capsys.readouterr().out.splitlines())) == 60
