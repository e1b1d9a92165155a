"""Audit what a system sent."""

from stream_coupons.lab.audit.audit_topics import audit_topics
from stream_coupons.lab.audit.findings import Violation
from stream_coupons.lab.demo.system import LocalSystem


def audit_system(system: LocalSystem) -> list[Violation]:
    """Read the topics of a system and check all that `stream-coupons verify` checks."""
    return audit_topics(system.settings.kafka).violations
