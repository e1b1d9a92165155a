"""A broker that wants TLS, passwords, certificates or tokens, and gives rights by topic: what is stated suffices."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest
from msgspec.structs import asdict, replace

from loopback_kafka import BrokerUnavailable
from stream_coupons.core.errors import BadConfig
from stream_coupons.kafka import admin, topics
from stream_coupons.kafka.clients import NotAppended, Publisher, Reader
from stream_coupons.kafka.codec import Decoder
from stream_coupons.kafka.connection import Connection, SaslMechanism
from stream_coupons.kafka.settings import Guarantee, KafkaSettings
from stream_coupons.settings import Settings
from stream_coupons.testing import browse, item
from stream_coupons_lab.demo.system import LocalSystem
from tests.token_endpoint import CLIENT, SECRET, TokenEndpoint, unsecured_jws

from .builders import IDLE_WITHIN_S, coupon, distinct_issues, settings, violations
from .secured import (
    ENGINE,
    NOTIFICATIONS,
    OPERATOR,
    SESSION_S,
    SHOP,
    TENANT,
    SecuredKafka,
    rights_of_a_namespace,
    rights_of_the_readme,
)

pytestmark = pytest.mark.process

PARTITIONS = KafkaSettings().partitions
SPACE = "tenant."


class Listener(NamedTuple):
    """Addresses of one listener, as of `Addressed`."""

    bootstrap: str
    advertised: str


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
        broker.admit([*rights_of_the_readme(), *rights_of_a_namespace(TENANT, SPACE)])
        with Publisher(operator, PARTITIONS) as publisher:
            publisher.send(topics.CATALOG, coupon("tea"))
        yield broker
    finally:
        broker.stop()


@pytest.mark.parametrize(
    "guarantee", [pytest.param(Guarantee.AT_LEAST_ONCE, marks=pytest.mark.slow), Guarantee.EXACTLY_ONCE]
)
def test_the_rights_that_are_written_down_suffice(secured: SecuredKafka, guarantee: Guarantee, tmp_path: Path) -> None:
    shopper = f"shopper of {guarantee}"
    with LocalSystem(secured, settings_by(secured.by_password(ENGINE), guarantee), tmp_path, workers=1) as system:
        system.wait_ready()
        with Publisher(secured.by_password(SHOP), PARTITIONS) as shop:
            shop.send(topics.BROWSE, browse(shopper, item("green tea"), event_id="e1"))
        system.wait_idle(IDLE_WITHIN_S)
    with Reader(secured.by_password(NOTIFICATIONS), [topics.ISSUES.name], from_beginning=True) as reader:
        decode = Decoder(topics.ISSUES)
        issues = [decode(record.value) for record in reader.read_to_end()]
    assert {issue.issue_id for issue in issues if issue.user_id == shopper} != set()


def test_rights_by_prefix_suffice_for_a_system_in_a_namespace_and_reach_no_further(
    secured: SecuredKafka, tmp_path: Path
) -> None:
    tenant = secured.by_password(TENANT)
    inside = settings_by(replace(tenant, namespace=SPACE), Guarantee.EXACTLY_ONCE)
    system = LocalSystem(secured, inside, tmp_path, workers=1)
    system.prepare([coupon("coffee")])
    with system:
        system.wait_ready()
        with system.publisher() as shop:
            shop.send(topics.BROWSE, browse("shopper of a tenant", item("beans"), event_id="e1"))
        system.wait_idle(IDLE_WITHIN_S)
        assert [issue.coupon_id for issue in distinct_issues(system).values()] == ["coffee"]
        assert violations(system) == []
    with (
        pytest.raises(NotAppended, match="denies tenant a right on a topic"),
        Publisher(tenant, PARTITIONS) as publisher,
    ):
        publisher.send(topics.BROWSE, browse("shopper of another", item("beans")))
    with pytest.raises(BadConfig, match=r"no topic other\.coupon-issues at .*, or no right to it for tenant"):
        Reader(replace(tenant, namespace="other."), [topics.ISSUES.name], from_beginning=True)


def test_nobody_may_pretend_to_be_one_of_our_agents_or_read_what_is_not_theirs(secured: SecuredKafka) -> None:
    shop = secured.by_password(SHOP)
    with (
        pytest.raises(NotAppended, match=f"denies shop a right on a topic .*{topics.LEASES.name}"),
        Publisher(shop, PARTITIONS) as publisher,
    ):
        publisher.send_bytes(topics.LEASES, b"tea", b"{}", 0)
    with pytest.raises(BadConfig, match=f"no topic {topics.ISSUES.name}"):
        Reader(shop, [topics.ISSUES.name], from_beginning=True)


def checked(connection: Connection) -> subprocess.CompletedProcess[str]:
    """`topics apply --check` on a connection, in a process of its own: one that leads nowhere leaves sockets open."""
    said = {f"STREAM_COUPONS_KAFKA__{name.upper()}": str(value) for name, value in asdict(connection).items() if value}
    command = [sys.executable, "-m", "stream_coupons", "topics", "apply", "--check"]
    return subprocess.run(command, env=os.environ | said, capture_output=True, text=True, check=False)


def refused(connection: Connection) -> str:
    """Return the error of `topics apply --check` on a connection that leads nowhere."""
    result = checked(connection)
    assert result.returncode == 2, result.stderr
    return result.stderr


def test_whoever_is_not_let_in_is_told_what_is_wrong_where_and_what_to_do(
    secured: SecuredKafka, tmp_path: Path
) -> None:
    by_password, by_certificate = secured.by_password(OPERATOR), secured.by_certificate(OPERATOR)
    plain = f"127.0.0.1:{secured.port}"
    another = tmp_path / "another"
    another.write_text("hunter2", encoding="utf-8")
    no_tls = "does not speak TLS at this port. Set"
    cases = (
        ("kafka.username, kafka.password_file", "Check both", replace(by_password, password_file=str(another))),
        ("kafka.sasl_mechanism", "does not offer PLAIN. Set", replace(by_password, sasl_mechanism=SaslMechanism.PLAIN)),
        ("kafka.ca_file", "Set the PEM file of the authority", replace(by_password, ca_file="")),
        ("kafka.bootstrap", "Set a name", replace(by_password, bootstrap=f"localhost:{secured.scram_port}")),
        ("kafka.certificate_file", "Set one that", replace(by_certificate, certificate_file="", key_file="")),
        ("kafka.security_protocol", "SSL or SASL_SSL", Connection(secured.bootstrap)),
        ("kafka.security_protocol", f"{no_tls} PLAINTEXT", replace(by_certificate, bootstrap=plain)),
        ("kafka.security_protocol", f"{no_tls} SASL_PLAINTEXT", replace(by_password, bootstrap=plain)),
    )
    with ThreadPoolExecutor(4) as pool:
        said = list(pool.map(refused, [connection for _, _, connection in cases]))
    for (setting, what_to_do, connection), lines in zip(cases, said, strict=True):
        [line] = [line for line in lines.splitlines() if line.startswith("error: ")]
        assert line.startswith(f"error: {setting}: ")
        assert what_to_do in line
        assert f"the broker at {connection.bootstrap}" in line
        assert "no broker answers" not in line


def test_whoever_lacks_a_right_is_told_who_lacks_which(secured: SecuredKafka) -> None:
    shop = secured.by_password(SHOP)
    assert f"denies shop the configuration of {topics.BROWSE.name}" in refused(shop)
    with (
        pytest.raises(BadConfig, match=r"denies shop a right on a group .*run-in-production"),
        admin.admin_client(shop) as client,
    ):
        admin.lag(client, settings_by(shop).kafka)


def test_a_system_by_tokens_outlives_its_sessions(secured: SecuredKafka, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(SECRET, encoding="utf-8")
    secret.chmod(0o600)
    granted: list[str] = []

    def grant(_: int) -> tuple[int, dict[str, str | int]]:
        granted.append(unsecured_jws(ENGINE, time.time() + 60))
        return 200, {"access_token": granted[-1], "expires_in": SESSION_S}

    with TokenEndpoint(grant) as endpoint:
        by_token = secured.by_token(token_url=endpoint.url, username=CLIENT, password_file=str(secret))
        listener = Listener(by_token.bootstrap, by_token.bootstrap)
        with LocalSystem(listener, settings_by(by_token), tmp_path, workers=1) as system:
            system.wait_ready()
            for shopper in ("a shopper by token", "a later shopper by token"):
                with Publisher(secured.by_password(SHOP), PARTITIONS) as shop:
                    shop.send(topics.BROWSE, browse(shopper, item("green tea")))
                system.wait_idle(IDLE_WITHIN_S)
                assert shopper in {issue.user_id for issue in distinct_issues(system).values()}
                with endpoint.changed:
                    renewed = len(endpoint.forms) + 4  # connections that the broker ended, two of the worker's at least
                    assert endpoint.changed.wait_for(lambda renewed=renewed: len(endpoint.forms) >= renewed, 60)
            [worker] = system.workers
            assert worker.process.poll() is None
        log = worker.log.read_text()
    assert not any(token in log or token in system.config_file.read_text() for token in granted)
    assert " ERROR " not in log, log


def test_clients_by_a_token_in_a_file(secured: SecuredKafka, tmp_path: Path) -> None:
    file = tmp_path / "token"
    by_file = secured.by_token(token_file=str(file))
    file.write_text(unsecured_jws(OPERATOR, time.time() + 600), encoding="utf-8")
    result = checked(by_file)
    assert result.returncode == 0, result.stderr
    with Publisher(by_file, PARTITIONS) as publisher:
        publisher.send(topics.CATALOG, coupon("by token"))
    with Reader(by_file, [topics.CATALOG.name], from_beginning=True) as reader:
        assert b"by token" in {record.key for record in reader.read_to_end()}
    for wrong in ("wrong", unsecured_jws(OPERATOR, time.time() - 600)):
        file.write_text(wrong, encoding="utf-8")
        lines = refused(by_file)
        [line] = [line for line in lines.splitlines() if line.startswith("error: ")]
        assert line.startswith(f"error: kafka.token_file: the broker at {by_file.bootstrap} refused the token. Check")
        assert wrong not in lines
