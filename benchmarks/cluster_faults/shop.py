"""A live stream of a shop's events at a steady rate, and shoppers who see, click and use what they are issued."""

import random
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Literal

from benchmarks.background import in_background
from stream_coupons import testing
from stream_coupons.core.caps import Cap
from stream_coupons.core.errors import StreamCouponsError
from stream_coupons.core.messages.catalogue import Campaign, Coupon
from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.kafka import topics
from stream_coupons.kafka.clients import Publisher, Reader
from stream_coupons.kafka.codec import Decoder, encode
from stream_coupons.kafka.connection import Connection
from stream_coupons.kafka.records import ANSWER_HEADER

ASK = ((ANSWER_HEADER, b"1"),)
CATEGORIES = ("tea", "coffee", "cocoa")
SENT_TWICE, NO_EVENT = 50, 200
"""One in so many events is sent twice, one in so many is followed by bytes that are no event."""
CLICK, USE = 0.5, 0.3
"""Probabilities for a coupon that is seen."""
CAMPAIGN = Campaign(campaign_id="shared", budget_minor=20_000, budget_hold="maximum", caps=[Cap(per="day", n=4)])


def catalogue() -> list[Coupon]:
    """Return coupons of which some run out of stock, some of money, and some meet a cap."""
    plain: dict[str, Any] = {
        "budget_hold": "maximum",
        "not_while_held": "none",
        "typical_price_minor": None,
        "budget_curve": "none",
    }
    limits: tuple[dict[str, Any], ...] = (
        *({"stock": stock} for stock in (20, 60, 150)),
        *({"budget_minor": budget} for budget in (2_000, 6_000, 15_000)),
        *({"campaign_id": CAMPAIGN.campaign_id} for _ in range(3)),
        *({"caps": [Cap(per="life", n=n)]} for n in (1, 2, 30)),
    )
    return [testing.coupon(f"c{number}", **(plain | limit)) for number, limit in enumerate(limits, start=1)]


class Shop:
    """Sends events while a `with` block runs.

    Parameters
    ----------
    connection, publisher : Connection, Publisher
        To read issues, and to send events.
    rate : float
        Events of the shop a second, besides feedback.
    shoppers, seed : int
        Number of shoppers, and the seed of all chance.

    Attributes
    ----------
    sent : int
        Records sent so far.
    """

    def __init__(self, connection: Connection, publisher: Publisher, rate: float, shoppers: int, seed: int) -> None:
        self.sent = 0
        self._connection, self._publisher = connection, publisher
        self._rate, self._shoppers = rate, shoppers
        self._chance = random.Random(seed)
        self._chance_of_feedback = random.Random(-seed)
        self._sending = threading.Lock()

    @contextmanager
    def open(self) -> Iterator[None]:
        """Send while the block runs; then wait until the brokers have everything.

        Raises
        ------
        StreamCouponsError
            If a record could not be sent.
        """
        with in_background(self._sell, "sales"), in_background(self._respond, "feedback"):
            yield
        self._publisher.flush()

    def _sell(self, over: threading.Event) -> None:
        """Send events at the rate; what is late is sent at once, so that no outage lowers the load."""
        began, number = time.monotonic(), 0
        while not over.wait(max(0.0, began + number / self._rate - time.monotonic())):
            number += 1
            self._send_event(number)

    def _send_event(self, number: int) -> None:
        user_id, draw = f"u{self._chance.randrange(self._shoppers)}", self._chance.random()
        item = testing.item(f"i{self._chance.randrange(60)}", category=self._chance.choice(CATEGORIES), price_minor=900)
        about: dict[str, Any] = {"at": time.time(), "event_id": f"e{number}"}
        if draw < 0.7:
            topic, value = topics.BROWSE, encode(testing.browse(user_id, item, **about))
        elif draw < 0.9:
            topic, value = topics.CART, encode(testing.cart(user_id, item, **about))
        else:
            topic, value = topics.ORDER, encode(testing.order(user_id, item, **about))
        for _ in range(2 if number % SENT_TWICE == 0 else 1):
            self._send(topic, user_id, value, ASK)
        if number % NO_EVENT == 0:
            self._send(topic, user_id, b"no event %d" % number)

    def _send(self, topic: topics.Topic, user_id: str, value: bytes, headers: Sequence[tuple[str, bytes]] = ()) -> None:
        with self._sending:
            self._publisher.send_bytes(topic, user_id.encode(), value, headers=headers)
            self.sent += 1

    def _respond(self, over: threading.Event) -> None:
        """Send feedback on each issue once, in the order of seeing, clicking and using."""
        known, decode = set[str](), Decoder(topics.ISSUES)
        with Reader(self._connection, [topics.ISSUES.name], from_beginning=True) as reader:
            while not over.is_set():
                records = []
                with suppress(StreamCouponsError):  # while no broker answers there are none
                    records = reader.poll(0.2)
                for record in records:
                    issue = decode(record.value)
                    if issue.issue_id not in known:
                        known.add(issue.issue_id)
                        self._respond_to(issue)

    def _respond_to(self, issue: CouponIssue) -> None:
        chance = self._chance_of_feedback
        kinds: list[Literal["impression", "click", "purchase"]] = ["impression"]
        if chance.random() < CLICK:
            kinds.append("click")
        if chance.random() < USE:
            kinds.append("purchase")
        for kind in kinds:
            money: dict[str, Any] = {
                "order_id": f"o-{issue.issue_id}",
                "discount_minor": chance.randint(1, issue.max_discount_minor),
            }
            about: dict[str, Any] = {"at": time.time(), "event_id": f"{issue.issue_id}-{kind}"}
            event = testing.feedback(issue, kind, **about, **(money if kind == "purchase" else {}))
            self._send(topics.FEEDBACK, issue.user_id, encode(event))
