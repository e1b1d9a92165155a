"""The examples of docs/how-to/extend.md run as they are on the page."""

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stream_coupons.core.decision.policy_plugin import Offer, shares
from stream_coupons.core.draws import DrawKey
from stream_coupons.models.learner import Trainer
from stream_coupons.models.serving import compile_snapshot
from stream_coupons.settings import load
from tests.docs.pages import block
from tests.models.builders import examples

KEY = DrawKey(b"the workers'")
CLASSIFIER = "stream_coupons.models.river_classifier:KalmanClassifier"


@pytest.fixture(autouse=True)
def _package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The modules and the metadata that the page's code would be installed as."""
    (tmp_path / "page_models.py").write_text(block("extend-pipeline") + block("extend-model"), encoding="utf-8")
    (tmp_path / "page_policies.py").write_text(block("extend-policy"), encoding="utf-8")
    groups = tomllib.loads(renamed(block("extend-entry-points")))["project"]["entry-points"]
    info = tmp_path / "page_plugins-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: page-plugins\nVersion: 1.0\n")
    lines = [
        f"[{group}]\n" + "\n".join(f"{name} = {path}" for name, path in each.items()) for group, each in groups.items()
    ]
    (info / "entry_points.txt").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(str(tmp_path))


def renamed(text: str) -> str:
    """The text with names of its own: the packages beside this test have those of the page."""
    return text.replace("shop_", "page_").replace("base_rate", "page_rate").replace("softmax", "page_softmax")


@pytest.mark.long
@pytest.mark.parametrize("name", ["extend-river", "extend-pipeline-settings", "page_rate", CLASSIFIER])
def test_its_models_learn_and_serve(name: str, tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    is_on_page = name.startswith("extend-")
    path.write_text(renamed(block(name)) if is_on_page else f'[learning]\nmodels = ["{name}"]\n')
    rules = load(path, {}).learning
    trainer = Trainer(rules, key=KEY)
    for offset, one in enumerate(examples(1, 60)):
        trainer.learn(one, offset, None)
    [snapshot] = trainer.snapshots()
    assert rules.models[-1] in snapshot.heads["click"].parts
    assert compile_snapshot(snapshot, rules, KEY).version == snapshot.version


@pytest.mark.long
def test_its_classifier_is_compared_with_one_of_river() -> None:
    found: dict[str, Any] = {}
    exec(block("extend-classifier"), found)
    assert {name: round(loss, 2) for name, loss in found["losses"].items()} == {"kalman": 0.26, "logistic": 0.33}


def test_its_policy_decides(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text(renamed(block("extend-policy-settings")))
    rules = load(path, {}).rules(KEY).policy
    offer = Offer("u", "ecommerce", 0.0, ["a", "b"], np.zeros((2, 3)), np.array([5.0, 25.0]), np.zeros(2), rules)
    a, b, none = shares(offer)
    assert b > a > none > 0.0
