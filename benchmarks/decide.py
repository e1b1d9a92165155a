"""Measure POST /v1/decide beside the path through the topics: one event in, its coupon out.

    python -m benchmarks.decide
    python -m benchmarks.decide --rate 300 --seconds 30
    python -m benchmarks.decide --engine embedded --rounds 1 --json decide.json

Starts Apache Kafka (or the embedded broker, --engine), workers and a console. Every event is a cart of another shopper
and leads to a coupon. Rounds alternate: events are produced at --rate and their coupons are read from coupon-issues;
then as many are posted to the console at the same rate. Latency runs from when an event was due, so that no stall is
hidden, until its coupon is read or its answer has come; the first tenth of each round warms up. Percentiles are exact,
over all rounds of a path. CPU is that of the console's process, as a share of one core.

Ctrl-C ends it early; nothing that was started is left behind. Exit code 1 if an event led to no coupon.
"""

import argparse
import asyncio
import gc
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.command import as_json, number
from benchmarks.console import reading_console
from benchmarks.load import latency
from benchmarks.load.latency import Client, Latency, Timing
from benchmarks.load.live import trigger_of
from benchmarks.load.pace import on_schedule
from benchmarks.load.processes import cpu_s
from benchmarks.load.workload import Send, Workload
from loopback_kafka import open_broker
from stream_coupons import secret
from stream_coupons.cli import terminal
from stream_coupons.core.errors import StreamCouponsError
from stream_coupons.core.messages.inputs import CartEvent, Item
from stream_coupons.kafka import topics
from stream_coupons.kafka.codec import encode
from stream_coupons.settings import load
from stream_coupons_lab.demo.system import LocalSystem

PATHS = ("topics", "decide")
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Poster:
    """Posts events to a console over connections that stay open.

    Parameters
    ----------
    address, token : str
        Of the console.
    """

    def __init__(self, address: str, token: str) -> None:
        self._host = urlsplit(address).netloc
        self._head = (
            f"POST /v1/decide?within_ms=10000 HTTP/1.1\r\nHost: {self._host}\r\nAuthorization: Bearer {token}\r\n"
            "Content-Type: application/json\r\nContent-Length: "
        )
        self._idle: list[Connection] = []

    def measure(self, sends: Sequence[Send], rate: float) -> Timing:
        """Post all at the rate, and wait for the answers."""
        gc.collect()
        gc.freeze()
        try:
            return asyncio.run(self._measure(sends, rate))
        finally:
            gc.unfreeze()

    async def _measure(self, sends: Sequence[Send], rate: float) -> Timing:
        timing, tasks = Timing(), set[asyncio.Task[None]]()
        began, cpu_began = time.monotonic(), time.process_time()
        self._idle.clear()
        async for place, due in on_schedule(len(sends), rate, began + 0.1):
            timing.due[sends[place].waits_for] = due
            timing.late_s.append(time.monotonic() - due)
            tasks.add(asyncio.create_task(self._post(sends[place], timing)))
        await asyncio.gather(*tasks)
        for _, writer in self._idle:
            writer.close()
        timing.wall_s, timing.cpu_s = time.monotonic() - began, time.process_time() - cpu_began
        return timing

    async def _post(self, send: Send, timing: Timing) -> None:
        body = b'{"kind":"cart",' + send.value[1:]
        request = self._head.encode() + f"{len(body)}\r\n\r\n".encode() + body
        while True:
            connection = self._idle.pop() if self._idle else await asyncio.open_connection(*self._host.split(":"))
            try:
                answer = await _answer(connection, request)
                break
            except (ConnectionError, asyncio.IncompleteReadError):
                connection[1].close()  # it was idle for so long that the console closed it
        if answer is not None and json.loads(answer)["result"] == "given":
            timing.came[send.waits_for] = time.monotonic()
        self._idle.append(connection)


async def _answer(connection: Connection, request: bytes) -> bytes | None:
    """Return the body of the answer to a request; None if its status is not 200."""
    reader, writer = connection
    writer.write(request)
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.partition(b"content-length:")[2].split(b"\r\n")[0])
    body = await reader.readexactly(length)
    return body if head.startswith(b"http/1.1 200") else None


def carts(begins_at: int, count: int, partitions: int) -> Iterator[Send]:
    """Yield carts, each of another shopper."""
    for place in range(begins_at, begins_at + count):
        user_id, category = f"shopper-{place}", place % 40
        item = Item(item_id=f"item-{category}-1", category=f"category-{category}", price_minor=2500)
        event = CartEvent(event_id=f"event-{place}", user_id=user_id, occurred_at=time.time(), item=item)
        key = user_id.encode()
        partition = topics.partition_for(key, partitions)
        yield Send(topics.CART.name, partition, key, encode(event), event.event_id)


