"""`evaluate` on a recording of the engine's own topics."""

import json
from pathlib import Path

import msgspec

from lab.own_recording import SETTINGS, Recording
from stream_coupons.kafka.codec import encode
from tests.cli.conftest import Run


def test_the_command_scores_a_recording_again(tmp_path: Path, run: Run) -> None:
    recording = Recording(SETTINGS).live(days=4)
    lines = [encode({"topic": topic, "value": msgspec.Raw(value)}) for topic, value in recording.records]
    log, predictions = tmp_path / "own.jsonl", tmp_path / "scored.jsonl"
    log.write_bytes(b"\n".join(lines))
    result = run("evaluate", log, "--json", "--predictions", predictions)
    found = json.loads(result.stdout)
    assert (result.exit_code, found["different"], found["without_snapshot"]) == (0, 0, 0)
    assert len(predictions.read_text().splitlines()) == found["reproduced"]
    printed = run("evaluate", log).stdout
    assert "same probabilities as recorded" in printed
    assert run("evaluate", log, "--baselines").exit_code == 2


def test_a_recording_without_issues_is_refused(tmp_path: Path, run: Run) -> None:
    log = tmp_path / "own.jsonl"
    log.write_text('{"topic": "decisions", "value": {}}\n')
    result = run("evaluate", log)
    assert result.exit_code == 2
    assert "no record of the topic coupon-issues" in result.stderr
