"""The demonstration's system after the report: it stays up, with shoppers who go on, until an interruption."""

import math
import time
from datetime import UTC, datetime

from rich.console import Console

from stream_coupons_lab.demo.lockstep import LiveTarget
from stream_coupons_lab.demo.play import Pacing, play
from stream_coupons_lab.demo.system import LocalSystem
from stream_coupons_lab.simulation.shoppers import World

GENTLE = Pacing(slice_s=600.0, learn_every_s=3600.0)
"""Some ten events of 300 shoppers a slice."""
PAUSE_S = 2.0
"""Between two slices, by the wall clock."""


def keep(console: Console, system: LocalSystem, world: World) -> None:
    """Print how to reach the system, and let the shoppers go on until an interruption, which ends the call.

    Raises
    ------
    SystemFailed
        If a worker ends by itself.
    """
    announce(console, system, world.now)
    world.ends_at = math.inf
    with LiveTarget(system) as target:
        target.issues()  # the shoppers have these
        play("learned", world, target, lambda *_: time.sleep(PAUSE_S), GENTLE)


def announce(console: Console, system: LocalSystem, now: float) -> None:
    """Print the broker's address and commands that read this system; `now` is the simulated time, UTC epoch seconds."""
    simulated = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M")
    console.print(
        f"\nThe broker at [bold]{system.bootstrap}[/], {len(system.workers)} workers, the console and the shoppers "
        "stay up until Ctrl-C. In another terminal:\n"
        f"  export STREAM_COUPONS_CONFIG={system.config_file}\n"
        "  stream-coupons status\n"
        "  stream-coupons results --by campaign\n"
        f"  stream-coupons explain --user shopper-00001 --at {simulated}\n"
        "These settings need no secret file: the demo draws by the public key. Its time is simulated.",
        soft_wrap=True,
        highlight=False,
    )
