"""Nothing is skipped: applied to its key's state, or in dead-letters; and a dead letter is the copy of a record."""

import pytest

from lab.builders import AT_MS, BROWSE, ISSUES, LEASES, LETTERS, REPORTS, UNITS, USERS, Handmade, Log, found
from stream_coupons.core.money.holdings import Holding, key_of
from stream_coupons.kafka import topics
from stream_coupons.kafka.dead_letters import dead_letter
from stream_coupons.kafka.records import ORIGIN_HEADER, Record
from stream_coupons.ops.audit.coverage_check import fingerprint
from stream_coupons.ops.audit.findings import Check, CheckCounts
from stream_coupons.runtime.cells import StateCodec
from stream_coupons.runtime.steps import SHARED_PREFIX


def finished(log: Log) -> list[tuple[str, str, str]]:
    """The violations of a log to which nothing is added any more."""
    log.save_cells()
    return found(log)


def browse(log: Log, user_id: str, value: bytes = b"{}") -> Record:
    """An event, whatever its bytes."""
    return log.put(Record(BROWSE, 0, 0, AT_MS, user_id.encode(), value))


def letter_of(record: Record) -> Record:
    """What a worker writes of a record that is too large."""
    letter = dead_letter(record, "too_large", "")
    return Record(LETTERS, 0, 0, AT_MS, letter.key, letter.value, tuple(letter.headers))


def test_every_input_is_applied_or_refused() -> None:
    log = Log()
    for user in ("a", "b", "a"):
        browse(log, user)
    log.refuse(browse(log, "c"))
    assert finished(log) == []
    assert log.audit().tallies[Check.RECORDS] == CheckCounts(checked=4)


def test_an_input_that_is_neither_applied_nor_refused_was_lost() -> None:
    log = Log()
    browse(log, "a")
    log.save_cells()
    browse(log, "a")
    browse(log, "b")
    neither = "committed, but neither a dead letter nor applied to"
    assert found(log) == [
        ("records", "browse-events:0:1", f"{neither} b'a', which has offset 0; expected one of them"),
        ("records", "browse-events:0:2", f"{neither} b'b', which has none of it; expected one of them"),
    ]


def test_so_are_reports_on_leases() -> None:
    log = Handmade(stock=5).give("1")
    log.report()
    log.save_cells()
    [record] = log.read((REPORTS,))
    log.put(record)
    assert [(title, place) for title, place, _ in found(log)] == [("records", "lease-reports:0:1")]


def test_a_lease_is_applied_to_the_purse_of_its_partition() -> None:
    log = Handmade(partitions=2, stock=8)
    log.lease(log.report(asks=True), 4)
    log.save_cells()
    assert found(log) == []
    assert log.audit().tallies[Check.RECORDS] == CheckCounts(checked=2)
    log.put(next(iter(log.read((LEASES,)))))
    assert found(log) == []
    lost = log.lease(log.report(asks=True), 5)
    neither = "committed, but neither a dead letter nor applied to the purse of units:c, which has version 1"
    violation = ("records", "coupon-leases:0:2", f"{neither}; expected one of them")
    assert violation in found(log)
    log.committed = dict(log.ends) | {(LEASES, 0): 2}
    assert violation not in found(log)
    log.committed = None
    log.refuse(lost)
    assert violation not in found(log)


def test_a_lease_without_a_purse_was_lost_and_nonsense_needs_a_dead_letter() -> None:
    log = Handmade(partitions=2, stock=8)
    log.lease(log.report(asks=True), 4)
    log.put(log.take_out(LEASES)._replace(value=b"nonsense"))
    log.lease(log.report(asks=True), 4)
    log.purses.clear()
    neither = "committed, but neither a dead letter nor applied to"
    assert [one for one in finished(log) if one[0] == "records"] == [
        ("records", "coupon-leases:0:1", f"{neither} a purse, which has none of it; expected one of them"),
        ("records", "coupon-leases:0:2", f"{neither} the purse of units:c, which has none of it; expected one of them"),
    ]


