"""Stock and money as leases: the owner of a limit grants parts of it to partitions, which draw on theirs alone.

Every limit is an account (`accounts`), in units or in minor units of money. The owner records its grants to each
partition, a partition records its draws (`purses`). Both sides send totals that only grow, and the receiver takes the
larger: duplicates, lost messages and reordering change nothing.

    granted - returned, summed over all partitions, is at most the limit: at every prefix of the log

A coupon is given in the partition that holds its unit and its money: check and draw are one step of that partition.
This is escrow [1]_, with bounds that move to the partitions that need them [2]_.

A partition that has not reported yet has a first lease, which both sides compute from the limit: half of an even share.
So it can draw before the first message. Later leases halve the rest, down to the last unit. Idle amounts are called
back when another partition needs them and nothing else is left.

Leases carry the price of an account and the risk from which holds are computed. Reports carry expected costs and
demand, from which the price is computed.

References
----------
.. [1] O'Neil, P. E. (1986). The escrow transactional method. ACM TODS.
.. [2] Balegas, V. et al. (2015). Extending eventually consistent cloud databases for enforcing numeric invariants.
       SRDS.
"""

from collections.abc import Sequence

import numpy as np

from stream_coupons.core.messages.leases import Lease, LeaseReport
from stream_coupons.core.money import price as pricing
from stream_coupons.core.money.accounts import Limit
from stream_coupons.core.money.code_ranges import count, joined, split
from stream_coupons.core.money.holdings import INITIAL_TERMS, Account, Holding, Holdings, KeptHoldings
from stream_coupons.core.money.holds import QUANTILE_Z, Falling, risk_of
from stream_coupons.core.money.price import PRICES, Budget, Price
from stream_coupons.core.money.purses import ASK_AGAIN_S, PurseTotals, sum_of_totals

RESTS_S = 4.0
"""Seconds before a lease may be called back. Otherwise two partitions could pass the last unit around unused."""
NOTICED_CHANGE = 0.02
"""Relative change of a price, or of a risk, that is sent to partitions."""
KNOWN_AFTER = 10
"""Number of coupons of an account that are over, below which each open one holds the most that it can cost."""
RISK_CHANGE = 0.29
"""Relative change of the risk by which it is computed anew at once: the variance has doubled, or is half of it."""
CALIBRATED_AFTER = 10
"""Weight of the cost ratio's prior, in redemptions of the highest cost."""
MAX_COST_RATIO = 10.0
LEAST_VARIANCE = 1.0
"""Variance of the cost of all open coupons below which it is a rounding error of their sum, minor units squared."""


def take_report(account: Account, kept: KeptHoldings, said: LeaseReport, limit: Limit, partitions: int) -> list[Lease]:
    """Apply a partition's report and return the resulting leases, for it and for others.

    Parameters
    ----------
    account : Account
        The owner's state, changed in place.
    kept : KeptHoldings
        The holdings of its accounts.
    said : LeaseReport
        Report of one partition.
    limit : Limit
        Terms of the account.
    partitions : int
        Number of partitions of the shoppers' topics.
    """
    holdings = Holdings(account, kept, limit, partitions)
    with holdings.rebooked(said.partition) as holding:
        has_heard = holding.is_known or account.told == INITIAL_TERMS
        _take_back(account, holding, said)
        _merge(holding, said)
        if not has_heard:
            _renew(holding)  # of price and risk
        holding.is_waiting = (holding.is_waiting or said.asks) and limit.most is not None
    if limit.revoked is not None and (limit.most or 0) > account.pooled:
        account.codes = joined([*account.codes, (account.pooled, limit.most or 0)])
        account.pooled = limit.most or 0
    # A partition that has not taken in what it was sent is sent it again.
    told = [said.partition] if holding.heard_version < holding.version else []
    if account.opened_at is None:
        account.opened_at, account.price = said.at, Price(lump_minor=float(limit.unit_minor))
    if limit.most is not None:
        told += _update(holdings, said.at)
        told += _grant(holdings, said.at)
        told += _recall(holdings, said.at)
    return [_lease(said.account_id, number, holdings, said.at) for number in dict.fromkeys(told)]


def _take_back(account: Account, holding: Holding, said: LeaseReport) -> None:
    """Forget the codes that a partition has given since its last report, and take back those that it returned."""
    if holding.codes:
        _, held = split(holding.codes, said.drawn - holding.drawn)
        holding.codes, returned = split(held, count(held) - max(said.returned - holding.returned, 0))
        account.codes = joined(sorted([*account.codes, *returned]))


