"""The command `stream-coupons`: verbs, and errors as one clear line.

Exit codes: 0 done; 1 done, but something was refused or a check failed; 2 the command cannot work as it was called;
130 interrupted.
"""

import sys

import typer
from rich.console import Console

from stream_coupons.cli import broker, topics, worker
from stream_coupons.core.errors import StreamCouponsError

app = typer.Typer(
    name="stream-coupons",
    help="Decide which shopper gets which coupon, now, and learn from what happens next.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command("worker")(worker.worker)
app.command("broker")(broker.broker)
app.add_typer(topics.app, name="topics")


def main() -> None:
    """Run the command line."""
    try:
        app()
    except StreamCouponsError as error:
        Console(stderr=True).print(f"[bold red]error:[/] {error}", markup=True, highlight=False, soft_wrap=True)
        sys.exit(2)
    except KeyboardInterrupt:
        Console(stderr=True).print("interrupted")
        sys.exit(130)
