"""Stock and money: within their limits whatever happens in whatever order the owner of shoppers can make happen."""

from dataclasses import dataclass, field

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_coupons.core.events import Alternative, Coupon, Proposal, Reservation, Settlement
from stream_coupons.core.ledger import (
    EVEN_PACING_START_RATIO,
    MOST_MINOR,
    Ledger,
    can_reserve,
    reserve,
    settle,
    shortage,
)
from stream_coupons.core.reasons import Rejection, Shortage

from .builders import AT, DAY_S, coupon


def proposal(number: int = 1, *alternatives: tuple[str, int], at: float = AT, rank: int = 0) -> Proposal:
    wanted = [Alternative(*each) for each in alternatives or (("c1", 100),)]
    return Proposal(
        proposal_id=f"p{number}", user_id=f"u{number}", at=at, expires_at=at + 3600, alternatives=wanted, rank=rank
    )


def settlement(number: int, outcome: str, held: int = 100, spent: int = 0) -> Settlement:
    return Settlement(
        proposal_id=f"p{number}",
        coupon_id="c1",
        at=AT,
        outcome=outcome,  # type: ignore[arg-type]
        held_minor=held,
        spent_minor=spent,
    )


@dataclass
class Books:
    """One coupon's ledger and what became of each proposal, added up by hand."""

    terms: Coupon
    ledger: Ledger = field(default_factory=Ledger)
    held: dict[int, int] = field(default_factory=dict)
    open: dict[int, int] = field(default_factory=dict)
    given: int = 0
    spent: int = 0

    def act(self, number: int, kind: str, amount: int) -> None:
        """Do what the kind says, if the owner of shoppers could; each step of a proposal happens once."""
        if kind == "reserve" and number not in self.held:
            effects = reserve(self.ledger, self.terms, proposal(number, ("c1", amount)))
            if effects.messages[0].granted:  # type: ignore[attr-defined]
                self.held[number] = amount
        elif kind in ("confirmed", "released") and self.held.get(number, -1) >= 0 and number not in self.open:
            settle(self.ledger, settlement(number, kind, self.held[number]))
            if kind == "confirmed":
                self.given += 1
                self.open[number] = self.held[number]
            else:
                self.held[number] = -1
        elif kind in ("redeemed", "expired") and number in self.open and self.open[number] >= 0:
            spent = min(amount, self.open[number]) if kind == "redeemed" else 0
            settle(self.ledger, settlement(number, kind, self.open[number], amount if kind == "redeemed" else 0))
            self.spent += spent
            self.open[number] = self.held[number] = -2

    def check(self) -> None:
        ledger, terms = self.ledger, self.terms
        waiting = [n for n, amount in self.held.items() if amount >= 0 and n not in self.open]
        holding = waiting + [n for n, amount in self.open.items() if amount >= 0]
        assert ledger.reserved == len(waiting)
        assert ledger.issued == self.given
        assert ledger.held_minor == sum(self.held[n] for n in holding)
        assert ledger.spent_minor == self.spent
        assert min(ledger.reserved, ledger.issued, ledger.held_minor, ledger.spent_minor) >= 0
        if terms.stock is not None:
            assert ledger.reserved + ledger.issued <= terms.stock
        if terms.budget_minor is not None:
            assert ledger.held_minor + ledger.spent_minor <= terms.budget_minor


KINDS = ["reserve", "reserve", "reserve", "confirmed", "confirmed", "released", "redeemed", "expired"]
acts = st.lists(st.tuples(st.integers(0, 8), st.sampled_from(KINDS), st.integers(0, 120)), max_size=60)
limits = st.one_of(st.none(), st.integers(0, 6)), st.one_of(st.none(), st.integers(0, 400))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(acts, *limits, st.sampled_from(["none", "even"]))
def test_any_interleaving_keeps_stock_and_budget(
    steps: list[tuple[int, str, int]], stock: int | None, budget: int | None, pacing: str
) -> None:
    books = Books(coupon(stock=stock, budget_minor=budget, pacing=pacing, valid_until=AT + DAY_S))
    for step in steps:
        books.act(*step)
        books.check()


