"""A wallet gives what its purses hold, asks for more in time, and says what became of it."""

import random
from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct

from stream_coupons.core import leases
from stream_coupons.core.coupons import Catalogue
from stream_coupons.core.effects import Effects, Freed
from stream_coupons.core.events import Coupon, Lease, LeaseReport
from stream_coupons.core.leases import (
    ASK_AGAIN_S,
    EVEN_PACING_START_RATIO,
    MAX_TOTAL,
    REPORT_EVERY_S,
    Account,
    Purse,
    money_of,
    units_of,
)
from stream_coupons.core.reasons import Shortage
from stream_coupons.core.wallet import Wallet
from stream_coupons.runtime.shared import SharedStates

from .builders import AT, DAY_S, coupon, of_type, purses, wallet

UNITS, MONEY = units_of("c1"), money_of("c1")


def holding(**held: Purse) -> SharedStates[Purse]:
    """Purses that hold something already, of units and of money of c1."""
    return SharedStates({f"{kind}:c1": purse for kind, purse in held.items()}, Purse)


def lease(account_id: str, granted: int, version: int = 1, keep: int | None = None) -> Lease:
    return Lease(account_id=account_id, partition=0, at=AT, version=version, granted=granted, keep=keep)


def draw(holds: Wallet, terms: Coupon, at: float = AT) -> list[LeaseReport]:
    """Give a coupon; what is told of it."""
    effects = Effects()
    assert holds.shortage(terms, at) is None
    holds.draw(terms, at, effects)
    return of_type(effects.messages, LeaseReport)


def want(holds: Wallet, terms: Coupon, at: float = AT) -> list[LeaseReport]:
    """Want a coupon that lacks something; what is asked for."""
    effects = Effects()
    holds.want(terms, at, effects)
    return of_type(effects.messages, LeaseReport)


EVEN = coupon(budget_minor=1000, pacing="even", valid_from=AT, valid_until=AT + 10 * DAY_S)


@pytest.mark.parametrize(
    ("held", "terms", "expected"),
    [
        ({}, coupon(stock=0, budget_minor=0), Shortage.STOCK),
        ({"units": Purse(granted=2, drawn=2)}, coupon(stock=9), Shortage.STOCK),
        ({"units": Purse(granted=2, drawn=2, returned=0, freed=0)}, coupon(), None),
        ({"money": Purse(granted=1000, drawn=901)}, coupon(budget_minor=1000), Shortage.BUDGET),
        ({"money": Purse(granted=1000, drawn=900)}, coupon(budget_minor=1000), None),
        ({"money": Purse(granted=1000, drawn=950, freed=50)}, coupon(budget_minor=1000), None),
        ({"money": Purse(granted=1000, returned=1, drawn=900)}, coupon(budget_minor=1000), Shortage.BUDGET),
        ({"money": Purse(granted=100, drawn=1)}, EVEN, Shortage.PACING),
        ({"money": Purse(drawn=10**15)}, coupon(), None),
        ({"money": Purse(drawn=MAX_TOTAL - 99)}, coupon(), Shortage.BUDGET),
    ],
)
def test_what_a_coupon_lacks_has_a_name(held: dict[str, Purse], terms: Coupon, expected: Shortage | None) -> None:
    shared = holding(**held)
    assert Wallet(shared, 0, 1).shortage(terms, AT) == expected
    assert shared.changed == {}, "it was only looked at"


def test_at_the_end_of_its_time_a_budget_lacks_money_and_not_time() -> None:
    shared = holding(money=Purse(granted=1000, drawn=901))
    assert Wallet(shared, 0, 1).shortage(EVEN, AT + 10 * DAY_S) == Shortage.BUDGET


@pytest.mark.parametrize(("partitions", "first"), [(1, 100), (2, 25), (4, 12), (50, 1), (51, 0)])
def test_before_any_message_a_partition_gives_its_first_lease(partitions: int, first: int) -> None:
    terms, shared = coupon(stock=100), purses()
    holds, given = Wallet(shared, 0, partitions), 0
    while holds.shortage(terms, AT) is None:
        draw(holds, terms)
        given += 1
    assert given == first
    purse = shared.get(UNITS)
    assert (purse.granted if purse is not None else 0) == first


