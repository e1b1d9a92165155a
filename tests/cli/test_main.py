"""Verbs, help and exit codes."""

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.core import TyperGroup
from typer.testing import CliRunner

from stream_coupons import __version__
from stream_coupons.cli.main import VERBS as HELP_LINES
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
CALCULATE = ("evaluate", "ope", "tune", "explain")
"""Verbs whose options are those of modules that calculate."""


@pytest.mark.parametrize("names", VERBS, ids=" ".join)
def test_the_help_of_every_verb_has_an_example_a_line_and_none_is_wider_than_80_columns(
    names: tuple[str, ...],
) -> None:
    result = CliRunner(env={"COLUMNS": "80"}).invoke(app, [*names, "--help"])
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert all(len(line) <= 80 for line in lines if "|" not in line)  # a list of choices is one word
    examples = result.stdout.partition("  Example")[2].partition("\n\n")[0]
    assert f"stream-coupons {' '.join(names)}" in examples
    assert all(line.startswith(" " * 11) for line in examples.splitlines()[1:])


@pytest.mark.process
@pytest.mark.parametrize(
    "verb", ["tail", "verify", "state digest", "explain i1", "status", "doctor", "topics apply", "dlq list"]
)
def test_no_broker_is_an_error_with_an_exit_code_of_its_own(verb: str) -> None:
    # In a process of its own: kafka-python leaves sockets open when no broker answers.
    result = in_a_process(*verb.split(), "--bootstrap", "127.0.0.1:1")
    assert result.returncode == 3
    assert "waiting for Kafka at 127.0.0.1:1\n" in result.stderr
    assert "`stream-coupons broker`" not in result.stderr
    assert "error: kafka.bootstrap: no broker answers at 127.0.0.1:1" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("name", HELP_LINES)
def test_the_help_line_of_a_verb_is_the_beginning_of_its_docstring(name: str) -> None:
    text = typer.main.get_command(app).get_command(NO_CONTEXT, name).help  # type: ignore[attr-defined]
    assert " ".join(text.split("\n\n")[0].split()) == HELP_LINES[name]


def in_a_process(*args: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "stream_coupons", *args]
    environment = os.environ | variables
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, timeout=120, text=True, env=environment
    )


MEASURE = """
import json, pathlib, resource, sys
sys.argv = ["stream-coupons", *sys.argv[1:]]
from stream_coupons.cli import main
try:
    main()
except SystemExit:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    cpu_s = usage.ru_utime + usage.ru_stime
    # Not ru_maxrss: a child inherits that of the process that started it.
    status = dict(line.split(":\\t") for line in pathlib.Path("/proc/self/status").read_text().splitlines())
    mib = int(status["VmHWM"].split()[0]) / 1024
    print(json.dumps({"cpu_s": cpu_s, "mib": mib, "modules": sorted(sys.modules)}), file=sys.stderr)
"""
HEAVY = {"numpy", "river", "sklearn", "faust", "kafka", "aiokafka", "pandas"}


def measured(*args: str) -> Any:
    command = [sys.executable, "-c", MEASURE, *args]
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=120, text=True, check=True)
    assert "Usage: stream-coupons" in result.stdout
    return json.loads(result.stderr.splitlines()[-1])


@pytest.mark.process
def test_the_help_takes_little_time_and_memory_and_imports_no_verb() -> None:
    found = measured("--help")
    assert min(found["cpu_s"], *(measured("--help")["cpu_s"] for _ in range(2))) < 0.4
    assert found["mib"] < 60
    assert not HEAVY & set(found["modules"])
    assert not {f"stream_coupons.cli.{name}" for name in HELP_LINES} & set(found["modules"])


@pytest.mark.process
@pytest.mark.parametrize("names", VERBS, ids=" ".join)
def test_the_help_of_a_verb_imports_only_what_says_its_options(names: tuple[str, ...]) -> None:
    allowed = {"numpy"} if names[0] in CALCULATE else set()
    assert not (HEAVY - allowed) & set(measured(*names, "--help")["modules"])


def test_an_error_is_one_line_and_exit_code_2(run: Run, tmp_path: Path) -> None:
    missing = tmp_path / "[/bold] no such file.json"
    result = run("catalog", "push", missing, "--dry-run")
    assert result.exit_code == 2
    assert result.stderr.replace("\n", "") == f"error: {missing}: No such file or directory"


def test_a_port_that_is_none_is_an_error_that_says_so(run: Run) -> None:
    result = run("tail", "-b", "localhost:abc")
    assert result.exit_code == 2
    assert "error: --bootstrap: 'localhost:abc', expected host:port[,host:port]" in result.stderr


