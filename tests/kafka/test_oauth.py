"""Tokens: how long one is kept, and what is wrong where there is none."""

import asyncio
import socket
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError
from msgspec.structs import replace

from stream_coupons.core.errors import BadConfig, BrokerAway
from stream_coupons.kafka.connection import Connection, SaslMechanism, SecurityProtocol, connecting
from stream_coupons.kafka.oauth import AsyncTokens, ClientCredentials, token_source
from tests.integration.secured import openssl
from tests.token_endpoint import CLIENT, REFUSAL, SECRET, TokenEndpoint

pytestmark = pytest.mark.process

LIFETIME_S = 100


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def numbered(number: int) -> tuple[int, Any]:
    return 200, {"access_token": f"token-{number}", "expires_in": LIFETIME_S, "token_type": "Bearer"}


@pytest.fixture
def endpoint() -> Iterator[TokenEndpoint]:
    with TokenEndpoint(numbered) as endpoint:
        yield endpoint


@pytest.fixture
def connection(endpoint: TokenEndpoint, tmp_path: Path) -> Connection:
    secret = tmp_path / "secret"
    secret.write_text(f"{SECRET}\n", encoding="utf-8")
    secret.chmod(0o600)
    return Connection(
        "127.0.0.1:1",
        SecurityProtocol.SASL_PLAINTEXT,
        sasl_mechanism=SaslMechanism.OAUTHBEARER,
        username=CLIENT,
        password_file=str(secret),
        token_url=endpoint.url,
    )


def test_a_token_is_kept_until_shortly_before_it_expires(endpoint: TokenEndpoint, connection: Connection) -> None:
    clock = Clock()
    client = ClientCredentials(replace(connection, token_scope="kafka:write x"), clock)
    tokens = []
    for clock.now in (0.0, 79.0, 80.0, 159.0, 160.0):
        tokens.append(client.token())
    assert tokens == ["token-0", "token-0", "token-1", "token-1", "token-2"]
    assert endpoint.forms == [{"grant_type": ["client_credentials"], "scope": ["kafka:write x"]}] * 3


def test_a_token_of_unknown_lifetime_is_used_once(endpoint: TokenEndpoint, connection: Connection) -> None:
    endpoint.grant = lambda number: (200, {"access_token": f"token-{number}"})
    client = ClientCredentials(connection, Clock())
    assert [client.token(), client.token()] == ["token-0", "token-1"]
    assert "scope" not in endpoint.forms[0]


def test_clients_with_the_same_settings_share_a_token(endpoint: TokenEndpoint, connection: Connection) -> None:
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(lambda _: token_source(connection)(), range(8))) == {"token-0"}
    assert len(endpoint.forms) == 1


def test_a_token_is_used_until_it_expires_while_the_endpoint_is_away(
    endpoint: TokenEndpoint, connection: Connection
) -> None:
    clock = Clock()
    client = ClientCredentials(connection, clock)
    assert client.token() == "token-0"
    endpoint.grant = lambda _: (503, b"")
    clock.now = 99.0
    assert client.token() == "token-0"
    clock.now = 100.0
    with pytest.raises(BrokerAway, match="does not answer now \\(503\\)"):
        client.token()
    asked = len(endpoint.forms)
    with pytest.raises(BrokerAway):
        client.token()
    assert len(endpoint.forms) == asked, "the error of a moment ago is shared"
    endpoint.grant = numbered
    clock.now = 101.0
    assert client.token() == f"token-{asked}"


