"""The one registry of topics: their messages, keys, partitions and retention."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache, partial

from msgspec import Struct

from stream_coupons.core.messages.campaign_changes import CampaignChange
from stream_coupons.core.messages.catalogue import Campaign, CodeBlock, Coupon
from stream_coupons.core.messages.decisions import CouponIssue, DecisionAnswer, LoggedDecision
from stream_coupons.core.messages.inputs import (
    BrowseEvent,
    CartEvent,
    ErasureRequest,
    FeedbackEvent,
    ObservedIssue,
    OrderEvent,
    Tick,
)
from stream_coupons.core.messages.learning import ModelSnapshot, TrainingExample
from stream_coupons.core.messages.leases import Lease, LeaseReport
from stream_coupons.core.messages.lift import LiftTotals
from stream_coupons.core.messages.neighbours import NeighbourUpdate, UserVector
from stream_coupons.core.messages.results import ResultTotals

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
FOR_EVER = -1
"""As `retention.ms`."""
MIB = 1024 * 1024


class Cleanup(StrEnum):
    """Cleanup policy of the broker for old records."""

    DELETE = "delete"
    COMPACT = "compact"
    COMPACT_AND_DELETE = "compact,delete"


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as it must be on the broker.

    `partitions` is None where the setting `partitions` decides: all of those are co-partitioned. `written_by` and
    `read_by` name agents and, for documents, who else does.
    """

    name: str
    message: type[Struct] | None
    key: str
    about: str
    partitions: int | None = None
    cleanup: Cleanup = Cleanup.DELETE
    retention_ms: int = 7 * DAY_MS
    max_message_bytes: int = MIB
    max_compaction_lag_ms: int | None = None
    """Longest time the broker may keep overwritten or deleted records; None for no bound."""
    has_brokers_time: bool = False
    """True if a record's timestamp is the broker's time of the append, not the producer's clock."""
    written_by: tuple[str, ...] = ()
    read_by: tuple[str, ...] = ()

    def key_of(self, message: Struct) -> bytes:
        """Return the key of a message of this topic."""
        return str(getattr(message, self.key)).encode()

    def configs(self) -> dict[str, str]:
        """Return the broker's topic configuration."""
        configs = {
            "cleanup.policy": self.cleanup.value,
            "max.message.bytes": str(self.max_message_bytes),
        }
        if self.cleanup is not Cleanup.COMPACT:
            configs["retention.ms"] = str(self.retention_ms)
        if 0 <= self.retention_ms < DAY_MS:
            configs["segment.ms"] = str(self.retention_ms)
        if self.max_compaction_lag_ms is not None:
            configs["max.compaction.lag.ms"] = str(self.max_compaction_lag_ms)
        if self.has_brokers_time:
            configs["message.timestamp.type"] = "LogAppendTime"
        return configs


# Inputs take up to 8 MiB, so that an oversized event reaches dead-letters and its sender can see it. That is a limit of
# compressed batches: of a longer record that comes in compressed, dead-letters have the beginning. Inputs have the
# broker's time, since whether an event is from the future is not for its own sender's clock to say.
INPUT_BYTES = 8 * MIB

