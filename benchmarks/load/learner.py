"""Measure a learner that gets more examples than it can learn: what it samples, what it loses, and what that costs.

    python -m benchmarks.load.learner
    python -m benchmarks.load.learner --rate 10000 --seconds 600 --whole 500000

Starts a broker and a worker with its learner, and writes examples straight to `training-examples` at a steady rate.
Prints, of every snapshot, how many examples were learnt and left out, the level of thinning and the lag; then whether
an example in which something happened was lost, and the expected log loss of the model on rows that nobody learnt from.
Beside it stands that of a model that learnt every example up to one of those snapshots, the last one within --whole
examples, at some 2,000 a second. Ends with exit code 1 if an outcome was lost.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import msgspec
from msgspec import Struct

from benchmarks.command import as_json, number
from benchmarks.load.examples import RATES, Drawn, Rows, decisions, log_losses, rows_of, stream, value_of
from benchmarks.load.processes import cpu_s
from benchmarks.load.workload import Workload
from stream_coupons.cli.consoles import print_error
from stream_coupons.cli.terminal import fraction_progress, new_table, stdout
from stream_coupons.core.errors import StreamCouponsError
from stream_coupons.core.messages.learning import ModelSnapshot
from stream_coupons.kafka import topics
from stream_coupons.kafka.clients import Reader
from stream_coupons.kafka.codec import Decoder
from stream_coupons.kafka.connection import Connection
from stream_coupons.kafka.producer import new_producer
from stream_coupons.models.learner import Trainer
from stream_coupons.models.serving import compile_snapshot
from stream_coupons.settings import Settings
from stream_coupons_lab.brokers import running_broker
from stream_coupons_lab.demo.system import LocalSystem

SEED = 7
BATCH = 100
"""Examples of one batch to the broker: some 100 kB."""
DRAIN_WITHIN_S = 300.0
MAX_RECORD_BYTES = 2**25
MAX_LINES = 30
"""Snapshots that are printed, about."""


class Mark(Struct, frozen=True):
    """A snapshot as it was appended.

    Attributes
    ----------
    seconds : float
        Since the first example was sent.
    sent, taken, learnt : int
        Examples sent by then, taken by the learner, and learnt.
    thinning : int
        Level of thinning from then on.
    rare : int
        Positive labels learnt.
    """

    seconds: float
    sent: int
    taken: int
    learnt: int
    thinning: int
    rare: int


class LearnerReport(Struct, frozen=True):
    """All figures. Log losses are expected ones, in nats, by label: of the sample, of all, and of ground truth."""

    rate: float
    seconds: float
    sent: int
    learnt: int
    left_out: int
    rare_sent: int
    rare_lost: int
    lag_at_end: int
    cpu_s: float
    """CPU time of worker and learner: the worker has nothing to do but to follow the snapshots."""
    marks: list[Mark]
    log_loss: dict[str, dict[str, float]]


@dataclass
class Followed:
    """Snapshots of the learner, as they come."""

    marks: list[Mark]
    cpu_s: float = 0.0
    compared: ModelSnapshot | None = None
    last: ModelSnapshot | None = None


async def send(connection: Connection, rows: Rows, examples: Iterator[Drawn], plan: argparse.Namespace) -> None:
    """Send examples on schedule."""
    producer = new_producer(connection, 30.0, MAX_RECORD_BYTES)
    await producer.start()
    began_at = time.monotonic()
    try:
        for batch in range(batches(plan)):
            await asyncio.sleep(max(began_at + batch * BATCH / plan.rate - time.monotonic(), 0.0))
            builder, now_ms = producer.create_batch(), int(time.time() * 1000)
            for drawn in islice(examples, BATCH):
                headers = [("origin", b"ticks:0:%d:0" % drawn.number)]
                value = value_of(rows, drawn)
                if builder.append(timestamp=now_ms, key=b"ecommerce", value=value, headers=headers) is None:
                    raise StreamCouponsError(f"a batch has no room for {BATCH} examples")
            await (await producer.send_batch(builder, topics.EXAMPLES.name, partition=0))
    finally:
        await producer.stop()


def batches(plan: argparse.Namespace) -> int:
    """Return the number of batches to send."""
    return max(int(plan.rate * plan.seconds / BATCH), 1)


def follow(connection: Connection, plan: argparse.Namespace, found: Followed) -> None:
    """Read snapshots until one covers all examples, or none came for long."""
    decode, count = Decoder(topics.SNAPSHOTS), batches(plan) * BATCH
    began_at = quiet_since = time.monotonic()
    with Reader(connection, [topics.SNAPSHOTS.name], from_beginning=True) as reader:
        while time.monotonic() < quiet_since + DRAIN_WITHIN_S:
            for record in reader.read_to_end():
                snapshot: ModelSnapshot = decode(record.value, limit=MAX_RECORD_BYTES)
                quiet_since, taken = time.monotonic(), snapshot.source_offset + 1
                rare = sum(one.positives for one in snapshot.quality.values())
                seconds = quiet_since - began_at
                sent = min(int(seconds * plan.rate), count)
                found.marks.append(Mark(seconds, sent, taken, snapshot.examples, snapshot.thinning, rare))
                found.last = snapshot
                if taken <= plan.whole or found.compared is None:
                    found.compared = snapshot
                if taken >= count:
                    return
            time.sleep(0.2)


def scored(rows: Rows, snapshot: ModelSnapshot) -> dict[str, float]:
    """Return the expected log losses of a snapshot."""
    return log_losses(rows, compile_snapshot(snapshot))


def whole_model(rows: Rows, count: int) -> ModelSnapshot:
    """Return the model that learnt the first examples of the stream, all of them."""
    trainer, decode = Trainer(Settings().learning), Decoder(topics.EXAMPLES)
    with fraction_progress("learning all of them", count) as progress:
        for drawn in islice(stream(rows, SEED), count):
            trainer.learn(decode(value_of(rows, drawn)), drawn.number, None)
            if drawn.number % BATCH == 0:
                progress.update(progress.task_ids[0], completed=drawn.number)
    [snapshot] = trainer.snapshots()
    return snapshot


def measure(plan: argparse.Namespace) -> LearnerReport:
    """Run broker, worker and learner, send the examples, and score the models.

    Raises
    ------
    StreamCouponsError
    """
    rows, found = rows_of(decisions(), SEED), Followed([])
    plain = Settings()
    settings = msgspec.structs.replace(plain, kafka=msgspec.structs.replace(plain.kafka, replication=1))
    with tempfile.TemporaryDirectory() as folder, running_broker("embedded", Path(folder) / "broker") as broker:
        system = LocalSystem(broker, settings, Path(folder), workers=1)
        system.prepare(Workload(coupons=1).catalogue())
        with system, ThreadPoolExecutor(1) as pool:
            system.wait_ready()
            following = pool.submit(follow, system.connection, plan, found)
            asyncio.run(send(system.connection, rows, stream(rows, SEED), plan))
            following.result()
            found.cpu_s = cpu_s([worker.process.pid for worker in system.workers])
    if found.last is None or found.compared is None:
        raise StreamCouponsError("the learner published no model")
    return report(plan, rows, found, found.last, found.compared)


def report(
    plan: argparse.Namespace, rows: Rows, found: Followed, last: ModelSnapshot, compared: ModelSnapshot
) -> LearnerReport:
    """Return the figures of what was followed."""
    taken, compared_at = last.source_offset + 1, compared.source_offset + 1
    rare = sum(drawn.label for drawn in islice(stream(rows, SEED), taken))
    end = f"at {compared_at:,}"
    return LearnerReport(
        rate=plan.rate,
        seconds=plan.seconds,
        sent=batches(plan) * BATCH,
        learnt=last.examples,
        left_out=taken - last.examples,
        rare_sent=rare,
        rare_lost=rare - found.marks[-1].rare,
        lag_at_end=lag_at_end(found.marks, plan.seconds),
        cpu_s=found.cpu_s,
        marks=found.marks,
        log_loss={
            f"sample, {end}": scored(rows, compared),
            f"all, {end}": scored(rows, whole_model(rows, compared_at)),
            f"sample, at {taken:,}": scored(rows, last),
            "ground truth": log_losses(rows, None),
        },
    )


def lag_at_end(marks: Sequence[Mark], seconds: float) -> int:
    """Return the examples that waited at the last snapshot before all were sent."""
    before = [mark for mark in marks if mark.seconds <= seconds] or marks[:1]
    return before[-1].sent - before[-1].taken


def show(found: LearnerReport) -> None:
    """Print the figures as tables."""
    table = new_table("s", figures=("sent", "taken", "waiting", "learnt", "left out", "level"))
    for mark in found.marks[:: max(len(found.marks) // MAX_LINES, 1)]:
        counts = mark.sent, mark.taken, mark.sent - mark.taken, mark.learnt, mark.taken - mark.learnt, mark.thinning
        table.add_row(f"{mark.seconds:.0f}", *(f"{count:,}" for count in counts))
    losses = new_table("expected log loss, nats", figures=(*RATES,))
    for name, by_label in found.log_loss.items():
        losses.add_row(name, *(f"{by_label[label]:.5f}" for label in RATES))
    stdout().print(table, losses)
    stdout().print(
        f"{found.sent:,} sent at {found.rate:,.0f}/s: {found.learnt:,} learnt, {found.left_out:,} left out; "
        f"{found.rare_lost:,} of {found.rare_sent:,} outcomes lost; {found.lag_at_end:,} waited at the end; "
        f"{found.cpu_s:.0f} s of CPU time"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and report; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.load.learner",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rate", type=number(float, 1), default=10_000.0, help="examples a second: 10,000")
    parser.add_argument("--seconds", type=number(float, 1), default=20.0, help="of sending: 20")
    parser.add_argument("--whole", type=number(int, 1), default=100_000, help="examples to learn all of: 100,000")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    plan = parser.parse_args(arguments)
    try:
        found = measure(plan)
    except StreamCouponsError as error:
        print_error(str(error))
        return 2
    if plan.json:
        print(as_json(found))
    else:
        show(found)
    return 1 if found.rare_lost else 0


if __name__ == "__main__":
    sys.exit(main())