def pooled(timings: Sequence[Timing]) -> Timing:
    """Return the times of some rounds as those of one, each without its warm-up."""
    found = Timing(measured_from=0.0)
    for one in timings:
        names = one.measured()
        found.due |= {name: one.due[name] for name in names}
        found.came |= {name: one.came[name] for name in names if name in one.came}
        found.late_s += one.late_s
        found.cpu_s, found.wall_s = found.cpu_s + one.cpu_s, found.wall_s + one.wall_s
    return found


def measure(
    plan: argparse.Namespace, system: LocalSystem, folder: Path, show: Callable[[int], object]
) -> dict[str, object]:
    """Return the latencies of both paths on a system that runs."""
    token, kafka = secret.make_bytes(folder / "console.token").hex(), system.settings.kafka
    timings: dict[str, list[Timing]] = {name: [] for name in PATHS}
    cpu, sent, count = 0.0, 0, int(plan.rate * plan.seconds / plan.rounds)
    options = ("--token-file", str(folder / "console.token"))
    with reading_console(folder / "worker-1.toml", *options) as (address, pid):
        for turn in range(plan.rounds * len(PATHS)):
            path, sends = PATHS[turn % 2], list(carts(sent, count, kafka.partitions))
            sent += count
            show(turn)
            before = cpu_s([pid])
            if path == "topics":
                client = Client(system.connection, topics.ISSUES.name, kafka.partitions, trigger_of)
                timings[path].append(client.measure(sends, plan.rate, lambda _: None))
            else:
                timings[path].append(Poster(address, token).measure(sends, plan.rate))
                cpu += cpu_s([pid]) - before
            system.wait_idle(60.0)
    found = {path: latency.summary(pooled(some), plan.rate, count * plan.rounds) for path, some in timings.items()}
    seconds = sum(one.wall_s for one in timings["decide"])
    return {"rate": plan.rate, "latency": found, "console_cpu_ratio": round(cpu / seconds, 3)}


def print_figures(found: dict[str, object]) -> bool:
    """Print a table; return True if every event led to its coupon."""
    some: dict[str, Latency] = found["latency"]  # type: ignore[assignment]
    rows = [
        (path, *(f"{getattr(one, name) or 0:.1f}" for name in ("p50_ms", "p90_ms", "p99_ms", "max_ms")), one.missing)
        for path, one in some.items()
    ]
    terminal.print_table(("path",), [[*map(str, row)] for row in rows], ("p50", "p90", "p99", "max", "missing"))
    terminal.say(f"{found['rate']:g} events/s, milliseconds; console: {found['console_cpu_ratio']} of a core")
    return not any(one.missing for one in some.values())


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.decide", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--engine", choices=("kafka", "embedded"), default="kafka", help="broker to start: kafka")
    parser.add_argument("--workers", type=number(int, 1), default=2, help="processes: 2")
    parser.add_argument("--rate", type=number(float, 1), default=300.0, help="events a second: 300")
    parser.add_argument("--seconds", type=number(float, 1), default=30.0, help="of each path: 30")
    parser.add_argument("--rounds", type=number(int, 1), default=2, help="rounds of each path: 2")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures here")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit code."""
    plan, workload = parse(arguments), Workload(events=1, shoppers=1, coupons=200)
    try:
        with tempfile.TemporaryDirectory(prefix="decide-") as name, ExitStack() as stack, suppress(KeyboardInterrupt):
            folder = Path(name)
            broker = open_broker(plan.engine, folder / "broker")
            broker.start()
            stack.callback(broker.stop)
            system = LocalSystem(broker, workload.settings(load()), folder, plan.workers)
            system.prepare(workload.catalogue())
            stack.enter_context(system)
            system.wait_ready()
            with terminal.fraction_progress("rounds", plan.rounds * 2) as progress:
                [bar] = progress.task_ids
                found = measure(
                    plan, system, folder, lambda share: progress.update(bar, completed=share * plan.rounds * 2)
                )
            is_whole = print_figures(found)
            if plan.json is not None:
                plan.json.write_text(as_json(found) + "\n")
            return 0 if is_whole else 1
    except StreamCouponsError as error:
        terminal.stderr().print(f"[red]error:[/] {error}", highlight=False, soft_wrap=True)
        return 2
    return terminal.INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
