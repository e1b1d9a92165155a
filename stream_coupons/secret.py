"""The secret that every random draw is keyed by: its file, and the fingerprint that the workers' topics keep of it."""

import os
import secrets
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from stream_coupons.core.draws import PUBLIC_KEY, DrawKey
from stream_coupons.core.errors import BadConfig
from stream_coupons.core.rules import Rules
from stream_coupons.kafka import topics
from stream_coupons.kafka.codec import encode
from stream_coupons.kafka.connection import FOR_OTHERS, Connection
from stream_coupons.settings import PREFIX, Settings

SECRET_BYTES = 32
MAKE = "make one with `stream-coupons secret make FILE` and set secret_file"
ALLOW_PUBLIC = PREFIX + "ALLOW_PUBLIC_SECRET"
"""Variable of the environment: 1 lets a worker draw by the public key, as the demo and the tests do."""
OWNER_ONLY = 0o600


def make(path: Path) -> DrawKey:
    """Write a new secret to a new file that only its owner can read.

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
    return DrawKey(bytes.fromhex(text))


def read(path: Path) -> DrawKey:
    """Read the secret of a file that `make` wrote.

    Raises
    ------
    BadConfig
        If the file cannot be read, can be read by other users, or holds no secret.
    """
    try:
        text = path.read_text(encoding="ascii").strip()
        mode = path.stat().st_mode
    except OSError as error:
        raise BadConfig(f"secret_file: {path} cannot be read: {error.strerror}; {MAKE}") from None
    except UnicodeDecodeError:
        text, mode = "", 0
    if mode & FOR_OTHERS:
        raise BadConfig(
            f"secret_file: {path} is open to every user of the machine (mode {mode & 0o777:04o}), "
            f"expected 0600 or 0640: run `chmod 600 {path}`"
        )
    try:
        secret = bytes.fromhex(text)
    except ValueError:
        secret = b""
    if len(secret) != SECRET_BYTES:
        raise BadConfig(f"secret_file: {path} holds no secret, expected {2 * SECRET_BYTES} hexadecimal digits; {MAKE}")
    return DrawKey(secret)


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
    """A record of the topic `secret-fingerprints`: the key that workers draw by from here on.

    The first record counts until one that is `adopted` takes its place; a record that is neither counts for nothing.
    So two workers that start at once, with two keys, agree on which of them is first.
    """

    fingerprint: str
    adopted: bool = False
    at: float = 0.0


def agreed(values: Iterable[bytes | None]) -> str | None:
    """Return the fingerprint on which the records of the topic agree, in their order; None if there is none."""
    found: str | None = None
    for value in values:
        try:
            record = msgspec.json.decode(value or b"", type=Fingerprint)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
        if found is None or record.adopted:
            found = record.fingerprint
    return found


def kept_fingerprint(connection: Connection) -> str | None:
    """Return the fingerprint of the key that the workers of these topics draw by; None before the first worker.

    Raises
    ------
    BadConfig
        If no broker answers, or the topic does not exist.
    """
    from stream_coupons.kafka.clients import Reader  # drawing needs no client of Kafka

    with Reader(connection, [topics.FINGERPRINTS.name], from_beginning=True) as reader:
        return agreed(record.value for record in reader.read_to_end())


def adopt(settings: Settings, key: DrawKey) -> None:
    """Let the workers of these topics draw by this key from now on."""
    _write(settings, Fingerprint(fingerprint=key.fingerprint, adopted=True, at=time.time()))


def _write(settings: Settings, record: Any) -> None:
    from stream_coupons.kafka.clients import Publisher

    with Publisher(settings.kafka, settings.kafka.partitions) as publisher:
        publisher.send_bytes(topics.FINGERPRINTS, b"secret", encode(record))


def check(settings: Settings, key: DrawKey) -> None:
    """See that all workers of these topics draw by the same key; the first one settles which.

    Raises
    ------
    BadConfig
        If they draw by another one: half of a holdout would get coupons.
    """
    kept = kept_fingerprint(settings.kafka)
    if kept is None:
        _write(settings, Fingerprint(fingerprint=key.fingerprint, at=time.time()))
        kept = kept_fingerprint(settings.kafka)
    if kept != key.fingerprint:
        raise BadConfig(
            f"{_differs(settings, key, kept)}. To change the secret on purpose, stop all workers and run "
            "`stream-coupons secret adopt`; it draws a new holdout"
        )


def require_workers_key(settings: Settings) -> DrawKey:
    """Return the key of the settings, if it is the one that the workers of these topics draw by.

    Raises
    ------
    BadConfig
        If it is another one: what is derived from it would not be what the workers have drawn.
    """
    key, kept = draw_key(settings), kept_fingerprint(settings.kafka)
    if kept not in (None, key.fingerprint):
        raise BadConfig(_differs(settings, key, kept))
    return key


def _differs(settings: Settings, key: DrawKey, kept: str | None) -> str:
    return (
        f"{named(settings)} has the fingerprint {key.fingerprint}, but the workers of these topics draw by {kept}: "
        "expected their file"
    )


def named(settings: Settings) -> str:
    """Return what an error calls the key: the file, or that it is public."""
    return f"secret_file: {settings.secret_file}" if settings.secret_file else "secret_file: not set, the public key"
