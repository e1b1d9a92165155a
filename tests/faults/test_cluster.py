"""Faults of a cluster of three nodes under a live stream: they heal by themselves, and two audits find nothing."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.cluster_faults.faults import FAULTS
from benchmarks.cluster_faults.trial import Plan, play, settings_for
from stream_coupons.kafka.settings import Guarantee
from stream_coupons.settings import Settings

from .conftest import LONG
from .trial import FIGURES

pytestmark = [pytest.mark.kafka, pytest.mark.usefixtures("apache_kafka")]

SHORT = ("leader", "transaction-coordinator", "pause-15s", "two-down", "worker-and-leader", "disk-full")
ESSENTIAL = ("leader", Guarantee.AT_LEAST_ONCE)


def trials() -> Iterator[object]:
    """Each fault of the short or the long form with each guarantee that knows it."""
    for name in FAULTS if LONG else SHORT:
        for guarantee in FAULTS[name].guarantees:
            marks = [pytest.mark.essential] if (name, guarantee) == ESSENTIAL else []
            yield pytest.param(name, guarantee, marks=marks, id=f"{name}-{guarantee}")


@pytest.mark.parametrize(("name", "guarantee"), list(trials()))
def test_a_fault_of_a_cluster_heals_and_both_audits_find_nothing(
    name: str, guarantee: Guarantee, seed: int, tmp_path: Path
) -> None:
    plan = Plan(settings=settings_for(Settings(), guarantee), seed=seed)
    result = play(name, FAULTS[name], plan, tmp_path, print)
    assert (result.verify, result.audit) == ([], []), result
    assert result.answered == result.events
    assert result.issues > 100
    FIGURES.append(
        {
            "seed": seed,
            "events": result.events,
            "issues": result.issues,
            "issued twice": result.copies,
            "restarts": len(result.ended),
            "violations": 0,
            "idle after s": result.idle_after_s,
            "dark s": result.dark.worst_s,
        }
    )
