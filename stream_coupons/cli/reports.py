"""Reports of partitions, read from their compacted topics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stream_coupons.cli import terminal
from stream_coupons.cli.options import require_broker
from stream_coupons.cli.topic_reading import reading
from stream_coupons.core.plurals import counted

if TYPE_CHECKING:  # imported where they are used: no help needs them
    from stream_coupons.core.measurement.totals import LatestReports
    from stream_coupons.kafka.settings import KafkaSettings
    from stream_coupons.kafka.topics import Topic


def read_reports(kafka: KafkaSettings, *topics: Topic) -> list[LatestReports[Any]]:
    """Return the reports that count in each of some topics now.

    Raises
    ------
    BadConfig
    """
    from stream_coupons.kafka.reports import ReportDecoder, latest_of

    require_broker(kafka)
    decoders = [ReportDecoder(topic, kafka.partitions) for topic in topics]
    with reading(kafka) as read:
        found = latest_of(read("reading", tuple(topic.name for topic in topics)), decoders)
    for decoder in decoders:
        if decoder.refused:
            count = counted(decoder.refused, "record")
            terminal.warn(f"{count} of {decoder.topic.name} left out: no report of a partition")
    return found
