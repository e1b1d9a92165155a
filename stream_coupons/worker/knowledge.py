"""The knowledge of a worker besides its states: the rules, the current catalogue and models."""

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Any, TypeVar

from stream_coupons.core.catalogue.catalogue import Catalogue
from stream_coupons.core.catalogue.code_pools import CodePools
from stream_coupons.core.decision.scoring import Knowledge, Scorer
from stream_coupons.core.errors import BadMessage, SnapshotMismatch
from stream_coupons.core.messages.catalogue import Campaign, CodeBlock, Coupon
from stream_coupons.core.messages.learning import ModelSnapshot
from stream_coupons.core.reasons import Rejection
from stream_coupons.core.rules import Rules
from stream_coupons.kafka import topics
from stream_coupons.kafka.codec import Decoder
from stream_coupons.kafka.topics import Topic
from stream_coupons.models.carry_over import changes, is_carriable
from stream_coupons.models.linear import prior
from stream_coupons.models.rules import LearningRules
from stream_coupons.models.serving import DEFAULT_RULES, compile_snapshot
from stream_coupons.models.snapshots import (
    check_offset,
    is_of_this_version,
    label,
    other_features,
)
from stream_coupons.observability.metrics import Metrics

log = logging.getLogger(__name__)

Entry = TypeVar("Entry")

MAX_STRANGERS = 8
"""Models of domains without a coupon that are kept: their coupons were withdrawn, or the domain is forged. Each model
takes some 7 MiB in every worker."""


