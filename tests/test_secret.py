"""The secret: a file of its owner's, the same for all workers, and nobody without it can choose who gets a coupon."""

import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from hashlib import blake2b
from pathlib import Path

import msgspec
import pytest

from loopback_kafka import BrokerProcess
from stream_coupons import secret
from stream_coupons.core.decision.pipeline import issue_id
from stream_coupons.core.draws import PUBLIC_KEY, DrawKey
from stream_coupons.core.errors import BadConfig
from stream_coupons.core.rules import PolicyRules
from stream_coupons.kafka import admin, topics
from stream_coupons.kafka.clients import Publisher
from stream_coupons.kafka.codec import encode
from stream_coupons.kafka.settings import KafkaSettings
from stream_coupons.settings import Settings
from stream_coupons.testing import LocalPipeline, browse, coupon, item

AT = 1_767_348_000.0
SHOPPERS = 200
MOST_BY_CHANCE = 25
"""Of 200 shoppers of whom one in twenty is drawn, 10 are expected; more than 25 happen once in 50,000 times."""

# ------------------------------------------------------------ what an attacker can do


def ground_ids(user_id: str, is_drawn: "Draw") -> str:
    """Return the first event id by which the shopper is given a coupon, as far as the attacker can compute it."""
    return next(text for n in range(10_000) if is_drawn(user_id, text := f"{user_id}-{n}"))


class Draw:
    """What somebody who has read the source computes, with a key that they know or guess."""

    def __init__(self, key: DrawKey | None) -> None:
        self._key = key

    def __call__(self, user_id: str, event_id: str) -> bool:
        trigger = issue_id(user_id, "browse", event_id)
        return self._uniform("explore", trigger) < 0.05 <= self._uniform("holdout", user_id)

    def _uniform(self, *parts: str) -> float:
        if self._key is not None:
            return self._key.uniform(*parts)
        text = "".join(f"{len(part)}:{part}" for part in ("0", *parts))
        return (int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") >> 11) / 2**53


def issued(settings: Settings, is_drawn: Draw) -> int:
    """Coupons given to shoppers who never order, each for one event whose id was ground by an attacker."""
    half_off = coupon(discount_minor=500, max_discount_minor=500, typical_price_minor=600)
    pipeline, chance = LocalPipeline(settings, [half_off]), random.Random(1)
    users = [f"u{chance.randrange(10**9)}" for _ in range(10 * SHOPPERS)]
    # An attacker chooses user ids, too.
    able = [user for user in users if is_drawn._uniform("holdout", user) >= 0.05][:SHOPPERS]
    for user in able:
        pipeline.publish(browse(user, item(category="tea"), at=AT, event_id=ground_ids(user, is_drawn)))
    return len(pipeline.issues)


@pytest.mark.parametrize("guess", [None, PUBLIC_KEY, DrawKey(bytes(32))], ids=["old hash", "public key", "a guess"])
def test_ids_that_were_ground_for_a_guessed_key_get_no_more_coupons_than_others(
    guess: DrawKey | None, tmp_path: Path
) -> None:
    secret.make(tmp_path / "secret.key")
    assert issued(Settings(secret_file=str(tmp_path / "secret.key")), Draw(guess)) < MOST_BY_CHANCE


@pytest.mark.long
def test_who_knows_the_key_gets_a_coupon_each_time_so_the_attack_is_a_good_one() -> None:
    assert issued(Settings(policy=PolicyRules(control_ratio=0.0)), Draw(PUBLIC_KEY)) == SHOPPERS


# ------------------------------------------------------------ the file


def test_a_secret_is_new_and_for_its_owner_only(tmp_path: Path) -> None:
    one, other = (secret.make(tmp_path / name) for name in ("one", "other"))
    assert one != other
    assert (tmp_path / "one").stat().st_mode & 0o777 == 0o600
    assert secret.read(tmp_path / "one") == one


def test_a_secret_is_never_overwritten(tmp_path: Path) -> None:
    key = secret.make(tmp_path / "secret.key")
    with pytest.raises(BadConfig, match="exists, and a secret is never overwritten"):
        secret.make(tmp_path / "secret.key")
    assert secret.read(tmp_path / "secret.key") == key


def test_a_secret_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="cannot be written: No such file or directory"):
        secret.make(tmp_path / "none" / "secret.key")


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o602, 0o666])
def test_a_secret_that_everybody_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "secret.key"
    secret.make(path)
    path.chmod(mode)
    with pytest.raises(BadConfig, match=rf"open to every user of the machine \(mode {mode:04o}\).*chmod 600"):
        secret.read(path)
    path.chmod(0o640)
    secret.read(path)


@pytest.mark.parametrize("content", [b"", b"secret", b"00" * 31, b"00" * 33, b"g0" * 32, "ü".encode()])
def test_what_is_no_secret_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "secret.key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(BadConfig, match="holds no secret, expected 64 hexadecimal digits; make one with"):
        secret.read(path)


