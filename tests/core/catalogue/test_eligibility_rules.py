"""Rules that keep coupons from shoppers: what is a rule, who qualifies, and what a rule that raises does."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_coupons.core.catalogue.catalogue import Catalogue, eligible, objection
from stream_coupons.core.catalogue.compiled import CouponSet
from stream_coupons.core.catalogue.eligibility_rules import CHUNK, broken_clause, clauses, is_for_nobody, rule_faults
from stream_coupons.core.catalogue.rule_fields import Occasion
from stream_coupons.core.draws import PUBLIC_KEY
from stream_coupons.core.messages.catalogue import Campaign
from stream_coupons.core.messages.inputs import ShopEvent
from stream_coupons.core.reasons import Ineligible
from stream_coupons.core.rules import Rules, ShopRules
from stream_coupons.core.shopper.state import History, Shopper
from stream_coupons.ops.digest import digests_of
from stream_coupons.testing import LocalPipeline, browse, coupon, item, plain_settings
from tests.core.builders import AT

RULES = Rules(key=PUBLIC_KEY)
TEA = item("tea-1", category="tea", brand="green's", price_minor=500)


def event(**context: Any) -> ShopEvent:
    return browse("u", TEA, at=AT, event_id="b", context=context)


def who_may(*rules: str, facts: list[tuple[str, str]] | None = None, shopper: Shopper | None = None, **context: Any):
    """Positions of the coupons, one for each rule, that a shopper may get."""
    compiled = CouponSet([coupon(f"c{n:04}", eligible_if=rule) for n, rule in enumerate(rules)], 1000.0)
    who, trigger = shopper or Shopper(), event(**context)
    found = eligible(who, compiled, AT, RULES, trigger=trigger, facts=facts).tolist()
    explained = [place for place in range(len(rules)) if objection(who, compiled, place, AT, RULES, trigger) is None]
    assert explained == found
    return found


@pytest.mark.parametrize(
    ("rule", "fault"),
    [
        ("shopper.order >= 2", "character 1: no field 'shopper.order', expected shopper.orders?"),
        ("segments == []", "character 1: no field 'segments', expected shopper.segments?"),
        ("shopper.is_new &&\n shopper.ordes > 2", "line 2, character 2: no field 'shopper.ordes', expected"),
        ("shopper.orders >= ", "character 19: Syntax error"),
        ("shopper.orders >= '2'", "(int, string)'; shopper.orders is of type int"),
        ("shopper.orders > 1.5", "(int, double)'; shopper.orders is of type int"),
        ("shopper.orders + 1", "it is of type int, expected bool"),
        ("shopper == 2", "character 1: 'shopper' is no value, expected shopper.FIELD"),
        ("trigger.context.shopper == 'x'", "character 17: 'shopper' after a dot, expected a key of a map"),
        ("['a'].exists(coupon, coupon == 'a')", "character 14: 'coupon' is no value"),
        ("trigger.brand.matches('x')", "character 15: matches: no patterns, expected startsWith"),
        (
            "shopper.segments.exists(s, shopper.categories.exists(c, c == s))",
            "character 47: exists: a loop too many, expected 1 at most",
        ),
        ("r'x' == trigger.brand", "character 1: r'x': expected a plain text"),
        ('"""x""" == trigger.brand', "expected a plain text"),
        ("(" * 40 + "true" + ")" * 40, "too deep, expected 20 at most"),
        ("(" * 29 + "true" + ")" * 29, "too deep, expected 20 at most"),
        ("1 + " * 200 + "1 > 0", "too deep"),
    ],
)
def test_a_bad_rule_is_refused_with_position_and_remedy(rule: str, fault: str) -> None:
    assert fault in "; ".join(rule_faults(rule))


def test_all_mistakes_of_a_rule_are_told_at_once() -> None:
    assert len(rule_faults("shopper.ordes > 1 && trigger.hous < 9")) == 2


@pytest.mark.parametrize(
    ("rule", "may"),
    [
        ("", True),
        ("shopper.orders == 0 && shopper.is_new", True),
        ("!shopper.is_new", False),
        ("shopper.days_since_order >= 30 && !('staff' in shopper.segments)", True),
        ("'staff' in shopper.segments", False),
        ("'vip' in shopper.segments", True),
        ("shopper.segments.exists(s, s.startsWith('v'))", True),
        ("trigger.category in coupon.categories || trigger.price_minor > 400", True),
        ("trigger.category in coupon.categories", False),
        ("trigger.channel == 'app' // only there", True),
        ("trigger.context.age > 29", True),
        ("trigger.context.age > 29.5 ? trigger.kind == 'browse' : false", True),
        ("trigger.context.device in ['phone', \"watch\"]", True),
        ("trigger.context['device'] != 'phone'", False),
        ("trigger.context.is_member", True),
        ("trigger.context.device", False),
        ("trigger.weekday in [1, 2, 3, 4, 5, 6, 7] && trigger.hour < 24", True),
        ("coupon.kind == 'percent'", False),
        ("coupon.max_discount_minor > 0 && coupon.attributes.size() == 0", True),
    ],
)
def test_a_rule_decides_who_may_get_a_coupon(rule: str, may: bool) -> None:
    context = {"segments": "vip, student", "channel": "app", "age": 30.0, "device": "phone", "is_member": True}
    assert rule_faults(rule) == ()
    assert (who_may(rule, **context) == [0]) is may


@pytest.mark.parametrize(
    "rule",
    [
        "trigger.context.store == 'berlin'",
        "trigger.context.store > 3",
        "trigger.context.store.startsWith('b')",
        "shopper.segments[3] == 'vip'",
        "1 / shopper.orders > 0",
        "coupon.attributes.colour == 'red' || shopper.orders > 1",
    ],
)
def test_a_rule_that_raises_excludes_its_coupon_alone_and_is_counted(rule: str) -> None:
    facts: list[tuple[str, str]] = []
    assert who_may(rule, "shopper.is_new", f"({rule}) || shopper.is_new", facts=facts) == [1, 2]
    assert facts == [("rule_error", "ecommerce")]


def test_what_is_false_beside_an_absent_key_is_no_error() -> None:
    facts: list[tuple[str, str]] = []
    assert who_may("trigger.context.store == 'berlin' && shopper.orders > 3", facts=facts) == []
    assert facts == []


@pytest.mark.parametrize("rule", ["shopper.ordes > 1", "true) || (true", "'", "1", "x" * 900])
def test_what_is_no_rule_keeps_the_coupon_from_everybody(rule: str) -> None:
    assert who_may(rule, "") == [1]


@pytest.mark.parametrize(
    "nest",
    [
        lambda n: "(" * n + "trigger.hour + 1 > 0" + ")" * n,
        lambda n: "true ? (" * n + "trigger.hour + 1 > 0" + ") : false" * n,
        lambda n: "!(" * 2 * n + "trigger.hour + 1 > 0" + ")" * 2 * n,
        lambda n: "1 + " * n + "trigger.hour > 0",
        lambda n: "[" * n + "trigger.hour" + "]" * n + "[0]" * n + " > -1",
    ],
)
def test_whatever_passes_the_check_can_be_evaluated_beside_others(nest: Callable[[int], str]) -> None:
    depths = [n for n in range(1, 40) if not rule_faults(nest(n))]
    assert 0 < len(depths) < 39
    assert who_may(*map(nest, depths)) == [*range(len(depths))]


def test_rules_that_are_too_long_for_one_call_are_evaluated_one_by_one() -> None:
    lists = {"items": [f"{'x' * 30}{n}" for n in range(100)]}
    rule = "coupon.items.exists(one, one == trigger.item) || shopper.orders + {n} > 40"
    each = [coupon(f"c{n:02}", eligible_if=rule.format(n=n), **lists) for n in range(64)]
    found = eligible(Shopper(), CouponSet(each, 1000.0), AT, RULES, trigger=event())
    assert found.tolist() == [*range(41, 64)]


def test_a_campaign_adds_its_rule_to_those_of_its_coupons() -> None:
    campaign = Campaign(campaign_id="spring", eligible_if="shopper.is_new // for a start")
    members = [coupon("a", campaign_id="spring"), coupon("b", campaign_id="spring", eligible_if="trigger.hour > 23")]
    for rule, expected in ((campaign.eligible_if, ["a"]), ("!shopper.is_new", []), ("true) || (true", [])):
        known = Catalogue(members, campaigns=[Campaign(campaign_id="spring", eligible_if=rule)])
        compiled = known.domains["ecommerce"]
        found = eligible(Shopper(), compiled, AT, RULES, trigger=event())
        assert [compiled.coupons[place].coupon_id for place in found] == expected


def test_the_clause_that_is_not_true_is_named() -> None:
    rule = "shopper.is_new && (trigger.hour < 0 || coupon.kind == 'x')"
    compiled = CouponSet([coupon("a", eligible_if=rule)], 1000.0)
    assert objection(Shopper(), compiled, 0, AT, RULES, event()) is Ineligible.RULE
    assert broken_clause(compiled, 0, Occasion(Shopper(), AT, event())) == "trigger.hour < 0 || coupon.kind == 'x'"


def test_clauses_of_the_trigger_can_be_left_out() -> None:
    compiled = CouponSet([coupon("a", eligible_if="'vip' in shopper.segments && shopper.orders > 0")], 1000.0)
    known = Occasion(Shopper(), AT)
    assert broken_clause(compiled, 0, known) == "'vip' in shopper.segments"
    assert broken_clause(compiled, 0, known, needs_trigger=False) == "shopper.orders > 0"


def test_a_rule_that_the_coupon_itself_makes_false_is_known_without_a_shopper() -> None:
    kind = coupon("a", kind="percent", attributes={"depth": 3, "colour": 'r"ed\n', "new": True, "none": None})
    good = "coupon.attributes.depth == 3.0 && coupon.attributes.colour.contains('r\"') && coupon.kind == 'percent'"

    def excludes(*rules: str) -> bool:
        return is_for_nobody(clauses(rules, kind).values())

    assert not excludes(good)
    assert excludes(good, "coupon.kind == 'gift'")
    assert not excludes("shopper.orders < 0")


def test_lists_of_the_coupon_in_a_rule_have_a_bound() -> None:
    rule = "trigger.item in coupon.items"
    few, many = (coupon("a", items=[f"item-{n}" for n in range(count)], eligible_if=rule) for count in (10, 1000))
    assert broken_clause(CouponSet([few], 1000.0), 0, Occasion(Shopper(), AT, event())) == rule
    detail = broken_clause(CouponSet([many], 1000.0), 0, Occasion(Shopper(), AT, event()))
    assert detail is not None
    assert detail.startswith(f"{rule}: ")
    assert detail.endswith("characters with the coupon's lists in it, expected 5000 at most")


def test_more_rules_than_one_call_evaluates_are_all_evaluated() -> None:
    rules = [f"shopper.orders + {n} >= {CHUNK}" for n in range(3 * CHUNK)]
    rules[2 * CHUNK] = "1 / shopper.orders > 0"
    assert who_may(*rules) == [n for n in range(3 * CHUNK) if n >= CHUNK and n != 2 * CHUNK]


# Every form, simple for us or left to CEL, alone and joined with others, against CEL's value of the whole rule.

ATOMS = st.sampled_from(
    [
        "shopper.orders >= 2",
        "shopper.orders != 3",
        "3 > shopper.orders",
        "shopper.orders in [1, 3]",
        "shopper.coupons_received < -1",
        "shopper.is_new",
        "!shopper.is_new",
        'trigger.brand == "green\'s"',
        "trigger.brand != ''",
        "trigger.kind in ['browse', 'cart']",
        "'vip' in shopper.segments",
        "!('vip' in shopper.segments)",
        '!( "a b" in shopper.segments )',
        "'store' in trigger.context",
        "has(trigger.context.store)",
        "trigger.context.store == 'x'",
        "trigger.context.store != 'x'",
        'trigger.context["store"] in ["x", "1"]',
        "trigger.context.store == 1",
        "trigger.context.store > 0",
        "coupon.kind == 'percent'",
        "coupon.attributes.size == 3",
        "trigger.category in coupon.categories",
    ]
)
TEXTS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["&&", "||"]), inner).map(lambda three: f"({three[0]}) {three[1]} {three[2]}"),
        st.tuples(inner, st.sampled_from(["&&", "||"]), inner).map(" ".join),
        inner.map(lambda one: f"!({one})"),
        st.tuples(inner, inner, inner).map(lambda three: f"({three[0]}) ? ({three[1]}) : ({three[2]})"),
    ),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(TEXTS, min_size=1, max_size=5),
    st.integers(0, 4),
    st.sampled_from([{}, {"store": "x"}, {"store": "1", "segments": "a b,vip"}, {"store": 1.0}, {"store": True}]),
    st.sampled_from([{}, {"size": 3}, {"size": "3"}]),
)
def test_a_cut_rule_means_what_the_whole_rule_means_in_cel(
    texts: list[str], orders: int, context: dict[str, Any], attributes: dict[str, Any]
) -> None:
    from cel_expr_python import cel

    shopper = Shopper(history=History(issued=orders))
    shopper.profile.last_order_at = AT if orders > 2 else None
    one = {"kind": "percent", "categories": ["tea"], "attributes": attributes}
    texts = [text.replace("shopper.orders", "shopper.coupons_received") for text in texts]
    kinds = {
        "shopper.coupons_received": (cel.Type.INT, orders),
        "shopper.is_new": (cel.Type.BOOL, orders <= 2),
        "shopper.segments": (cel.Type.List(cel.Type.STRING), str(context.get("segments", "")).split(",")),
        "trigger.brand": (cel.Type.STRING, "green's"),
        "trigger.category": (cel.Type.STRING, "tea"),
        "trigger.kind": (cel.Type.STRING, "browse"),
        "trigger.context": (cel.Type.Map(cel.Type.STRING, cel.Type.DYN), context),
        "coupon.kind": (cel.Type.STRING, "percent"),
        "coupon.categories": (cel.Type.List(cel.Type.STRING), ["tea"]),
        "coupon.attributes": (
            cel.Type.Map(cel.Type.STRING, cel.Type.DYN),
            {name: float(value) if isinstance(value, int) else value for name, value in attributes.items()},
        ),
    }
    env = cel.NewEnv(variables={name: kind for name, (kind, _) in kinds.items()})
    bound = env.Activation({name: value for name, (_, value) in kinds.items()})
    expected = [place for place, text in enumerate(texts) if env.compile(text).eval(bound).plain_value() is True]
    compiled = CouponSet([coupon(f"c{n}", eligible_if=text, **one) for n, text in enumerate(texts)], 1000.0)
    trigger = event(**context)
    assert eligible(shopper, compiled, AT, RULES, trigger=trigger).tolist() == expected
    explained = [objection(shopper, compiled, place, AT, RULES, trigger) is None for place in range(len(texts))]
    assert np.flatnonzero(explained).tolist() == expected


@settings(max_examples=300, deadline=None)
@given(st.text(st.sampled_from("shopertig.ndcxv &|!()[]{}\"'\\/?:=<>0123\n,"), max_size=60) | st.text(max_size=40))
def test_any_text_is_a_rule_or_is_refused_and_raises_nowhere(text: str) -> None:
    faults = rule_faults(text)
    found = who_may(text)
    assert not (faults and found)


def play() -> tuple[list[Any], Any, Counter[tuple[str, str]]]:
    offers = [
        coupon("new", eligible_if="shopper.events < 4"),
        coupon("app", eligible_if="trigger.context.channel == 'app' && shopper.coupons_received < 2"),
        coupon("late", eligible_if="trigger.hour >= 12 || shopper.days_since_seen > 3"),
    ]
    shop = LocalPipeline(plain_settings(), offers)
    for n in range(40):
        context = {"channel": "app"} if n % 3 else {}
        shop.publish(browse(f"u{n % 4}", TEA, at=AT + n * 7000.0, event_id=f"b{n}", context=context))
    return shop.outputs, digests_of(shop.states()), shop.facts


def test_a_replay_of_a_catalogue_with_rules_decides_the_same() -> None:
    first, second = play(), play()
    assert first == second
    assert first[2]["decision", "given"] > 0
    assert first[2]["rule_error", "ecommerce"] > 0


@pytest.mark.parametrize(
    ("shop", "own", "found"), [("UTC", None, [0]), ("Asia/Tokyo", None, [1]), ("UTC", "Asia/Tokyo", [1])]
)
def test_the_hour_of_a_rule_is_on_the_shoppers_clock_or_else_on_that_of_the_shop(
    shop: str, own: str | None, found: list[int]
) -> None:
    times = [f"trigger.hour == {hour} && trigger.weekday == {day}" for hour, day in ((20, 7), (5, 1))]
    compiled = CouponSet([coupon(f"c{n}", eligible_if=rule) for n, rule in enumerate(times)], 1000.0)
    sunday, here = 1772395200.0, Rules(key=PUBLIC_KEY, shop=ShopRules(time_zone=shop))
    context = {} if own is None else {"time_zone": own}
    assert eligible(Shopper(), compiled, sunday, here, trigger=event(), context=context).tolist() == found
    reasons = [objection(Shopper(), compiled, n, sunday, here, event(), context) for n in (0, 1)]
    assert [n for n in (0, 1) if reasons[n] is None] == found
