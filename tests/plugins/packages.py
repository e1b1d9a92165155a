"""The packages of this folder, as an installation puts them on the path: modules beside their metadata."""

from pathlib import Path

import pytest

HERE = Path(__file__).parent
MODELS, POLICIES = HERE / "model_plugin", HERE / "policy_plugin"
RIVER = "shop_models:scaled"


def install(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Put a package on the path of this process, and of those that it starts."""
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=":")
