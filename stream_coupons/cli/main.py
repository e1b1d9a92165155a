"""The command `stream-coupons`: verbs, and errors as one clear line.

Exit codes: 0 done; 1 done, but something was refused or a check failed; 2 the command cannot work as it was called;
130 interrupted.
"""

from typing import Any

import typer
from rich.console import Console
from rich.text import Text
from typer.core import TyperGroup

from stream_coupons.cli import (
    bench,
    broker,
    catalog,
    demo,
    dlq,
    publish,
    replay,
    schemas,
    simulate,
    state,
    tail,
    topics,
    verify,
    worker,
)
from stream_coupons.core.errors import StreamCouponsError


class Verbs(TyperGroup):
    """The verbs; an error of ours becomes one clear line and exit code 2, whoever runs them."""

    def invoke(self, ctx: Any) -> Any:
        """Run a verb."""
        try:
            return super().invoke(ctx)
        except StreamCouponsError as error:
            # Not as markup: the text may hold square brackets of files and fields.
            text = Text.assemble(("error: ", "bold red"), str(error))
            Console(stderr=True).print(text, highlight=False, soft_wrap=True)
            raise typer.Exit(2) from None


app = typer.Typer(
    cls=Verbs,
    name="stream-coupons",
    help="Decide which shopper gets which coupon, now, and learn from what happens next.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command("demo")(demo.demo)
app.command("worker")(worker.worker)
app.command("broker")(broker.broker)
app.add_typer(topics.app, name="topics")
app.add_typer(catalog.app, name="catalog")
app.command("publish")(publish.publish)
app.command("tail")(tail.tail)
app.add_typer(dlq.app, name="dlq")
app.command("verify")(verify.verify)
app.add_typer(state.app, name="state")
app.command("replay")(replay.replay)
app.command("simulate")(simulate.simulate)
app.command("bench")(bench.bench)
app.add_typer(schemas.app, name="schemas")


def main() -> None:
    """Run the command line."""
    app()
