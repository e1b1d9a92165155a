"""An empty broker and a seed for every trial; the figures of all trials are printed at the end.

The short form runs one seed and few rounds. STREAM_COUPONS_FAULTS=long runs three seeds and many rounds;
STREAM_COUPONS_FAULTS_REPORT=FILE also appends the figures to a file, one JSON object a line.
"""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from stream_coupons.broker import BrokerProcess
from stream_coupons.kafka.settings import Guarantee

from .proxy import Proxy
from .trial import FIGURES

LONG = os.environ.get("STREAM_COUPONS_FAULTS") == "long"
REPORT = os.environ.get("STREAM_COUPONS_FAULTS_REPORT")


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
    for figures in FIGURES[first:]:
        request.node.user_properties.append(("figures", figures))
        if REPORT:
            with Path(REPORT).open("a") as report:
                report.write(json.dumps({"trial": request.node.nodeid.rpartition("/")[2], **figures}) + "\n")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what the trials under faults have counted."""
    lines = [
        f"{report.nodeid.rpartition('/')[2]}: {', '.join(f'{key} {value}' for key, value in figures.items())}"
        for report in terminalreporter.getreports("")
        if report.when == "teardown"
        for name, figures in report.user_properties
        if name == "figures"
    ]
    if lines:
        terminalreporter.section("trials under faults")
        terminalreporter.write("\n".join(lines) + "\n")
