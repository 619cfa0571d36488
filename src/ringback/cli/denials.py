"""`ringback deny`: numbers that are never dialled."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from ringback.cli.common import UserError, account_named, checked, opened, print_lines, run, settings
from ringback.clock import RealClock
from ringback.model.routing import checked_denial
from ringback.store import denials, tasks

app = typer.Typer(help="Denied prefixes: numbers that are never dialled.", no_args_is_help=True)

Prefix = Annotated[str, typer.Argument(help="First digits of the numbers, country code first.")]
Account = Annotated[str | None, typer.Option(help="Account that it holds for. Not given: for all.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line, for programs.")]


@app.command("add")
def add(prefix: Prefix, account: Account = None) -> None:
    """Deny numbers that begin so. Those that are queued are skipped at once."""

    async def work() -> int:
        checked("PREFIX", checked_denial, prefix)
        in_force = settings()
        async with opened(in_force) as store, store.write() as tx:
            account_id = await account_named(tx, account)
            if not await denials.add(tx, account_id, prefix):
                raise UserError(f"PREFIX {prefix} is denied already")
            concerned = await denials.tasks_on_the_way(tx, account_id)
            skipped = await denials.skip_denied(tx, concerned)
            await tasks.finish_done(tx, concerned, RealClock().now_ms(), minute_seconds=in_force.minute_seconds)
            return skipped

    skipped = run(work())
    typer.echo(f"numbers that begin with {prefix} are denied; {skipped} that were queued are skipped")


@app.command("list")
def show(as_json: AsJson = False) -> None:
    """List the denied prefixes."""

    async def work() -> list[denials.Denial]:
        async with opened(settings()) as store, store.read() as tx:
            return await denials.everyone(tx)

    found = run(work())
    if as_json:
        print_lines(msgspec.structs.asdict(one) for one in found)
        return
    for one in found:
        typer.echo("  ".join(part for part in (one.prefix, one.account or "all accounts", one.note) if part))


@app.command("remove")
def remove(prefix: Prefix, account: Account = None) -> None:
    """Allow numbers that begin so again. Those that have been skipped stay so."""

    async def work() -> None:
        checked("PREFIX", checked_denial, prefix)
        async with opened(settings()) as store, store.write() as tx:
            account_id = await account_named(tx, account)
            if not await denials.remove(tx, account_id, prefix):
                raise UserError(f"PREFIX {prefix} is not denied" + (f" to account {account}" if account else " to all"))

    run(work())
