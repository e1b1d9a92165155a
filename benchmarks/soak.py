"""Run a system for long at a steady rate; tell whether memory and CPU per event grow.

    python -m benchmarks.soak --minutes 100 --json soak.json
    python -m benchmarks.soak --minutes 10 --warm-up 0 --after 3 --rate 50 --shoppers 200

Starts Apache Kafka (or the embedded broker, --engine) and two workers with their learners. Loads a history that fills
every shopper's profile, and starts them anew over states with as many closed issues as one keeps: at one a minute they
would take hours. Then sends --rate browse events a second, and what follows from them: with 47, about 100 in all. What
no history fills, such as open issues and what the learner waits for, fills during --warm-up minutes, which come before
minute 0 and are read as negative ones. Every ten minutes a third worker joins for a minute. Memory and CPU are read
every ten seconds. The slope of memory counts from minute --after, with a 95 % interval by a bootstrap over blocks of
five minutes. CPU per event at the end is compared with that at --after, over windows of a tenth of the time, each over
what one and the same piece of work costs meanwhile: on a shared machine a second of CPU does a fifth more at one time
than at another.

Ctrl-C and SIGTERM end it early, with the figures so far; nothing that was started is left behind. `replaced` names the
processes that ended by themselves meanwhile: learners, too, which their workers start again.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from msgspec import to_builtins
from msgspec.structs import replace

from benchmarks.cluster_faults.supervised import SupervisedSystem
from benchmarks.command import number
from benchmarks.console import rss_mib, settings_of_shop
from benchmarks.live_shop import CAMPAIGNS, CATEGORIES, COUPONS, open_shop
from benchmarks.load.processes import cpu_s, with_children
from loopback_kafka import open_broker
from stream_coupons.core.messages.inputs import BrowseEvent, Item, OrderEvent
from stream_coupons.core.shopper.state import MAX_CLOSED, MAX_CLOSED_ISSUES, OpenIssue, Shopper
from stream_coupons.core.shopper.uses import Use
from stream_coupons.kafka import topics
from stream_coupons.kafka.clients import Reader
from stream_coupons.ops.interrupts import Interruptions
from stream_coupons.runtime.cells import CellCodec
from stream_coupons.runtime.steps import SHARED_PREFIX
from stream_coupons.settings import Settings
from stream_coupons_lab.demo.system import SystemFailed

DAY_S = 86400.0
USERS = topics.changelog("users")
DOMAIN = "ecommerce"
MUCH_MINOR = 10**10
"""A budget that does not end."""
READ_EVERY_S = 10.0
CHURN_EVERY_S, CHURN_S = 600.0, 60.0
BLOCK_S = 300.0
RESAMPLES = 2000
WORK = json.dumps([{"item": f"tea-{number}", "price_minor": number} for number in range(200)])


def settings_of_soak() -> Settings:
    """Return settings under which all that grows has stopped growing by the minute from which slopes count.

    By default visits teach after an hour: the first model, and the memory that it takes, would come amid the readings.
    """
    settings = settings_of_shop()
    policy = replace(settings.policy, max_issues_per_window=20, issue_window_s=300.0)
    return replace(settings, policy=policy, attribution=replace(settings.attribution, grace_s=60.0, visit_s=60.0))


def load_history(system: SupervisedSystem, shoppers: int, events: int) -> int:
    """Send the past of every shopper, older than any trigger; return the number of events."""
    draw, began = random.Random(3), time.time() - 28 * DAY_S
    with system.publisher() as publisher:
        for number in range(events):
            at = began + number * (27 * DAY_S / events)
            for shopper in range(shoppers):
                category, user_id = draw.choice(CATEGORIES), f"shopper-{shopper}"
                price = draw.randrange(1000, 6000)
                item = Item(item_id=f"{category}-{draw.randrange(20)}", category=category, price_minor=price)
                about: dict[str, Any] = {"event_id": f"past-{number}-{shopper}", "user_id": user_id, "occurred_at": at}
                if draw.random() < 0.5:
                    order = OrderEvent(**about, order_id=about["event_id"], items=[item], total_minor=price)
                    publisher.send(topics.ORDER, order)
                else:
                    publisher.send(topics.BROWSE, BrowseEvent(**about, item=item))
    return shoppers * events


def fill(system: SupervisedSystem) -> None:
    """Give the states of all shoppers as many closed issues as one keeps, as large as those that replace them.

    The workers are stopped.
    """
    codec, cells = CellCodec(Shopper), dict[bytes, bytes]()
    with Reader(system.connection, [USERS.name], from_beginning=True) as reader:
        cells |= {record.key: record.value for record in reader.read_to_end()}
    with system.publisher() as publisher:
        for key, data in cells.items():
            if key.startswith(SHARED_PREFIX.encode()):
                continue
            cell = codec.decode(data)
            for number in range(MAX_CLOSED):
                cell.state.remember_closed(f"past-{number}")
            for number in range(MAX_CLOSED_ISSUES):
                cell.state.keep_closed(closed_issue(number, time.time() - DAY_S))
            publisher.send_bytes(USERS, key, codec.encode(cell))


def closed_issue(number: int, at: float) -> OpenIssue:
    """Return an issue that has closed; the coupon of every sixth was used, as in the shop."""
    use = Use(2**63 + number, at + 0.1, 175, is_used=True, is_in_time=True, value_minor=3000)
    given = f"i{number:032x}", COUPONS[2].coupon_id, DOMAIN, at, at + 120.1, 94
    return OpenIssue(
        *given, b"", b"", (0.312694, 0.154122, 0.088903), 0.966666667, 771, observed=False, seen=True, clicked=True,
        until=at + 60.1, uses=[] if number % 6 else [use], scope_mark=2**63 + number, campaign_id="clearance",
        most_minor=800, expected_minor=87.93, variance=42436.69, value_minor=53.365, day=int(at / DAY_S),
    )  # fmt: skip


def processes(system: SupervisedSystem) -> dict[str, int]:
    """Return the processes of the first two workers, and of their learners, by name."""
    found = {}
    for worker in system.workers[:2]:
        found[worker.name], *learners = with_children(worker.process.pid)
        found |= {f"{worker.name} learner": pid for pid in learners}
    return found


def done(system: SupervisedSystem) -> float:
    """Return the count of events that all workers have applied."""
    inputs = {topic.name for topic in topics.INPUTS}
    return sum(
        value
        for (name, labels), value in system.totals("stream_coupons_records_total").items()
        if dict(labels).get("topic") in inputs
    )


def work_s() -> float:
    """Return the CPU seconds that a piece of work takes, always the same."""
    began = time.thread_time()
    for _ in range(500):
        json.loads(WORK)
    return time.thread_time() - began


def slope(minutes: Sequence[float], values: Sequence[float]) -> tuple[float, float, float]:
    """Return the slope an hour and its interval: least squares, resampled by residuals in blocks.

    Examples
    --------
    >>> [round(each, 6) for each in slope([0.0, 1.0, 2.0, 3.0], [5.0, 6.0, 7.0, 8.0])]
    [60.0, 60.0, 60.0]
    """
    at, found = np.asarray(minutes) / 60.0, np.asarray(values)
    line = np.polyfit(at, found, 1)
    rest, length = found - np.polyval(line, at), max(int(BLOCK_S / READ_EVERY_S), 1)
    draw, count = np.random.default_rng(1), len(found)
    starts = draw.integers(0, count, (RESAMPLES, -(-count // length)))
    drawn = (starts[:, :, None] + np.arange(length)).reshape(RESAMPLES, -1)[:, :count] % count
    centred = at - at.mean()
    slopes = line[0] + rest[drawn] @ centred / (centred @ centred)
    low, high = np.quantile(slopes, [0.025, 0.975])
    return float(line[0]), float(low), float(high)


def soak(plan: argparse.Namespace, system: SupervisedSystem) -> dict[str, Any]:
    """Run for the minutes of the plan; return the readings."""
    began, readings = time.monotonic() + 60.0 * plan.warm_up, list[dict[str, Any]]()
    try:
        with open_shop(system.settings, plan.rate, plan.shoppers):
            while (passed := time.monotonic() - began) < 60.0 * plan.minutes:
                system.check()
                is_churn = passed % CHURN_EVERY_S > CHURN_EVERY_S - CHURN_S
                if is_churn and len(system.workers) == 2:
                    system.add(1)
                elif not is_churn and len(system.workers) == 3:
                    system.remove()
                pids = processes(system)
                reading = {
                    "minute": round(passed / 60.0, 2),
                    "events": done(system),
                    "pids": pids,
                    "mib": {name: round(rss_mib(pid), 2) for name, pid in pids.items()},
                    "cpu_s": cpu_s(worker.process.pid for worker in system.workers[:2]),
                    "work_s": work_s(),
                }
                readings.append(reading)
                if len(readings) % 6 == 1:
                    at = f"minute {passed / 60.0:.0f} of {plan.minutes}, {reading['events']:,.0f} events"
                    print(f"{at}, {system.restarts} restarts: {reading['mib']}", file=sys.stderr)
                time.sleep(max(READ_EVERY_S - (time.monotonic() - began) % READ_EVERY_S, 0.1))
    except KeyboardInterrupt:
        print("ended early", file=sys.stderr)
    lag = ""
    try:
        system.wait_idle(120.0)
    except SystemFailed as failed:
        lag = str(failed)
    return {"readings": readings, "ended": to_builtins(system.ended), "lag": lag or 0}


def conclude(plan: argparse.Namespace, found: dict[str, Any]) -> dict[str, Any]:
    """Return the slopes of memory, and CPU per event at the end over that at the minute from which it counts."""
    late = [each for each in found["readings"] if each["minute"] >= plan.after]
    if len(late) < 4:
        return found
    minutes = [each["minute"] for each in late]
    names = list(late[0]["mib"])
    slopes = {name: slope(minutes, [each["mib"].get(name, 0.0) for each in late]) for name in names}
    window = max(len(found["readings"]) // 10, 1)

    def costs_ms(readings: Sequence[dict[str, Any]]) -> tuple[float, float]:
        first, last = readings[0], readings[-1]
        used = last["cpu_s"] - first["cpu_s"]
        an_event = used / max(last["events"] - first["events"], 1.0)
        return 1000.0 * an_event, 1000.0 * fmean(each["work_s"] for each in readings)

    (start, work_at_start), (end, work_at_end) = costs_ms(late[: window + 1]), costs_ms(late[-window - 1 :])
    return found | {
        "replaced": [name for name in names if len({each["pids"].get(name) for each in found["readings"]}) > 1],
        "mib_an_hour": {name: [round(each, 2) for each in three] for name, three in slopes.items()},
        "cpu_ms_an_event": {"at the start": round(start, 3), "at the end": round(end, 3)},
        "cpu_ms_of_the_work": {"at the start": round(work_at_start, 3), "at the end": round(work_at_end, 3)},
        "cpu_ratio": round(end / start / (work_at_end / work_at_start), 3),
    }


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the plan of a command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=number(int, 1), default=100, help="length (default: 100)")
    parser.add_argument("--warm-up", type=number(int, 0), default=20, help="minutes before minute 0 (default: 20)")
    parser.add_argument("--after", type=number(int, 0), default=20, help="minute from which slopes count (default: 20)")
    parser.add_argument("--rate", type=number(float, 0.1), default=47.0, help="browse events a second (default: 47)")
    parser.add_argument("--shoppers", type=number(int, 1), default=1000, help="fixed population (default: 1000)")
    parser.add_argument("--past", type=number(int, 1), default=200, help="events of each before (default: 200)")
    parser.add_argument("--engine", choices=("kafka", "embedded"), default="kafka")
    parser.add_argument("--json", type=Path, help="write all readings there")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep data and logs there")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    plan = parse(arguments)
    place = nullcontext(plan.keep) if plan.keep else tempfile.TemporaryDirectory(prefix="soak-")
    with Interruptions(at_once=True), place as folder:
        broker = open_broker(plan.engine, Path(folder) / "broker")
        broker.start()
        try:
            settings = settings_of_soak()
            settings = replace(settings, kafka=replace(settings.kafka, bootstrap=broker.bootstrap))
            first, system = (SupervisedSystem(broker, settings, Path(folder), 2) for _ in range(2))
            first.prepare(COUPONS, [replace(each, budget_minor=MUCH_MINOR) for each in CAMPAIGNS])
            with first:
                first.wait_ready()
                sent = load_history(first, plan.shoppers, plan.past)
                print(f"a past of {sent:,} events is sent", file=sys.stderr)
                first.wait_idle(1800.0)
            fill(first)
            with system:
                system.wait_ready()
                found = conclude(plan, soak(plan, system))
        finally:
            broker.stop()
    if plan.json is not None:
        plan.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({name: value for name, value in found.items() if name != "readings"}, indent=1))


if __name__ == "__main__":
    main()
