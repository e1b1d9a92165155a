"""The schemas' verbs: what is stale or breaking is named."""

import json
from pathlib import Path

import pytest

from .conftest import Run

NAME = "browse-events.v1.schema.json"


@pytest.fixture
def folder(run: Run, tmp_path: Path) -> Path:
    """A folder of fresh schemas."""
    assert run("schemas", "write", tmp_path / "schemas").exit_code == 0
    return tmp_path / "schemas"


def edit(path: Path, before: str, after: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert before in text
    path.write_text(text.replace(before, after), encoding="utf-8")


@pytest.mark.long
def test_what_was_written_is_fresh(run: Run, folder: Path) -> None:
    result = run("schemas", "check", folder)
    assert (result.exit_code, result.stdout) == (0, "all schemas are fresh\n")
    assert run("schemas", "write", folder).stdout == "all schemas are fresh\n"


@pytest.mark.long
def test_a_stale_schema_is_named_and_written_anew(run: Run, folder: Path) -> None:
    edit(folder / NAME, "A shopper looked at an item.", "Something else.")
    result = run("schemas", "check", folder)
    assert result.exit_code == 1
    assert f"stale  {NAME}" in result.stdout
    assert run("schemas", "write", folder).exit_code == 0
    assert run("schemas", "check", folder).exit_code == 0


@pytest.mark.long
def test_a_breaking_change_is_named_and_not_written(run: Run, folder: Path) -> None:
    edit(folder / NAME, '"maxLength": 200', '"maxLength": 300')
    result = run("schemas", "check", folder, "--json")
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert [line for line in report["breaking"] if NAME in line and "maxLength" in line]
    refused = run("schemas", "write", folder)
    assert refused.exit_code == 2
    assert "only additive changes keep the version" in refused.stderr
    assert run("schemas", "write", folder, "--allow-breaking").exit_code == 0


def test_a_missing_folder_is_an_error(run: Run, tmp_path: Path) -> None:
    assert run("schemas", "check", tmp_path / "none").exit_code == 2
    (tmp_path / "file").write_text("")
    assert run("schemas", "write", tmp_path / "file").exit_code == 2