def test_money_is_held_as_much_as_a_coupon_can_cost_and_a_unit_is_drawn_though_nothing_is_limited() -> None:
    shared = purses()
    terms = coupon(max_discount_minor=300, discount_minor=100)
    assert draw(Wallet(shared, 0, 4), terms) == [], "what has no limit is not asked for"
    assert {account_id: purse.drawn for account_id, purse in shared.items()} == {UNITS: 1, MONEY: 300}


def test_without_a_budget_no_total_outgrows_what_a_message_can_say() -> None:
    shared = purses()
    holds, terms, given = Wallet(shared, 0, 4), coupon(max_discount_minor=2**52), 0
    while holds.shortage(terms, AT) is None:
        draw(holds, terms)
        given += 1
    assert given == 2
    never = coupon("c2", max_discount_minor=MAX_TOTAL, budget_minor=5)
    asked = [report for n in range(5) for report in want(holds, never, AT + n * ASK_AGAIN_S)]
    assert len(asked) == 5
    for report in asked + of_type(holds.tell(AT + 99).messages, LeaseReport):
        assert msgspec.json.decode(msgspec.json.encode(report), type=LeaseReport) == report


def test_more_is_asked_for_when_half_of_a_lease_is_drawn_and_not_again_before_an_answer() -> None:
    shared, terms = purses(), coupon(stock=80)
    holds = Wallet(shared, 0, 4)  # the first lease is 10
    told = [draw(holds, terms, AT + n) for n in range(8)]
    assert [len(reports) for reports in told] == [0, 0, 0, 0, 0, 1, 0, 0]
    [asked] = told[5]
    assert (asked.account_id, asked.partition, asked.at, asked.asks) == (UNITS, 0, AT + 5, True)
    assert (asked.version, asked.granted, asked.drawn, asked.returned) == (0, 10, 6, 0)
    holds.receive(lease(UNITS, 30))
    assert [len(draw(holds, terms, AT + 8 + n)) for n in range(22)] == [0] * 12 + [1] + [0] * 4 + [1] + [0] * 4
    assert holds.shortage(terms, AT + 30) == Shortage.STOCK


def test_what_is_wanted_is_asked_for_again_when_no_answer_came() -> None:
    holds, terms = wallet(partitions=4), coupon(stock=1)
    asked = [want(holds, terms, AT + n) for n in range(11)]
    assert [len(reports) for reports in asked] == [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]
    assert [reports[0].wanted for reports in asked if reports] == [1, 2, 3]
    assert ASK_AGAIN_S == 5.0


def test_only_what_lacks_is_wanted() -> None:
    shared = purses()
    terms = coupon(stock=8, budget_minor=150)
    [asked] = want(Wallet(shared, 0, 4), terms)
    assert (asked.account_id, asked.wanted, asked.drawn) == (MONEY, 100, 0)
    assert [account_id for account_id, _ in shared.items()] == [MONEY]
    assert want(Wallet(purses(), 0, 4), coupon()) == []


def test_a_lease_is_taken_in_once_and_an_older_one_is_known() -> None:
    shared = holding(units=Purse(granted=10, size=10, drawn=10, asked_at=AT))
    holds = Wallet(shared, 0, 4)
    assert holds.receive(lease(UNITS, 30, version=2)).messages == []
    for version, granted in ((2, 30), (1, 20)):
        assert holds.receive(lease(UNITS, granted, version)).facts == [("duplicate", "lease")]
    purse = shared.get(UNITS)
    assert purse is not None
    assert (purse.version, purse.granted, purse.size, purse.asked_at, purse.available) == (2, 30, 20, None, 20)


@pytest.mark.parametrize(("drawn", "keep", "returned"), [(2, 3, 5), (2, 0, 8), (10, 0, 0), (2, 8, 0), (2, 20, 0)])
def test_what_is_called_back_is_given_back_and_told_of_but_never_what_is_drawn(
    drawn: int, keep: int, returned: int
) -> None:
    shared = holding(units=Purse(granted=10, drawn=drawn))
    [told] = Wallet(shared, 0, 4).receive(lease(UNITS, 10, keep=keep)).messages
    assert isinstance(told, LeaseReport)
    assert (told.version, told.granted, told.returned, told.drawn, told.asks) == (1, 10, returned, drawn, False)
    purse = shared.get(UNITS)
    assert purse is not None
    assert purse.available == 10 - drawn - returned


