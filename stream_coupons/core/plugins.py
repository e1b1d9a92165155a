"""Extensions from other packages: objects that a setting names by entry point or by import path.

A name with a colon is the value of an entry point, `module:attribute`; any other one is the name of an entry point that
an installed distribution declares for a group.
"""

from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from stream_coupons.core.errors import BadConfig

MODELS, POLICIES, FEATURES = "stream_coupons.models", "stream_coupons.policies", "stream_coupons.features"
"""Groups of entry points."""


def point_of(name: str, group: str, own: Iterable[str] = ()) -> EntryPoint:
    """Return the entry point of a name; of two with one name, the first on the path.

    Parameters
    ----------
    name, group : str
        The setting's text, and a group of entry points.
    own : iterable of str
        Names of the engine's own objects, for the error.

    Raises
    ------
    ValueError
        If the name has no colon, and no installed package declares it.
    """
    if ":" in name:
        return EntryPoint(name, name, group)
    points: dict[str, EntryPoint] = {point.name: point for point in reversed([*entry_points(group=group)])}
    if name not in points:
        expected = ", ".join([*own, "an import path (module:attribute)"])
        installed = ", ".join(sorted(points)) or "none"
        raise ValueError(
            f"there is no {name!r}: expected {expected}, or an entry point of {group} (installed: {installed})"
        )
    return points[name]


def load(point: EntryPoint, source: str) -> Any:
    """Return the object that an entry point names.

    Parameters
    ----------
    point : EntryPoint
        Names the object.
    source : str
        Setting or group that names the entry point, for errors.

    Raises
    ------
    BadConfig
        If it does not load.
    """
    try:
        return point.load()
    except Exception as error:
        raise BadConfig(
            f"{source}: {point.name!r} ({point.value}) does not load: {type(error).__name__}: {error}; correct the "
            "name, or install the package and its dependencies where the workers run"
        ) from error


def named(name: str, group: str, setting: str) -> Any:
    """Return the object that a setting names.

    Parameters
    ----------
    name, group : str
        The setting's text, and a group of entry points.
    setting : str
        Name of the setting, for errors.

    Raises
    ------
    BadConfig
        If there is none, or it does not load.
    """
    try:
        return load(point_of(name, group), setting)
    except ValueError as error:
        raise BadConfig(f"{setting}: {error}") from None


def made(found: Any, setting: str, *arguments: object) -> Any:
    """Return what a class or function makes.

    Parameters
    ----------
    found : object
        The class or function.
    setting : str
        Names it, for errors.
    *arguments : object
        Arguments of the call.

    Raises
    ------
    BadConfig
        If the call fails.
    """
    try:
        return found(*arguments)
    except Exception as error:
        raise BadConfig(f"{setting} cannot be made: {type(error).__name__}: {error}; correct its code") from error