_input = partial(Topic, key="user_id", max_message_bytes=INPUT_BYTES, has_brokers_time=True, read_by=("users",))
BROWSE = _input("browse-events", BrowseEvent, about="a shopper looked at an item", written_by=("the shop",))
CART = _input("cart-events", CartEvent, about="a shopper changed the cart", written_by=("the shop",))
ORDER = _input("order-events", OrderEvent, about="a shopper ordered", written_by=("the shop",))
FEEDBACK = _input(
    "coupon-feedback",
    FeedbackEvent,
    about="a shopper saw, clicked or used",
    written_by=("the delivery channel", "the checkout"),
)
OBSERVED = _input(
    "observed-issues",
    ObservedIssue,
    about="coupons another system gave",
    written_by=("the other system",),
)
ERASURES = _input(
    "erasure-requests",
    ErasureRequest,
    about="a shopper is to be forgotten",
    written_by=("`stream-coupons erase`", "the shop"),
)
TICKS = Topic(
    "ticks",
    Tick,
    "partition",
    "the passing of time",
    retention_ms=DAY_MS,
    has_brokers_time=True,
    written_by=("clock",),
    read_by=("users",),
)
VECTORS = Topic(
    "user-vectors",
    UserVector,
    "cell",
    "shoppers' interests",
    retention_ms=DAY_MS,
    written_by=("users",),
    read_by=("neighbours",),
)
NEIGHBOURS = Topic(
    "neighbour-updates",
    NeighbourUpdate,
    "user_id",
    "who is near",
    retention_ms=DAY_MS,
    written_by=("neighbours",),
    read_by=("users",),
)
LEASES = Topic(
    "coupon-leases",
    Lease,
    "partition",
    "what a partition may give",
    written_by=("budgets",),
    read_by=("users",),
)
LEASE_REPORTS = Topic(
    "lease-reports",
    LeaseReport,
    "account_id",
    "what partitions gave, and ask for",
    written_by=("users",),
    read_by=("budgets",),
)
ISSUES = Topic(
    "coupon-issues",
    CouponIssue,
    "user_id",
    "THE OUTPUT",
    retention_ms=30 * DAY_MS,
    written_by=("users",),
    read_by=("the delivery channel",),
)
EXAMPLES = Topic(
    "training-examples",
    TrainingExample,
    "domain",
    "features as they were, labels as they came",
    partitions=1,
    retention_ms=30 * DAY_MS,
    written_by=("users",),
    read_by=("learner",),
)
DECISIONS = Topic(
    "decisions",
    LoggedDecision,
    "user_id",
    "every decision on record: its arms, how likely each was, what was given",
    retention_ms=30 * DAY_MS,
    written_by=("users",),
    read_by=("`stream-coupons ope`", "`stream-coupons lift`", "`stream-coupons export`"),
)
# Nobody but the client that asked reads an answer, and at once: brokers end its segments as often as they delete.
ANSWERS = Topic("decision-answers", DecisionAnswer, "user_id", "results of events whose producer asked for an answer",
                retention_ms=HOUR_MS, written_by=("users",), read_by=("`stream-coupons console`",))  # fmt: skip
LIFT_TOTALS = Topic(
    "lift-totals",
    LiftTotals,
    "series",
    "what shoppers with and without coupons brought, by domain and partition",
    1,
    Cleanup.COMPACT,
    written_by=("users",),
    read_by=("learner",),
)
# A day whose coupons are over is written no more: its records go after the retention.
RESULT_TOTALS = Topic(
    "result-totals",
    ResultTotals,
    "series",
    "how many coupons were given, seen, clicked and used, by coupon, day and partition",
    1,
    Cleanup.COMPACT_AND_DELETE,
    retention_ms=400 * DAY_MS,
    written_by=("users",),
    read_by=("learner", "`stream-coupons results`"),
)
CATALOG = Topic(
    "coupon-catalog",
    Coupon,
    "coupon_id",
    "the coupons",
    1,
    Cleanup.COMPACT,
    written_by=("`stream-coupons catalog`",),
    read_by=("every worker",),
)
CAMPAIGNS = Topic(
    "coupon-campaigns",
    Campaign,
    "campaign_id",
    "budgets and times that coupons share",
    1,
    Cleanup.COMPACT,
    written_by=("`stream-coupons campaigns`", "learner"),
    read_by=("every worker", "learner"),
)
# Kept without end: who changed what, and why. A record has the campaign before and after the change.
CAMPAIGN_CHANGES = Topic(
    "campaign-changes",
    CampaignChange,
    "campaign_id",
    "who changed a campaign, when, how and why",
    1,
    retention_ms=FOR_EVER,
    max_message_bytes=3 * MIB,
    written_by=("`stream-coupons campaigns`", "`stream-coupons catalog push`", "learner"),
    read_by=("`stream-coupons campaigns history`", "learner"),
)
# Kept without end, and not compacted: the order of the records says which block of codes counts.
CODES = Topic(
    "coupon-codes",
    CodeBlock,
    "coupon_id",
    "codes that were imported or revoked",
    1,
    retention_ms=FOR_EVER,
    written_by=("`stream-coupons codes`",),
    read_by=("every worker",),
)
SNAPSHOTS = Topic(
    "model-snapshots",
    ModelSnapshot,
    "series",
    "models as data",
    1,
    Cleanup.COMPACT,
    max_message_bytes=32 * MIB,
    written_by=("learner",),
    read_by=("every worker",),
)
DEAD_LETTERS = Topic(
    "dead-letters",
    None,
    "the record's own",
    "what could not be used, byte for byte or, if too long, its beginning, with the reason in its headers",
    retention_ms=30 * DAY_MS,
    max_message_bytes=9 * MIB,
    written_by=("every agent",),
    read_by=("`stream-coupons dlq`",),
)
# Kept twice as long as dead letters: while a letter is there, it is known whether its record was sent again.
REDRIVES = Topic(
    "redrives",
    None,
    "a digest of the record",
    "which records of dead-letters were sent again",
    partitions=1,
    retention_ms=60 * DAY_MS,
    written_by=("`stream-coupons dlq redrive`",),
    read_by=("`stream-coupons dlq`",),
)
# Kept without end, and not compacted: a forged record would replace the one that counts. It grows by one with
# each change of the key.
FINGERPRINTS = Topic(
    "secret-fingerprints",
    None,
    "the word secret",
    "which secret the workers draw by, as a fingerprint",
    partitions=1,
    retention_ms=FOR_EVER,
    written_by=("`stream-coupons secret adopt`",),
    read_by=("workers that start", "`stream-coupons secret`", "`stream-coupons explain`", "`stream-coupons replay`"),
)


