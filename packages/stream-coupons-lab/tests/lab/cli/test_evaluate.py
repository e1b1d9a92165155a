"""Evaluate: what a data scientist sees of a log, what scripts read, and what is left after a fault or Ctrl-C."""

import json
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lab.foreign_logs import AT, DAY_S, HOUR_S, drawn, feedback, issue
from stream_coupons_lab.datasets.log_records import LogRecord
from stream_coupons_lab.offline.progressive_run import ProgressiveRun

from .conftest import Run, write_lines

WINDOW = ("--window", 12 * HOUR_S)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_lines(tmp_path_factory.mktemp("log") / "log.jsonl", *drawn(issues=260, seed=4))


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.long
def test_it_prints_the_metrics_of_every_head(run: Run, log: Path) -> None:
    result = run("evaluate", log, *WINDOW)
    assert result.exit_code == 0
    for text in ("click", "redeem", "order", "log loss", "of base rate", "ROC AUC", "average precision", "Brier score"):
        assert text in result.stdout
    for text in ("calibration ratio", "accuracy", "precision", "recall", "F1", "last threshold"):
        assert text in result.stdout
    assert "open at the end of the log" in result.stderr


@pytest.mark.long
def test_it_ends_in_a_conclusion_on_each_head(run: Run, tmp_path: Path) -> None:
    log = write_lines(tmp_path / "log.jsonl", *drawn(issues=300, seed=7))
    found = json.loads(run("evaluate", log, *WINDOW, "--json").stdout)
    for head, text in zip(found["heads"], found["conclusions"], strict=True):
        assert f"P({head['head']})" in text
        is_few = min(head["positives"], head["examples"] - head["positives"]) < 10
        assert text.startswith("No conclusion") is is_few
        gain = head["over_base"]
        assert gain["value"] == pytest.approx(head["base_log_loss"] - head["log_loss"]["value"])
        sides = {"is better than the base rate": gain["low"] > 0, "is worse than the base rate": gain["high"] < 0}
        assert [side for side in sides if side in text] == [side for side in sides if sides[side] and not is_few]
    printed = run("evaluate", log, *WINDOW, "--report", tmp_path / "page.html").stdout
    assert printed.splitlines()[-3:] == found["conclusions"]
    assert found["conclusions"][0] in (tmp_path / "page.html").read_text(encoding="utf-8")


@pytest.mark.long
def test_it_writes_the_probabilities_as_they_stood_and_the_labels_as_they_are(
    run: Run, log: Path, tmp_path: Path
) -> None:
    out = tmp_path / "scored.jsonl"
    assert run("evaluate", log, *WINDOW, "--predictions", out).exit_code == 0
    lines = read_lines(out)
    logged = [record for record in read_lines(log) if record["type"] == "issue"]
    assert [line["issue_id"] for line in lines] == [record["issue_id"] for record in logged]
    assert set(lines[0]) == {
        "issue_id", "user_id", "arm", "occurred_at", "p_click", "p_redeem", "p_order", "clicked", "redeemed",
        "seen", "model_version",
    }  # fmt: skip
    given = [line for line in lines if line["arm"] != "none"]
    assert all(0 < line[name] < 1 for line in given for name in ("p_click", "p_redeem", "p_order"))
    withheld = [line for line in lines if line["arm"] == "none"]
    assert {(line["p_click"], line["p_redeem"], 0 < line["p_order"] < 1) for line in withheld} == {(None, None, True)}
    assert lines[0]["model_version"] == 0 < lines[-1]["model_version"]
    assert lines[0]["redeemed"] is not None
    assert lines[-1]["redeemed"] is None
    assert list(tmp_path.iterdir()) == [out]


def test_predictions_are_in_the_order_of_the_log_whatever_their_times(run: Run, tmp_path: Path) -> None:
    log = write_lines(tmp_path / "log.jsonl", issue("late", AT + 60), issue("early", AT))
    run("evaluate", log, "--predictions", tmp_path / "scored.jsonl")
    assert [line["issue_id"] for line in read_lines(tmp_path / "scored.jsonl")] == ["late", "early"]


