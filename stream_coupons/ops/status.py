"""The state of a running system: lag, owners, rates, models, budgets, dead letters, and what is not well."""

import time
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import msgspec
from kafka import KafkaAdminClient, TopicPartition
from kafka.admin import OffsetSpec
from msgspec import Struct
from prometheus_client.parser import text_string_to_metric_families

from stream_coupons.core.plurals import counted
from stream_coupons.kafka import admin, topics
from stream_coupons.kafka.clients import Reader
from stream_coupons.kafka.settings import KafkaSettings

RATE_OVER_S = 60.0
"""Rates are of the records of the last minute."""
MAX_WAIT_S = 60.0
"""An input of which a record waits for longer is behind."""
LETTERS_OVER_S = 3600.0
ASK_WITHIN_S = 3.0
EVENTS = (topics.BROWSE, topics.CART, topics.ORDER, topics.FEEDBACK)
Sample = tuple[str, tuple[tuple[str, str], ...]]


class InputState(Struct, frozen=True):
    """An input topic and the records that its group has not committed."""

    topic: str
    group: str
    lag: int
    is_late: bool
    """True if a record waits for more than `MAX_WAIT_S`."""


class GroupOwners(Struct, frozen=True):
    """A consumer group: partitions by running member, named by its host and the end of its id."""

    group: str
    owners: dict[str, list[int]]


class ModelState(Struct, frozen=True):
    """The latest snapshot of a domain's model."""

    domain: str
    version: int
    age_s: float


class BudgetState(Struct, frozen=True):
    """A campaign's budget."""

    campaign: str
    state: str
    share_used: float | None
    price: float


class WorkerState(Struct, frozen=True):
    """The answers of a worker or learner at its port; `reasons` state why it is not ready."""

    address: str
    answers: bool
    reasons: list[str] = []
    version: str = ""
    settings: str = ""
    """Fingerprint of the settings that workers must share."""
    sold_out_ratio: float | None = None
    """Share of its decisions that found no stock or budget left in the shopper's partition."""
    stopped: list[str] = []
    """Topics that it holds back, since most of their records are bad."""


class SystemState(Struct, frozen=True):
    """The state of a system; `problems` has a sentence for each thing that is not well."""

    at: float
    groups: list[GroupOwners]
    inputs: list[InputState]
    events_per_s: float
    coupons_per_s: float
    models: list[ModelState]
    budgets: list[BudgetState]
    dead_letters: int
    dead_letters_last_hour: int
    workers: list[WorkerState]
    problems: list[str]


class Offsets:
    """The ends of topics, now and at earlier times.

    Parameters
    ----------
    client : KafkaAdminClient
        A connected client.
    partitions : int
        Partitions of topics whose number the registry leaves open.
    now : float
        UTC epoch seconds.
    """

    def __init__(self, client: KafkaAdminClient, partitions: int, now: float) -> None:
        self._client, self._partitions, self._now = client, partitions, now
        every = [*topics.READ_BY_AGENTS, topics.ISSUES, topics.DEAD_LETTERS]
        self.ends = self._ask([tp for topic in every for tp in self.places(topic)], OffsetSpec.LATEST)

    def places(self, topic: topics.Topic) -> list[TopicPartition]:
        """Return the partitions of a topic."""
        return [TopicPartition(topic.name, number) for number in range(topic.partitions or self._partitions)]

    def _ask(self, places: Sequence[TopicPartition], spec: OffsetSpec | int) -> dict[TopicPartition, int]:
        found = self._client.list_partition_offsets(dict.fromkeys(places, spec))
        return {tp: at.offset for tp, at in found.items()}

    def before(self, places: Sequence[TopicPartition], seconds: float) -> dict[TopicPartition, int]:
        """Return the ends of partitions some seconds ago, by the time of their records."""
        found = self._ask(places, int((self._now - seconds) * 1000))
        return {tp: self.ends[tp] if offset < 0 else offset for tp, offset in found.items()}

    def recent(self, of: Iterable[topics.Topic], seconds: float) -> int:
        """Return the number of records of some topics in the last seconds."""
        places = [tp for topic in of for tp in self.places(topic)]
        return sum(self.ends[tp] - offset for tp, offset in self.before(places, seconds).items())

    def kept(self, topic: topics.Topic) -> int:
        """Return the number of records that a topic keeps."""
        firsts = self._ask(self.places(topic), OffsetSpec.EARLIEST)
        return sum(self.ends[tp] - offset for tp, offset in firsts.items())


def read_status(
    client: KafkaAdminClient,
    kafka: KafkaSettings,
    budgets: Sequence[BudgetState],
    workers: Sequence[WorkerState],
    models: Sequence[ModelState],
) -> SystemState:
    """Return the state of a system, as its broker and its workers report it now.

    Parameters
    ----------
    client : KafkaAdminClient
        A connected client.
    kafka : KafkaSettings
        Groups and partitions.
    budgets : sequence of BudgetState
        Of the campaigns.
    workers : sequence of WorkerState
        The answers of workers that were asked.
    models : sequence of ModelState
        Of the domains.
    """
    now = time.time()
    offsets = Offsets(client, kafka.partitions, now)
    groups = [_group(client, group) for group in kafka.group_ids]
    inputs = _inputs(client, kafka, offsets)
    letters = offsets.recent([topics.DEAD_LETTERS], LETTERS_OVER_S)
    return SystemState(
        at=round(now, 3),
        groups=groups,
        inputs=inputs,
        events_per_s=round(offsets.recent(EVENTS, RATE_OVER_S) / RATE_OVER_S, 2),
        coupons_per_s=round(offsets.recent([topics.ISSUES], RATE_OVER_S) / RATE_OVER_S, 2),
        models=list(models),
        budgets=list(budgets),
        dead_letters=offsets.kept(topics.DEAD_LETTERS),
        dead_letters_last_hour=letters,
        workers=list(workers),
        problems=[*_group_problems(kafka, groups), *_input_problems(inputs, letters), *_worker_problems(workers)],
    )


