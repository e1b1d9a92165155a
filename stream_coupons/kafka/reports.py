"""Reports of partitions on their totals, read from a compacted topic."""

import logging
from collections.abc import Iterable
from typing import Any

from stream_coupons.core.errors import BadMessage
from stream_coupons.core.measurement.totals import LatestReports
from stream_coupons.kafka.codec import Decoder
from stream_coupons.kafka.records import Record
from stream_coupons.kafka.topics import Topic

log = logging.getLogger(__name__)


class ReportDecoder:
    """Decodes the records of a topic of totals.

    A record under another key than its own is refused: it would not be replaced by the next report of its partition.

    Parameters
    ----------
    topic : Topic
        The topic.
    partitions : int
        Number of partitions that report.

    Attributes
    ----------
    refused : int
        Records that are no report of a partition.
    """

    def __init__(self, topic: Topic, partitions: int) -> None:
        self.topic, self.refused = topic, 0
        self._partitions = partitions
        self._decode = Decoder(topic)

    def read(self, key: bytes | None, value: bytes | None) -> Any:
        """Return the report of a record; None if it is none of a partition of ours.

        Parameters
        ----------
        key, value : bytes or None
            Key and value of the record.
        """
        if value is None:
            return None
        try:
            report: Any = self._decode(value)
        except BadMessage as bad:
            log.error("%s: key %r is refused: %s", self.topic.name, key, bad)
            self.refused += 1
            return None
        is_ours = key == self.topic.key_of(report) and report.partition < self._partitions
        self.refused += not is_ours
        return report if is_ours else None


def latest_of(records: Iterable[Record], decoders: Iterable[ReportDecoder]) -> list[LatestReports[Any]]:
    """Return the reports that count in each of some topics.

    Parameters
    ----------
    records : iterable of Record
        Records of these topics, in any order.
    decoders : iterable of ReportDecoder
        One for each topic.
    """
    by_topic = {decoder.topic.name: (decoder, LatestReports[Any]()) for decoder in decoders}
    for record in records:
        decoder, latest = by_topic[record.topic]
        report = decoder.read(record.key, record.value)
        if report is not None:
            latest.take(report)
    return [latest for _, latest in by_topic.values()]
