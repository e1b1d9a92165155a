"""Words of explanations that the command line and the console share."""

from stream_coupons.core.currencies import CENTS, money
from stream_coupons.core.money.accounts import CAMPAIGN, UNITS
from stream_coupons.core.reasons import Shortage
from stream_coupons.ops.explain.candidate_verdicts import Lack, Score

BEST = "highest expected value after the budget's price"
EXPLORED = "drawn by chance, to learn how shoppers answer to it"


def chances(click: float, redeem: float, order: float) -> str:
    """Return the probabilities of an issue as text."""
    return f"click {click:.1%}, redeem {redeem:.1%}, order without a coupon {order:.1%}"


def worth(value_minor: float, price_minor: float, currency: str | None) -> str:
    """Return the value of a coupon, and what its budgets charge for it, as text."""
    price = money(price_minor, currency, more=1)
    charged = f", of which its budgets charge {price} for its expected cost" if price_minor else ""
    return f"{money(value_minor, currency or CENTS, sign='+', more=1)} against giving none{charged}"


def charge(score: Score, currency: str | None) -> str:
    """Return the sentence that explains which budgets price a coupon out."""
    names = " and ".join(map(_budget, score.charged_by)) or "its budget"
    verb = "charge" if len(score.charged_by) > 1 else "charges"
    worth, price = (money(each, currency, more=1) for each in (score.value_minor, score.price_minor))
    return f"worth {worth}, but {names} {verb} {price} for it"


def _budget(account_id: str) -> str:
    kind, _, name = account_id.partition(":")
    return f"the budget of campaign {name}" if kind == CAMPAIGN else "its own budget"


def lack(found: Lack, currency: str | None) -> str:
    """Return the remaining stock or budget of an account as text."""
    if found.shortage is Shortage.NEW_SHOPPERS:
        is_stock = found.account_id.startswith(f"{UNITS}:")
        here, takes = (str(each) if is_stock else money(each, currency or CENTS) for each in (found.here, found.needed))
        return f"{here} left to new shoppers in that hour, and one more coupon takes {takes}"
    if found.shortage is Shortage.STOCK:
        return f"{found.here} left in this shopper's partition"
    left, needed = money(found.here, currency or CENTS), money(found.needed, currency)
    return f"{left} left in this shopper's partition, and one more coupon takes {needed}"
