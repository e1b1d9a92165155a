"""Run the embedded broker: `python -m loopback_kafka --data DIR [--port N]`."""

import argparse
import asyncio
import fcntl
import logging
import signal
import sys
from pathlib import Path
from typing import Final, TextIO

import uvloop

from loopback_kafka.errors import BrokerDataError, BrokerError
from loopback_kafka.server import LOOPBACK, BrokerServer

READY_PREFIX: Final = "listening on "


def main() -> int:
    """Serve until a signal, or until the parent that holds the other end of stdin is gone."""
    options = _parse()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        with _lock(options.data):
            uvloop.run(_serve(options))
    except (BrokerError, OSError) as error:
        print(f"broker: {error}", file=sys.stderr)
        return 1
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m loopback_kafka",
        description="A Kafka-protocol broker of one node on the loopback interface, for"
        " demonstration and tests. It never syncs to disk: not for production.",
    )
    parser.add_argument("--data", type=Path, required=True, help="folder for topics and offsets")
    parser.add_argument("--port", type=int, default=0, help="port; default: any free one")
    parser.add_argument(
        "--group-delay",
        type=float,
        default=0.2,
        metavar="SECONDS",
        help="how long the first rebalance of a group waits for members (default 0.2)",
    )
    parser.add_argument("--proxied-port", type=int, help="a second port, for a proxy")
    parser.add_argument("--advertised-port", type=int, help="where who comes in there is told to come back")
    parser.add_argument("--exit-with-stdin", action="store_true", help="stop when standard input closes")
    return parser.parse_args()


def _lock(data: Path) -> TextIO:
    """Take the data folder for this process; the lock goes with the process."""
    data.mkdir(parents=True, exist_ok=True)
    file = (data / "lock").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise BrokerDataError(f"{data} is in use by another broker") from None
    return file


async def _serve(options: argparse.Namespace) -> None:
    server = BrokerServer(options.data, options.group_delay)
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, stopped.set)
    if options.exit_with_stdin:
        loop.add_reader(sys.stdin.fileno(), stopped.set)
    try:
        port = await server.start(options.port)
        if options.proxied_port is not None:
            await server.listen_for_proxy(options.proxied_port, options.advertised_port or options.proxied_port)
        print(f"{READY_PREFIX}{LOOPBACK}:{port}", flush=True)
        await stopped.wait()
    finally:
        await server.stop()


if __name__ == "__main__":
    sys.exit(main())
