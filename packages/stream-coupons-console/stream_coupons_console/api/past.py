"""Records that are older than what the index keeps: bounded reads of topics, each in a thread."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import msgspec
from kafka.admin import OffsetSpec

from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.kafka import admin, topics
from stream_coupons.kafka.records import Record
from stream_coupons.kafka.settings import KafkaSettings
from stream_coupons.ops.audit.audit_topics import offsets, read_records
from stream_coupons.settings import Settings
from stream_coupons_console.index import Index

MAX_READ = 100_000
"""The newest records of each partition that are read."""
MAX_READERS = 4
"""Topics that are read at a time; further readers wait."""
R = TypeVar("R")
_readers = ThreadPoolExecutor(MAX_READERS, "topic-reader")
_issue = msgspec.json.Decoder(CouponIssue).decode


async def reading(read: Callable[..., R], *arguments: object) -> R:
    """Return the result of a function that reads topics, which runs in a thread."""
    return await asyncio.get_running_loop().run_in_executor(_readers, read, *arguments)


def newest_records(kafka: KafkaSettings, names: tuple[str, ...], key: bytes | None = None) -> Iterator[Record]:
    """Yield the newest records of some topics, or with a key those of its partitions, in order within each."""
    some = [topics.BY_NAME[name] for name in names]
    with admin.admin_client(kafka) as client:
        begins, ends = (offsets(client, some, kafka, spec) for spec in (OffsetSpec.EARLIEST, OffsetSpec.LATEST))
    recent = {place: max(begin, ends[place] - MAX_READ) for place, begin in begins.items()}
    yield from read_records(kafka, names, key, recent)


def _issues(settings: Settings, user_id: str) -> list[tuple[CouponIssue, bytes]]:
    """Return the issues of a shopper in their topic, each once, in order."""
    key, found = user_id.encode(), dict[str, tuple[CouponIssue, bytes]]()
    for record in newest_records(settings.kafka, (topics.ISSUES.name,), key):
        if record.key == key and record.value is not None:
            issue = _issue(record.value)
            found.setdefault(issue.issue_id, (issue, record.value))
    return [*found.values()]


async def kept_issues(settings: Settings, index: Index, user_id: str) -> list[tuple[CouponIssue, bytes]]:
    """Return the issues of a shopper in their topic, without those that the shopper asked to forget."""
    found = await reading(_issues, settings, user_id)
    return [one for one in found if one[0].issued_at > index.erased_at(user_id)]


async def kept_issue(settings: Settings, index: Index, issue_id: str, user_id: str) -> bytes | None:
    """Return an issue of a shopper as it is in its topic; None if it is not there."""
    found = await kept_issues(settings, index, user_id)
    return next((value for issue, value in found if issue.issue_id == issue_id), None)
