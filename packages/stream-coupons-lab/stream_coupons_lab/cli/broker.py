"""`broker`: run a broker in the foreground."""

import shutil
import signal
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

from loopback_kafka import Engine
from stream_coupons.cli import consoles
from stream_coupons_lab.brokers import running_broker


def broker(
    engine: Annotated[
        Engine,
        typer.Option(help="embedded: in Python, for demo and tests; kafka: Apache Kafka (Java, Maven)."),
    ] = "embedded",
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1; 0 for a free one.", min=0, max=65535)] = 9092,
    data: Annotated[
        Path | None, typer.Option(help="Folder for its data; if not given, a temporary one that Ctrl-C deletes.")
    ] = None,
) -> None:
    """Run a single-node broker on this machine until Ctrl-C. Never for production.

    Examples: stream-coupons broker
              stream-coupons broker --engine kafka --port 9092 --data ./kafka-data
    """
    console = consoles.stderr()
    folder = data or Path(tempfile.mkdtemp(prefix="stream-coupons-broker-"))
    ended_by_itself = True
    with running_broker(engine, folder, port or None) as running:
        console.print(f"{engine} broker at [bold]{running.bootstrap}[/], data in {folder}; Ctrl-C stops it")
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            while running.is_running:
                time.sleep(0.2)
        except KeyboardInterrupt:
            console.print("stopping")
            ended_by_itself = False
    if not ended_by_itself:
        if data is None:
            shutil.rmtree(folder, ignore_errors=True)
        return
    console.print(f"the broker ended by itself; its log is {running.log_file}")
    raise typer.Exit(1)
