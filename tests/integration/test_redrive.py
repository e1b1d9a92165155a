"""Dead letters whose fault was mended are sent again, and what they say counts once."""

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaProducer
from typer.testing import CliRunner

from loopback_kafka import BrokerProcess
from stream_coupons.cli.main import app
from stream_coupons.kafka import topics
from stream_coupons.kafka.codec import encode
from stream_coupons.testing import browse, feedback, observed
from stream_coupons_lab.demo.system import LocalSystem

from .builders import (
    AT,
    DAY_S,
    IDLE_WITHIN_S,
    coupon,
    distinct_issues,
    records,
    send_ticks,
    settings,
    total,
    violations,
    wait_until,
)

pytestmark = pytest.mark.kafka

WAITS_S = 60.0
OBSERVED = observed("u1", issue_id="x1", expires_at=AT + DAY_S)
CLICK = feedback(OBSERVED, "click")


def redrive(system: LocalSystem) -> str:
    """What a redrive of everything prints, once the workers have done what it sent."""
    result = CliRunner().invoke(app, ["dlq", "redrive", "--all", "--force", "--bootstrap", system.bootstrap])
    assert result.exit_code == 0, result.output
    system.wait_idle(IDLE_WITHIN_S)
    return result.stdout.splitlines()[-1]


def letters(system: LocalSystem) -> list[Any]:
    return records(system, "dead-letters")


def test_feedback_on_a_coupon_that_was_unknown_and_an_event_in_the_wrong_partition_are_sent_again_and_count_once(
    empty_broker: BrokerProcess, tmp_path: Path
) -> None:
    system = LocalSystem(empty_broker, settings(early_feedback_s=WAITS_S), tmp_path, workers=2)
    system.prepare([coupon("c1")])
    partitions = system.settings.kafka.partitions
    wrong = (topics.partition_for(b"u2", partitions) + 1) % partitions
    with system, system.publisher() as publisher:
        system.wait_ready()
        publisher.send(topics.FEEDBACK, CLICK)
        publisher.send_bytes(topics.BROWSE, b"u2", encode(browse("u2", event_id="t1")), wrong)
        publisher.send_bytes(topics.BROWSE, b"u2", b"never good")
        publisher.flush()
        system.wait_idle(IDLE_WITHIN_S)
        send_ticks(system, publisher, AT + WAITS_S + 1)
        system.wait_idle(IDLE_WITHIN_S)
        wait_until(lambda: len(letters(system)) == 3, "three letters")
        publisher.send(topics.OBSERVED, OBSERVED)
        publisher.flush()
        system.wait_idle(IDLE_WITHIN_S)

        assert redrive(system).startswith("3 sent again")
        assert total(system, "feedback_total", kind="click") == 1
        assert [issue.trigger_id for issue in distinct_issues(system).values()] == ["t1"]
        bad, back = [letter for letter in letters(system) if letter.value == b"never good"]
        assert dict(back.headers)["redriven"] == f"{bad.partition}:{bad.offset}".encode()

        assert redrive(system) == "0 sent again, 4 sent before, 0 cannot be sent"
        assert len(letters(system)) == 4
        assert total(system, "feedback_total", kind="click") == 1
        assert total(system, "duplicates_total", topic="coupon-feedback") == 0


@pytest.mark.slow
def test_records_too_long_for_a_letter_that_came_in_compressed_are_letters_and_those_behind_them_are_applied(
    empty_broker: BrokerProcess, tmp_path: Path
) -> None:
    system = LocalSystem(empty_broker, settings(), tmp_path, workers=1)
    system.prepare([coupon("c1")])
    strangers = KafkaProducer(
        bootstrap_servers=system.bootstrap, compression_type="gzip", max_request_size=100_000_000, acks="all"
    )
    home, long = topics.partition_for(b"u1", system.settings.kafka.partitions), b"0" * 12_000_000
    with system, system.publisher() as publisher, closing(strangers):
        system.wait_ready()
        for key, value, headers in [
            (b"u1", b"[%s]" % long, []),
            (long, b"{", []),
            (b"u1", b"{", [(name, long) for name in ("origin", "began-ms", "redriven")]),
        ]:
            strangers.send(topics.BROWSE.name, value, key, headers, partition=home).get(30)
        publisher.send(topics.BROWSE, browse("u1", event_id="t1"))
        publisher.flush()
        system.wait_idle(IDLE_WITHIN_S)
        assert [issue.trigger_id for issue in distinct_issues(system).values()] == ["t1"]
        assert [len(letter.value) for letter in letters(system)] == [64 * 1024, 1, 1]
        assert violations(system) == []
        result = CliRunner().invoke(app, ["dlq", "redrive", "--all", "--dry-run", "--bootstrap", system.bootstrap])
        assert result.exit_code == 1
        assert result.stdout.splitlines()[-1] == (
            "0 would be sent: --dry-run, 0 sent before, 2 cannot be sent, 1 would be refused again (not_json 1): fix "
            "the producer, or --force"
        )
