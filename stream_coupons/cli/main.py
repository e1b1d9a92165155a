"""The command `stream-coupons`: verbs, and errors as one clear line.

Exit codes: 0 done; 1 done, but something was refused or a check failed; 2 the command cannot work as it was called;
3 no broker answers; 130 interrupted.
"""

import sys
from collections.abc import Sequence
from functools import cache, partial
from importlib import import_module
from importlib.metadata import entry_points
from typing import Annotated, Any, NoReturn

import typer
from typer import Abort, TyperException
from typer.core import CompletionItem, TyperGroup  # type: ignore[attr-defined]

from stream_coupons import __version__
from stream_coupons.cli.consoles import INTERRUPTED, print_error
from stream_coupons.core.errors import BadConfig, BrokerAway, StreamCouponsError

VERBS = {
    "worker": "Run one worker until SIGTERM or Ctrl-C; start more of them to share the partitions.",
    "learner": "Run one learner until SIGTERM or Ctrl-C; of several, one learns and the others stand by.",
    "settings": "Print the settings in effect, with their meaning and where each was set.",
    "deploy": "Write settings, alerts, dashboard, systemd units, manifests and a compose file.",
    "secret": "Make, show and change the secret that every random draw is keyed by.",
    "topics": "Create, check and list the topics.",
    "catalog": "Check coupons, put them into the catalogue, list it, take coupons out, pause them.",
    "campaigns": "Publish campaigns, list what they have spent, stage, approve, launch, pause and end them.",
    "codes": "Import coupon codes, verify, revoke and list them, and print the key of a till.",
    "publish": "Send events of the shop from a file, each checked first.",
    "tail": "Watch a topic: one line a message, oldest first within a partition, until Ctrl-C.",
    "status": "Say how a running system is, and why it is not well, if so.",
    "doctor": "Check everything that a worker needs, and say how to mend what is wrong.",
    "dlq": "List and show dead letters, and send their records again.",
    "erase": "Forget shoppers, as they asked for.",
    "verify": "Check what a system has sent against what must always hold.",
    "state": "Look at what the workers hold.",
    "system": "Export a stopped system, and import it into other topics.",
    "explain": "Say why a coupon was issued and why no other, or what a shopper would get.",
    "results": "Show what coupons and campaigns have led to, by day.",
    "lift": "Measure what coupons bring, by the shoppers who get none.",
    "schemas": "Write and check the JSON Schemas of the topics.",
}
"""Help line by verb, as the verb's docstring begins. Each is a module of this package that has a function of its name,
or an `app` with verbs of its own. `--help` and completion of a verb's name import none of them."""
BROKER_AWAY = 3
"""Exit code if no broker answers: the same command may work later."""
VERBS_OF_PACKAGES = "stream_coupons.verbs"
"""Entry points of packages that add verbs: a table like `VERBS` in the package that has the modules."""
LABORATORY = ("broker", "demo", "evaluate", "export", "ope", "replay", "tune", "what-if")
"""Verbs of the package stream-coupons-lab, which may not be installed."""

VERBATIM = "\b\n"
"""Prefix that makes Click keep the line breaks of a paragraph."""


@cache
def _added() -> dict[str, tuple[str, str]]:
    """Return package and help line of each verb that an installed package adds."""
    found = {}
    for point in entry_points(group=VERBS_OF_PACKAGES):
        found.update({name: (point.module, line) for name, line in point.load().items()})
    return found


def help_lines() -> dict[str, str]:
    """Return the help line of every verb, those of other packages last."""
    return VERBS | {name: line for name, (_, line) in _added().items()}


class Verbs(TyperGroup):
    """The verbs; an error becomes one clear line and exit code 2, whoever runs them.

    A verb is imported when it is asked for: together they take seconds, and a worker that starts needs one.
    """

    def __init__(self, **attrs: Any) -> None:
        super().__init__(**attrs)
        self.commands = dict.fromkeys(VERBS)  # type: ignore[assignment]  # names only; see get_command

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - Click's signature
        """Return the names of all verbs."""
        return [*help_lines()]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 - Click's signature
        """One verb; None when there is none of that name."""
        package = "stream_coupons.cli" if cmd_name in VERBS else _added().get(cmd_name, ("", ""))[0]
        if not package:
            if cmd_name in LABORATORY:
                needed = "-e packages/loopback-kafka -e packages/stream-coupons-lab"
                raise BadConfig(f"{cmd_name} is a verb of the laboratory, from the clone: pip install {needed}")
            self.commands = dict.fromkeys(help_lines())  # type: ignore[assignment]  # Click suggests one of these
            return None
        name = cmd_name.replace("-", "_")
        module = import_module(f"{package}.{name}")
        if hasattr(module, "app"):
            command: Any = typer.main.get_group(module.app)
            command.help = help_lines()[cmd_name]
        else:
            verb = typer.Typer(add_completion=False)
            verb.command(cmd_name)(getattr(module, name))
            command = typer.main.get_command(verb)
        command.name = cmd_name
        _lay_out(command)
        return command

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - Click's signature
        """Write the verbs' help lines."""
        with formatter.section("Commands"):
            formatter.write_dl(list(help_lines().items()))

    def shell_complete(self, ctx: Any, incomplete: str) -> list[CompletionItem]:
        """Complete a verb's name, or an option before it."""
        verbs = [CompletionItem(name, help=line) for name, line in help_lines().items() if name.startswith(incomplete)]
        return verbs + super(TyperGroup, self).shell_complete(ctx, incomplete)

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run a verb and exit the process; without `standalone_mode` return, or raise, as Click does."""
        run = partial(super().main, args, prog_name, complete_var, windows_expand_args=windows_expand_args, **extra)
        if not standalone_mode:
            return run(standalone_mode=False)
        try:
            code = run(standalone_mode=False)
        except TyperException as error:
            _refuse_usage(error)
        except BrokerAway as away:
            print_error(str(away))
            sys.exit(BROKER_AWAY)
        except StreamCouponsError as error:
            _refuse(str(error))
        except Abort:
            sys.exit(INTERRUPTED)
        sys.exit(code if isinstance(code, int) else 0)


def _lay_out(command: Any) -> None:
    """Let Click wrap the help of a verb, and of its own verbs, but for the examples."""
    command.rich_markup_mode = None
    if command.help:
        paragraphs = command.help.split("\n\n")
        command.short_help = " ".join(paragraphs[0].split())  # or Click cuts it off
        command.help = "\n\n".join(VERBATIM + text if text.startswith("Example") else text for text in paragraphs)
    for each in getattr(command, "commands", {}).values():
        _lay_out(each)


def _refuse_usage(error: TyperException) -> NoReturn:
    """Say in one line what is wrong with how a verb was called, and where to read how it is."""
    message, context = error.format_message(), getattr(error, "ctx", None)
    if context is not None and message == context.get_help():  # Click's "error" of a group without arguments
        typer.echo(message, err=True)
        sys.exit(2)
    message = " ".join(message.split()).rstrip(".").replace("Value error, ", "")
    path = "stream-coupons" if context is None else context.command_path
    _refuse(f"{message[:1].lower()}{message[1:]}{' See' if message.endswith('?') else '; see'} `{path} --help`")


def _refuse(text: str) -> NoReturn:
    print_error(text)
    sys.exit(2)


app = typer.Typer(
    cls=Verbs,
    name="stream-coupons",
    help="Decide which shopper gets which coupon, now, and learn from what happens next.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
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
    app(prog_name="stream-coupons")