forgeries = st.lists(
    st.tuples(
        st.sampled_from(["reserve", "confirmed", "released", "redeemed", "expired"]),
        st.integers(0, 250),
        st.integers(0, 250),
    ),
    max_size=40,
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(forgeries, *limits)
def test_no_settlement_whatever_it_says_gives_back_more_than_there_is(
    steps: list[tuple[str, int, int]], stock: int | None, budget: int | None
) -> None:
    ledger, terms = Ledger(), coupon(stock=stock, budget_minor=budget)
    for kind, held, spent in steps:
        before = msgspec.structs.replace(ledger)
        if kind == "reserve":
            reserve(ledger, terms, proposal(1, ("c1", held)))
        else:
            is_refused = bool(settle(ledger, settlement(1, kind, held, spent)).refused)
            assert not is_refused or ledger == before
        assert min(ledger.reserved, ledger.issued, ledger.held_minor, ledger.spent_minor) >= 0
        assert stock is None or ledger.reserved + ledger.issued <= stock
        assert budget is None or ledger.held_minor + ledger.spent_minor <= budget


@pytest.mark.parametrize(
    ("ledger", "outcome"),
    [
        (Ledger(issued=1, held_minor=100), "confirmed"),
        (Ledger(issued=1, held_minor=100), "released"),
        (Ledger(reserved=1, held_minor=99), "released"),
        (Ledger(issued=1, held_minor=99), "redeemed"),
        (Ledger(issued=1), "expired"),
    ],
)
def test_a_settlement_of_what_is_not_reserved_or_held_is_refused_and_books_nothing(
    ledger: Ledger, outcome: str
) -> None:
    before = msgspec.structs.replace(ledger)
    [refused] = settle(ledger, settlement(1, outcome)).refused
    assert (refused.reason, ledger) == (Rejection.INVALID, before)
    assert outcome in refused.detail


def test_the_last_one_is_given_and_not_the_one_after() -> None:
    ledger, terms = Ledger(issued=1), coupon(stock=2)
    [yes] = reserve(ledger, terms, proposal(1)).messages
    [no] = reserve(ledger, terms, proposal(2)).messages
    assert (yes.granted, yes.amount_minor, yes.coupon_id, yes.user_id) == (True, 100, "c1", "u1")  # type: ignore[attr-defined]
    assert (no.granted, no.amount_minor) == (False, 0)  # type: ignore[attr-defined]
    assert ledger == Ledger(reserved=1, issued=1, held_minor=100)


def test_the_last_cent_is_given_and_not_one_more() -> None:
    terms = coupon(budget_minor=300)
    ledger = Ledger(held_minor=150, spent_minor=50)
    assert can_reserve(ledger, terms, 100, AT)
    assert not can_reserve(ledger, terms, 101, AT)


def test_no_limit_is_no_limit() -> None:
    assert can_reserve(Ledger(reserved=10**9, held_minor=10**15), coupon(), 10**9, AT)


def test_without_a_budget_what_is_held_stays_within_what_a_cell_can_hold() -> None:
    ledger, terms = Ledger(), coupon(max_discount_minor=2**53)
    answers = [reserve(ledger, terms, proposal(number, ("c1", 2**53))).messages[0] for number in range(2100)]
    assert [answer.granted for answer in answers] == [True] * 1023 + [False] * 1077  # type: ignore[attr-defined]
    assert shortage(ledger, terms, 2**53, AT) == Shortage.BUDGET
    assert ledger.held_minor <= MOST_MINOR
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(ledger), type=Ledger) == ledger
    settle(ledger, settlement(1, "released", 2**53))
    assert can_reserve(ledger, terms, 2**53, AT)


def test_a_redemption_for_less_frees_the_rest_and_never_takes_more_than_was_held() -> None:
    ledger = Ledger(issued=2, held_minor=200)
    settle(ledger, settlement(1, "redeemed", 100, 30))
    assert (ledger.held_minor, ledger.spent_minor) == (100, 30)
    settle(ledger, settlement(2, "redeemed", 100, 500))
    assert (ledger.held_minor, ledger.spent_minor) == (0, 130)