def test_a_lease_that_comes_again_is_answered_again_since_a_crash_may_have_lost_the_answer() -> None:
    holds = Wallet(holding(units=Purse(granted=10)), 0, 4)
    [told], again = (holds.receive(lease(UNITS, 10, keep=3)).messages for _ in range(2))
    assert isinstance(told, LeaseReport)
    assert told.returned == 7
    assert again == [told]


def test_a_lease_of_an_account_that_is_new_to_the_partition_is_all_it_has() -> None:
    shared = purses()
    holds = Wallet(shared, 0, 4)
    [told] = holds.receive(lease(UNITS, 12, keep=4)).messages
    assert isinstance(told, LeaseReport)
    assert (told.granted, told.returned) == (12, 8)
    for _ in range(4):
        draw(holds, coupon(stock=100))
    assert holds.shortage(coupon(stock=100), AT) == Shortage.STOCK


def test_of_what_was_held_the_rest_is_free_again_and_what_was_spent_is_not() -> None:
    shared = purses()
    holds, terms = Wallet(shared, 0, 1), coupon(budget_minor=200)
    draw(holds, terms)
    draw(holds, terms)
    assert holds.shortage(terms, AT) == Shortage.BUDGET
    holds.book([Freed("c1", 100, 30), Freed("c1", 100, 100)])
    purse = shared.get(MONEY)
    assert purse is not None
    assert (purse.drawn, purse.freed, purse.spent, purse.available) == (200, 70, 130, 70)
    assert holds.shortage(terms, AT) == Shortage.BUDGET
    assert holds.shortage(coupon(budget_minor=200, max_discount_minor=70), AT) is None


def test_a_unit_is_not_free_again() -> None:
    holds, terms = wallet(), coupon(stock=1)
    draw(holds, terms)
    holds.book([Freed("c1", 100, 0)])
    assert holds.shortage(terms, AT) == Shortage.STOCK


def test_what_has_changed_is_told_now_and_then() -> None:
    holds, free, scarce = wallet(partitions=4), coupon("c2"), coupon(stock=8)
    draw(holds, free)
    draw(holds, scarce)  # the only one of its first lease: more is asked for, which tells of it
    told = [holds.tell(at).messages for at in (AT + 0.5, AT + 1.0, AT + 2.0)]
    accounts = [[each.account_id for each in of_type(messages, LeaseReport)] for messages in told]
    assert accounts == [[units_of("c2"), money_of("c2"), MONEY], [], []]
    assert holds.tell(AT + 0.5).messages == told[0], "the tick may come again, since what it told may have been lost"
    draw(holds, free, AT + 3)
    assert holds.tell(AT + REPORT_EVERY_S).messages == []
    told_later = of_type(holds.tell(AT + 0.5 + REPORT_EVERY_S).messages, LeaseReport)
    assert [(each.account_id, each.drawn) for each in told_later] == [(units_of("c2"), 2), (money_of("c2"), 200)]
    assert not any(each.asks for each in told_later)
    holds.book([Freed("c1", 100, 20)])
    [told_last] = of_type(holds.tell(AT + 1.0 + 2 * REPORT_EVERY_S).messages, LeaseReport)
    assert (told_last.account_id, told_last.freed, told_last.spent) == (MONEY, 80, 20)
    assert holds.tell(AT + DAY_S).messages == []


