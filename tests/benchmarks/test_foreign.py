"""The benchmark of foreign logs measures what it says it does."""

import json
from pathlib import Path

import pytest

from benchmarks.foreign import ARMS, drawn, main, timed_read
from stream_coupons.kafka.codec import encode


def test_the_log_that_is_drawn_is_whole_and_the_same_for_a_seed() -> None:
    lines = [encode(line) for line in drawn(200, seed=3)]
    assert lines == [encode(line) for line in drawn(200, seed=3)]
    assert lines != [encode(line) for line in drawn(200, seed=4)]
    log, seconds = timed_read(b"\n".join(lines), "drawn")
    assert log.counts["issue"] == 200
    assert not log.refusals.count
    assert seconds > 0
    assert {*log.coupon_of} == {*ARMS}
    assert log.labelled_heads == {"redeem", "order"}


@pytest.mark.long
def test_it_prints_issues_per_second_of_evaluate_and_ope(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "log.jsonl"
    main(["--issues", "60", "--write", str(path)])
    main(["--log", str(path), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert (found["issues"], found["log"]) == (60, str(path))
    assert all(found[part] > 0 for part in ("read", "evaluate", "ope"))
    main(["--log", str(path)])
    assert "issues per CPU second" in capsys.readouterr().out
