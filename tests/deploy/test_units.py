"""The systemd units, as far as they can be checked without running them."""

import configparser
import re
import shlex
import sys
from pathlib import Path

import pytest

from stream_coupons.settings import load

from .conftest import checked
from .test_compose import FOLDER, missing_options, verb_of

UNITS = sorted((FOLDER / "systemd").glob("*.service"))


def service(unit: Path) -> configparser.SectionProxy:
    parser = configparser.ConfigParser(interpolation=None, strict=True)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # names are as systemd spells them
    parser.read_string(unit.read_text(encoding="utf-8"))
    return parser["Service"]


@pytest.mark.process
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_runs_a_verb_with_options_that_it_has(unit: Path) -> None:
    _, *command = shlex.split(service(unit)["ExecStart"])
    assert unit.name == f"stream-coupons-{verb_of(command)[0]}@.service"
    assert missing_options(command) == []


def analyzed(verb: str, text: str, name: str, folder: Path, *options: str) -> tuple[int, str]:
    """Exit code and output of `systemd-analyze` on a unit whose program is installed."""
    installed = folder / name.replace("@", "@9464")
    installed.write_text(re.sub("^ExecStart=[^ ]+", f"ExecStart={sys.executable}", text, flags=re.MULTILINE))
    return checked("systemd-analyze", verb, *options, installed, install="apt-get install systemd")


@pytest.mark.process
@pytest.mark.deploy
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_systemd_accepts_a_unit_and_refuses_a_misspelt_one(unit: Path, tmp_path: Path) -> None:
    text = unit.read_text(encoding="utf-8")
    assert analyzed("verify", text, unit.name, tmp_path) == (0, "")
    _, output = analyzed("verify", text.replace("MemoryMax=", "MemroyMax="), unit.name, tmp_path)
    assert "Unknown key" in output
    assert "MemroyMax" in output


@pytest.mark.process
@pytest.mark.deploy
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_systemd_rates_the_exposure_of_a_unit_as_low(unit: Path, tmp_path: Path) -> None:
    text, limits = unit.read_text(encoding="utf-8"), ("--offline=true", "--no-pager", "--threshold=20")
    code, output = analyzed("security", text, unit.name, tmp_path, *limits)
    assert code == 0, output
    open_to_all = re.sub("^(Protect|Restrict|SystemCall).*\n", "", text, flags=re.MULTILINE)
    code, output = analyzed("security", open_to_all, unit.name, tmp_path, *limits)
    assert code == 1, output


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_is_always_restarted_and_its_secret_read_by_systemd(unit: Path) -> None:
    given = service(unit)
    assert (given["Restart"], given["LoadCredential"].split(":")[0]) == ("always", "secret.key")
    name, _, path = given["Environment"].partition("=")
    assert load(None, {name: path}).secret_file == "%d/secret.key"
