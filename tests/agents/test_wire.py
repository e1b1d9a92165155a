"""A dead letter says what its record was, so that the record can be sent again as that."""

from core.builders import knowledge

from stream_coupons import topics
from stream_coupons.agents.wire import dead_letter
from stream_coupons.runtime.records import Record

from .fakes import Shop


def test_a_letter_carries_on_where_its_record_came_from_and_that_it_was_sent_again() -> None:
    own = (("origin", b"ticks:0:7:1"), ("began-ms", b"5"), ("redriven", b"0:17"), ("trace", b"x"), ("origin", None))
    letter = dead_letter(Record("coupon-settlements", 0, 3, -1, b"c1", b"{", own), "not_json", "truncated")
    assert letter.headers == [
        ("reason", b"not_json"),
        ("detail", b"truncated"),
        ("topic", b"coupon-settlements"),
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
