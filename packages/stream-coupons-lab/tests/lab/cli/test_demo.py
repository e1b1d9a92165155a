"""`demo`: Ctrl-C ends all of it at any moment, and says where the report is."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytestmark = pytest.mark.process

ENDS_WITHIN_S = 5.0
BUSY_FACTOR = 3.0
"""By how much a machine that is busy with other tests may be slower than the bound."""
DEADLINE_S = 120.0
SMALL = ("--shoppers", "20", "--days", "30")


@contextmanager
def demo(*options: str, folder: Path) -> Iterator["subprocess.Popen[str]"]:
    """The real command in a session of its own, as a terminal starts it."""
    command = [sys.executable, "-m", "stream_coupons", "demo", *options, "--report", str(folder / "report.html")]
    log = (folder / "out.txt").open("w")
    environment = {**os.environ, "TMPDIR": str(folder), "COLUMNS": "200"}
    with (
        log,
        subprocess.Popen(command, stdout=log, stderr=log, text=True, env=environment, start_new_session=True) as run,
    ):
        try:
            yield run
        finally:
            run.kill()


def said(folder: Path) -> str:
    return (folder / "out.txt").read_text()


def wait_for(text: str, folder: Path, run: "subprocess.Popen[str]") -> float:
    began = time.monotonic()
    while re.search(text, said(folder)) is None:
        assert run.poll() is None, said(folder)
        assert time.monotonic() < began + DEADLINE_S, said(folder)
        time.sleep(0.02)
    return time.monotonic() - began


def processes_of(folder: Path) -> list[str]:
    """Command lines, of whatever process, that were started for this run: its folder is in their environment."""
    found = []
    for each in Path("/proc").iterdir():
        if each.name.isdigit():
            try:
                if f"TMPDIR={folder}".encode() in (each / "environ").read_bytes().split(b"\0"):
                    found.append((each / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                pass
    return found


@pytest.mark.parametrize(
    ("moment", "has_report"),
    [
        ("Ctrl-C ends it", False),
        pytest.param("starting 2 workers", False, marks=pytest.mark.slow),
        pytest.param("ready:", False, marks=pytest.mark.slow),
        (r" [1-9][\d,]* events, ", True),
    ],
    ids=["at once", "workers start", "ready", "playing"],
)
def test_ctrl_c_ends_everything_at_any_moment(moment: str, has_report: bool, tmp_path: Path) -> None:
    with demo(*SMALL, folder=tmp_path) as run:
        wait_for(moment, tmp_path, run)
        os.killpg(run.pid, signal.SIGINT)  # as a terminal does
        began = time.monotonic()
        code = run.wait(DEADLINE_S)
        took_s = time.monotonic() - began
        while processes_of(tmp_path) and time.monotonic() < began + ENDS_WITHIN_S * BUSY_FACTOR:
            time.sleep(0.05)  # one that follows us ends a moment later
    text = said(tmp_path)
    assert code == 130, text
    assert processes_of(tmp_path) == []
    assert took_s < ENDS_WITHIN_S * BUSY_FACTOR
    assert "Traceback" not in text
    assert "interrupted: " in text
    if has_report:
        assert (tmp_path / "report.html").exists()
    assert (str(tmp_path / "report.html") in text) == (tmp_path / "report.html").exists()
    assert ("no report yet" in text) == (not (tmp_path / "report.html").exists())
