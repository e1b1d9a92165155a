"""Call the command line forty times, with good and bad arguments, and print exit code and last line of each call.

    python -m benchmarks.calls
    python -m benchmarks.calls --checkout ../before > before.txt

With --checkout the calls go to the code of another checkout; compare both outputs line by line. Starts an embedded
broker of its own.
"""

import argparse
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from loopback_kafka import open_broker

COUPON = '{"coupon_id": "tea", "categories": ["tea"], "discount_percent": 10, "max_discount_minor": 300}'
EVENT = '{"topic": "browse-events", "message": {"event_id": "e", "user_id": "u", "occurred_at": 1700000000}}'
FILES = {
    "good.json": f"[{COUPON}]".encode(),
    "empty.json": b"",
    "list.json": b"[]",
    "latin1.json": COUPON.replace("tea", "th\xe9").encode("latin-1"),
    "typo.json": COUPON.replace("categories", "categoris").encode(),
    "broken.json": b'[{"coupon_id": "a",}',
    "events.jsonl": EVENT.encode() + b"\nnot json\n",
    "typo.toml": b"[kafka]\npartitons = 4\n",
    "latin1.toml": "[kafka]\ngroup_id = '\xe9'\n".encode("latin-1"),
}
CALLS = [
    "--version",
    "wroker",
    "catalog psuh good.json",
    "topics apply --bootstap BROKER",
    "topics apply --bootstrap",
    "topics apply -b 127.0.0.1:1",
    "catalog list -b BROKER",
    "topics apply -b BROKER",
    "topics apply -b BROKER --json",
    "topics list --json",
    "secret make secret.key",
    "secret make secret.key",
    "secret make missing/secret.key",
    "worker -b BROKER",
    "worker --metrics-port 99999",
    "status -c missing.toml",
    "status -c folder",
    "status -c typo.toml",
    "status -c latin1.toml",
    "catalog push good.json -b BROKER",
    "catalog push missing.json -b BROKER",
    "catalog push folder -b BROKER",
    "catalog push empty.json -b BROKER",
    "catalog push list.json -b BROKER",
    "catalog push latin1.json -b BROKER",
    "catalog push typo.json -b BROKER",
    "catalog push broken.json -b BROKER",
    "catalog list --json -b BROKER",
    "catalog pause nosuch -b BROKER",
    "campaigns list --json -b BROKER",
    "campaigns pause nosuch -b BROKER",
    "publish events.jsonl -b BROKER",
    "tail browse-event -b BROKER",
    "tail --max 0 -b BROKER",
    "dlq list --json -b BROKER",
    "dlq show 99999999999999999999:1 -b BROKER",
    "explain i123 -b BROKER",
    "explain --user u --at 25:99 -b BROKER",
    "lift --since 5x -b BROKER",
    "results --json -b BROKER",
    "status --json -b BROKER",
    "doctor -b BROKER",
    "settings show --json",
    "deploy write deployment --json",
]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the calls; return 1 if one of them ends in a traceback."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.calls", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkout", type=Path, default=Path(), help="whose code is called: this one")
    root = parser.parse_args(arguments).checkout.resolve()
    paths = [root, *sorted((root / "packages").glob("*"))]
    environment = {name: text for name, text in os.environ.items() if not name.startswith("STREAM_COUPONS_")}
    environment |= {"PYTHONPATH": os.pathsep.join(map(str, paths)), "COLUMNS": "100"}
    tracebacks = 0
    with tempfile.TemporaryDirectory(prefix="calls-") as name, open_broker("embedded", Path(name) / "b") as broker:
        folder = Path(name)
        (folder / "folder").mkdir()
        for file, content in FILES.items():
            (folder / file).write_bytes(content)
        for call in CALLS:
            command = [sys.executable, "-m", "stream_coupons", *shlex.split(call.replace("BROKER", broker.bootstrap))]
            done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
            tracebacks += "Traceback" in done.stderr
            said = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()
            print(f"{done.returncode:3}  {call}\n     {len(said)} lines: {said[-1][:160]}", flush=True)
    return int(tracebacks > 0)


if __name__ == "__main__":
    sys.exit(main())
