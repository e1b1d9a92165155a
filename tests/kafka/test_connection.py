"""What is set of encryption and names, and what cannot be read of it."""

from pathlib import Path

import pytest

from stream_coupons.core.errors import BadConfig
from stream_coupons.kafka.connection import Connection, SaslMechanism, SecurityProtocol, why_not_connected
from stream_coupons.settings import load

PREFIX = "STREAM_COUPONS_KAFKA__"
BY_TOKEN = {"SECURITY_PROTOCOL": "SASL_SSL", "SASL_MECHANISM": "OAUTHBEARER"}
WHO = {"USERNAME": "engine", "PASSWORD_FILE": "/run/secrets/kafka"}


def loaded(**said: str) -> Connection:
    return load(None, {PREFIX + name: value for name, value in said.items()}).kafka


def test_nothing_is_encrypted_and_nobody_named_by_default() -> None:
    assert loaded().options() == {"bootstrap_servers": ["127.0.0.1:9092"], "security_protocol": "PLAINTEXT"}


def test_a_password_is_read_whenever_a_client_is_made(tmp_path: Path) -> None:
    file = tmp_path / "password"
    connection = loaded(SECURITY_PROTOCOL="SASL_PLAINTEXT", USERNAME="engine", PASSWORD_FILE=str(file))
    for password in ("first", "second, with a blank at its end "):
        file.write_text(f"{password}\n", encoding="utf-8")
        options = connection.options()
        assert options.pop("bootstrap_servers") == ["127.0.0.1:9092"]
        assert options == {
            "security_protocol": "SASL_PLAINTEXT",
            "sasl_mechanism": "SCRAM-SHA-512",
            "sasl_plain_username": "engine",
            "sasl_plain_password": password,
        }


@pytest.mark.parametrize(("mode", "warned"), [(0o644, 1), (0o604, 1), (0o602, 1), (0o640, 0), (0o600, 0)])
def test_a_password_that_everybody_can_read_is_warned_of_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: int, warned: int
) -> None:
    file = tmp_path / "password"
    file.write_text("hush", encoding="utf-8")
    file.chmod(mode)
    connection = loaded(SECURITY_PROTOCOL="SASL_PLAINTEXT", USERNAME="engine", PASSWORD_FILE=str(file))
    for _ in range(2):
        assert connection.options()["sasl_plain_password"] == "hush"
    assert len(caplog.messages) == warned
    for message in caplog.messages:
        assert message.startswith(f"kafka.password_file: {file} is open to every user of the machine (mode {mode:04o})")
        assert "hush" not in message


def test_the_brokers_name_is_checked() -> None:
    context = loaded(SECURITY_PROTOCOL="SSL").options()["ssl_context"]
    assert context.check_hostname


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"SECURITY_PROTOCOL": "TLS"}, "SECURITY_PROTOCOL='TLS'"),
        ({"SASL_MECHANISM": "GSSAPI"}, "SASL_MECHANISM='GSSAPI'"),
        ({"CA_FILE": "ca.pem"}, "kafka.ca_file is set: expected kafka.security_protocol SSL or SASL_SSL"),
        ({"SECURITY_PROTOCOL": "SASL_PLAINTEXT", "CA_FILE": "ca.pem"} | WHO, "kafka.ca_file is set"),
        ({"SECURITY_PROTOCOL": "SSL", "CERTIFICATE_FILE": "a.pem"}, "expected both or none"),
        ({"SECURITY_PROTOCOL": "SSL", "USERNAME": "engine"}, "kafka.username is set: expected"),
        (WHO, "kafka.username is set: expected kafka.security_protocol SASL_SSL or SASL_PLAINTEXT, it is PLAINTEXT"),
        (
            {"SECURITY_PROTOCOL": "SASL_SSL", "USERNAME": "u"},
            "kafka.password_file is not set: SASL_SSL by SCRAM-SHA-512",
        ),
        ({"SASL_MECHANISM": "OAUTHBEARER"}, "kafka.sasl_mechanism is OAUTHBEARER: expected kafka.security_protocol"),
        ({"TOKEN_FILE": "t"}, "kafka.token_file is set: expected kafka.security_protocol SASL_SSL"),
        ({"SECURITY_PROTOCOL": "SASL_SSL", "TOKEN_FILE": "t"} | WHO, "SASL_SSL by SCRAM-SHA-512 does not use it"),
        (BY_TOKEN, "kafka.token_url is not set: SASL_SSL by OAUTHBEARER needs it, or kafka.token_file"),
        (
            BY_TOKEN | {"TOKEN_FILE": "t", "TOKEN_URL": "https://t"},
            "kafka.token_url is set: SASL_SSL by OAUTHBEARER with",
        ),
        (BY_TOKEN | {"TOKEN_FILE": "t", "TOKEN_SCOPE": "s"}, "kafka.token_scope is set"),
        (BY_TOKEN | {"TOKEN_FILE": "t"} | WHO, "kafka.username is set: SASL_SSL by OAUTHBEARER with kafka.token_file"),
        (BY_TOKEN | {"TOKEN_URL": "https://t"}, "kafka.username is not set: SASL_SSL by OAUTHBEARER needs it"),
        (BY_TOKEN | {"TOKEN_URL": "http://idp/token"} | WHO, "kafka.token_url: expected https://"),
        (BY_TOKEN | {"TOKEN_URL": "https://me:hush@idp/token"} | WHO, "without a user name"),
        (BY_TOKEN | {"TOKEN_URL": "http://localhost.idp/token"} | WHO, "or http://localhost"),
        (BY_TOKEN | {"TOKEN_URL": "https://idp:x/token"} | WHO, "kafka.token_url: expected"),
        (BY_TOKEN | {"TOKEN_URL": "https://idp/to ken"} | WHO, "kafka.token_url: expected"),
    ],
)
def test_what_does_not_go_together_is_refused(said: dict[str, str], why: str) -> None:
    with pytest.raises(BadConfig) as refused:
        loaded(**said)
    assert why in str(refused.value)
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    ["https://idp.example:8443/t?x=1", "https://[::1]:1/t", "http://localhost:1/t", "http://127.0.0.1", "https://a"],
)
def test_tokens_come_by_https_or_from_this_machine(url: str) -> None:
    connection = loaded(**BY_TOKEN, **WHO, TOKEN_URL=url, TOKEN_SCOPE="s", CA_FILE="ca.pem")
    assert connection.has_tokens
    assert connection.token_url == url
    plain = BY_TOKEN | {"SECURITY_PROTOCOL": "SASL_PLAINTEXT"}
    if url.startswith("https:"):
        assert loaded(**plain, **WHO, TOKEN_URL=url, CA_FILE="ca.pem").ca_file == "ca.pem"


