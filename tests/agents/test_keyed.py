"""Records to steps and effects to records: keys, partitions, dead letters, times."""

from collections import Counter
from typing import Any

import msgspec
import pytest

from stream_coupons.agents.budgets import Budgets
from stream_coupons.agents.internal import signature
from stream_coupons.agents.neighbours import Neighbours
from stream_coupons.agents.users import Users
from stream_coupons.core.draws import PUBLIC_KEY
from stream_coupons.core.errors import BadMessage
from stream_coupons.core.messages.inputs import Tick
from stream_coupons.core.messages.leases import Lease, LeaseReport
from stream_coupons.core.messages.neighbours import UserVector
from stream_coupons.core.money.accounts import money_of, units_of
from stream_coupons.core.money.holdings import Account, Holding
from stream_coupons.core.money.purses import Purse
from stream_coupons.core.neighbours.buckets import split_cell_key
from stream_coupons.core.neighbours.relations import is_category_bucket
from stream_coupons.core.reasons import Rejection
from stream_coupons.core.rules import AttributionRules, ShopRules
from stream_coupons.core.shopper.state import Shopper
from stream_coupons.core.vectors.sparse import feature_index
from stream_coupons.kafka import topics
from stream_coupons.kafka.codec import encode
from stream_coupons.kafka.records import Record
from stream_coupons.runtime.steps import SharedStates
from stream_coupons.testing import campaign, item
from tests.core.builders import AT, DAY_S, FixedScorer, browse, cart, erasure, feedback, knowledge, observed, order
from tests.core.builders import repeatable as coupon
from tests.core.builders import rules as rules_with
from tests.runtime.fakes import unnumbered

from .fakes import Owner, Shop, record

KNOWN = knowledge(coupon("c1", stock=5), rules=rules_with())
NOW_MS = int(AT * 1000)
UNITS, MONEY = units_of("c1"), money_of("c1")


def known() -> Any:
    return KNOWN


def shop(partitions: int = 1) -> Shop:
    made = Shop(known, partitions)
    made.now = AT
    return made


def ours(topic: topics.Topic, message: Any) -> Record:
    """A message of one of our agents."""
    one = record(topic, message)
    return one._replace(headers=(("signature", signature(PUBLIC_KEY, topic.name, one.value or b"")),))


def lease(version: int = 1, granted: int = 3, **about: Any) -> Lease:
    known: dict[str, Any] = {"account_id": UNITS, "partition": 0, "at": AT}
    return Lease(version=version, granted=granted, **(known | about))


def report(**about: Any) -> LeaseReport:
    known: dict[str, Any] = {"account_id": UNITS, "partition": 0, "at": AT, "version": 0, "granted": 1}
    return LeaseReport(**(known | about))


def totals(purse: Purse | Holding | None) -> tuple[int, ...]:
    """Granted, returned, drawn, freed and spent."""
    return () if purse is None else (purse.granted, purse.returned, purse.drawn, purse.freed, purse.spent)


def refused(record: Record) -> str:
    with pytest.raises(BadMessage) as caught:
        Users(known, 1).parse(record)
    return caught.value.reason


@pytest.mark.parametrize(
    ("topic", "message"),
    [
        (topics.BROWSE, browse()),
        (topics.CART, cart()),
        (topics.ORDER, order()),
        (topics.FEEDBACK, feedback("click", "i")),
        (topics.OBSERVED, observed()),
    ],
)
def test_a_message_belongs_to_its_shopper(topic: topics.Topic, message: Any) -> None:
    assert Users(known, 1).parse(record(topic, message)) == ("u", message)


@pytest.mark.parametrize(("said", "appended", "is_at"), [(5.0, 9.0, 5.0), (9.0, 5.0, 5.0), (9.0, -0.001, 9.0)])
def test_a_tick_is_never_later_than_its_append(said: float, appended: float, is_at: float) -> None:
    tick = Record(topics.TICKS.name, 0, 0, int(appended * 1000), b"0", encode(Tick(at=said)))
    assert Users(known, 1).parse(tick) == ("", Tick(at=is_at))


