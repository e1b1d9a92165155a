"""Models from another package learn, are kept in snapshots, serve, and are refused where they cannot."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from prometheus_client import CollectorRegistry
from river import __version__ as river_version

from stream_coupons.core.decision.incremental import uses_of
from stream_coupons.core.draws import PUBLIC_KEY, DrawKey
from stream_coupons.core.errors import BadConfig, BadMessage, PluginError, SnapshotMismatch
from stream_coupons.core.features.numeric import NUMERIC
from stream_coupons.core.features.rows import FeatureRows
from stream_coupons.core.messages.learning import ModelSnapshot
from stream_coupons.kafka.codec import encode
from stream_coupons.models.effect import either, redemption, sigmoid
from stream_coupons.models.inputs import Row, input_of
from stream_coupons.models.learner import Trainer
from stream_coupons.models.linear import ALL_HEADS, LinearScorer
from stream_coupons.models.plugins import PluginModel, check_signed, make_plugin
from stream_coupons.models.registry import make_model
from stream_coupons.models.river_model import RiverModel, words
from stream_coupons.models.row_scorer import RowScorer
from stream_coupons.models.rules import LearningRules
from stream_coupons.models.serving import compile_snapshot
from stream_coupons.models.snapshots import checksum, pack
from stream_coupons.observability.metrics import Metrics
from stream_coupons.settings import LearningSettings, Settings, load
from stream_coupons.worker.knowledge import CurrentKnowledge
from tests.models.builders import each_row, examples, random_rows

from .packages import MODELS, RIVER, install

KEY, OTHER_KEY = DrawKey(b"the workers'"), DrawKey(b"somebody else's")
SCALED = "shop_models:scaled_numbers"


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, MODELS)


def trained(*models: str, size: int = 300, key: DrawKey = KEY, **rules: Any) -> Trainer:
    trainer = Trainer(LearningRules(models=list(models), **rules), key=key)
    for offset, one in enumerate(examples(1, size)):
        observed = offset % 2 == 0
        trainer.learn(msgspec.structs.replace(one, observed=observed), offset, None)
    return trainer


def rows_of_shoppers(size: int = 20) -> FeatureRows:
    return random_rows(2, size)


def snapshot_of(trainer: Trainer) -> ModelSnapshot:
    [snapshot] = trainer.snapshots()
    return snapshot


# ------------------------------------------------------------ what is made


@pytest.mark.parametrize("name", ["shop_models:scaled", "scaled", "river.linear_model:LogisticRegression"])
def test_a_classifier_of_river_is_one_line_of_settings(name: str, tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text(f'[learning]\nmodels = ["{name}"]\n')
    rules = load(path, {}).learning
    one, other = (make_model(rules.models[0], "click", rules) for _ in range(2))
    assert isinstance(one, PluginModel)
    assert isinstance(other, PluginModel)
    one.learn_one(next(each_row(rows_of_shoppers(1))), True)
    assert [model.inner._examples for model in (one, other)] == [1.0, 0.0]  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["kalmann", "level"])
def test_a_setting_that_names_no_model_is_refused_where_it_is_read(name: str, tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text(f'[learning]\nmodels = ["{name}"]\n')
    message = rf"there is no '{name}': expected kalman, .* entry point .* \(installed: .*base_rate.*\)"
    with pytest.raises(BadConfig, match=rf"settings\.toml: models: .*{message}.*learning"):
        load(path, {})


CLASSIFIER = "expected a river.base.Classifier with predict_proba_one"
WRONG = {
    "shop_model:scaled": r"does not load: ModuleNotFoundError: .*; correct the name, or install the package",
    "without_code": r"'without_code' \(shop_models:Removed\) does not load: AttributeError",
    "collections:Counter": "cannot be made: TypeError",
    "river.linear_model:LinearRegression": f"is a LinearRegression: {CLASSIFIER}",
    "river.preprocessing:StandardScaler": f"is a StandardScaler: {CLASSIFIER}",
    "shop_models:Labels": f"is a Labels: {CLASSIFIER}",
    "not_callable": "cannot be made: TypeError",
    "incomplete": "makes a Incomplete without quicken, state, restore",
    "shop_models:with_a_lambda": "of head click: cannot be pickled for a snapshot: .*; expected no lambda",
}


@pytest.mark.parametrize(("text", "message"), WRONG.items(), ids=WRONG)
def test_a_model_that_cannot_be_made_says_why_before_anything_is_learnt(text: str, message: str) -> None:
    with pytest.raises(BadConfig, match=rf"learning\.models: .*{message}"):
        Trainer(LearningRules(models=["kalman", text]))


def test_river_models_need_a_secret_and_others_do_not() -> None:
    check_signed(LearningRules(models=["kalman", RIVER]), KEY)
    check_signed(LearningRules(models=["kalman", "base_rate"]), PUBLIC_KEY)
    with pytest.raises(BadConfig, match=r"set secret_file, see `stream-coupons secret make`"):
        check_signed(LearningRules(models=["kalman", RIVER]), PUBLIC_KEY)


# ------------------------------------------------------------ what is learnt and served


@pytest.mark.long
@pytest.mark.parametrize("names", [(RIVER,), (SCALED,), ("base_rate",), ("base_rate", "kalman", RIVER)])
def test_a_snapshot_serves_what_the_learner_predicts(names: tuple[str, ...]) -> None:
    trainer = trained(*names)
    snapshot, rules = snapshot_of(trainer), LearningRules(models=list(names))
    scorer = compile_snapshot(msgspec.json.decode(encode(snapshot), type=ModelSnapshot), rules, KEY)
    domain, rows = trainer.models["ecommerce"], rows_of_shoppers()
    for index, row in enumerate(each_row(rows)):
        of_head = [domain.heads[head].log_odds(input_of(head, row)) for head in ALL_HEADS]
        assert scorer.log_odds(rows)[index] == pytest.approx(np.array(of_head), abs=1e-9)
        click, effect, later, visit = map(sigmoid, of_head)
        order = either(later, visit)
        uses = uses_of(rows.numeric[index], domain.incremental.uses_ratio)
        expected = [click, redemption(effect, order, uses), order, visit]
        assert scorer.predict(rows)[index] == pytest.approx(expected, abs=1e-9)


def test_what_is_learnt_later_does_not_change_a_scorer() -> None:
    trainer, rows = trained(RIVER), rows_of_shoppers()
    scorer = trainer.models["ecommerce"].scorer()
    before = scorer.predict(rows).tolist()
    for offset, each in enumerate(examples(4, 60), start=300):
        trainer.learn(each, offset, None)
    assert scorer.predict(rows).tolist() == before != trainer.models["ecommerce"].live().predict(rows).tolist()


@pytest.mark.long
def test_a_challenger_that_is_better_takes_over_and_serves() -> None:
    trainer = Trainer(LearningRules(models=["base_rate", RIVER], promotion_min_examples=50), key=KEY)
    for offset, one in enumerate(examples(1, 2400)):
        trainer.learn(msgspec.structs.replace(one, label=one.numeric[0] > 1.5), offset, None)
    promoted = {(news.head, getattr(news.happening, "new", None)) for news in trainer.news()}
    assert ("click", RIVER) in promoted
    snapshot = snapshot_of(trainer)
    assert snapshot.heads["click"].champion == RIVER
    scorer = compile_snapshot(snapshot, LearningRules(models=["base_rate", RIVER]), KEY)
    served, low = rows_of_shoppers(2), rows_of_shoppers(2)
    served.numeric[:, 0], low.numeric[:, 0] = 3.0, 0.0
    assert scorer.predict(served)[:, 0].min() > 0.5 > scorer.predict(low)[:, 0].max()


def test_beside_a_challenger_from_another_package_the_arrays_serve() -> None:
    alone, beside = (trained(*names).models["ecommerce"].scorer() for names in (("kalman",), ("kalman", RIVER)))
    assert isinstance(beside, LinearScorer)
    assert beside.predict(rows_of_shoppers()).tolist() == alone.predict(rows_of_shoppers()).tolist()


def test_part_of_the_evidence_is_learnt_as_part_of_an_example() -> None:
    model = make_plugin(RIVER, "effect", LearningRules(), KEY).inner
    assert isinstance(model, RiverModel)
    rows = list(each_row(rows_of_shoppers(200)))
    for row in rows:
        row.anyway = 0.6
        model.learn_one(row, True)
    assert 0 < model._examples < 100


def test_reasons_are_the_difference_that_a_feature_makes() -> None:
    scorer, rows = trained(RIVER, SCALED, pinned=SCALED).models["ecommerce"].scorer(), rows_of_shoppers(3)
    assert isinstance(scorer, RowScorer)
    found = scorer.contributions(rows, 1, 0)
    assert [abs(added) for _, _, added in found] == sorted((abs(added) for _, _, added in found), reverse=True)
    feature, value, added = next(entry for entry in found if entry[0] in NUMERIC)
    absent = FeatureRows(rows.numeric.copy(), rows.hashed)
    absent.numeric[1, NUMERIC.index(feature)] = 0.0
    assert value == rows.numeric[1, NUMERIC.index(feature)]
    assert added == pytest.approx(scorer.log_odds(rows)[1, 0] - scorer.log_odds(absent)[1, 0])


# ------------------------------------------------------------ snapshots of others


def forged(snapshot: ModelSnapshot, name: str, part: str, array: Any) -> ModelSnapshot:
    """The snapshot with another array in a model of each head, and a checksum that fits."""
    heads = {}
    for head, state in snapshot.heads.items():
        arrays = state.parts[name] | {part: pack(array)}
        heads[head] = msgspec.structs.replace(state, parts=state.parts | {name: arrays})
    return msgspec.structs.replace(
        snapshot, heads=heads, checksum=checksum(heads, snapshot.viewed_prices, snapshot.incremental)
    )


class Bomb:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("raise SystemExit('unpickled')",)


def test_a_pickle_that_the_secret_did_not_sign_is_not_unpickled() -> None:
    import pickle

    bomb = words(pickle.dumps(Bomb())).tobytes()
    rules, good = LearningRules(models=[RIVER]), snapshot_of(trained(RIVER))
    bad = forged(good, RIVER, "pickle", words(bomb))
    by_other_key = forged(bad, RIVER, "signature", words(OTHER_KEY.signature(bomb)))
    for snapshot in (bad, by_other_key):
        with pytest.raises(SnapshotMismatch, match="not signed with the secret"):
            compile_snapshot(snapshot, rules, KEY)
        with pytest.raises(SnapshotMismatch, match="not signed with the secret"):
            Trainer(rules, key=KEY).restore({"ecommerce": snapshot})
    public = forged(bad, RIVER, "signature", words(PUBLIC_KEY.signature(bomb)))
    with pytest.raises(SnapshotMismatch, match="set secret_file"):
        compile_snapshot(public, rules, PUBLIC_KEY)
    with pytest.raises(SnapshotMismatch, match="set secret_file"):
        Trainer(rules).restore({"ecommerce": public})
    signed = forged(bad, RIVER, "signature", words(KEY.signature(bomb)))
    with pytest.raises(SystemExit, match="unpickled"):  # so the pickle would have run
        compile_snapshot(signed, rules, KEY)


def test_a_pickle_by_another_version_of_river_is_refused() -> None:
    snapshot = forged(snapshot_of(trained(RIVER)), RIVER, "river", words(b"0.1.0"))
    with pytest.raises(SnapshotMismatch, match=rf"by River 0\.1\.0, expected {river_version}"):
        compile_snapshot(snapshot, LearningRules(models=[RIVER]), KEY)


def test_a_challenger_whose_state_does_not_fit_starts_from_the_prior_and_the_champion_goes_on() -> None:
    rules, good = LearningRules(models=["kalman", RIVER]), snapshot_of(trained("kalman", RIVER))
    resumed = Trainer(rules, key=KEY)
    resumed.restore({"ecommerce": forged(good, RIVER, "river", words(b"0.1.0"))})
    head = resumed.models["ecommerce"].heads["click"]
    fresh, row = make_plugin(RIVER, "click", rules, KEY), next(each_row(rows_of_shoppers(1)))
    assert head.contest.models[RIVER].probability(row) == fresh.probability(row)
    assert (head.contest.duels[RIVER].weight, head.contest.duels["kalman"].weight > 0) == (0.0, True)
    expected = compile_snapshot(good, rules, KEY).predict(rows_of_shoppers())
    assert resumed.models["ecommerce"].scorer().predict(rows_of_shoppers()).tolist() == expected.tolist()


def test_a_worker_serves_no_model_that_its_settings_do_not_name() -> None:
    with pytest.raises(
        SnapshotMismatch, match=r"champion is 'shop_models:scaled': expected a model of this worker's learning"
    ):
        compile_snapshot(snapshot_of(trained(RIVER)), LearningRules(), KEY)


def test_a_refused_snapshot_leaves_a_worker_with_its_last_good_one() -> None:
    trainer, metrics = trained(RIVER), Metrics(CollectorRegistry())
    settings = Settings(learning=LearningSettings(models=[RIVER]))
    known = CurrentKnowledge(settings.rules(KEY), metrics, settings.learning)
    good = snapshot_of(trainer)
    read = known.read_snapshot(good.series.encode(), encode(good))
    assert read is not None
    known.take_snapshot(read)
    bad = forged(msgspec.structs.replace(good, version=2), RIVER, "signature", np.zeros(8, np.uint32))
    assert known.read_snapshot(bad.series.encode(), encode(bad)) is None
    assert known.now().scorer("ecommerce").version == good.version
    assert (
        known.now().scorer("ecommerce").predict(rows_of_shoppers()).tolist()
        == read[1].predict(rows_of_shoppers()).tolist()
    )


# ------------------------------------------------------------ models that fail


def test_an_example_on_which_a_model_fails_is_refused_with_the_error() -> None:
    with pytest.raises(BadMessage, match=r"step_failed: model 'fragile' of head \w+ raised ZeroDivisionError: no luck"):
        trained("fragile")


def test_where_a_model_fails_nothing_is_scored() -> None:
    rows, weights = rows_of_shoppers(3), np.zeros(0)
    fragile = make_plugin("fragile", "click", LearningRules(), KEY)
    fragile.learn_one(next(each_row(rows)), True)
    kalman = trained("kalman").models["ecommerce"].heads
    served = {head: kalman[head].served for head in ALL_HEADS} | {"click": fragile}
    scorer = RowScorer(3, served)
    assert weights.size == 0
    assert np.isnan(scorer.predict(rows)).all()
    assert scorer.contributions(rows, 0, 0) == []


def test_what_is_no_probability_is_an_error() -> None:
    model = make_plugin("base_rate", "click", LearningRules(), KEY)
    model.quicken(float("nan"))
    with pytest.raises(PluginError, match="model 'base_rate' of head click predicts nan, expected a probability"):
        model.probability(Row([0.0] * len(NUMERIC), []))
