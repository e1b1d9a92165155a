"""States that move to another number of partitions: equal digests and totals, and every later report finds its hold."""

from collections import Counter
from collections.abc import Sequence
from itertools import chain
from random import Random

import pytest
from msgspec.structs import replace

from stream_coupons.core.measurement.totals import LatestReports
from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.core.messages.results import ResultTotals
from stream_coupons.core.money.accounts import Accounts
from stream_coupons.core.money.purses import Purse
from stream_coupons.ops.digest import Digest, StateDigest
from stream_coupons.ops.system.moving import SHARED, Move
from stream_coupons.ops.system.shares import AccountTotals, BooksDiffer, totals_of
from stream_coupons.runtime.cells import MemoryCells
from stream_coupons.runtime.steps import SHARED_PREFIX
from stream_coupons.testing import (
    START,
    LocalPipeline,
    browse,
    campaign,
    coupon,
    feedback,
    item,
    order,
    plain_settings,
)
from tests.core.builders import for_life

DAY_S = 86400.0
OLD = 4
STOCK, BUDGET, SHARED_BUDGET = 25, 3000, 9000
ENDS_AT = START + 20 * DAY_S
COUPONS = [
    coupon("stocked", stock=STOCK, caps=for_life(2), redeem_within_s=2 * DAY_S),
    coupon("budgeted", budget_minor=BUDGET, budget_hold="maximum", redeem_within_s=3 * DAY_S),
    coupon("shared", campaign_id="spring", redeem_within_s=4 * DAY_S),
    coupon("falling", campaign_id="spring", max_discount_minor=300, discount_minor=300, redeem_within_s=6 * DAY_S),
    coupon("coded", codes="pool", redeem_within_s=2 * DAY_S),
]
CAMPAIGNS = [
    campaign("spring", budget_minor=SHARED_BUDGET, budget_hold="quantile", budget_curve="even", ends_at=ENDS_AT)
]
CODES = {"coded": [f"CODE{number:04d}" for number in range(40)]}
SETTINGS = plain_settings(exploration_ratio=0.5, holdout_ratio=0.2)


def new_shop(partitions: int) -> LocalPipeline:
    return LocalPipeline(SETTINGS, COUPONS, campaigns=CAMPAIGNS, codes=CODES, partitions=partitions)


def live(shop: LocalPipeline, day: int, draw: Random, users: int = 30, known: tuple[CouponIssue, ...] = ()) -> None:
    """Let shoppers browse, order and use coupons for a day; `known` are coupons of before."""
    at = START + day * DAY_S
    for number in range(users):
        user_id, then = f"u{draw.randrange(users)}", at + number * 60.0
        shop.publish(browse(user_id, item(f"i{draw.randrange(6)}"), event_id=f"b{day}-{number}", at=then))
        if draw.random() < 0.3:
            shop.publish(order(user_id, item("i1"), event_id=f"o{day}-{number}", at=then + 1.0))
    issues = [*known, *shop.issues]
    for issue in draw.sample(issues, min(len(issues), 8)):
        kind = draw.choice(["click", "purchase", "purchase", "refund", "cancel"])
        minor = {"discount_minor": draw.randrange(10, 90)} if kind in ("purchase", "refund") else {}
        shop.publish(feedback(issue, kind, at=at + 3600.0, event_id=f"f{day}-{issue.issue_id}", **minor))
    shop.tick(at + 7200.0)
    shop.tick(at + 0.9 * DAY_S)


def move(
    shop: LocalPipeline, partitions: int, coupons: Sequence[Coupon] = COUPONS
) -> tuple[LocalPipeline, list[ResultTotals]]:
    """Return a shop that goes on from the states of another one, and the reports on results that it goes on from."""
    moved = Move(
        lambda agent: [(partition, key, cell) for name, partition, key, cell in shop.states() if name == agent],
        Accounts(coupons, CAMPAIGNS, {name: (len(codes), frozenset()) for name, codes in CODES.items()}),
        latest_results(shop),
        partitions,
    )
    cells: dict[tuple[str, int], dict[str, bytes]] = {}
    for agent, partition, key, data in moved.states():
        assert key not in cells.setdefault((agent, partition), {})
        cells[agent, partition][key] = data
    new = new_shop(partitions)
    for (agent, partition), each in cells.items():
        new.owners[agent].batches.drop(partition)
        new.owners[agent].batches.adopt(partition, MemoryCells(each))
    new.trainer = shop.trainer
    return new, list(moved.reports())


def latest_results(shop: LocalPipeline) -> list[ResultTotals]:
    latest: LatestReports[ResultTotals] = LatestReports()
    for report in shop.messages(ResultTotals):
        latest.take(report)
    return list(chain.from_iterable(latest.parts(subject) for subject in list(latest.of)))


def digests(shop: LocalPipeline) -> dict[str, Digest]:
    found = {agent: StateDigest(agent) for agent in ("users", "neighbours")}
    for agent, _, key, cell in shop.states():
        if agent in found and not key.startswith(SHARED_PREFIX):
            found[agent].take(key.encode(), cell)
    return {agent: digest.result() for agent, digest in found.items()}


def purses(shop: LocalPipeline) -> dict[str, list[Purse]]:
    found: dict[str, list[Purse]] = {}
    for agent, _, key, cell in shop.states():
        if agent == "users" and key.startswith(SHARED_PREFIX) and isinstance(purse := SHARED.decode(cell), Purse):
            found.setdefault(key.removeprefix(SHARED_PREFIX), []).append(purse)
    return found


