"""Records to steps and effects to records: keys, partitions, dead letters, times."""

from typing import Any

import msgspec
import pytest
from core.builders import (
    AT,
    DAY_S,
    FixedScorer,
    browse,
    cart,
    coupon,
    erasure,
    feedback,
    item,
    knowledge,
    observed,
    order,
)
from core.builders import rules as rules_with

from stream_coupons import topics
from stream_coupons.agents.budgets import Budgets
from stream_coupons.agents.neighbours import Neighbours
from stream_coupons.agents.users import Users
from stream_coupons.codec import encode
from stream_coupons.core.errors import BadMessage
from stream_coupons.core.events import (
    MAX_ALTERNATIVES,
    Alternative,
    Proposal,
    Reservation,
    Settlement,
    Tick,
    UserVector,
)
from stream_coupons.core.ledger import Ledger
from stream_coupons.core.reasons import Rejection
from stream_coupons.core.relations import is_category_bucket
from stream_coupons.core.shopper import Shopper
from stream_coupons.core.similarity import feature_index
from stream_coupons.runtime.records import Record
from stream_coupons.runtime.steps import Deferred, Outcome

from .fakes import Shop, record

KNOWN = knowledge(coupon("c1", stock=5), rules=rules_with())
NOW_MS = int(AT * 1000)


def known() -> Any:
    return KNOWN


def shop(partitions: int = 1) -> Shop:
    made = Shop(known, partitions)
    made.now = AT
    return made


def ours(topic: topics.Topic, message: Any) -> Record:
    """A message of one of our agents."""
    return record(topic, message)._replace(headers=(("origin", b"browse-events:0:1:0"),))


def granted_to(user: str) -> Reservation:
    return Reservation(proposal_id="p", user_id=user, at=AT, granted=True, coupon_id="c")


def wish(rank: int = 0) -> Proposal:
    wanted = [Alternative("a", 1), Alternative("b", 1)]
    return Proposal(proposal_id="p", user_id="u", at=AT, expires_at=AT + 60, alternatives=wanted, rank=rank)


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
        (topics.RESERVATIONS, granted_to("u")),
    ],
)
def test_a_message_belongs_to_its_shopper(topic: topics.Topic, message: Any) -> None:
    assert Users(known, 1).parse(ours(topic, message)) == ("u", message)


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


def test_a_proposal_is_keyed_by_the_coupon_it_asks_for_now() -> None:
    assert Budgets(known, 1).parse(ours(topics.PROPOSALS, wish(rank=1)))[0] == "b"


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


READ = [topic for topic in topics.READ_BY_AGENTS if topic not in (topics.EXAMPLES, topics.OPEN, topics.TICKS)]


