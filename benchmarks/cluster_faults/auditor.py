"""An audit of the topics that shares no code with the engine: it decodes JSON and compares, by rules of its own.

The engine's own audit (`stream-coupons verify`) uses the engine's decoder and messages, and would share their faults.
This one reads what is committed with kafka-python, knows topics and fields by the names that the published JSON Schemas
give them, and recomputes what follows from the inputs. It expects an idle system.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any, Final, NamedTuple

import msgspec
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.admin import OffsetSpec
from kafka.errors import KafkaError

SHOP: Final = ("browse-events", "cart-events", "order-events")
"""Topics of the shop's events."""
INPUTS: Final = (*SHOP, "coupon-feedback")
ISSUES, DECISIONS, ANSWERS = "coupon-issues", "decisions", "decision-answers"
LETTERS, COUPONS, CAMPAIGNS, RESULTS = "dead-letters", "coupon-catalog", "coupon-campaigns", "result-totals"
READ: Final = (*INPUTS, ISSUES, DECISIONS, ANSWERS, LETTERS, COUPONS, CAMPAIGNS, RESULTS)
DAY_S: Final = 86_400
POLL_S: Final = 0.5
SILENT_FOR_S: Final = 30.0

Place = tuple[str, int]
"""Topic and partition."""


class Entry(NamedTuple):
    """A record of a topic."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: dict[str, bytes]

    @property
    def origin(self) -> str:
        """The input record that led to this one, "topic:partition:offset"."""
        return self.headers.get("origin", b"").decode().rpartition(":")[0]

    @property
    def place(self) -> str:
        """Its own place, "topic:partition:offset"."""
        return f"{self.topic}:{self.partition}:{self.offset}"


class Log(NamedTuple):
    """All that the audit reads.

    Attributes
    ----------
    entries : dict
        Committed records by topic, in order within each partition.
    ends : dict
        The end of each partition's log.
    committed : dict
        By group, the next offset to read of each partition.
    """

    entries: dict[str, list[Entry]]
    ends: dict[Place, int]
    committed: dict[str, dict[Place, int]]


class Verdict(NamedTuple):
    """Findings: a text for each violation, and the number of records that repeat an earlier one."""

    violations: list[str]
    copies: int


def audit(log: Log, is_exactly_once: bool) -> Verdict:
    """Return what the topics violate.

    Parameters
    ----------
    log : Log
        The topics of an idle system.
    is_exactly_once : bool
        True if a reader of what is committed must see no copy.
    """
    book = _Book(log)
    rules: Sequence[Callable[[_Book], Iterator[str]]] = (
        _one_issue_a_trigger,
        _stock_and_caps,
        _budgets,
        _each_input_once,
        _decisions_and_issues,
        _results,
        _no_lag,
    )
    violations = list(book.changed)
    if is_exactly_once and book.copies:
        violations.append(f"{book.copies} records are copies, and exactly once has none")
    for rule in rules:
        violations += rule(book)
    return Verdict(violations, book.copies)


class _Book:
    """The log, decoded and without copies."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.copies = 0
        self.changed: list[str] = []
        self.inputs = [entry for topic in INPUTS for entry in log.entries.get(topic, ())]
        self.issues = self._distinct(ISSUES, lambda _, body: body["issue_id"])
        self.decisions = self._distinct(DECISIONS, lambda _, body: body["decision_id"])
        self.answers = self._distinct(ANSWERS, lambda entry, _: entry.origin)
        self.coupons = self._latest(COUPONS)
        self.campaigns = self._latest(CAMPAIGNS)
        self.in_time = sorted(self.issues.values(), key=lambda found: (found[0].timestamp_ms, found[0].offset))
        self.feedback = list(self._feedback())

    def _distinct(self, topic: str, identity: Callable[[Entry, Any], str]) -> dict[str, tuple[Entry, Any]]:
        """The first record of each identity; a later one with other bytes is a violation."""
        first: dict[str, tuple[Entry, Any]] = {}
        for entry in self.log.entries.get(topic, ()):
            body = msgspec.json.decode(entry.value or b"null")
            one = identity(entry, body)
            if one not in first:
                first[one] = entry, body
                continue
            self.copies += 1
            earlier = first[one][0]
            if (entry.key, entry.value) != (earlier.key, earlier.value):
                self.changed.append(f"{topic}: {one} at {entry.place} is not what {earlier.place} has")
        return first

    def _latest(self, topic: str) -> dict[str, Any]:
        """The last message of each key."""
        return {
            (entry.key or b"").decode(): msgspec.json.decode(entry.value)
            for entry in self.log.entries.get(topic, ())
            if entry.value
        }

    def _feedback(self) -> Iterator[Any]:
        """Feedback on issues, each event once."""
        seen = set()
        for entry in self.log.entries.get("coupon-feedback", ()):
            body = _event(entry)
            if body is not None and body["event_id"] not in seen:
                seen.add(body["event_id"])
                yield body

    def discounts(self) -> dict[str, int]:
        """Return the discount of each issue, as its last purchase report states it."""
        return {body["issue_id"]: body["discount_minor"] for body in self.feedback if body["kind"] == "purchase"}


