"""A new domain starts from another one's models: where that stands, without its certainty, and the same in a replay."""

from typing import Any

import msgspec
import pytest

from stream_coupons.core.messages.learning import ModelSnapshot, TrainingExample
from stream_coupons.models.heads import take_over
from stream_coupons.models.learner import Trainer
from stream_coupons.models.registry import make_model
from stream_coupons.models.rules import LearningRules, ModelName

from .builders import each_row, examples, predict, random_rows

DONOR, NEW = "retail", "travel"
OTHER = "river.linear_model:LogisticRegression"
LOG = [*examples(1, 240, DONOR), *examples(2, 30, NEW), *examples(3, 30, DONOR), *examples(4, 30, NEW)]


def trainer(**rules: Any) -> Trainer:
    return Trainer(LearningRules(**({"transfer": {NEW: DONOR}} | rules)))


def taught(log: list[TrainingExample], **rules: Any) -> Trainer:
    made = trainer(**rules)
    for offset, each in enumerate(log):
        made.learn(each, offset, None)
    return made


def by_domain(snapshots: list[ModelSnapshot]) -> dict[str, ModelSnapshot]:
    return {snapshot.domain: snapshot for snapshot in snapshots}


@pytest.mark.parametrize("name", ModelName)
def test_a_model_that_takes_over_predicts_as_its_donor_and_leaves_it_alone(name: ModelName) -> None:
    rules, rows = LearningRules(), random_rows(5, 20)
    donor, new = make_model(name, "click", rules), make_model(name, "click", rules)
    learn = taught(examples(6, 300), models=[name]).models["ecommerce"].heads["click"]
    donor.restore(learn.contest.models[name].state())
    take_over(new, donor)
    assert predict(new, rows) == pytest.approx(predict(donor, rows), abs=1e-9)
    before = predict(donor, rows).tolist()
    fresh = make_model(name, "click", rules)
    fresh.restore(donor.state())
    assert predict(fresh, rows).tolist() == before
    assert predict(new, rows).tolist() != predict(make_model(name, "click", rules), rows).tolist()


@pytest.mark.parametrize("name", ModelName)
def test_a_model_that_took_over_moves_faster_than_its_donor(name: ModelName) -> None:
    rules = LearningRules(models=[name])
    log = examples(7, 600)
    donor = taught(log, models=rules.models).models["ecommerce"].heads["click"].contest.models[name]
    new = make_model(name, "click", rules)
    take_over(new, donor)
    rows = random_rows(8, 1)
    [row] = each_row(rows)
    moved = []
    for model in (donor, new):
        before = predict(model, rows)[0]
        model.learn_one(row, True)
        moved.append(predict(model, rows)[0] - before)
    assert moved[1] > 1.1 * moved[0] > 0


def test_the_new_domain_starts_where_its_donor_stands_at_its_first_example() -> None:
    made = taught(LOG[:240])
    served = {name: head.champion.dense.copy() for name, head in made.models[DONOR].heads.items()}
    made._model(NEW)
    for name, head in made.models[NEW].heads.items():
        assert head.champion.dense == pytest.approx(served[name], abs=1e-12)


def test_all_but_what_was_learnt_starts_anew() -> None:
    [_, new] = sorted(taught(LOG[:241]).snapshots(), key=lambda snapshot: snapshot.domain)
    assert (new.domain, new.version, new.examples, new.source_offset) == (NEW, 1, 1, 240)
    assert {head: quality.examples for head, quality in new.quality.items()} == {"click": 1}


def test_a_champion_is_taken_over_and_comparing_begins_anew() -> None:
    made = taught(LOG[:240], models=[ModelName.KALMAN, OTHER])
    made.models[DONOR].heads["effect"].contest.champion = OTHER
    contest = made._model(NEW).heads["effect"].contest
    assert contest.champion == OTHER
    assert all(duel.weight == 0.0 for duel in contest.duels.values())


@pytest.mark.long
def test_the_donor_learns_as_if_there_were_no_other() -> None:
    assert by_domain(taught(LOG).snapshots())[DONOR] == by_domain(taught(LOG, transfer={}).snapshots())[DONOR]


@pytest.mark.long
def test_the_same_log_gives_the_same_bytes() -> None:
    one, other = (msgspec.json.encode(taught(LOG).snapshots()) for _ in range(2))
    assert one == other
    assert one != msgspec.json.encode(taught(LOG, transfer={}).snapshots())


@pytest.mark.long
@pytest.mark.parametrize("cut", [100, 240, 241, 280])
def test_a_restart_anywhere_changes_nothing(cut: int) -> None:
    whole = taught(LOG[:cut])
    saved = by_domain(whole.snapshots())
    resumed = trainer()
    resumed.restore(saved)
    for each in (whole, resumed):
        for offset, example in enumerate(LOG[cut:], cut):
            each.learn(example, offset, None)
    heads = [{name: each.heads for name, each in by_domain(made.snapshots()).items()} for made in (whole, resumed)]
    assert heads[0] == heads[1]


def test_a_crash_between_two_snapshots_lets_no_domain_start_again_from_a_later_donor() -> None:
    made = taught(LOG[:240])
    saved = by_domain(made.snapshots())
    for offset, example in enumerate(LOG[240:], 240):
        made.learn(example, offset, None)
    expected = made.snapshots()
    first = expected[0]
    resumed = trainer()
    resumed.restore(saved | {first.domain: first})  # the other one was not appended any more
    for offset, example in enumerate(LOG[240:], 240):
        resumed.learn(example, offset, None)
    again = by_domain(resumed.snapshots())
    assert again[DONOR].heads == by_domain(expected)[DONOR].heads
    assert resumed.models[NEW].heads["click"].state() == first.heads["click"]
    assert first.domain == NEW


@pytest.mark.long
def test_a_donor_without_a_model_passes_its_own_donor_on_and_none_is_the_prior() -> None:
    chain = {NEW: "hotels", "hotels": DONOR}
    assert by_domain(taught(LOG, transfer=chain).snapshots())[NEW] == by_domain(taught(LOG).snapshots())[NEW]
    lonely = taught(LOG, transfer={NEW: "hotels"}).snapshots()
    assert by_domain(lonely) == by_domain(taught(LOG, transfer={}).snapshots())


@pytest.mark.parametrize(
    ("transfer", "expected"),
    [
        ({"a": "a"}, "transfer: 'a' starts from 'a': expected no domain that leads back to itself"),
        ({"a": "b", "b": "c", "c": "b"}, "'a' starts from 'b' starts from 'c' starts from 'b'"),
        ({"a": ""}, "length >= 1"),
        ({"a": "b" * 65}, "length <= 64"),
    ],
)
def test_a_cycle_or_what_is_no_name_is_refused(transfer: dict[str, str], expected: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=expected):
        msgspec.convert({"transfer": transfer}, LearningRules)