def _group(client: KafkaAdminClient, group: str) -> GroupOwners:
    owners: dict[str, list[int]] = {}
    for member in admin.describe_group(client, group)["members"]:
        assigned = (member["member_assignment"] or {}).get("assigned_partitions") or []
        name = f"{member['client_host'].lstrip('/')} {member['member_id'][-6:]}"
        owners[name] = sorted({number for topic in assigned for number in topic["partitions"]})
    return GroupOwners(group, owners)


def _inputs(client: KafkaAdminClient, kafka: KafkaSettings, offsets: Offsets) -> list[InputState]:
    committed = admin.committed_offsets(client, kafka)
    done = {tp: max(at.offset, 0) for tp, at in committed.items()}
    found = []
    for topic in topics.READ_BY_AGENTS:
        places = offsets.places(topic)
        behind = {tp: offsets.ends[tp] - done.get(tp, 0) for tp in places if offsets.ends[tp] > done.get(tp, 0)}
        earlier = offsets.before(list(behind), MAX_WAIT_S) if behind else {}
        is_late = any(done.get(tp, 0) < offset for tp, offset in earlier.items())
        found.append(
            InputState(
                topic.name,
                kafka.learner_group_id if "learner" in topic.read_by else kafka.group_id,
                sum(behind.values()),
                is_late,
            )
        )
    return found


class _SnapshotStamp(Struct):
    domain: str
    version: int
    at: float
    source_offset: int = -1


def read_models(kafka: KafkaSettings, now: float) -> list[ModelState]:
    """Return the snapshot of each domain that has learnt most."""
    latest: dict[bytes | None, _SnapshotStamp] = {}
    decode = msgspec.json.Decoder(_SnapshotStamp).decode
    with Reader(kafka, [topics.SNAPSHOTS.name], from_beginning=True) as reader:
        for record in reader.read_to_end():
            latest.pop(record.key, None)
            try:
                latest[record.key] = decode(record.value or b"")
            except (msgspec.DecodeError, UnicodeDecodeError):  # withdrawn, or a stranger's
                continue
    furthest = {one.domain: one for one in sorted(latest.values(), key=lambda one: one.source_offset)}
    return [ModelState(domain, one.version, round(now - one.at, 1)) for domain, one in sorted(furthest.items())]


def _group_problems(kafka: KafkaSettings, groups: Iterable[GroupOwners]) -> list[str]:
    found = []
    for group, verb in zip(groups, ("worker", "learner"), strict=True):
        count = kafka.partitions if verb == "worker" else 1
        owned = {number for numbers in group.owners.values() for number in numbers}
        unowned = sorted(set(range(count)) - owned)
        if not group.owners:
            found.append(f"no {verb} is in the group {group.group}: start one with `stream-coupons {verb}`")
        elif unowned:
            found.append(
                f"nobody owns partitions {unowned} of the group {group.group}: a rebalance, if it lasts seconds"
            )
    return found


def _input_problems(inputs: Iterable[InputState], letters: int) -> list[str]:
    found = [
        f"{one.topic} is behind: {counted(one.lag, 'record')} not committed, the first for over {MAX_WAIT_S:.0f} s"
        for one in inputs
        if one.is_late
    ]
    if letters:
        found.append(f"{counted(letters, 'dead letter')} in the last hour: see `stream-coupons dlq list`")
    return found


def _worker_problems(workers: Iterable[WorkerState]) -> list[str]:
    found, versions = [], set()
    for worker in workers:
        if not worker.answers:
            found.append(f"{worker.address} does not answer")
        elif worker.reasons:
            found.append(f"{worker.address} is not ready: {'; '.join(worker.reasons)}")
        found += [f"{worker.address} holds back {topic}: most of its records are bad" for topic in worker.stopped]
        versions |= {worker.version} - {""}
    if len(versions) > 1:
        found.append(f"workers run versions {', '.join(sorted(versions))}: restart those of the older one")
    return found


def ask_worker(address: str) -> WorkerState:
    """Return what a worker or learner reports at an address, "http://host:port"."""
    try:
        metrics = _samples(_get(f"{address}/metrics"))
        reasons = [
            line.removeprefix("not ready: ") for line in _get(f"{address}/ready").splitlines() if line != "ready"
        ]
    except OSError:
        return WorkerState(address, answers=False)
    by_outcome: defaultdict[str, float] = defaultdict(float)
    stopped, version, settings = [], "", ""
    for (name, labels), value in metrics.items():
        label = dict(labels)
        if name == "stream_coupons_decisions_total":
            by_outcome[label["outcome"]] += value
        elif name == "stream_coupons_stopped" and value:
            stopped.append(label["topic"])
        elif name == "stream_coupons_build_info":
            version, settings = label["version"], label["settings"]
    decided = sum(by_outcome.values())
    ratio = round(by_outcome["sold_out"] / decided, 4) if decided else None
    return WorkerState(address, True, reasons, version, settings, ratio, stopped)


def _get(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=ASK_WITHIN_S) as answer:
            return answer.read().decode()  # type: ignore[no-any-return]
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.read().decode()


def _samples(text: str) -> Mapping[Sample, float]:
    return {
        (sample.name, tuple(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
