"""Hooks, `make check` and the workflow of the public CI run the same tools."""

import re
import shlex
from typing import Any

import pytest
import yaml

from tests.docs.pages import ROOT, page

HOOKS: list[dict[str, Any]] = [
    hook for repo in yaml.safe_load(page(".pre-commit-config.yaml"))["repos"] for hook in repo["hooks"]
]


def recipe(target: str) -> str:
    """Return the commands of a target of make."""
    found = re.search(rf"^{target}:.*\n((?:\t.*\n)+)", page("Makefile"), re.MULTILINE)
    assert found is not None
    return found[1]


@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: hook["id"])
def test_make_check_runs_the_tool_of_a_hook(hook: dict[str, Any]) -> None:
    program, *args = shlex.split(hook["entry"])
    assert hook["language"] == "system"
    assert program.startswith(".venv/bin/")
    words = [program.removeprefix(".venv/bin/"), *(arg for arg in args if not arg.startswith("-"))]
    assert f"$(BIN)/{' '.join(words)}" in recipe("check")
    assert all((ROOT / arg).exists() for arg in args if arg.endswith(".py"))


@pytest.mark.parametrize("hook", [hook for hook in HOOKS if "files" in hook], ids=lambda hook: hook["id"])
def test_the_pattern_of_a_hook_matches_files(hook: dict[str, Any]) -> None:
    for name in ("stream_coupons/core/draws.py", "stream_coupons/cli/main.py"):
        assert (ROOT / name).exists()
        assert re.search(hook["files"], name)
    assert not re.search(hook["files"], "README.md")


def test_the_workflow_runs_make_test_and_may_only_read() -> None:
    workflow = yaml.safe_load(page(".github/workflows/test.yml"))
    [job] = workflow["jobs"].values()
    assert job["steps"][-1] == {"run": "make deploy-tools test"}
    assert workflow["permissions"] == {"contents": "read"}
