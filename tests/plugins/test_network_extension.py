"""The extension package of the examples: one line of settings makes it train and serve."""

import tomllib
from pathlib import Path

import numpy as np
import pytest

from stream_coupons.core.draws import DrawKey
from stream_coupons.core.features.numeric import NUMERIC
from stream_coupons.models.effect import sigmoids
from stream_coupons.models.inputs import Row, input_of
from stream_coupons.models.learner import Trainer
from stream_coupons.models.linear import ALL_HEADS
from stream_coupons.models.model import Model
from stream_coupons.models.plugins import PluginModel
from stream_coupons.models.rules import LearningRules
from stream_coupons.models.serving import compile_snapshot
from stream_coupons.models.snapshots import pack, unpack
from tests.docs.pages import ROOT
from tests.models.builders import each_row, examples, random_rows

from .packages import install

PACKAGE = ROOT / "examples" / "extensions" / "shop_network"
KEY = DrawKey(b"k" * 32)
BATCH = 32


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Install the package as its metadata declares it."""
    project = tomllib.loads((PACKAGE / "pyproject.toml").read_text())["project"]
    metadata = tmp_path / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: 1.0\n")
    [(group, entries)] = project["entry-points"].items()
    lines = [f"{name} = {target}" for name, target in entries.items()]
    (metadata / "entry_points.txt").write_text("\n".join([f"[{group}]", *lines, ""]))
    install(monkeypatch, PACKAGE)
    install(monkeypatch, tmp_path)


def corners(seed: int, size: int) -> list[tuple[Row, bool]]:
    """A yes where two numbers are both large or both small: exclusive or."""
    rng = np.random.default_rng(seed)
    numbers = np.zeros((size, len(NUMERIC)))
    numbers[:, 3:5] = rng.uniform(0, 3, (size, 2))
    return [(Row(each, []), (each[3] > 1.5) == (each[4] > 1.5)) for each in numbers.tolist()]


def rules() -> LearningRules:
    return LearningRules(models=["network"])


def network(seed: int = 0) -> Model:
    from shop_network import NeuralNetwork  # after its installation

    return PluginModel("network", NeuralNetwork("effect", rules(), seed=seed))


def test_it_trains_and_serves_by_one_line_of_settings() -> None:
    trainer, rows = Trainer(rules(), key=KEY), random_rows(2, 5)
    trainer.learn(examples(3, 1)[0], 0, None)
    untrained = compile_snapshot(trainer.models["ecommerce"].snapshot(), rules(), KEY).predict(rows)
    for offset, each in enumerate(examples(1, 3 * 3 * BATCH), 1):
        trainer.learn(each, offset, None)
    model = trainer.models["ecommerce"]
    served = compile_snapshot(model.snapshot(), rules(), KEY)
    expected = [
        [model.heads[head].champion.probability(input_of(head, row)) for head in ALL_HEADS] for row in each_row(rows)
    ]
    assert sigmoids(served.log_odds(rows)) == pytest.approx(np.array(expected), abs=1e-9)
    assert np.abs(served.predict(rows) - untrained)[:, :3].max(axis=0).min() > 1e-3


def test_it_learns_when_a_batch_is_full() -> None:
    model, row = network(), Row([1.0] * len(NUMERIC), [])
    seen = []
    for _ in range(2 * BATCH):
        model.learn_one(row, True)
        seen.append(model.probability(row))
    assert len(set(seen)) == 3
    assert seen[0] == seen[BATCH - 2] < seen[BATCH - 1] < seen[-1]


def test_it_goes_on_from_a_state_to_the_last_bit() -> None:
    stream, whole, resumed = corners(3, 3 * BATCH), network(), network()
    for row, label in stream[:50]:
        whole.learn_one(row, label)
    resumed.restore({part: unpack(pack(array)) for part, array in whole.state().items()})
    assert [whole.learn_one(*one) for one in stream[50:]] == [resumed.learn_one(*one) for one in stream[50:]]


@pytest.mark.slow
def test_its_hidden_layer_learns_what_no_linear_model_can() -> None:
    stream = corners(4, 20_000)
    # Some weights to begin with lead nowhere; which ones do depends on the number of inputs.
    errors = []
    for seed in range(3):
        model = network(seed)
        errors.append(np.mean([abs(model.learn_one(row, label) - label) for row, label in stream][-1000:]))
    assert np.median(errors) < 0.4
