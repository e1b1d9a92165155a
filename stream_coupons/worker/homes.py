"""The check, before a worker joins, that states are in the partitions of their keys."""

from stream_coupons.core.errors import BadConfig
from stream_coupons.kafka import topics
from stream_coupons.kafka.clients import first_records
from stream_coupons.kafka.settings import KafkaSettings
from stream_coupons.kafka.topics import Topic
from stream_coupons.runtime.cells import is_cell
from stream_coupons.runtime.steps import SHARED_PREFIX

ACCOUNTS = topics.changelog("accounts")
STATES = (topics.changelog("users"), ACCOUNTS)
"""Changelogs whose records' keys choose the partition."""
STATES_LOOKED_AT = 50
"""States read per partition: if partitions were added, at least half of the states are in a wrong partition."""
MAX_ASTRAY_RATIO = 0.1


def check_homes(settings: KafkaSettings) -> None:
    """See that shoppers' and accounts' states are in the partitions of their keys, by the first ones of each partition.

    Every worker looks at all partitions before it joins: one that is given only those that were added would find no
    states there, and begin with whole stocks. A few states elsewhere are what a stranger left; no record reaches them.

    Raises
    ------
    BadConfig
        If the topics had another number of partitions when states were kept.
    """
    for changelog in STATES:
        cells = {
            (record.partition, record.key): record.value
            for record in first_records(settings, changelog, settings.partitions, STATES_LOOKED_AT)
        }
        places = [
            (partition, home_key)
            for (partition, key), value in cells.items()
            if (home_key := _home_key(changelog, key or b"", value))
        ]
        astray = sum(topics.partition_for(key, settings.partitions) != partition for partition, key in places)
        if astray > MAX_ASTRAY_RATIO * len(places):
            raise BadConfig(
                f"{changelog.name}: {astray} of the {len(places)} states looked at belong to other partitions of "
                f"{settings.partitions} than they are in: the topics had another number of partitions when these were "
                "kept, and beginning anew would give again what was given. Restore the topics as they were. To change "
                "the number of partitions, see `stream-coupons system export --help`"
            )


def _home_key(changelog: Topic, key: bytes, value: bytes | None) -> bytes:
    """Return the key whose partition a state belongs to: of a holding that of its account; empty if it has none."""
    if key.startswith(SHARED_PREFIX.encode()):
        account_id, _, _ = key.removeprefix(SHARED_PREFIX.encode()).rpartition(b":")
        return account_id if changelog is ACCOUNTS and value else b""
    return key if is_cell(value) else b""
