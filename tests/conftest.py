"""The `broker` fixture: the same tests on the embedded broker and on Apache Kafka.

Where Apache Kafka cannot run its tests are skipped with the reason, or fail if
STREAM_COUPONS_REQUIRE_KAFKA=1, as continuous integration sets it.
"""

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from stream_coupons.broker import BrokerProcess, BrokerUnavailable, Engine, open_broker


@pytest.fixture(scope="session", params=["embedded", "kafka"])
def engine(request: pytest.FixtureRequest) -> Engine:
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
            if os.environ.get("STREAM_COUPONS_REQUIRE_KAFKA") == "1":
                raise
            pytest.skip(str(reason))
        yield broker
        broker.stop()

    return run


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
