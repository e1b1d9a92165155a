"""`demo`: the main job, end to end, on this machine."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from stream_coupons.evaluation.report import Report

INTERRUPTED = 130


class DemoInput(StrEnum):
    """What to play."""

    SHOPPERS = "shoppers"
    COMPLETEJOURNEY = "completejourney"
    BOTH = "both"


class DemoBroker(StrEnum):
    """Which broker to start."""

    EMBEDDED = "embedded"
    KAFKA = "kafka"


def demo(  # noqa: PLR0913 - options of a command
    play: Annotated[DemoInput, typer.Option("--input", help="What to play.")] = DemoInput.SHOPPERS,
    seed: Annotated[int, typer.Option(help="Seed of the simulated shoppers.", min=0)] = 1,
    shoppers: Annotated[int, typer.Option(help="How many there are.", min=10, max=20_000)] = 300,
    days: Annotated[int, typer.Option(help="Simulated days.", min=1, max=365)] = 14,
    households: Annotated[
        int | None, typer.Option(help="Households of Complete Journey to replay; all 2469 unless named.", min=1)
    ] = None,
    engine: Annotated[DemoBroker, typer.Option(help="kafka is Apache Kafka, and needs Java and Maven.")] = (
        DemoBroker.EMBEDDED
    ),
    workers: Annotated[int, typer.Option(help="Worker processes.", min=1, max=2)] = 2,
    kill_worker: Annotated[
        bool, typer.Option("--kill-worker", help="SIGKILL a worker halfway through, then start it again.")
    ] = False,
    report: Annotated[Path, typer.Option(help="Where the HTML report goes.")] = Path("reports/demo.html"),
) -> None:
    """Start a broker and two workers, play simulated shoppers through them,
    and report what the coupons earned.

    Needs no Docker, no Java and nothing running. Simulated time waits for the
    system, so the same options lead to the same figures on every machine.
    Ctrl-C ends all of it and keeps what there is to report. Exit code 1 if
    the audit of what was issued finds a violation.

    Examples: stream-coupons demo
              stream-coupons demo --seed 7 --days 28 --kill-worker
              stream-coupons demo --input completejourney --households 300
    """
    print("stream_coupons: starting a broker, two workers and simulated shoppers; Ctrl-C ends it", flush=True)
    # Imports take seconds on a busy machine: a person who waits should have read something by then.
    from rich.console import Console

    from stream_coupons.evaluation.report import Report

    console = Console()
    page = Report("stream_coupons", "What the demonstration did, and what its coupons earned")
    is_clean = True
    try:
        if play is not DemoInput.COMPLETEJOURNEY:
            is_clean = _play_shoppers(console, page, (seed, shoppers, days), engine, workers, kill_worker)
        if play is not DemoInput.SHOPPERS:
            _play_journey(console, page, households, engine, workers)
    except KeyboardInterrupt:
        _say_where(console, page, report)
        raise typer.Exit(INTERRUPTED) from None
    _write(console, page, report)
    if not is_clean:
        raise typer.Exit(1)


def _write(console: "Console", page: "Report", path: Path) -> None:
    from stream_coupons.demo import reports

    console.print(f"report: [bold]{reports.write(page, path).resolve()}[/]", soft_wrap=True)


def _say_where(console: "Console", page: "Report", path: Path) -> None:
    """After an interruption: write what there is."""
    if page.is_empty:
        console.print("interrupted: there is no report yet")
        return
    console.print("interrupted: the report has what was played so far")
    _write(console, page, path)


def _play_shoppers(
    console: "Console",
    page: "Report",
    size: tuple[int, int, int],
    engine: DemoBroker,
    workers: int,
    kill_worker: bool,
) -> bool:
    from stream_coupons.demo import reports
    from stream_coupons.demo.run import ShopperDemo
    from stream_coupons.simulation.shoppers import WorldSettings

    seed, shoppers, days = size
    world = WorldSettings(seed=seed, shoppers=shoppers, days=days)
    play = ShopperDemo(console, world, engine.value, workers, kill_worker)
    try:
        result = play.run()
    except KeyboardInterrupt:
        if play.result is not None:
            reports.add_shoppers(page, play.result)
        raise
    reports.print_shoppers(console, result)
    reports.add_shoppers(page, result)
    return not result.violations


def _play_journey(console: "Console", page: "Report", households: int | None, engine: DemoBroker, workers: int) -> None:
    from stream_coupons.datasets import completejourney
    from stream_coupons.demo import reports
    from stream_coupons.demo.journey import JourneyReplay, settings_for_journey
    from stream_coupons.demo.run import running
    from stream_coupons.demo.watch import Display, Watch
    from stream_coupons.settings import load

    console.print("loading Complete Journey")
    data = completejourney.load(households=households)
    settings = settings_for_journey(load())
    with running(console, settings, data.catalogue(), engine.value, workers) as system:
        watch = Watch(system)
        with Display(console, "Complete Journey, replayed", watch) as display:

            def on_slice(share: float, event_time: float) -> None:
                display.show(share, "2017, day " + f"{(event_time - 1_483_246_800) / 86400:.0f}")

            result = JourneyReplay(system, data, watch, on_slice).play()
    reports.print_journey(console, result, watch)
    reports.add_journey(page, result, watch)
