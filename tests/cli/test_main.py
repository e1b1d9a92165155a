"""Verbs, help and exit codes."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.core import TyperGroup

from stream_coupons import __version__
from stream_coupons.cli.main import app

from .conftest import Run

NO_CONTEXT: Any = None


def verbs(command: Any, names: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(command, TyperGroup):
        for name in command.list_commands(NO_CONTEXT):
            yield from verbs(command.get_command(NO_CONTEXT, name), (*names, name))
    else:
        yield names


VERBS = sorted(verbs(typer.main.get_command(app)))


def test_all_verbs_are_there() -> None:
    expected = {"catalog push", "catalog list", "catalog remove", "publish", "tail", "replay", "simulate"}
    assert expected <= {" ".join(names) for names in VERBS}


@pytest.mark.parametrize("names", VERBS, ids=" ".join)
def test_the_help_of_every_verb_has_an_example(run: Run, names: tuple[str, ...]) -> None:
    result = run(*names, "--help")
    assert result.exit_code == 0
    assert "Example" in result.stdout
    assert f"stream-coupons {' '.join(names)}" in result.stdout.split("Example", 1)[1]


def test_an_error_is_one_line_and_exit_code_2(run: Run, tmp_path: Path) -> None:
    missing = tmp_path / "[/bold] no such file.json"
    result = run("catalog", "push", missing, "--dry-run")
    assert result.exit_code == 2
    assert result.stderr.replace("\n", "") == f"error: {missing}: No such file or directory"


def test_no_broker_is_an_error_that_says_so() -> None:
    # In a process of its own: kafka-python leaves sockets open when no broker answers.
    command = [sys.executable, "-m", "stream_coupons", "tail", "--bootstrap", "127.0.0.1:1"]
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=120, text=True)
    assert result.returncode == 2
    assert "error: kafka.bootstrap: no broker answers at 127.0.0.1:1" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_port_that_is_none_is_an_error_that_says_so(run: Run) -> None:
    result = run("tail", "-b", "localhost:abc")
    assert result.exit_code == 2
    assert "error: --bootstrap: 'localhost:abc', expected host:port[,host:port]" in result.stderr


@pytest.mark.parametrize("verb", ["demo", "broker"])
def test_a_broker_of_no_known_engine_is_refused_before_anything_starts(run: Run, verb: str) -> None:
    result = run(verb, "--engine", "foo")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "'embedded', 'kafka'" in result.stderr


def test_the_list_of_topics_says_how_long_each_is_kept(run: Run) -> None:
    rows = [line.split() for line in run("topics", "list").stdout.splitlines()]
    kept = {row[1]: " ".join(row) for row in rows if len(row) > 1}
    assert "7 days" in kept["order-events"]
    assert "1 day " in kept["ticks"]
    assert "the last" in kept["coupon-catalog"]


def test_the_version_is_printed(run: Run) -> None:
    result = run("--version")
    assert (result.exit_code, result.stdout) == (0, f"stream-coupons {__version__}\n")


def test_a_log_level_that_does_not_exist_is_refused_and_those_that_do_are_named(run: Run) -> None:
    result = run("worker", "--log-level", "blah")
    assert result.exit_code == 2
    assert "'blah' is not one of 'debug', 'info', 'warning', 'error'" in result.stderr.lower()


def test_an_unknown_option_is_exit_code_2(run: Run) -> None:
    assert run("tail", "--nonsense").exit_code == 2
