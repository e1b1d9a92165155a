"""Write docs/images/report.png, the top of the demo's report: `make picture`, or `python docs/picture.py PAGE`.

It needs Chromium: `apt-get install chromium`.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

PICTURE = Path(__file__).parent / "images" / "report.png"
WIDTH, HEIGHT = 1000, 880
"""Size of the picture in CSS pixels: it shows the cards and the plot of the margins."""


def main() -> None:
    """Write the picture of a page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", type=Path, help="report of the demo, such as reports/demo.html")
    page = parser.parse_args().page
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("there is no Chromium on this machine: apt-get install chromium")
    if not page.is_file():
        sys.exit(f"{page} is no file: run `stream-coupons demo --report {page}` first")
    with tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as profile:
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={profile}"]
        size = f"--window-size={WIDTH},{HEIGHT}"
        command = [chromium, *options, size, f"--screenshot={PICTURE}", page.resolve().as_uri()]
        subprocess.run(command, check=True, timeout=120)


if __name__ == "__main__":
    main()
