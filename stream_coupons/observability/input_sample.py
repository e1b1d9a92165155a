"""A sample of the input events, searched for what workers ignore: unknown fields, and domains without coupons."""

import logging
import time
from collections.abc import Callable, Container, Iterable
from itertools import islice

import msgspec
from prometheus_client import Counter

from stream_coupons.core.messages.inputs import Envelope, ErasureRequest
from stream_coupons.core.validation_hints import near, unknown_fields
from stream_coupons.kafka.records import Record, client_of
from stream_coupons.observability.metrics import Metrics

log = logging.getLogger(__name__)

MAX_LABELS = 50
"""Names that a metric has as labels; producers choose them, so further ones are counted as `OTHER`."""
MAX_LABEL = 100
"""Characters of the longest label."""
OTHER = "other"
MAX_FIELDS = 20
"""Unknown fields that are counted in one event."""
LOG_EVERY_S = 600.0


class InputSample:
    """Counts and logs the unknown fields and domains of events that were accepted.

    Parameters
    ----------
    metrics : Metrics
        Of the worker.
    clock : callable
        Monotonic seconds: a name is logged once in `LOG_EVERY_S`.
    """

    def __init__(self, metrics: Metrics, clock: Callable[[], float] = time.monotonic) -> None:
        self._fields, self._domains, self._clock = metrics.unknown_fields, metrics.unknown_domains, clock
        self._log_at: dict[Counter, dict[tuple[str, str], float]] = {self._fields: {}, self._domains: {}}

    def __call__(self, record: Record, value: bytes, message: Envelope, domains: Container[str]) -> None:
        """Search one event.

        Parameters
        ----------
        record : Record
            Its record.
        value : bytes
            The JSON that it was decoded from.
        message : Envelope
            The event.
        domains : container of str
            Domains that have coupons.
        """
        if message.domain not in domains and not isinstance(message, ErasureRequest):
            self._count(self._domains, record, message.domain, None)
        try:
            found = msgspec.json.decode(value)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return  # a field that nobody reads may hold anything
        for path, names in dict(islice(unknown_fields(found, type(message)), MAX_FIELDS)).items():
            self._count(self._fields, record, path, names)

    def _count(self, counter: Counter, record: Record, name: str, names: Iterable[str] | None) -> None:
        """Count an unknown field, or without `names` of fields an unknown domain."""
        log_at, label = self._log_at[counter], (record.topic, name)
        if label not in log_at and (len(log_at) >= MAX_LABELS or len(name) > MAX_LABEL):
            label = record.topic, OTHER
        counter.labels(*label).inc()
        if (now := self._clock()) < log_at.get(label, now):
            return
        log_at[label] = now + LOG_EVERY_S
        if names is None:
            fault = f"the catalogue has no coupon of domain {name!r}"
        else:
            fault = f"workers ignore the unknown field {name[:MAX_LABEL]!r}{near(name.rpartition('.')[2], names)}"
        client, place = client_of(record), f"{record.topic}:{record.partition}:{record.offset}"
        log.warning("%s: %s (%s)", place, fault, f"client {client!r}" if client else "no header `client`")
