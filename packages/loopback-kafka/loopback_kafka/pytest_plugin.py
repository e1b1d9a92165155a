"""Fixture for pytest: a running broker."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:  # a run of tests that does not use the fixture does not import the broker
    from loopback_kafka.process import BrokerProcess


@pytest.fixture(scope="session")
def loopback_kafka(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[BrokerProcess]":
    """Run the embedded broker for the session; `bootstrap` is its address."""
    from loopback_kafka.embedded import EmbeddedBroker

    with EmbeddedBroker(tmp_path_factory.mktemp("loopback-kafka")) as broker:
        yield broker
