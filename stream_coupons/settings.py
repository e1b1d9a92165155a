"""One frozen Settings, read once from a TOML file and the environment, passed down."""

import hashlib
import os
import re
import tomllib
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from stream_coupons.core.draws import DrawKey
from stream_coupons.core.errors import BadConfig
from stream_coupons.core.rules import (
    STRATEGIES,
    ApprovalRules,
    AttributionRules,
    NeighbourhoodRules,
    PolicyRules,
    Positive,
    ProfileRules,
    Rules,
    ShopRules,
    Size,
)
from stream_coupons.core.validation_hints import explained, near, not_utf8
from stream_coupons.kafka.connection import SaslMechanism
from stream_coupons.kafka.settings import KafkaSettings
from stream_coupons.kafka.topics import INPUTS
from stream_coupons.models.rules import LearningRules

__all__ = ["Settings", "load"]

PREFIX = "STREAM_COUPONS_"
NOT_SETTINGS = frozenset(
    PREFIX + name
    for name in ("CONFIG", "CACHE", "REQUIRE_KAFKA", "FAULTS", "FAULTS_REPORT", "FUZZ", "ALLOW_PUBLIC_SECRET")
)
"""Variables that others of this program and its tests read."""
OF_KUBERNETES = re.compile(
    r"(?:.+_)?(?:SERVICE_HOST=|SERVICE_PORT(?:_.+)?=|PORT=\w+://|PORT_\d+_(?:TCP|UDP|SCTP)(?:_.+)?=)"
)
"""Variables that Kubernetes sets in every container for a service whose name begins with `stream-coupons`."""
PARTITIONS_PER_BUCKET = 8
"""Partitions for each bucket that relates categories. A bucket needs a thousand shoppers to learn from: a small shop,
with few partitions, has one bucket."""
TOKEN_URL = re.compile(
    r"(https://([\w.-]+|\[[\da-fA-F:.]+\])|http://(localhost|127\.0\.0\.1|\[::1\]))(:\d{1,5})?([/?][!\"$-~]*)?",
    re.ASCII,
)
"""A client's secret is sent there: in the clear on this machine only."""


class Store(StrEnum):
    """Store of the cells that a worker owns. It is filled from the changelog and lasts no longer than the worker."""

    MEMORY = "memory"
    ROCKSDB = "rocksdb"
    """On a disk, so that memory does not grow with shoppers; needs the extra `rocksdb`."""


class WorkerSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One `worker` command."""

    metrics_host: str = "127.0.0.1"
    metrics_port: Annotated[int, Meta(ge=0, le=65534)] = 9464
    batch_records: Size = 2000
    tick_every_s: Annotated[float, Meta(ge=0)] = 5.0
    max_bad_ratio: Annotated[float, Meta(gt=0, le=1)] = 0.5
    bad_window_records: Size = 1000
    stalled_after_s: Positive = 120.0
    store: Store = Store.MEMORY
    store_dir: str = ""
    store_cache_mib: Size = 64

    @property
    def learner_metrics_port(self) -> int:
        """Port of a learner's metrics and probes, behind the worker's; 0 for none."""
        return self.metrics_port and self.metrics_port + 1


class TracingSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Spans of the events that are traced."""

    endpoint: str = ""
    ratio: Annotated[float, Meta(ge=0, le=1)] = 0.0


