"""Doubts about a catalogue as a whole: coupons beside each other, and beside what the shop sells."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise

import msgspec

from stream_coupons.core.errors import BadMessage
from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.core.validation_hints import near
from stream_coupons.kafka.codec import Decoder
from stream_coupons.ops.recordings import Line, parse

LOOSE_CAP = 5
"""A cap this many times above the discount at the typical price is asked about."""

Sold = Mapping[str, set[str]]
"""Names of categories, brands and items, by the field of coupons that names them."""


def find_doubts(coupons: Iterable[Coupon], currencies: Mapping[str, str], sold: Sold | None = None) -> list[str]:
    """Return warnings beyond those of single entries.

    Parameters
    ----------
    currencies : mapping
        ISO 4217 codes by domain.
    sold : mapping, optional
        Names that the shop sells by; without them, names are compared with each other only.
    """
    every = list(coupons)
    found = [f"coupon {one.coupon_id!r}: {text}" for one in every for text in (*_loose_cap(one), *_not_sold(one, sold))]
    return [*found, *_twins(every), *mixed_currencies(every, currencies)]


def sold_in(lines: Iterable[Line]) -> Sold:
    """Return what the shop sells by the events of a recording; lines that are no events are left out."""
    found: dict[str, set[str]] = {"categories": set(), "brands": set(), "items": set()}
    for line in lines:
        try:
            topic, value = parse(line.text)
            event = Decoder(topic)(value)
        except BadMessage:
            continue
        for item in (*getattr(event, "items", ()), getattr(event, "item", None)):
            if item is not None:
                names = (("categories", item.category), ("brands", item.brand), ("items", item.item_id))
                for field, name in names:
                    found[field] |= {name} if name is not None else set()
    return found


def mixed_currencies(coupons: Iterable[Coupon], currencies: Mapping[str, str]) -> Iterator[str]:
    """Yield a warning for each campaign whose coupons have several currencies."""
    of_campaign: dict[str, set[str]] = defaultdict(set)
    for one in coupons:
        if one.campaign_id is not None and one.domain in currencies:
            of_campaign[one.campaign_id].add(currencies[one.domain])
    for campaign, codes in of_campaign.items():
        if len(codes) > 1:
            yield f"campaign {campaign!r}: its coupons are in {' and '.join(sorted(codes))}, and a budget has one"


def _loose_cap(coupon: Coupon) -> Iterator[str]:
    if coupon.discount_percent is not None and coupon.typical_price_minor:
        typical = coupon.discount_percent / 100 * coupon.typical_price_minor
        if coupon.max_discount_minor > LOOSE_CAP * typical:
            yield (
                f"max_discount_minor is {coupon.max_discount_minor}, and {coupon.discount_percent:g} % of "
                f"typical_price_minor is {typical:.0f}: the cap does not bind, and budgets hold too much; lower it"
            )


def _not_sold(coupon: Coupon, sold: Sold | None) -> Iterator[str]:
    for field, names in (sold or {}).items():
        for name in getattr(coupon, field):
            if name not in names:
                hint = near(name, names) or ": it may never be used"
                yield f"{field}: {name!r} is in no event of the recording{hint}"


def _twins(coupons: Iterable[Coupon]) -> Iterator[str]:
    """Yield a warning for coupons of one scope and discount whose times overlap."""
    alike: dict[bytes, list[Coupon]] = defaultdict(list)
    for one in coupons:
        scope = [sorted(names) for names in (one.categories, one.brands, one.items)]
        same = (one.domain, scope, one.discount_percent, one.discount_minor)
        alike[msgspec.json.encode(same)].append(one)
    for each in alike.values():
        for first, second in pairwise(sorted(each, key=lambda one: one.valid_from)):
            if second.valid_from < first.valid_until:
                yield (
                    f"coupons {first.coupon_id!r} and {second.coupon_id!r}: same scope and discount, and their times "
                    "overlap: either is given; move valid_from or remove one"
                )
