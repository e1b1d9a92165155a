"""The examples in docstrings run, and say what they say."""

import doctest
import importlib
import pkgutil

import pytest

import loopback_kafka
import stream_coupons

NOT_FOR_IMPORT = ("stream_coupons.__main__", "loopback_kafka.__main__")


def documented() -> list[str]:
    """Modules of the packages that have examples."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    names = []
    for module in (
        *pkgutil.walk_packages(stream_coupons.__path__, "stream_coupons."),
        *pkgutil.walk_packages(loopback_kafka.__path__, "loopback_kafka."),
    ):
        if module.name in NOT_FOR_IMPORT or module.ispkg:
            continue
        spec = module.module_finder.find_spec(module.name)  # type: ignore[call-arg]
        source = spec.loader.get_source(module.name) if spec is not None else ""  # type: ignore[union-attr]
        if ">>> " in (source or "") and finder.find(importlib.import_module(module.name)):
            names.append(module.name)
    return names


DOCUMENTED = documented()


def test_the_core_has_examples() -> None:
    assert {
        f"stream_coupons.core.{name}" for name in ("vectors.sparse", "shopper.imputation", "decision.policy")
    } <= set(DOCUMENTED)


@pytest.mark.parametrize("name", DOCUMENTED)
def test_examples_say_what_they_say(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert result.attempted > 0
    assert result.failed == 0
