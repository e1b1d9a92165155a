"""`demo`: the main job, end to end, on this machine."""

import contextlib
import multiprocessing
import tempfile
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from stream_coupons.broker import Engine, open_broker
from stream_coupons.core.events import Coupon
from stream_coupons.demo import reports
from stream_coupons.demo.audit_log import audit_system
from stream_coupons.demo.journey import JourneyReplay, settings_for_journey
from stream_coupons.demo.play import Played, play_locally
from stream_coupons.demo.shoppers import LivePlay, settings_for_shoppers
from stream_coupons.demo.system import LocalSystem
from stream_coupons.demo.watch import Display, Watch
from stream_coupons.evaluation.report import Report
from stream_coupons.settings import Settings, load
from stream_coupons.simulation.shoppers import World, WorldSettings

SAMPLE_HOUSEHOLDS = 200
"""So that both inputs together take some three minutes on a machine that is free."""


class DemoInput(StrEnum):
    """What to play."""

    BOTH = "both"
    SHOPPERS = "shoppers"
    COMPLETEJOURNEY = "completejourney"


def demo(  # noqa: PLR0913 - options of a command
    play: Annotated[DemoInput, typer.Option("--input", help="What to play.")] = DemoInput.BOTH,
    seed: Annotated[int, typer.Option(help="Seed of the simulated shoppers.", min=0)] = 2,
    shoppers: Annotated[int, typer.Option(help="How many there are.", min=10, max=20_000)] = 600,
    days: Annotated[int, typer.Option(help="Simulated days.", min=3, max=365)] = 21,
    duration: Annotated[float, typer.Option(help="Seconds that the simulated days may take.", min=1)] = 60.0,
    households: Annotated[
        int | None,
        typer.Option(
            help=f"Households of Complete Journey to replay; {SAMPLE_HOUSEHOLDS} after the shoppers, else all 2469.",
            min=1,
        ),
    ] = None,
    engine: Annotated[Engine, typer.Option(help="embedded, or kafka (Apache Kafka; Java, Maven).")] = "embedded",
    workers: Annotated[int, typer.Option(help="Worker processes.", min=1, max=4)] = 2,
    kill_worker: Annotated[
        bool, typer.Option("--kill-worker", help="SIGKILL a worker halfway through the shoppers, then start it again.")
    ] = False,
    report: Annotated[Path, typer.Option(help="Where the HTML report goes.")] = Path("reports/demo.html"),
) -> None:
    """Start a broker and two workers, play shoppers and a real data set through them, and write a report.

    Needs no Docker, no Java and nothing running. Ends with exit code 0 and a summary; 1 if the audit of what was issued
    finds a violation.

    Examples: stream-coupons demo
              stream-coupons demo --input shoppers --seed 7 --kill-worker
              stream-coupons demo --input completejourney --households 300
    """
    console = Console()
    page = Report("stream_coupons", "What the demonstration did, and how well the policy learnt")
    is_clean = True
    if play is not DemoInput.COMPLETEJOURNEY:
        world = WorldSettings(seed=seed, shoppers=shoppers, days=days)
        is_clean = _play_shoppers(console, page, world, duration, engine, workers, kill_worker)
    if play is not DemoInput.SHOPPERS:
        sample = SAMPLE_HOUSEHOLDS if play is DemoInput.BOTH else None
        _play_journey(console, page, households or sample, engine, workers)
    written = reports.write(page, report)
    console.print(f"report: [bold]{written.resolve()}[/]")
    if not is_clean:
        raise typer.Exit(1)


@contextlib.contextmanager
def _system(
    console: Console, settings: Settings, coupons: list[Coupon], engine: Engine, workers: int
) -> Iterator[LocalSystem]:
    """A broker with topics and catalogue, and workers that are ready; all of it is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="stream-coupons-demo-") as folder:
        console.print(f"starting the {engine} broker and {workers} workers")
        with open_broker(engine, Path(folder) / "broker") as broker:
            system = LocalSystem(broker, settings, Path(folder), workers)
            system.prepare(coupons)
            with system:
                system.wait_ready()
                console.print(f"ready: broker {broker.bootstrap}, {len(coupons)} coupons in the catalogue")
                yield system


def _play_shoppers(  # noqa: PLR0913 - the options of the command
    console: Console,
    page: Report,
    world_settings: WorldSettings,
    duration_s: float,
    engine: Engine,
    workers: int,
    kill_worker: bool,
) -> bool:
    settings = settings_for_shoppers(load())
    world = World(world_settings)
    with _system(console, settings, world.catalogue(), engine, workers) as system:
        watch = Watch(system)
        fault = _WorkerKill(system, watch) if kill_worker else None
        with Display(console, "simulated shoppers, live", watch) as display:

            def on_slice(share: float, event_time: float) -> None:
                day = (event_time - world_settings.start_at) / 86400.0
                display.show(share, f"day {day:.0f} of {world_settings.days}")
                if fault is not None:
                    fault.at(share)

            live = LivePlay(system, world, watch, duration_s, on_slice).play()
        violations = audit_system(system)
    console.print("playing the same shoppers under the random and the oracle policy")
    baselines = _baselines(world_settings, settings)
    played = [baselines[0], live, baselines[1]]
    reports.print_shoppers(console, played, watch, world_settings.days, violations)
    reports.add_shoppers(page, played, watch, world_settings.days, violations)
    return not violations


class _WorkerKill:
    """SIGKILL a worker halfway and start it again a little later."""

    def __init__(self, system: LocalSystem, watch: Watch) -> None:
        self._system = system
        self._watch = watch
        self._step = 0

    def at(self, share: float) -> None:
        if self._step == 0 and share >= 0.5:
            self._system.kill(0)
            self._watch.notes["worker-1"] = "killed"
            self._step = 1
        elif self._step == 1 and share >= 0.6:
            self._system.restart(0)
            self._watch.notes["worker-1"] = "started again"
            self._step = 2


def _baselines(world_settings: WorldSettings, settings: Settings) -> list[Played]:
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=spawn) as pool:
        futures: list[Future[Played]] = [
            pool.submit(play_locally, policy, world_settings, settings, print_nothing)
            for policy in ("random", "oracle")
        ]
        return [future.result() for future in futures]


def print_nothing(day: int) -> None:
    """Keep quiet about the days of a baseline."""


def _play_journey(console: Console, page: Report, households: int | None, engine: Engine, workers: int) -> None:
    from stream_coupons.datasets import completejourney

    console.print("loading Complete Journey")
    data = completejourney.load(households=households)
    settings = settings_for_journey(load())
    with _system(console, settings, data.catalogue(), engine, workers) as system:
        watch = Watch(system)
        with Display(console, "Complete Journey, replayed", watch) as display:

            def on_slice(share: float, event_time: float) -> None:
                display.show(share, "2017, day " + f"{(event_time - 1_483_246_800) / 86400:.0f}")

            result = JourneyReplay(system, data, watch, on_slice).play()
    reports.print_journey(console, result, watch)
    reports.add_journey(page, result, watch)
