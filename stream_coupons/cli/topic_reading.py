"""Topics read up to now with a progress bar, until their end or Ctrl-C."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from stream_coupons.cli import terminal
from stream_coupons.kafka import topics
from stream_coupons.kafka.settings import KafkaSettings
from stream_coupons.ops.interrupts import Interruptions

if TYPE_CHECKING:  # imported where they are used: no help needs them
    from stream_coupons.kafka.records import Record
    from stream_coupons.ops.explain.from_topics import Read


@contextmanager
def reading(kafka: KafkaSettings, since: float | None = None) -> Iterator[Read]:
    """Yield a function that reads topics; Ctrl-C ends the command.

    With `since`, UTC epoch seconds, records appended before are left out, except those of compacted topics.
    """
    from kafka.admin import OffsetSpec

    from stream_coupons.kafka import admin
    from stream_coupons.ops.audit.audit_topics import offsets, read_records

    def read(what: str, names: tuple[str, ...], key: bytes | None = None) -> Iterator[Record]:
        with admin.admin_client(kafka) as client:
            some = [topics.BY_NAME[name] for name in names]
            begins, ends = (offsets(client, some, kafka, spec) for spec in (OffsetSpec.EARLIEST, OffsetSpec.LATEST))
            if since is not None:
                kept = [topic for topic in some if topic.cleanup is topics.Cleanup.DELETE]
                later = offsets(client, kept, kafka, int(since * 1000))
                begins |= {place: offset if offset >= 0 else ends[place] for place, offset in later.items()}
        home = None if key is None else topics.partition_for(key, kafka.partitions)
        total = sum(end - begins[place] for place, end in ends.items() if home in (None, place[1]))
        found = read_records(kafka, names, key, begins if since is not None else None)
        with terminal.fraction_progress(what, total) as progress:
            yield from terminal.tracked(interruptions.each(found), progress)
        if interruptions.happened:
            terminal.stop_interrupted(": nothing is known")

    with Interruptions() as interruptions:
        yield read
