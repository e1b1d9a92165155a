"""Terms of coupons and campaigns in sentences, as a person reads them before they are published."""

from collections.abc import Iterator
from functools import partial

from stream_coupons.core.catalogue.discount import discount_of
from stream_coupons.core.currencies import money
from stream_coupons.core.messages.catalogue import Campaign, Coupon
from stream_coupons.core.messages.fields import END_OF_TIME
from stream_coupons.core.plurals import counted
from stream_coupons.core.times import utc


def coupon_terms(coupon: Coupon, currency: str | None) -> Iterator[str]:
    """Yield the terms of a coupon, the discount first.

    Parameters
    ----------
    coupon : Coupon
        The coupon.
    currency : str or None
        Currency of its domain; None for minor units.

    Examples
    --------
    >>> tea = Coupon(coupon_id="tea", discount_percent=20, max_discount_minor=500, categories=["tea"], stock=100)
    >>> next(coupon_terms(tea, "EUR"))
    'Shoppers get 20 %, at most 5.00 EUR, on category tea.'
    """
    scope = [f"{noun} {' or '.join(some)}" for noun, some in _scope(coupon) if some]
    on = " and ".join(scope) if scope else "everything"
    yield f"Shoppers get {discount_of(coupon).text(partial(money, currency=currency))}, on {on}."
    yield f"Each is good for {_days(coupon.redeem_within_s)} after it is given."
    yield from _when("It is given", coupon, coupon.valid_from, coupon.valid_until)
    if coupon.stock is not None:
        yield f"At most {counted(coupon.stock, 'coupon')} {'is' if coupon.stock == 1 else 'are'} given."
    yield from _limits(coupon, currency)
    if coupon.channels:
        yield f"It is given in {', '.join(coupon.channels)} only."


def _scope(coupon: Coupon) -> Iterator[tuple[str, list[str]]]:
    yield from (("category", coupon.categories), ("brand", coupon.brands), ("item", coupon.items))


def campaign_terms(campaign: Campaign, currency: str | None) -> Iterator[str]:
    """Yield the terms of a campaign; parameters as of `coupon_terms`."""
    yield from _when("Its coupons are given", campaign, campaign.starts_at, campaign.ends_at)
    yield from _limits(campaign, currency)
    if campaign.holdout_ratio:
        yield f"{campaign.holdout_ratio * 100:.4g} % of the shoppers get none of its coupons, to measure what it earns."
    for one in campaign.guardrails:
        limit = money(one.limit, currency) if one.metric in ("lift", "spend_a_day") else f"{one.limit:.4g}"
        bound = "below" if one.metric in ("lift", "roi") else "above"
        yield f"It is {'held' if one.action == 'hold' else 'paused'} once {one.metric} is {bound} {limit}."


def _when(subject: str, terms: Coupon | Campaign, since: float, until: float) -> Iterator[str]:
    """Yield when coupons are given."""
    parts = [f"from {utc(since)}"] if since else []
    parts += [f"until {utc(until)}"] if until < END_OF_TIME else []
    parts += [f"on {', '.join(terms.weekdays)}"] if terms.weekdays else []
    if terms.from_hour != terms.until_hour:
        parts.append(f"from {terms.from_hour:g} to {terms.until_hour:g} o'clock for the shopper")
    yield f"{subject} {', '.join(parts) or 'at any time'}."


def _limits(terms: Coupon | Campaign, currency: str | None) -> Iterator[str]:
    """Yield the budget, the caps and the rule."""
    if terms.budget_minor is not None:
        beyond = (
            ""
            if terms.budget_hold == "maximum"
            else f", exceeded by at most {terms.max_overspend_ratio * 100:.4g} % of it"
        )
        yield f"Its budget is {money(terms.budget_minor, currency)}{beyond}."
    if terms.caps:
        yield f"A shopper gets at most {' and '.join(map(str, terms.caps))}."
    if terms.eligible_if:
        yield f"It is for shoppers of whom this is true: {terms.eligible_if}"


def _days(seconds: float) -> str:
    """Return a duration in days, hours or minutes.

    >>> _days(604800.0), _days(5400.0), _days(60.0)
    ('7 days', '1.5 hours', '1 minute')
    """
    noun, size = next((one for one in (("day", 86400.0), ("hour", 3600.0)) if seconds >= one[1]), ("minute", 60.0))
    count = round(seconds / size, 1)
    return f"{count:g} {noun}{'' if count == 1 else 's'}"
