"""A broker that wants TLS, passwords or certificates, and gives rights by topic: what is written down suffices."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import asdict, replace

from stream_coupons import admin, topics
from stream_coupons.broker import BrokerUnavailable
from stream_coupons.clients import NotAppended, Publisher, Reader
from stream_coupons.codec import Decoder
from stream_coupons.connection import Connection
from stream_coupons.core.errors import BadConfig
from stream_coupons.demo.system import LocalSystem
from stream_coupons.settings import Guarantee, KafkaSettings, Settings

from .builders import IDLE_WITHIN_S, browse, coupon, settings
from .secured import ENGINE, NOTIFICATIONS, OPERATOR, SHOP, SecuredKafka, rights_of_the_readme

PARTITIONS = KafkaSettings().partitions


def settings_by(connection: Connection, guarantee: Guarantee = Guarantee.AT_LEAST_ONCE) -> Settings:
    plain = settings(guarantee=guarantee)
    return replace(plain, kafka=replace(plain.kafka, **asdict(connection)))


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    """The topics are there, and users with their rights."""
    broker = SecuredKafka(tmp_path_factory.mktemp("secured"))
    try:
        broker.start()
    except BrokerUnavailable as reason:
        if os.environ.get("STREAM_COUPONS_REQUIRE_KAFKA") == "1":
            raise
        pytest.skip(str(reason))
    try:
        operator = broker.by_certificate(OPERATOR)
        with admin.admin_client(operator) as client:
            admin.apply(client, settings_by(operator).kafka)
        broker.admit(rights_of_the_readme())
        with Publisher(operator, PARTITIONS) as publisher:
            publisher.send(topics.CATALOG, coupon("tea"))
        yield broker
    finally:
        broker.stop()


@pytest.mark.parametrize("guarantee", list(Guarantee))
def test_the_rights_that_are_written_down_suffice(secured: SecuredKafka, guarantee: Guarantee, tmp_path: Path) -> None:
    shopper = f"shopper of {guarantee}"
    with LocalSystem(secured, settings_by(secured.by_password(ENGINE), guarantee), tmp_path, workers=1) as system:
        system.wait_ready()
        with Publisher(secured.by_password(SHOP), PARTITIONS) as shop:
            shop.send(topics.BROWSE, browse("e1", shopper, "green tea"))
        system.wait_idle(IDLE_WITHIN_S)
    with Reader(secured.by_password(NOTIFICATIONS), [topics.ISSUES.name], from_beginning=True) as reader:
        decode = Decoder(topics.ISSUES)
        issues = [decode(record.value) for record in reader.read_to_end()]
    assert {issue.issue_id for issue in issues if issue.user_id == shopper} != set()


def test_nobody_may_pretend_to_be_one_of_our_agents_or_read_what_is_not_theirs(secured: SecuredKafka) -> None:
    shop = secured.by_password(SHOP)
    with pytest.raises(NotAppended, match="TopicAuthorizationFailed"), Publisher(shop, PARTITIONS) as publisher:
        publisher.send_bytes(topics.SETTLEMENTS, b"tea", b"{}", 0)
    with pytest.raises(BadConfig, match=f"no topic {topics.ISSUES.name}"):
        Reader(shop, [topics.ISSUES.name], from_beginning=True)


def refused(connection: Connection) -> str:
    """What `topics apply` says on a connection that leads nowhere, in a process of its own: it leaves sockets open."""
    said = {f"STREAM_COUPONS_KAFKA__{name.upper()}": str(value) for name, value in asdict(connection).items() if value}
    command = [sys.executable, "-m", "stream_coupons", "topics", "apply", "--check"]
    result = subprocess.run(command, env=os.environ | said, capture_output=True, text=True, check=False)
    assert result.returncode == 2, result.stderr
    return result.stderr


def test_whoever_is_not_let_in_is_told_why(secured: SecuredKafka, tmp_path: Path) -> None:
    by_password, by_certificate = secured.by_password(OPERATOR), secured.by_certificate(OPERATOR)
    (tmp_path / "another").write_text("hunter2", encoding="utf-8")
    for why, connection in (
        ("Authentication failed", replace(by_password, password_file=str(tmp_path / "another"))),
        ("certificate verify failed", replace(by_password, ca_file="")),
        ("by SSL (", replace(by_certificate, certificate_file="", key_file="")),
        ("by PLAINTEXT (", Connection(secured.bootstrap)),
    ):
        assert why in refused(connection)
