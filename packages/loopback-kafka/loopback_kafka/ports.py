"""Ports on the loopback for child processes."""

import random
import socket
import weakref
from contextlib import ExitStack
from typing import Final

from loopback_kafka.errors import BrokerFailed

HOST: Final = "127.0.0.1"
_PORTS: Final = range(20_000, 32_000)


class ClaimedPort:
    """A port for a child process to listen on, kept from all others for as long as this object lives.

    It is free to whoever lets addresses be used again (SO_REUSEADDR), as servers do, and taken for whoever looks for
    a free one: for another claim, in this process or any other. So a child that was killed finds its port again.
    It lies below the ports that the system gives to outgoing connections: one of those may take a port meanwhile,
    even a client's own attempt to reconnect, which then talks to itself.

    Parameters
    ----------
    count : int
        Number of adjacent ports that are claimed.

    Attributes
    ----------
    number : int
        The first port.

    Raises
    ------
    BrokerFailed
        When none is free.
    """

    def __init__(self, count: int = 1) -> None:
        for port in random.sample(_PORTS, len(_PORTS)):
            with ExitStack() as held:
                try:
                    for number in range(port, port + count):
                        _hold(held.enter_context(socket.socket()), number)
                except OSError:
                    continue
                self.number = port
                weakref.finalize(self, held.pop_all().close)
                return
        raise BrokerFailed(f"no free port in {_PORTS}")


def _hold(held: socket.socket, port: int) -> None:
    held.bind((HOST, port))
    # After the bind, which thereby was refused where anybody holds the port, listening or not (Linux).
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
