"""Checks of everything that a worker needs: brokers, topics, rights, secret, clocks, and workers that agree."""

import time
from collections.abc import Callable, Iterator, Sequence

from kafka import KafkaAdminClient
from msgspec import Struct

from stream_coupons import __version__, secret
from stream_coupons.core.errors import BadConfig, BrokerAway
from stream_coupons.core.plurals import counted
from stream_coupons.kafka import admin, topics
from stream_coupons.kafka.clients import Reader
from stream_coupons.kafka.settings import Guarantee
from stream_coupons.ops.status import WorkerState
from stream_coupons.settings import Settings
from stream_coupons.worker.homes import check_homes

MAX_CLOCK_DIFFERENCE_S = 2.0
SLOW_ANSWER_S = 2.0
TICK_GRACE_S = 3.0
"""A tick is waited for so much longer than `worker.tick_every_s`."""
UPGRADE = "use Apache Kafka 4.0 or later, or keep kafka.guarantee = at_least_once"


class Finding(Struct, frozen=True, omit_defaults=True):
    """The result of one check."""

    check: str
    is_well: bool
    text: str
    cure: str = ""
    """The repair of what is wrong."""
    is_missing: bool = False
    """True if a topic is missing: checks that read topics are left out."""


def examine(settings: Settings, workers: Sequence[WorkerState]) -> Iterator[Finding]:
    """Yield a finding for each check, as soon as it is made.

    Parameters
    ----------
    settings : Settings
        The settings of a worker.
    workers : sequence of WorkerState
        The answers of workers that were asked.

    Raises
    ------
    BrokerAway
        If no broker answers.
    """
    began = time.monotonic()
    with admin.admin_client(settings.kafka) as client:
        brokers = client.describe_cluster()["brokers"]
        took_s = time.monotonic() - began
        text = f"{counted(len(brokers), 'broker')} at {settings.kafka.bootstrap}, connected in {took_s:.2f} s"
        yield Finding("broker", took_s <= SLOW_ANSWER_S, text, "look at the load of brokers and network")
        yield _version(client, settings)
        found = list(_topics(client, settings))
        yield from found
        if not any(finding.is_missing for finding in found):
            yield from _uses_of_topics(client, settings)
    yield from _workers(workers)


def _uses_of_topics(client: KafkaAdminClient, settings: Settings) -> Iterator[Finding]:
    """Yield the findings of checks that read topics, which all exist."""
    text = "topics, their configuration and both groups can be read; rights to write are not asked"
    yield _judged("rights", text, lambda: _read_what_workers_read(client, settings))
    text = f"{secret.named(settings)} is the one that the workers draw by"
    yield _judged("secret", text, lambda: _check_secret(settings))
    yield _judged("states", "states are in the partitions of their keys", lambda: check_homes(settings.kafka))
    yield _clock(settings)


def _judged(check: str, text: str, see: Callable[[], object]) -> Finding:
    """Return what a check that raises an error finds; its text has the cure."""
    try:
        see()
    except BrokerAway:
        raise
    except BadConfig as wrong:
        return Finding(check, False, str(wrong))
    return Finding(check, True, text)


def _version(client: KafkaAdminClient, settings: Settings) -> Finding:
    level = admin.transaction_level(client)
    can = level >= admin.NEEDED_TRANSACTIONS
    text = f"{admin.TRANSACTIONS} {level}: exactly_once is {'' if can else 'not '}possible"
    needs = settings.kafka.guarantee is Guarantee.EXACTLY_ONCE
    return Finding("guarantee", can or not needs, f"{text}; set is {settings.kafka.guarantee}", UPGRADE)


def _topics(client: KafkaAdminClient, settings: Settings) -> Iterator[Finding]:
    try:
        states = admin.compare(client, settings.kafka)
    except BadConfig as denied:
        yield Finding("topics", False, str(denied))
        return
    for state in states:
        if not state.exists:
            text = f"{state.topic.name} does not exist"
            yield Finding("topics", False, text, "run `stream-coupons topics apply`", is_missing=True)
        for difference in state.differences:
            cure = (
                "alter it with your broker's tools; partitions cannot be changed, set kafka.partitions to their number"
            )
            yield Finding("topics", False, f"{state.topic.name} {difference}", cure)
    if all(state.exists and not state.differences for state in states):
        yield Finding("topics", True, f"{counted(len(states), 'topic')} ready")


def _read_what_workers_read(client: KafkaAdminClient, settings: Settings) -> None:
    for group in settings.kafka.group_ids:
        admin.describe_group(client, group)
    with Reader(settings.kafka, [topic.name for topic in topics.ALL], from_beginning=False) as reader:
        reader.poll(0.0)


def _check_secret(settings: Settings) -> None:
    secret.check(settings, secret.workers_key(settings))


def _clock(settings: Settings) -> Finding:
    """Compare the clocks by the append time of a tick, right when it arrives."""
    wait_s = settings.worker.tick_every_s + TICK_GRACE_S
    with Reader(settings.kafka, [topics.TICKS.name], from_beginning=False) as reader:
        give_up_at = time.monotonic() + wait_s
        while time.monotonic() < give_up_at:
            if ticks := reader.poll():
                ahead_s = time.time() - max(tick.timestamp for tick in ticks) / 1000.0
                text = f"this machine's clock is {ahead_s:+.1f} s from the broker's"
                cure = "set both clocks by NTP; a worker judges events of the future by its own"
                return Finding("clock", abs(ahead_s) <= MAX_CLOCK_DIFFERENCE_S, text, cure)
    return Finding("clock", True, f"not compared: no worker wrote a tick within {wait_s:.0f} s")


def _workers(workers: Sequence[WorkerState]) -> Iterator[Finding]:
    for one in workers:
        if not one.answers:
            yield Finding("worker", False, f"{one.address} does not answer", "start it, or name its address and port")
        elif one.reasons:
            yield Finding("worker", False, f"{one.address} is not ready: {'; '.join(one.reasons)}", "read its log")
        elif one.version != __version__:
            text = f"{one.address} runs version {one.version}, this is {__version__}"
            yield Finding("worker", False, text, "restart all workers with one version")
        else:
            yield Finding("worker", True, f"{one.address} is ready, version {one.version}")
    if len({one.settings for one in workers if one.settings}) > 1:
        places = ", ".join(f"{one.address} {one.settings}" for one in workers if one.settings)
        cure = "give all workers the same [kafka], [profile], [neighbourhood], [policy], [attribution] and restart them"
        yield Finding("settings", False, f"shared settings differ: {places}", cure)
    elif len(workers) > 1:
        yield Finding("settings", True, "shared settings agree")