def test_a_worker_needs_a_secret_unless_the_public_key_is_allowed(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match=r"secret_file is not set: .* `stream-coupons secret make FILE`"):
        secret.workers_key(Settings(), {})
    assert secret.workers_key(Settings(), {secret.ALLOW_PUBLIC: "1"}) == PUBLIC_KEY
    with pytest.raises(BadConfig, match="cannot be read: No such file"):
        secret.workers_key(Settings(secret_file=str(tmp_path / "none")), {secret.ALLOW_PUBLIC: "1"})
    key = secret.make(tmp_path / "secret.key")
    assert secret.workers_key(Settings(secret_file=str(tmp_path / "secret.key")), {}) == key


# ------------------------------------------------------------ what the topics keep


KEY, NEW_KEY = DrawKey(b"own"), DrawKey(b"new")


def record(key: DrawKey, at: float, *before: DrawKey) -> bytes:
    return encode(secret.Fingerprint.signed(key, at, *before))


def forged(fingerprint: str, at: float = 1e12, *signatures: str) -> bytes:
    """Return a record of a producer that has no secret."""
    return encode(secret.Fingerprint(fingerprint=fingerprint, at=at, signatures=signatures))


OWN, REPLACED = record(KEY, 1.0), record(NEW_KEY, 2.0, KEY)
OLD_SIGNATURES = secret.Fingerprint.signed(KEY, 1.0).signatures


@pytest.mark.parametrize(
    ("values", "is_own"),
    [
        ([], None),
        ([None, b"", b"nonsense", b"{}", b"\xff", forged(KEY.fingerprint), record(NEW_KEY, 1.0)], None),
        ([OWN], True),
        ([OWN, REPLACED], False),
        ([OWN, REPLACED, OWN], False),
        ([OWN, REPLACED, record(KEY, 3.0)], True),
        ([OWN, forged(NEW_KEY.fingerprint)], True),
        ([forged(NEW_KEY.fingerprint), OWN], True),
        ([OWN, forged(NEW_KEY.fingerprint, 1e12, *OLD_SIGNATURES)], True),
        ([OWN, REPLACED, forged(KEY.fingerprint, 1e12, *OLD_SIGNATURES)], False),
    ],
)
def test_a_worker_believes_the_latest_record_that_its_own_key_signed(
    values: list[bytes | None], is_own: bool | None
) -> None:
    assert secret.Adopted.of(values, KEY).is_own is is_own


def test_what_a_key_drew_before_it_was_adopted_last_is_not_known() -> None:
    since = [secret.Adopted.of(values, KEY).since for values in ([], [OWN], [OWN, REPLACED, record(KEY, 3.0)])]
    assert since == [0.0, 1.0, 3.0]


@pytest.fixture
def settings(run_broker: Callable[[], AbstractContextManager[BrokerProcess]]) -> Iterator[Settings]:
    """Settings for a broker of its own, which has the topics: no other test has adopted a key there."""
    with run_broker() as broker:
        kafka = KafkaSettings(bootstrap=broker.bootstrap)
        with admin.admin_client(kafka) as client:
            admin.apply(client, kafka)
        yield Settings(kafka=kafka)


@pytest.mark.kafka
def test_a_worker_whose_key_no_operator_adopted_does_not_start(settings: Settings, tmp_path: Path) -> None:
    own = msgspec.structs.replace(settings, secret_file=str(tmp_path / "own.key"))
    key, other = secret.make(tmp_path / "own.key"), DrawKey(b"other")
    secret.adopt(settings, other)
    with pytest.raises(BadConfig) as refused:
        secret.check(own, key)
    assert str(refused.value).startswith(
        f"secret_file: {tmp_path / 'own.key'} has the fingerprint {key.fingerprint}, which the workers of these topics "
        f"do not draw by: the adopted one is {other.fingerprint}. "
    )
    assert "`stream-coupons secret adopt`" in str(refused.value)
    secret.adopt(own, key)
    secret.check(own, key)
    assert secret.require_workers_key(own) == key
    with pytest.raises(BadConfig, match="secret_file: not set, the public key has"):
        secret.require_workers_key(settings)
    secret.adopt(settings, other, key)
    with pytest.raises(BadConfig, match=f"the adopted one is {other.fingerprint}"):
        secret.check(own, key)
    secret.adopt(settings, PUBLIC_KEY)


@pytest.mark.kafka
def test_a_worker_writes_no_fingerprint_and_a_forged_one_stops_none(
    run_broker: "RunBroker",  # noqa: F821
    caplog: pytest.LogCaptureFixture,
) -> None:
    with run_broker() as broker:
        settings = Settings(kafka=KafkaSettings(bootstrap=broker.bootstrap))
        with admin.admin_client(settings.kafka) as client:
            admin.apply(client, settings.kafka)
        with pytest.raises(BadConfig, match="no key was adopted"):
            secret.check(settings, KEY)
        secret.check(settings, PUBLIC_KEY)
        assert secret.adopted(settings.kafka, KEY) == secret.Adopted()
        secret.adopt(settings, KEY)
        with Publisher(settings.kafka, settings.kafka.partitions) as publisher:
            publisher.send_bytes(topics.FINGERPRINTS, b"secret", forged("0123456789abcdef"))
        secret.check(settings, KEY)
        assert "secret-fingerprints: the latest record names 0123456789abcdef" in caplog.text