def test_json_has_all_figures_and_null_for_what_is_undefined(run: Run, tmp_path: Path) -> None:
    used = [feedback(kind, "i2", AT + 3 * DAY_S + 1) for kind in ("click", "purchase")]
    log = write_lines(tmp_path / "log.jsonl", issue("i1"), issue("i2", AT + 3 * DAY_S), *used)
    result = run("evaluate", log, "--json", "--window", DAY_S)
    found = json.loads(result.stdout)
    assert (found["issues"], found["labelled"]) == (2, 1)
    assert found["records"] == {"issue": 2, "feedback": 2}
    redeem = next(head for head in found["heads"] if head["head"] == "redeem")
    assert (redeem["examples"], redeem["positives"], redeem["roc_auc"]["value"]) == (1, 0, None)
    assert redeem["log_loss"]["value"] > 0
    assert [(each["by"], each["value"], each["head"]) for each in found["slices"]] == [
        ("coupon", "c1", "click"),
        ("coupon", "c1", "redeem"),
    ]


@pytest.mark.long
def test_the_report_is_one_page(run: Run, log: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    assert run("evaluate", log, *WINDOW, "--report", page).exit_code == 0
    html = page.read_text(encoding="utf-8")
    assert "Evaluation of log.jsonl" in html
    assert re.search(r"""(src|href)=["']?(https?:)?//""", html) is None, "it needs nothing else"


def test_bad_lines_are_refused_by_number_and_the_rest_is_evaluated(run: Run, tmp_path: Path) -> None:
    log = write_lines(tmp_path / "log.jsonl", issue("i1"), b"{", issue("i1"), feedback("click", "i7"))
    result = run("evaluate", log, "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["refused_lines"] == {"not_json": 1, "repeated": 1, "unknown_issue": 1}
    assert "line 2: not_json" in result.stderr
    assert "line 3: repeated  issue i1 is on line 1 already" in result.stderr
    assert "line 4: unknown_issue" in result.stderr


def test_a_log_comes_from_standard_input_too(run: Run) -> None:
    result = run("evaluate", "-", "--json", stdin=json.dumps(issue()).encode())
    assert (result.exit_code, json.loads(result.stdout)["issues"]) == (0, 1)


def test_it_warns_of_what_makes_figures_poor(run: Run, tmp_path: Path) -> None:
    log = write_lines(
        tmp_path / "log.jsonl",
        issue("i1", expires_at=AT + 5),
        issue("i2", AT + 1, coupon={"coupon_id": "c1", "colour": "red"}, contxt={}),
        feedback("purchase", "i1", AT + 60),
    )
    result = run("evaluate", log)
    assert "windows of 1 issues are open" in result.stderr
    assert "1 report of feedback came after the window" in result.stderr
    assert "keys that are not known were skipped: issue.contxt (1 lines)" in result.stderr
    nothing = run("evaluate", write_lines(tmp_path / "open.jsonl", issue()))
    assert nothing.exit_code == 0
    assert "no window had closed by the end of the log" in nothing.stderr
    assert "with a label" in nothing.stdout
    assert "log loss" not in nothing.stdout


def test_it_warns_where_no_issue_that_gave_nothing_has_a_purchase(run: Run, tmp_path: Path) -> None:
    order = {"type": "order", "user_id": "u1", "occurred_at": AT + 60, "items": [{"item_id": "tea"}]}
    nothing = issue("i1", coupon=None, arms=["c1", "none"], propensity=0.5)
    records = [nothing, order, issue("i2", AT + 60), issue("later", AT + 9 * DAY_S)]
    log = write_lines(tmp_path / "log.jsonl", *records)
    with_one = write_lines(tmp_path / "with_one.jsonl", *records, feedback("purchase", "i1"))
    for verb in ("evaluate", "ope"):
        assert "none of the 1 issues that gave nothing has a purchase" in run(verb, log).stderr
        assert "has a purchase" not in run(verb, with_one).stderr


def test_an_expiry_after_the_end_of_its_window_is_no_late_feedback(run: Run, tmp_path: Path) -> None:
    log = write_lines(
        tmp_path / "log.jsonl",
        issue("i1", expires_at=AT + 5),
        issue("i2", expires_at=AT + 5),
        feedback("expiry", "i1", AT + 5.4),
        feedback("purchase", "i2", AT + 5.4),
        feedback("expiry", "i2", AT + 5.4),
    )
    result = run("evaluate", log, "--json")
    assert json.loads(result.stdout)["refused_feedback"] == {"late": 1}, "the purchase is behaviour, and too late"
    assert "1 report of feedback came after the window" in run("evaluate", log).stderr


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (("LOG", "--predictions", "LOG"), "is LOG as well, expected another file"),
        (("LOG", "--predictions", "out", "--report", "out"), "is --predictions as well, expected another file"),
        (("missing.jsonl",), "No such file"),
        (("empty.jsonl",), "holds no issue"),
        (("LOG", "--predictions", "nowhere/out"), "there is no folder"),
    ],
)
def test_what_cannot_work_is_said_at_once(run: Run, log: Path, tmp_path: Path, options: Any, fault: str) -> None:
    (tmp_path / "empty.jsonl").touch()
    paths = [text if text.startswith("--") else log if text == "LOG" else tmp_path / text for text in options]
    result = run("evaluate", *paths)
    assert result.exit_code == 2
    assert fault in result.stderr.replace("\n", "")


