"""The tiers of the tests, and the `broker` fixture.

unit    no process and no connection: a test that has one without the mark `process` or `kafka` fails
system  tests that have one, each on one broker; tests marked `long`; the six trials under faults marked `essential`
rest    tests marked `slow`; all other trials under faults; every test on the broker that `system` leaves out
deploy  tests marked `deploy`: manifests, units, workflows and wheels, by the tools of requirements-deploy.lock
"""

import os
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

# Test processes share few cores: threads of the linear algebra library would only wait for each other.
for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import hypothesis  # noqa: E402
import pytest  # noqa: E402

from loopback_kafka import ApacheKafkaCluster, BrokerProcess, BrokerUnavailable, Engine, open_broker  # noqa: E402
from loopback_kafka.apache import apache_kafka_missing  # noqa: E402

hypothesis.settings.register_profile("busy machine", deadline=None)
hypothesis.settings.load_profile("busy machine")
IS_KAFKA_REQUIRED = os.environ.get("STREAM_COUPONS_REQUIRE_KAFKA") == "1"
ROOT = Path(__file__).parent
OF_EMBEDDED_BROKER = ROOT / "packages" / "loopback-kafka"
REST_TIMEOUT_S = 1200
"""Some tests of the tier `rest` take minutes, and others run beside them."""
ENGINES: tuple[Engine, ...] = ("embedded", "kafka")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("stream_coupons")
    group.addoption(
        "--tier",
        choices=("unit", "system", "rest", "deploy"),
        help="run only tests of this tier; default: all, on one broker",
    )
    group.addoption(
        "--within", type=float, default=0.0, metavar="SECONDS", help="start no test later than this after the first"
    )
    group.addoption("--module-order", metavar="TEXT", help="run the modules in a order that this text draws")


# ------------------------------------------------------------ tiers, and the broker that a test runs on


@cache
def _can_run_kafka() -> bool:
    return IS_KAFKA_REQUIRED or apache_kafka_missing() is None


def _first_engine(path: Path) -> Engine:
    """Apache Kafka if it can run; tests of the embedded broker run there, Kafka only confirms what they expect."""
    return "kafka" if OF_EMBEDDED_BROKER not in path.parents and _can_run_kafka() else "embedded"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that uses a broker on the first one, in the tier `rest` on both."""
    if "engine" in metafunc.fixturenames:
        is_rest = metafunc.config.getoption("--tier") == "rest"
        engines = ENGINES if is_rest else (_first_engine(metafunc.definition.path),)
        metafunc.parametrize("engine", engines, indirect=True, scope="session")


def _engine_of(item: pytest.Item) -> Engine | None:
    callspec = getattr(item, "callspec", None)
    return None if callspec is None else callspec.params.get("engine")


def _is_outside(item: pytest.Item) -> bool:
    """Whether a test may start processes and open connections."""
    return any(item.get_closest_marker(name) is not None for name in ("process", "kafka"))


def _is_in(item: pytest.Item, folder: str) -> bool:
    return ROOT / "tests" / folder in item.path.parents


def _tier_of(item: pytest.Item) -> str:
    if item.get_closest_marker("deploy"):
        return "deploy"
    is_trial = _is_in(item, "faults") and item.get_closest_marker("kafka") is not None
    is_left_out = is_trial and item.get_closest_marker("essential") is None
    if item.get_closest_marker("slow") or is_left_out or _engine_of(item) not in (None, _first_engine(item.path)):
        return "rest"
    return "system" if _is_outside(item) or item.get_closest_marker("long") else "unit"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out other tiers; note on which broker a test runs."""
    tier = config.getoption("--tier")
    if tier is not None:
        config.hook.pytest_deselected(items=[item for item in items if _tier_of(item) != tier])
        items[:] = [item for item in items if _tier_of(item) == tier]
        if tier == "system":  # the longest first, so that none of them is left for the end
            items.sort(key=lambda item: [_is_in(item, "faults"), _is_in(item, "integration")], reverse=True)
    if seed := config.getoption("--module-order"):  # so that a limited time reaches every module now and then
        items.sort(key=lambda item: blake2b(f"{seed} {item.path.relative_to(ROOT)}".encode()).digest())
    for item in items:
        if tier == "rest":
            item.add_marker(pytest.mark.timeout(REST_TIMEOUT_S))
        if engine := _engine_of(item):
            item.user_properties.append(("engine", engine))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """State how many tests passed on which broker."""
    passed = [report for report in terminalreporter.getreports("passed") if report.when == "call"]
    counts = Counter(value for report in passed for name, value in report.user_properties if name == "engine")
    if counts:
        terminalreporter.write_line(
            f"passed on Apache Kafka: {counts['kafka']}, on the embedded broker: {counts['embedded']}"
        )


# ------------------------------------------------------------ bounds: no process in unit tests, and a time limit

_CLOSED_TO_UNIT_TESTS = {"subprocess.Popen", "os.fork", "os.posix_spawn", "os.system", "socket.connect", "socket.bind"}
_is_unit_test = False


def _refuse_outside(event: str, _: tuple[Any, ...]) -> None:
    if _is_unit_test and event in _CLOSED_TO_UNIT_TESTS:
        raise AssertionError(f"a test without the mark `process` or `kafka` does {event}")


sys.addaudithook(_refuse_outside)
_began = time.monotonic()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    """Close the outside to a unit test and its fixtures; start nothing when the time is over."""
    global _is_unit_test
    _is_unit_test = not _is_outside(item)
    limit = item.config.getoption("--within")
    if limit and time.monotonic() > _began + limit:
        pytest.skip(f"no time was left of {limit:.0f} s")
    yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Iterator[None]:
    """Open it again: what is torn down may be of earlier tests."""
    global _is_unit_test
    _is_unit_test = False
    yield


# ------------------------------------------------------------ brokers


@pytest.fixture(scope="session")
def engine(request: pytest.FixtureRequest) -> Engine:
    """The broker that the test runs on; `pytest_generate_tests` chooses."""
    return request.param


RunBroker = Callable[..., AbstractContextManager[BrokerProcess]]


@pytest.fixture(scope="session")
def run_broker(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> RunBroker:
    """Runs an empty broker for as long as a `with` block, in a folder of its own if none is given."""

    @contextmanager
    def run(folder: Path | None = None, advertised_port: int | None = None) -> Iterator[BrokerProcess]:
        folder = folder or tmp_path_factory.mktemp(f"broker-{engine}")
        broker = open_broker(engine, folder, advertised_port=advertised_port)
        try:
            broker.start()
        except BrokerUnavailable as reason:
            if IS_KAFKA_REQUIRED:
                raise
            pytest.skip(str(reason))
        try:
            yield broker
        finally:
            broker.stop()

    return run


@pytest.fixture
def apache_kafka() -> None:
    """Skips the test if Apache Kafka cannot run."""
    if not _can_run_kafka():
        pytest.skip(str(apache_kafka_missing()))


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApacheKafkaCluster]:
    """Three running nodes of Apache Kafka, with nothing in them; a test may kill any."""
    with ApacheKafkaCluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture(scope="session")
def session_broker(run_broker: RunBroker) -> Iterator[BrokerProcess]:
    with run_broker() as broker:
        yield broker


@pytest.fixture
def broker(session_broker: BrokerProcess) -> BrokerProcess:
    """A running broker, shared by the whole session; a test may kill it."""
    if not session_broker.is_running:
        session_broker.start()
    return session_broker


@pytest.fixture
def unique() -> str:
    """A name no other test uses, for topics and groups of a shared broker."""
    return f"t-{uuid.uuid4().hex[:12]}"
