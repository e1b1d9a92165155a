"""Dead letters: listed, shown, and their records sent again, byte for byte, once."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from stream_coupons.cli.dlq import DeadLetterRow, line_of, row_of, text_of
from stream_coupons.cli.dlq_redrive import line_of_done
from stream_coupons.core.reasons import Rejection
from stream_coupons.kafka import topics
from stream_coupons.kafka.clients import Publisher
from stream_coupons.kafka.connection import Connection
from stream_coupons.kafka.dead_letters import dead_letter
from stream_coupons.kafka.letters import letter_of, read_letters
from stream_coupons.kafka.records import Record
from stream_coupons.kafka.redrive import Done, Redrive, RedriveOutcome

from .conftest import Run, records

BROWSE = topics.BROWSE.name
VALUE = b'{"event_id": "\xc3\xa9", \n'

ROW = DeadLetterRow(
    letter="0:17",
    at=1_767_348_000.0,
    reason="invalid",
    source="browse-events:2:9",
    key="u1 \x1b[2J",
    bytes=12,
    detail="x" * 150,
    sent_again_at=None,
    came_back_of=None,
)


def test_a_letter_is_one_line() -> None:
    line = line_of(ROW).plain
    start = "0:17  2026-01-02 10:00:00Z  invalid  browse-events:2:9  u1 \ufffd[2J  12 bytes  "
    assert line == start + "x" * 99 + "…"


def test_a_line_says_what_was_sent_again_and_what_came_back() -> None:
    row = DeadLetterRow(
        letter="0:17",
        at=1e300,
        reason="late",
        source="?:?:?",
        key=None,
        bytes=0,
        detail="",
        sent_again_at=1_767_348_000.0,
        came_back_of="0:3",
    )
    assert (
        line_of(row).plain == "0:17  1e+300  late  ?:?:?  no key  empty value  was 0:3  sent again 2026-01-02 10:00:00Z"
    )


def test_a_line_says_that_a_letter_is_cut() -> None:
    refused = dead_letter(Record(BROWSE, 2, 9, 5, b"u1", b"{" * 12_000_000), "too_large", "why")
    line = line_of(row_of(letter_of(_Appended(refused.headers, refused.value)), None)).plain
    assert line.endswith("too_large  browse-events:2:9  u1  12000000 bytes  cut  why")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"a\n\x1b[b]\xc3\xa9", "a\n\ufffd[b]é"),
        (b"\xff\x00", "not UTF-8: ff 00"),
        (None, "none"),
        (b"", ""),
    ],
)
def test_bytes_are_text_or_digits(data: bytes | None, expected: str) -> None:
    assert text_of(data) == expected


@pytest.mark.parametrize(
    ("outcome", "dry_run", "expected"),
    [
        (RedriveOutcome.SENT, False, "sent NOTE"),
        (RedriveOutcome.SENT, True, "would be sent NOTE"),
        (RedriveOutcome.BEFORE, False, "skipped: sent again before NOTE"),
        (RedriveOutcome.IMPOSSIBLE, False, "cannot be sent: NOTE"),
        (RedriveOutcome.HOPELESS, False, "not sent, it would be refused again: NOTE"),
    ],
)
def test_what_was_done_is_one_line(outcome: RedriveOutcome, dry_run: bool, expected: str) -> None:
    refused = dead_letter(Record(BROWSE, 2, 9, 5, b"u1", b"{"), "not_json", "why")
    letter = letter_of(_Appended(refused.headers))
    line = line_of_done(Done(letter, outcome, "NOTE"), dry_run=dry_run).plain
    assert line == f"0:17  not_json  browse-events:2:9  {expected}"


class _Appended:
    """A record of dead-letters as kafka-python gives it."""

    partition, offset, timestamp, key = 0, 17, 0, b"u1"

    def __init__(self, headers: Sequence[tuple[str, bytes]], value: bytes | None = b"{") -> None:
        self.headers, self.value = headers, value


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
        (["list", "--since", "yesterday"], "%Y-%m-%d"),
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
def test_list_shows_letters_and_totals(run: Run, bootstrap: str, unique: str) -> None:
    first, second = refuse(bootstrap, unique.encode(), VALUE, b"2", reason=Rejection.STEP_FAILED)
    result = run("dlq", "list", "-b", bootstrap, "--reason", "step_failed", "--topic", BROWSE)
    assert result.exit_code == 0
    lines = [line for line in result.stdout.splitlines() if unique in line]
    assert [line.split()[0] for line in lines] == [first, second]
    assert lines[0].endswith(f"{unique}  {len(VALUE)} bytes  why [so]")
    assert "browse-events" in result.stdout.split("sent again")[1]
    assert "dead letters, the records of 0 sent again" in result.stdout
    assert run("dlq", "list", "-b", bootstrap, "--since", "2100-01-01").stdout.startswith("0 dead letters")


@pytest.mark.kafka
def test_list_as_json_counts_more_than_it_lists(run: Run, bootstrap: str, unique: str) -> None:
    places = refuse(bootstrap, unique.encode(), b"1", b"2", b"3", topic=topics.OBSERVED, reason=Rejection.WRONG_KEY)
    selection = ("-b", bootstrap, "-r", "wrong_key", "-t", "observed-issues", "--json")
    result = run("dlq", "list", *selection, "--limit", 2)
    found = json.loads(result.stdout)
    assert [row["letter"] for row in found["letters"]] == places[1:]
    assert found["letters"][0]["key"] == unique
    assert (found["letters"][0]["sent_again_at"], found["letters"][0]["came_back_of"]) == (None, None)
    total = {"reason": "wrong_key", "topic": "observed-issues", "letters": 3, "sent_again": 0}
    assert found["totals"] == [total]
    assert f"listed 2 of 3 dead letters; the next page: --before {places[1]}" in result.stderr
    assert found["older"] == places[1]
    older = json.loads(run("dlq", "list", *selection, "--before", places[1]).stdout)
    assert ([row["letter"] for row in older["letters"]], older["older"]) == (places[:1], None)
    assert older["totals"] == found["totals"]
    newest_first = json.loads(run("dlq", "list", *selection, "--newest-first").stdout)
    assert [row["letter"] for row in newest_first["letters"]] == places[::-1]
    run("dlq", "redrive", places[0], "--force", "-b", bootstrap)
    assert json.loads(run("dlq", "list", *selection).stdout)["totals"] == [total | {"sent_again": 1}]


@pytest.mark.kafka
def test_show_says_all_of_a_letter(run: Run, bootstrap: str, unique: str) -> None:
    text, digits, nothing = refuse(
        bootstrap, unique.encode(), VALUE, b"\xff\x01", None, headers=(("redriven", b"3:5"),)
    )
    shown = run("dlq", "show", text, "-b", bootstrap)
    assert shown.exit_code == 0
    for said in ("not_json", "why [so]", "browse-events", "1767348000000", "3:5", unique, '{"event_id": "é", \n'):
        assert said in shown.stdout
    assert "not UTF-8: ff 01" in run("dlq", "show", digits, "-b", bootstrap).stdout
    assert run("dlq", "show", nothing, "-b", bootstrap).stdout.splitlines()[-1].split() == ["value", "empty", "value"]


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
def test_a_letter_without_a_key_is_exit_code_1_and_the_others_are_sent(run: Run, bootstrap: str, unique: str) -> None:
    [keyless] = refuse(bootstrap, None, unique.encode(), reason=Rejection.NO_KEY)
    [good] = refuse(bootstrap, unique.encode(), b"good")
    result = run("dlq", "redrive", keyless, good, "--force", "-b", bootstrap)
    assert result.exit_code == 1
    assert f"{keyless}  no_key" in result.stdout
    assert "cannot be sent: it has no key" in result.stdout
    assert [one.value for one in records(bootstrap, BROWSE, unique)] == [b"good"]


@pytest.mark.kafka
def test_a_letter_that_is_cut_says_so_and_is_not_sent(run: Run, bootstrap: str, unique: str) -> None:
    key = unique.encode()
    of_value, of_key = refuse(bootstrap, key, b"v" * 12_000_000), refuse(bootstrap, key + b"k" * 12_000_000, b"{")
    listed = [line for line in run("dlq", "list", "-b", bootstrap).stdout.splitlines() if unique in line]
    assert listed[0].endswith("12000000 bytes  cut  why [so]")
    assert listed[1].endswith("1 bytes  cut  why [so]")
    rows = json.loads(run("dlq", "list", "--json", "-b", bootstrap).stdout)["letters"]
    assert [row["is_cut"] for row in rows if unique in str(row["key"])] == [True, True]
    shown = run("dlq", "show", *of_value, "-b", bootstrap).stdout
    assert "65536 bytes (the first of 12000000 bytes), as they follow" in shown
    assert "it is cut: key and value took more than 8388608 bytes" in " ".join(shown.split())
    assert f"(the first of {12_000_000 + len(key)} bytes)" in run("dlq", "show", *of_key, "-b", bootstrap).stdout
    result = run("dlq", "redrive", *of_value, *of_key, "-b", bootstrap)
    assert result.exit_code == 1
    assert "cannot be sent: it is cut" in result.stdout
    assert "0 sent again, 0 sent before, 2 cannot be sent" in result.stdout
    assert records(bootstrap, BROWSE, unique) == []


@pytest.mark.kafka
def test_what_an_agent_sent_keeps_its_origin(run: Run, bootstrap: str, unique: str) -> None:
    own = (("origin", b"ticks:0:7:1"), ("began-ms", b"5"))
    [place] = refuse(bootstrap, unique.encode(), b"{", topic=topics.EXAMPLES, headers=own)
    result = run("dlq", "redrive", place, "--force", "-b", bootstrap)
    assert result.exit_code == 0
    assert "training-examples: a record counts as a duplicate if" in result.stderr
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
def test_nothing_selected_is_nothing_wrong(run: Run, bootstrap: str) -> None:
    result = run("dlq", "redrive", "-r", "unknown_version", "-t", "user-vectors", "-b", bootstrap)
    assert result.exit_code == 0
    assert "0 sent again, 0 sent before, 0 cannot be sent" in result.stdout


@pytest.mark.kafka
def test_what_can_never_succeed_is_not_sent_and_counted_by_reason(run: Run, bootstrap: str, unique: str) -> None:
    good = json.dumps({"event_id": "e1", "user_id": unique, "occurred_at": 1}).encode()
    bad, empty, fine = refuse(bootstrap, unique.encode(), b"{", None, good, reason=Rejection.WRONG_PARTITION)
    result = run("dlq", "redrive", bad, empty, fine, "-b", bootstrap)
    assert result.exit_code == 1
    assert "not sent, it would be refused again: not_json: browse-events: empty value" in result.stdout
    assert result.stdout.splitlines()[-1] == (
        "1 sent again, 0 sent before, 0 cannot be sent, 2 would be refused again (not_json 2): mend the sender, or "
        "--force"
    )
    assert [one.value for one in records(bootstrap, BROWSE, unique)] == [good]
    assert "it would be refused again: not_json" in run("dlq", "show", bad, "-b", bootstrap).stdout


@pytest.mark.kafka
def test_a_script_reads_what_is_shown_and_what_was_sent(run: Run, bootstrap: str, unique: str) -> None:
    text, digits = refuse(bootstrap, unique.encode(), VALUE, b"\xff\x01")
    shown = json.loads(run("dlq", "show", text, "--json", "-b", bootstrap).stdout)
    assert (shown["letter"], shown["value"], shown["value_hex"]) == (text, VALUE.decode(), None)
    assert shown["headers"]["reason"] == shown["reason"] == "not_json"
    assert "refused again" in shown["cannot_be_sent"]
    assert json.loads(run("dlq", "show", digits, "--json", "-b", bootstrap).stdout)["value_hex"] == "ff01"
    result = run("dlq", "redrive", text, digits, "--json", "--dry-run", "-b", bootstrap)
    told = json.loads(result.stdout)
    assert (result.exit_code, told["dry_run"], told["refused_again"]) == (1, True, {"not_json": 2})
    assert told["counts"] == {"sent": 0, "before": 0, "impossible": 0, "hopeless": 2}
    assert [(row["letter"], row["outcome"]) for row in told["letters"]] == [(text, "hopeless"), (digits, "hopeless")]
