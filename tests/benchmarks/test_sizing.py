"""Sizing: states that a worker can recover, and a page that has a place for the tables."""

import time

import pytest

from benchmarks import sizing
from benchmarks.pages import END
from stream_coupons.core.shopper.state import Shopper
from stream_coupons.runtime.cells import CellCodec


def test_states_are_those_of_all_shoppers_and_name_no_offset_of_another_log() -> None:
    found = [CellCodec(Shopper).decode(data) for data in sizing.states(3, 10, 2)]
    assert [cell.state.profile.browses > 0 for cell in found] == [True] * 3
    assert all(cell.applied == {} and not cell.outbox and (cell.due or 0.0) > time.time() for cell in found)


def test_more_events_make_larger_states() -> None:
    few, many = (sum(map(len, sizing.states(3, events, 2))) for events in (10, 40))
    assert many > few


def test_the_page_has_a_place_for_the_tables() -> None:
    assert sizing.BEGIN in sizing.PAGE.read_text().partition(END)[0]


def test_more_workers_than_partitions_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        sizing.parse(["--workers", "4", "--partitions", "2"])
    assert "with --partitions 2, expected at most as many" in capsys.readouterr().err
