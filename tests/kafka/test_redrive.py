"""Letters of anybody are read; which can be sent again, as what, and how often: once."""

from typing import Any, NamedTuple

import pytest

from stream_coupons.core.errors import BadConfig
from stream_coupons.core.reasons import Rejection
from stream_coupons.kafka import letters, redrive, topics
from stream_coupons.kafka.dead_letters import dead_letter, digest
from stream_coupons.kafka.letters import Letter, Selection, letter_of
from stream_coupons.kafka.records import Record
from stream_coupons.kafka.redrive import Redrive, RedriveOutcome, Sending, headers_again


class Fake(NamedTuple):
    """A record as kafka-python gives it."""

    partition: int = 0
    offset: int = 17
    timestamp: int = 1_767_348_000_250
    key: bytes | None = b"u1"
    value: bytes | None = b"{"
    headers: Any = ()


def letter(
    topic: topics.Topic = topics.BROWSE,
    reason: Rejection = Rejection.NOT_JSON,
    place: str = "0:17",
    headers: tuple[tuple[str, bytes], ...] = (),
    **about: Any,
) -> Letter:
    """The letter of a record of partition 2, offset 9."""
    known: dict[str, Any] = {"key": b"u1", "value": b"{"}
    refused = dead_letter(Record(topic.name, 2, 9, 5, headers=headers, **(known | about)), reason, "why")
    partition, offset = letters.numbers_of(place)
    return letter_of(Fake(partition, offset, key=refused.key, value=refused.value, headers=refused.headers))


def test_a_letter_says_what_its_headers_say() -> None:
    found = letter()
    assert (found.place, found.at) == ("0:17", 1_767_348_000.25)
    assert (found.reason, found.topic, found.source, found.detail) == (
        *("not_json", "browse-events", "browse-events:2:9"),
        "why",
    )
    assert found.came_back_of is None
    assert letter(headers=(("redriven", b"0:3"),)).came_back_of == "0:3"


@pytest.mark.parametrize("headers", [None, (), [("topic", None), ("origin", b"\xff")]])
def test_a_letter_of_a_stranger_is_read_and_not_sent(headers: Any) -> None:
    found = letter_of(Fake(headers=headers))
    assert found.reason == "?"
    assert found.obstacle() is not None


def test_of_headers_of_one_name_the_first_is_the_records_own() -> None:
    own, letters = ("origin", b"ticks:0:7:1"), ("origin", b"lease-reports:2:9:0")
    assert letter_of(Fake(headers=(own, letters))).headers == {"origin": "ticks:0:7:1"}


def test_copies_have_one_digest_and_nothing_else_has_it() -> None:
    one = letter()
    assert one.digest() == letter(place="3:4", headers=(("redriven", b"0:17"),)).digest()
    others = [letter(topic=topics.CART), letter(key=b"u"), letter(value=b"1{"), letter(value=None), letter(value=b"")]
    assert len({other.digest() for other in [one, *others]}) == 1 + len(others)


def test_a_letter_that_is_cut_knows_the_lengths_and_the_digest_of_its_record() -> None:
    key, value = b"k" * 2000, b"v" * 12_000_000
    found = letter(key=key, value=value)
    assert (found.is_cut, found.key_bytes, found.value_bytes) == (True, len(key), len(value))
    assert found.digest() == digest(topics.BROWSE.name, key, value)
    whole = letter()
    assert (whole.is_cut, whole.key_bytes, whole.value_bytes) == (False, 2, 1)
    assert (letter(key=None).key_bytes, letter(value=None).value_bytes) == (None, None)


@pytest.mark.parametrize("said", [b"", b"-1", b"many", b"9" * 5000])
def test_a_length_that_is_none_is_not_believed(said: bytes) -> None:
    found = letter_of(Fake(headers=(("digest", b"\xff"), ("value-bytes", said))))
    assert (found.value_bytes, found.is_cut) == (1, True)
    assert found.digest()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (letter(key=None), "no key"),
        (letter(topics.TICKS), "tick"),
        (letter(topics.ISSUES), "no agent reads"),
        (letter(topics.LEASES), "a lease is not sent again"),
        (letter(topics.EXAMPLES), "no origin"),
        (letter(value=b"v" * 12_000_000), "it is cut"),
        (letter(key=b"k" * 12_000_000), "it is cut"),
    ],
)
def test_what_cannot_be_sent_again_says_why(given: Letter, says: str) -> None:
    assert says in (given.obstacle() or "")
    [done] = sent(given)
    assert (done.outcome, done.note) == (RedriveOutcome.IMPOSSIBLE, given.obstacle())


OURS = (("origin", b"ticks:0:7:1"), ("began-ms", b"5"))


@pytest.mark.parametrize("topic", letters.SENT_AGAIN.values(), ids=lambda t: t.name)
def test_what_an_agent_sent_is_sent_again_with_its_origin_and_what_a_client_sent_without(topic: topics.Topic) -> None:
    given = letter(topic, headers=OURS)
    assert given.obstacle() is None
    extra = [] if topic in topics.INPUTS else list(OURS)
    assert headers_again(given) == [("redriven", b"0:17"), *extra]


