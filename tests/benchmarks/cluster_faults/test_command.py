"""The command line of the faults: which trials it makes, with which settings."""

import pytest

from benchmarks.cluster_faults.__main__ import main, parse, settings_of, trials_of
from benchmarks.cluster_faults.faults import FAULTS
from stream_coupons.core.errors import BadConfig
from stream_coupons.kafka.settings import Guarantee


def test_each_fault_is_tried_with_each_guarantee_that_knows_it() -> None:
    options = parse([])
    trials = trials_of(options, settings_of(options))
    by_guarantee = {
        each: {name for _, name, plan in trials if plan.settings.kafka.guarantee is each} for each in Guarantee
    }
    assert by_guarantee[Guarantee.EXACTLY_ONCE] == set(FAULTS)
    assert by_guarantee[Guarantee.AT_LEAST_ONCE] == set(FAULTS) - {"transaction-coordinator"}


def test_settings_of_workers_are_passed_on_and_topics_are_replicated() -> None:
    options = parse(["--fault", "leader", "--guarantee", "exactly_once", "--set", "kafka.session_timeout_s=6"])
    [(title, name, plan)] = trials_of(options, settings_of(options))
    assert (title, name) == ("leader, exactly_once", "leader")
    assert (plan.settings.kafka.session_timeout_s, plan.settings.kafka.replication) == (6.0, 3)


@pytest.mark.parametrize(
    "text", ["session_timeout_s=6", "kafka.session_timeout_s", "kafka.no_such=1", "kafka.partitions=x"]
)
def test_a_wrong_setting_is_refused_before_anything_starts(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BadConfig):
        settings_of(parse(["--set", text]))
    assert main(["--set", text]) == 2
    assert "error" in capsys.readouterr().err
