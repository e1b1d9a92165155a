"""The memory of large blocks goes back to the system, whatever was freed before."""

import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.process

MIB = 2**20
PROGRAM = f"""
import sys
from stream_coupons.worker.memory import return_large_blocks

def heap_bytes():
    ends = [line.split()[0].split("-") for line in open("/proc/self/maps") if "[heap]" in line]
    return sum(int(end, 16) - int(begin, 16) for begin, end in ends)

if sys.argv[1] == "returned":
    return_large_blocks()
for _ in range(2):
    block = bytes({16 * MIB})
    held = heap_bytes()
    del block
print(held)
"""


def heap_bytes(how: str) -> int:
    """Bytes of the heap of a process while it holds a large block, after it freed another."""
    run = subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True)
    return int(run.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator")
def test_a_large_block_does_not_lie_among_what_stays_after_another_was_freed() -> None:
    assert heap_bytes("returned") < 16 * MIB < heap_bytes("by default")