def totals(shop: LocalPipeline) -> dict[str, AccountTotals]:
    return {account_id: totals_of(each, account_id) for account_id, each in purses(shop).items()}


def results(reports: list[ResultTotals]) -> Counter[tuple[str, int, str]]:
    found: Counter[tuple[str, int, str]] = Counter()
    for one in reports:
        for name in ("given", "seen", "clicked", "used", "uses", "discount_minor"):
            found[one.coupon_id, one.day, name] += getattr(one, name)
    return +found


@pytest.fixture(scope="module")
def old() -> LocalPipeline:
    shop, draw = new_shop(OLD), Random(7)
    for day in range(5):
        live(shop, day, draw)
    return shop


@pytest.mark.long
@pytest.mark.parametrize("partitions", [12, 3, 1, OLD])
def test_a_move_keeps_states_and_totals(old: LocalPipeline, partitions: int) -> None:
    new, reports = move(old, partitions)
    assert digests(new) == digests(old)
    before, after = totals(old), totals(new)
    assert before.keys() == after.keys() >= {"units:stocked", "money:budgeted", "campaign:spring", "codes:coded"}
    for account_id, known in before.items():
        found = after[account_id]
        assert found == (replace(known, held=found.held) if known.held is None else known)
    for account_id, each in purses(new).items():
        limit = old.catalogue.accounts.limit(account_id)
        assert len(each) == partitions
        if limit.most is not None:
            assert all(purse.available >= 0 for purse in each)
            assert sum(purse.granted - purse.returned for purse in each) <= limit.most, account_id
    at = START + 4.95 * DAY_S
    for shop in (old, new):
        shop.tick(at)
    assert new.lift.lifts.keys() == old.lift.lifts.keys() != set()
    for domain, lift in new.lift.lifts.items():
        assert tuple(lift) == pytest.approx(tuple(old.lift.lifts[domain]), nan_ok=True)
    assert results([*latest_results(new), *reports]) == results(latest_results(old))


@pytest.mark.long
def test_coupons_that_are_withdrawn_keep_their_totals(old: LocalPipeline) -> None:
    new, _ = move(old, 3, coupons=[])
    for account_id, found in totals(new).items():
        known = totals(old)[account_id]
        assert found == (replace(known, held=found.held) if known.held is None else known)
    assert all(purse.available == 0 for purse in purses(new)["units:stocked"])


@pytest.mark.long
@pytest.mark.parametrize("partitions", [12, 3, 1])
def test_what_was_open_before_a_move_is_closed_after_it(old: LocalPipeline, partitions: int) -> None:
    (new, _), draw, given = move(old, partitions), Random(8), tuple(old.issues)
    new.publish(*(browse(issue.user_id, event_id=issue.trigger_id, at=issue.issued_at) for issue in given))
    assert new.issues == [], "no trigger leads to a second coupon"
    for day in range(5, 9):
        live(new, day, draw, known=given)
    every = [*given, *new.issues]
    assert len(every) > len(given)
    count = Counter(issue.coupon_id for issue in every)
    assert count["stocked"] <= STOCK
    codes = [issue.code for issue in every if issue.coupon_id == "coded"]
    assert len(set(codes)) == len(codes)
    assert not {issue.user_id for issue in every} - {f"u{number}" for number in range(30)}
    of_stock = Counter(issue.user_id for issue in every if issue.coupon_id == "stocked")
    assert max(of_stock.values()) <= 2
    for days in (60, 61, 62):  # all windows have closed, and holds have fallen
        new.tick(START + days * DAY_S)
    for account_id, each in purses(new).items():
        spent = sum(purse.spent - purse.refunded for purse in each)
        if account_id.startswith(("money:", "campaign:")):
            assert sum(purse.drawn - purse.freed for purse in each) == spent, account_id
            assert sum(purse.worst for purse in each) == spent
            assert all(abs(purse.expected.at(START)) < 1e-3 for purse in each)
            assert sum(purse.closed for purse in each) == count_of(account_id, count)
    assert sum(one.worst for one in purses(new)["money:budgeted"]) <= BUDGET


def count_of(account_id: str, count: Counter[str]) -> int:
    members = ["shared", "falling"] if account_id == "campaign:spring" else [account_id.partition(":")[2]]
    return sum(count[coupon_id] for coupon_id in members)


def test_books_that_do_not_agree_are_no_state_to_move() -> None:
    shop = new_shop(1)
    shop.publish(browse("u1", item("i1")))
    [issue, *_] = shop.issues
    shop.publish(feedback(issue, "purchase", at=START + 1.0))
    states = [list(one) for one in shop.states()]
    for one in states:
        if one[2] == f"{SHARED_PREFIX}money:{issue.coupon_id}":
            purse = SHARED.decode(one[3])
            purse.spent = 0
            one[3] = SHARED.encode(purse)
    broken = Move(lambda agent: [tuple(one[1:]) for one in states if one[0] == agent], shop.catalogue.accounts, [], 2)
    with pytest.raises(
        BooksDiffer, match=f"money:{issue.coupon_id}: shoppers' coupons took 100, but the purses have 0"
    ):
        list(broken.states())
