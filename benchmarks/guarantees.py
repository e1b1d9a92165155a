"""What exactly once costs against at least once on Apache Kafka: latency at a steady rate, throughput of a backlog.

`python -m benchmarks.guarantees`. Both guarantees run in turn, several times, each on an empty broker with one
worker; what counts are the ratios of the medians. Prints JSON.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec
from rich.progress import Progress

from stream_coupons.broker import open_broker
from stream_coupons.kafka import topics
from stream_coupons.kafka.clients import Publisher, Reader
from stream_coupons.kafka.records import BEGAN_HEADER
from stream_coupons.kafka.settings import Guarantee
from stream_coupons.lab.demo.system import LocalSystem
from stream_coupons.settings import Settings
from tests.integration.builders import AT, browse, coupon, settings

SHOPPERS = 500
WARM_UP = 300


def measured(guarantee: Guarantee) -> Settings:
    """Every browse event leads to a coupon, as long as the shopper has none open."""
    usual = settings(guarantee=guarantee, max_issues_per_window=1_000_000, reorder_suppress_s=0)
    return msgspec.structs.replace(usual, kafka=msgspec.structs.replace(usual.kafka, session_timeout_s=30))


def run(guarantee: Guarantee, rate: float, seconds: float, backlog: int) -> dict[str, Any]:
    """One system: its latencies at a rate, then the time for a backlog."""
    with tempfile.TemporaryDirectory() as folder, open_broker("kafka", Path(folder) / "broker") as broker:
        system = LocalSystem(broker, measured(guarantee), Path(folder) / "workers", 1)
        system.prepare([coupon(f"c{n}", max_per_user=None) for n in range(20)])
        with (
            system,
            system.publisher() as publisher,
            Reader(system.connection, [topics.ISSUES.name], from_beginning=True) as reader,
        ):
            system.wait_ready()
            sent = _at_rate(publisher, reader, 0, rate, WARM_UP / rate)[0]
            sent, latencies = _at_rate(publisher, reader, sent, rate, seconds)
            system.wait_idle(60.0)
            for number in range(sent, sent + backlog):
                _browse(publisher, number)
            began = time.perf_counter()
            publisher.flush()
            system.wait_idle(600.0)
            took_s = time.perf_counter() - began
    cuts = statistics.quantiles(latencies, n=100)
    return {
        "guarantee": str(guarantee),
        "issues": len(latencies),
        "p50_ms": cuts[49],
        "p99_ms": cuts[98],
        "events_per_s": backlog / took_s,
    }


def _at_rate(publisher: Publisher, reader: Reader, sent: int, rate: float, seconds: float) -> tuple[int, list[float]]:
    """Send at a rate; (events sent in all, milliseconds from a trigger's append to its issue being read)."""
    latencies: list[float] = []
    began = time.perf_counter()
    first = sent
    while (passed := time.perf_counter() - began) < seconds + 1.0:
        while passed < seconds and sent - first < passed * rate:
            _browse(publisher, sent)
            sent += 1
        for record in reader.poll(0.001):
            began_ms = next(value for name, value in record.headers if name == BEGAN_HEADER)
            latencies.append(time.time() * 1000.0 - int(began_ms))
    return sent, latencies


def _browse(publisher: Publisher, number: int) -> None:
    user = f"u{number % SHOPPERS}"
    publisher.send(topics.BROWSE, browse(f"e{number}", user, f"i{number % 50}", AT + number))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=200.0, help="events a second for latency")
    parser.add_argument("--seconds", type=float, default=15.0, help="of latency in each run")
    parser.add_argument("--backlog", type=int, default=20_000, help="events for throughput")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    runs = []
    with Progress() as progress:
        task = progress.add_task("measuring", total=options.repeats * len(Guarantee))
        for _ in range(options.repeats):
            for guarantee in Guarantee:
                runs.append(run(guarantee, options.rate, options.seconds, options.backlog))
                progress.advance(task)
    medians = {
        str(guarantee): {
            name: round(statistics.median(one[name] for one in runs if one["guarantee"] == guarantee), 1)
            for name in ("p50_ms", "p99_ms", "events_per_s")
        }
        for guarantee in Guarantee
    }
    once, least = medians[Guarantee.EXACTLY_ONCE], medians[Guarantee.AT_LEAST_ONCE]
    ratios = {name: round(once[name] / least[name], 2) for name in once}
    print(json.dumps({"options": vars(options), "medians": medians, "exactly_over_at_least": ratios, "runs": runs}))


if __name__ == "__main__":
    main()
