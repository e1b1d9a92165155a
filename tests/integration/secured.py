"""Apache Kafka that wants to know who comes in: passwords or certificates over TLS, or tokens; and rights by topic."""

import subprocess
from pathlib import Path

from kafka import KafkaAdminClient
from kafka.admin import (
    ACL,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    ResourcePattern,
    ResourceType,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from loopback_kafka import ApacheKafka
from stream_coupons.kafka import topics
from stream_coupons.kafka.connection import Connection, SaslMechanism, SecurityProtocol
from stream_coupons.kafka.settings import KafkaSettings

OPERATOR, ENGINE, SHOP, NOTIFICATIONS, TENANT = "operator", "engine", "shop", "notifications", "tenant"
GROUP = "stream-coupons"
BEARER = "org.apache.kafka.common.security.oauthbearer"
SESSION_S = 3
"""Time after which the broker ends a connection by a token."""


class SecuredKafka(ApacheKafka):
    """One node with a listener for passwords and one for certificates, both over TLS, and one for unsecured tokens.

    Its own plain listener, by which it is watched, is the super user's; `bootstrap` is that for passwords.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "data")
        self.certificates = folder
        self.scram_port, self.mutual_port, self.token_port = (self._claim_port() for _ in range(3))
        openssl(folder, "ca", "-addext", "basicConstraints=critical,CA:TRUE")
        for name in ("broker", OPERATOR):
            by_ca = ["-CA", str(folder / "ca.pem"), "-CAkey", str(folder / "ca.key")]
            openssl(folder, name, *by_ca, "-addext", "subjectAltName=IP:127.0.0.1")
        both = (folder / "broker.key").read_text() + (folder / "broker.pem").read_text()
        (folder / "keystore.pem").write_text(both)

    def _settings(self, controller_port: int) -> str:
        listeners = ",".join(
            f"{name}://127.0.0.1:{port}"
            for name, port in (
                ("PLAINTEXT", self.port),
                ("SCRAM", self.scram_port),
                ("MUTUAL", self.mutual_port),
                ("TOKEN", self.token_port),
            )
        )
        protocols = "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SCRAM:SASL_SSL,MUTUAL:SSL,TOKEN:SASL_PLAINTEXT"
        settings = {
            "listeners": f"{listeners},CONTROLLER://127.0.0.1:{controller_port}",
            "advertised.listeners": listeners,
            "listener.security.protocol.map": protocols,
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": f"User:ANONYMOUS;User:{OPERATOR}",
            "sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "listener.name.scram.scram-sha-512.sasl.jaas.config": (
                "org.apache.kafka.common.security.scram.ScramLoginModule required;"
            ),
            "listener.name.token.sasl.enabled.mechanisms": "OAUTHBEARER",
            "listener.name.token.oauthbearer.sasl.jaas.config": f"{BEARER}.OAuthBearerLoginModule required;",
            "listener.name.token.oauthbearer.sasl.server.callback.handler.class": (
                f"{BEARER}.internals.unsecured.OAuthBearerUnsecuredValidatorCallbackHandler"
            ),
            "listener.name.token.oauthbearer.connections.max.reauth.ms": SESSION_S * 1000,
            "listener.name.mutual.ssl.client.auth": "required",
            "ssl.principal.mapping.rules": "RULE:^CN=([^,]+).*$/$1/",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": self.certificates / "keystore.pem",
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": self.certificates / "ca.pem",
        }
        return super()._settings(controller_port) + "".join(f"{name}={value}\n" for name, value in settings.items())

    @property
    def bootstrap(self) -> str:
        """The address of the listener for passwords."""
        return f"127.0.0.1:{self.scram_port}"

    @property
    def token_address(self) -> str:
        """The address of the listener for tokens."""
        return f"127.0.0.1:{self.token_port}"

    def by_password(self, user: str, password: str | None = None) -> Connection:
        """The way in for a user, by their password or another one."""
        file = self.certificates / f"{user}.password"
        file.write_text(f"{password or _password_of(user)}\n")
        return Connection(
            self.bootstrap,
            SecurityProtocol.SASL_SSL,
            ca_file=str(self.certificates / "ca.pem"),
            sasl_mechanism=SaslMechanism.SCRAM_SHA_512,
            username=user,
            password_file=str(file),
        )

    def by_certificate(self, user: str) -> Connection:
        """The way in for a user who has a certificate."""
        ca, certificate, key = (str(self.certificates / name) for name in ("ca.pem", f"{user}.pem", f"{user}.key"))
        return Connection(f"127.0.0.1:{self.mutual_port}", SecurityProtocol.SSL, ca, certificate, key)

    def by_token(self, **settings: str) -> Connection:
        """The way in by a token."""
        mechanism = SaslMechanism.OAUTHBEARER
        return Connection(self.token_address, SecurityProtocol.SASL_PLAINTEXT, sasl_mechanism=mechanism, **settings)

    def admit(self, rights: list[ACL]) -> None:
        """Make the users known, and give them rights."""
        client = KafkaAdminClient(bootstrap_servers=f"127.0.0.1:{self.port}")
        try:
            client.alter_user_scram_credentials(
                [
                    UserScramCredentialUpsertion(user, ScramMechanism.SCRAM_SHA_512, _password_of(user))
                    for user in (OPERATOR, ENGINE, SHOP, NOTIFICATIONS, TENANT)
                ]
            )
            client.create_acls(rights)
        finally:
            client.close()


def rights_of_the_readme() -> list[ACL]:
    """Who may do what, as docs/how-to/run-in-production.md states it."""
    read, write, describe = ACLOperation.READ, ACLOperation.WRITE, ACLOperation.DESCRIBE
    written = topics.CATALOG, topics.CODES, topics.REDRIVES, topics.FINGERPRINTS
    of_others = (*topics.INPUTS, *written)
    return [
        *(_allow(ENGINE, read, ResourceType.TOPIC, topic.name) for topic in topics.ALL),
        *(_allow(ENGINE, ACLOperation.DESCRIBE_CONFIGS, ResourceType.TOPIC, topic.name) for topic in topics.ALL),
        *(_allow(ENGINE, write, ResourceType.TOPIC, topic.name) for topic in topics.ALL if topic not in of_others),
        *(_allow(ENGINE, read, ResourceType.GROUP, group) for group in KafkaSettings(group_id=GROUP).group_ids),
        *(
            _allow(ENGINE, one, ResourceType.TRANSACTIONAL_ID, GROUP, ACLResourcePatternType.PREFIXED)
            for one in (write, describe)
        ),
        *(_allow(SHOP, write, ResourceType.TOPIC, topic.name) for topic in topics.INPUTS),
        _allow(NOTIFICATIONS, read, ResourceType.TOPIC, topics.ISSUES.name),
    ]


def rights_of_a_namespace(user: str, namespace: str) -> list[ACL]:
    """All rights within a namespace and none outside of it, as docs/how-to/run-in-production.md gives them."""
    kinds = ResourceType.TOPIC, ResourceType.GROUP, ResourceType.TRANSACTIONAL_ID
    prefixed = ACLResourcePatternType.PREFIXED
    return [_allow(user, ACLOperation.ALL, kind, namespace, prefixed) for kind in kinds]


def _allow(
    user: str,
    operation: ACLOperation,
    kind: ResourceType,
    name: str,
    pattern: ACLResourcePatternType = ACLResourcePatternType.LITERAL,
) -> ACL:
    return ACL(f"User:{user}", "*", operation, ACLPermissionType.ALLOW, ResourcePattern(kind, name, pattern))


def _password_of(user: str) -> str:
    return f"{user}, says who? ß"


def openssl(folder: Path, name: str, *options: str) -> None:
    """Make a key and a certificate."""
    new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc"]
    files = ["-keyout", str(folder / f"{name}.key"), "-out", str(folder / f"{name}.pem")]
    subprocess.run([*new, "-days", "2", "-subj", f"/CN={name}", *files, *options], check=True, capture_output=True)