def test_a_purse_is_no_cell_and_its_latest_record_counts() -> None:
    log = Handmade(stock=5).give("1")
    log.save_cells()
    place = f"{USERS}:0:{log.ends[USERS, 0]}"
    key = b"\0" + UNITS.encode()
    log.put(Record(USERS, 0, 0, AT_MS, key, b"nonsense"))
    [(title, found_at, detail)] = found(log)
    assert (title, found_at) == ("records", place)
    assert detail.startswith("is no purse of a partition")
    log.take_out(USERS, -1)
    log.put(Record(USERS, 0, 0, AT_MS, key, None))
    detail = "1 issues of coupon c in partition 0, but 0 units drawn: expected one for each"
    assert found(log) == [("issues", f"{ISSUES}:0:0", detail)]


def test_what_is_not_committed_yet_is_open() -> None:
    log = Log()
    browse(log, "a")
    log.save_cells()
    browse(log, "b")
    log.committed = {(BROWSE, 0): 1}
    findings = log.audit()
    assert findings.tallies[Check.RECORDS] == CheckCounts(checked=1, open=1)
    log.committed = {}
    assert log.audit().tallies[Check.RECORDS] == CheckCounts(checked=1, open=1)


def test_a_holding_of_an_account_is_neither_cell_nor_purse() -> None:
    log = Handmade(stock=5).give("1")
    log.report()
    log.save_cells()
    key, data = f"{SHARED_PREFIX}{key_of(UNITS, 0)}".encode(), StateCodec(Holding).encode(Holding(drawn=1))
    log.put(Record(topics.changelog("accounts").name, 0, 0, AT_MS, key, data))
    assert found(log) == []


def test_the_latest_cell_of_a_key_counts() -> None:
    log = Log()
    browse(log, "a")
    log.save_cells()
    browse(log, "a")
    log.save_cells()
    assert found(log) == []
    [old, _] = log.read((USERS,))
    log.put(old)  # a worker that was taken for dead, and wrote once more
    assert [place for _, place, _ in found(log)] == ["browse-events:0:1"]
    log.put(old._replace(value=None))
    assert [place for _, place, _ in found(log)] == ["browse-events:0:0", "browse-events:0:1"]


def test_a_cell_that_is_none_is_named() -> None:
    log = Log()
    log.put(Record(USERS, 0, 0, AT_MS, b"a", b"nonsense"))
    [(title, place, detail)] = found(log)
    assert (title, place) == ("records", f"{USERS}:0:0")
    assert detail.startswith("is no cell of a table")


def test_a_dead_letter_that_retention_may_have_dropped_is_not_missed() -> None:
    log = Log()
    log.refuse(browse(log, "a"))
    log.refuse(browse(log, "b")._replace(timestamp_ms=AT_MS + 1))
    log.drop_beginning(LETTERS, 1)
    assert found(log) == []
    assert log.audit().tallies[Check.RECORDS] == CheckCounts(checked=1, not_checked=1)


# ---------------------------------------------------------------- dead letters


def test_copies_of_a_dead_letter_are_no_violation() -> None:
    log = Log()
    record = browse(log, "a")
    log.refuse(record)
    log.refuse(record)
    assert found(log) == []
    assert log.audit().tallies[Check.LETTERS] == CheckCounts(checked=2)


def test_two_dead_letters_of_one_record_have_the_same_bytes() -> None:
    log = Log()
    record = browse(log, "a")
    log.refuse(record)
    log.refuse(record._replace(value=b"other"))
    detail = "browse-events:0:0 has another dead letter with other bytes, expected the same"
    assert found(log) == [("dead letters", "dead-letters:0:1", detail)]


def test_a_dead_letter_has_the_bytes_of_its_record() -> None:
    log = Log()
    log.refuse(browse(log, "a")._replace(value=b"other"))
    assert found(log) == [("dead letters", "browse-events:0:0", "its dead letter has other bytes, expected the same")]


