"""The secret: a file of its owner's, the same for all workers, and nobody without it can choose who gets a coupon."""

import random
from hashlib import blake2b
from pathlib import Path

import msgspec
import pytest

from loopback_kafka import BrokerProcess
from stream_coupons import secret
from stream_coupons.core.decision.pipeline import issue_id
from stream_coupons.core.draws import PUBLIC_KEY, DrawKey
from stream_coupons.core.errors import BadConfig
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
    assert issued(Settings(), Draw(PUBLIC_KEY)) == SHOPPERS


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


def record(fingerprint: str, *, adopted: bool = False) -> bytes:
    return encode(secret.Fingerprint(fingerprint=fingerprint, adopted=adopted, at=AT))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], None),
        ([record("a")], "a"),
        ([record("a"), record("b")], "a"),
        ([record("a"), record("b", adopted=True)], "b"),
        ([record("a"), record("b", adopted=True), record("a"), record("c")], "b"),
        ([None, b"", b"nonsense", b"{}", b"\xff", record("a")], "a"),
    ],
)
def test_the_first_key_counts_until_another_is_adopted(values: list[bytes | None], expected: str | None) -> None:
    assert secret.agreed(values) == expected


@pytest.fixture
def settings(broker: BrokerProcess) -> Settings:
    """Settings for a broker that has the topics."""
    kafka = KafkaSettings(bootstrap=broker.bootstrap)
    with admin.admin_client(kafka) as client:
        admin.apply(client, kafka)
    return Settings(kafka=kafka)


@pytest.mark.kafka
def test_a_worker_with_another_key_does_not_start(settings: Settings, tmp_path: Path) -> None:
    own = msgspec.structs.replace(settings, secret_file=str(tmp_path / "own.key"))
    key, other = secret.make(tmp_path / "own.key"), DrawKey(b"other")
    secret.adopt(settings, other)
    with pytest.raises(BadConfig) as refused:
        secret.check(own, key)
    assert str(refused.value).startswith(
        f"secret_file: {tmp_path / 'own.key'} has the fingerprint {key.fingerprint}, but the workers of these topics "
        f"draw by {other.fingerprint}: "
    )
    assert "`stream-coupons secret adopt`" in str(refused.value)
    secret.adopt(own, key)
    secret.check(own, key)
    assert secret.require_workers_key(own) == key
    with pytest.raises(BadConfig, match="secret_file: not set, the public key has"):
        secret.require_workers_key(settings)
    secret.adopt(settings, PUBLIC_KEY)


@pytest.mark.kafka
def test_of_two_first_workers_with_two_keys_one_starts(run_broker: "RunBroker") -> None:  # noqa: F821
    with run_broker() as broker:
        settings = Settings(kafka=KafkaSettings(bootstrap=broker.bootstrap))
        with admin.admin_client(settings.kafka) as client:
            admin.apply(client, settings.kafka)
        assert secret.kept_fingerprint(settings.kafka) is None
        first, second = DrawKey(b"first"), DrawKey(b"second")
        # Both have read that there is none; the record of the first is there before that of the second.
        with Publisher(settings.kafka, settings.kafka.partitions) as publisher:
            for key in (first, second):
                publisher.send_bytes(topics.FINGERPRINTS, b"secret", record(key.fingerprint))
        secret.check(settings, first)
        with pytest.raises(BadConfig, match=f"draw by {first.fingerprint}"):
            secret.check(settings, second)
