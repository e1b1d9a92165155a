"""Subjects of commits that tools/check_commits.py accepts and refuses."""

import os
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

from tests.docs.pages import ROOT, script

NAMES = {f"GIT_{role}_{part}": "somebody" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")}


@pytest.fixture(scope="module")
def check() -> ModuleType:
    return script("check_commits", ROOT / "tools")


@pytest.mark.parametrize("subject", ["Cache compiled catalogues", "x" * 72, f"Merge {'x' * 80}", "fixup! " + "x" * 72])
def test_a_good_subject_has_no_problem(check: ModuleType, subject: str) -> None:
    assert check.problem(subject) is None


@pytest.mark.parametrize(
    ("subject", "problem"), [("", "is empty"), ("x" * 73, "73 characters, expected at most 72"), ("End.", "full stop")]
)
def test_a_bad_subject_has_one(check: ModuleType, subject: str, problem: str) -> None:
    assert problem in check.problem(subject)


def test_the_subject_is_the_first_line_that_is_no_comment(check: ModuleType) -> None:
    assert check.subject_of("\n# Please enter\nAdd a feature\n\nwhy\n") == "Add a feature"
    assert check.subject_of("# nothing\n") == ""


def test_a_file_with_a_message_is_checked(
    check: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    message = tmp_path / "COMMIT_EDITMSG"
    monkeypatch.setattr("sys.argv", ["check_commits.py", str(message)])
    message.write_text("Add a feature\n", encoding="utf-8")
    assert check.main() == 0
    message.write_text("x" * 73, encoding="utf-8")
    assert check.main() == 1
    assert capsys.readouterr().err.startswith("73 characters")


def git(folder: Path, *args: str) -> None:
    environment = os.environ | NAMES
    subprocess.run(["git", *args], cwd=folder, env=environment, check=True, capture_output=True)


@pytest.mark.process
def test_the_commits_that_the_remote_lacks_are_checked(check: ModuleType, tmp_path: Path) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    there.mkdir()
    assert check.commits(there) == []
    git(there, "init", "--quiet")
    for number in range(25):
        git(there, "commit", "--quiet", "--allow-empty", "--message", f"Commit {number}")
    assert [line.partition(" ")[2] for line in check.commits(there)] == [f"Commit {n}" for n in range(24, 4, -1)]
    git(tmp_path, "clone", "--quiet", str(there), str(here))
    assert check.commits(here) == []
    git(here, "commit", "--quiet", "--allow-empty", "--message", "Add one")
    assert [line.partition(" ")[2] for line in check.commits(here)] == ["Add one"]
