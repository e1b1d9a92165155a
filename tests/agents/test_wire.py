"""A dead letter says what its record was, so that the record can be sent again as that."""

import pytest

from stream_coupons.core.messages.inputs import FeedbackEvent
from stream_coupons.core.rules import AttributionRules
from stream_coupons.kafka import topics
from stream_coupons.kafka.codec import encode
from stream_coupons.kafka.dead_letters import CUT_KEY_BYTES, CUT_VALUE_BYTES, WHOLE_BYTES, dead_letter, digest
from stream_coupons.kafka.records import Record
from tests.core.builders import knowledge, rules

from .fakes import Shop


def test_a_letter_carries_on_where_its_record_came_from_and_that_it_was_sent_again() -> None:
    own = (("origin", b"ticks:0:7:1"), ("began-ms", b"5"), ("redriven", b"0:17"), ("trace", b"x"), ("origin", None))
    letter = dead_letter(Record("training-examples", 0, 3, -1, b"shop", b"{", own), "not_json", "truncated")
    assert letter.headers == [
        ("reason", b"not_json"),
        ("detail", b"truncated"),
        ("topic", b"training-examples"),
        ("partition", b"0"),
        ("offset", b"3"),
        ("timestamp", b"-1"),
        ("origin", b"ticks:0:7:1"),
        ("began-ms", b"5"),
        ("redriven", b"0:17"),
    ]


def test_the_letter_of_a_record_that_was_sent_again_names_the_letter_it_was() -> None:
    shop = Shop(knowledge, partitions=1)
    shop.append(topics.BROWSE.name, 0, b"u", b"{", [("redriven", b"0:17")])
    shop.settle()
    [letter] = shop.logs[topics.DEAD_LETTERS.name, 0]
    assert dict(letter.headers)["redriven"] == b"0:17"


def test_what_strangers_say_in_headers_does_not_fill_the_state_of_a_shopper() -> None:
    waits_for_none = rules(attribution=AttributionRules(early_feedback_s=0.0))
    shop = Shop(lambda: knowledge(rules=waits_for_none), partitions=1)
    feedback = encode(FeedbackEvent(event_id="f", user_id="u", occurred_at=0.0, issue_id="none", kind="click"))
    headers = [(name, b"0" * 2_000_000) for name in ("origin", "began-ms", "redriven")]
    shop.append(topics.FEEDBACK.name, 0, b"u", feedback, headers)
    shop.process("users", 0)
    [letter] = shop.logs[topics.DEAD_LETTERS.name, 0]
    assert dict(letter.headers)["reason"] == b"unknown_issue"
    assert len(shop.owners["users"].table["u"]) < 2000


LONG = {
    "a long value": (b"bob", b"v" * 12_000_000, ()),
    "a long key": (b"k" * 12_000_000, b"{", ()),
    "no key": (None, b"v" * 12_000_000, ()),
    "a long key, no value": (b"k" * 12_000_000, None, ()),
    "long together": (b"k" * (WHOLE_BYTES // 2), b"v" * (WHOLE_BYTES // 2 + 1), ()),
    "long headers": (b"k", b"{", tuple((name, b"0" * 12_000_000) for name in ("origin", "began-ms", "redriven"))),
    "many headers": (b"k", b"{", (("origin", b"ticks:0:7:1"),) * 1_000_000),
}
MOST = topics.DEAD_LETTERS.max_message_bytes


@pytest.mark.parametrize("record", LONG.values(), ids=LONG)
def test_a_letter_of_whatever_record_is_one_that_its_topic_takes(
    record: tuple[bytes | None, bytes | None, tuple[tuple[str, bytes | None], ...]],
) -> None:
    letter = dead_letter(Record("browse-events", 0, 3, 5, *record), "too_large", "\N{GRINNING FACE}" * 2000)
    headers = sum(len(name) + len(value) + 10 for name, value in letter.headers)
    assert len(letter.key or b"") + len(letter.value or b"") + headers < MOST - 1000


def test_a_letter_of_a_record_that_is_too_long_has_its_beginning_its_lengths_and_its_digest() -> None:
    key, value = b"k" * 2_000_000, b"v" * 12_000_000
    letter = dead_letter(Record("browse-events", 0, 3, 5, key, value), "too_large", "")
    assert (letter.key, letter.value) == (key[:CUT_KEY_BYTES], value[:CUT_VALUE_BYTES])
    assert letter.headers[6:] == [
        ("key-bytes", b"2000000"),
        ("value-bytes", b"12000000"),
        ("digest", digest("browse-events", key, value)),
    ]


def test_a_letter_of_a_record_that_may_come_in_uncompressed_has_all_of_it() -> None:
    record = Record("browse-events", 0, 3, 5, b"k", b"v" * (WHOLE_BYTES - 1))
    letter = dead_letter(record, "too_large", "")
    assert letter.value is record.value
    assert len(letter.headers) == 6


def test_of_the_headers_of_one_name_a_letter_carries_the_first_on_if_it_is_short() -> None:
    long, short = ("origin", b"t" * 257), ("origin", b"ticks:0:7:1")
    redriven = (("redriven", b"0:1"), ("redriven", b"0:2"))
    letter = dead_letter(Record("training-examples", 0, 3, 5, b"c", b"{", (long, short, *redriven)), "invalid", "")
    assert letter.headers[6:] == [("redriven", b"0:1")]