def _event(entry: Entry) -> Any:
    """Return an input event, or None if the record is none."""
    try:
        body = msgspec.json.decode(entry.value or b"")
    except msgspec.DecodeError:
        return None
    return body if isinstance(body, dict) and "event_id" in body else None


def _one_issue_a_trigger(book: _Book) -> Iterator[str]:
    """A shopper gets one issue for a trigger, which is in the log."""
    of_trigger = defaultdict(set)
    for issue_id, (_, issue) in book.issues.items():
        of_trigger[issue["user_id"], issue["trigger_id"]].add(issue_id)
    sent = {(body["user_id"], body["event_id"]) for entry in book.inputs if (body := _event(entry)) is not None}
    for trigger, ids in of_trigger.items():
        if len(ids) > 1:
            yield f"shopper and trigger {trigger} have {len(ids)} issues: {sorted(ids)}"
        if trigger not in sent:
            yield f"issue {min(ids)} has a trigger {trigger} that nobody sent"


def _stock_and_caps(book: _Book) -> Iterator[str]:
    """No more than the stock is issued, and no more to one shopper than the caps of coupon and campaign allow."""
    issued: Counter[str] = Counter()
    had: Counter[tuple[str, ...]] = Counter()
    for entry, issue in book.in_time:
        coupon = book.coupons.get(issue["coupon_id"])
        if coupon is None:
            yield f"issue {issue['issue_id']} is of {issue['coupon_id']}, which is not in the catalogue"
            continue
        issued[issue["coupon_id"]] += 1
        stock = coupon.get("stock")
        if stock is not None and issued[issue["coupon_id"]] > stock:
            yield f"{issue['coupon_id']}: issue {issued[issue['coupon_id']]} of {stock} at {entry.place}"
        for owner in (coupon, book.campaigns.get(coupon.get("campaign_id"), {})):
            name = owner.get("campaign_id", "") if owner is not coupon else issue["coupon_id"]
            for cap in owner.get("caps", ()):
                period = _period(cap["per"], issue["issued_at"])
                had[issue["user_id"], name, period] += 1
                if had[issue["user_id"], name, period] > cap["n"]:
                    yield f"shopper {issue['user_id']} has more than {cap['n']} of {name} in {period} at {entry.place}"


def _period(per: str, at: float) -> str:
    """Return the calendar period of a cap in UTC."""
    if per == "life":
        return "life"
    if per == "day":
        return f"day {int(at // DAY_S)}"
    raise ValueError(f"a cap by {per!r}: this audit knows life and day")


def _budgets(book: _Book) -> Iterator[str]:
    """At each issue, the most that open coupons can take and what the others took is within each budget."""
    taken, open_issues = book.discounts(), defaultdict(list)
    for entry, issue in book.in_time:
        coupon = book.coupons.get(issue["coupon_id"], {})
        owners = {issue["coupon_id"]: coupon}
        if campaign_id := coupon.get("campaign_id"):
            owners[campaign_id] = book.campaigns.get(campaign_id, {})
        for name, owner in owners.items():
            budget = owner.get("budget_minor")
            if budget is None:
                continue
            ratio = 0.0 if owner.get("budget_hold") == "maximum" else owner.get("max_overspend_ratio", 0.05)
            open_issues[name].append(issue)
            cost = sum(
                one["max_discount_minor"] if issue["issued_at"] < one["expires_at"] else taken.get(one["issue_id"], 0)
                for one in open_issues[name]
            )
            if cost > budget * (1 + ratio):
                yield f"{name}: {cost} of a budget of {budget} may be taken at {entry.place}"


def _each_input_once(book: _Book) -> Iterator[str]:
    """Each record that asked for an answer has one, or is a dead letter; what is no event is a dead letter."""
    letters = defaultdict(set)
    for letter in book.log.entries.get(LETTERS, ()):
        names = (letter.headers[name].decode() for name in ("topic", "partition", "offset"))
        letters[":".join(names)].add(letter.headers["reason"].decode())
    for entry in book.inputs:
        reasons = letters.pop(entry.place, set())
        answer = book.answers.get(entry.place)
        if _event(entry) is None:
            if not reasons:
                yield f"{entry.place} is no event, and no dead letter"
        elif reasons:
            yield f"{entry.place} is an event, and a dead letter: {sorted(reasons)}"
        elif "answer" in entry.headers and answer is None:
            yield f"{entry.place} asked for an answer, and has none"
        if answer is not None and reasons:
            yield f"{entry.place} has an answer, and is a dead letter"
    places = {entry.place for entry in book.inputs}
    yield from (f"an answer names {origin}, which is no record" for origin in book.answers.keys() - places)
    yield from (f"a dead letter names {place}, which is no record" for place in letters if place.startswith(INPUTS))


