"""Stock and money of one coupon: a single writer, so a check and what follows from it are one act.

At every prefix of the log: reserved + issued <= stock and held + spent <= budget. A reservation holds the most that
one redemption can cost; a redemption turns what was held into what was spent, a release or an expiry gives it back.
"""

import msgspec
from msgspec import Struct

from stream_coupons.core.effects import Effects
from stream_coupons.core.events import Alternative, Coupon, Proposal, Reservation, Settlement
from stream_coupons.core.reasons import Rejection, Shortage

EVEN_PACING_START_RATIO = 0.1
MOST_MINOR = 2**63 - 1
"""The most that may be held and spent of a coupon without a budget: what is saved must fit 64 bits."""


class Ledger(Struct, array_like=True):
    """State of one coupon. Mutable; owned by one step at a time."""

    reserved: int = 0
    issued: int = 0
    held_minor: int = 0
    spent_minor: int = 0


def can_reserve(ledger: Ledger, coupon: Coupon, amount_minor: int, at: float) -> bool:
    """Whether stock, budget and pacing allow one more coupon that may cost this much."""
    return shortage(ledger, coupon, amount_minor, at) is None


def shortage(ledger: Ledger, coupon: Coupon, amount_minor: int, at: float) -> Shortage | None:
    """What one more coupon that may cost this much would lack; None when it can be reserved."""
    if coupon.stock is not None and ledger.reserved + ledger.issued >= coupon.stock:
        return Shortage.STOCK
    committed = ledger.held_minor + ledger.spent_minor + amount_minor
    if coupon.budget_minor is None:
        return None if committed <= MOST_MINOR else Shortage.BUDGET
    if committed <= coupon.budget_minor * _released_ratio(coupon, at):
        return None
    return Shortage.BUDGET if committed > coupon.budget_minor else Shortage.PACING


def _released_ratio(coupon: Coupon, at: float) -> float:
    """Share of the budget that may be committed by now: all of it, or as much as time has passed."""
    if coupon.pacing == "none" or coupon.valid_until <= coupon.valid_from:
        return 1.0
    elapsed = (at - coupon.valid_from) / (coupon.valid_until - coupon.valid_from)
    return min(max(elapsed, EVEN_PACING_START_RATIO), 1.0)


def reserve(ledger: Ledger, coupon: Coupon | None, proposal: Proposal) -> Effects:
    """Hold one unit and its money for a proposal, or hand it on to its next alternative, or refuse it.

    Of a drawn proposal all but the last alternative are only asked: the first that could be held ends the asking.
    """
    wanted, last = proposal.alternatives[proposal.rank], len(proposal.alternatives) - 1
    effects = Effects()
    can_hold = coupon is not None and can_reserve(ledger, coupon, wanted.amount_minor, proposal.at)
    if can_hold and (proposal.rank == last or not proposal.is_drawn):
        ledger.reserved += 1
        ledger.held_minor += wanted.amount_minor
        effects.emit(_answer(proposal, wanted, granted=True))
        effects.count("reservation", "granted")
    elif can_hold:
        effects.emit(msgspec.structs.replace(proposal, rank=last))
        effects.count("reservation", "handed_on")
    elif proposal.rank < last:
        effects.emit(msgspec.structs.replace(proposal, rank=proposal.rank + 1, refused=proposal.refused + 1))
        effects.count("reservation", "handed_on")
    else:
        effects.emit(_answer(proposal, wanted, granted=False))
        effects.count("reservation", "refused")
    return effects


def _answer(proposal: Proposal, wanted: Alternative, *, granted: bool) -> Reservation:
    return Reservation(
        proposal_id=proposal.proposal_id,
        user_id=proposal.user_id,
        at=proposal.at,
        granted=granted,
        coupon_id=wanted.coupon_id,
        amount_minor=wanted.amount_minor if granted else 0,
        refused=proposal.refused + (not granted),
    )


def settle(ledger: Ledger, settlement: Settlement) -> Effects:
    """Book what became of a reservation; refuse what would give back more than is reserved or held."""
    effects = Effects()
    outcome = settlement.outcome
    units = 1 if outcome in ("confirmed", "released") else 0
    freed_minor = 0 if outcome == "confirmed" else settlement.held_minor
    if units > ledger.reserved or freed_minor > ledger.held_minor:
        fault = (
            f"{settlement.proposal_id} {outcome} needs {units} reserved and {freed_minor} held, "
            f"there are {ledger.reserved} and {ledger.held_minor}"
        )
        effects.refuse(Rejection.INVALID, fault)
        return effects
    ledger.reserved -= units
    ledger.held_minor -= freed_minor
    if outcome == "confirmed":
        ledger.issued += 1
    elif outcome == "redeemed":
        ledger.spent_minor += min(settlement.spent_minor, freed_minor)
    return effects