class CurrentKnowledge:
    """Takes in records of compacted topics; gives an immutable `Knowledge` made of the latest.

    A snapshot that does not fit is refused and the last good one kept; so is a coupon, until this process ends: the
    topic keeps the last record of a key only, so who reads it anew knows none. To read a record changes nothing that
    is used here, so that may be done in another thread. Changed coupons count when they are compiled: with thousands
    that takes half a second, in which no shopper waits.

    Parameters
    ----------
    rules : Rules
        With the workers' secret.
    learning : LearningRules
        Names the models from other packages that may serve.

    Attributes
    ----------
    log_end : int or None
        The next offset of `training-examples`; the reader of snapshots sets it before. No snapshot has learnt from
        what is beyond. None sets no bound.
    snapshots : dict
        The snapshot of each domain that serves.
    series : dict
        Keys of all snapshots of this release that were read, by domain.
    """

    def __init__(self, rules: Rules, metrics: Metrics, learning: LearningRules = DEFAULT_RULES) -> None:
        self._rules, self._learning = rules, learning
        self._metrics = metrics
        self._coupons: dict[str, Coupon] = {}
        self._campaigns: dict[str, Campaign] = {}
        self._pools = CodePools()
        self._scorers: dict[str, Scorer] = {}
        self._domains: set[str] = set()
        """Domains that have or had coupons: after the last coupon is withdrawn, the gauge must be zero."""
        self._strangers: set[str] = set()
        """Domains of snapshots that neither catalogue nor settings knew when these were read."""
        self.log_end: int | None = None
        self._received_at: dict[str, float] = {}
        self.snapshots: dict[str, ModelSnapshot] = {}
        self.series: dict[str, set[str]] = {}
        self._prior = prior()
        self._decoders = {topic.name: Decoder(topic) for topic in (topics.CATALOG, topics.CAMPAIGNS, topics.CODES)}
        self._decode_snapshot = Decoder(topics.SNAPSHOTS)
        self._catalogue: Catalogue | None = None
        self._has_changed = False
        """True if a coupon has changed since the catalogue was compiled."""
        self._begun = self._used = 0
        """Number of catalogues that were begun, and number of the one in use."""
        self._compiling = asyncio.Lock()
        self._now: Knowledge | None = None

    def now(self) -> Knowledge:
        """Return the latest models, and the coupons as last compiled; compile them if they never were."""
        if self._now is None:
            brakes = {domain: snapshot.brake for domain, snapshot in self.snapshots.items()}
            self._now = Knowledge(self._rules, self._compiled(), dict(self._scorers), self._prior, brakes)
        return self._now

    def _compiled(self) -> Catalogue:
        if self._catalogue is None:
            number, coupons, campaigns = self._begin()
            self._use(number, self._new_catalogue(coupons, campaigns))
        assert self._catalogue is not None
        return self._catalogue

    async def compile(self) -> None:
        """Bring changed coupons into use: made in another thread, taken into use in the loop, between two batches.

        Coupons, campaigns and codes are read apart, so calls overlap. Each waits for the catalogue of the others: an
        older one must not replace a newer one, nor be used while the newer one is made.
        """
        async with self._compiling:
            if self._has_changed:
                number, coupons, campaigns = self._begin()
                self._use(number, await asyncio.to_thread(self._new_catalogue, coupons, campaigns))

    def _begin(self) -> tuple[int, list[Coupon], list[Campaign]]:
        self._has_changed = False
        self._begun += 1
        return self._begun, list(self._coupons.values()), list(self._campaigns.values())

    def _new_catalogue(self, coupons: Sequence[Coupon], campaigns: Sequence[Campaign]) -> Catalogue:
        return Catalogue.under(self._rules, coupons, campaigns, self._pools)

    def _use(self, number: int, catalogue: Catalogue) -> None:
        if number < self._used:
            return
        self._used, self._catalogue, self._now = number, catalogue, None
        self._domains |= catalogue.names
        for domain in self._domains:
            self._metrics.catalogue_coupons.labels(domain).set(len(catalogue.domains.get(domain) or ()))

    def read_coupon(self, key: bytes | None, value: bytes | None) -> tuple[str, Coupon | None] | None:
        """Return the id in a record of the catalogue and, unless it is withdrawn, the coupon.

        Parameters
        ----------
        key, value : bytes or None
            Of the record; a value of None withdraws the coupon.

        Returns
        -------
        tuple or None
            None if the record is refused, which is logged and counted.
        """
        return self._read(topics.CATALOG, key, value)

    def read_campaign(self, key: bytes | None, value: bytes | None) -> tuple[str, Campaign | None] | None:
        """Return the id in a record of the campaigns and, unless it is withdrawn, the campaign; as `read_coupon`."""
        return self._read(topics.CAMPAIGNS, key, value)

    def read_codes(self, key: bytes | None, value: bytes | None) -> tuple[str, CodeBlock | None] | None:
        """Return the coupon and the codes in a record of the codes; as `read_coupon`."""
        return self._read(topics.CODES, key, value)

    def _read(self, topic: Topic, key: bytes | None, value: bytes | None) -> tuple[str, Any] | None:
        if key is None:
            return None
        if value is None:
            return key.decode(errors="replace"), None
        try:
            entry = self._decoders[topic.name](value)
            if key != topic.key_of(entry):
                raise BadMessage(Rejection.WRONG_KEY, f"{topic.key} inside is {getattr(entry, topic.key)!r}")
        except BadMessage as bad:
            self._metrics.coupons_refused.inc()
            log.error("%s: key %r is refused: %s", topic.name, key, bad)
            return None
        return key.decode(), entry

    def take_coupon(self, read: tuple[str, Coupon | None]) -> None:
        """Know what `read_coupon` read."""
        self._take(self._coupons, *read)

    def take_campaign(self, read: tuple[str, Campaign | None]) -> None:
        """Know what `read_campaign` read."""
        self._take(self._campaigns, *read)

    def take_codes(self, read: tuple[str, CodeBlock | None]) -> None:
        """Know what `read_codes` read; codes that another import has overtaken count for nothing."""
        if read[1] is not None:
            self._has_changed |= self._pools.take(read[1])

    def _take(self, entries: dict[str, Entry], entry_id: str, entry: Entry | None) -> None:
        if entry is None:
            entries.pop(entry_id, None)
        else:
            entries[entry_id] = entry
        self._has_changed = True

    def read_snapshot(self, key: bytes | None, value: bytes | None) -> tuple[ModelSnapshot, Scorer] | None:
        """Return the snapshot in a record and its scorer: some tens of milliseconds of work.

        A snapshot of another release, under its own key, is carried over if it has learnt more than the one that is
        served. If its space does not allow that, it is left to that release, and not refused.

        Parameters
        ----------
        key, value : bytes or None
            Of the record.

        Returns
        -------
        tuple or None
            None if the record is refused, which is logged and counted, or left to another release.
        """
        if key is None or value is None:
            return None
        try:
            snapshot: ModelSnapshot = self._decode_snapshot(value, limit=topics.SNAPSHOTS.max_message_bytes)
            is_ours = is_of_this_version(snapshot.format_version, snapshot.feature_schema)
            if not is_ours and key == topics.SNAPSHOTS.key_of(snapshot):
                if not is_carriable(snapshot):
                    reason = other_features(snapshot) or "its format or its feature space is another one"
                    log.info("model-snapshots: key %r is left to the program that wrote it: %s", key, reason)
                    return None
                if not self._is_next(snapshot):
                    return None
            self._check(snapshot)
            return snapshot, compile_snapshot(snapshot, self._learning, self._rules.key)
        except (BadMessage, SnapshotMismatch) as bad:
            self._metrics.snapshots_refused.inc()
            log.error("model-snapshots: key %r is refused: %s", key, bad)
            return None

    def _check(self, snapshot: ModelSnapshot) -> None:
        """Refuse what cannot be, before an array of it is unpacked.

        Raises
        ------
        SnapshotMismatch
        """
        if self.log_end is not None:
            check_offset(snapshot, self.log_end)
        if self._is_expected(snapshot.domain):
            return
        self._strangers = {domain for domain in self._strangers if not self._is_expected(domain)}
        if len(self._strangers | {snapshot.domain}) > MAX_STRANGERS:
            raise SnapshotMismatch(
                f"{label(snapshot)}: the domain is neither in the catalogue nor in learning.transfer, "
                f"and there are models of {MAX_STRANGERS} such domains already"
            )
        self._strangers.add(snapshot.domain)

    def _is_expected(self, domain: str) -> bool:
        transfer = self._rules.transfer
        return domain in self._domains or domain in transfer or domain in transfer.values()

    def _is_next(self, snapshot: ModelSnapshot) -> bool:
        """Return True if it has learnt more than the one served, or as much with a higher version.

        A learner that was stopped amid a publication may append its own after that of its successor. Who went on from
        it would never learn what lies between it and the group's offset. During a rolling upgrade the learners of two
        releases take turns, and the one that learnt last has learnt all.
        """
        served = self.snapshots.get(snapshot.domain)
        return served is None or _progress(snapshot) > _progress(served)

    def take_snapshot(self, read: tuple[ModelSnapshot, Scorer]) -> None:
        """Serve what `read_snapshot` read, unless what is served has learnt more."""
        snapshot, scorer = read
        if is_of_this_version(snapshot.format_version, snapshot.feature_schema):
            self.series.setdefault(snapshot.domain, set()).add(snapshot.series)
        if not self._is_next(snapshot):
            return
        before = self.snapshots.get(snapshot.domain)
        if is_carriable(snapshot) and (before is None or before.series != snapshot.series):
            log.info("%s", changes(snapshot))
        self.snapshots[snapshot.domain] = snapshot
        self._scorers[snapshot.domain] = scorer
        self._received_at[snapshot.domain] = time.time()
        self._metrics.model_version.labels(snapshot.domain).set(snapshot.version)
        self._now = None

    def report_ages(self) -> None:
        """Set the gauges that grow by themselves."""
        for domain, received_at in self._received_at.items():
            self._metrics.model_age.labels(domain).set(time.time() - received_at)


def _progress(snapshot: ModelSnapshot) -> tuple[int, bool, int]:
    """Return how far a snapshot has learnt; of two that learnt as far, this release's is the further one."""
    is_ours = is_of_this_version(snapshot.format_version, snapshot.feature_schema)
    return snapshot.source_offset, is_ours, snapshot.version
