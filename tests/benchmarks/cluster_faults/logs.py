"""A log that violates nothing, of a few shoppers, and ways to spoil it."""

import json
from collections import defaultdict
from typing import Any

from benchmarks.cluster_faults.auditor import Entry, Log

AT = 1_700_000_000.0
DAY = int(AT // 86_400)
SHOPPERS = ("ann", "bob", "eve")


class Topics:
    """Topics of one partition that records are appended to."""

    def __init__(self) -> None:
        self.entries: defaultdict[str, list[Entry]] = defaultdict(list)
        self.committed: dict[str, dict[tuple[str, int], int]] = {}

    def append(self, topic: str, key: str, body: Any, /, **headers: str) -> str:
        """Append a message, or bytes, and return its place."""
        value = body if isinstance(body, bytes) else json.dumps(body).encode()
        offset = len(self.entries[topic])
        packed = {name: text.encode() for name, text in headers.items()}
        self.entries[topic].append(Entry(topic, 0, offset, int(AT * 1000) + offset, key.encode(), value, packed))
        return f"{topic}:0:{offset}"

    def again(self, topic: str, index: int = 0, **changes: Any) -> None:
        """Append a copy of a record, with other fields if some are named."""
        entry = self.entries[topic][index]
        assert entry.value is not None
        headers = {name: value.decode() for name, value in entry.headers.items()}
        self.append(topic, (entry.key or b"").decode(), json.loads(entry.value) | changes, **headers)

    def change(self, topic: str, index: int = 0, **changes: Any) -> None:
        """Change fields of a record."""
        entry = self.entries[topic][index]
        assert entry.value is not None
        self.entries[topic][index] = entry._replace(value=json.dumps(json.loads(entry.value) | changes).encode())

    def log(self) -> Log:
        """The log, of which all is committed unless a test has said otherwise."""
        ends = {(topic, 0): len(entries) for topic, entries in self.entries.items()}
        return Log(dict(self.entries), ends, self.committed or {"workers": dict(ends)})


def sound() -> Topics:
    """Three shoppers who browse and get a coupon each; one uses it, one event comes twice, one record is no event."""
    topics = Topics()
    topics.append("coupon-campaigns", "k1", campaign())
    topics.append("coupon-catalog", "c1", coupon())
    for shopper in SHOPPERS:
        browse(topics, shopper)
    topics.append("coupon-feedback", "ann", feedback("impression"))
    topics.append("coupon-feedback", "ann", feedback("purchase", discount_minor=70))
    place = topics.append("browse-events", "ann", event("ann"), answer="1")
    topics.append("decision-answers", "ann", answer("ann", "duplicate"), origin=f"{place}:0")
    place = topics.append("cart-events", "bob", b"no event")
    letter(topics, place, b"no event")
    topics.append("result-totals", f"c1|{DAY}|0", totals(version=1, given=2))
    topics.append("result-totals", f"c1|{DAY}|0", totals(version=2, given=3, seen=1, used=1, discount_minor=70))
    return topics


def browse(topics: Topics, shopper: str) -> None:
    """Let a shopper browse and be given the coupon."""
    place = topics.append("browse-events", shopper, event(shopper), answer="1")
    topics.append("coupon-issues", shopper, issue(shopper), origin=f"{place}:0")
    decision = {"decision_id": f"i-{shopper}", "user_id": shopper, "trigger_id": f"e-{shopper}", "result": "given"}
    topics.append("decisions", shopper, decision, origin=f"{place}:1")
    topics.append("decision-answers", shopper, answer(shopper, "given"), origin=f"{place}:2")


def campaign(**fields: Any) -> dict[str, Any]:
    return {"campaign_id": "k1", "budget_minor": 300, "budget_hold": "maximum"} | fields


def coupon(**fields: Any) -> dict[str, Any]:
    usual = {"coupon_id": "c1", "campaign_id": "k1", "stock": 3, "budget_minor": 300, "budget_hold": "maximum"}
    return usual | {"max_discount_minor": 100, "caps": [{"per": "life", "n": 1}]} | fields


def event(shopper: str) -> dict[str, Any]:
    return {"event_id": f"e-{shopper}", "user_id": shopper, "occurred_at": AT}


def issue(shopper: str) -> dict[str, Any]:
    about = {"issue_id": f"i-{shopper}", "user_id": shopper, "coupon_id": "c1", "trigger_id": f"e-{shopper}"}
    return about | {"issued_at": AT, "expires_at": AT + 600, "max_discount_minor": 100}


def answer(shopper: str, result: str) -> dict[str, Any]:
    return {"decision_id": f"i-{shopper}", "user_id": shopper, "trigger_id": f"e-{shopper}", "result": result}


def feedback(kind: str, **fields: Any) -> dict[str, Any]:
    about = {"event_id": f"f-{kind}", "user_id": "ann", "occurred_at": AT, "issue_id": "i-ann", "kind": kind}
    return about | fields


def letter(topics: Topics, place: str, value: bytes) -> None:
    """Append the dead letter of a record."""
    topic, partition, offset = place.split(":")
    topics.append("dead-letters", "bob", value, topic=topic, partition=partition, offset=offset, reason="bad_json")


def totals(**fields: Any) -> dict[str, Any]:
    return {"coupon_id": "c1", "day": DAY, "partition": 0, "at": AT} | fields
