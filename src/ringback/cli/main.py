"""The `ringback` command and its sub-commands."""

from __future__ import annotations

import typer

from ringback import __version__
from ringback.cli import (
    accounts,
    asterisk,
    campaigns,
    database,
    demo,
    denials,
    explain,
    farend,
    keys,
    money,
    operating,
    phones,
    receivers,
    reports,
    routes,
    serving,
    simulate,
    tasks,
    templates,
    trunks,
)

app = typer.Typer(
    name="ringback",
    help="A self-hosted outbound dialler built around automatic redial.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(accounts.app, name="account")
app.add_typer(keys.app, name="key")
app.add_typer(trunks.app, name="trunk")
app.add_typer(routes.app, name="route")
app.add_typer(denials.app, name="deny")
app.add_typer(templates.app, name="template")
app.add_typer(tasks.app, name="task")
app.add_typer(asterisk.app, name="asterisk")
app.add_typer(receivers.app, name="report")
app.add_typer(money.prices, name="price")
app.add_typer(money.balances, name="balance")
app.add_typer(phones.app, name="phone")
app.command("serve")(serving.serve)
app.command("run")(campaigns.run_campaign)
app.command("demo")(demo.demo)
app.command("calls")(reports.calls)
app.command("flow")(reports.flow)
app.command("explain")(explain.explain)
app.command("audit")(keys.log)
app.command("farend")(farend.farend)
app.command("migrate")(database.migrate)
app.command("move-store")(database.move_store)
app.command("backup")(operating.backup)
app.command("settle")(operating.settle)
app.command("simulate")(simulate.simulate)


@app.command("version")
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


def main() -> None:
    """Entry point of the installed command."""
    app()
