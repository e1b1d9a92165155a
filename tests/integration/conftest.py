"""A broker of its own for every module of tests: the names of the topics are fixed, and so their logs never mix."""

import os
from collections.abc import Iterator

import pytest

from stream_coupons.broker import BrokerProcess, BrokerUnavailable, Engine, open_broker


def _run(engine: Engine, factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    broker = open_broker(engine, factory.mktemp(f"broker-{engine}"))
    try:
        broker.start()
    except BrokerUnavailable as reason:
        if os.environ.get("STREAM_COUPONS_REQUIRE_KAFKA") == "1":
            raise
        pytest.skip(str(reason))
    yield broker
    broker.stop()


@pytest.fixture(scope="module")
def module_broker(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    """An empty broker, shared by the tests of a module."""
    yield from _run(engine, tmp_path_factory)


@pytest.fixture
def empty_broker(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    """An empty broker for one test."""
    yield from _run(engine, tmp_path_factory)