def test_a_window_outside_its_range_is_refused(run: Run, log: Path) -> None:
    assert run("evaluate", log, "--window", 0).exit_code == 2


def test_what_was_written_before_stays_when_the_log_is_no_good(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "scored.jsonl"
    out.write_text("before")
    assert run("evaluate", write_lines(tmp_path / "log.jsonl", {"type": "x"}), "--predictions", out).exit_code == 2
    assert out.read_text() == "before"
    assert {path.name for path in tmp_path.iterdir()} == {"scored.jsonl", "log.jsonl"}


@pytest.mark.long
def test_results_go_into_a_pipe_as_they_are(run: Run, log: Path) -> None:
    assert run("evaluate", log, *WINDOW, "--predictions", "/dev/null").exit_code == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is always full is Linux's")
@pytest.mark.parametrize("option", ["--predictions", "--report"])
def test_a_full_disk_is_said_with_the_name_of_the_file(run: Run, tmp_path: Path, option: str) -> None:
    result = run("evaluate", write_lines(tmp_path / "log.jsonl", issue()), option, "/dev/full")
    assert result.exit_code == 2
    assert "error: /dev/full: No space left on device: not all was written" in result.stderr


@pytest.mark.process
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is always full is Linux's")
@pytest.mark.parametrize("verb", [("evaluate",), ("evaluate", "--json"), ("ope", "--json")])
def test_a_full_disk_behind_standard_output_is_an_error(tmp_path: Path, verb: tuple[str, ...]) -> None:
    log = write_lines(tmp_path / "log.jsonl", *drawn(issues=40))
    command = [sys.executable, "-c", "from stream_coupons.cli import main; main()", *verb, str(log), *map(str, WINDOW)]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert "error: standard output: No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_that_is_not_there_is_named(run: Run, tmp_path: Path) -> None:
    page = tmp_path / "nowhere" / "page.html"
    result = run("evaluate", write_lines(tmp_path / "log.jsonl", issue()), "--report", page)
    assert result.exit_code == 2
    assert result.stderr.replace("\n", "") == f"error: {page}: there is no folder {page.parent}"


def test_what_is_not_looked_at_is_said(run: Run, tmp_path: Path) -> None:
    coupon = {"coupon_id": "c1"} | {f"attribute{n:02}": n for n in range(14)}
    log = write_lines(tmp_path / "log.jsonl", issue(coupon=coupon))
    result = run("evaluate", log)
    assert "14 attributes, the first 12 by name are looked at" in result.stderr


@pytest.mark.long
def test_the_same_log_gives_the_same_figures(run: Run, log: Path) -> None:
    first, second = (json.loads(run("evaluate", log, *WINDOW, "--json").stdout) for _ in range(2))
    assert first == second
    assert not math.isnan(first["heads"][0]["log_loss"]["value"])


@pytest.mark.long
def test_it_says_on_which_issues_each_metric_is_computed(run: Run, tmp_path: Path) -> None:
    records = [
        issue("seen"),
        feedback("impression", "seen"),
        issue("unseen"),
        issue("clicked"),
        feedback("impression", "clicked"),
        feedback("click", "clicked", AT + 2 * HOUR_S),
        issue("nothing", coupon=None),
        issue("later", AT + 9 * DAY_S),
        feedback("purchase", "later", AT + 9 * DAY_S + 1),
    ]
    log, out, page = write_lines(tmp_path / "log.jsonl", *records), tmp_path / "scored.jsonl", tmp_path / "page.html"
    config = tmp_path / "settings.toml"
    config.write_text('[attribution]\nimpression_domains = ["ecommerce"]\n')
    result = run("evaluate", log, "--json", "--window", DAY_S, "--predictions", out, "--report", page, "-c", config)
    heads = {head["head"]: head for head in json.loads(result.stdout)["heads"]}
    assert {name: (head["issues"], head["unseen"], head["examples"]) for name, head in heads.items()} == {
        "click": ("seen", 1, 2),
        "redeem": ("seen", 1, 2),
        "order": ("all", 0, 1),
    }
    assert [(line["issue_id"], line["seen"], line["redeemed"]) for line in read_lines(out)] == [
        ("seen", True, False),
        ("unseen", False, False),
        ("clicked", True, False),
        ("nothing", None, False),
        ("later", None, None),
    ]
    assert "1 more were never seen" in page.read_text(encoding="utf-8")
    printed = run("evaluate", log, "--window", DAY_S, "-c", config).stdout
    assert re.search(r"issues\s+seen\s+seen\s+all", printed)
    assert re.search(r"never seen\s+1\s+1\s+0", printed)


def test_a_head_that_the_log_says_nothing_of_is_not_judged_and_that_is_said(run: Run, tmp_path: Path) -> None:
    log = write_lines(tmp_path / "log.jsonl", issue("i1"), feedback("purchase", "i1"), issue("i2", AT + 9 * DAY_S))
    result = run("evaluate", log, "--json", "--window", DAY_S)
    heads = {head["head"]: head["examples"] for head in json.loads(result.stdout)["heads"]}
    assert heads == {"click": 0, "redeem": 1, "order": 0}
    printed = run("evaluate", log, "--window", DAY_S)
    assert "no feedback of the log is a click: P(click) is neither learnt nor judged" in printed.stderr


TABLE = "offer,bought\ntea-10,1\nnone,0\ntea-10,perhaps\n"
MAPPING = 'arm = "offer"\npurchase = "bought"\n'


def test_a_table_is_evaluated_by_its_mapping_and_bad_rows_are_named_by_their_line(run: Run, tmp_path: Path) -> None:
    table, mapping = tmp_path / "sent.csv", tmp_path / "sent.toml"
    table.write_text(TABLE, encoding="utf-8")
    mapping.write_text(MAPPING, encoding="utf-8")
    result = run("evaluate", table, "--mapping", mapping, "--json")
    assert result.exit_code == 1
    assert "line 4: invalid  column 'bought' is 'perhaps', expected 1 or 0" in result.stderr
    found = json.loads(result.stdout)
    assert (found["issues"], found["records"]) == (2, {"feedback": 1, "issue": 2})


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ((), "sent.csv: a table needs --mapping, a TOML file that names its columns"),
        (("--mapping", "sent.csv"), "sent.csv is not TOML"),
    ],
)
def test_options_that_do_not_fit_a_table_are_refused(
    run: Run, tmp_path: Path, options: tuple[str, ...], why: str
) -> None:
    (tmp_path / "sent.csv").write_text(TABLE, encoding="utf-8")
    (tmp_path / "sent.toml").write_text(MAPPING, encoding="utf-8")
    named = [option if option.startswith("--") else tmp_path / option for option in options]
    result = run("evaluate", tmp_path / "sent.csv", *named)
    assert result.exit_code == 2
    assert why in result.stderr


@pytest.mark.long
def test_baselines_are_set_beside_ours(run: Run, log: Path) -> None:
    result = run("evaluate", log, *WINDOW, "--baselines")
    assert "beside plain models" in result.stdout
    assert "River logistic regression" in result.stdout
    assert "boosted trees, refitted" in result.stdout


class Interrupted(ProgressiveRun):
    """A run in which Ctrl-C is pressed while the fortieth record is taken in."""

    fed = 0

    def feed(self, record: LogRecord) -> None:
        self.fed += 1
        if self.fed == 40:
            raise KeyboardInterrupt
        super().feed(record)


def test_ctrl_c_ends_it_and_leaves_the_files(
    run: Run, log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stream_coupons_lab.offline.progressive_run.ProgressiveRun", Interrupted)
    out = tmp_path / "scored.jsonl"
    out.write_text("before")
    result = run("evaluate", log, "--json", "--predictions", out)
    assert (result.exit_code, result.stdout, out.read_text()) == (130, "", "before")
