"""The console as a child process, on a free port."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stream_coupons_lab.demo.system import SystemFailed

ADDRESS = "console at "
ENDS_WITHIN_S = 20.0


@contextmanager
def running_console(config: Path, *options: str) -> Iterator[tuple[str, int]]:
    """Run the console on a free port; yield its address and its process id.

    Parameters
    ----------
    config : Path
        Settings of the workers.
    *options
        Further options of the command.

    Raises
    ------
    SystemFailed
        If it does not start.
    """
    command = [sys.executable, "-m", "stream_coupons", "console", "--port", "0", "--config", str(config), *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, process_group=0) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line.startswith(ADDRESS):
                raise SystemFailed(f"the console did not start: {line.strip() or 'it ended'}")
            yield line.removeprefix(ADDRESS).split(",")[0].strip(), process.pid
        finally:
            process.terminate()
            try:
                process.wait(ENDS_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()
