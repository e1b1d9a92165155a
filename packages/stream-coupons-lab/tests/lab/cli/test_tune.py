"""`tune`: finds better settings on a log with a hidden truth, says when it does not, and goes on where it stopped."""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

pytest.importorskip("optuna")

from lab.foreign_shop import write_log
from stream_coupons.settings import Settings, load

from .conftest import Result, Run

RATE = "learning.prior_variance"
TIMEOUT_S = 60.0


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_log(tmp_path_factory.mktemp("log") / "log.jsonl", 160)


@pytest.fixture(scope="module")
def long_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Enough to tell who learns from who does not, though what is known before learning is nearly right here."""
    return write_log(tmp_path_factory.mktemp("log") / "long.jsonl", 1000)


@pytest.fixture
def slow_learner(tmp_path: Path) -> Path:
    """Settings under which next to nothing is learnt."""
    path = tmp_path / "slow.toml"
    path.write_text("[learning]\nprior_variance = 0.0001\n[worker]\nmetrics_port = 0\n", encoding="utf-8")
    return path


def answer(result: Result) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(result.stdout)
    return found


@pytest.mark.long
@pytest.mark.parametrize(
    ("method", "jobs"),
    [pytest.param("bayes", 2, marks=pytest.mark.slow), ("random", 1), pytest.param("grid", 1, marks=pytest.mark.slow)],
)
@pytest.mark.slow
def test_it_finds_a_better_prior_variance_than_a_bad_one(
    run: Run, long_log: Path, slow_learner: Path, tmp_path: Path, method: str, jobs: int
) -> None:
    out = tmp_path / "found.toml"
    files = ("--study", tmp_path / "study", "--config", slow_learner, "--out", out)
    result = run("tune", long_log, "--method", method, "--jobs", jobs, "--trials", 6, "--only", RATE, *files, "--json")
    assert result.exit_code == 0
    tuned = answer(result)
    assert tuned["used_today"] == {RATE: 0.0001}
    assert tuned["is_better"]
    assert tuned["held_out"]["gain"]["low"] > 0
    assert tuned["held_out"]["second"] < tuned["held_out"]["first"]
    assert tuned["searched"]["second"] == pytest.approx(tuned["best_quality"], abs=1e-9)
    found = load(out, {})
    assert found.learning.prior_variance == tuned["found"][RATE] > 0.01
    # What it was found under stays; the rest is left to its default.
    assert found == msgspec.structs.replace(load(slow_learner, {}), learning=found.learning)
    assert "policy" not in out.read_text(encoding="utf-8")


@pytest.mark.long
def test_what_is_no_better_is_not_written_but_by_force(run: Run, log: Path, tmp_path: Path) -> None:
    out = tmp_path / "found.toml"
    arguments = ("tune", log, "--trials", 1, "--study", tmp_path / "study", "--out", out)
    result = run(*arguments, "--only", "profile.missing_price")
    assert result.exit_code == 1
    assert "no better than the settings used today; nothing is written" in result.stdout
    assert not out.exists()
    result = run(*arguments, "--only", "profile.missing_price", "--force")
    assert result.exit_code == 1
    assert f"written to {out}" in " ".join(result.stdout.split())
    assert load(out, {}) == Settings()


@pytest.mark.long
@pytest.mark.slow
def test_the_table_has_both_parts_and_both_settings(run: Run, log: Path, slow_learner: Path, tmp_path: Path) -> None:
    arguments = ("--trials", 2, "--only", RATE, "--head", "click", "--held-out", 0.5)
    result = run("tune", log, *arguments, "--study", tmp_path / "study", "--config", slow_learner)
    assert "log loss of P(click), cut at 2026-01-04T08:00:00Z" in result.stdout
    assert "searched" in result.stdout
    assert "held out" in result.stdout
    assert "0.0001" in result.stdout
    assert "trial 0: log loss 0." in result.stderr


@pytest.mark.long
@pytest.mark.slow
def test_refused_lines_are_shown_and_the_rest_is_used(run: Run, log: Path, tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"type": "sale"}\n' + log.read_bytes())
    files = ("--study", tmp_path / "study")
    result = run("tune", path, "--trials", 1, "--only", "profile.missing_price", *files)
    assert result.exit_code == 1
    assert "line 1" in result.stderr
    assert "held out" in result.stdout


# ------------------------------------------------------------ interruptions


@contextmanager
def tuning(log: Path, study: Path, jobs: int) -> Iterator[subprocess.Popen[str]]:
    """A search that would take minutes, with at least one trial done."""
    command = [sys.executable, "-m", "stream_coupons", "tune", log, "--study", study, "--trials", 500, "--jobs", jobs]
    with subprocess.Popen([str(part) for part in command], stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            assert process.stderr.readline().startswith("trial ")
            yield process
        finally:
            process.kill()


def children(pid: int) -> list[int]:
    stats = [path.read_text().rpartition(")") for path in Path("/proc").glob("[0-9]*/stat") if path.exists()]
    return [int(head.split(" ", 1)[0]) for head, _, rest in stats if int(rest.split()[1]) == pid]


def ends(pids: list[int]) -> bool:
    """Wait until these processes have ended, as long as it may take."""
    for pid in pids:
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            if not select.select([descriptor], [], [], TIMEOUT_S)[0]:
                return False
        finally:
            os.close(descriptor)
    return True


def trials(study: Path) -> dict[int, tuple[str, float | None, dict[str, Any]]]:
    """State, value and parameters by number."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    kept = optuna.load_study(study_name="tune", storage=JournalStorage(JournalFileBackend(str(study))))
    return {t.number: (t.state.name, t.values[0] if t.values else None, t.params) for t in kept.trials}