@pytest.mark.parametrize("key", [b"v", b"", b"u ", b"\xff", b'"u"'])
def test_a_key_that_is_not_the_id_inside_is_refused(key: bytes) -> None:
    assert refused(record(topics.BROWSE, browse())._replace(key=key)) == Rejection.WRONG_KEY


def test_a_key_that_is_json_is_told_to_be_sent_bare() -> None:
    with pytest.raises(BadMessage, match="send the bare id, not JSON"):
        Users(known, 1).parse(record(topics.BROWSE, browse())._replace(key=b'"u"'))


def test_a_report_belongs_to_its_account_and_a_lease_to_its_partition() -> None:
    assert Budgets(known, 1).parse(ours(topics.LEASE_REPORTS, report())) == (UNITS, report())
    assert Users(known, 4).parse(ours(topics.LEASES, lease(partition=3))) == ("3", lease(partition=3))


@pytest.mark.parametrize("user", ["\0", "\0" + UNITS, "\0u"])
def test_a_shopper_whose_id_could_be_taken_for_an_account_is_refused(user: str) -> None:
    made = shop()
    made.publish(topics.BROWSE, browse("t", user=user))
    made.settle()
    [letter] = made.logs[topics.DEAD_LETTERS.name, 0]
    assert dict(letter.headers)["reason"] == b"invalid"
    assert (made.owners["users"].table, made.purse(UNITS)) == ({}, None)


@pytest.mark.parametrize(
    ("ahead_s", "is_refused"), [(-400 * DAY_S, False), (0, False), (DAY_S, False), (DAY_S + 1, True)]
)
def test_an_event_from_far_in_the_future_is_refused(ahead_s: float, is_refused: bool) -> None:
    early = record(topics.BROWSE, browse(at=AT + ahead_s))._replace(timestamp_ms=NOW_MS)
    if is_refused:
        assert refused(early) == Rejection.FROM_THE_FUTURE
    else:
        assert Users(known, 1).parse(early)[0] == "u"


def test_without_a_time_of_arrival_nothing_is_from_the_future() -> None:
    assert Users(known, 1).parse(record(topics.BROWSE, browse())._replace(timestamp_ms=-1))[0] == "u"


@pytest.mark.parametrize(
    ("message", "is_refused"),
    [
        (order(currency="EUR"), False),
        (order(), False),
        (browse(), False),
        (order(currency="USD"), True),
        (feedback("purchase", "i", currency="USD"), False),
        (order(currency="USD", domain="us"), False),
    ],
)
def test_an_event_in_another_currency_than_its_domain_is_refused_but_feedback_waits_for_its_issue(
    message: Any, is_refused: bool
) -> None:
    rules = msgspec.structs.replace(rules_with(), shop=ShopRules(currencies={"ecommerce": "EUR"}))
    users = Users(lambda: knowledge(coupon("c1"), rules=rules), 1)
    topic = {"OrderEvent": topics.ORDER, "BrowseEvent": topics.BROWSE}.get(type(message).__name__, topics.FEEDBACK)
    if not is_refused:
        assert users.parse(record(topic, message)) == ("u", message)
        return
    with pytest.raises(BadMessage, match="currency is 'USD', that of domain 'ecommerce' is 'EUR'") as caught:
        users.parse(record(topic, message))
    assert caught.value.reason == Rejection.WRONG_CURRENCY


def test_one_event_of_the_year_2100_costs_a_shopper_nothing() -> None:
    made = shop()
    made.append(topics.BROWSE.name, 0, b"u", encode(browse("far", 4_102_444_799.0)))
    made.publish(topics.BROWSE, browse("t1", AT, item("A")))
    made.settle()
    assert len(made.messages(topics.ISSUES)) == 1


DEAD = [
    (b"u", b"", "not_json"),
    (b"u", b"{", "not_json"),
    (b"u", None, "not_json"),
    (b"u", b'{"event_id":"e","user_id":"u","occurred_at":NaN}', "not_json"),
    (b"u", b"{}", "invalid"),
    (b"u", b'{"event_id":"e","user_id":"u","occurred_at":1,"schema_version":9}', "unknown_version"),
    (b"u", b"x" * (1024 * 1024 + 1), "too_large"),
    (b"v", encode(browse()), "wrong_key"),
    (None, encode(browse()), "no_key"),
    (b"u", encode(browse(at=AT + 3 * DAY_S)), "from_the_future"),
]


