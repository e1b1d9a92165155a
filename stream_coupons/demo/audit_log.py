"""Audit what a system sent."""

from stream_coupons.demo.system import LocalSystem
from stream_coupons.evaluation.audit_topics import audit_topics
from stream_coupons.evaluation.findings import Violation


def audit_system(system: LocalSystem) -> list[Violation]:
    """Read the topics of a system and check all that `stream-coupons verify` checks."""
    return audit_topics(system.settings.kafka).violations
