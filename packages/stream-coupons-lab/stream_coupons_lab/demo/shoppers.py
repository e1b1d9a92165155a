"""Settings of a system that simulated shoppers are played against."""

import msgspec

from stream_coupons.settings import Settings
from stream_coupons_lab.demo.words import CURRENCY
from stream_coupons_lab.simulation.shoppers import WorldSettings

PARTITIONS = 2
NEVER_S = 1e6


def settings_for_shoppers(base: Settings) -> Settings:
    """Return settings for simulated weeks within a minute.

    Event time is simulated, so no clock may tick, and models are published when they are asked for. Two partitions are
    enough for two workers, and offsets are committed often, since simulated time waits for them.
    """
    change = msgspec.structs.replace
    return change(
        base,
        shop=change(base.shop, currencies={**base.shop.currencies, WorldSettings.domain: CURRENCY}),
        worker=change(base.worker, tick_every_s=0.0),
        kafka=change(
            base.kafka,
            partitions=PARTITIONS,
            commit_interval_s=0.01,
            session_timeout_s=6.0,
            heartbeat_interval_s=1.0,
        ),
        neighbourhood=change(base.neighbourhood, cells=1, publish_every_s=6 * 3600.0),
        attribution=change(base.attribution, grace_s=3600.0),
        policy=change(base.policy, redemption_worth_minor=0.0, trigger_timeout_s=12 * 3600.0),
        learning=change(base.learning, publish_every_s=NEVER_S),
    )