@pytest.mark.parametrize(("key", "value", "reason"), DEAD, ids=lambda case: case if isinstance(case, str) else "")
def test_what_cannot_be_used_is_a_dead_letter_byte_for_byte_and_harms_nothing(
    key: bytes | None, value: bytes | None, reason: str
) -> None:
    made = shop()
    made.publish(topics.BROWSE, browse("before"))
    bad = made.append(topics.BROWSE.name, 0, key, value)
    made.publish(topics.BROWSE, browse("after"))
    made.settle()
    [letter] = made.logs[topics.DEAD_LETTERS.name, 0]
    assert (letter.key, letter.value) == (key, value)
    headers = {name: text.decode() for name, text in letter.headers if text is not None}
    expected = {"reason": reason, "topic": "browse-events", "partition": "0", "offset": "1"}
    assert headers.items() >= (expected | {"timestamp": str(bad.timestamp_ms)}).items()
    assert 0 < len(headers["detail"]) <= 1000
    [counts] = [result for agent, result in made.results if agent == "users" and result.dead]
    assert counts.dead == {("browse-events", reason): 1}
    assert counts.applied["browse-events"] == 2


def test_a_record_in_another_partition_than_murmur2_says_is_a_dead_letter() -> None:
    made = shop(partitions=4)
    home = topics.partition_for(b"u", 4)
    for partition in range(4):
        made.append(topics.BROWSE.name, partition, b"u", encode(browse(f"e{partition}")))
    made.settle()
    letters = [one for one in made.everything if one.topic == topics.DEAD_LETTERS.name]
    assert {dict(one.headers)["partition"] for one in letters} == {str(p).encode() for p in range(4) if p != home}
    assert {dict(one.headers)["reason"] for one in letters} == {b"wrong_partition"}
    assert list(made.owners["users"].table) == ["u"]


@pytest.mark.parametrize("value", [b"", b"null", b'{"at":-1}', b'{"at":"now"}', b"\xff"])
def test_a_tick_that_is_none_is_a_dead_letter(value: bytes) -> None:
    made = shop()
    made.append(topics.TICKS.name, 0, b"0", value)
    made.settle()
    assert len(made.logs[topics.DEAD_LETTERS.name, 0]) == 1


READ = [topic for topic in topics.READ_BY_AGENTS if topic not in (topics.EXAMPLES, topics.TICKS)]


@pytest.mark.parametrize("topic", READ, ids=lambda topic: topic.name)
@pytest.mark.parametrize(
    "value",
    [
        b"\x00\xff",
        b"{}",
        b"[" * 10_000,
        b'{"account_id":"u","partition":0,"at":1,"version":1,"granted":-1}',
        b'{"user_id":"u","cell":"c","at":1,"indices":[1,2],"weights":[]}',
        b'{"user_id":"u","cell":"c","at":1,"neighbours":[],"indices":[1],"weights":[1e400]}',
    ],
)
def test_any_bytes_in_any_topic_are_one_dead_letter(topic: topics.Topic, value: bytes) -> None:
    made = shop()
    made.append(topic.name, 0, b"u", value)
    made.settle()
    assert len(made.logs[topics.DEAD_LETTERS.name, 0]) == 1


def test_feedback_that_names_another_coupon_is_one_dead_letter_with_its_own_bytes() -> None:
    made = shop()
    made.publish(topics.BROWSE, browse("t1"))
    made.settle()
    [issue] = made.messages(topics.ISSUES)
    wrong = made.publish(topics.FEEDBACK, feedback("purchase", issue.issue_id, AT + 1, coupon_id="c9"))
    made.settle()
    [letter] = made.logs[topics.DEAD_LETTERS.name, 0]
    assert (letter.key, letter.value) == (wrong.key, wrong.value)
    assert dict(letter.headers)["offset"] == str(wrong.offset).encode()
    _, last = made.results[-1]
    assert last.dead == {("coupon-feedback", "wrong_coupon"): 1}
    assert last.applied["coupon-feedback"] == 0


