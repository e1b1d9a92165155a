"""Tail: one line a message for people, the messages themselves for scripts."""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from stream_coupons.cli.tail import json_line, pretty_line, recording_line, until_quiet
from stream_coupons.core.errors import BadConfig
from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.kafka import topics
from stream_coupons.kafka.clients import Publisher, Reader
from stream_coupons.kafka.codec import encode
from stream_coupons.kafka.connection import Connection
from stream_coupons.kafka.dead_letters import dead_letter
from stream_coupons.kafka.records import Record
from stream_coupons.ops.recordings import parse
from stream_coupons.testing import coupon, issue

from .conftest import Run, browse, records


class Fake(NamedTuple):
    """A record as kafka-python gives it."""

    topic: str
    value: bytes | None
    key: bytes | None = b"u1"
    timestamp: int = 1_767_348_000_000
    headers: tuple[tuple[str, bytes], ...] = ()
    partition: int = 0
    offset: int = 17


def issue_to(user_id: str) -> CouponIssue:
    """Return an issue whose title has a control sequence."""
    terms = coupon("tea-10", title="Tea \x1b[2J")
    predicted: dict[str, Any] = {"p_click": 0.25, "p_redeem": 0.125, "value_minor": 21.44, "propensity": 0.9}
    return issue(user_id, terms, at=1_767_348_000.0, issue_id=f"i-{user_id}", model_version=3, **predicted)


def letter(value: bytes = b"\x1b{") -> Fake:
    record = Record("browse-events", 2, 9, 1_767_348_000_000, b"u1", value)
    output = dead_letter(record, "not_json", "browse-events: malformed \x1b")
    return Fake("dead-letters", output.value, output.key, headers=tuple(output.headers))


def test_a_dead_letter_shows_its_reason() -> None:
    line = pretty_line(letter()).plain
    assert line == "2026-01-02T10:00:00Z  u1  not_json  browse-events:2:9  browse-events: malformed \ufffd"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b'{"occurred_at": 0.0, "a": 1}', '1970-01-01T00:00:00Z  u1  {"occurred_at":0.0,"a":1}'),
        (b'{"occurred_at": 1e300}', '1e+300  u1  {"occurred_at":1e300}'),
        (b'{"at": "noon", "b": {"c": "\x7f"}}', '2026-01-02T10:00:00Z  u1  {"at":"noon","b":{"c":"\ufffd"}}'),
        (b"\xff", "2026-01-02T10:00:00Z  u1  not JSON: b'\\xff'"),
        (None, "2026-01-02T10:00:00Z  u1  removed"),
        (b"[1]", "2026-01-02T10:00:00Z  u1  not JSON: b'[1]'"),
    ],
)
def test_any_bytes_make_a_line(value: bytes | None, expected: str) -> None:
    assert pretty_line(Fake("browse-events", value)).plain == expected


def test_json_is_the_message_on_one_line() -> None:
    assert json_line(Fake("browse-events", b'{\n "a": 1.0,\n "b": "c"}')) == b'{"a":1.0,"b":"c"}'
    assert json.loads(json_line(Fake("browse-events", b"\xff"))) == {"key": "u1", "text": "\ufffd"}
    found = json.loads(json_line(letter()))
    assert (found["reason"], found["topic"], found["offset"], found["text"]) == (
        "not_json",
        *("browse-events", "9", "\x1b{"),
    )


def test_a_recording_can_be_read_back() -> None:
    value = encode(browse("u1"))
    assert parse(recording_line(Fake("browse-events", value))) == (topics.BROWSE, value)
    assert parse(recording_line(Fake("browse-events", b"\xff"))) == (topics.BROWSE, '"\ufffd"'.encode())


def test_tail_ends_when_it_was_quiet_for_long_enough() -> None:
    polls: Iterator[list[Any]] = iter([["a"], [], ["b", "c"], [], []])
    times = iter([0.0, 5.0, 8.0, 9.0, 13.0, 14.0])
    assert list(until_quiet(lambda: next(polls), 5.0, lambda: next(times))) == ["a", "b", "c"]
    assert next(polls, None) is None


def test_an_unknown_topic_is_an_error_with_the_name_that_comes_near(run: Run) -> None:
    result = run("tail", "coupon-isues")
    assert result.exit_code == 2
    assert "there is no topic 'coupon-isues'" in result.stderr
    assert "expected coupon-issues?" in result.stderr


def test_one_form_at_a_time(run: Run) -> None:
    assert run("tail", "--json", "--recording").exit_code == 2


@pytest.mark.kafka
def test_issues_are_read_from_the_beginning(run: Run, bootstrap: str, unique: str) -> None:
    with Publisher(Connection(bootstrap), 4) as publisher:
        publisher.send(topics.ISSUES, issue_to(unique))
    assert publisher.appended == 1
    result = run("tail", "-b", bootstrap, "--from-beginning", "--timeout", 1, "--json")
    assert result.exit_code == 0
    mine = [line for line in result.stdout.splitlines() if unique in line]
    assert mine == [encode(issue_to(unique)).decode()]
    result = run("tail", "-b", bootstrap, "--from-beginning", "--max", 1)
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) == 1


@pytest.mark.kafka
def test_fewer_messages_than_asked_for_is_exit_code_1(run: Run, bootstrap: str) -> None:
    result = run("tail", "-b", bootstrap, "--max", 1, "--timeout", 0)
    assert result.exit_code == 1
    assert "0 messages within the time, expected 1" in result.stderr


@pytest.mark.kafka
def test_dead_letters_show_their_reasons(run: Run, bootstrap: str, unique: str) -> None:
    record = Record("browse-events", 2, 9, 1_767_348_000_000, unique.encode(), b"nonsense")
    output = dead_letter(record, "not_json", "browse-events: malformed")
    with Publisher(Connection(bootstrap), 4) as publisher:
        publisher._producer.send(output.topic, output.value, output.key, list(output.headers)).get(timeout=60)
    result = run("tail", "dead-letters", "-b", bootstrap, "--from-beginning", "--timeout", 1)
    assert f"{unique}  not_json  browse-events:2:9  browse-events: malformed" in result.stdout
    assert len(records(bootstrap, "dead-letters", unique)) == 1


@pytest.mark.kafka
def test_a_reader_of_a_topic_that_does_not_exist_is_an_error(bootstrap: str, unique: str) -> None:
    with pytest.raises(BadConfig, match=unique):
        Reader(Connection(bootstrap), [topics.ISSUES.name, unique], from_beginning=True)
