"""A stream of shop events of fixed composition: the same seed gives the same bytes on every machine.

Shoppers come in sessions of ten events, many sessions at a time: eight times browsing, or ordering at the end of every
other session, one item put into the cart. Only the cart triggers a decision, and a shopper's vector is sent once a
session: one event in ten each.
"""

import random
from collections.abc import Iterator
from itertools import islice

from msgspec import Struct
from msgspec.structs import replace

from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.core.messages.inputs import BrowseEvent, CartEvent, Item, OrderEvent
from stream_coupons.core.rules import PolicyRules
from stream_coupons.kafka import topics
from stream_coupons.kafka.codec import encode
from stream_coupons.kafka.topics import Topic
from stream_coupons.settings import Settings

SESSION = 10
CART_AT, ORDER_AT = 6, 9
STEP_S = 60.0
BETWEEN_SESSIONS_S = 86400.0
BEGIN_AT = 1_700_000_000.0
CATEGORIES = 40
BRANDS = 120
ITEMS = 5_000


class Send(Struct, frozen=True):
    """An event ready to be sent. `waits_for` is the name of its answer, empty if there is none."""

    topic: str
    partition: int
    key: bytes
    value: bytes
    waits_for: str = ""


class Workload(Struct, frozen=True, kw_only=True):
    """The composition of a stream.

    Attributes
    ----------
    events : int
        Browse, cart and order events in all.
    shoppers : int
        Number of shoppers, who return in turn.
    at_a_time : int
        Sessions that are interleaved.
    coupons : int
        In the catalogue, all of them valid, with a limit neither on stock nor on budget.
    """

    events: int = 300_000
    shoppers: int = 10_000
    at_a_time: int = 1_000
    coupons: int = 200
    seed: int = 1

    def catalogue(self) -> list[Coupon]:
        """The coupons, spread over categories and brands."""
        return [
            Coupon(
                coupon_id=f"coupon-{number}",
                title=f"{5 + number % 30} % off",
                categories=[f"category-{number % CATEGORIES}"],
                brands=[f"brand-{number % BRANDS}"] if number % 2 else [],
                discount_percent=float(5 + number % 30),
                max_discount_minor=500,
            )
            for number in range(self.coupons)
        ]

    def stream(self) -> Iterator[tuple[Topic, OrderEvent | CartEvent | BrowseEvent]]:
        """(topic, event) in the order of arrival; a shopper's own times only grow."""
        chance = random.Random(self.seed)
        at_a_time = min(self.at_a_time, self.shoppers)
        # Sessions begin at different steps, so that no two moments of the stream differ in kind.
        sessions = [(number, chance.randrange(SESSION)) for number in range(at_a_time)]
        begun = at_a_time
        for number in range(self.events):
            place = number % at_a_time
            session, step = sessions[place]
            yield _event(f"event-{number}", session, step, self.shoppers, chance)
            if step + 1 < SESSION:
                sessions[place] = session, step + 1
            else:
                sessions[place] = begun, 0
                begun += 1

    def sends(self, begins_at: int, count: int, partitions: int) -> Iterator[Send]:
        """Yield a part of the stream, whatever `events` is; each cart waits for its coupon."""
        longer = replace(self, events=begins_at + count)
        for topic, event in islice(longer.stream(), begins_at, None):
            key = topic.key_of(event)
            waits_for = event.event_id if isinstance(event, CartEvent) else ""
            yield Send(topic.name, topics.partition_for(key, partitions), key, encode(event), waits_for)

    def settings(self, settings: Settings) -> Settings:
        """Settings under which every tenth event leads to a coupon, whatever its value, and nothing else stops it."""
        policy = PolicyRules(
            triggers=frozenset({"cart"}),
            cooldown_s=0.0,
            max_issues_per_window=1_000_000,
            reorder_suppress_s=0.0,
            holdout_ratio=0.0,
            exploration_ratio=0.0,
            control_ratio=0.0,
            min_value_minor=-1e9,
            trigger_timeout_s=1e9,
        )
        return replace(settings, policy=policy)


def _event(
    event_id: str, session: int, step: int, shoppers: int, chance: random.Random
) -> tuple[Topic, OrderEvent | CartEvent | BrowseEvent]:
    user_id = f"shopper-{session % shoppers}"
    at = BEGIN_AT + (session // shoppers) * BETWEEN_SESSIONS_S + step * STEP_S
    number = min(int(chance.paretovariate(1.0)) - 1, ITEMS - 1)
    # Everybody has some categories of their own.
    category = (session % shoppers * 7 + number % 3) % CATEGORIES
    item = Item(
        item_id=f"item-{category}-{number}",
        category=f"category-{category}",
        brand=f"brand-{number % BRANDS}",
        price_minor=100 + 37 * (number % 200),
    )
    if step == CART_AT:
        return topics.CART, CartEvent(event_id=event_id, user_id=user_id, occurred_at=at, item=item)
    if step == ORDER_AT and session % 2:
        order_id = f"order-{event_id}"
        return topics.ORDER, OrderEvent(
            event_id=event_id, user_id=user_id, occurred_at=at, order_id=order_id, items=[item]
        )
    return topics.BROWSE, BrowseEvent(event_id=event_id, user_id=user_id, occurred_at=at, item=item)