def test_forged_feedback_is_a_dead_letter_when_its_time_is_up() -> None:
    made = shop()
    forged = made.publish(topics.FEEDBACK, feedback("purchase", "forged"))
    made.settle()
    assert made.logs[topics.DEAD_LETTERS.name, 0] == []
    made.tick(AT + 30 * DAY_S)
    made.settle()
    [letter] = made.logs[topics.DEAD_LETTERS.name, 0]
    assert (letter.key, letter.value) == (forged.key, forged.value)
    assert dict(letter.headers)["reason"] == b"unknown_issue"


def test_outputs_go_to_the_partition_of_their_key() -> None:
    made = shop(partitions=4)
    for n in range(20):
        made.publish(topics.BROWSE, browse(f"t{n}", AT + n, item(f"i{n}"), f"u{n}"))
    made.settle()
    ours = [one for one in made.everything if one.headers]
    assert {one.topic for one in ours} >= {"lease-reports", "coupon-issues", "user-vectors", "neighbour-updates"}
    leases = [one for one in ours if one.topic == topics.LEASES.name]
    assert {one.partition for one in leases} <= {int(one.key or b"") for one in leases}
    assert all(one.partition == topics.partition_for(one.key or b"", 4) for one in ours if one not in leases)


def test_a_domain_of_any_name_has_its_own_cells() -> None:
    made = shop(partitions=2)
    for user in ("u1", "u2"):
        for domain in ("a\x1fb", "a", "3:a"):
            made.publish(topics.BROWSE, browse(f"{user}{domain}", AT, item("A"), user, domain=domain))
    made.settle()
    assert [one for one in made.everything if one.topic == topics.DEAD_LETTERS.name] == []


def test_leases_and_reports_that_come_twice_or_late_change_nothing() -> None:
    made = shop(2)
    for number in range(4):
        made.publish(topics.BROWSE, browse(f"t{number}", AT + 10 * number))
        made.settle()
    home = topics.partition_for(b"u", 2)
    ours = [one for one in made.everything if one.topic in (topics.LEASES.name, topics.LEASE_REPORTS.name)]
    assert {one.topic for one in ours} == {topics.LEASES.name, topics.LEASE_REPORTS.name}

    def booked() -> list[Any]:
        holdings = made.holdings(UNITS)
        return [totals(made.purse(UNITS, home)), *(totals(holdings[number]) for number in sorted(holdings))]

    before = booked()
    made.send_copies(reversed(ours))
    made.settle()
    assert booked() == before
    duplicates = sum((result.duplicates for _, result in made.results), Counter())
    assert duplicates[topics.LEASES.name] >= sum(one.topic == topics.LEASES.name for one in ours)


@pytest.mark.parametrize("crash", [1.0, 1.5])
def test_neighbours_hear_of_who_is_forgotten_whatever_crashes(crash: float) -> None:
    made = shop()
    for user in ("u1", "u2"):
        made.publish(topics.BROWSE, browse(f"t-{user}", AT, item("A"), user))
    made.settle()
    assert len(made.owners["neighbours"].table) == 2
    made.publish(topics.ERASURES, erasure(at=AT + 1, user="u1"))
    made.process("users", 0, crash=crash)
    made.settle()
    [left] = made.owners["neighbours"].table
    assert left.endswith("u2")
    made.publish(topics.BROWSE, browse("later", AT + DAY_S, item("A"), "u2"))
    made.settle()
    assert [near.user_id for near in made.messages(topics.NEIGHBOURS)[-1].neighbours] == []


def test_accounts_purses_and_cells_are_known_again_after_a_crash() -> None:
    made = shop(2)
    for user in ("u1", "u2", "u5"):
        made.publish(topics.BROWSE, browse(f"t-{user}", AT, item("A"), user))
        made.settle()
    made.tick(AT + 10)
    made.settle()
    budgets = made.owners["budgets"]
    before = dict(budgets.step.accounts)
    assert before[UNITS].sums.drawn == 3
    purses = [dict(made.owners["users"].batches.shared(home)) for home in (0, 1)]
    assert sum(len(each) for each in purses) > 2
    for agent in made.owners:
        made.start(agent)
    assert budgets.step.accounts == before
    assert [dict(made.owners["users"].batches.shared(home)) for home in (0, 1)] == purses
    made.publish(topics.BROWSE, browse("t3", AT + DAY_S, item("A"), "u3"))
    made.settle()
    last = made.messages(topics.NEIGHBOURS)[-1]
    assert {neighbour.user_id for neighbour in last.neighbours} == {"u1", "u2", "u5"}