OWNERS = {"users": "users", "cells": "neighbours", "accounts": "budgets"}
"""The agent of each table."""


def changelog(table: str) -> Topic:
    """Return the topic that an agent's cells are recovered from; its name does not depend on the consumer group."""
    return Topic(
        f"stream-coupons-{table}-changelog",
        None,
        "the table's",
        f"state of {table}",
        cleanup=Cleanup.COMPACT,
        max_compaction_lag_ms=7 * DAY_MS,
        max_message_bytes=8 * MIB,
        written_by=(OWNERS[table],),
        read_by=(OWNERS[table],),
    )


ALL: tuple[Topic, ...] = (
    BROWSE,
    CART,
    ORDER,
    FEEDBACK,
    OBSERVED,
    ERASURES,
    TICKS,
    VECTORS,
    NEIGHBOURS,
    LEASES,
    LEASE_REPORTS,
    ISSUES,
    EXAMPLES,
    DECISIONS,
    ANSWERS,
    LIFT_TOTALS,
    RESULT_TOTALS,
    CATALOG,
    CAMPAIGNS,
    CAMPAIGN_CHANGES,
    CODES,
    SNAPSHOTS,
    DEAD_LETTERS,
    REDRIVES,
    FINGERPRINTS,
    changelog("users"),
    changelog("cells"),
    changelog("accounts"),
)
BY_NAME = {topic.name: topic for topic in ALL}
READ_BY_AGENTS = (
    BROWSE,
    CART,
    ORDER,
    FEEDBACK,
    OBSERVED,
    ERASURES,
    LEASES,
    NEIGHBOURS,
    TICKS,
    VECTORS,
    LEASE_REPORTS,
    EXAMPLES,
)
INPUTS = (BROWSE, CART, ORDER, FEEDBACK, OBSERVED, ERASURES)
BETWEEN_AGENTS = tuple(topic for topic in READ_BY_AGENTS if topic not in (*INPUTS, TICKS))
"""Topics of the messages between agents."""


def with_message(topics: Iterable[Topic] = ALL) -> list[Topic]:
    """Return the topics that carry JSON messages of ours."""
    return [topic for topic in topics if topic.message is not None]


@lru_cache(maxsize=100_000)
def partition_for(key: bytes, partitions: int) -> int:
    """Return the partition of a key: murmur2, as Java's producer computes it.

    kafka-python, aiokafka and librdkafka have different defaults, so nothing here relies on one.

    Parameters
    ----------
    key : bytes
        The record's key.
    partitions : int
        The number of the topic's partitions, at least 1.

    Returns
    -------
    int
        From 0 to `partitions` - 1.

    Examples
    --------
    >>> partition_for(b"u1", 4), partition_for(b"u2", 4)
    (0, 2)
    """
    from kafka.partitioner.default import murmur2  # here, for it takes all of kafka-python

    return int((murmur2(key) & 0x7FFFFFFF) % partitions)