def test_what_is_sold_out_is_handed_on_to_the_next_alternative() -> None:
    ledger = Ledger(issued=1)
    [handed] = reserve(ledger, coupon(stock=1), proposal(1, ("c1", 100), ("c2", 50), ("c3", 70))).messages
    assert isinstance(handed, Proposal)
    assert (handed.rank, handed.refused, handed.coupon_id) == (1, 1, "c2")
    assert (handed.proposal_id, handed.user_id) == ("p1", "u1")
    assert (handed.at, handed.expires_at) == (AT, AT + 3600)
    [answer] = reserve(Ledger(), coupon("c2"), handed).messages
    assert isinstance(answer, Reservation)
    assert (answer.granted, answer.coupon_id, answer.amount_minor, answer.refused) == (True, "c2", 50, 1)
    assert ledger == Ledger(issued=1)


def test_of_a_drawn_proposal_only_the_last_alternative_is_held_and_the_others_are_asked() -> None:
    drawn = msgspec.structs.replace(proposal(1, ("c1", 100), ("c2", 50), ("c3", 70)), is_drawn=True)
    plenty, gone = Ledger(), Ledger(issued=1)
    [passed] = reserve(plenty, coupon(stock=1), drawn).messages
    assert isinstance(passed, Proposal)
    assert (passed.rank, passed.refused, plenty) == (2, 0, Ledger())
    [second] = reserve(gone, coupon(stock=1), drawn).messages
    assert isinstance(second, Proposal)
    assert (second.rank, second.refused) == (1, 1)
    [third] = reserve(gone, coupon("c2", stock=1), second).messages
    for asked, refused in ((passed, 0), (third, 2)):
        assert isinstance(asked, Proposal)
        [answer] = reserve(Ledger(), coupon("c3"), asked).messages
        assert isinstance(answer, Reservation)
        assert (answer.granted, answer.coupon_id, answer.refused) == (True, "c3", refused)


def test_the_last_alternative_is_refused_and_so_is_a_withdrawn_coupon() -> None:
    for terms in (coupon("c2", stock=0), None):
        [answer] = reserve(Ledger(), terms, proposal(1, ("c1", 100), ("c2", 50), rank=1)).messages
        assert isinstance(answer, Reservation)
        assert (answer.granted, answer.coupon_id, answer.amount_minor) == (False, "c2", 0)


EVEN = coupon(budget_minor=1000, pacing="even", valid_from=AT, valid_until=AT + 10 * DAY_S)


@pytest.mark.parametrize(("days", "most"), [(-1, 100), (0, 100), (1, 100), (5, 500), (10, 1000), (20, 1000)])
def test_an_even_pace_releases_the_budget_with_time(days: float, most: int) -> None:
    assert EVEN_PACING_START_RATIO == 0.1
    assert can_reserve(Ledger(), EVEN, most, AT + days * DAY_S)
    assert not can_reserve(Ledger(), EVEN, most + 1, AT + days * DAY_S)


@pytest.mark.parametrize(
    ("ledger", "terms", "expected"),
    [
        (Ledger(issued=2), coupon(stock=2, budget_minor=0), Shortage.STOCK),
        (Ledger(spent_minor=901), coupon(budget_minor=1000), Shortage.BUDGET),
        (Ledger(spent_minor=901), EVEN, Shortage.BUDGET),
        (Ledger(spent_minor=1), EVEN, Shortage.PACING),
        (Ledger(spent_minor=900), coupon(budget_minor=1000), None),
    ],
)
def test_what_a_coupon_lacks_has_a_name(ledger: Ledger, terms: Coupon, expected: Shortage | None) -> None:
    assert shortage(ledger, terms, 100, AT) == expected


def test_a_coupon_that_is_valid_for_no_time_paces_without_failing() -> None:
    moment = coupon(budget_minor=1000, pacing="even", valid_from=AT, valid_until=AT)
    assert not can_reserve(Ledger(), moment, 1001, AT)
