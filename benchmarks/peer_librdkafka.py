"""librdkafka in batches, by hand: the floor below which no runtime in Python can be.

Run as `python -m benchmarks.peer_librdkafka JOB`. All steps run on objects that live in a dictionary. Nothing is
stored: after a crash all states are gone.
"""

import signal
import sys
import time
from typing import Any

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer

from benchmarks.steps import ALL_READ, AgentSteps, Job, all_steps
from stream_coupons.kafka.records import Record

AT_A_TIME = 1000
COMMIT_EVERY_S = 1.0


class Floor:
    """The steps by topic, and the producer that takes what they bring about."""

    def __init__(self, job: Job) -> None:
        self._producer = Producer(
            {
                "bootstrap.servers": job.bootstrap,
                "linger.ms": 5,
                "acks": "all",
                "queue.buffering.max.messages": 1_000_000,
            }
        )
        self._readers: dict[str, tuple[AgentSteps, dict[str, Any]]] = {}
        for steps in all_steps(job).values():
            states: dict[str, Any] = {}
            self._readers |= dict.fromkeys(steps.reads, (steps, states))

    def take(self, messages: list[Any]) -> None:
        """Run the steps of a batch."""
        produce = self._producer.produce
        for message in messages:
            topic = message.topic()
            record = Record(
                topic,
                message.partition(),
                message.offset(),
                message.timestamp()[1],
                message.key(),
                message.value(),
            )
            steps, states = self._readers[topic]
            for output in steps.step_live(record, states):
                produce(output.topic, output.value, output.key, output.partition)
        self._producer.poll(0)

    def flush(self) -> None:
        """Wait until all that was sent is appended."""
        if self._producer.flush(30.0):
            raise RuntimeError("the broker does not take the outputs")


def main() -> None:
    """Run until SIGTERM."""
    job = msgspec.json.decode(sys.argv[1], type=Job)
    work = Floor(job)
    consumer = Consumer(
        {
            "bootstrap.servers": job.bootstrap,
            "group.id": job.group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe(list(ALL_READ))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    commit_at, has_read = time.monotonic() + COMMIT_EVERY_S, False
    try:
        while True:
            messages = consumer.consume(num_messages=AT_A_TIME, timeout=0.1)
            for message in messages:
                if message.error() is not None and message.error().code() != KafkaError._PARTITION_EOF:
                    raise KafkaException(message.error())
            if messages:
                work.take(messages)
                has_read = True
            if has_read and time.monotonic() >= commit_at:
                work.flush()
                consumer.commit(asynchronous=False)
                commit_at, has_read = time.monotonic() + COMMIT_EVERY_S, False
    finally:
        consumer.close()


if __name__ == "__main__":
    main()
