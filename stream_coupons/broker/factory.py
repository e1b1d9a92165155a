"""The choice of a broker by name."""

from pathlib import Path
from typing import Literal, get_args

from stream_coupons.broker.apache import ApacheKafka
from stream_coupons.broker.embedded import EmbeddedBroker
from stream_coupons.broker.process import BrokerProcess
from stream_coupons.core.errors import BadConfig

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
    BadConfig
        When there is no engine of that name.
    """
    if engine == "embedded":
        return EmbeddedBroker(data_dir, port, advertised_port=advertised_port)
    if engine == "kafka":
        return ApacheKafka(data_dir, port, advertised_port=advertised_port)
    raise BadConfig(f"broker engine {engine!r}, expected one of {', '.join(get_args(Engine))}")