def test_files_that_are_not_what_they_should_be_are_named(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no PEM", encoding="utf-8")
    (tmp_path / "bytes").write_bytes(b"\xff")
    text, no_text, nowhere = (str(tmp_path / name) for name in ("text", "bytes", "nowhere"))
    for connection, why in (
        (Connection("a:1", SecurityProtocol.SSL, ca_file=nowhere), f"kafka.ca_file: {nowhere} cannot be read"),
        (Connection("a:1", SecurityProtocol.SSL, ca_file=text), f"kafka.ca_file: {text} holds no certificates"),
        (Connection("a:1", SecurityProtocol.SSL, ca_file=no_text), "it is no text"),
        (Connection("a:1", SecurityProtocol.SSL, certificate_file=nowhere, key_file=text), "kafka.certificate_file"),
        (Connection("a:1", SecurityProtocol.SSL, certificate_file=text, key_file=nowhere), "kafka.key_file"),
        (Connection("a:1", SecurityProtocol.SSL, certificate_file=text, key_file=text), "are no certificate"),
        (
            Connection("a:1", SecurityProtocol.SASL_PLAINTEXT, username="u", password_file=nowhere),
            "kafka.password_file",
        ),
    ):
        with pytest.raises(BadConfig) as refused:
            connection.options()
        assert why in str(refused.value)


AUTHENTICATION_FAILED = "[Error 58] SaslAuthenticationFailedError: Authentication failed due to invalid credentials"
CLOSED = "KafkaConnectionError: socket disconnected"


@pytest.mark.parametrize(
    ("protocol", "reasons", "said"),
    [
        (
            "SASL_SSL",
            [CLOSED, AUTHENTICATION_FAILED, CLOSED],
            "kafka.username, kafka.password_file: the broker at b:9093",
        ),
        ("SASL_SSL", ["Handshake failed: [SSL: CERTIFICATE_VERIFY_FAILED] self-signed"], "kafka.ca_file: "),
        ("SASL_PLAINTEXT", ["[Error 34] IllegalSaslStateError"], "at this port. Set PLAINTEXT, or"),
        (
            "SASL_PLAINTEXT",
            [CLOSED, "InvalidReceiveError: Invalid frame length: 1"],
            "speaks TLS at this port. Set SASL_SSL",
        ),
        ("SSL", ["[SSL: WRONG_VERSION_NUMBER] wrong version number"], "does not speak TLS at this port. Set PLAINTEXT"),
        ("SSL", ["Handshake failed: TLS/SSL connection has been closed (EOF) (_ssl.c:992)"], "does not speak TLS"),
        ("SSL", [CLOSED], "closes connections by SSL. If its listener wants a password, set SASL_SSL"),
        ("SASL_SSL", [CLOSED], "kafka.username, kafka.password_file: the broker at b:9093 closes connections"),
        ("PLAINTEXT", ["KafkaConnectionError: 111 ECONNREFUSED"], "no broker answers at b:9093 by PLAINTEXT"),
    ],
)
def test_why_no_client_connects_is_told_by_the_most_telling_reason(
    protocol: str, reasons: list[str], said: str
) -> None:
    connection = Connection("b:9093", SecurityProtocol(protocol), username="u", sasl_mechanism=SaslMechanism.PLAIN)
    assert said in str(why_not_connected(connection, reasons))


@pytest.mark.parametrize(("setting", "value"), [("token_file", "/run/token"), ("token_url", "https://idp/token")])
def test_why_a_token_is_refused_names_where_it_comes_from(setting: str, value: str) -> None:
    connection = loaded(**BY_TOKEN, **({setting.upper(): value} | (WHO if setting == "token_url" else {})))
    for reason, said in (
        (AUTHENTICATION_FAILED, "refused the token. Check"),
        (CLOSED, "closes connections by SASL_SSL"),
    ):
        error = str(why_not_connected(connection, [reason]))
        assert error.startswith(f"kafka.{setting}: the broker at 127.0.0.1:9092 ")
        assert said in error
