"""The page on tables, followed word for word: its commands run in their order, and its Python says what it says."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from stream_coupons_lab.datasets.mapping import Mapping

from .pages import ROOT, first_column, page

PAGE = "docs/how-to/evaluate-a-table.md"
BLOCK = re.compile(r"<!-- table: (run|python) -->\n```\w*\n(.*?)```", re.DOTALL)
RUN_WITHIN_S = 240.0


@pytest.mark.process
def test_the_page_leads_to_reports_and_decisions(tmp_path: Path) -> None:
    tool = tmp_path / "bin" / "stream-coupons"
    tool.parent.mkdir()
    tool.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m stream_coupons "$@"\n', encoding="utf-8")
    tool.chmod(0o755)
    environment = os.environ | {"PATH": f"{tool.parent}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    blocks = BLOCK.findall(page(PAGE))
    assert len(blocks) == page(PAGE).count("```") / 2
    printed = ""
    for kind, block in blocks:
        command = ["bash", "-ec", block] if kind == "run" else [sys.executable, "-c", block]
        result = subprocess.run(
            command, cwd=tmp_path, env=environment, text=True, capture_output=True, timeout=RUN_WITHIN_S
        )
        assert result.returncode == 0, f"{block}\n{result.stderr}"
        printed = result.stdout
    decisions = pd.read_csv(tmp_path / "decisions.csv", keep_default_na=False, na_values=[""])
    assert len(decisions) == 16
    assert decisions["is_chosen"].sum() == 8
    for name in ("sent.html", "policies.html"):
        assert (tmp_path / name).stat().st_size > 10_000
    assert "always:tea-10" in printed


def test_the_page_explains_every_field_of_a_mapping() -> None:
    named = [name for cell in first_column(PAGE, "| Field | Names |") for name in re.split(r"`?, `?", cell)]
    assert sorted(named) == sorted(Mapping.__struct_fields__)
