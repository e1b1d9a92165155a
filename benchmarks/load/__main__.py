"""Measure CPU per event, latency and memory of the workers with generated events: one in ten leads to a coupon.

    python -m benchmarks.load
    python -m benchmarks.load --engine kafka --guarantee exactly_once --json load.json
    python -m benchmarks.load --rates 300 1000 --seconds 60
    python -m benchmarks.load --bootstrap 127.0.0.1:9092 --yes-it-is-a-test-broker

Starts a broker and workers, works off a backlog, takes in new shoppers to see how memory grows, then sends at each
steady rate for --seconds. A live event costs more than one of a backlog: batches are small, and each has a fixed price.
CPU is that of all workers; batches are those of all agents.

Latency runs from when an event was due to be sent until its coupon is read, so that no stall is hidden; percentiles are
exact. Its parts between topics are read from the records' headers and times afterwards. The floor is the same rate
through a plain topic, without the engine. A rate at which lag grows is saturated: it has no latency. The first tenth of
each part warms up. Some five minutes; leave the machine alone meanwhile.

Ends with exit code 1 if an event that should lead to a coupon led to none. Ctrl-C ends it early and reports the parts
that are complete; nothing that was started or created is left behind.
"""

import argparse
import sys
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

from msgspec.structs import replace

from benchmarks.command import as_json, number
from benchmarks.load.printed import print_report
from benchmarks.load.run import BenchPlan, BenchReport, check, run
from benchmarks.load.target import CONSENT
from benchmarks.load.workload import Workload
from stream_coupons.cli import terminal
from stream_coupons.cli.consoles import INTERRUPTED, print_error
from stream_coupons.cli.options import settings_from
from stream_coupons.core.errors import BadConfig, StreamCouponsError
from stream_coupons.kafka.settings import Guarantee
from stream_coupons.ops.interrupts import Interruptions
from stream_coupons.settings import Settings

RATES = (100.0, 300.0, 1000.0, 3000.0)
Measure = Callable[[BenchPlan, Callable[[str, float], None], Callable[[str], None]], BenchReport]


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.load",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    positive, guarantees = number(int, 1), [each.value for each in Guarantee]
    parser.add_argument("--engine", help="broker to start: embedded (default), or kafka (Apache Kafka; Java, Maven)")
    parser.add_argument("--bootstrap", "-b", metavar="HOST:PORT", help="test broker to use instead, without our topics")
    parser.add_argument(
        CONSENT, action="store_true", dest="consent", help="needed with --bootstrap: topics are created and deleted"
    )
    parser.add_argument("--workers", type=positive, default=2, help="processes, at most kafka.partitions: 2")
    parser.add_argument("--events", type=number(int, 100), default=100_000, help="of the backlog: 100,000")
    parser.add_argument("--shoppers", type=positive, default=20_000, help="of these events: 20,000")
    parser.add_argument("--coupons", type=positive, default=200, help="of the catalogue: 200")
    parser.add_argument(
        "--rates", type=number(float, 1), nargs="+", default=RATES, help="steady loads, events a second: 100 to 3,000"
    )
    parser.add_argument("--seconds", type=number(float, 1), default=30.0, help="of each steady load: 30")
    parser.add_argument("--guarantee", choices=guarantees, help="kafka.guarantee, if not as the settings say")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures here; - for standard output")
    parser.add_argument("--config", "-c", type=Path, help="settings, as of `stream-coupons worker`")
    return parser.parse_args(arguments)


def plan_of(options: argparse.Namespace) -> BenchPlan:
    """Return the plan that the options describe.

    Raises
    ------
    BadConfig
        If it cannot be carried out.
    """
    path = options.json
    if path is not None and str(path) != "-" and (path.is_dir() or not path.resolve().parent.is_dir()):
        raise BadConfig(f"--json {path}: expected a file in a folder that exists")
    workload = Workload(events=options.events, shoppers=options.shoppers, coupons=options.coupons)
    plan = BenchPlan(
        settings=workload.settings(_settings(options)),
        workload=workload,
        engine="" if options.bootstrap is not None else options.engine or "embedded",
        workers=options.workers,
        rates=tuple(options.rates),
        seconds=options.seconds,
    )
    check(plan)
    return plan


def _settings(options: argparse.Namespace) -> Settings:
    """Return settings for a group that nobody else has."""
    if options.bootstrap is not None and options.engine is not None:
        raise BadConfig("--engine starts a broker and --bootstrap uses one that runs: expected one of them")
    if options.bootstrap is not None and not options.consent:
        raise BadConfig(
            f"the benchmark creates the engine's topics at {options.bootstrap}, fills them with made-up events and "
            f"deletes them: never do that to a production system. If it is a test broker, add {CONSENT}"
        )
    settings = settings_from(options.config, options.bootstrap)
    kafka = replace(settings.kafka, group_id=f"bench-{uuid.uuid4().hex[:12]}")
    if options.bootstrap is None:
        kafka = replace(kafka, replication=1)  # a broker of our own is one node
    if options.guarantee is not None:
        kafka = replace(kafka, guarantee=Guarantee(options.guarantee))
    return replace(settings, kafka=kafka)


def main(arguments: Sequence[str] | None = None, measure: Measure = run) -> int:
    """Measure, and report. Return the exit code: 2 if it cannot be done, 130 after Ctrl-C, 1 if coupons are missing."""
    options = parse(arguments)
    try:
        report = _measured(plan_of(options), measure)
        if report is None:
            return INTERRUPTED
        _write(report, options.json)
    except StreamCouponsError as error:
        print_error(str(error))
        return 2
    if report.interrupted:
        terminal.remark("interrupted: only what is reported was measured to its end")
        return INTERRUPTED
    return 1 if report.missing else 0


def _measured(plan: BenchPlan, measure: Measure) -> BenchReport | None:
    """Return the report; None after an interruption before anything was measured."""
    warnings: list[str] = []
    with terminal.fraction_progress("starting the broker", 1.0) as progress, Interruptions(at_once=True):

        def show(what: str, share: float) -> None:
            progress.update(progress.task_ids[0], description=what, completed=share)

        try:
            return measure(plan, show, warnings.append)
        except KeyboardInterrupt:
            progress.stop()
            gone = "workers, broker and files" if plan.engine else "workers, topics, group and files"
            left = "see the warning for what is left" if warnings else f"nothing left behind: {gone} are gone"
            terminal.remark(f"interrupted: nothing is reported, {left}")
            return None
        finally:
            progress.stop()
            for warning in warnings:
                terminal.warn(warning)


def _write(report: BenchReport, path: Path | None) -> None:
    """Print the report, or write it as JSON to a file and print it, or print it as JSON."""
    text = as_json(report)
    if str(path) == "-":
        print(text)
        return
    if path is not None:
        path.write_text(text + "\n", encoding="utf-8")
    print_report(report)


if __name__ == "__main__":
    sys.exit(main())
