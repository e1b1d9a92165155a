"""Brokers for demonstrations and measurements on this machine."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from loopback_kafka import BrokerError, BrokerProcess, Engine, open_broker
from stream_coupons.core.errors import StreamCouponsError


@contextmanager
def running_broker(engine: Engine, folder: Path, port: int | None = None) -> Iterator[BrokerProcess]:
    """Run a broker for as long as a `with` block.

    Raises
    ------
    StreamCouponsError
        If it cannot start, or fails.
    """
    try:
        with open_broker(engine, folder, port) as broker:
            yield broker
    except BrokerError as error:
        raise StreamCouponsError(str(error)) from error
