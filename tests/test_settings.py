"""Settings: the commented reference is the defaults, and whatever cannot work says where it was set."""

import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from stream_coupons.core.draws import PUBLIC_KEY
from stream_coupons.core.errors import BadConfig
from stream_coupons.core.rules import PolicyRules
from stream_coupons.kafka.settings import KafkaSettings
from stream_coupons.settings import Settings, load

REFERENCE = Path(__file__).parents[1] / "deploy" / "settings.toml"


def leaves(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted name to value, for every setting."""
    found = {}
    for name, value in values.items():
        found.update(leaves(value, f"{prefix}{name}.") if isinstance(value, dict) and value else {prefix + name: value})
    return found


def values_of(settings: Settings) -> dict[str, Any]:
    """Dotted name to value, a set's members in order: equal sets may otherwise list theirs differently."""
    return leaves(msgspec.to_builtins(settings, order="deterministic"))


DEFAULTS = values_of(Settings())


def written(folder: Path, text: str) -> Path:
    path = folder / "settings.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_reference_is_the_defaults() -> None:
    assert load(REFERENCE, {}) == Settings()


def test_the_reference_names_every_setting() -> None:
    assert leaves(tomllib.loads(REFERENCE.read_text(encoding="utf-8"))).keys() == DEFAULTS.keys()


def test_the_reference_explains_every_setting() -> None:
    lines = REFERENCE.read_text(encoding="utf-8").splitlines()
    set_at = [number for number, line in enumerate(lines) if line and line[0] not in "#"]
    assert len(set_at) > len(DEFAULTS)
    assert [lines[number] for number in set_at if not lines[number - 1].startswith("# ")] == []


def test_nothing_given_is_the_defaults() -> None:
    assert load(None, {}) == Settings()
    assert load(None, {"PATH": "/bin", "STREAM_COUPONS_CONFIG": "settings.toml"}) == Settings()


def test_what_kubernetes_says_of_a_service_is_no_setting() -> None:
    says = {
        "SERVICE_HOST": "10.0.0.1",
        "SERVICE_PORT": "80",
        "SERVICE_PORT_METRICS": "9464",
        "PORT": "tcp://10.0.0.1:80",
        "PORT_80_TCP": "tcp://10.0.0.1:80",
        "PORT_80_TCP_ADDR": "10.0.0.1",
        "WORKER_SERVICE_HOST": "10.0.0.2",
        "WORKER_PORT": "tcp://10.0.0.2:9464",
    }
    assert load(None, {f"STREAM_COUPONS_{name}": text for name, text in says.items()}) == Settings()


@pytest.mark.parametrize(
    ("name", "text", "meant"),
    [
        ("KAFKA_BOOTSTRAP", "x:1", ", expected STREAM_COUPONS_KAFKA__BOOTSTRAP?"),
        ("WORKER_METRICS_PORT", "9464", ", expected STREAM_COUPONS_WORKER__METRICS_PORT?"),
        ("KAFKA__BOOTSTRAPS", "x:1", ", expected STREAM_COUPONS_KAFKA__BOOTSTRAP?"),
        ("SECRET_FILES", "a", ", expected STREAM_COUPONS_SECRET_FILE?"),
        ("CONFIGS", "1", ", expected STREAM_COUPONS_CONFIG?"),
        ("KAFKA", "{}", ""),
    ],
)
def test_an_unknown_variable_is_refused_with_the_name_that_comes_near(name: str, text: str, meant: str) -> None:
    with pytest.raises(BadConfig) as refused:
        load(None, {f"STREAM_COUPONS_{name}": text})
    assert str(refused.value).startswith(f"STREAM_COUPONS_{name}: there is no such setting{meant}")


def test_a_file_sets_what_it_names_and_leaves_the_rest(tmp_path: Path) -> None:
    settings = load(written(tmp_path, 'secret_file = "secret.key"\n[policy]\nstrategy = "random"\n'), {})
    assert settings == Settings(secret_file="secret.key", policy=PolicyRules(strategy="random"))
    assert settings.rules(PUBLIC_KEY).key == PUBLIC_KEY
    assert settings.rules(PUBLIC_KEY).policy.strategy == "random"


@pytest.mark.parametrize(("partitions", "buckets"), [(1, 1), (15, 1), (16, 2), (200, 25)])
def test_buckets_that_relate_categories_grow_with_the_partitions(partitions: int, buckets: int) -> None:
    settings = Settings(kafka=KafkaSettings(partitions=partitions))
    assert settings.rules(PUBLIC_KEY).related_buckets == buckets


@pytest.mark.parametrize(
    ("name", "text", "field", "value"),
    [
        ("KAFKA__BOOTSTRAP", "kafka-1:9092,kafka-2:9092", "kafka.bootstrap", "kafka-1:9092,kafka-2:9092"),
        ("KAFKA__PARTITIONS", "12", "kafka.partitions", 12),
        ("WORKER__METRICS_HOST", "0.0.0.0", "worker.metrics_host", "0.0.0.0"),
        ("WORKER__TICK_EVERY_S", "0.5", "worker.tick_every_s", 0.5),
        ("LEARNING__PRIOR_VARIANCE", "0.5", "learning.prior_variance", 0.5),
        ("PROFILE__MISSING_PRICE", "last", "profile.missing_price", "last"),
        ("POLICY__TRIGGERS", "order", "policy.triggers", ["order"]),
        ("POLICY__TRIGGERS", "", "policy.triggers", []),
        ("ATTRIBUTION__IMPRESSION_DOMAINS", "travel", "attribution.impression_domains", ["travel"]),
        ("SECRET_FILE", "other.key", "secret_file", "other.key"),
    ],
)
def test_the_environment_overrides_the_file(tmp_path: Path, name: str, text: str, field: str, value: object) -> None:
    path = written(tmp_path, "secret_file = 'secret.key'\n[kafka]\npartitions = 2\n")
    before = values_of(load(path, {}))
    after = values_of(load(path, {f"STREAM_COUPONS_{name}": text}))
    assert after[field] == value
    assert {key for key in after if after[key] != before[key]} == {field}


@pytest.mark.parametrize(
    "addresses", ["kafka", "kafka:9092,b:1", "127.0.0.1:9092", "::1", "fe80::abc", "[::1]", "[::1]:9092"]
)
def test_addresses_of_brokers_may_be_names_or_numbers(addresses: str) -> None:
    assert KafkaSettings(bootstrap=addresses).bootstrap == addresses


def test_a_list_from_the_environment_is_comma_separated() -> None:
    settings = load(None, {"STREAM_COUPONS_POLICY__TRIGGERS": "cart,order"})
    assert settings.policy.triggers == {"cart", "order"}


def test_a_table_from_the_environment_is_a_json_object() -> None:
    settings = load(None, {"STREAM_COUPONS_LEARNING__TRANSFER": '{"travel": "retail"}'})
    assert settings.learning.transfer == settings.rules(PUBLIC_KEY).transfer == {"travel": "retail"}


@pytest.mark.parametrize("field", DEFAULTS)
def test_every_setting_can_be_set_by_the_environment(field: str) -> None:
    value = DEFAULTS[field]
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    name = "STREAM_COUPONS_" + field.upper().replace(".", "__")
    assert load(None, {name: text}) == Settings()


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("KAFKA__BOOTSTRAPS", "x", "no such setting"),
        ("KAFFEE__BOOTSTRAP", "x", "no such setting"),
        ("SECRET_FILE__FILE", "1", "no such setting"),
        ("KAFKA__BOOTSTRAP", "a:1,localhost:abc", r"bootstrap: 'localhost:abc', expected host:port"),
        ("KAFKA__BOOTSTRAP", "localhost:70000", r"bootstrap: 'localhost:70000', .* from 1 to 65535"),
        ("KAFKA__BOOTSTRAP", "", r"bootstrap: '', expected host:port"),
        ("LEARNING__TRANSFER", '{"a": "a"}', "transfer: 'a' starts from 'a': expected no domain that leads back"),
        ("WORKER__METRICS_PORT", "70000", r"'70000': Expected `int` <= 65534 - at `\$.worker.metrics_port`"),
        ("WORKER__METRICS_PORT", "", r"'': Expected `int`, got `str` - at `\$.worker.metrics_port`"),
        ("POLICY__HOLDOUT_RATIO", "1.5", r"Expected `float` <= 1.0 - at `\$.policy.holdout_ratio`"),
        ("POLICY__MAX_CANDIDATES", "0", r"'0': Expected `int` >= 1 - at `\$.policy.max_candidates`"),
        ("POLICY__TRIGGERS", "cart,checkout", r"'checkout' - at `\$.policy.triggers\[1\]`, expected one of browse, "),
        ("KAFKA__GUARANTEE", "exactly-once", "expected one of at_least_once, exactly_once"),
        ("LEARNING__TRANSFER", "travel=retail", r'expected a JSON object, such as {"travel": "retail"}'),
        ("POLICY__DOMAIN_MARGIN_RATIOS", '{"travel": 2}', r"<= 1.0 - at `\$.policy.domain_margin_ratios"),
        ("LEARNING__TRANSFER", '{"travel": 1}', r"Expected `str`, got `int` - at `\$.learning.transfer"),
        ("PROFILE__HALF_LIFE_S", "0", r"Expected `float` > 0.0 - at `\$.profile.half_life_s`"),
    ],
)
def test_a_bad_variable_is_named(name: str, text: str, expected: str) -> None:
    with pytest.raises(BadConfig, match=f"STREAM_COUPONS_{name}.*{expected}"):
        load(None, {f"STREAM_COUPONS_{name}": text})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("seed = ", "is not TOML: "),
        ("[kafka]\npartitions = 2\npartitions = 3\n", "is not TOML: "),
        ("[kafka]\nbootstraps = 'x'\n", r"unknown field `bootstraps` - at `\$.kafka`, expected bootstrap\?"),
        ("[kaffee]\nbootstrap = 'x'\n", "unknown field `kaffee`"),
        ("[kafka]\npartitions = '4'\n", r"Expected `int`, got `str` - at `\$.kafka.partitions`"),
        ("[kafka]\npartitions = 0\n", r"Expected `int` >= 1 - at `\$.kafka.partitions`"),
        ("kafka = 4\n", r"Expected `object`, got `int` - at `\$.kafka`"),
        (
            "[policy]\nstrategy = 'best'\n",
            r"strategy: there is no 'best': expected value, random, an import path .* - at `\$.policy`",
        ),
    ],
)
def test_a_bad_file_is_named_with_the_field(tmp_path: Path, text: str, expected: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(BadConfig, match=rf"settings\.toml.*{expected}"):
        load(path, {})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("session_timeout_s = 1", "kafka.heartbeat_interval_s is 0.5: .* kafka.session_timeout_s, which is 1"),
        ("heartbeat_interval_s = 3.4", "kafka.heartbeat_interval_s is 3.4: expected at most a third .* is 10"),
        ("rebalance_timeout_s = 45", "kafka.request_timeout_s is 45: .* kafka.rebalance_timeout_s, which is 45"),
        ("request_timeout_s = 15.5", "kafka.request_timeout_s is 15.5: expected more than .* is 20"),
    ],
)
def test_timeouts_that_do_not_go_together_are_named(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(BadConfig, match=f"^{expected}$"):
        load(written(tmp_path, f"[kafka]\n{text}\n"), {})


def test_timeouts_go_together_once_all_variables_are_read() -> None:
    names = {
        "SESSION_TIMEOUT_S": "6",
        "HEARTBEAT_INTERVAL_S": "2",
        "REBALANCE_TIMEOUT_S": "60",
        "REQUEST_TIMEOUT_S": "61",
    }
    for order in (names, dict(reversed(names.items()))):
        kafka = load(None, {f"STREAM_COUPONS_KAFKA__{name}": text for name, text in order.items()}).kafka
        assert (kafka.session_timeout_s, kafka.request_timeout_s) == (6, 61)


def test_a_file_that_is_not_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadConfig, match=r"settings\.toml is not UTF-8: line 1 has the byte 0xff; save it as UTF-8"):
        load(path, {})


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match=r"cannot read the settings file .*nowhere\.toml: No such file"):
        load(tmp_path / "nowhere.toml", {})


def test_a_folder_for_a_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match=r"cannot read the settings file .*: Is a directory"):
        load(tmp_path, {})
