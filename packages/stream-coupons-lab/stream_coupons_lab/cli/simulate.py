"""`simulate`: shoppers with a hidden truth against a running system, in a closed loop."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from msgspec import Struct
from rich.progress import Progress

from stream_coupons.cli import terminal
from stream_coupons.cli.options import BootstrapOption, ConfigOption, JsonOption, publisher_of, settings_with_topics
from stream_coupons.kafka import topics
from stream_coupons.ops.interrupts import Interruptions
from stream_coupons.settings import Settings
from stream_coupons_lab.cli.output import fields_table

if TYPE_CHECKING:  # imported where they are used: no help needs them
    from stream_coupons_lab.demo.shoppers import ClosedLoop
    from stream_coupons_lab.simulation.shoppers import World

DAY_S = 86400.0
DAY_IN_TEN_SECONDS = DAY_S / 10


class SimulationReport(Struct, frozen=True, kw_only=True):
    """Totals of a simulation; the shoppers are synthetic, so no figure is evidence about real shoppers."""

    seed: int
    shoppers: int
    simulated_days: float
    events: dict[str, int]
    ticks: int
    coupons_published: int
    issues: int
    duplicates: int
    strangers: int
    unreadable: int
    impressions: int
    clicks: int
    redemptions: int
    persuaded: int
    discount_minor: int
    order_value_minor: int
    incremental_margin_minor: float
    interrupted: bool


def simulate(  # noqa: PLR0913 - the options of a command
    shoppers: Annotated[int, typer.Option(help="How many shoppers.", min=1)] = 300,
    days: Annotated[int, typer.Option(help="For how many simulated days.", min=1)] = 21,
    coupons: Annotated[int, typer.Option(help="How many coupons their catalogue has.", min=1)] = 40,
    seed: Annotated[int, typer.Option(help="The same seed makes the same shoppers.", min=0)] = 0,
    domain: Annotated[str, typer.Option(help="Of their events and coupons: other domains stay apart.")] = "simulated",
    speed: Annotated[
        float, typer.Option(help="Simulated seconds a second; the default takes ten seconds for a day.", min=1e-3)
    ] = DAY_IN_TEN_SECONDS,
    catalog: Annotated[
        bool, typer.Option("--catalog/--no-catalog", help="Publish the shoppers' coupons first.")
    ] = True,
    json: JsonOption = False,
    config: ConfigOption = None,
    bootstrap: BootstrapOption = None,
) -> None:
    """Let simulated shoppers browse, order, be given coupons by the running
    workers, and answer.

    Ticks are event time and come from here: run the workers with
    worker.tick_every_s = 0, or theirs, of real time, close every window at
    once. A seed that was simulated before sends the same event ids, which
    count as duplicates: take another one. Synthetic traffic to look at,
    never evidence about real shoppers.

    Examples: STREAM_COUPONS_WORKER__TICK_EVERY_S=0 stream-coupons worker
              stream-coupons simulate --shoppers 100 --days 7
              stream-coupons simulate --seed 1 --speed 60 --json
    """
    from stream_coupons_lab.simulation.shoppers import World, WorldSettings

    world = World(WorldSettings(seed=seed, shoppers=shoppers, days=days, coupons=coupons, domain=domain))
    settings = settings_with_topics(config, bootstrap)
    report, foreign_tick = _run(world, settings, speed, catalog)
    _print(report, foreign_tick, json)


def _run(world: World, settings: Settings, speed: float, with_catalogue: bool) -> tuple[SimulationReport, float | None]:
    from stream_coupons.kafka.clients import Reader
    from stream_coupons_lab.demo.shoppers import ClosedLoop

    kafka = settings.kafka
    names = [topics.ISSUES.name, topics.TICKS.name]
    with (
        Reader(kafka, names, from_beginning=False) as reader,
        publisher_of(kafka) as publisher,
        terminal.fraction_progress("simulating", world.ends_at - world.now) as progress,
        Interruptions() as interruptions,
    ):
        loop = ClosedLoop(world, publisher, reader, kafka.partitions, speed)
        if with_catalogue:
            loop.publish_catalogue()
        started_at = world.now
        for now in loop.steps():
            _show(progress, now - started_at, world)
            if interruptions.happened:
                break
        publisher.flush()
    return _report(loop, (world.now - started_at) / DAY_S, interruptions.happened), loop.foreign_tick_at


def _show(progress: Progress, elapsed: float, world: World) -> None:
    done = world.statistics
    note = f"day {elapsed / DAY_S:.1f}  {done.issues} coupons  {done.clicks} clicks  {done.redemptions} redeemed"
    progress.update(progress.task_ids[0], completed=elapsed, note=note)


def _report(loop: ClosedLoop, simulated_days: float, interrupted: bool) -> SimulationReport:
    world = loop.world
    done = asdict(world.statistics)
    done["incremental_margin_minor"] = round(done["incremental_margin_minor"], 2)
    return SimulationReport(
        seed=world.settings.seed,
        shoppers=world.settings.shoppers,
        simulated_days=round(simulated_days, 3),
        events=dict(sorted(loop.events.items())),
        ticks=loop.ticks,
        coupons_published=loop.coupons_published,
        unreadable=loop.unreadable,
        interrupted=interrupted,
        **done,
    )


def _print(report: SimulationReport, foreign_tick_at: float | None, json: bool) -> None:
    if json:
        terminal.print_json(report)
    else:
        terminal.stdout().print(fields_table(report))
    if foreign_tick_at is not None:
        terminal.warn(
            f"someone else writes ticks, one says {terminal.utc(foreign_tick_at)}: they close the windows of simulated "
            "coupons at once; run the workers with worker.tick_every_s = 0"
        )
    if not report.issues and not report.interrupted:
        terminal.warn("no coupon was issued; do workers run, and was this seed simulated before?")
    if report.interrupted:
        terminal.stop_interrupted(": all that is reported was appended")
