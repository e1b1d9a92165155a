"""Plain Faust, as its documentation writes agents: one table an agent, one event at a time, no batches.

Run as `python -m benchmarks.load.peer_faust JOB`.
"""

import asyncio
import sys
from collections.abc import Iterable
from typing import Any

import faust
import msgspec
import uvloop
from kafka.admin import NewTopic

from benchmarks.load.steps import WRITTEN, AgentSteps, Job, all_steps
from stream_coupons.kafka.admin import admin_client
from stream_coupons.kafka.connection import Connection
from stream_coupons.kafka.records import Record


def new_app(job: Job) -> faust.App:
    """Faust's defaults, but for the partition count, and buffers that let its fetcher sleep less."""
    return faust.App(
        job.group,
        broker=f"kafka://{job.bootstrap}",
        datadir=job.folder,
        store="memory://",
        autodiscover=False,
        web_enabled=False,
        topic_partitions=job.partitions,
        topic_replication_factor=1,
        topic_allow_declare=True,
        topic_disable_leader=True,
        table_standby_replicas=0,
        consumer_auto_offset_reset="earliest",
        stream_buffer_maxsize=16_384,
    )


def add_agent(app: faust.App, steps: AgentSteps, outputs: dict[str, Any]) -> None:
    """An agent over its topics and its table."""
    # Keys and values of type bytes are kept and logged as they are.
    table = app.Table(steps.name, key_type=bytes, value_type=bytes)
    source = app.topic(*steps.reads, key_serializer="raw", value_serializer="raw")

    async def run(stream: Any) -> None:
        async for event in stream.events():
            message = event.message
            record = Record(
                message.topic,
                message.partition,
                message.offset,
                int(message.timestamp * 1000),
                message.key,
                message.value,
            )
            for output in steps.step(record, load, save):
                await outputs[output.topic].send(key=output.key, value=output.value, partition=output.partition)

    def load(key: str) -> bytes | None:
        cell: bytes | None = table.get(key.encode())
        return cell

    def save(key: str, cell: bytes) -> None:
        table[key.encode()] = cell

    app.agent(source, name=steps.name)(run)


def make_changelogs(job: Job, tables: Iterable[str]) -> None:
    """Create the changelogs of tables: Faust ends if the broker does not know yet those that it has just made."""
    made = [
        NewTopic(f"{job.group}-{table}-changelog", job.partitions, 1, topic_configs={"cleanup.policy": "compact"})
        for table in tables
    ]
    with admin_client(Connection(job.bootstrap)) as client:
        client.create_topics(made)


def main() -> None:
    """Run until SIGTERM."""
    job = msgspec.json.decode(sys.argv[1], type=Job)
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    app = new_app(job)
    raw = {"key_serializer": "raw", "value_serializer": "raw"}
    outputs = {name: app.topic(name, **raw) for name in WRITTEN.values()}
    agents = all_steps(job)
    make_changelogs(job, agents)
    for steps in agents.values():
        add_agent(app, steps, outputs)
    worker = faust.Worker(app, loglevel="WARNING", quiet=False, loop=loop, stdout=sys.stderr, stderr=sys.stderr)
    worker.spinner = None
    worker.execute_from_commandline()


if __name__ == "__main__":
    main()
