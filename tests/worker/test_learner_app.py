"""What the learning process wires: it needs no broker before it starts."""

from types import SimpleNamespace

from faust.types import TP

from stream_coupons.agents.learner import MAX_EXAMPLES
from stream_coupons.core.draws import PUBLIC_KEY
from stream_coupons.kafka import topics
from stream_coupons.kafka.settings import KafkaSettings
from stream_coupons.settings import Settings
from stream_coupons.worker.learner_app import LearnerApp

EXAMPLES = TP(topics.EXAMPLES.name, 0)


def member_that_owns(*assigned: TP) -> LearnerApp:
    """A learner that is a member of its group, 400 records behind in every partition that it owns."""
    parts = LearnerApp(Settings(), PUBLIC_KEY)
    parts.faust.transport.takers = []
    parts.faust._consumer = SimpleNamespace(
        is_coordinated=True,
        is_member=True,
        assignment=lambda: set(assigned),
        highwater=lambda _: 500,
        committed=lambda names, _: {names[0]: 100},
    )
    return parts


def test_its_group_is_not_that_of_the_processes_that_decide() -> None:
    parts = LearnerApp(Settings(kafka=KafkaSettings(group_id="mine")), PUBLIC_KEY)
    assert parts.faust.conf.id == "mine-learner"
    assert set(parts.faust.transport.agents) == {topics.EXAMPLES.name}


def test_it_takes_few_examples_at_a_time_so_that_it_publishes_in_time() -> None:
    conf = LearnerApp(Settings(), PUBLIC_KEY).faust.conf
    assert conf.broker_max_poll_records == MAX_EXAMPLES < Settings().worker.batch_records


def test_learnt_examples_are_progress_before_a_snapshot_acknowledges_them() -> None:
    parts = member_that_owns(EXAMPLES)
    assert parts.progress() == {EXAMPLES: 100}
    parts.learner.taken += 7
    assert parts.progress() == {EXAMPLES: 107}


def test_a_learner_that_stands_by_has_nothing_to_do() -> None:
    assert member_that_owns().progress() == {}


def test_it_is_starved_while_what_it_has_learnt_is_not_published() -> None:
    parts = LearnerApp(Settings(), PUBLIC_KEY)
    why = "it is starved: examples wait, or what it has learnt is not published"
    assert why not in parts.why_not_ready()
    parts.learner._publish_at = 0.0
    parts.learner._unacknowledged.append((None, []))
    assert why in parts.why_not_ready()
