"""What an event costs in CPU: our worker, plain Faust, Quix Streams and the floors below them, all in one run.

Every runtime is one process on a core of its own; one Apache Kafka broker and all else run on the other cores. All read
the same event file and run the same steps. Repetitions are interleaved, and each begins with empty topics. CPU is user
and system time of all threads from the end of the warm-up to the moment when all input is committed, per source event.

examples:
  python -m benchmarks.speed                            everything: a quarter of an hour
  python -m benchmarks.speed --events 20000 --repeats 1
  python -m benchmarks.speed --runtimes ours faust      without Quix Streams installed
  python -m benchmarks.speed --write docs               and write docs/benchmarks.md and docs/benchmarks.svg
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.measure import Bench, event_file
from benchmarks.report import Results, summary, write_report
from benchmarks.runtimes import BY_NAME, Cores, Runtime, RuntimeFailed
from stream_coupons import topics
from stream_coupons.bench.workload import Workload
from stream_coupons.broker import BrokerUnavailable, open_broker
from stream_coupons.core.errors import StreamCouponsError

EVENTS = 40_000
"""No shopper comes twice: a coupon is not withheld because the one before is on its way, as it may be in a backlog."""
TOLERANCE_RATIO = 0.005
"""How far a runtime's issues may be from the number of carts: any two runtimes are then within a hundredth."""


def measure(runtimes: Sequence[Runtime], workload: Workload, partitions: int, warm_up: float, repeats: int) -> Results:
    """All runs on one broker, interleaved.

    Raises
    ------
    RuntimeFailed
        If a runtime fails, or wrote another number of records than it should have.
    """
    cores = Cores.available()
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores.others)
    events = event_file(workload, partitions)
    carts = sum(topic == topics.CART.name for topic, *_ in events)
    runs: list[dict[str, Any]] = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    try:
        with (
            tempfile.TemporaryDirectory() as folder,
            open_broker("kafka", Path(folder) / "broker") as broker,
            Progress(*columns, console=Console(stderr=True)) as progress,
        ):
            bench = Bench(broker, workload, partitions, events, int(len(events) * warm_up), cores, Path(folder))
            whole = progress.add_task("runs", total=repeats * len(runtimes))
            for repetition in range(repeats):
                for runtime in runtimes:
                    task = progress.add_task(f"{runtime.name} {repetition + 1}", total=len(events))
                    run = bench.run(runtime, repetition, lambda done, task=task: progress.update(task, completed=done))  # type: ignore[misc]
                    check(run, carts)
                    runs.append(run)
                    progress.remove_task(task)
                    progress.advance(whole)
    finally:
        os.sched_setaffinity(0, before)
    return Results(workload, partitions, warm_up, repeats, carts, cores.measured != cores.others, runs)


def check(run: dict[str, Any], carts: int) -> None:
    """See that a runtime that runs all steps did so: each cart leads to one of each, and neighbours are found.

    How many vectors there are depends on the order in which topics are read, so only their being there is checked.

    Raises
    ------
    RuntimeFailed
    """
    written = run["written"]
    if not written:
        return
    wrong = {
        noun: written[noun]
        for noun in ("proposals", "reservations", "issues", "settlements", "open_decisions")
        if abs(written[noun] - carts) > TOLERANCE_RATIO * carts
    }
    if wrong:
        raise RuntimeFailed(f"{run['runtime']} wrote {wrong}, expected one of each for each of {carts} carts")
    if not 0 < written["updates"] <= written["vectors"]:
        raise RuntimeFailed(f"{run['runtime']} wrote {written['updates']} updates for {written['vectors']} vectors")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Options, with what can be seen to be wrong before anything is started."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--events", type=int, default=EVENTS, help="source events (default: %(default)s)")
    parser.add_argument(
        "--warm-up", type=float, default=0.05, metavar="RATIO", help="of them before measuring (default: %(default)s)"
    )
    parser.add_argument("--repeats", type=int, default=3, help="runs of each runtime (default: %(default)s)")
    parser.add_argument("--runtimes", nargs="+", choices=BY_NAME, default=list(BY_NAME), help="which (default: all)")
    parser.add_argument("--partitions", type=int, default=4, help="of every topic (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    parser.add_argument("--write", type=Path, metavar="DIR", help="write benchmarks.md and benchmarks.svg here")
    options = parser.parse_args(arguments)
    if options.events < 100 or options.repeats < 1 or options.partitions < 1:
        parser.error("needs at least 100 events, one repeat and one partition")
    if not 0 < options.warm_up < 1:
        parser.error(f"--warm-up is {options.warm_up}, expected a ratio between 0 and 1")
    if any(BY_NAME[name].program == "peer_quix" for name in options.runtimes) and not find_spec("quixstreams"):
        parser.error("Quix Streams is not installed: `make bench` sets it up, or choose other --runtimes")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print JSON and, if asked to, write the report."""
    options = parse(arguments)
    runtimes = [BY_NAME[name] for name in options.runtimes]
    try:
        results = measure(
            runtimes, Workload(events=options.events), options.partitions, options.warm_up, options.repeats
        )
    except (BrokerUnavailable, StreamCouponsError) as error:
        sys.exit(f"speed: {error}")
    text = json.dumps(summary(results), indent=2)
    print(text)
    if options.json is not None:
        options.json.write_text(text + "\n", encoding="utf-8")
    if options.write is not None:
        write_report(results, options.write)


if __name__ == "__main__":
    main()