steps = st.lists(
    st.tuples(st.sampled_from(["give", "give", "give", "end", "lease", "recall"]), st.integers(0, 300)), max_size=60
)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(steps, st.integers(0, 8), st.integers(0, 1000), st.integers(1, 3))
def test_nothing_is_ever_below_zero(steps: list[tuple[str, int]], stock: int, budget: int, partitions: int) -> None:
    shared = purses()
    holds, terms = Wallet(shared, 0, partitions), coupon(stock=stock, budget_minor=budget)
    is_open = 0
    for version, (kind, amount) in enumerate(steps, start=1):
        account_id = UNITS if amount % 2 else MONEY
        purse = shared.get(account_id) or leases.open_purse(
            leases.limit_of(account_id, Catalogue([terms]), AT), partitions, 0
        )
        if kind == "give":
            if holds.shortage(terms, AT) is None:
                draw(holds, terms)
                is_open += 1
            else:
                want(holds, terms)
        elif kind == "end" and is_open:
            holds.book([Freed("c1", 100, amount % 101)])
            is_open -= 1
        elif kind in ("lease", "recall"):
            more = amount if kind == "lease" else 0
            holds.receive(lease(account_id, purse.granted + more, version, None if kind == "lease" else amount // 10))
        for each in dict(shared.items()).values():
            assert min(each.available, each.returned, each.freed, each.spent) >= 0
            assert each.drawn - each.freed <= each.granted - each.returned


@dataclass
class Shop:
    """The wallets of all partitions and the owner of their accounts; a message comes at once, and none is lost."""

    terms: Coupon
    partitions: int
    wallets: list[Wallet] = field(default_factory=list)
    accounts: dict[str, Account] = field(default_factory=dict)
    given: int = 0
    chance: random.Random = field(default_factory=lambda: random.Random(1))

    def __post_init__(self) -> None:
        self.wallets = [Wallet(purses(), number, self.partitions) for number in range(self.partitions)]

    def ask_for_one(self, at: float) -> None:
        """A shopper of any partition is to be given the coupon."""
        effects, holds = Effects(), self.chance.choice(self.wallets)
        if holds.shortage(self.terms, at) is None:
            holds.draw(self.terms, at, effects)
            self.given += 1
        else:
            holds.want(self.terms, at, effects)
        self.deliver(effects.messages)
        for each in self.wallets:
            self.deliver(each.tell(at).messages)

    def deliver(self, messages: Iterable[Struct]) -> None:
        catalogue = Catalogue([self.terms])
        on_way = [*messages]
        while on_way:
            message = on_way.pop(0)
            if isinstance(message, LeaseReport):
                account = self.accounts.setdefault(message.account_id, Account())
                limit = leases.limit_of(message.account_id, catalogue, message.at)
                on_way += leases.take_report(account, message, limit, self.partitions)
            elif isinstance(message, Lease):
                on_way += self.wallets[message.partition].receive(message).messages


@pytest.mark.parametrize("partitions", [1, 3])
def test_an_even_pace_releases_the_budget_with_time(partitions: int) -> None:
    assert EVEN_PACING_START_RATIO == 0.1
    shop = Shop(msgspec.structs.replace(EVEN, budget_minor=10_000), partitions)
    for hour in range(-24, 12 * 24):
        at = AT + hour * DAY_S / 24
        released = 10_000 * min(max(hour / 240, 0.1), 1.0)
        for minute in range(6):
            shop.ask_for_one(at + 10 * minute)
        assert 100 * shop.given <= released + 1
        assert hour < 0 or 100 * shop.given >= released - 100 * (partitions + 1), "what is released is given soon"
    assert shop.given == 100


def test_a_coupon_that_is_valid_for_no_time_paces_without_failing() -> None:
    moment = coupon(budget_minor=1000, pacing="even", valid_from=AT, valid_until=AT)
    assert wallet().shortage(moment, AT) is None
    assert wallet().shortage(msgspec.structs.replace(moment, max_discount_minor=1001), AT) == Shortage.BUDGET


@pytest.mark.parametrize("partitions", [1, 3])
@pytest.mark.parametrize(
    ("later", "given"), [({"stock": 40}, 40), ({"stock": 20}, 30), ({"budget_minor": 3500}, 35), ({}, 150)]
)
def test_a_limit_that_comes_later_counts_what_was_given_before(
    partitions: int, later: dict[str, int], given: int
) -> None:
    shop = Shop(coupon(), partitions)
    for n in range(30):
        shop.ask_for_one(AT + n)
    shop.terms = coupon(**later)
    for n in range(120):
        shop.ask_for_one(AT + (n + 30) * ASK_AGAIN_S)
    assert shop.given == given


def test_a_limit_that_is_taken_away_bars_nobody_and_one_that_comes_again_counts_all() -> None:
    shop = Shop(coupon(stock=6), 2)
    stocks = [6] * 20 + [None] * 20 + [30] * 60
    for n, stock in enumerate(stocks):
        shop.terms = coupon(stock=stock)
        shop.ask_for_one(AT + n * ASK_AGAIN_S)
    assert shop.given == 30
