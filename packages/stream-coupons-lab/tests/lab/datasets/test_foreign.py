"""The log of another system as it is read: what is understood, what is refused, and in which order it comes."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_coupons.core.errors import BadConfig
from stream_coupons.core.messages.inputs import BrowseEvent, CartEvent, FeedbackEvent, OrderEvent
from stream_coupons.ops.recordings import lines
from stream_coupons_lab.datasets.foreign import WINDOW_S, ForeignLog, read, take_all
from stream_coupons_lab.datasets.log_records import LoggedIssue

EXAMPLES = Path(__file__).parents[5] / "schemas" / "examples" / "foreign-log.v1.jsonl"
AT = 1_767_348_000.0
DAY_S = 86400.0


def issue(issue_id: str = "i1", **about: Any) -> dict[str, Any]:
    plain = {"type": "issue", "issue_id": issue_id, "user_id": "u1", "occurred_at": AT, "coupon": {"coupon_id": "c1"}}
    return {**plain, **about}


def feedback(kind: str = "click", issue_id: str = "i1", **about: Any) -> dict[str, Any]:
    return {"type": "feedback", "issue_id": issue_id, "occurred_at": AT + 60, "kind": kind, **about}


def taken(*records: object, window_s: float = WINDOW_S) -> ForeignLog:
    text = [record if isinstance(record, bytes) else json.dumps(record).encode() for record in records]
    return take_all(lines(text), "log.jsonl", window_s)


def issues(log: ForeignLog) -> list[LoggedIssue]:
    return [record for record in log.records() if isinstance(record, LoggedIssue)]


def refused(log: ForeignLog) -> list[tuple[int, str, str]]:
    return [(refusal.line, refusal.reason, refusal.detail) for refusal in log.refusals.first]


def test_the_example_is_read_whole() -> None:
    log = read(EXAMPLES)
    assert refused(log) == []
    assert log.counts == {"browse": 2, "cart": 2, "order": 2, "issue": 2, "feedback": 4}
    assert len(log) == 12
    assert [coupon.coupon_id for coupon in log.coupons] == ["tea-10-percent", "biscuits-50-off"]


def test_times_are_epoch_seconds_or_have_a_zone() -> None:
    texts = [AT, "2026-01-02T10:00:00Z", "2026-01-02T11:00:00+01:00", "2026-01-02 10:00:00.000Z"]
    log = taken(*(issue(f"i{n}", occurred_at=text) for n, text in enumerate(texts)))
    assert [record.occurred_at for record in issues(log)] == [AT] * 4


def test_what_the_shop_saw_is_the_event_of_the_topic() -> None:
    item = {"item_id": "tea", "category": "hot", "price_minor": 449}
    log = taken(
        {"type": "browse", "user_id": "u1", "occurred_at": AT, "item": item, "context": {"device": "phone"}},
        {"type": "cart", "event_id": "k", "user_id": "u1", "occurred_at": AT, "item": item, "action": "remove"},
        {
            "type": "order",
            "user_id": "u1",
            "occurred_at": AT,
            "items": [item],
            "total_minor": 449,
            "discount_minor": 50,
        },
        issue(),
    )
    browse, cart, order, _ = log.records()
    assert isinstance(browse, BrowseEvent)
    assert isinstance(cart, CartEvent)
    assert isinstance(order, OrderEvent)
    assert browse.item == cart.item == order.items[0]
    assert (browse.event_id, cart.event_id, order.event_id, order.order_id) == ("line-1", "k", "line-3", "line-3")
    assert (browse.context, cart.action) == ({"device": "phone"}, "remove")
    assert (order.total_minor, order.discount_minor) == (449, 50)


def test_unknown_keys_of_a_coupon_are_its_attributes() -> None:
    described = {"coupon_id": "c1", "kind": "percent", "colour": "red", "pages": 2, "organic": True, "supplier": None}
    [coupon] = taken(issue(coupon=described)).coupons
    assert coupon.kind == "percent"
    assert coupon.attributes == {"colour": "red", "pages": 2.0, "organic": True, "supplier": None}


def test_the_vector_of_a_coupon_is_its_content_and_null_is_none() -> None:
    log = taken(
        issue("i1", coupon={"coupon_id": "a", "vector": [1, -0.5], "description": "Tea"}),
        issue("i2", coupon={"coupon_id": "b", "vector": None}),
    )
    assert [(coupon.vector, coupon.description, coupon.attributes) for coupon in log.coupons] == [
        ([1.0, -0.5], "Tea", {}),
        (None, "", {}),
    ]


@pytest.mark.parametrize(
    ("terms", "most"),
    [
        ({}, 1),
        ({"discount_minor": 150}, 150),
        ({"discount_percent": 10}, 100),  # of the typical price where none is given
        ({"discount_percent": 10, "typical_price_minor": 2500}, 250),
        ({"discount_percent": 10, "price_minor": 2500}, 250),
        ({"discount_percent": 10, "price_minor": 0.5}, 100),  # no amount: an attribute as any other
        ({"discount_percent": 10, "price_minor": 900, "typical_price_minor": 2500}, 250),
        ({"discount_minor": 150.0, "max_discount_minor": 90.0}, 90),  # as table tools write whole numbers
        ({"discount_minor": None, "max_discount_minor": None, "title": None}, 1),  # null is missing
    ],
)
def test_what_a_redemption_costs_at_most_is_worked_out_where_it_is_not_said(terms: dict[str, Any], most: int) -> None:
    [coupon] = taken(issue(coupon={"coupon_id": "c1", **terms})).coupons
    assert coupon.max_discount_minor == most


def test_the_first_description_of_a_coupon_counts() -> None:
    first, other = {"coupon_id": "c1", "colour": "red"}, {"coupon_id": "c1", "colour": "blue"}
    log = taken(issue("i1", coupon=first), issue("i2", coupon=other), issue("i3", coupon=first))
    assert [coupon.attributes for coupon in log.coupons] == [{"colour": "red"}]


def test_a_coupon_id_alone_refers_to_the_description_before_it() -> None:
    log = taken(issue("i1", coupon={"coupon_id": "c1", "colour": "red"}), issue("i2", coupon={"coupon_id": "c1"}))
    assert [coupon.attributes for coupon in log.coupons] == [{"colour": "red"}]


def test_a_coupon_that_is_only_named_among_the_arms_has_but_its_id() -> None:
    log = taken(issue(arms=["c1", "c2", "none"], propensity=0.5))
    assert [(coupon.coupon_id, coupon.attributes) for coupon in log.coupons] == [("c1", {}), ("c2", {})]
    assert issues(log)[0].arms == ("c1", "c2", "none")
    assert log.coupon_of == {"c1": "c1", "c2": "c2", "none": "none"}


def test_an_arm_may_have_another_name_than_its_coupon() -> None:
    log = taken(
        issue("i1", arm="B", arms=["A", "B"]), issue("i2", arm="A", arms=["A", "B"], coupon={"coupon_id": "c2"})
    )
    assert log.coupon_of == {"A": "c2", "B": "c1", "none": "none"}
    assert [coupon.coupon_id for coupon in log.coupons] == ["c1", "c2"]


def test_an_issue_without_a_coupon_is_the_arm_none() -> None:
    without = issue("i1")
    del without["coupon"]
    log = taken(without, issue("i2", coupon=None), issue("i3", coupon={"coupon_id": "none"}, domain="travel"))
    assert [(record.coupon_id, record.arm, record.domain) for record in issues(log)] == [
        ("none", "none", None),
        ("none", "none", None),
        ("none", "none", "travel"),
    ]
    assert log.coupons == []


def test_a_coupon_id_that_says_none_is_none() -> None:
    flat = (issue("i1", coupon=None, coupon_id="none"), issue("i2", coupon=None, coupon_id=None))
    log = taken(*flat, issue("i3", coupon=None, arm="none", coupon_id="c1"))
    assert [record.coupon_id for record in issues(log)] == ["none"] * 3


def test_the_domain_of_an_issue_is_that_of_its_coupon_unless_it_has_one() -> None:
    log = taken(
        issue("i1", domain="travel"),
        issue("i2", domain="travel", coupon={"coupon_id": "c2", "domain": "groceries"}),
        issue("i3", coupon={"coupon_id": "c3"}),
    )
    assert [record.domain for record in issues(log)] == ["travel", "groceries", "ecommerce"]


def test_a_window_ends_when_it_is_said_or_after_the_coupons_time_or_after_the_default() -> None:
    log = taken(
        issue("i1", expires_at=AT + 5),
        issue("i2", coupon={"coupon_id": "c2", "redeem_within_s": 7}),
        issue("i3", coupon={"coupon_id": "c3"}),
        issue("i4", coupon=None),
        window_s=DAY_S,
    )
    assert [record.expires_at - AT for record in issues(log)] == [5, 7, DAY_S, DAY_S]
    assert [coupon.redeem_within_s for coupon in log.coupons] == [DAY_S, 7, DAY_S]


def test_feedback_is_of_the_shopper_of_its_issue_wherever_that_stands() -> None:
    log = taken(feedback("purchase", order_value_minor=900, discount_minor=90), issue(user_id="u7"), feedback("click"))
    found = [record for record in log.records() if isinstance(record, FeedbackEvent)]
    assert [(record.kind, record.user_id, record.order_value_minor) for record in found] == [
        ("purchase", "u7", 900),
        ("click", "u7", None),
    ]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30))
def test_records_come_in_order_of_time_and_those_of_one_time_in_that_of_the_file(seconds: list[int]) -> None:
    log = taken(*(issue(f"i{n}", occurred_at=AT + second) for n, second in enumerate(seconds)))
    found = [(record.occurred_at, record.line) for record in issues(log)]
    assert found == sorted(found)
    assert len(found) == len(seconds)


BAD: dict[str, tuple[Any, str, str]] = {
    "no JSON": (b'{"type": "issue"', "not_json", "truncated"),
    "not UTF-8": (b'{"type": "\xff"}', "not_json", "utf-8"),
    "an array": ([], "invalid", "Expected `object`, got `array`"),
    "no type": (
        {"user_id": "u1"},
        "invalid",
        "`type` is missing, expected one of browse, cart, order, issue, feedback",
    ),
    "an unknown type": ({"type": "view"}, "invalid", "`type` is 'view', expected one of browse"),
    "another version": (issue("i9", schema_version=2), "unknown_version", "schema_version 2, this program reads 1"),
    "no time": ({"type": "browse", "user_id": "u1"}, "invalid", "browse: Object missing required field `occurred_at`"),
    "a time without a zone": (issue("i9", occurred_at="2026-01-02T10:00:00"), "invalid", "timezone component"),
    "milliseconds": (issue("i9", occurred_at=AT * 1000), "invalid", "times are in seconds, not in milliseconds"),
    "a time before 1970": (issue("i9", occurred_at="1960-01-02T10:00:00Z"), "invalid", "from 1970 to 2100"),
    "an id that is a number": (issue("i9", user_id=7), "invalid", "issue: Expected `str`, got `int` - at `$.user_id`"),
    "a cart without an item": ({"type": "cart", "user_id": "u", "occurred_at": AT}, "invalid", "`item`"),
    "a coupon without an id": (issue("i9", coupon={"kind": "x"}), "invalid", "issue: coupon: Object missing required"),
    "a term out of range": (issue("i9", coupon={"coupon_id": "c9", "margin_ratio": 3}), "invalid", "$.margin_ratio"),
    "a nested attribute": (issue("i9", coupon={"coupon_id": "c9", "size": {"w": 1}}), "invalid", "got `object`"),
    "attributes that are none": (issue("i9", coupon={"coupon_id": "c9", "attributes": 3}), "invalid", "issue: coupon:"),
    "too many pairs": (
        issue("i9", coupon={"coupon_id": "c9", "categories": ["c"] * 101, "brands": ["b"] * 100}),
        "invalid",
        "issue: coupon: 101 categories times 100 brands, expected at most 10000 pairs",
    ),
    "an empty vector": (
        issue("i9", coupon={"coupon_id": "c9", "vector": []}),
        "invalid",
        "length >= 1 - at `$.vector`",
    ),
    "a vector of nothing": (issue("i9", coupon={"coupon_id": "c9", "vector": [0, 0]}), "invalid", "is all zeros"),
    "a long vector": (issue("i9", coupon={"coupon_id": "c9", "vector": [1] * 4097}), "invalid", "length <= 4096"),
    "a gap in a vector": (issue("i9", coupon={"coupon_id": "c9", "vector": [1, None]}), "invalid", "`$.vector[1]`"),
    "no number in a vector": (
        b'{"type": "issue", "issue_id": "i9", "user_id": "u", "occurred_at": 1, '
        b'"coupon": {"coupon_id": "c9", "vector": [NaN]}}',
        "not_json",
        "invalid character",
    ),
    "nested context": (issue("i9", context={"weather": {"rain": 1}}), "invalid", "$.context"),
    "an arm without a coupon": (issue("i9", coupon=None, arm="c1"), "invalid", "arm is 'c1', but `coupon` is missing"),
    "a coupon_id of its own": (
        issue("i9", coupon=None, coupon_id="c1"),
        "invalid",
        '`coupon_id` is \'c1\', but `coupon` is missing, expected "coupon": {"coupon_id": ...}',
    ),
    "none with a coupon": (issue("i9", arm="none"), "invalid", "arm is 'none', but `coupon` is 'c1'"),
    "an arm that was no choice": (issue("i9", arms=["c2", "c3"]), "invalid", "arm 'c1' is not among `arms`"),
    "a propensity of nothing": (issue("i9", propensity=0), "invalid", "Expected `float` > 0.0 - at `$.propensity`"),
    "a propensity above 1": (issue("i9", propensity=1.5), "invalid", "Expected `float` <= 1.0 - at `$.propensity`"),
    "over before it began": (issue("i9", expires_at=AT - 5), "invalid", "expires_at is 5 s before occurred_at"),
    "open for years": (
        issue("i9", expires_at=AT + 1000 * 86400),
        "invalid",
        "expires_at is 1000.0 days after occurred_at, expected at most 366; without it --window counts",
    ),
    "an issue again": (issue("i1"), "repeated", "issue i1 is on line 1 already"),
    "feedback on nothing": (feedback(issue_id="i9"), "unknown_issue", "issue i9: no line of the log is of that issue"),
    "another shopper": (feedback(user_id="u2"), "wrong_user", "issue i1 is of shopper u1, not of u2"),
    "unknown feedback": (feedback("return"), "invalid", "$.kind`, expected one of impression, click, purchase, expiry"),
    "too large": (issue("i9", context={"x": "y" * 2**20}), "too_large", "at most 1048576"),
}


@pytest.mark.parametrize(("line", "reason", "detail"), BAD.values(), ids=BAD.keys())
def test_a_line_that_cannot_be_used_is_refused_with_its_number_and_the_rest_goes_on(
    line: Any, reason: str, detail: str
) -> None:
    log = taken(issue("i1"), b"", line, feedback())
    [(number, why, text)] = refused(log)
    assert (number, why) == (3, reason)
    assert detail in text
    assert log.counts == {"issue": 1, "feedback": 1}


def test_an_expiry_before_its_issue_is_refused_and_other_feedback_waits_for_it() -> None:
    expiry = feedback("expiry", occurred_at=AT - 1)
    log = taken(expiry, feedback("expiry", occurred_at=AT), issue(), expiry, feedback("click", occurred_at=AT - 1))
    assert sorted(refused(log)) == [(n, "invalid", "issue i1 expires before it is issued") for n in (1, 2, 4)]
    assert log.counts == {"issue": 1, "feedback": 1}
    assert taken(issue(), feedback("expiry", occurred_at=AT)).counts["feedback"] == 1


def test_keys_that_no_line_of_its_type_has_are_counted() -> None:
    log = taken(issue(couponn={"coupon_id": "c"}, coupon=None), feedback("click", kinds=1), feedback("click"))
    assert log.unknown_keys == {("issue", "couponn"): 1, ("feedback", "kinds"): 1}


def test_a_log_without_an_issue_says_what_it_holds_and_what_is_expected() -> None:
    browse = {"type": "browse", "user_id": "u1", "occurred_at": AT}
    with pytest.raises(BadConfig, match=r"log\.jsonl: holds no issue\. Expected at least one line"):
        taken(browse, browse)
    with pytest.raises(BadConfig, match="holds no issue; 1 lines were refused, line 1: `type` is missing"):
        taken({"topic": "browse-events", "message": {}})
    with pytest.raises(BadConfig, match="holds no issue"):
        taken()


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="No such file"):
        read(tmp_path / "log.jsonl")
