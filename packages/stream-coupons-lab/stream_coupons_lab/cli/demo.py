"""`demo`: the main job, end to end, on this machine."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from loopback_kafka import Engine
from stream_coupons.cli.consoles import INTERRUPTED
from stream_coupons.ops.interrupts import Interruptions

if TYPE_CHECKING:  # it takes seconds to import
    from stream_coupons_lab.demo.run import ShopperDemo


def demo(  # noqa: PLR0913 - the options of a command
    seed: Annotated[int, typer.Option(help="Seed of the simulated shoppers.", min=0)] = 1,
    shoppers: Annotated[int, typer.Option(help="How many there are.", min=10, max=20_000)] = 300,
    days: Annotated[int, typer.Option(help="Simulated days.", min=1, max=365)] = 12,
    engine: Annotated[Engine, typer.Option(help="kafka is Apache Kafka, and needs Java and Maven.")] = "embedded",
    kill_worker: Annotated[
        bool, typer.Option("--kill-worker", help="SIGKILL a worker halfway through, then start it again.")
    ] = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the system up after the report, with shoppers who go on, until Ctrl-C.")
    ] = False,
    report: Annotated[Path, typer.Option(help="Where the HTML report goes.")] = Path("reports/demo.html"),
) -> None:
    """Start a broker and two workers, play simulated shoppers through them,
    and report what the coupons earned.

    Needs no Docker, no Java and nothing running. Simulated time waits for the
    system, so the same options lead to the same figures on every machine.
    With --keep the system then stays up, and the command prints how others
    reach it. Ctrl-C ends all of it and keeps what there is to report. Exit
    code 1 if the audit of what was issued finds a violation.

    Examples: stream-coupons demo
              stream-coupons demo --keep
              stream-coupons demo --seed 7 --days 28 --kill-worker
    """
    print("stream_coupons: starting a broker, workers and simulated shoppers; Ctrl-C ends it", flush=True)
    # Imports take seconds on a busy machine: whoever waits should have read something by then.
    with Interruptions(at_once=True) as interruptions:
        playing: ShopperDemo | None = None
        try:
            from stream_coupons_lab.demo import run as demos
            from stream_coupons_lab.simulation.shoppers import WorldSettings

            world = WorldSettings(seed=seed, shoppers=shoppers, days=days, has_campaign=True)
            playing = demos.ShopperDemo(world, engine, kills_worker=kill_worker)
            is_clean = playing.run(report, keeps=keep)
        except BaseException:
            # An interruption can surface as any error of the code it strikes.
            if not interruptions.happened:
                raise
            code = INTERRUPTED
            if playing is not None and playing.kept_code is not None:
                code = playing.kept_code
                print("ended: broker and workers are stopped, the report is whole")
            elif playing is None or not playing.write(report):
                print("interrupted: there is no report yet")
            else:
                print("interrupted: the report holds what was played so far")
            sys.stdout.flush()
            os._exit(code)  # interrupted clients of Kafka may neither be closed nor collected
    if not is_clean:
        raise typer.Exit(1)
