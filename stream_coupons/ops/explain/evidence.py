"""The evidence that the topics hold of an issue, of its decision, and of a shopper at this moment."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import msgspec
from prometheus_client import CollectorRegistry

from stream_coupons.agents.users import Users
from stream_coupons.core.catalogue.catalogue import Catalogue
from stream_coupons.core.decision.scoring import Knowledge
from stream_coupons.core.errors import BadMessage
from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.core.money.purses import Purse
from stream_coupons.core.reasons import Rejection
from stream_coupons.core.rules import Rules
from stream_coupons.core.shopper.state import Shopper
from stream_coupons.kafka import topics
from stream_coupons.kafka.codec import Decoder
from stream_coupons.kafka.records import Record
from stream_coupons.kafka.topics import Topic
from stream_coupons.models.rules import LearningRules
from stream_coupons.models.serving import DEFAULT_RULES
from stream_coupons.observability.metrics import Metrics
from stream_coupons.ops.audit.findings import place_of
from stream_coupons.ops.explain.funds import Funds
from stream_coupons.runtime.cells import CellCodec, StateCodec
from stream_coupons.runtime.steps import SHARED_PREFIX
from stream_coupons.worker.knowledge import CurrentKnowledge

USERS = topics.changelog("users").name


def find_message(records: Iterable[Record], topic: Topic, field: str, sought: str) -> Any | None:
    """Return the first message of a topic whose field has the sought value; all copies of it are the same.

    Returns
    -------
    Struct or None
        None if there is no such message.
    """
    decode, text = Decoder(topic), sought.encode()
    for record in records:
        if text not in (record.value or b""):
            continue
        try:
            message = decode(record.value)
        except BadMessage:
            continue
        if getattr(message, field) == sought:
            return message
    return None


class ShopperEvidence:
    """The evidence in records of `READ` and `USERS`, taken in order within each partition.

    Parameters
    ----------
    rules : Rules
        Rules of the workers.
    user_id : str
        The shopper whose states are kept, and those of their partition.
    partitions : int
        Number of partitions of the shoppers' topics.
    learning : LearningRules
        Names the models from other packages that may serve.

    Attributes
    ----------
    now : Shopper or None
        The latest state.
    """

    READ = (topics.CATALOG.name, topics.CAMPAIGNS.name, topics.CODES.name, topics.SNAPSHOTS.name)

    def __init__(self, rules: Rules, user_id: str, partitions: int, learning: LearningRules = DEFAULT_RULES) -> None:
        self.now: Shopper | None = None
        self._purses: dict[str, Purse] = {}
        self._key = user_id.encode()
        self._partitions = partitions
        self._home = topics.partition_for(self._key, partitions)
        self._known = CurrentKnowledge(rules, Metrics(CollectorRegistry()), learning)
        self._shopper_codec = CellCodec(Shopper)
        self._shared_codec: StateCodec[Any] = StateCodec(Users.shared_type)

    def take(self, record: Record) -> None:
        """Take in a record.

        Raises
        ------
        BadMessage
            If it holds no state.
        """
        try:
            if record.topic == topics.CATALOG.name:
                read = self._known.read_coupon(record.key, record.value)
                if read is not None:
                    self._known.take_coupon(read)
            elif record.topic == topics.CAMPAIGNS.name:
                campaign = self._known.read_campaign(record.key, record.value)
                if campaign is not None:
                    self._known.take_campaign(campaign)
            elif record.topic == topics.CODES.name:
                block = self._known.read_codes(record.key, record.value)
                if block is not None:
                    self._known.take_codes(block)
            elif record.topic == topics.SNAPSHOTS.name:
                snapshot = self._known.read_snapshot(record.key, record.value)
                if snapshot is not None:
                    self._known.take_snapshot(snapshot)
            elif record.topic == USERS and record.partition == self._home:
                self._take_state((record.key or b"").decode(errors="replace"), record)
        except msgspec.DecodeError as error:
            raise BadMessage(Rejection.INVALID, f"{place_of(record)} cannot be read: {error}") from None

    def _take_state(self, key: str, record: Record) -> None:
        """Take in a purse of the partition, or the shopper."""
        if record.key == self._key:
            self.now = self._shopper_codec.decode(record.value).state if record.value is not None else None
        elif key.startswith(SHARED_PREFIX) and record.value is not None:
            shared = self._shared_codec.decode(record.value)
            if isinstance(shared, Purse):
                self._purses[key.removeprefix(SHARED_PREFIX)] = shared

    def funds(self) -> Funds:
        """Return the stock and budgets that are left."""
        return Funds(self._purses, self._home, self._partitions, self._known.now().rules.policy.new_shopper_ratio)

    def knowledge(self, coupons: Iterable[Coupon] | None = None) -> Knowledge:
        """Return the workers' context, with another catalogue if given; a snapshot that workers refuse is not in it."""
        known = self._known.now()
        if coupons is None:
            return known
        campaigns, pools = known.catalogue.campaigns.values(), known.catalogue.pools
        return replace(known, catalogue=Catalogue.under(known.rules, coupons, campaigns, pools))
