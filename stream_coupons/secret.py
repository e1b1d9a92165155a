"""The secret that every random draw is keyed by: its file, and the fingerprint that the workers' topics keep of it."""

import logging
import math
import os
import secrets
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Self

import msgspec
from msgspec import Struct

from stream_coupons.core.draws import PUBLIC_KEY, DrawKey
from stream_coupons.core.errors import BadConfig
from stream_coupons.core.rules import Rules
from stream_coupons.kafka import topics
from stream_coupons.kafka.codec import encode
from stream_coupons.kafka.connection import FOR_OTHERS, Connection
from stream_coupons.settings import PREFIX, Settings

log = logging.getLogger(__name__)

SECRET_BYTES = 32
MAKE = "make one with `stream-coupons secret make FILE` and set secret_file"
ALLOW_PUBLIC = PREFIX + "ALLOW_PUBLIC_SECRET"
"""Variable of the environment: 1 lets a worker draw by the public key, as the demo and the tests do."""
OWNER_ONLY = 0o600


def make(path: Path) -> DrawKey:
    """Write a new secret to a file, and return the key; errors as of `make_bytes`."""
    return DrawKey(make_bytes(path))


def make_bytes(path: Path) -> bytes:
    """Write 32 random bytes to a new file that only its owner can read, as hexadecimal digits, and return them.

    Raises
    ------
    BadConfig
        If the file exists or cannot be written.
    """
    text = secrets.token_hex(SECRET_BYTES)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY)
    except FileExistsError:
        raise BadConfig(f"{path} exists, and a secret is never overwritten: name a new file") from None
    except OSError as error:
        raise BadConfig(f"{path} cannot be written: {error.strerror}") from None
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(descriptor)
    return bytes.fromhex(text)


def read(path: Path) -> DrawKey:
    """Read the secret of a file that `make` wrote; errors as of `read_bytes`."""
    return DrawKey(read_bytes(path, "secret_file", MAKE))


def read_bytes(path: Path, what: str, remedy: str) -> bytes:
    """Read the 32 bytes of a file that `make_bytes` wrote.

    Parameters
    ----------
    path : Path
        The file.
    what, remedy : str
        The setting or option that names the file, and how to get one, for errors.

    Raises
    ------
    BadConfig
        If the file cannot be read, can be read by other users, or holds no secret.
    """
    try:
        text = path.read_text(encoding="ascii").strip()
        mode = path.stat().st_mode
    except OSError as error:
        raise BadConfig(f"{what}: {path} cannot be read: {error.strerror}; {remedy}") from None
    except UnicodeDecodeError:
        text, mode = "", 0
    if mode & FOR_OTHERS:
        raise BadConfig(
            f"{what}: {path} is open to every user of the machine (mode {mode & 0o777:04o}), "
            f"expected 0600 or 0640: run `chmod 600 {path}`"
        )
    try:
        secret = bytes.fromhex(text)
    except ValueError:
        secret = b""
    if len(secret) != SECRET_BYTES:
        raise BadConfig(f"{what}: {path} holds no secret, expected {2 * SECRET_BYTES} hexadecimal digits; {remedy}")
    return secret


def draw_key(settings: Settings) -> DrawKey:
    """Return the key of `secret_file`, or the public key if none is set.

    Raises
    ------
    BadConfig
        If the file does not hold a secret.
    """
    return read(Path(settings.secret_file)) if settings.secret_file else PUBLIC_KEY


def rules_of(settings: Settings) -> Rules:
    """Return the rules of the core with the key of `draw_key`.

    Raises
    ------
    BadConfig
        If the file does not hold a secret.
    """
    return settings.rules(draw_key(settings))


def workers_key(settings: Settings, environ: Mapping[str, str] = os.environ) -> DrawKey:
    """Return the key that a worker draws by.

    Raises
    ------
    BadConfig
        If there is no secret: everybody could compute who gets a coupon. Only the demo and tests allow that.
    """
    if not settings.secret_file and environ.get(ALLOW_PUBLIC) != "1":
        raise BadConfig(
            f"secret_file is not set: without a secret anybody can compute who gets a coupon; {MAKE}, the same file "
            "for all workers"
        )
    return draw_key(settings)


# ------------------------------------------------------------ what the topics keep


class Fingerprint(Struct, frozen=True, kw_only=True):
    """A record of the topic `secret-fingerprints`: from this time on, the workers draw by the key of this fingerprint.

    It is signed with that key and, where the operator has it, with the one before. A worker believes what its own key
    has signed: that its key is adopted, or that another one replaced it. Other records stop nobody.
    """

    fingerprint: str
    at: float
    signatures: tuple[str, ...]

    @classmethod
    def signed(cls, key: DrawKey, at: float, *before: DrawKey) -> Self:
        """Return the record that adopts a key.

        Parameters
        ----------
        key : DrawKey
            The key that is adopted.
        at : float
            UTC epoch seconds.
        *before : DrawKey
            Keys that it replaces.
        """
        signatures = tuple(_signature(each, key.fingerprint, at) for each in (key, *before))
        return cls(fingerprint=key.fingerprint, at=at, signatures=signatures)