def _decisions_and_issues(book: _Book) -> Iterator[str]:
    """Decisions with a coupon, answers with a coupon and issues are the same; an event has one result."""
    given = {one for one, (_, decision) in book.decisions.items() if decision["result"] == "given"}
    answered = Counter(body["decision_id"] for _, body in book.answers.values() if body["result"] == "given")
    issued = set(book.issues)
    yield from (f"decision {one} gave a coupon that was not issued" for one in sorted(given - issued))
    yield from (f"issue {one} has no decision" for one in sorted(issued - given))
    yield from (f"issue {one} has no answer" for one in sorted(issued - set(answered)))
    yield from (f"answer {one} gave a coupon that was not issued" for one in sorted(set(answered) - issued))
    yield from (f"{count} events have issue {one}" for one, count in answered.items() if count > 1)


def _results(book: _Book) -> Iterator[str]:
    """The totals by coupon, day and partition are those of issues and feedback."""
    latest: dict[str, Any] = {}
    for entry in book.log.entries.get(RESULTS, ()):
        body, key = msgspec.json.decode(entry.value or b"null"), (entry.key or b"").decode()
        if body is not None and body["version"] >= latest.get(key, body)["version"]:
            latest[key] = body
    kinds: defaultdict[str, set[str]] = defaultdict(set)
    for body in book.feedback:
        kinds[body["issue_id"]].add(body["kind"])
    discounts = book.discounts()
    expected: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for issue_id, (entry, issue) in book.issues.items():
        about = expected[f"{issue['coupon_id']}|{int(issue['issued_at'] // DAY_S)}|{entry.partition}"]
        about.update(
            given=1,
            seen=bool(kinds[issue_id] & {"impression", "click", "purchase"}),
            clicked="click" in kinds[issue_id],
            used="purchase" in kinds[issue_id],
            discount_minor=discounts.get(issue_id, 0),
        )
    for series in sorted(expected.keys() | latest.keys()):
        for name, count in (expected.get(series) or Counter(given=0)).items():
            found = latest.get(series, {}).get(name, 0)
            if found != count:
                yield f"{RESULTS} {series}: {name} is {found}, the log has {count}"


def _no_lag(book: _Book) -> Iterator[str]:
    """Each committed offset is the end of its log, and each input partition with records has one."""
    known = set()
    for group, offsets in book.log.committed.items():
        for place, offset in offsets.items():
            known.add(place)
            if offset != book.log.ends[place]:
                yield f"{group} committed {offset} of {place[0]}:{place[1]}, its end is {book.log.ends[place]}"
    for place in sorted({(entry.topic, entry.partition) for entry in book.inputs} - known):
        yield f"nothing is committed of {place[0]}:{place[1]}"


# ------------------------------------------------------------ reading


def offsets(bootstrap: str) -> tuple[dict[Place, int], dict[str, dict[Place, int]]]:
    """Return the ends of all partitions of which something is committed, and what is committed, by group.

    Raises
    ------
    KafkaError
        If the brokers do not answer.
    """
    with closing(KafkaAdminClient(bootstrap_servers=bootstrap.split(","))) as client:
        groups = [group["group_id"] for group in client.list_groups()]
        found = client.list_group_offsets(groups) if groups else {}
        committed = {
            group: {(tp.topic, tp.partition): at.offset for tp, at in of_group.items() if at.offset >= 0}
            for group, of_group in found.items()
        }
        wanted = {TopicPartition(*place) for of_group in committed.values() for place in of_group}
        ends = client.list_partition_offsets(dict.fromkeys(wanted, OffsetSpec.LATEST)) if wanted else {}
    return {(tp.topic, tp.partition): end.offset for tp, end in ends.items()}, committed


def is_idle(bootstrap: str) -> bool:
    """Return True if all that groups read is committed; False also while brokers do not answer."""
    try:
        ends, committed = offsets(bootstrap)
    except KafkaError:
        return False
    return bool(ends) and all(at == ends[place] for of_group in committed.values() for place, at in of_group.items())


def read_log(bootstrap: str, names: Iterable[str] = READ) -> Log:
    """Return the topics as they are now: first their offsets, so that what comes meanwhile is no lag.

    Raises
    ------
    TimeoutError
        If records are missing, and none has come for half a minute.
    """
    ends, committed = offsets(bootstrap)
    entries: dict[str, list[Entry]] = defaultdict(list)
    options: Mapping[str, Any] = {"isolation_level": "read_committed", "enable_auto_commit": False, "group_id": None}
    with closing(KafkaConsumer(bootstrap_servers=bootstrap.split(","), **options)) as consumer:
        places = [
            TopicPartition(name, number) for name in names for number in consumer.partitions_for_topic(name) or ()
        ]
        consumer.assign(places)
        consumer.seek_to_beginning(*places)
        upto = consumer.end_offsets(places)
        silent_since = time.monotonic()
        while any(consumer.position(tp) < end for tp, end in upto.items()):
            for records in consumer.poll(int(POLL_S * 1000), max_records=10_000).values():
                silent_since = time.monotonic()
                for one in records:
                    headers = {name: value or b"" for name, value in one.headers or ()}
                    entries[one.topic].append(
                        Entry(one.topic, one.partition, one.offset, one.timestamp, one.key, one.value, headers)
                    )
            if time.monotonic() > silent_since + SILENT_FOR_S:
                raise TimeoutError(f"no record for {SILENT_FOR_S:.0f} s, and the ends {upto} are not reached")
    return Log(dict(entries), ends, committed)
