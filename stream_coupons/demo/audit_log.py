"""Read what a system sent and audit it."""

from collections.abc import Iterable

from stream_coupons import topics
from stream_coupons.clients import Reader
from stream_coupons.core.events import Coupon
from stream_coupons.demo.system import LocalSystem
from stream_coupons.evaluation.audit import Violation, audit

AUDITED = (topics.ISSUES, topics.RESERVATIONS, topics.SETTLEMENTS, topics.PROPOSALS)


def audit_system(system: LocalSystem, coupons: Iterable[Coupon]) -> list[Violation]:
    """Read the topics of a system that is idle and check I1, I2 and I6 on them."""
    reader = Reader(system.bootstrap, [topic.name for topic in AUDITED], from_beginning=True)
    values: dict[str, list[bytes]] = {topic.name: [] for topic in AUDITED}
    try:
        for record in reader.read_to_end():
            values[record.topic].append(record.value)
    finally:
        reader.close()
    return audit(values, coupons)