@pytest.mark.parametrize(
    ("status", "answer", "kind", "why"),
    [
        (401, REFUSAL, BadConfig, r"kafka.token_url, kafka.username, .* to 'engine:1' \(401 invalid_client\)"),
        (400, {"error": "invalid_scope"}, BadConfig, r"kafka.token_scope: .* \(400 invalid_scope\). Check"),
        (404, b"hush", BadConfig, r"granted no token .* \(404\)"),
        (302, b"", BadConfig, r"granted no token .* \(302\)"),
        (429, b"", BrokerAway, r"does not answer now \(429\)"),
        (500, b"hush", BrokerAway, r"does not answer now \(500\)"),
        (200, {"token": "hush"}, BadConfig, "granted no token .*missing required field `access_token`.*Set a token"),
        (200, {"access_token": "hush\x01hush"}, BadConfig, "granted no token .*access_token"),
        (200, {"access_token": "hush\n"}, BadConfig, "granted no token .*access_token"),
        (200, {"access_token": 7}, BadConfig, "granted no token"),
        (200, b"<html>hush</html>", BadConfig, "granted no token"),
        (200, b"\xff", BadConfig, "granted no token"),
    ],
)
def test_an_endpoint_without_a_token_is_named(
    endpoint: TokenEndpoint, connection: Connection, status: int, answer: Any, kind: type[BadConfig], why: str
) -> None:
    endpoint.grant = lambda _: (status, answer)
    with pytest.raises(BadConfig, match=why) as refused:
        ClientCredentials(connection).token()
    assert type(refused.value) is kind
    assert endpoint.url in str(refused.value)
    assert "hush" not in str(refused.value)
    assert SECRET not in str(refused.value)
    assert len(endpoint.forms) == 1, "a redirect is not followed"


def test_a_wrong_secret_is_refused_and_not_shown(connection: Connection) -> None:
    Path(connection.password_file).write_text("hush", encoding="utf-8")
    with (
        pytest.raises(BadConfig, match=r"kafka.password_file.*401 invalid_client") as refused,
        connecting(connection),
    ):
        pass
    assert "hush" not in str(refused.value)
    assert SECRET not in str(refused.value)


def test_an_endpoint_that_is_away_is_like_an_absent_broker(connection: Connection) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        away = replace(connection, token_url=f"http://127.0.0.1:{bound.getsockname()[1]}/token")
        with pytest.raises(BrokerAway, match=r"kafka.token_url: .* does not answer"), connecting(away):
            pass
        provider = away.options()["sasl_oauth_token_provider"]
        assert isinstance(provider, AsyncTokens)
        with pytest.raises(KafkaConnectionError, match=r"kafka.token_url"):
            asyncio.run(provider.token())


def test_a_secret_that_cannot_be_read_is_named(connection: Connection) -> None:
    with pytest.raises(BadConfig, match=r"kafka.password_file: /nowhere cannot be read"):
        token_source(replace(connection, password_file="/nowhere"))()


def test_a_file_is_read_for_each_connection(tmp_path: Path) -> None:
    file = tmp_path / "token"
    mechanism = SaslMechanism.OAUTHBEARER
    connection = Connection("a:1", SecurityProtocol.SASL_SSL, sasl_mechanism=mechanism, token_file=str(file))
    options = connection.options()
    assert options["sasl_mechanism"] == "OAUTHBEARER"
    assert not any(name.startswith("sasl_plain") for name in options)
    blocking = connection.options(is_async=False)["sasl_oauth_token_provider"]
    for token in ("first.token-_~+/==", "second"):
        file.write_text(f"{token}\n", encoding="utf-8")
        assert asyncio.run(options["sasl_oauth_token_provider"].token()) == token
        assert blocking.token() == token
    for text in ("", "two tokens", "hush\x01hush", "two\nlines"):
        file.write_text(text, encoding="utf-8")
        with pytest.raises(BadConfig, match=f"kafka.token_file: {file} holds no token, expected") as refused:
            token_source(connection)()
        assert "hush" not in str(refused.value)
    file.unlink()
    with pytest.raises(BadConfig, match=f"kafka.token_file: {file} cannot be read"), connecting(connection):
        pass


def test_an_endpoint_is_known_by_the_authorities_of_the_brokers(connection: Connection, tmp_path: Path) -> None:
    openssl(tmp_path, "endpoint", "-addext", "subjectAltName=IP:127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "endpoint.pem", tmp_path / "endpoint.key")
    with TokenEndpoint(lambda _: (200, {"access_token": "token", "expires_in": "3599"}), context) as endpoint:
        encrypted = replace(connection, token_url=endpoint.url)
        with pytest.raises(BadConfig, match=r"kafka.ca_file: the certificate of https://.* is not accepted"):
            token_source(encrypted)()
        assert token_source(replace(encrypted, ca_file=str(tmp_path / "endpoint.pem")))() == "token"
