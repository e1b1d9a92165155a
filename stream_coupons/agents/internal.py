"""Signatures of the messages between agents that move stock and money.

Who can write to a topic can write any lease. So agents sign what they send with the secret of the group, and believe
nothing else: a producer with the right to write, but without the secret, moves no unit. A signature depends on topic
and value alone, so a replay sends the same bytes. A copy of a genuine message is what a network may deliver, too:
leases and reports are totals that only grow, and a copy changes none of them (`core.money.leases`).

The group changes its secret while no worker runs. Messages that are still unread then are refused, and count as lost:
partitions ask again, and owners repeat a lease that no report confirms.
"""

import hmac
from collections.abc import Iterable

from stream_coupons.core.draws import DrawKey
from stream_coupons.core.errors import BadMessage
from stream_coupons.core.reasons import Rejection
from stream_coupons.kafka import topics
from stream_coupons.kafka.records import SIGNATURE_HEADER, Output, Record

SIGNED = frozenset({topics.LEASES.name, topics.LEASE_REPORTS.name})
"""Topics whose messages move stock or money."""


def signature(key: DrawKey, topic: str, value: bytes) -> bytes:
    """Return the signature of a message, in hexadecimal digits.

    Parameters
    ----------
    key : DrawKey
        The secret of the group.
    topic : str
        Topic of the record. No pickled model, which the same key signs, begins with the name of one.
    value : bytes
        Value of the record: it names the account and the partition.
    """
    return key.signature(b"%s:%s" % (topic.encode(), value)).hex().encode()


def sign(outputs: Iterable[Output], key: DrawKey) -> None:
    """Sign the outputs of signed topics, in place.

    Parameters
    ----------
    outputs : iterable of Output
        Outputs of a step.
    key : DrawKey
        The secret of the group.
    """
    for output in outputs:
        if output.topic in SIGNED:
            output.headers.append((SIGNATURE_HEADER, signature(key, output.topic, output.value or b"")))


def require_signed(record: Record, key: DrawKey) -> None:
    """Refuse a record that no agent of the group sent.

    Parameters
    ----------
    record : Record
        A record of a signed topic.
    key : DrawKey
        The secret of the group.

    Raises
    ------
    BadMessage
        If it has no signature by this secret.
    """
    expected = signature(key, record.topic, record.value or b"")
    stated = [value for name, value in record.headers if name == SIGNATURE_HEADER and value is not None]
    if not any(hmac.compare_digest(value, expected) for value in stated):
        fault = "is not by this group's secret" if stated else "is missing"
        raise BadMessage(Rejection.NOT_SIGNED, f"its header {SIGNATURE_HEADER} {fault}: no agent of the group sent it")
