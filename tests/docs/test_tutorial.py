"""The tutorial, followed word for word: its blocks run in their order, and what it promises happens."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Timer

import pytest

from loopback_kafka.ports import ClaimedPort

from .pages import ROOT, page

BLOCK = re.compile(r"<!-- tutorial: (run|keep running) -->\n```\n(.*?)```", re.DOTALL)
FOLLOW_WITHIN_S = 240.0
END_WITHIN_S = 60.0


@contextmanager
def in_a_terminal(command: str, folder: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """Run a command that does not end by itself; terminate it at the end."""
    with subprocess.Popen(
        f"exec {command}", shell=True, cwd=folder, env=environment, text=True, stderr=subprocess.DEVNULL
    ) as process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(timeout=END_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()


class Shell:
    """A terminal in which one block is run after the other, so that variables last."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(self, block: str) -> str:
        """Return what a block prints; fail if one of its commands does."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{block}\necho '-- done'\n")
        self._process.stdin.flush()
        lines: list[str] = []
        for line in self._process.stdout:
            if line == "-- done\n":
                return "".join(lines)
            lines.append(line)
        raise AssertionError(f"ended with {self._process.wait()} in:\n{block}\n{''.join(lines)}")


@contextmanager
def shell(folder: Path, environment: dict[str, str]) -> Iterator[Shell]:
    with subprocess.Popen(
        ["bash", "-e"], cwd=folder, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:  # fmt: skip
        timer = Timer(FOLLOW_WITHIN_S, process.kill)
        timer.start()
        try:
            yield Shell(process)
        finally:
            timer.cancel()
            process.kill()


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder that looks like the top of a clone whose environment runs the code under test."""
    (tmp_path / "deploy").symlink_to(ROOT / "deploy")
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    tool = programs / "stream-coupons"
    tool.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m stream_coupons "$@"\n', encoding="utf-8")
    tool.chmod(0o755)
    (programs / "python").symlink_to(sys.executable)
    (programs / "activate").write_text(f'PATH="{programs}:$PATH"\n', encoding="utf-8")
    return tmp_path


@pytest.mark.process
def test_the_tutorial_ends_with_a_coupon_in_the_category_that_the_shopper_looked_at(clone: Path) -> None:
    follow(clone, {"PYTHONPATH": str(ROOT)}, "stream-coupons broker")


def follow(clone: Path, variables: dict[str, str], broker: str) -> None:
    """Run the tutorial in a clone. Only the ports differ from the page: others may have taken those.

    Parameters
    ----------
    variables : dict
        Further variables of the environment.
    broker : str
        Command that runs a broker, without its port.
    """
    port = ClaimedPort()
    environment = os.environ | {
        "PATH": f"{clone / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "STREAM_COUPONS_KAFKA__BOOTSTRAP": f"127.0.0.1:{port.number}",
        "STREAM_COUPONS_WORKER__METRICS_PORT": "0",
        **variables,
    }
    blocks = BLOCK.findall(page("docs/tutorial/first-campaign.md"))
    assert len(blocks) == len(re.findall(r"^```\n", page("docs/tutorial/first-campaign.md"), re.MULTILINE)) // 2
    printed: list[str] = []
    issue = {}
    with ExitStack() as stack:
        terminal = stack.enter_context(shell(clone, environment))
        for kind, block in blocks:
            if kind == "run":
                printed.append(terminal.run(block))
                if "> issue.json" in block:
                    issue = json.loads((clone / "issue.json").read_text(encoding="utf-8"))
            else:
                command = block.strip()
                command = f"{broker} --port {port.number}" if command.endswith(" broker") else command
                stack.enter_context(in_a_terminal(command, clone, environment))
    assert (issue["user_id"], issue["coupon_id"]) == ("ada", "coffee-15-percent")
    assert (issue["campaign_id"], issue["held_minor"]) == ("breakfast", 400)
    assert issue["value_minor"] > 0
    text = "".join(printed)
    assert f"Issue {issue['issue_id']}" in text
    assert "hardly_known" in text
    assert '"drawn":535,"freed":135,"spent":135' in text
    assert '"drawn":580,"freed":180,"spent":135,"refunded":45' in text
    listed = [line.split() for line in text.splitlines() if "breakfast" in line and "200,000" in line]
    assert [line[line.index("200,000") + 1 :][:2] for line in listed] == [["0", "0"], ["135", "265"], ["90", "310"]]
    assert "breakfast: paused\nbreakfast: running\n" in text