def _signature(key: DrawKey, fingerprint: str, at: float) -> str:
    return key.signature(f"{topics.FINGERPRINTS.name}:{fingerprint}:{at!r}".encode()).hex()


class Adopted(NamedTuple):
    """The key on which the records of the topic agree, as far as the holder of a key can tell.

    Attributes
    ----------
    stated : str or None
        Fingerprint in the latest record, whoever wrote it; None without a record.
    is_own : bool or None
        True if the holder's key is adopted; False if another one replaced it; None if it signed no record.
    since : float
        Time of the latest record that the key signed, UTC epoch seconds; 0 without one.
    """

    stated: str | None = None
    is_own: bool | None = None
    since: float = 0.0

    @classmethod
    def of(cls, values: Iterable[bytes | None], key: DrawKey) -> Self:
        """Return what the records of the topic state to the holder of a key; a copy of an old record states nothing."""
        records = list[Fingerprint]()
        for value in values:
            with suppress(msgspec.DecodeError, UnicodeDecodeError):
                records.append(msgspec.json.decode(value or b"", type=Fingerprint))
        stated = max(records, key=_time_of, default=None)
        signed = [one for one in records if _signature(key, one.fingerprint, one.at) in one.signatures]
        latest = max(signed, key=_time_of, default=None)
        return cls(
            None if stated is None else stated.fingerprint,
            None if latest is None else latest.fingerprint == key.fingerprint,
            0.0 if latest is None else latest.at,
        )


def _time_of(record: Fingerprint) -> float:
    return record.at


def adopted(connection: Connection, key: DrawKey) -> Adopted:
    """Return what the topic `secret-fingerprints` states to the holder of a key.

    Raises
    ------
    BadConfig
        If no broker answers, or the topic does not exist.
    """
    from stream_coupons.kafka.clients import Reader  # drawing needs no client of Kafka

    with Reader(connection, [topics.FINGERPRINTS.name], from_beginning=True) as reader:
        return Adopted.of((record.value for record in reader.read_to_end()), key)


def adopt(settings: Settings, key: DrawKey, *before: DrawKey) -> None:
    """Let the workers of these topics draw by a key from now on; parameters as of `Fingerprint.signed`."""
    from stream_coupons.kafka.clients import Publisher

    with Publisher(settings.kafka, settings.kafka.partitions) as publisher:
        publisher.send_bytes(topics.FINGERPRINTS, b"secret", encode(Fingerprint.signed(key, time.time(), *before)))


def check(settings: Settings, key: DrawKey) -> None:
    """See that an operator adopted this key for the workers of these topics. The public key needs no adoption.

    Raises
    ------
    BadConfig
        If no operator did, or another key replaced it: half of a holdout would get coupons.
    """
    found = adopted(settings.kafka, key)
    if found.is_own and found.stated != key.fingerprint:
        log.warning(
            "%s: the latest record names %s, and no holder of this worker's secret signed it: it has no effect. Find "
            "who wrote it: operators alone should have the right",
            topics.FINGERPRINTS.name,
            found.stated,
        )
    _require(settings, key, found)


def require_workers_key(settings: Settings) -> DrawKey:
    """Return the key of the settings, if it is the one that the workers of these topics draw by.

    Raises
    ------
    BadConfig
        If it is another one: what is derived from it would not be what the workers have drawn.
    """
    key = draw_key(settings)
    _require(settings, key, adopted(settings.kafka, key))
    return key


def known_since(settings: Settings) -> float:
    """Return the time since which the workers draw by the key of the settings, UTC epoch seconds.

    It is infinite if no `secret_file` is set and the workers do not draw by the public key.

    Raises
    ------
    BadConfig
        If the key of `secret_file` is not that of the workers.
    """
    key = draw_key(settings)
    found = adopted(settings.kafka, key)
    if settings.secret_file:
        _require(settings, key, found)
    return found.since if _is_drawn_by(key, found) else math.inf


def _is_drawn_by(key: DrawKey, found: Adopted) -> bool:
    return bool(found.is_own) or (key == PUBLIC_KEY and found.stated is None)


def _require(settings: Settings, key: DrawKey, found: Adopted) -> None:
    if not _is_drawn_by(key, found):
        others = "no key was adopted" if found.stated is None else f"the adopted one is {found.stated}"
        raise BadConfig(
            f"{named(settings)} has the fingerprint {key.fingerprint}, which the workers of these topics do not draw "
            f"by: {others}. Expected their file. To begin with this one, or to change to it on purpose, stop all "
            "workers and run `stream-coupons secret adopt`; it draws a new holdout"
        )


def named(settings: Settings) -> str:
    """Return what an error calls the key: the file, or that it is public."""
    return f"secret_file: {settings.secret_file}" if settings.secret_file else "secret_file: not set, the public key"