def test_the_list_of_topics_says_how_long_each_is_kept(run: Run) -> None:
    rows = [line.split() for line in run("topics", "list").stdout.splitlines()]
    kept = {row[1]: " ".join(row) for row in rows if len(row) > 1}
    assert "7 days" in kept["order-events"]
    assert "1 day " in kept["ticks"]
    assert "the last" in kept["coupon-catalog"]
    assert {each["name"] for each in json.loads(run("topics", "list", "--json").stdout)} >= {"ticks", "coupon-catalog"}


def test_the_version_is_printed(run: Run) -> None:
    result = run("--version")
    assert (result.exit_code, result.stdout) == (0, f"stream-coupons {__version__}\n")


@pytest.mark.process
@pytest.mark.parametrize(
    ("args", "line"),
    [
        (["tail", "--nonsense"], "error: no such option: --nonsense; see `stream-coupons tail --help`\n"),
        (["evaluate"], "error: missing argument 'log'; see `stream-coupons evaluate --help`\n"),
        (["evalute"], "error: no such command 'evalute'. Did you mean 'evaluate'? See `stream-coupons --help`\n"),
        (["dlq", "sho"], "error: no such command 'sho'. Did you mean 'show'? See `stream-coupons dlq --help`\n"),
    ],
)
def test_a_wrong_call_is_one_line_that_names_the_help(args: list[str], line: str) -> None:
    result = in_a_process(*args)
    assert (result.returncode, result.stdout, result.stderr) == (2, "", line)


def on_a_terminal(*args: str, **variables: str) -> bytes:
    """What a call writes to standard error where that is a terminal."""
    ours, theirs = pty.openpty()
    environment = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    environment |= {"TERM": "xterm", **variables}
    subprocess.run([sys.executable, "-m", "stream_coupons", *args], stderr=theirs, env=environment, timeout=120)
    os.close(theirs)
    shown = os.read(ours, 10_000)
    os.close(ours)
    return shown


@pytest.mark.process
def test_errors_are_coloured_on_a_terminal_only_and_never_with_no_color() -> None:
    assert b"\x1b[" in on_a_terminal("tail", "--nonsense")
    assert b"\x1b" not in on_a_terminal("tail", "--nonsense", NO_COLOR="1")
    assert "\x1b" not in in_a_process("tail", "--nonsense").stderr


def completed(shell: str, words: str) -> list[str]:
    """What a shell is told to offer for the last word."""
    variables = {
        "_STREAM_COUPONS_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
        "_TYPER_COMPLETE_ARGS": words,
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }
    return [line for line in in_a_process(**variables).stdout.splitlines() if line]


@pytest.mark.process
def test_shells_complete_verbs_their_verbs_options_and_choices() -> None:
    assert completed("bash", "stream-coupons e") == ["erase", "explain", "evaluate", "export"]
    assert completed("bash", "stream-coupons dlq ") == ["list", "show", "redrive"]
    assert completed("bash", "stream-coupons broker --p") == ["--port"]
    assert completed("bash", "stream-coupons worker --log-level ") == ["DEBUG", "INFO", "WARNING", "ERROR"]
    assert completed("bash", "stream-coupons catalog push cat") == []  # the shell goes on with files
    assert any("evaluate" in line for line in completed("zsh", "stream-coupons ev"))
    assert any(line.startswith("evaluate") for line in completed("fish", "stream-coupons ev"))


WAITED_FOR = """
import sys
from stream_coupons.cli import main
class Told:
    def __init__(self, source): self.source = source
    def __getattr__(self, name):
        return getattr(self.source, name)
    def read(self, *size):
        print("reading", flush=True)
        return self.source.read(*size)
    def __iter__(self):
        print("reading", flush=True)
        return iter(self.source)
sys.stdin = type("Stdin", (), {"buffer": Told(sys.stdin.buffer)})()
main()
"""

PRINT_NO_RESULT = {("worker",), ("console",), ("mcp",), ("learner",), ("broker",), ("demo",)}


@pytest.mark.parametrize("names", [names for names in VERBS if names not in PRINT_NO_RESULT], ids=" ".join)
def test_every_verb_that_prints_a_result_prints_json_for_scripts(names: tuple[str, ...]) -> None:
    command: Any = typer.main.get_command(app)
    for name in names:
        command = command.get_command(NO_CONTEXT, name)
    assert "--json" in {option for parameter in command.params for option in parameter.opts}


@pytest.mark.process
@pytest.mark.parametrize(
    "args", [["evaluate", "-"], ["catalog", "push", "-", "--dry-run"], ["publish", "-", "--dry-run"]]
)
def test_ctrl_c_ends_any_verb_with_130_and_without_a_traceback(args: list[str]) -> None:
    command = [sys.executable, "-c", WAITED_FOR, *args]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    # A shell starts what runs in its background with SIGINT ignored, and a child inherits that.
    with subprocess.Popen(command, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL), **pipes) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"reading\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 130  # its standard input is open still
        assert process.stderr is not None
        assert b"Traceback" not in process.stderr.read()
