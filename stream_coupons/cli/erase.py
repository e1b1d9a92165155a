"""`erase`: ask the workers to forget shoppers."""

from __future__ import annotations

from typing import Annotated

import typer

from stream_coupons.cli import terminal
from stream_coupons.cli.options import BootstrapOption, ConfigOption, JsonOption, publisher_of, settings_with_topics
from stream_coupons.core.plurals import counted
from stream_coupons.kafka import topics
from stream_coupons.ops.erasures import erasure_request


def erase(
    user_ids: Annotated[list[str], typer.Argument(metavar="USER_ID", help="Which shoppers.")],
    json: JsonOption = False,
    config: ConfigOption = None,
    bootstrap: BootstrapOption = None,
) -> None:
    """Forget shoppers, as they asked for.

    What is known of them goes as soon as a worker has read the request;
    what they did before it is ignored if it comes later. Coupons that they
    have stay good. Some days after the last of these is over, their states
    go, too, unless they come back until then; only user_id and time of the
    request stay, so that what they did before never counts again. Topics keep what they hold for as
    long as `topics list` says; models keep what they have learnt. Requests
    of a file are sent by `publish --topic erasure-requests`.

    Examples: stream-coupons erase shopper-1042
              stream-coupons erase shopper-1042 shopper-1043 --json
    """
    from stream_coupons.core.decision.erasure import STAYS_S
    from stream_coupons.core.shopper.profile import DAY_S

    requests = [erasure_request(user_id) for user_id in dict.fromkeys(user_ids)]
    settings = settings_with_topics(config, bootstrap)
    with publisher_of(settings.kafka) as publisher:
        for request in requests:
            publisher.send(topics.ERASURES, request)
    if json:
        terminal.print_json(requests)
    else:
        days = f"{STAYS_S / DAY_S:.0f} days"
        terminal.say(
            f"asked to forget {counted(len(requests), 'shopper')}; states go {days} after their last coupon is over"
        )
