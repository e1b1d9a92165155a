"""What another version of the program kept, with features of another space, is taken over by this one."""

from collections import Counter
from typing import Any

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from stream_coupons.agents.learner import Learner
from stream_coupons.core.decision.scoring import Knowledge
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
from tests.models.builders import examples

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
    owner.start()


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
