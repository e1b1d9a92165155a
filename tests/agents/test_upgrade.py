"""What another version of the program kept, with features of another space, is taken over by this one."""

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from stream_coupons.agents.learner import Learner
from stream_coupons.core.decision.scoring import HEADS, Knowledge
from stream_coupons.core.features.numeric import NUMERIC
from stream_coupons.core.money.accounts import money_of
from stream_coupons.core.shopper.state import Shopper
from stream_coupons.kafka import topics
from stream_coupons.models.learner import Trainer
from stream_coupons.models.linear import prior
from stream_coupons.observability.metrics import Metrics
from stream_coupons.runtime.isolate import MAX_FAILURES
from stream_coupons.settings import LearningSettings, Settings
from stream_coupons.testing import coupon, item
from tests.core.builders import AT, DAY_S, browse, knowledge, observed, rules
from tests.models.builders import examples, random_rows
from tests.plugins.test_feature_plugin import run

from . import upgraded_program
from .fakes import Shop

SHOPPERS = MAX_FAILURES + 20
"""More than may fail in one batch before no worker starts again."""
KNOWN = knowledge(coupon("c1", stock=SHOPPERS, budget_minor=100 * SHOPPERS), rules=rules(), scorer=prior())


def known() -> Knowledge:
    return KNOWN


def older(shopper: Shopper, schema: str) -> None:
    """Make of what is open what a version would have kept whose features had this schema."""
    for control in shopper.controls.values():
        control.feature_schema = schema
    if shopper.visit is not None:
        shopper.visit.feature_schema = schema
    for issue_id in list(shopper.issues):
        shopper.keep_issue(msgspec.structs.replace(shopper.issue(issue_id), feature_schema=schema))


def upgrade(made: Shop, schema: str) -> None:
    """Start a worker over states of such a version."""
    owner = made.owners["users"]
    for key, data in owner.table.items():
        cell = owner.batches._codec.decode(data)
        older(cell.state, schema)
        owner.tables[0][key] = owner.batches._codec.encode(cell)
    made.start("users")


def dead(made: Shop) -> Counter[tuple[str, str]]:
    return sum((result.dead for _, result in made.results), Counter())


@pytest.mark.long
@pytest.mark.parametrize("schema", ["", "0123456789abcdef"], ids=["not said", "another"])
def test_what_was_kept_of_other_features_is_refused_by_the_learner_which_goes_on(schema: str) -> None:
    made = Shop(known, partitions=1, agents=["users", "budgets"])
    for number in range(SHOPPERS):
        made.publish(topics.BROWSE, browse(f"b{number}", AT, item("A"), user=f"u{number}"))
        made.publish(topics.OBSERVED, observed(f"x{number}", user_id=f"u{number}"))
    made.settle()
    upgrade(made, schema)
    made.tick(AT + 30 * DAY_S)
    made.settle()
    assert dead(made) == {}
    assert made.purse(money_of("c1")).freed == 100 * SHOPPERS
    told = [record for record in made.everything if record.topic == topics.EXAMPLES.name]
    assert {example.feature_schema for example in made.read(told)} == {schema}
    nothing, metrics, trainer = Any, Metrics(CollectorRegistry()), Trainer(LearningSettings())
    learner = Learner(Settings(), nothing, metrics, nothing, nothing)  # type: ignore[arg-type]
    for record in told:
        learner._learn(trainer, record)
    assert len(learner._letters) == len(told) == 5 * SHOPPERS
    assert trainer.models == {}
    assert metrics.dead_letters.labels(topics.EXAMPLES.name, "invalid")._value.get() == len(told)
    learner._learn(trainer, told[-1]._replace(offset=len(told), value=msgspec.json.encode(examples(1, 1)[0])))
    assert trainer.models["ecommerce"].examples == 1


ADDED = {"payday", "title_length", "payday_discount"}
OLD_ROWS = [dict(zip(NUMERIC, numeric, strict=True)) for numeric in random_rows(1, 20).numeric.tolist()]
Topic = dict[str, str]


