"""All threads share one heap, and large blocks lie outside of it."""

import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.process

MIB = 2**20
PROGRAM = f"""
import sys
from concurrent.futures import ThreadPoolExecutor
from stream_coupons.worker.memory import keep_one_heap

def is_in_heap(block):
    ends = [line.split()[0].split("-") for line in open("/proc/self/maps") if "[heap]" in line]
    return any(int(begin, 16) <= id(block) < int(end, 16) for begin, end in ends)

if sys.argv[1] == "one heap":
    keep_one_heap()
bytes({16 * MIB})
large = bytes({16 * MIB})
small = ThreadPoolExecutor(1).submit(bytes, {MIB // 16}).result()
print(is_in_heap(large), is_in_heap(small))
"""


def lie_in_heap(how: str) -> list[bool]:
    """True if a large block lies in the heap after another one was freed, and if a thread's small one does."""
    run = subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True)
    return [text == "True" for text in run.stdout.split()]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator")
def test_blocks_of_all_threads_lie_in_one_heap_but_for_large_ones() -> None:
    assert (lie_in_heap("one heap"), lie_in_heap("by default")) == ([False, True], [True, False])