def test_a_partition_that_is_given_away_is_no_part_of_the_accounts_that_are_reported() -> None:
    agent = Budgets(known, 4)
    for account_id in (UNITS, MONEY):
        agent.place(topics.partition_for(account_id.encode(), 4), account_id, Account())
    agent.forget(topics.partition_for(UNITS.encode(), 4))
    assert set(agent.accounts) == {MONEY}


def test_what_a_step_does_not_know_is_a_bug_that_is_told() -> None:
    vector = UserVector(user_id="u", cell="c", at=1.0, indices=[], weights=[])
    with pytest.raises(TypeError, match="UserVector"):
        Users(known, 1).step("u", Shopper(), vector, record(topics.VECTORS, vector))


YEAR_S = 365 * DAY_S


@pytest.mark.parametrize(("now", "outcome"), [(AT + YEAR_S, "timed_out"), (AT, "given"), (None, "given")])
def test_a_history_that_is_loaded_leads_to_no_coupons(now: float | None, outcome: str) -> None:
    agent = Users(known, 1, clock=None if now is None else lambda: now)
    one = record(topics.BROWSE, browse("t1", AT))._replace(timestamp_ms=int(AT + YEAR_S) * 1000)
    works = agent.decide([agent.fold("u", Shopper(), browse("t1", AT), one).work])
    done = agent.commit(works[0], one, SharedStates({}, Purse))
    assert [kind for noun, kind in done.facts if noun == "decision"] == [outcome]


@pytest.mark.parametrize(("has_clock", "considered_at"), [(True, AT), (False, AT + DAY_S / 2)])
def test_an_event_counts_as_no_later_than_its_append(has_clock: bool, considered_at: float) -> None:
    agent = Users(known, 1, clock=(lambda: AT) if has_clock else None)
    state, ahead = Shopper(), browse("t1", AT + DAY_S / 2)
    one = record(topics.BROWSE, ahead)._replace(timestamp_ms=NOW_MS)
    assert agent.fold("u", state, ahead, one).is_open
    assert state.considered_at == considered_at


def test_a_cell_lives_where_its_vectors_are_sent() -> None:
    agent = Neighbours(known, 4)
    vector = UserVector(user_id="u", cell="ecommerce/3", at=1.0, indices=[1], weights=[1.0])
    one = record(topics.VECTORS, vector, partitions=4)
    key, _ = agent.parse(one)
    assert split_cell_key(key)[0].encode() == one.key


def test_a_worker_that_takes_over_relates_categories_as_the_one_before() -> None:
    made = shop()
    for n in range(12):
        what = item("A", category="bread" if n % 2 else "nails"), item("B", category="butter" if n % 2 else "hammer")
        made.publish(topics.ORDER, order(f"o{n}", AT + n, *what, user=f"u{n}"))
    made.settle()
    answers = []
    for user in ("u20", "u21"):
        made.publish(topics.ORDER, order(f"o-{user}", AT + DAY_S, item("A", category="bread"), user=user))
        made.settle()
        answers.append(next(one for one in reversed(made.messages(topics.NEIGHBOURS)) if is_category_bucket(one.cell)))
        for agent in made.owners:
            made.start(agent)
    assert [one.user_id for one in answers] == ["u20", "u21"]
    assert answers[0].indices == answers[1].indices == [feature_index("category:butter")]
    assert answers[0].weights == answers[1].weights