def _merge(holding: Holding, said: LeaseReport) -> None:
    if not holding.is_known and not holding.version:
        holding.granted = said.granted  # its first lease; what was kept for it may be more
    holding.is_known = True
    holding.heard_version = max(holding.heard_version, said.version)
    for name in PurseTotals.__struct_fields__:
        setattr(holding, name, max(getattr(holding, name), getattr(said, name)))
    heard = sum_of_totals(said)
    if heard > holding.heard:
        holding.heard = heard
        holding.expected, holding.variance = Falling(*said.expected), Falling(*said.variance)
        holding.demand = tuple(said.demand) if len(said.demand) == len(PRICES) else ()
        holding.over_expected, holding.over_spent = said.over_expected, said.over_spent


def _update(holdings: Holdings, at: float) -> list[int]:
    """Update price and risk; return the partitions to notify: all that reported or were called, or none."""
    account, limit = holdings.account, holdings.limit
    if not _is_due(account, limit, at):
        return []
    holdings.sum_up()
    every = [holding for _, holding in holdings.items()]
    ratio = 1.0 if limit.is_stock else _cost_ratio(every, limit)
    variance = sum(holding.variance.at(at) for holding in every)
    risk = _risk(account, limit, ratio * variance)
    account.learnt_from = account.sums.closed
    if limit.is_priced:
        nothing = (0.0,) * len(PRICES)
        demand = np.sum([holding.demand or nothing for holding in every], axis=0)
        totals = pricing.ReportedTotals(
            spent_minor=account.sums.drawn * limit.unit_minor if limit.is_stock else account.sums.spent,
            expected_minor=ratio * sum(holding.expected.at(at) for holding in every),
            variance=ratio * variance,
            demand=tuple(demand.tolist()),
        )
        if account.price.at is not None and account.price.seen:
            asked = totals.demand[0] - account.price.seen[0]
            account.traffic = account.traffic.note(account.price.at, at, asked)
        account.price = pricing.update(account.price, totals, _terms(account, limit), account.traffic, at, ratio)
    else:
        account.price = Price(at=max(at, account.price.at or at))
    news = account.price.value, risk, ratio, is_spent(account, limit)
    if not any(map(_has_moved, account.told, news)):
        return []
    account.told = news
    notified = [number for number, holding in holdings.items() if holding.is_known or holding.version]
    for number in notified:
        holding = holdings.change(number)
        if holding.is_called:
            holding.version += 1
        else:
            _renew(holding)
    return notified


def _risk(account: Account, limit: Limit, variance: float) -> float | None:
    """Return the risk by the variance of what is open; None while it is nothing, or too few coupons are over."""
    if limit.hold == "maximum" or account.sums.closed < KNOWN_AFTER:
        return None
    return risk_of(variance, QUANTILE_Z) if variance >= LEAST_VARIANCE else None


def _cost_ratio(holdings: Sequence[Holding], limit: Limit) -> float:
    """Return observed over expected cost of the coupons that are over, shrunk towards 1 while these are few."""
    known = CALIBRATED_AFTER * limit.quantum
    spent, expected = sum(one.over_spent for one in holdings), sum(one.over_expected for one in holdings)
    return min(max((spent + known) / (expected + known), 1 / MAX_COST_RATIO), MAX_COST_RATIO)


def _terms(account: Account, limit: Limit) -> Budget:
    """Return the target of the price. An account that starts late spreads its money over the remaining time."""
    starts_at = min(max(limit.starts_at, account.opened_at or 0.0), limit.ends_at - 1.0)
    return Budget(float(limit.most or 0) * (limit.unit_minor or 1), starts_at, limit.ends_at, limit.curve, limit.lag_s)


def share_due(account: Account, limit: Limit, at: float) -> float | None:
    """Return the share of a budget that should be spent by a time, 0 to 1; None where spending is not steered.

    Parameters
    ----------
    account : Account
        The owner's state.
    limit : Limit
        Terms of the account.
    at : float
        UTC epoch seconds.
    """
    if not limit.is_priced:
        return None
    return pricing.share_due(_terms(account, limit), at, account.traffic) if account.opened_at is not None else 0.0


