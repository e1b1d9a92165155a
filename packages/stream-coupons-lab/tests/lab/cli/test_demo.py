"""`demo`: Ctrl-C ends all of it at any moment, and says where the report is; `--keep` waits for it."""

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

from stream_coupons.kafka import topics
from stream_coupons.kafka.clients import Reader
from stream_coupons.settings import load

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


def interrupt(run: "subprocess.Popen[str]", folder: Path) -> int:
    """Press Ctrl-C as on a terminal; return the exit code, once no process of the run is left."""
    os.killpg(run.pid, signal.SIGINT)
    began = time.monotonic()
    code = run.wait(DEADLINE_S)
    took_s = time.monotonic() - began
    while processes_of(folder) and time.monotonic() < began + ENDS_WITHIN_S * BUSY_FACTOR:
        time.sleep(0.05)  # one that follows us ends a moment later
    assert processes_of(folder) == []
    assert took_s < ENDS_WITHIN_S * BUSY_FACTOR
    assert "Traceback" not in said(folder)
    return code


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
        code = interrupt(run, tmp_path)
    text = said(tmp_path)
    assert code == 130, text
    assert "interrupted: " in text
    if has_report:
        assert (tmp_path / "report.html").exists()
    assert (str(tmp_path / "report.html") in text) == (tmp_path / "report.html").exists()
    assert ("no report yet" in text) == (not (tmp_path / "report.html").exists())


@pytest.mark.slow
def test_kept_after_the_report_the_system_serves_the_command_line_and_goes_on_until_ctrl_c(tmp_path: Path) -> None:
    with demo("--shoppers", "200", "--days", "1", "--keep", folder=tmp_path) as run:
        wait_for("Its time is simulated", tmp_path, run)
        assert "<footer>" in (tmp_path / "report.html").read_text(encoding="utf-8")
        found = re.search(r"STREAM_COUPONS_CONFIG=(\S+)", said(tmp_path))
        assert found is not None
        settings = load(Path(found[1]))
        assert settings.kafka.bootstrap in said(tmp_path)
        commands = re.findall(r"^  stream-coupons (.*)$", said(tmp_path), re.MULTILINE)
        assert [command.split()[0] for command in commands] == ["status", "results", "explain"]
        for command in commands:
            arguments = [sys.executable, "-m", "stream_coupons", *command.split(), "--config", found[1]]
            answer = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=DEADLINE_S)
            assert answer.returncode == 0, answer.stderr
        with Reader(settings.kafka, [topics.DECISIONS.name], from_beginning=True) as reader:
            assert reader.read_to_end()
            began = time.monotonic()
            while not reader.read_to_end():
                assert time.monotonic() < began + DEADLINE_S, "no decision is made any more"
                time.sleep(0.1)
        code = interrupt(run, tmp_path)
    assert code == 0, said(tmp_path)
    assert "ended: " in said(tmp_path)