@pytest.mark.parametrize("topic", READ, ids=lambda topic: topic.name)
@pytest.mark.parametrize(
    "value",
    [
        b"\x00\xff",
        b"{}",
        b"[" * 10_000,
        b'{"proposal_id":"p","user_id":"u","at":1,"expires_at":2,"alternatives":[["c1",1]],"rank":7}',
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
    assert {one.topic for one in ours} >= {"coupon-proposals", "coupon-issues", "user-vectors", "neighbour-updates"}
    assert all(one.partition == topics.partition_for(one.key or b"", 4) for one in ours)


def test_a_domain_of_any_name_has_its_own_cells() -> None:
    made = shop(partitions=2)
    for user in ("u1", "u2"):
        for domain in ("a\x1fb", "a", "3:a"):
            made.publish(topics.BROWSE, browse(f"{user}{domain}", AT, item("A"), user, domain=domain))
    made.settle()
    assert [one for one in made.everything if one.topic == topics.DEAD_LETTERS.name] == []


def test_settlements_and_proposals_that_come_twice_are_booked_once() -> None:
    made = shop()
    made.publish(topics.BROWSE, browse("t1"))
    made.settle()
    ours = [one for one in made.everything if one.topic in ("coupon-proposals", "coupon-settlements")]
    assert len(ours) == 2
    made.send_copies(ours)
    made.settle()
    assert made.state("budgets", "c1") == Ledger(issued=1, held_minor=100)
    _, last = made.results[-1]
    assert last.duplicates == {"coupon-proposals": 1, "coupon-settlements": 1}


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


def test_ledgers_and_cells_are_known_again_after_a_crash() -> None:
    made = shop()
    for user in ("u1", "u2"):
        made.publish(topics.BROWSE, browse(f"t-{user}", AT, item("A"), user))
    made.settle()
    budgets = made.owners["budgets"]
    before = dict(budgets.step.ledgers)
    assert before["c1"].issued == 2
    for owner in made.owners.values():
        owner.start()
    assert budgets.step.ledgers == before
    made.publish(topics.BROWSE, browse("t3", AT + DAY_S, item("A"), "u3"))
    made.settle()
    last = made.messages(topics.NEIGHBOURS)[-1]
    assert {neighbour.user_id for neighbour in last.neighbours} == {"u1", "u2"}


def test_what_a_step_does_not_know_is_a_bug_that_is_told() -> None:
    vector = UserVector(user_id="u", cell="c", at=1.0, indices=[], weights=[])
    for agent in (Users(known, 1), Budgets(known, 1)):
        with pytest.raises(TypeError, match="UserVector"):
            agent.step("u", agent.state_type(), vector, record(topics.VECTORS, vector))


@pytest.mark.parametrize(("has_clock", "outcome"), [(True, "timed_out"), (False, "issue")])
def test_a_history_that_is_loaded_leads_to_no_coupons(has_clock: bool, outcome: str) -> None:
    agent, state = Users(known, 1, has_clock=has_clock), Shopper()
    trigger = agent.apply("u", state, browse("t1", AT), record(topics.BROWSE, browse("t1", AT)))
    assert isinstance(trigger, Deferred)
    agent.finish([(trigger, record(topics.BROWSE, browse("t1", AT)))])
    [proposal] = state.proposals.values()
    answer = Reservation(
        proposal_id=proposal.proposal_id, user_id="u", at=AT, granted=True, coupon_id="c1", amount_minor=100
    )
    a_year_on = record(topics.RESERVATIONS, answer)._replace(timestamp_ms=int(AT + 365 * DAY_S) * 1000)
    outcomes = agent.apply("u", state, answer, a_year_on)
    assert isinstance(outcomes, Outcome)
    assert outcome in [kind if noun == "decision" else noun for noun, kind in outcomes.facts]


@pytest.mark.parametrize(("has_clock", "considered_at"), [(True, AT), (False, AT + DAY_S / 2)])
def test_an_event_counts_as_no_later_than_its_append(has_clock: bool, considered_at: float) -> None:
    agent, state, ahead = Users(known, 1, has_clock=has_clock), Shopper(), browse("t1", AT + DAY_S / 2)
    assert isinstance(
        agent.apply("u", state, ahead, record(topics.BROWSE, ahead)._replace(timestamp_ms=NOW_MS)), Deferred
    )
    assert state.considered_at == considered_at


def test_a_cell_lives_where_its_vectors_are_sent() -> None:
    agent = Neighbours(known, 4)
    vector = UserVector(user_id="u", cell="ecommerce/3", at=1.0, indices=[1], weights=[1.0])
    one = record(topics.VECTORS, vector, partitions=4)
    key, _ = agent.parse(one)
    assert topics.partition_for(agent.partition_key(key), 4) == one.partition


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
        for owner in made.owners.values():
            owner.start()
    assert [one.user_id for one in answers] == ["u20", "u21"]
    assert answers[0].indices == answers[1].indices == [feature_index("category:butter")]
    assert answers[0].weights == answers[1].weights


def test_two_shoppers_whose_windows_close_in_one_tick_give_both_coupons_back_even_after_a_crash() -> None:
    # The order in which outputs are sent again must be the old one: the owner of the coupon takes a falling origin
    # for a second copy.
    made = shop()
    for at, user in ((AT + 60, "a"), (AT, "z")):
        made.append(topics.BROWSE.name, 0, user.encode(), encode(browse(f"t-{user}", at, user=user)))
    made.settle()
    assert made.state("budgets", "c1").held_minor == 200
    made.tick(AT + 30 * DAY_S)
    made.process("users", 0, crash=1.0)
    made.settle()
    assert [each.outcome for each in made.messages(topics.SETTLEMENTS)] == ["confirmed"] * 2 + ["expired"] * 2
    assert made.state("budgets", "c1") == Ledger(issued=2)


@pytest.mark.parametrize("where", [0.0, 0.34, 0.67, 1.0, 1.5, 2.0])
@pytest.mark.parametrize("agent", ["users", "budgets"])
def test_a_crash_anywhere_between_proposal_and_issue_with_another_model_in_between_gives_one_issue(
    agent: str, where: float
) -> None:
    quiet_models, models = [FixedScorer()], [FixedScorer()]

    def system(scorers: list[FixedScorer]) -> Shop:
        terms = [coupon("c1"), coupon("c2", discount_minor=90)]
        return Shop(lambda: knowledge(*terms, rules=rules_with(), scorer=scorers[-1]), 1, ("users", "budgets"))

    quiet, made = system(quiet_models), system(models)
    for each in (quiet, made):
        for user in ("ann", "bob", "eve"):
            each.publish(topics.BROWSE, browse(f"t-{user}", AT, item("A"), user))
    quiet.settle()
    if agent == "budgets":
        made.process("users", 0)
    made.process(agent, 0, crash=where)
    if where >= 1.0:
        models.append(FixedScorer(redeem=0.9, version=99))
    made.settle()
    assert {encode(issue) for issue in made.messages(topics.ISSUES)} == {
        encode(issue) for issue in quiet.messages(topics.ISSUES)
    }
    assert made.state("budgets", "c2") == quiet.state("budgets", "c2") == Ledger(issued=3, held_minor=300)


def test_as_many_alternatives_as_the_settings_allow_fit_into_a_proposal() -> None:
    terms = [coupon(f"c{number}") for number in range(MAX_ALTERNATIVES + 1)]
    chosen = rules_with(alternatives=MAX_ALTERNATIVES, max_candidates=len(terms))
    made = Shop(lambda: knowledge(*terms, rules=chosen), 1, ("users", "budgets"))
    made.now = AT
    made.publish(topics.BROWSE, browse("t"))
    made.settle()
    assert [len(each.alternatives) for each in made.messages(topics.PROPOSALS)] == [MAX_ALTERNATIVES]
    assert len(made.messages(topics.ISSUES)) == 1


def test_a_released_reservation_that_comes_twice_is_given_back_once() -> None:
    made = shop()
    made.publish(topics.BROWSE, browse("t1"))
    made.process("users", 0)
    made.tick(AT + DAY_S)
    made.process("users", 0)
    made.process("budgets", 0, crash=2.0)
    made.settle()
    assert len(made.messages(topics.RESERVATIONS)) == 2
    assert [each.outcome for each in made.messages(topics.SETTLEMENTS)] == ["released"]
    assert made.state("budgets", "c1") == Ledger()


RELEASED = Settlement(proposal_id="p", coupon_id="c1", at=1.0, outcome="released", held_minor=5)


FORGED = [b"nonsense", b"mine:0:1:0", b"browse-events:1:1:0", b"x" * 1_000_000 + b":0:1:0"]


@pytest.mark.parametrize("headers", [(), *((("origin", origin),) for origin in FORGED)])
@pytest.mark.parametrize(
    ("agent", "topic", "message"),
    [
        (Users, topics.RESERVATIONS, granted_to("u")),
        (Budgets, topics.PROPOSALS, wish()),
        (Budgets, topics.SETTLEMENTS, RELEASED),
    ],
)
def test_what_moves_stock_is_believed_of_our_agents_only(agent: Any, topic: Any, message: Any, headers: Any) -> None:
    with pytest.raises(BadMessage) as caught:
        agent(known, 1).parse(ours(topic, message)._replace(headers=headers))
    assert caught.value.reason == Rejection.INVALID


def test_a_settlement_of_what_was_never_reserved_is_a_dead_letter_and_frees_nothing() -> None:
    made = shop()
    for number in range(7):
        made.publish(topics.BROWSE, browse(f"t{number}", AT + 7200 * number))
        made.settle()
    before = made.state("budgets", "c1")
    forged = ours(topics.SETTLEMENTS, RELEASED)
    made.append(topics.SETTLEMENTS.name, 0, forged.key, forged.value, (("origin", b"coupon-reservations:0:999:0"),))
    made.publish(topics.BROWSE, browse("more", AT + DAY_S))
    made.settle()
    [letter] = made.logs[topics.DEAD_LETTERS.name, 0]
    assert dict(letter.headers)["reason"] == b"invalid"
    assert made.state("budgets", "c1") == before == Ledger(issued=5, held_minor=500)
    assert len(made.messages(topics.ISSUES)) == 5


def test_a_settlement_that_came_before_its_proposal_and_is_sent_again_gives_back_its_unit_once() -> None:
    made = Shop(known, 1, ("budgets",))
    wanted = msgspec.structs.replace(wish(), alternatives=[Alternative("c1", 5)])

    def came(topic: topics.Topic, message: Any, origin: bytes, *headers: tuple[str, bytes]) -> None:
        made.results.clear()
        made.append(topic.name, 0, b"c1", encode(message), (("origin", origin), *headers))
        made.settle()

    came(topics.SETTLEMENTS, RELEASED, b"coupon-reservations:0:5:0")
    [letter] = made.logs[topics.DEAD_LETTERS.name, 0]
    came(topics.PROPOSALS, wanted, b"browse-events:0:1:0")
    assert made.state("budgets", "c1") == Ledger(reserved=1, held_minor=5)
    redriven = ("redriven", b"0:%d" % letter.offset)
    came(topics.SETTLEMENTS, RELEASED, b"coupon-reservations:0:5:0", redriven)
    assert made.state("budgets", "c1") == Ledger()
    came(topics.PROPOSALS, wanted, b"browse-events:0:2:0")
    came(topics.SETTLEMENTS, RELEASED, b"coupon-reservations:0:5:0", redriven)
    assert [result.duplicates[topics.SETTLEMENTS.name] for _, result in made.results] == [1]
    assert made.state("budgets", "c1") == Ledger(reserved=1, held_minor=5)
    assert len(made.logs[topics.DEAD_LETTERS.name, 0]) == 1


def test_settlements_are_messages_of_their_coupon() -> None:
    one = RELEASED
    assert Budgets(known, 1).parse(ours(topics.SETTLEMENTS, one)) == ("c1", one)
    assert msgspec.json.decode(encode(one), type=Settlement) == one
