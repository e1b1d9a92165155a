"""The choice of a broker by name."""

from pathlib import Path
from typing import Literal, get_args

from loopback_kafka.apache import ApacheKafka
from loopback_kafka.embedded import EmbeddedBroker
from loopback_kafka.errors import BrokerError
from loopback_kafka.process import BrokerProcess

Engine = Literal["embedded", "kafka"]


def open_broker(
    engine: Engine, data_dir: Path, port: int | None = None, advertised_port: int | None = None
) -> BrokerProcess:
    """Return a broker that is not started yet.

    Parameters
    ----------
    engine : str
        `embedded` or `kafka`.
    data_dir : Path
        Folder of its data.
    port : int, optional
        Without one it takes a free one and keeps it over restarts.
    advertised_port : int, optional
        See `BrokerProcess`.

    Raises
    ------
    BrokerError
        When there is no engine of that name.
    """
    if engine == "embedded":
        return EmbeddedBroker(data_dir, port, advertised_port=advertised_port)
    if engine == "kafka":
        return ApacheKafka(data_dir, port, advertised_port=advertised_port)
    raise BrokerError(f"broker engine {engine!r}, expected one of {', '.join(get_args(Engine))}")