@pytest.mark.process
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
@pytest.mark.slow
def test_it_goes_on_where_it_was_stopped(run: Run, log: Path, tmp_path: Path, number: signal.Signals) -> None:
    study = tmp_path / "study"
    with tuning(log, study, jobs=2) as process:
        workers = children(process.pid)
        process.send_signal(number)
        assert process.wait(TIMEOUT_S) == (-number if number == signal.SIGKILL else 130)
        assert process.stderr is not None
        rest = process.stderr.read()
        assert ("interrupted: the finished trials are kept" in rest) == (number == signal.SIGINT), rest
        assert len(workers) >= 2
        assert ends(workers)
    before = trials(study)
    done = {n: trial for n, trial in before.items() if trial[0] in ("COMPLETE", "PRUNED")}
    assert done
    result = run("tune", log, "--study", study, "--trials", len(done) + 2)
    assert result.exit_code in (0, 1), result.stderr
    after = trials(study)
    assert {n: after[n] for n in done} == done
    finished = [trial for trial in after.values() if trial[0] in ("COMPLETE", "PRUNED")]
    assert len(finished) == len(done) + 2


# ------------------------------------------------------------ errors


@pytest.mark.long
def test_a_study_of_another_log_is_refused(run: Run, log: Path, tmp_path: Path) -> None:
    arguments = ("--trials", 1, "--only", RATE, "--study", tmp_path / "study")
    assert run("tune", log, *arguments).exit_code == 1
    other = write_log(tmp_path / "other.jsonl", seed=2)
    result = run("tune", other, *arguments)
    assert result.exit_code == 2
    assert "was begun with log = " in result.stderr


@pytest.mark.long
def test_a_log_without_outcomes_to_tell_apart_is_an_error(run: Run, log: Path, tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"".join(line for line in log.read_bytes().splitlines(True) if b"purchase" not in line))
    result = run("tune", path, "--trials", 1, "--study", tmp_path / "study")
    assert result.exit_code == 2
    assert "P(redeem), before 2026-01-05T16:00:00Z: 0 of 88 " in result.stderr
    assert "known outcomes are positive, expected some but not all" in result.stderr


def test_a_log_too_short_to_cut_is_an_error(run: Run, tmp_path: Path) -> None:
    result = run("tune", write_log(tmp_path / "log.jsonl", issues=1), "--study", tmp_path / "study")
    assert result.exit_code == 2
    assert "the log has 1 issues of a coupon: too few" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("none.jsonl",), "none.jsonl: No such file"),
        (("log.jsonl", "--out", "log.jsonl"), "--out log.jsonl: is LOG as well, expected another file"),
        (("log.jsonl", "--study", "log.jsonl"), "--study log.jsonl: is LOG as well"),
        (("log.jsonl", "--out", "study"), "--out study: is --study as well"),
        (("log.jsonl", "--out", "none/found.toml"), "--out none/found.toml: there is no folder none"),
        (
            ("log.jsonl", "--only", "learning.prior_varience"),
            "is not in the search space: learning.prior_variance, profile.half_life_s",
        ),
        (
            ("log.jsonl", "--method", "grid"),
            "--trials 50: a grid of 7 settings with two values of each range has 192",
        ),
        (("log.jsonl", "--config", "none.toml"), "none.toml"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_done(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], error: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_log(Path("log.jsonl"), issues=2)
    before = Path("log.jsonl").read_bytes()
    study = () if "--study" in arguments else ("--study", "study")
    result = run("tune", *arguments, *study)
    assert result.exit_code == 2
    assert error in result.stderr
    assert Path("log.jsonl").read_bytes() == before
    assert not Path("study").exists()


def test_without_the_extra_it_says_what_to_install(run: Run, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    result = run("tune", log)
    assert result.exit_code == 2
    assert "pip install -e 'packages/stream-coupons-lab[tune]' (no optuna)" in result.stderr
