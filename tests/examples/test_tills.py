"""The verifiers for tills: three languages read the same from every code as the engine does."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from stream_coupons.core import codes
from stream_coupons.core.draws import DrawKey

TILLS = Path(__file__).parents[2] / "examples" / "tills"
KEY = codes.coupon_key(codes.codes_key(DrawKey(b"shop")), "tea")
OTHER = codes.coupon_key(codes.codes_key(DrawKey(b"shop")), "milk")
GOOD = [codes.generate(KEY, f"i{n}", codes.EPOCH + 7_000_000.0 * n, "TEA" * (n % 2)) for n in range(60)]
TYPED = [GOOD[0].lower(), GOOD[1].replace("-", " "), GOOD[2].replace("1", "l"), GOOD[3].replace("0", "o")]
MISTYPED = [
    GOOD[4][:-2] + ("00" if GOOD[4][-2] != "0" else "10"),
    GOOD[5][:9] + GOOD[5][10] + GOOD[5][9] + GOOD[5][11:],
]
NO_CODES = ["tea", GOOD[6][:-1].replace("-", ""), "U" * 21]
FORGED = [codes.generate(OTHER, f"i{n}", codes.EPOCH + 1e6 * n) for n in range(20)]
COMMANDS = {
    "node": ("verify.mjs",),
    "java": ("Verify.java",),
    "go": ("run", "verify.go"),
}


def program(name: str) -> str:
    """Path of a program; without it the test is skipped, or fails where CI=true."""
    path = shutil.which(name)
    if path is None and os.environ.get("CI") == "true":
        pytest.fail(f"{name} is not installed")
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


@pytest.mark.process
@pytest.mark.parametrize("name", COMMANDS)
def test_a_till_reads_what_the_engine_reads(name: str) -> None:
    typed = [*GOOD, *TYPED, *MISTYPED, *NO_CODES, *FORGED]
    command = [program(name), *COMMANDS[name], KEY.hex(), *typed]
    done = subprocess.run(command, cwd=TILLS, capture_output=True, text=True, check=True, timeout=120)
    expected = [f"{codes.expiry(KEY, code):.0f}" for code in [*GOOD, *TYPED]]
    expected += ["mistyped"] * len(MISTYPED) + ["no code"] * len(NO_CODES)
    expected += ["forged, or of another coupon"] * len(FORGED)
    assert done.stdout.splitlines() == expected


@pytest.mark.parametrize("path", sorted(TILLS.iterdir()), ids=lambda path: path.name)
def test_a_verifier_takes_twenty_lines(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    start = next(n for n, line in enumerate(lines) if "expiry(" in line and line.rstrip().endswith("{"))
    end = next(n for n, line in enumerate(lines) if n > start and line.strip() == "}" and len(line) <= 3)
    assert end - start < 20
