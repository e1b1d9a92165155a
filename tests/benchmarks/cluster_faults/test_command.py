"""The command line of the faults: which trials it makes, with which settings."""

import pytest
from msgspec.structs import replace

from benchmarks.cluster_faults.__main__ import BEGIN, PAGE, main, markdown, parse, print_results, settings_of, trials_of
from benchmarks.cluster_faults.darkness import Darkness
from benchmarks.cluster_faults.faults import FAULTS
from benchmarks.cluster_faults.supervised import Ended
from benchmarks.cluster_faults.trial import TrialResult
from benchmarks.pages import END
from stream_coupons.core.errors import BadConfig
from stream_coupons.kafka.settings import Guarantee

RESULT = TrialResult(
    fault="leader",
    guarantee=Guarantee.EXACTLY_ONCE,
    seconds=61.2,
    events=2345,
    answered=2344,
    issues=99,
    load=1.0,
    idle_after_s=3.4,
    dark=Darkness(1.2, 9.9),
    dark_since_sent=Darkness(10.1, 12.3),
    verify=[],
    audit=["browse-events:0:1 asked for an answer, and has none"],
    copies=0,
    ended=[Ended("worker-2", 1, ["ERROR worker: the transaction failed"])],
)


def test_each_fault_is_tried_with_each_guarantee_that_knows_it() -> None:
    options = parse([])
    trials = trials_of(options, settings_of(options))
    by_guarantee = {
        each: {name for _, name, plan in trials if plan.settings.kafka.guarantee is each} for each in Guarantee
    }
    assert by_guarantee[Guarantee.EXACTLY_ONCE] == set(FAULTS)
    assert by_guarantee[Guarantee.AT_LEAST_ONCE] == set(FAULTS) - {"transaction-coordinator"}


def test_settings_of_workers_are_passed_on_and_topics_are_replicated() -> None:
    arguments = ["--fault", "leader", "--guarantee", "exactly_once", "--static", "--set", "kafka.session_timeout_s=6"]
    options = parse(arguments)
    [(title, name, plan)] = trials_of(options, settings_of(options))
    assert (title, name, plan.is_static) == ("leader, exactly_once", "leader", True)
    assert (plan.settings.kafka.session_timeout_s, plan.settings.kafka.replication) == (6.0, 3)


@pytest.mark.parametrize(
    "text", ["session_timeout_s=6", "kafka.session_timeout_s", "kafka.no_such=1", "kafka.partitions=x"]
)
def test_a_wrong_setting_is_refused_before_anything_starts(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BadConfig):
        settings_of(parse(["--set", text]))
    assert main(["--set", text]) == 2
    assert "error" in capsys.readouterr().err


def test_the_table_states_darkness_and_below_it_what_was_violated_and_why_workers_ended(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)  # a table is as wide as it must be where there is no terminal
    assert not RESULT.is_passed
    print_results([RESULT])
    printed = capsys.readouterr().out
    for text in ("1.2", "9.9", "2,344", RESULT.audit[0], "worker-2 ended with exit code 1", "the transaction failed"):
        assert text in " ".join(printed.split())


@pytest.mark.process
def test_a_page_gets_a_row_for_each_fault_with_both_guarantees_beside_each_other() -> None:
    at_least = replace(RESULT, guarantee=Guarantee.AT_LEAST_ONCE, dark=Darkness(0.4, 0.6), audit=[], copies=3, ended=[])
    only_exactly = replace(RESULT, fault="transaction-coordinator", audit=[], ended=[])
    table, origin = markdown([RESULT, at_least, only_exactly])
    assert [row.split(" | ")[1:] for row in table.splitlines()[2:]] == [
        ["0.4", "0.6", "1.2", "9.9 |"],
        ["-", "-", "1.2", "9.9 |"],
    ]
    assert "Trials: 3, in 3 minutes. Violations by either audit: 1; copies exactly once: 0; workers" in origin
    assert BEGIN in PAGE.read_text().partition(END)[0]
