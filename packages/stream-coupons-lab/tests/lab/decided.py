"""A shop that takes one event at a time, and its logs with every version of every state, as before a compaction."""

import msgspec

from stream_coupons.core.caps import Cap
from stream_coupons.core.decision.scoring import Knowledge
from stream_coupons.core.draws import PUBLIC_KEY
from stream_coupons.core.rules import PolicyRules
from stream_coupons.kafka import topics
from stream_coupons.kafka.records import Record
from stream_coupons.models.linear import prior
from stream_coupons.settings import Settings
from stream_coupons.testing import browse, item
from tests.agents.fakes import Shop
from tests.core.builders import AT, knowledge, order
from tests.core.builders import repeatable as coupon

from .builders import TABLE_OF_AGENT, Log

STEP_S = 7200.0
POLICY = PolicyRules(cooldown_s=60.0, max_issues_per_window=50, exploration_ratio=0.4, min_value_minor=-20.0)
SETTINGS = Settings(policy=msgspec.structs.replace(POLICY, holdout_ratio=0.0, control_ratio=0.0))
CATALOGUE = [
    coupon("tea", categories=["tea"], discount_minor=40, budget_minor=3000),
    coupon("few", categories=["tea"], discount_minor=20, stock=5, title="The first five"),
    coupon("ham", categories=["ham"], discount_minor=30, caps=[Cap(per="life", n=1)]),
    coupon("late", valid_from=AT + 30 * 86400.0),
    coupon("trip", domain="travel"),
]


def known() -> Knowledge:
    """What the agents know all the time."""
    return knowledge(*CATALOGUE, rules=SETTINGS.rules(PUBLIC_KEY), scorer=prior())


def busy_shop(partitions: int = 2) -> Shop:
    """Two shoppers who look at tea and ham in turn; each event is over before the next one comes."""
    one = known()
    shop = Shop(lambda: one, partitions)
    for number in range(10):
        at = AT + number * STEP_S
        for user, category in (("ann", ("tea", "ham")[number % 2]), ("bob", "tea")):
            what = item(f"{category}{number % 3}", category=category, price_minor=600)
            event = browse(user, what, at=at, event_id=f"{user}-{number}", context={"channel": "app"})
            shop.publish(topics.BROWSE, event)
            shop.settle()
    return shop


def order_later(shop: Shop, user: str) -> None:
    """The shopper's state moves on."""
    shop.publish(topics.ORDER, order("later", shop.now + STEP_S, item("x", category="ham"), user=user))
    shop.settle()


def whole_log(shop: Shop) -> Log:
    """The catalogue, all that was said, and all versions of the states."""
    log = Log(shop.partitions)
    for each in CATALOGUE:
        log.append(topics.CATALOG, each)
    for record in shop.everything:
        log.put(record)
    for agent, result in shop.results:
        if agent in TABLE_OF_AGENT:
            for key, cell in result.cells.items():
                log.put(Record(TABLE_OF_AGENT[agent], result.partition, 0, int(shop.now * 1000), key.encode(), cell))
    log.committed = {place: at for owner in shop.owners.values() for place, at in owner.committed.items()}
    return log