def test_a_dead_letter_that_is_cut_is_the_letter_of_the_record_whose_digest_it_has() -> None:
    log = Log()
    record = browse(log, "a", b"v" * 12_000_000)
    log.put(letter_of(record))
    assert finished(log) == []
    assert log.audit().tallies[Check.RECORDS] == log.audit().tallies[Check.LETTERS] == CheckCounts(checked=1)


def test_a_dead_letter_that_is_cut_and_has_another_digest_is_of_other_bytes() -> None:
    log = Log()
    record = browse(log, "a", b"v" * 12_000_000)
    log.put(letter_of(record._replace(value=b"v" * 12_000_001)))
    assert found(log) == [("dead letters", "browse-events:0:0", "its dead letter has other bytes, expected the same")]


@pytest.mark.parametrize("offset", [-2, 1, 10**12])
def test_a_dead_letter_names_a_record_that_is_there(offset: int) -> None:
    log = Log()
    record = browse(log, "a")
    log.save_cells()
    log.refuse(record._replace(offset=offset))
    detail = f"it names browse-events:0:{offset} as its record, expected an offset below 1"
    assert found(log) == [("dead letters", "dead-letters:0:0", detail)]


def test_a_dead_letter_of_a_partition_that_does_not_exist_is_none() -> None:
    log = Log()
    log.refuse(Record(BROWSE, 7, 0, AT_MS, b"a", b"{}"))
    assert [title for title, _, _ in found(log)] == ["dead letters"]


@pytest.mark.parametrize(
    "headers",
    [
        (),
        (("topic", b"browse-events"), ("partition", b"0"), ("offset", b"x")),
        (("topic", b"browse-events"), ("partition", None), ("offset", b"0")),
        (("topic", b"coupon-issues"), ("partition", b"0"), ("offset", b"0")),
        (("topic", b"\xff"), ("partition", b"0"), ("offset", b"0")),
    ],
)
def test_a_dead_letter_names_its_record_in_its_headers(headers: tuple[tuple[str, bytes | None], ...]) -> None:
    log = Log()
    log.put(Record(LETTERS, 0, 0, AT_MS, b"a", b"{}", headers))
    [(title, _, detail)] = found(log)
    assert title == "dead letters"
    assert detail.startswith("headers name no record")


def test_feedback_that_waited_in_vain_is_the_copy_of_no_record() -> None:
    log = Log()
    log.refuse(Record(topics.FEEDBACK.name, 0, -1, AT_MS, b"a", b"{}"), "unknown_issue")
    assert found(log) == []
    assert log.audit().tallies[Check.LETTERS] == CheckCounts(not_checked=1)


def test_the_record_of_a_dead_letter_may_be_dropped_or_of_a_topic_that_is_not_followed() -> None:
    log = Log()
    log.refuse(browse(log, "a"))
    log.refuse(log.put(Record(topics.TICKS.name, 0, 0, AT_MS, b"0", b"x")))
    browse(log, "b")
    log.drop_beginning(BROWSE, 1)
    assert finished(log) == []


# ---------------------------------------------------------------- fingerprints


def test_a_fingerprint_is_of_key_value_and_origin() -> None:
    record = Record(ISSUES, 0, 0, AT_MS, b"k", b"v", ((ORIGIN_HEADER, b"o"), ("began-ms", b"1")))
    same = record._replace(offset=7, timestamp_ms=1, headers=(("redriven", b"0:1"), (ORIGIN_HEADER, b"o")))
    assert fingerprint(record) == fingerprint(same)
    others = [
        record._replace(key=b"kv", value=b""),
        record._replace(key=None),
        record._replace(value=None),
        record._replace(value=b""),
        record._replace(headers=()),
        record._replace(headers=((ORIGIN_HEADER, b"p"),)),
    ]
    assert len({fingerprint(one) for one in (record, *others)}) == len(others) + 1
