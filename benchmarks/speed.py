"""CPU per event of our worker, plain Faust and Quix Streams, in a backlog and at steady rates, in one run.

Every runtime is one process on a core of its own; one Apache Kafka broker and all else run on the other cores. All read
the same event file and run the same steps. Repetitions are interleaved, and each begins with empty topics. CPU is user
and system time of all threads from the end of the warm-up to the moment when all input is committed, per source event.
At the steady rates of `--live-rates` it is that of the load without its first tenth, and latency stands beside it.

examples:
  python -m benchmarks.speed                            everything: half an hour
  python -m benchmarks.speed --events 20000 --repeats 1
  python -m benchmarks.speed --parts live               steady rates only
  python -m benchmarks.speed --runtimes ours faust      without Quix Streams installed
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.load.measure import LIVE_WARM_UP, Bench
from benchmarks.load.report import Results, summary
from benchmarks.load.runtimes import BY_NAME, LIVE, Cores, Runtime, RuntimeFailed
from benchmarks.load.workload import Workload
from loopback_kafka import BrokerUnavailable, open_broker
from stream_coupons.cli.terminal import fraction_progress
from stream_coupons.core.errors import StreamCouponsError

EVENTS = 40_000
"""No shopper comes twice: a coupon is not withheld because the one before is on its way, as it may be in a backlog."""
TOLERANCE_RATIO = 0.005
"""How far a runtime's issues may be from the number of carts: any two runtimes are then within a hundredth."""


PARTS = ("backlog", "live")
LIVE_RATES = (300.0, 1000.0)
LIVE_S = 30.0


@dataclass(frozen=True, slots=True)
class Plan:
    """Settings of one comparison.

    Attributes
    ----------
    runtimes : sequence of Runtime
        Those that work off a backlog.
    warm_up : float
        Share of the events before the backlog is measured.
    live : sequence of Runtime
        Those that are put under steady loads, at each of `live_rates`, in events a second, for `live_s` seconds.
    """

    workload: Workload
    partitions: int
    warm_up: float
    repeats: int
    runtimes: Sequence[Runtime]
    live: Sequence[Runtime] = ()
    live_rates: Sequence[float] = LIVE_RATES
    live_s: float = LIVE_S

    @property
    def published(self) -> Workload:
        """The workload with as many events as the longest run takes."""
        longest = max((int(rate * self.live_s) + LIVE_WARM_UP for rate in self.live_rates), default=0)
        return msgspec.structs.replace(self.workload, events=max(self.workload.events, longest if self.live else 0))


def measure(plan: Plan) -> Results:
    """All runs on one broker, interleaved.

    Raises
    ------
    RuntimeFailed
        If a runtime fails, or wrote another number of records than it should have.
    """
    cores = Cores.available()
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores.others)
    sends = list(plan.workload.sends(0, plan.published.events, plan.partitions))
    carts = sum(bool(send.waits_for) for send in sends[: plan.workload.events])
    runs: list[dict[str, Any]] = []
    live_runs: list[dict[str, Any]] = []
    loads = [(rate, runtime) for rate in plan.live_rates for runtime in plan.live]
    try:
        with (
            tempfile.TemporaryDirectory() as folder,
            open_broker("kafka", Path(folder) / "broker") as broker,
            fraction_progress("runs", plan.repeats * (len(plan.runtimes) + len(loads))) as progress,
        ):
            bench = Bench(broker, plan.workload, plan.partitions, sends, cores, Path(folder))

            def show(share: float) -> None:
                progress.update(progress.task_ids[0], completed=len(runs) + len(live_runs) + share)

            for repetition in range(plan.repeats):
                for runtime in plan.runtimes:
                    run = bench.backlog(runtime, repetition, int(plan.workload.events * plan.warm_up), show)
                    check(run, carts)
                    runs.append(run)
                for rate, runtime in loads:
                    run = bench.steady(runtime, repetition, rate, int(rate * plan.live_s), show)
                    live_runs.append(run)
    finally:
        os.sched_setaffinity(0, before)
    is_pinned = cores.measured != cores.others
    return Results(plan.workload, plan.partitions, plan.warm_up, plan.repeats, carts, is_pinned, runs, live_runs)


def check(run: dict[str, Any], carts: int) -> None:
    """See that a runtime that runs all steps did so: each cart leads to an issue, and neighbours are found.

    How many vectors there are depends on the order in which topics are read, so only their being there is checked.

    Raises
    ------
    RuntimeFailed
    """
    written = run["written"]
    if not written:
        return
    if abs(written["issues"] - carts) > TOLERANCE_RATIO * carts:
        raise RuntimeFailed(
            f"{run['runtime']} wrote {written['issues']} issues, expected one for each of {carts} carts"
        )
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
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="which (default: both)")
    parser.add_argument(
        "--live-rates", nargs="+", type=float, default=list(LIVE_RATES), help="events a second (default: %(default)s)"
    )
    parser.add_argument("--live-seconds", type=float, default=LIVE_S, help="of each steady load (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    options = parser.parse_args(arguments)
    if options.events < 100 or options.repeats < 1 or options.partitions < 1:
        parser.error("needs at least 100 events, one repeat and one partition")
    if min(options.live_rates) * options.live_seconds < 100:
        parser.error("--live-rates times --live-seconds must be at least 100 events")
    if not 0 < options.warm_up < 1:
        parser.error(f"--warm-up is {options.warm_up}, expected a ratio between 0 and 1")
    if any(BY_NAME[name].program == "peer_quix" for name in options.runtimes) and not find_spec("quixstreams"):
        parser.error("Quix Streams is not installed: `make bench` sets it up, or choose other --runtimes")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the figures as JSON."""
    options = parse(arguments)
    plan = Plan(
        workload=Workload(events=options.events),
        partitions=options.partitions,
        warm_up=options.warm_up,
        repeats=options.repeats,
        runtimes=[BY_NAME[name] for name in options.runtimes] if "backlog" in options.parts else [],
        live=[each for each in LIVE if each.name in options.runtimes] if "live" in options.parts else [],
        live_rates=options.live_rates,
        live_s=options.live_seconds,
    )
    try:
        results = measure(plan)
    except (BrokerUnavailable, StreamCouponsError) as error:
        sys.exit(f"speed: {error}")
    text = json.dumps(summary(results), indent=2)
    print(text)
    if options.json is not None:
        options.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