class LearningSettings(LearningRules, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The online models, and how often what they learnt is published."""

    publish_every_s: Positive = 5.0


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that can be set."""

    kafka: KafkaSettings = KafkaSettings()
    worker: WorkerSettings = WorkerSettings()
    tracing: TracingSettings = TracingSettings()
    learning: LearningSettings = LearningSettings()
    profile: ProfileRules = ProfileRules()
    neighbourhood: NeighbourhoodRules = NeighbourhoodRules()
    policy: PolicyRules = PolicyRules()
    attribution: AttributionRules = AttributionRules()
    shop: ShopRules = ShopRules()
    approval: ApprovalRules = ApprovalRules()
    secret_file: str = ""

    @property
    def shared_fingerprint(self) -> str:
        """Digest of the settings that all workers of a group share, but for how the brokers are reached."""
        kafka = [self.kafka.namespace, self.kafka.group_id, self.kafka.guarantee, self.kafka.partitions]
        shared = [kafka, self.profile, self.neighbourhood, self.policy, self.attribution]
        text = msgspec.json.encode(shared, order="deterministic")
        return hashlib.blake2b(text, digest_size=4).hexdigest()

    def rules(self, key: DrawKey) -> Rules:
        """Return what the core needs of all this; `key` is that of `secret_file`, which `secret.py` reads.

        Raises
        ------
        BadConfig
            If `policy.strategy` names a policy that cannot be made, or signatures cannot be verified.
        """
        if self.approval.required:
            from stream_coupons.core.catalogue.approval import require_package

            require_package()
        if self.policy.strategy not in STRATEGIES:
            from stream_coupons.core.decision.policy_plugin import load_policy

            load_policy(self.policy.strategy)
        return Rules(
            profile=self.profile,
            neighbourhood=self.neighbourhood,
            policy=self.policy,
            attribution=self.attribution,
            shop=self.shop,
            approval=self.approval,
            transfer=self.learning.transfer,
            related_buckets=max(1, self.kafka.partitions // PARTITIONS_PER_BUCKET),
            key=key,
        )


INPUT_NAMES = {topic.name for topic in INPUTS}
SECTIONS = frozenset(Settings.__struct_fields__) - {"secret_file"}


def load(path: Path | None = None, environ: Mapping[str, str] = os.environ) -> Settings:
    """Defaults, then the file, then `STREAM_COUPONS_SECTION__FIELD` from the environment.

    Raises
    ------
    BadConfig
        Naming the file or variable, the field and what was expected; of fields that do not go together, both.
    """
    values: dict[str, Any] = {}
    if path is not None:
        try:
            data = path.read_bytes()
            values = tomllib.loads(data.decode())
        except OSError as error:
            raise BadConfig(f"cannot read the settings file {path}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise BadConfig(f"{path} {not_utf8(data)}") from None
        except tomllib.TOMLDecodeError as error:
            raise BadConfig(f"{path} is not TOML: {error}") from None
    try:
        settings = msgspec.convert(values, Settings)
    except msgspec.ValidationError as error:
        raise BadConfig(f"{path}: {explained(error, Settings)}") from None
    for name, text in environ.items():
        if is_setting(name):
            settings = _override(settings, name, text)
    if others := settings.kafka.formats.keys() - INPUT_NAMES:
        raise BadConfig(f"kafka.formats: {min(others)!r} is no input topic, expected {', '.join(sorted(INPUT_NAMES))}")
    _check_timeouts(settings.kafka)
    _check_security(settings.kafka)
    return settings


def is_setting(name: str) -> bool:
    """Return True if an environment variable is read as a setting."""
    return name.startswith(PREFIX) and name not in NOT_SETTINGS


def _check_timeouts(kafka: KafkaSettings) -> None:
    """Check timeouts that depend on each other, once all are read: environment variables are read one by one."""
    if 3 * kafka.heartbeat_interval_s > kafka.session_timeout_s:
        raise BadConfig(
            f"kafka.heartbeat_interval_s is {kafka.heartbeat_interval_s:g}: expected at most a third of "
            f"kafka.session_timeout_s, which is {kafka.session_timeout_s:g}"
        )
    if kafka.request_timeout_s <= kafka.rebalance_timeout_s:
        raise BadConfig(
            f"kafka.request_timeout_s is {kafka.request_timeout_s:g}: expected more than "
            f"kafka.rebalance_timeout_s, which is {kafka.rebalance_timeout_s:g}"
        )


def _check_security(kafka: KafkaSettings) -> None:
    """Refuse security settings without effect, so that nobody relies on them, and incomplete ones."""
    protocol = kafka.security_protocol
    for name in ("ca_file", "certificate_file", "key_file"):
        is_of_endpoint = name == "ca_file" and kafka.has_tokens and kafka.token_url.startswith("https:")
        if getattr(kafka, name) and not (protocol.is_encrypted or is_of_endpoint):
            raise BadConfig(f"kafka.{name} is set: expected kafka.security_protocol SSL or SASL_SSL, it is {protocol}")
    if bool(kafka.certificate_file) != bool(kafka.key_file):
        raise BadConfig("kafka.certificate_file, kafka.key_file: expected both or none")
    _check_sasl(kafka)


def _check_sasl(kafka: KafkaSettings) -> None:
    """Refuse settings that the way to authenticate does not use, and missing ones."""
    protocol = kafka.security_protocol
    by = f"{protocol} by {kafka.sasl_mechanism}"
    needed = ["username", "password_file"] if protocol.has_sasl else []
    if kafka.has_tokens and kafka.token_file:
        needed, by = ["token_file"], f"{by} with kafka.token_file"
    elif kafka.has_tokens:
        needed = ["token_url", *needed]
    expected = "expected kafka.security_protocol SASL_SSL or SASL_PLAINTEXT"
    unused = f"{by} does not use it" if protocol.has_sasl else f"{expected}, it is {protocol}"
    if kafka.sasl_mechanism is SaslMechanism.OAUTHBEARER and not protocol.has_sasl:
        raise BadConfig(f"kafka.sasl_mechanism is {kafka.sasl_mechanism}: {unused}")
    for name in ("token_url", "token_file", "token_scope", "username", "password_file"):
        is_set, is_scope = bool(getattr(kafka, name)), name == "token_scope" and "token_url" in needed
        if is_set and not is_scope and name not in needed:
            raise BadConfig(f"kafka.{name} is set: {unused}")
        if name in needed and not is_set:
            other = ", or kafka.token_file" if name == "token_url" else ""
            raise BadConfig(f"kafka.{name} is not set: {by} needs it{other}")
    if kafka.token_url and not TOKEN_URL.fullmatch(kafka.token_url):
        raise BadConfig("kafka.token_url: expected https://host[:port]/path without a user name, or http://localhost")


def _override(settings: Settings, name: str, text: str) -> Settings:
    section, _, field = name.removeprefix(PREFIX).lower().partition("__")
    values = msgspec.to_builtins(settings)
    target = values.get(section) if field else values
    key = field or section
    if not isinstance(target, dict) or key not in target or key in SECTIONS:
        if OF_KUBERNETES.match(f"{name.removeprefix(PREFIX)}={text}"):
            return settings
        raise BadConfig(f"{name}: there is no such setting{near(name, [*_variables(values), PREFIX + 'CONFIG'])}")
    try:
        target[key] = _value_like(target[key], text)
        return msgspec.convert(values, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise BadConfig(f"{name}={text!r}: {explained(error, Settings)}") from None
    except msgspec.DecodeError as error:
        raise BadConfig(f'{name}={text!r}: {error}; expected a JSON object, such as {{"travel": "retail"}}') from None


def _variables(values: Mapping[str, Any]) -> list[str]:
    """The name of every setting in the environment."""
    names = [(section, name) for section in SECTIONS for name in values[section]]
    return [PREFIX + "SECRET_FILE", *(f"{PREFIX}{section}__{name}".upper() for section, name in names)]


def _value_like(default: Any, text: str) -> Any:
    """A variable's text as msgspec converts it: a list has commas or is JSON, a table is a JSON object."""
    if isinstance(default, dict) or text.startswith("["):
        return msgspec.json.decode(text)
    return [part for part in text.split(",") if part] if isinstance(default, list) else text
