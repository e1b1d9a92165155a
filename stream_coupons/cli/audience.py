"""`catalog audience`: how many shoppers qualify for a coupon."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from stream_coupons.cli import terminal
from stream_coupons.cli.options import BootstrapOption, ConfigOption, JsonOption, settings_with_topics
from stream_coupons.cli.topic_reading import reading
from stream_coupons.core.errors import StreamCouponsError
from stream_coupons.core.validation_hints import near
from stream_coupons.kafka import topics
from stream_coupons.ops.catalogue_files import CAMPAIGNS, COUPONS
from stream_coupons.ops.published import published

if TYPE_CHECKING:  # imported where it is used: no help needs it
    from stream_coupons.ops.audience import Audience


class UnknownCoupon(StreamCouponsError):
    """No coupon of this id, or a state of a shopper that cannot be read."""


def audience(
    coupon_id: Annotated[str, typer.Argument(metavar="COUPON", help="The coupon's id.")],
    json: JsonOption = False,
    config: ConfigOption = None,
    bootstrap: BootstrapOption = None,
) -> None:
    """Count the shoppers who qualify for a coupon now.

    Reads the states of all shoppers from the users' changelog and applies the
    coupon's terms to each: validity, caps, coupons held, and eligible_if of
    the coupon and of its campaign. Clauses that read the trigger are taken
    for true, and named. Cooldown, holdout, stock and budget are left out, and
    so is the ramp_ratio of a campaign.
    Disturbs no worker, and none has to run.

    Examples: stream-coupons catalog audience coffee-15-percent
              stream-coupons catalog audience coffee-15-percent --json
    """
    from stream_coupons.core.draws import PUBLIC_KEY
    from stream_coupons.core.rules import Rules
    from stream_coupons.ops.audience import AudienceCount
    from stream_coupons.ops.audit.findings import place_of

    settings = settings_with_topics(config, bootstrap)
    coupons = published(settings, COUPONS).entries
    if coupon_id not in coupons:
        raise UnknownCoupon(f"coupon {coupon_id!r} is not in the catalogue{near(coupon_id, coupons)}")
    campaigns = published(settings, CAMPAIGNS).entries
    rules = Rules(policy=settings.policy, shop=settings.shop, key=PUBLIC_KEY)  # it draws nothing
    count = AudienceCount(coupon_id, coupons.values(), campaigns.values(), time.time(), rules)
    with reading(settings.kafka) as read:
        for record in read("reading shoppers", (topics.changelog("users").name,)):
            try:
                count.take(record.key or b"", record.value)
            except msgspec.DecodeError as error:
                raise UnknownCoupon(f"{place_of(record)}: is no state of a shopper: {error}") from None
    terminal.show(count.result(), _print, as_json=json)


def _print(found: Audience) -> None:
    share = f" ({found.qualify / found.shoppers:.1%})" if found.shoppers else ""
    terminal.say(f"{found.qualify:,} of {found.shoppers:,} shoppers{share} qualify for {found.coupon_id}")
    if found.against:
        terminal.print_table(
            ("first reason against it", "shoppers"), [(why, f"{number:,}") for why, number in found.against.items()]
        )
    for clause in found.not_counted:
        terminal.say(f"depends on the trigger, taken for true: {clause}")