@pytest.mark.parametrize("crash", [0.0, 1.0, 1.5, 2.0])
def test_two_shoppers_whose_windows_close_in_one_tick_free_their_money_once_whatever_crashes(crash: float) -> None:
    made = shop()
    for at, user in ((AT + 60, "a"), (AT, "z")):
        made.append(topics.BROWSE.name, 0, user.encode(), encode(browse(f"t-{user}", at, user=user)))
    made.settle()
    assert totals(made.purse(MONEY))[2:] == (200, 0, 0)
    made.tick(AT + 30 * DAY_S)
    made.process("users", 0, crash=crash)
    made.settle()
    assert totals(made.purse(MONEY))[2:] == (200, 200, 0)
    assert totals(made.purse(UNITS)) == (5, 0, 2, 0, 0), "a unit that was given is never there again"


@pytest.mark.parametrize("crash", [0.0, 1.0, 1.3, 2.0])
def test_a_redemption_and_its_corrections_are_booked_once_whatever_crashes(crash: float) -> None:
    made = shop()
    made.publish(topics.BROWSE, browse("t1"))
    made.settle()
    [issue] = made.messages(topics.ISSUES)
    # What is spent is taken from the hold of 100, and what comes back is held again until the window closes.
    booked = [(170, 70, 70), (190, 90, 90), (240, 140, 90), (280, 180, 90)]
    reports = [("purchase", 70), ("purchase", 90), ("refund", 40), ("cancel", None)]
    for number, ((kind, discount), expected) in enumerate(zip(reports, booked, strict=True), start=1):
        event = feedback(kind, issue.issue_id, AT + number, discount_minor=discount)
        made.publish(topics.FEEDBACK, event)
        made.process("users", 0, crash=crash)
        made.settle()
        assert totals(made.purse(MONEY))[2:] == expected
    made.tick(AT + 30 * DAY_S)
    made.settle()
    assert totals(made.purse(MONEY))[2:] == (280, 280, 90)
    account = made.state("budgets", MONEY)
    assert (account.sums.spent, account.sums.drawn) == (0, 0)


@pytest.mark.parametrize("where", [0.0, 1.0, 1.2, 1.5, 1.8, 2.0])
def test_a_crash_anywhere_between_trigger_and_issue_with_another_model_in_between_gives_one_issue(where: float) -> None:
    quiet_models, models = [FixedScorer()], [FixedScorer()]

    def system(scorers: list[FixedScorer]) -> Shop:
        terms = [coupon("c1"), coupon("c2", discount_minor=90)]
        return Shop(lambda: knowledge(*terms, rules=rules_with(), scorer=scorers[-1]), 1, ("users", "budgets"))

    quiet, made = system(quiet_models), system(models)
    for each in (quiet, made):
        for user in ("ann", "bob", "eve"):
            each.publish(topics.BROWSE, browse(f"t-{user}", AT, item("A"), user))
    quiet.settle()
    made.process("users", 0, crash=where)
    if where >= 1.0:
        models.append(FixedScorer(redeem=0.9, version=99))
    made.settle()
    assert {encode(issue) for issue in made.messages(topics.ISSUES)} == {
        encode(issue) for issue in quiet.messages(topics.ISSUES)
    }
    units = units_of("c2")
    assert totals(made.purse(units)) == totals(quiet.purse(units)) == (0, 0, 3, 0, 0)


def test_the_last_unit_goes_to_one_of_many_that_want_it_in_all_partitions() -> None:
    last = knowledge(coupon("c1", stock=1), rules=rules_with())
    made = Shop(lambda: last, 4)
    made.now = AT
    for number in range(40):
        made.publish(topics.BROWSE, browse(f"t{number}", AT + number, item("A"), f"u{number}"))
        made.settle()
    [issue] = made.messages(topics.ISSUES)
    assert issue.issued_at <= AT + 10
    assert sum(totals(made.purse(UNITS, home))[2] for home in range(4)) == 1


def test_a_lease_that_a_crash_has_lost_is_asked_for_again() -> None:
    made = shop(4)
    made.publish(topics.BROWSE, browse("t1"))
    made.settle()
    made.publish(topics.BROWSE, browse("t2", AT + 1))
    home = topics.partition_for(b"u", 4)
    made.process("users", home)
    for partition in range(4):
        made.process("budgets", partition, crash=1.0)  # the account is saved, the lease is not sent
    made.settle()
    for number in range(10):
        made.publish(topics.BROWSE, browse(f"later{number}", AT + 10 + 10 * number))
        made.settle()
    assert len(made.messages(topics.ISSUES)) == 5


