"""An empty broker and a seed for every trial; the figures of all trials are printed at the end.

The short form runs one seed and few rounds, STREAM_COUPONS_FAULTS=long three seeds and many rounds: hours. With
STREAM_COUPONS_FAULTS_REPORT=FILE every trial that passes is appended to a file, one JSON object a line, and is left out
of later runs, so that the long form may be run in parts. Remove a line to run its trial again.
"""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from benchmarks.checkout import commit
from loopback_kafka import BrokerProcess
from stream_coupons.kafka.settings import Guarantee

from .proxy import Proxy
from .trial import FIGURES

LONG = os.environ.get("STREAM_COUPONS_FAULTS") == "long"
REPORT = os.environ.get("STREAM_COUPONS_FAULTS_REPORT")
COMMIT = commit() if REPORT else ""
"""The commit at the start of the session; later commits do not change what runs."""


@pytest.fixture
def empty_broker(run_broker: Callable[[], AbstractContextManager[BrokerProcess]]) -> Iterator[BrokerProcess]:
    """A broker that a test may kill; it has nothing in it."""
    with run_broker() as broker:
        yield broker


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    """A proxy; it leads nowhere until it is told."""
    with Proxy() as running:
        yield running


@pytest.fixture
def proxied_broker(
    proxy: Proxy, run_broker: Callable[..., AbstractContextManager[BrokerProcess]]
) -> Iterator[BrokerProcess]:
    """An empty broker whose workers come in through the proxy; what publishes, reads and verifies does not."""
    with run_broker(advertised_port=proxy.port) as broker:
        proxy.broker_port = broker.proxied_port
        yield broker


@pytest.fixture(params=(1, 2, 3) if LONG else (1,))
def seed(request: pytest.FixtureRequest) -> int:
    """What a trial's chance comes from."""
    print(f"seed {request.param}")
    return int(request.param)


@pytest.fixture(params=[Guarantee.AT_LEAST_ONCE, pytest.param(Guarantee.EXACTLY_ONCE, marks=pytest.mark.slow)])
def guarantee(request: pytest.FixtureRequest) -> Guarantee:
    """What the workers promise."""
    return Guarantee(request.param)


@pytest.fixture
def rounds() -> Callable[[int, int], int]:
    """How often to repeat a fault: the first number in the short form, the second in the long one."""
    return lambda short, long: long if LONG else short


@pytest.fixture(autouse=True)
def _note_figures(request: pytest.FixtureRequest) -> Iterator[None]:
    first = len(FIGURES)
    yield
    request.node.user_properties += [("figures", figures) for figures in FIGURES[first:]]


# ------------------------------------------------------------ the report: trials that have passed


def trial_name(nodeid: str) -> str:
    """Name a trial by module, function and parameters."""
    return nodeid.rpartition("/")[2]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the trials of the report."""
    if REPORT and Path(REPORT).exists():
        passed = {json.loads(line)["trial"] for line in Path(REPORT).read_text().splitlines()}
        config.hook.pytest_deselected(items=[item for item in items if trial_name(item.nodeid) in passed])
        items[:] = [item for item in items if trial_name(item.nodeid) not in passed]


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Succeed if all trials have passed before."""
    if REPORT and exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:
        session.exitstatus = pytest.ExitCode.OK


_passed: set[str] = set()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Append a trial that has passed; by one process, whatever their number."""
    if not REPORT or "PYTEST_XDIST_WORKER" in os.environ:
        return
    if report.when == "call" and report.passed:
        _passed.add(report.nodeid)
    if report.when == "teardown" and report.passed and report.nodeid in _passed:
        totals: Counter[str] = Counter()
        for name, figures in report.user_properties:
            if name == "figures":
                totals.update({key: value for key, value in figures.items() if key != "seed"})
        line = {"trial": trial_name(report.nodeid), "commit": COMMIT, "form": "long" if LONG else "short", **totals}
        with Path(REPORT).open("a", encoding="utf-8") as kept:
            kept.write(json.dumps(line) + "\n")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what the trials under faults have counted."""
    lines = [
        f"{trial_name(report.nodeid)}: {', '.join(f'{key} {value}' for key, value in figures.items())}"
        for report in terminalreporter.getreports("")
        if report.when == "teardown"
        for name, figures in report.user_properties
        if name == "figures"
    ]
    if lines:
        terminalreporter.section("trials under faults")
        terminalreporter.write("\n".join(lines) + "\n")
