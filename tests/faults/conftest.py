"""An empty broker for every trial."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest

from stream_coupons.broker import BrokerProcess


@pytest.fixture
def empty_broker(run_broker: Callable[[], AbstractContextManager[BrokerProcess]]) -> Iterator[BrokerProcess]:
    """A broker that a test may kill; it has nothing in it."""
    with run_broker() as broker:
        yield broker