def newer(snapshots: Topic, records: Sequence[Any] = (), rows: Sequence[dict[str, float]] = ()) -> dict[str, Any]:
    """Return the output of a release with more features: that of a process with a plug-in."""
    given = json.dumps({"snapshots": snapshots, "records": records, "rows": rows})
    done = run("-m", "tests.agents.upgraded_program", given=given)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert set(found["numeric"]) - set(NUMERIC) == ADDED
    return found


def older_release(
    snapshots: Topic, records: Sequence[Any] = (), rows: Sequence[dict[str, float]] = ()
) -> dict[str, Any]:
    return upgraded_program.release(snapshots, records, rows)


def own(start: int, end: int) -> list[Any]:
    """Records of examples that the release which reads them made."""
    return [(offset, None) for offset in range(start, end)]


def of_old(start: int, end: int) -> list[Any]:
    """Records of examples that the older release made."""
    return [(offset, upgraded_program.example_at(offset)) for offset in range(start, end)]


@pytest.fixture(scope="module")
def before() -> dict[str, Any]:
    """The older release after 90 examples."""
    return older_release({}, own(0, 90))


@pytest.mark.process
def test_a_new_feature_adds_its_prior_and_all_else_that_was_learnt_is_served_as_before(before: dict[str, Any]) -> None:
    expected = older_release(before["snapshots"], rows=OLD_ROWS)
    found = newer(before["snapshots"], rows=OLD_ROWS)
    prior = older_release({}, rows=OLD_ROWS)
    assert found["version"] == expected["version"] == 1
    for name in ("log_odds",):
        assert np.array(found[name]) == pytest.approx(np.array(expected[name]), abs=1e-9)
        assert np.abs(np.array(found[name]) - prior[name]).max() > 0.01
    on_payday = newer(before["snapshots"], rows=[row | {"payday": 1.0} for row in OLD_ROWS])
    added = np.array(on_payday["log_odds"]) - expected["log_odds"]
    assert added[:, HEADS.index("redeem")] == pytest.approx(0.5, abs=1e-9)
    assert added[:, HEADS.index("click")] == pytest.approx(0.0, abs=1e-9)


@pytest.mark.process
def test_after_an_upgrade_every_example_is_learnt_once_also_those_of_the_release_before(before: dict[str, Any]) -> None:
    found = newer(before["snapshots"], [*of_old(85, 95), *own(95, 100)])
    assert (found["examples"], found["duplicates"], found["refused"]) == (100, 5, 0)
    assert found["origins"] == {"ticks:0": [99, 0]}
    again = newer(before["snapshots"] | found["snapshots"], [*own(95, 100), *of_old(100, 105)])
    assert (again["examples"], again["duplicates"], again["refused"]) == (105, 5, 0)
    assert newer({}, of_old(0, 5))["refused"] == 5, "without a snapshot the names of its features are not known"


@pytest.mark.process
def test_two_releases_that_learn_in_turns_lose_no_example_and_serve_the_model_that_learnt_last(
    before: dict[str, Any],
) -> None:
    topic: Topic = before["snapshots"]
    upgraded = newer(topic, own(90, 100))
    topic = topic | upgraded["snapshots"]
    assert len(topic) == 2
    of_new = [(offset, made) for offset, made in zip(range(100, 105), upgraded_examples(5), strict=True)]
    back = older_release(topic, [*of_new, *own(105, 110)])
    assert (back["version"], back["examples"], back["refused"]) == (2, 110, 0)
    topic = topic | back["snapshots"]
    assert len(topic) == 2
    for compacted in (topic, dict(reversed(topic.items()))):
        last = newer(compacted, own(105, 120))
        assert (last["version"], last["examples"], last["duplicates"]) == (3, 120, 5)
        assert last["origins"] == {"ticks:0": [119, 0]}


def upgraded_examples(count: int) -> list[Any]:
    """Examples that the newer release made."""
    code = "import json; from tests.agents.upgraded_program import example_at; print(json.dumps(example_at(1)))"
    return [json.loads(run("-c", code).stdout)] * count