@pytest.mark.parametrize(
    ("topic", "message", "partition", "reason"),
    [
        (topics.LEASES, lease(partition=1), 0, b"wrong_partition"),
        (topics.LEASES, lease(partition=0), 1, b"wrong_partition"),
        (topics.LEASE_REPORTS, report(partition=2), None, b"invalid"),
        (topics.LEASE_REPORTS, report(partition=2**40), None, b"invalid"),
    ],
)
def test_a_lease_or_report_of_another_partition_is_a_dead_letter_and_moves_nothing(
    topic: topics.Topic, message: Any, partition: int | None, reason: bytes
) -> None:
    made = shop(2)
    one = ours(topic, message)
    home = topics.partition_for(one.key or b"", 2) if partition is None else partition
    made.append(topic.name, home, one.key, one.value, one.headers)
    made.settle()
    [letter] = [one for one in made.everything if one.topic == topics.DEAD_LETTERS.name]
    assert dict(letter.headers)["reason"] == reason
    assert [made.purse(UNITS, partition) for partition in (0, 1)] == [None, None]
    assert made.holdings(UNITS) == {}


def test_ticks_tell_the_owner_what_was_drawn_and_not_again_what_it_knows() -> None:
    made = shop()
    made.publish(topics.BROWSE, browse("t1"))
    made.settle()
    for number in range(4):
        made.tick(AT + 10 * (number + 1))
        made.settle()
    told = [each for each in made.messages(topics.LEASE_REPORTS) if each.account_id == MONEY]
    assert [(each.drawn, each.asks) for each in told] == [(100, False)]
    assert made.state("budgets", MONEY).sums.drawn == 100


def tables(owner: Owner) -> dict[int, dict[str, bytes | None]]:
    """The cells of an agent by partition, without the numbers of their outputs."""
    return {home: unnumbered(owner.batches._codec, table) for home, table in owner.tables.items()}


def test_the_same_messages_give_the_same_states_and_decisions_whatever_starts_anew() -> None:
    shared = campaign(budget_minor=1500, max_overspend_ratio=1.0, starts_at=AT, ends_at=AT + 10 * DAY_S)
    first_terms = coupon("c1", campaign_id="k1", discount_minor=30, redeem_within_s=1800.0)
    terms = [first_terms, coupon("c2", budget_minor=400, stock=9)]
    same = knowledge(*terms, campaigns=[shared], rules=rules_with(attribution=AttributionRules(grace_s=60.0)))

    def run(*, restarts: bool) -> Shop:
        made = Shop(lambda: same, 2)
        made.now = AT
        for number in range(40):
            made.publish(topics.BROWSE, browse(f"t{number}", AT + 600 * number, item("A"), f"u{number % 7}"))
            made.settle()
            if number % 3 == 0:
                for issue in made.messages(topics.ISSUES)[-2:]:
                    kind = ("purchase", "refund", "cancel")[number // 3 % 3]
                    event = feedback(kind, issue.issue_id, made.now, f"f{number}{issue.user_id}", user_id=issue.user_id)
                    made.publish(topics.FEEDBACK, event)
            made.tick(made.now)
            for agent in made.owners:
                if restarts:
                    made.start(agent)
            made.settle()
        for number in range(7):  # a state keeps its last outputs, and a start forgets that they were sent
            made.publish(topics.BROWSE, browse(f"last{number}", AT + 24_000 + number, item("A"), f"u{number}"))
        made.settle()
        return made

    first, again, restarted = run(restarts=False), run(restarts=False), run(restarts=True)
    issues = first.messages(topics.ISSUES)
    assert any(issue.held_minor < issue.max_discount_minor for issue in issues)
    assert any(issue.price_minor > 0.0 for issue in issues)
    logs = [[(one.topic, one.partition, one.key, one.value) for one in made.everything] for made in (first, again)]
    assert logs[0] == logs[1]
    for other in (again, restarted):
        for name, owner in first.owners.items():
            assert tables(other.owners[name]) == tables(owner)
        assert [encode(issue) for issue in other.messages(topics.ISSUES)] == [encode(issue) for issue in issues]
