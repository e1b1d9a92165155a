"""A feature of another installed package, seen from outside: the programs run beside an installed plug-in."""

import base64
import json
import os
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from stream_coupons.core.errors import BadConfig
from stream_coupons.core.features.numeric import NUMERIC
from stream_coupons.core.features.plugins import installed_features
from stream_coupons.core.plugins import FEATURES

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PLUGIN = HERE / "feature_plugin"
ADDED = {"payday", "title_length", "payday_discount"}


def run(*command: str, plugin: Path | None = PLUGIN, given: str = "") -> subprocess.CompletedProcess[str]:
    """Run Python beside a plug-in, installed as pip installs it: a module and its metadata on the path."""
    path = os.pathsep.join(map(str, filter(None, (ROOT, plugin))))
    environment = os.environ | {"PYTHONPATH": path}
    return subprocess.run(
        [sys.executable, *command], env=environment, input=given, capture_output=True, text=True, check=False
    )


def shop(plugin: Path | None = PLUGIN, given: str = "") -> dict[str, Any]:
    done = run(str(HERE / "feature_program.py"), plugin=plugin, given=given)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def plain() -> dict[str, Any]:
    return shop(None)


@pytest.fixture(scope="module")
def extended(plain: dict[str, Any]) -> dict[str, Any]:
    return shop(given=plain["snapshot"])


@pytest.mark.process
def test_features_of_a_package_are_columns_behind_ours(plain: dict[str, Any], extended: dict[str, Any]) -> None:
    assert tuple(plain["numeric"]) == NUMERIC
    assert set(extended["numeric"]) - set(NUMERIC) == ADDED
    assert [name for name in extended["numeric"] if name not in ADDED] == list(NUMERIC)
    assert extended["schema"] != plain["schema"]


@pytest.mark.process
def test_they_are_computed_bounded_and_learnt_from(extended: dict[str, Any]) -> None:
    examples = extended["examples"]
    assert {each["payday"] for each in examples} == {0.0, 1.0}
    for each in examples:
        assert each["title_length"] == 0.6931
        assert each["payday_discount"] == 1.5 * each["payday"]
    assert extended["prior"] == {"payday": 0.5, "title_length": 0.0, "payday_discount": 0.0}


@pytest.mark.process
def test_they_are_explained_and_left_out_by_the_ablation(extended: dict[str, Any]) -> None:
    assert extended["texts"] == {
        "payday": "comes when wages are paid",
        "title_length": "has a title of 6 letters",
        "payday_discount": "takes 1 off when wages are paid",
    }


@pytest.mark.process
def test_models_of_other_features_are_carried_over_or_refused_by_name(
    plain: dict[str, Any], extended: dict[str, Any]
) -> None:
    for plugin, given in ((PLUGIN, plain), (None, extended), (None, plain)):
        assert shop(plugin, given["snapshot"])["refusal"] == ""
    of_others = {each: relabelled(made["snapshot"]) for each, made in (("plain", plain), ("extended", extended))}
    assert "it lacks payday, title_length, payday_discount. Install" in shop(given=of_others["plain"])["refusal"]
    assert "it has payday, title_length, payday_discount. Install" in shop(None, of_others["extended"])["refusal"]


def relabelled(snapshot: str) -> str:
    """The snapshot of a release whose hashing is another one."""
    content = json.loads(base64.b64decode(snapshot)) | {"feature_schema": "0123456789abcdef"}
    return base64.b64encode(json.dumps(content).encode()).decode()


@pytest.mark.process
def test_the_evaluation_of_a_log_has_them() -> None:
    log = str(ROOT / "examples" / "travel" / "log.jsonl")
    done = [run("-m", "stream_coupons", "evaluate", log, "--json", plugin=plugin) for plugin in (PLUGIN, None)]
    extended, plain = (json.loads(each.stdout)["heads"][1]["log_loss"]["value"] for each in done)
    assert extended != plain


@pytest.mark.process
def test_a_program_with_a_package_that_does_not_import_ends_with_its_name(tmp_path: Path) -> None:
    metadata = tmp_path / "broken-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[stream_coupons.features]\nbroken = broken:FEATURES\n")
    done = run("-m", "stream_coupons", "evaluate", str(ROOT / "examples" / "travel" / "log.jsonl"), plugin=tmp_path)
    assert done.returncode != 0
    assert "stream_coupons.features: 'broken' (broken:FEATURES) does not load: ModuleNotFoundError" in done.stderr


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("nowhere:FEATURES", "ModuleNotFoundError"),
        ("stream_coupons.core.features.numeric:NOTHING", "AttributeError"),
        ("stream_coupons.core.features.numeric:COUPON_FEATURES", "the name discount_depth is taken"),
        ("stream_coupons.core.features.numeric:NUMERIC", "'order_recency' is no ShopperFeature"),
    ],
)
def test_a_declaration_that_cannot_work_is_named(value: str, expected: str) -> None:
    with pytest.raises(BadConfig, match=expected):
        installed_features(NUMERIC, [EntryPoint("mine", value, FEATURES)])
