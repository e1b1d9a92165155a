"""A process logs each change of its state, what lasts at growing intervals, and sets its title."""

import logging

import pytest

from stream_coupons.kafka.contact import Contact
from stream_coupons.worker.state_log import StateLog


class Process:
    """A process at a time that the test sets; brokers answer it until one is away."""

    def __init__(self) -> None:
        self.now = 0.0
        self.contact = Contact(lambda: self.now)
        self.reasons: list[str] = []
        self.stops = False
        self.titles: list[str] = []
        self.state = StateLog("worker", self, "k:9092", lambda: "4 partitions", lambda: self.now, self.titles.append)

    def is_away(self) -> bool:
        return self.contact.silent_s > 4.0

    def is_stopping(self) -> bool:
        return self.stops

    def why_not_ready(self) -> list[str]:
        return self.reasons

    def pass_time(self, seconds: int, *, answered: bool = True) -> None:
        for _ in range(seconds):
            self.now += 1.0
            if answered:
                self.contact.note()
            self.state.look()


def test_a_broker_that_is_away_is_logged_at_growing_intervals_and_so_is_its_return(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    process = Process()
    process.pass_time(3)
    process.pass_time(180, answered=False)
    process.reasons = ["still joining the group"]
    process.pass_time(2)
    process.reasons = []
    process.pass_time(3)
    process.stops = True
    process.pass_time(2)
    assert caplog.messages == [
        "ready: 4 partitions",
        "Kafka has not answered for 10 s; waiting (k:9092)",
        "Kafka has not answered for 30 s; waiting (k:9092)",
        "Kafka has not answered for 90 s; waiting (k:9092)",
        "Kafka answers again after 180 s",
        "ready: 4 partitions",
        "stopping",
    ]
    assert [title.removeprefix("stream-coupons worker: ") for title in process.titles] == [
        "ready",
        "waiting for Kafka",
        "starting",
        "ready",
        "stopping",
    ]


def test_a_rebalance_is_not_logged_and_a_lasting_want_is(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    process = Process()
    process.pass_time(1)
    process.reasons = ["users has not recovered its state"]
    process.pass_time(5)
    process.reasons = []
    process.pass_time(1)
    assert caplog.messages == ["ready: 4 partitions"]
    process.reasons = ["cannot write to Kafka (22 s)", "its ticks are not written"]
    process.pass_time(40)
    process.reasons = []
    process.pass_time(1)
    why = "not ready: cannot write to Kafka (22 s); its ticks are not written"
    assert caplog.messages[1:] == [why, why, "ready: 4 partitions"]
