"""Extensions from other packages: objects that a setting names by import path or by entry point.

- `module:attribute` is an import path.
- Any other name is that of an entry point, as an installed distribution declares it for a group.

Keyword arguments may follow in parentheses, as Python literals: `shop_models:make_pipeline(l2=0.1)`.
"""

import ast
import importlib
from collections.abc import Iterable
from importlib import metadata
from typing import Any, NamedTuple

from stream_coupons.core.errors import BadConfig

MODELS, POLICIES = "stream_coupons.models", "stream_coupons.policies"
"""Groups of entry points."""


class PluginCall(NamedTuple):
    """The name of an extension, and the keyword arguments of the call that makes it."""

    name: str
    arguments: dict[str, Any]

    @property
    def is_path(self) -> bool:
        """True for an import path, False for an entry point."""
        return ":" in self.name


def parse(text: str) -> PluginCall:
    """Return the parts of an extension's setting.

    Raises
    ------
    ValueError
        If the arguments are not keywords with literals.

    Examples
    --------
    >>> parse("shop_models:make_pipeline(l2=0.1)")
    PluginCall(name='shop_models:make_pipeline', arguments={'l2': 0.1})
    >>> parse("by_margin").is_path
    False
    """
    name, opened, rest = text.strip().partition("(")
    try:
        call = ast.parse(f"f({rest}" if opened else "f()", mode="eval").body
        if not isinstance(call, ast.Call) or call.args or not name.strip():
            raise ValueError
        arguments = {str(each.arg): ast.literal_eval(each.value) for each in call.keywords if each.arg}
        if len(arguments) < len(call.keywords):
            raise ValueError
    except (SyntaxError, ValueError):
        raise ValueError(
            f"{text!r}: expected a name, or name(keyword=value, ...) with Python literals as values"
        ) from None
    return PluginCall(name.strip(), arguments)


def check(text: str, group: str, own: Iterable[str]) -> None:
    """Refuse a text that names nothing: neither one of `own`, nor an import path, nor an entry point of the group.

    Parameters
    ----------
    text : str
        The setting's text.
    group : str
        Group of entry points.
    own : iterable of str
        Names of the engine's own objects.

    Raises
    ------
    ValueError
    """
    name = parse(text).name
    if text in own or ":" in name:
        return
    points = entry_points(group)
    if name not in points:
        raise ValueError(_unknown(name, group, points, own))


def _unknown(name: str, group: str, points: Iterable[str], own: Iterable[str] = ()) -> str:
    named = "".join(f"{each}, " for each in own)
    installed = ", ".join(sorted(points)) or "none"
    return (
        f"there is no {name!r}: expected {named}an import path (module:attribute), or an entry point of {group} "
        f"(installed: {installed})"
    )


def entry_points(group: str) -> dict[str, metadata.EntryPoint]:
    """Return the entry points of a group, by name; of two with one name, the first on the path."""
    found: dict[str, metadata.EntryPoint] = {}
    for point in metadata.entry_points(group=group):
        found.setdefault(point.name, point)
    return found


def make(text: str, group: str, setting: str, *arguments: object) -> Any:
    """Return the object that an extension makes.

    Parameters
    ----------
    text : str
        The setting's text: a name with keyword arguments.
    group : str
        Group of entry points.
    setting : str
        Name of the setting, for errors.
    *arguments : object
        Positional arguments of the call.

    Raises
    ------
    BadConfig
        If it cannot be found, does not load or does not take the arguments.
    """
    try:
        call = parse(text)
    except ValueError as error:
        raise BadConfig(f"{setting}: {error}") from None
    factory = _imported(call.name, setting) if call.is_path else _loaded(call.name, group, setting)
    try:
        return factory(*arguments, **call.arguments)
    except Exception as error:
        raise BadConfig(
            f"{setting}: {text!r} cannot be made: {_said(error)}; correct its arguments or its code"
        ) from error


def _imported(path: str, setting: str) -> Any:
    module_name, _, attribute = path.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise BadConfig(
            f"{setting}: {path!r}: there is no module {error.name!r}; "
            "install its package in the workers' environment, or add its folder to PYTHONPATH"
        ) from error
    except Exception as error:
        raise BadConfig(f"{setting}: {path!r}: the module does not load: {_said(error)}; correct it") from error
    found = getattr(module, attribute, None)
    if found is None:
        raise BadConfig(f"{setting}: {path!r}: {module_name} has no {attribute!r}")
    return _callable(found, path, setting)


def _loaded(name: str, group: str, setting: str) -> Any:
    points = entry_points(group)
    if name not in points:
        raise BadConfig(f"{setting}: {_unknown(name, group, points)}")
    point = points[name]
    try:
        return _callable(point.load(), name, setting)
    except BadConfig:
        raise
    except Exception as error:
        of = f" of {point.dist.name}" if point.dist is not None else ""
        raise BadConfig(
            f"{setting}: the entry point {name!r}{of} ({point.value}) does not load: {_said(error)}; "
            "install the package and its dependencies anew, or correct it"
        ) from error


def _callable(found: Any, name: str, setting: str) -> Any:
    if not callable(found):
        raise BadConfig(f"{setting}: {name!r} is {found!r}: expected a class or a function that makes the object")
    return found


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
