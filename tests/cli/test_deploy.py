"""`deploy write`: files that differ are kept unless they are to be overwritten."""

import json
from pathlib import Path

import pytest

from stream_coupons.ops.deployment import FILES

from .conftest import Run

DEPLOY = Path(__file__).parents[2] / "deploy"


def found(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_all_files_are_written_once(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "stream-coupons"
    written = run("deploy", "write", folder)
    assert written.exit_code == 0
    assert written.stdout.splitlines() == [f"wrote {folder / name}" for name in FILES]
    assert found(folder) == {name: (DEPLOY / name).read_bytes() for name in FILES}
    assert run("deploy", "write", folder).stdout == f"{len(FILES)} files unchanged\n"


def test_a_file_that_differs_is_kept_and_named_until_it_is_forced(run: Run, tmp_path: Path) -> None:
    mine = tmp_path / "settings.toml"
    mine.write_text("[kafka]\npartitions = 8\n", encoding="utf-8")
    kept = run("deploy", "write", tmp_path, "--json")
    assert kept.exit_code == 1
    assert json.loads(kept.stdout)["kept"] == [str(mine)]
    named = run("deploy", "write", tmp_path)
    assert f"{mine} differs and was kept" in named.stderr
    assert mine.read_text(encoding="utf-8") == "[kafka]\npartitions = 8\n"
    forced = run("deploy", "write", tmp_path, "--force")
    assert (forced.exit_code, forced.stdout.splitlines()[0]) == (0, f"wrote {mine}")
    assert mine.read_bytes() == (DEPLOY / "settings.toml").read_bytes()


def test_a_part_is_written_alone(run: Run, tmp_path: Path) -> None:
    assert run("deploy", "write", tmp_path, "prometheus/", "catalog.json").exit_code == 0
    assert found(tmp_path).keys() == {"catalog.json", "prometheus/alerts.yml", "prometheus/prometheus.yml"}


@pytest.mark.parametrize("part", ["promtheus", "..", "/", "Dockerfile"])
def test_a_part_that_is_not_written_is_refused_with_those_that_are(run: Run, tmp_path: Path, part: str) -> None:
    refused = run("deploy", "write", tmp_path, part)
    assert refused.exit_code == 2
    assert "prometheus, settings.toml, systemd" in refused.stderr
    assert found(tmp_path) == {}


def test_a_folder_that_cannot_be_written_is_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    refused = run("deploy", "write", tmp_path / "file")
    assert (refused.exit_code, len(refused.stderr.splitlines())) == (2, 1)
    assert str(tmp_path / "file") in refused.stderr