def sent(*given: Letter, before: dict[bytes, Sending] | None = None) -> list[redrive.Done]:
    """What would be done with these."""
    work = Redrive(None, before or {}, partitions=4, force=True)
    return [done for one in given for done in work.take(one)] + work.finish()


def test_a_record_is_sent_once_whatever_letters_it_has() -> None:
    copies = [letter(), letter(place="0:18"), letter(place="0:19", headers=(("redriven", b"0:17"),))]
    outcomes = [(done.outcome, done.note) for done in sent(*copies)]
    partition = topics.partition_for(b"u1", 4)
    assert outcomes == [
        (RedriveOutcome.SENT, f"to browse-events:{partition}"),
        *[(RedriveOutcome.BEFORE, "as 0:17")] * 2,
    ]
    before = {letter().digest(): Sending(1.0, "0:3")}
    assert [(done.outcome, done.note) for done in sent(*copies, before=before)] == [
        (RedriveOutcome.BEFORE, "as 0:3")
    ] * 3


def test_what_has_one_partition_goes_there() -> None:
    assert sent(letter(topics.EXAMPLES, headers=OURS))[0].note == "to training-examples:0"


def test_batches_end_without_being_told() -> None:
    work = Redrive(None, {}, partitions=4)
    counts = [len(work.take(letter(value=b"%d" % n))) for n in range(redrive.BATCH_LETTERS)]
    assert counts == [0] * (redrive.BATCH_LETTERS - 1) + [redrive.BATCH_LETTERS]
    assert work.finish() == []


LETTERS = [
    letter(place="0:1"),
    letter(place="0:2", reason=Rejection.LATE),
    letter(topics.CART, place="1:1", reason=Rejection.LATE),
]


@pytest.mark.parametrize(
    ("selection", "places"),
    [
        (Selection(), ["0:1", "0:2", "1:1"]),
        (Selection(reason="late"), ["0:2", "1:1"]),
        (Selection(topic="cart-events"), ["1:1"]),
        (Selection(reason="late", topic="browse-events"), ["0:2"]),
        (Selection(places=frozenset({"1:1", "0:1"})), ["0:1", "1:1"]),
        (Selection(since_at=1_767_348_000.25), ["0:1", "0:2", "1:1"]),
        (Selection(since_at=1_767_348_001.0), []),
    ],
)
def test_letters_are_selected_by_all_that_is_given(selection: Selection, places: list[str]) -> None:
    assert [found.place for found in selection.of(LETTERS)] == places


def test_a_letter_that_is_named_must_be_there() -> None:
    with pytest.raises(BadConfig, match="no dead letter 0:9, 0:10: expected"):
        Selection(places=frozenset({"0:10", "0:9", "0:1"})).of(LETTERS)


@pytest.mark.parametrize("text", ["", "0", "0:", ":1", "0:1:2", "-1:2", "a:b", "0:1 ", "0" * 19 + ":1"])
def test_names_of_letters_are_two_numbers(text: str) -> None:
    with pytest.raises(BadConfig, match="expected PARTITION:OFFSET"):
        letters.place_of(text)
    assert letters.place_of("00:017") == "0:17"


GOOD = b'{"event_id": "e1", "user_id": "u1", "occurred_at": 1}'
CLICK = b'{"event_id": "e1", "user_id": "u1", "occurred_at": 1, "issue_id": "i1", "kind": "click"}'


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (letter(value=b"{"), "not_json"),
        (letter(value=b""), "not_json"),
        (letter(value=None), "not_json"),
        (letter(value=b'{"event_id": 1}', reason=Rejection.INVALID), "invalid"),
        (letter(value=GOOD[:-1] + b', "schema_version": 9}', reason=Rejection.UNKNOWN_VERSION), "unknown_version"),
        (letter(value=GOOD[:-1] + b" " * 2_000_000 + b"}", reason=Rejection.TOO_LARGE), "too_large"),
        (letter(value=GOOD, key=b"u2", reason=Rejection.WRONG_KEY), "wrong_key"),
        (letter(topics.FEEDBACK, value=CLICK, reason=Rejection.WRONG_COUPON), "wrong_coupon"),
    ],
)
def test_what_this_release_would_refuse_again_is_sent_only_if_forced(given: Letter, reason: str) -> None:
    work = Redrive(None, {}, partitions=4)
    [done] = work.take(given) + work.finish()
    assert (done.outcome, done.again_for) == (RedriveOutcome.HOPELESS, reason)
    [forced] = sent(given)
    assert forced.outcome is RedriveOutcome.SENT


@pytest.mark.parametrize(
    "reason",
    [
        Rejection.WRONG_PARTITION,
        Rejection.STEP_FAILED,
        Rejection.FROM_THE_FUTURE,
        Rejection.LATE,
        Rejection.WRONG_CURRENCY,
        Rejection.UNKNOWN_VERSION,
    ],
)
def test_what_may_succeed_by_now_is_sent(reason: Rejection) -> None:
    work = Redrive(None, {}, partitions=4)
    [done] = work.take(letter(value=GOOD, reason=reason)) + work.finish()
    assert done.outcome is RedriveOutcome.SENT
