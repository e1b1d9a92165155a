"""Quix Streams: RocksDB states with changelogs, at least once; by default a commit every five seconds.

Run as `python -m benchmarks.load.peer_quix JOB`. States belong to a dataframe, so an agent that reads several topics
concatenates theirs, as the documentation says; the whole application then reads in the order of timestamps.
"""

import functools
import sys
from typing import Any

import msgspec
from quixstreams import Application, State, message_context
from quixstreams.dataframe import StreamingDataFrame
from quixstreams.models import Serializer, Topic

from benchmarks.load.steps import WRITTEN, AgentSteps, Job, all_steps
from stream_coupons.kafka.records import Output, Record


class OutputValue(Serializer):  # type: ignore[misc]  # Quix Streams is not installed where types are checked
    """An output is sent as the bytes that its step made."""

    def __call__(self, value: Output, **_: Any) -> bytes:
        """The bytes."""
        return value.value or b""


def inputs(app: Application, names: tuple[str, ...]) -> list[StreamingDataFrame]:
    """A dataframe of bytes for each topic."""
    return [app.dataframe(app.topic(name, value_deserializer="bytes", key_deserializer="bytes")) for name in names]


def add_agent(app: Application, steps: AgentSteps, outputs: dict[str, Topic]) -> None:
    """An agent: its topics as one dataframe, its state, and its outputs each to the topic that it names."""

    def run(value: bytes, key: bytes, timestamp: int, _headers: Any, state: State) -> list[Output]:
        context = message_context()
        record = Record(context.topic, context.partition, context.offset, timestamp, key, value)
        return steps.step(record, state.get_bytes, state.set_bytes)

    def topic_of(output: Output, *_: Any) -> Topic:
        return outputs[output.topic]

    frames = inputs(app, steps.reads)
    frame = functools.reduce(StreamingDataFrame.concat, frames)
    frame = frame.apply(run, expand=True, stateful=True, metadata=True)
    frame.to_topic(topic_of, key=lambda output: output.key)


def main() -> None:
    """Run until SIGTERM."""
    job = msgspec.json.decode(sys.argv[1], type=Job)
    own = {"commit_interval": job.commit_interval_s, "consumer_poll_timeout": job.poll_s}
    app = Application(
        broker_address=job.bootstrap,
        consumer_group=job.group,
        auto_offset_reset="earliest",
        state_dir=job.folder,
        **{name: value for name, value in own.items() if value is not None},
    )
    outputs = {name: app.topic(name, value_serializer=OutputValue()) for name in WRITTEN.values()}
    for steps in all_steps(job).values():
        add_agent(app, steps, outputs)
    app.run()


if __name__ == "__main__":
    main()
