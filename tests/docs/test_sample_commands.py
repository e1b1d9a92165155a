"""The commands of the pages that read the sample logs run, as they stand on the page."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from .pages import PAGES, ROOT, page

FENCED = re.compile(r"```\w*\n(.*?)```", re.DOTALL)
RUN_WITHIN_S = 240.0
OFFLINE = ("evaluate", "ope", "tune", "replay")


def commands() -> list[str]:
    """Return the lines of the pages that need nothing but a sample."""
    written = [name for name in PAGES if not name.startswith("docs/reference/")]  # not help texts
    lines = {line.strip() for name in written for fenced in FENCED.findall(page(name)) for line in fenced.splitlines()}
    return sorted(
        line
        for line in lines
        if line.startswith("stream-coupons ")
        and "examples/" in line
        and (line.split()[1] in OFFLINE or "--dry-run" in line)
    )


def test_every_command_that_reads_a_log_is_shown_on_a_sample() -> None:
    assert {line.split()[1] for line in commands()} >= {*OFFLINE, "publish", "catalog"}


@pytest.mark.process
@pytest.mark.parametrize(
    "line", [pytest.param(line, marks=pytest.mark.slow if " tune " in line else ()) for line in commands()]
)
def test_a_command_on_a_sample_runs(line: str, tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    args = shlex.split(line)[1:]
    command = [sys.executable, "-m", "stream_coupons", *args]
    result = subprocess.run(command, cwd=tmp_path, text=True, capture_output=True, timeout=RUN_WITHIN_S)
    is_no_gain = "tune" in args and "no better than the settings used today" in result.stdout
    assert result.returncode == is_no_gain, result.stderr
    assert result.stdout
    for option in ("--out", "--predictions", "--report"):
        if option in args:
            assert (tmp_path / args[args.index(option) + 1]).stat().st_size
