"""`demo`: the main job, end to end, on this machine."""

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stream_coupons.lab.interrupts import Interruptions

if TYPE_CHECKING:
    from rich.console import Console

    from stream_coupons.lab.reports.report import HtmlReport

INTERRUPTED = 130


class DemoInput(StrEnum):
    """Input of the demonstration."""

    SHOPPERS = "shoppers"
    COMPLETEJOURNEY = "completejourney"
    BOTH = "both"


class DemoBroker(StrEnum):
    """Broker that the demonstration starts."""

    EMBEDDED = "embedded"
    KAFKA = "kafka"


def demo(  # noqa: PLR0913 - options of a command
    play: Annotated[DemoInput, typer.Option("--input", help="What to play.")] = DemoInput.SHOPPERS,
    seed: Annotated[int, typer.Option(help="Seed of the simulated shoppers.", min=0)] = 1,
    shoppers: Annotated[int, typer.Option(help="How many there are.", min=10, max=20_000)] = 300,
    days: Annotated[int, typer.Option(help="Simulated days.", min=1, max=365)] = 12,
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
    print("stream_coupons: starting a broker, workers and simulated shoppers; Ctrl-C ends it", flush=True)
    # Imports take seconds on a busy machine: whoever waits should have read something by then.
    with Interruptions(at_once=True) as interruptions:
        size = (seed, shoppers, days)
        page: list[HtmlReport] = []
        try:
            is_clean = _play(page, play, size, households, engine, workers, kill_worker)
        except BaseException:
            # An interruption can surface as any error of the code it strikes.
            if not interruptions.happened:
                raise
            _say_where(page, report)
            sys.stdout.flush()
            # Interrupted clients of Kafka may neither be closed nor collected, and nothing else is left to be done.
            os._exit(INTERRUPTED)
        _write(page[0], report)
    if not is_clean:
        raise typer.Exit(1)


def _play(  # noqa: PLR0913 - the options of the command
    pages: "list[HtmlReport]",
    play: DemoInput,
    size: tuple[int, int, int],
    households: int | None,
    engine: DemoBroker,
    workers: int,
    kill_worker: bool,
) -> bool:
    """Play the inputs, and add the page of the report as soon as there is something on it."""
    from rich.console import Console

    from stream_coupons.lab.reports.report import HtmlReport

    console = Console()
    page = HtmlReport("stream_coupons", "What the demonstration did, and what its coupons earned")
    pages.append(page)
    is_clean = True
    if play is not DemoInput.COMPLETEJOURNEY:
        is_clean = _play_shoppers(console, page, size, engine, workers, kill_worker)
    if play is not DemoInput.SHOPPERS:
        _play_journey(console, page, households, engine, workers)
    return is_clean


def _write(page: "HtmlReport", path: Path) -> None:
    from rich.console import Console

    from stream_coupons.lab.demo import reports

    Console().print(f"report: [bold]{reports.write(page, path).resolve()}[/]", soft_wrap=True)


def _say_where(pages: "list[HtmlReport]", path: Path) -> None:
    """After an interruption: write what there is."""
    if not pages or pages[0].is_empty:
        print("interrupted: there is no report yet")
        return
    print("interrupted: the report holds what was played so far")
    _write(pages[0], path)


def _play_shoppers(
    console: "Console",
    page: "HtmlReport",
    size: tuple[int, int, int],
    engine: DemoBroker,
    workers: int,
    kill_worker: bool,
) -> bool:
    from stream_coupons.lab.demo import reports
    from stream_coupons.lab.demo.run import ShopperDemo
    from stream_coupons.lab.simulation.shoppers import WorldSettings

    seed, shoppers, days = size
    world = WorldSettings(seed=seed, shoppers=shoppers, days=days)
    play = ShopperDemo(console, world, engine.value, workers, kill_worker)
    try:
        result = play.run()
    except BaseException:
        if play.result is not None:
            reports.add_shoppers(page, play.result)
        raise
    reports.print_shoppers(console, result)
    reports.add_shoppers(page, result)
    return not result.violations


def _play_journey(
    console: "Console", page: "HtmlReport", households: int | None, engine: DemoBroker, workers: int
) -> None:
    from stream_coupons.lab.datasets import completejourney
    from stream_coupons.lab.demo.journey import JourneyReplay, settings_for_journey
    from stream_coupons.lab.demo.journey_report import add_journey, print_journey
    from stream_coupons.lab.demo.run import running
    from stream_coupons.lab.demo.watch import Display, Watch
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
    print_journey(console, result, watch)
    add_journey(page, result, watch)