def is_spent(account: Account, limit: Limit) -> bool:
    """Return True if less of a budget is not spent than its cheapest coupon can cost: it pays for none any more.

    Parameters
    ----------
    account : Account
        The owner's state.
    limit : Limit
        Terms of the account.
    """
    is_used = limit.most is not None and not limit.is_stock and account.sums.spent > 0
    return is_used and (limit.most or 0) - account.sums.spent < limit.least


def _is_due(account: Account, limit: Limit, at: float) -> bool:
    """Return True if price and risk are to be updated: by time, or by coupons that are open or over."""
    _, risk, ratio, was_spent = account.told
    has_learnt = account.sums.closed >= max(2 * account.learnt_from, KNOWN_AFTER)
    if account.price.at is None or is_spent(account, limit) != was_spent or has_learnt:
        return True
    has_moved = _has_moved(risk, _risk(account, limit, ratio * account.sums.variance.at(at)), RISK_CHANGE)
    terms = _terms(account, limit)
    every = min(max((terms.ends_at - terms.starts_at) / pricing.UPDATES, pricing.LEAST_UPDATE_S), pricing.MOST_UPDATE_S)
    return at >= account.price.at + (pricing.LEAST_UPDATE_S if has_moved else every)


def _has_moved(before: float | None, after: float | None, by: float = NOTICED_CHANGE) -> bool:
    if before is None or after is None:
        return before is not after
    return abs(after - before) > by * max(before, after)


def _grant(holdings: Holdings, at: float) -> list[int]:
    """Grant waiting partitions half of an even share of the rest, at least the least useful amount; return them."""
    account, limit = holdings.account, holdings.limit
    granted, skipped = list[int](), 0
    while skipped < len(account.waiting):
        *_, number = account.waiting[skipped]
        holding, rest = holdings.get(number), holdings.left
        if limit.revoked is not None and holding.is_called:
            skipped += 1  # it is about to return the last numbers of its list
            continue
        least = holding.lacks(limit) or limit.quantum
        if rest < least:
            break
        with holdings.rebooked(number) as holding:
            # Draws made while there was no limit were never granted, and do not reduce the rest.
            beyond = max(-holding.available, 0)
            amount = max(least, rest // (2 * holdings.partitions))
            holding.granted += beyond + amount
            if limit.revoked is not None:
                news, account.codes = split(account.codes, amount)
                holding.codes = joined([*holding.codes, *news])
            holding.is_waiting, holding.granted_at = False, at
            _renew(holding)
        granted.append(number)
    return granted


def _recall(holdings: Holdings, at: float) -> list[int]:
    """Call back idle amounts for a partition with too little, or beyond the limit: the largest holding returns half."""
    account, needy = holdings.account, -1
    need, idle = -holdings.left, account.sums.idle
    if account.waiting and not account.waiting[0][0]:
        _, lacks, needy = account.waiting[0]
        need += lacks
        idle -= holdings.get(needy).idle
    if need <= 0 or not idle:
        return []
    others = [(holdings.get(number).available, number) for number in range(holdings.partitions) if number != needy]
    recalled = []
    for idle, number in sorted(others, reverse=True):
        if need <= 0 or idle <= 0:
            break
        holding = holdings.get(number)
        if not holding.is_called and needy >= 0 and abs(at - holding.granted_at) < RESTS_S:
            continue
        # A partition that draws nothing does not report: if its lease was lost, only another one reaches it.
        if not holding.is_called or abs(at - holding.called_at) >= ASK_AGAIN_S:
            holding = holdings.change(number)
            if not holding.is_called:
                _renew(holding)
                holding.keep = max(idle - max(idle - idle // 2, need), 0)
            holding.called_at = at
            recalled.append(number)
        need -= max(idle - (holding.keep or 0), 0)
    return recalled


def _renew(holding: Holding) -> None:
    holding.version += 1
    holding.keep = None


def _lease(account_id: str, number: int, holdings: Holdings, at: float) -> Lease:
    holding, (price, risk, cost_ratio, is_out) = holdings.get(number), holdings.account.told
    return Lease(
        price=price,
        risk=risk,
        cost_ratio=cost_ratio,
        is_spent=is_out,
        account_id=account_id,
        partition=number,
        at=at,
        version=holding.version,
        granted=holding.granted,
        keep=holding.keep,
        codes=holding.codes,
    )
