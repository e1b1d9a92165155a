"""The command `stream-coupons`: verbs, and errors as one clear line.

Exit codes: 0 done; 1 done, but something was refused or a check failed; 2 the command cannot work as it was called;
130 interrupted.
"""

from importlib import import_module
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text
from typer.core import TyperGroup

from stream_coupons import __version__
from stream_coupons.core.errors import StreamCouponsError

VERBS = (
    "demo",
    "worker",
    "broker",
    "topics",
    "catalog",
    "publish",
    "tail",
    "dlq",
    "erase",
    "verify",
    "state",
    "explain",
    "replay",
    "evaluate",
    "ope",
    "simulate",
    "tune",
    "bench",
    "schemas",
)
"""Modules of this package: each has a function of its name, or an `app` with verbs of its own."""


class Verbs(TyperGroup):
    """The verbs; an error of ours becomes one clear line and exit code 2, whoever runs them.

    A verb is imported when it is asked for: together they take seconds, and a worker that starts needs one.
    """

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - Click's signature
        """Names, in the order of the help."""
        return list(VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 - Click's signature
        """One verb; None when there is none of that name."""
        if cmd_name not in VERBS:
            return None
        module = import_module(f"stream_coupons.cli.{cmd_name}")
        if hasattr(module, "app"):
            command: Any = typer.main.get_group(module.app)
        else:
            verb = typer.Typer(rich_markup_mode="rich", pretty_exceptions_enable=False, add_completion=False)
            verb.command(cmd_name)(getattr(module, cmd_name))
            command = typer.main.get_command(verb)
        command.name = cmd_name
        return command

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


def _print_version(is_asked: bool) -> None:
    if is_asked:
        print(f"stream-coupons {__version__}")
        raise typer.Exit


@app.callback()
def _verbs(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Decide which shopper gets which coupon, now, and learn from what happens next."""


def main() -> None:
    """Run the command line."""
    app()
