"""A visit: every decision shows within the hour whether the shopper orders in the scope of one candidate."""

import pytest

from stream_coupons.core.catalogue.catalogue import Catalogue
from stream_coupons.core.decision.erasure import erase
from stream_coupons.core.decision.pipeline import pass_time
from stream_coupons.core.decision.scoring import Knowledge
from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.core.messages.inputs import Item, OrderEvent
from stream_coupons.core.messages.learning import MAX_PRICE_MINOR, OnView, TrainingExample
from stream_coupons.core.money.wallet import Wallet
from stream_coupons.core.rules import AttributionRules, Rules
from stream_coupons.core.shopper.state import Shopper
from stream_coupons.models.linear import prior
from stream_coupons.testing import coupon, item
from tests.core.builders import AT, HOUR_S, browse, erasure, knowledge, of_type, order, purses, rules, see

TEA, MILK = coupon("tea", categories=["tea"]), coupon("milk", categories=["milk"])
LEAF, PINT = item("leaf", category="tea"), item("pint", category="milk")
GIVES, REFUSES = rules(min_value_minor=-1e6), rules(min_value_minor=1e6)


def known_by(*coupons: Coupon, of: Rules = GIVES) -> Knowledge:
    return knowledge(*coupons, rules=of, scorer=prior())


class Case:
    """One shopper who browses, and what was said until the visit was over."""

    def __init__(self, known: Knowledge) -> None:
        self.known, self.shopper, self.wallet = known, Shopper(), Wallet(purses(), 0, 1)
        self.issues: list[CouponIssue] = []

    def see(self, event: OrderEvent | None = None, at: float = AT) -> None:
        effects = see(self.shopper, event or browse(f"b{at}", at, LEAF), self.known, self.wallet)
        self.issues += of_type(effects.messages, CouponIssue)

    def over(self, known: Knowledge | None = None) -> list[TrainingExample]:
        due = self.shopper.next_due(self.known.rules.attribution.grace_s)
        assert due is not None
        return of_type(pass_time("u", self.shopper, due, known or self.known).messages, TrainingExample)


@pytest.mark.parametrize(
    ("event", "label"),
    [
        (None, False),
        (order("o", AT + 1800.0, LEAF), True),
        (order("o", AT + 1800.0, PINT), False),
        (order("o", AT + HOUR_S + 1.0, LEAF), False),
    ],
)
def test_an_order_within_the_hour_in_the_scope_is_of_the_visit(event: OrderEvent | None, label: bool) -> None:
    case = Case(known_by(TEA))
    case.see()
    assert case.shopper.visit is not None
    predicted = case.shopper.visit.predicted
    if event is not None:
        case.see(event)
    [example] = case.over()
    assert (example.head, example.label, example.coupon_id, example.decided_at) == ("visit", label, "tea", AT)
    assert example.at < AT + 2 * HOUR_S
    assert example.predicted == predicted[3]
    assert example.predicted > 0.0


@pytest.mark.parametrize(
    ("what", "on_view"),
    [
        (item("leaf", category="tea", brand="x", price_minor=350), OnView(category="tea", brand="x", price_minor=350)),
        (item("leaf", category="tea", price_minor=350), OnView(category="tea", price_minor=350)),
        (item("leaf", category="tea"), None),
        (item("leaf", price_minor=350), None),
        (item("leaf", category="tea", price_minor=0), None),
        (item("leaf", category="tea", price_minor=MAX_PRICE_MINOR + 1), None),
    ],
)
def test_the_example_says_what_was_on_view_if_its_category_and_price_are_known(
    what: Item, on_view: OnView | None
) -> None:
    case = Case(known_by(TEA))
    see(case.shopper, browse("b", AT, what), case.known, case.wallet)
    [example] = case.over()
    assert example.on_view == on_view


def test_there_is_one_visit_at_a_time() -> None:
    case = Case(known_by(TEA, of=REFUSES))
    for minute in (0, 5, 50):
        case.see(at=AT + 60.0 * minute)
    assert case.shopper.visit is not None
    assert case.shopper.visit.at == AT
    assert [each.head for each in case.over()] == ["visit"]
    case.see(at=AT + 2 * HOUR_S)
    assert case.shopper.visit is not None
    assert case.shopper.visit.at == AT + 2 * HOUR_S


def test_no_visit_is_watched_if_it_lasts_no_time() -> None:
    case = Case(known_by(TEA, of=rules(attribution=AttributionRules(visit_s=0.0))))
    case.see()
    assert case.shopper.visit is None


@pytest.mark.parametrize(
    ("of", "coupons", "held"),
    [
        (REFUSES, (TEA,), False),
        (GIVES, (TEA,), True),
        (GIVES, (TEA, coupon("leaf", items=["leaf"], margin_ratio=1.0)), True),
    ],
)
def test_the_example_says_whether_a_coupon_for_the_scope_was_held(
    of: Rules, coupons: tuple[Coupon, ...], held: bool
) -> None:
    case = Case(known_by(*coupons, of=of))
    case.see()
    assert bool(case.issues) == held
    [example] = case.over()
    assert example.held == held


def test_a_coupon_for_something_else_is_not_held_for_the_scope() -> None:
    case = Case(known_by(MILK))
    case.see()
    assert [each.coupon_id for each in case.issues] == ["milk"]
    case.over()
    case.known = known_by(TEA, of=REFUSES)
    case.see(at=AT + 2 * HOUR_S)
    [example] = case.over(known_by(TEA, MILK))
    assert (example.coupon_id, example.held) == ("tea", False)


def test_a_visit_whose_scope_has_changed_teaches_nothing() -> None:
    case = Case(known_by(TEA))
    case.see()
    changed = Catalogue([coupon("tea", categories=["tea", "milk"])])
    assert case.over(Knowledge(case.known.rules, changed, {}, prior())) == []
    assert case.shopper.visit is None


def test_the_visit_of_an_erased_shopper_is_forgotten() -> None:
    case = Case(known_by(TEA))
    case.see()
    erase("u", case.shopper, erasure(at=AT + 60.0))
    assert case.shopper.visit is None


def test_half_of_the_visits_are_watched_for_the_item_on_view() -> None:
    known = known_by(TEA, *(coupon(f"c{n}", categories=[f"other{n}"]) for n in range(9)), of=REFUSES)
    watched = []
    for n in range(200):
        case = Case(known)
        case.see(browse(f"b{n}", AT, LEAF))
        assert case.shopper.visit is not None
        watched.append(case.shopper.visit.coupon_id)
    assert 0.4 < watched.count("tea") / len(watched) < 0.7
    assert len(set(watched)) == 10, "and the others for any"
