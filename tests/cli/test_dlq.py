"""Dead letters: listed, shown, and their records sent again, byte for byte, once."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from stream_coupons.cli.dlq import line_of, row_of
from stream_coupons.core.reasons import Rejection
from stream_coupons.kafka import topics
from stream_coupons.kafka.clients import Publisher
from stream_coupons.kafka.connection import Connection
from stream_coupons.kafka.dead_letters import dead_letter
from stream_coupons.kafka.letters import letter_of, read_letters
from stream_coupons.kafka.records import Record
from stream_coupons.kafka.redrive import Redrive, Sending

from .conftest import Run, records

BROWSE = topics.BROWSE.name
VALUE = b'{"event_id": "\xc3\xa9", \n'


class _Appended:
    """A record of dead-letters as kafka-python gives it."""

    partition, offset, timestamp = 0, 17, 1_767_348_000_000

    def __init__(self, headers: Sequence[tuple[str, bytes]], key: bytes | None, value: bytes | None) -> None:
        self.headers, self.key, self.value = headers, key, value


@pytest.mark.parametrize(
    ("key", "value", "detail", "headers", "sending", "expected"),
    [
        (b"u1 \x1b[2J", b"{" * 12, "x" * 150, (), None, f"u1 \ufffd[2J  12 bytes  {'x' * 99}…"),
        (None, None, "", (("redriven", b"0:3"),), Sending(1_767_348_000.0, "0:9"),
         "no key  empty value  was 0:3  sent again 2026-01-02T10:00:00Z"),
        (b"u1", b"{" * 12_000_000, "why", (), None, "u1  12000000 bytes  cut  why"),
    ],
)  # fmt: skip
def test_a_letter_is_one_line(
    key: bytes | None, value: bytes | None, detail: str, headers: Any, sending: Sending | None, expected: str
) -> None:
    refused = dead_letter(Record(BROWSE, 2, 9, 5, key, value, headers), "invalid", detail)
    letter = letter_of(_Appended(refused.headers, refused.key, refused.value))
    start = "0:17  2026-01-02T10:00:00Z  invalid  browse-events:2:9  "
    assert line_of(row_of(letter, sending)).plain == start + expected


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--dry-run"],
        ["--all", "--reason", "late"],
        ["0:1", "--topic", "cart-events"],
        ["0:1", "--all"],
    ],
)
def test_what_to_send_must_be_said_in_one_way(run: Run, arguments: list[str]) -> None:
    result = run("dlq", "redrive", *arguments)
    assert result.exit_code == 2
    assert "which letters? expected one of" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["redrive", "0-1"], "'0-1' names no dead letter, expected PARTITION:OFFSET"),
        (["show", "latest"], "'latest' names no dead letter"),
        (["list", "--topic", "coupon-issues"], "--topic 'coupon-issues': no agent reads it"),
        (["redrive", "--topic", "nonsense"], "--topic 'nonsense': no agent reads it, expected one of browse-events"),
        (["redrive", "--reason", "nonsense"], "unknown_issue"),
        (["list", "--since", "yesterday"], "'yesterday' is not a time; use 2026-01-02T18:00 or epoch seconds"),
    ],
)
def test_what_cannot_be_meant_is_exit_code_2(run: Run, arguments: list[str], says: str) -> None:
    result = run("dlq", *arguments)
    assert result.exit_code == 2
    assert says in result.stderr


# ------------------------------------------------------------ on a broker


def refuse(
    bootstrap: str,
    key: bytes | None,
    *values: bytes | None,
    topic: topics.Topic = topics.BROWSE,
    reason: Rejection = Rejection.NOT_JSON,
    headers: tuple[tuple[str, bytes], ...] = (),
) -> list[str]:
    """Dead letters of records in the wrong partition, as a worker writes them; their names."""
    wrong = (topics.partition_for(key or b"", 4) + 1) % 4
    with Publisher(Connection(bootstrap), 4) as publisher:
        before = {letter.place for letter in read_letters(Connection(bootstrap))}
        for value in values:
            one = dead_letter(Record(topic.name, wrong, 9, 1_767_348_000_000, key, value, headers), reason, "why [so]")
            publisher.send_bytes(topics.DEAD_LETTERS, one.key, one.value, one.partition, one.headers)
    return [letter.place for letter in read_letters(Connection(bootstrap)) if letter.place not in before]


def headers_of(record: Any) -> dict[str, bytes]:
    return dict(record.headers)


@pytest.mark.kafka
def test_list_shows_the_newest_letters_and_counts_all(run: Run, bootstrap: str, unique: str) -> None:
    places = refuse(bootstrap, unique.encode(), b"1", b"2", b"3", topic=topics.OBSERVED, reason=Rejection.WRONG_KEY)
    selection = ("dlq", "list", "-b", bootstrap, "-r", "wrong_key", "-t", "observed-issues")
    found = json.loads(run(*selection, "--limit", 2, "--json").stdout)
    assert [row["letter"] for row in found["letters"]] == places[1:]
    assert (found["letters"][0]["key"], found["letters"][0]["sent_again_at"]) == (unique, None)
    total = {"reason": "wrong_key", "topic": "observed-issues", "letters": 3, "sent_again": 0}
    assert found["totals"] == [total]
    run("dlq", "redrive", places[0], "--force", "-b", bootstrap)
    assert json.loads(run(*selection, "--json").stdout)["totals"] == [total | {"sent_again": 1}]
    shown = run(*selection, "--limit", 2)
    lines = [line for line in shown.stdout.splitlines() if unique in line]
    assert [line.split()[0] for line in lines] == places[1:]
    assert lines[0].endswith(f"{unique}  1 bytes  why [so]")
    assert "3 dead letters, 1 of them sent again" in shown.stdout
    assert "listed the newest 2; --limit lists more" in shown.stderr
    assert run(*selection, "--since", "2099-01-01").stdout.startswith("0 dead letters")


@pytest.mark.kafka
def test_show_says_all_of_a_letter(run: Run, bootstrap: str, unique: str) -> None:
    headers = (("redriven", b"3:5"),)
    text, digits, nothing = refuse(bootstrap, unique.encode(), VALUE, b"\xff\x01", None, headers=headers)
    shown = run("dlq", "show", text, "-b", bootstrap)
    assert shown.exit_code == 0
    for said in ("not_json", "why [so]", "browse-events", "1767348000000", "3:5", unique, '{"event_id": "é", \n'):
        assert said in shown.stdout
    assert "not UTF-8: ff01" in run("dlq", "show", digits, "-b", bootstrap).stdout
    assert run("dlq", "show", nothing, "-b", bootstrap).stdout.splitlines()[-1].split() == ["value", "empty", "value"]
    found = json.loads(run("dlq", "show", text, "--json", "-b", bootstrap).stdout)
    assert (found["letter"], found["value"], found["value_hex"]) == (text, VALUE.decode(), None)
    assert found["headers"]["reason"] == found["reason"] == "not_json"
    assert "refused again" in found["cannot_be_sent"]
    assert json.loads(run("dlq", "show", digits, "--json", "-b", bootstrap).stdout)["value_hex"] == "ff01"


@pytest.mark.kafka
@pytest.mark.parametrize("verb", ["show", "redrive"])
def test_a_letter_that_is_not_there_is_exit_code_2_and_nothing_is_sent(
    run: Run, bootstrap: str, unique: str, verb: str
) -> None:
    [there] = refuse(bootstrap, unique.encode(), VALUE)
    names = ["7:123456"] if verb == "show" else [there, "7:123456"]
    result = run("dlq", verb, *names, "-b", bootstrap)
    assert result.exit_code == 2
    assert "no dead letter 7:123456" in result.stderr
    assert records(bootstrap, BROWSE, unique) == []


@pytest.mark.kafka
def test_redrive_sends_the_same_bytes_in_order_to_the_right_partition_and_never_twice(
    run: Run, bootstrap: str, unique: str
) -> None:
    key, values = unique.encode(), [VALUE, b"\xff\x00", None, b"4", VALUE]
    places = refuse(bootstrap, key, *values, reason=Rejection.WRONG_PARTITION)
    assert run("dlq", "redrive", *places, "-b", bootstrap, "--force", "--dry-run").exit_code == 0
    assert records(bootstrap, BROWSE, unique) == []

    result = run("dlq", "redrive", *reversed(places), "--force", "-b", bootstrap)
    assert result.exit_code == 0
    assert "4 sent again, 1 sent before, 0 cannot be sent" in result.stdout
    partition = topics.partition_for(key, 4)
    assert (
        f"{places[0]}  wrong_partition  browse-events:{(partition + 1) % 4}:9  sent to browse-events:{partition}"
        in (result.stdout)
    )
    found = records(bootstrap, BROWSE, unique)
    assert [(one.key, one.value, one.partition) for one in found] == [(key, value, partition) for value in values[:4]]
    assert [list(one.headers) for one in found] == [[("redriven", place.encode())] for place in places[:4]]

    again = run("dlq", "redrive", *places, "--force", "-b", bootstrap)
    assert again.exit_code == 0
    assert again.stdout.count("skipped: sent again before as ") == 5
    assert "0 sent again, 5 sent before, 0 cannot be sent" in again.stdout
    assert len(records(bootstrap, BROWSE, unique)) == 4


@pytest.mark.kafka
def test_what_came_back_is_sent_only_if_asked_for(run: Run, bootstrap: str, unique: str) -> None:
    key = unique.encode()
    [first] = refuse(bootstrap, key, VALUE)
    run("dlq", "redrive", first, "--force", "-b", bootstrap)
    [back] = refuse(bootstrap, key, VALUE, headers=(("redriven", first.encode()),))
    assert f"sent again before as {first}" in run("dlq", "redrive", back, "--force", "-b", bootstrap).stdout
    listed = run("dlq", "list", "-b", bootstrap, "--limit", 1).stdout
    assert f"was {first}  sent again 2" in listed
    assert len(records(bootstrap, BROWSE, unique)) == 1
    assert (
        "1 sent again, 1 sent before"
        in run("dlq", "redrive", back, first, "--again", "--force", "-b", bootstrap).stdout
    )
    assert [headers_of(one)["redriven"] for one in records(bootstrap, BROWSE, unique)] == [first.encode()] * 2


@pytest.mark.kafka
def test_redrive_by_reason_and_topic_takes_no_others(run: Run, bootstrap: str, unique: str) -> None:
    key = unique.encode()
    refuse(bootstrap, key, b"late order", topic=topics.ORDER, reason=Rejection.LATE)
    refuse(bootstrap, key, b"other order", topic=topics.ORDER)
    refuse(bootstrap, key, b"late cart", topic=topics.CART, reason=Rejection.LATE)
    result = run("dlq", "redrive", "-r", "late", "-t", "order-events", "--force", "-b", bootstrap)
    assert result.exit_code == 0
    assert [one.value for one in records(bootstrap, "order-events", unique)] == [b"late order"]
    assert records(bootstrap, "cart-events", unique) == []


@pytest.mark.kafka
def test_a_letter_that_is_cut_says_so_and_is_not_sent(run: Run, bootstrap: str, unique: str) -> None:
    [cut] = refuse(bootstrap, unique.encode(), b"v" * 12_000_000)
    shown = run("dlq", "show", cut, "-b", bootstrap).stdout
    assert "65536 bytes (the first of 12000000 bytes), as they follow" in shown
    assert "it is cut: key and value took more than 8388608 bytes" in " ".join(shown.split())
    result = run("dlq", "redrive", cut, "-b", bootstrap)
    assert (result.exit_code, "0 sent again, 0 sent before, 1 cannot be sent" in result.stdout) == (1, True)
    assert records(bootstrap, BROWSE, unique) == []


@pytest.mark.kafka
def test_what_an_agent_sent_keeps_its_origin(run: Run, bootstrap: str, unique: str) -> None:
    own = (("origin", b"ticks:0:7:1"), ("began-ms", b"5"))
    [place] = refuse(bootstrap, unique.encode(), b"{", topic=topics.EXAMPLES, headers=own)
    result = run("dlq", "redrive", place, "--force", "-b", bootstrap)
    assert result.exit_code == 0
    assert "training-examples: a record is a duplicate if" in result.stderr
    [found] = records(bootstrap, "training-examples", unique)
    assert list(found.headers) == [("redriven", place.encode()), *own]


@pytest.mark.kafka
def test_a_redrive_killed_before_it_remembered_is_made_up_for_by_the_next(
    run: Run, bootstrap: str, unique: str
) -> None:
    [place] = refuse(bootstrap, unique.encode(), VALUE)
    [letter] = [one for one in read_letters(Connection(bootstrap)) if one.place == place]
    with Publisher(Connection(bootstrap), 4) as publisher:
        assert (
            Redrive(publisher, {}, 4, force=True).take(letter) == []
        )  # and now it dies: the record is sent, not remembered
    assert "1 sent again" in run("dlq", "redrive", place, "--force", "-b", bootstrap).stdout
    assert "0 sent again, 1 sent before" in run("dlq", "redrive", place, "--force", "-b", bootstrap).stdout
    found = records(bootstrap, BROWSE, unique)
    assert [(one.key, one.value, list(one.headers)) for one in found] == [
        (unique.encode(), VALUE, [("redriven", place.encode())])
    ] * 2


@pytest.mark.kafka
def test_what_cannot_succeed_is_exit_code_1_and_the_others_are_sent(run: Run, bootstrap: str, unique: str) -> None:
    good = json.dumps({"event_id": "e1", "user_id": unique, "occurred_at": 1}).encode()
    [keyless] = refuse(bootstrap, None, unique.encode(), reason=Rejection.NO_KEY)
    places = keyless, *refuse(bootstrap, unique.encode(), b"{", good, reason=Rejection.WRONG_PARTITION)
    told = json.loads(run("dlq", "redrive", *places, "--json", "--dry-run", "-b", bootstrap).stdout)
    assert (told["dry_run"], told["refused_again"]) == (True, {"not_json": 1})
    assert told["counts"] == {"sent": 1, "before": 0, "impossible": 1, "hopeless": 1}
    outcomes = [(row["letter"], row["outcome"]) for row in told["letters"]]
    assert sorted(outcomes) == sorted(zip(places, ("impossible", "hopeless", "sent"), strict=True))
    result = run("dlq", "redrive", *places, "-b", bootstrap)
    assert result.exit_code == 1
    assert f"{keyless}  no_key" in result.stdout
    assert "cannot be sent: it has no key" in result.stdout
    assert "not sent, it would be refused again: not_json: browse-events: " in result.stdout
    assert result.stdout.splitlines()[-1] == (
        "1 sent again, 0 sent before, 1 cannot be sent, 1 would be refused again (not_json 1): fix the producer, or "
        "--force"
    )
    assert [one.value for one in records(bootstrap, BROWSE, unique)] == [good]
