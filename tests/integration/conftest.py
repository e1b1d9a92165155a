"""A broker of its own for every module of tests: the names of the topics are fixed, and so their logs never mix."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest

from loopback_kafka import BrokerProcess

RunBroker = Callable[[], AbstractContextManager[BrokerProcess]]


@pytest.fixture(scope="module")
def module_broker(run_broker: RunBroker) -> Iterator[BrokerProcess]:
    """An empty broker, shared by the tests of a module."""
    with run_broker() as broker:
        yield broker


@pytest.fixture
def empty_broker(run_broker: RunBroker) -> Iterator[BrokerProcess]:
    """An empty broker for one test."""
    with run_broker() as broker:
        yield broker
