"""Public names import and have a docstring, and importing the package stays cheap."""

import importlib
import inspect
import subprocess
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

import stream_coupons
import stream_coupons_lab
from stream_coupons import testing

CONSTANTS = {"stream_coupons.__version__", "stream_coupons.testing.START"}


def public(module: ModuleType = stream_coupons) -> Iterator[tuple[str, Any]]:
    """Yield the qualified name and value of everything public, modules first."""
    yield module.__name__, module
    for name in module.__all__:
        full = f"{module.__name__}.{name}"
        value = getattr(module, name, None)
        if value is None or inspect.ismodule(value):
            yield from public(importlib.import_module(full))
        else:
            yield full, value


PUBLIC = {**dict(public()), **dict(public(stream_coupons_lab))}


def test_integrators_find_what_they_need() -> None:
    assert {
        "stream_coupons.core.messages.CouponIssue",
        "stream_coupons_lab.frames.evaluate",
        "stream_coupons.models.model.Model",
        "stream_coupons.settings.Settings",
        "stream_coupons.testing.LocalPipeline",
    } <= set(PUBLIC)


@pytest.mark.parametrize("name", sorted(set(PUBLIC) - CONSTANTS))
def test_everything_public_has_a_docstring_of_its_own(name: str) -> None:
    value = PUBLIC[name]
    text = vars(value).get("__doc__") if inspect.isclass(value) else value.__doc__  # a class inherits that of its base
    assert (text or "").strip()


def test_lists_of_public_names_have_no_name_twice() -> None:
    modules = [value for value in PUBLIC.values() if inspect.ismodule(value)]
    assert len(modules) > 5
    for module in modules:
        assert len(module.__all__) == len(set(module.__all__)), module.__name__


@pytest.mark.parametrize("name", [name for name in testing.__all__ if name != "START"])
def test_every_builder_has_an_example(name: str) -> None:
    assert "Examples\n    --------\n    >>> " in (getattr(testing, name).__doc__ or "")


@pytest.mark.process
@pytest.mark.parametrize(
    ("module", "not_imported"),
    [
        ("stream_coupons", {"faust", "kafka", "msgspec", "numpy", "pandas", "river"}),
        ("stream_coupons.core.messages", {"faust", "kafka", "numpy", "pandas", "river"}),
        ("stream_coupons.models.model", {"faust", "kafka", "pandas", "river"}),
        ("stream_coupons.settings", {"faust", "kafka", "pandas", "river"}),
        ("stream_coupons.testing", {"aiokafka", "faust", "kafka", "pandas", "river"}),
    ],
)
def test_an_import_brings_no_heavy_library_that_it_does_not_need(module: str, not_imported: set[str]) -> None:
    code = f"import sys, {module}; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    assert module in found.stdout.split()
    assert not_imported & set(found.stdout.split()) == set()
