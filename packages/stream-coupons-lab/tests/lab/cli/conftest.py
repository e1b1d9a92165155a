"""Fixtures of the command line, which the engine's tests share."""

from tests.cli.conftest import *  # noqa: F403
