"""`ringback route`: which trunks carry numbers that begin so."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from ringback.cli.common import UserError, account_named, checked, opened, print_lines, run, settings, trunk_named
from ringback.model.routing import MAX_PRIORITY, MAX_WEIGHT, checked_prefix
from ringback.store import routes
from ringback.store.routes import RouteRefused

app = typer.Typer(help="Routes: which trunks carry numbers that begin so.", no_args_is_help=True)

Prefix = Annotated[str, typer.Argument(help="First digits of the numbers, country code first; '' for all.")]
TrunkName = Annotated[str, typer.Argument(help="Name of the trunk.", metavar="TRUNK")]
Account = Annotated[str | None, typer.Option(help="Account whose route it is. Not given: shared by all.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line, for programs.")]


@app.command("add")
def add(
    prefix: Prefix,
    trunk: TrunkName,
    account: Account = None,
    priority: Annotated[int, typer.Option(help="The lowest goes first, the next when all of it are out.")] = 0,
    weight: Annotated[int, typer.Option(help="Share of the calls among trunks of one priority.")] = 1,
) -> None:
    """Add a route. Numbers that are queued follow it at once."""

    async def work() -> None:
        checked("PREFIX", checked_prefix, prefix)
        if not 0 <= priority <= MAX_PRIORITY:
            raise UserError(f"--priority must be 0 to {MAX_PRIORITY}")
        if not 1 <= weight <= MAX_WEIGHT:
            raise UserError(f"--weight must be 1 to {MAX_WEIGHT}")
        async with opened(settings()) as store, store.write() as tx:
            account_id = await account_named(tx, account)
            found = await trunk_named(tx, trunk)
            try:
                await routes.add(
                    tx, account_id=account_id, prefix=prefix, trunk_id=found.id, priority=priority, weight=weight
                )
            except RouteRefused as error:
                raise UserError(f"route {prefix!r} to trunk {trunk}: {error}") from None

    run(work())


@app.command("list")
def show(as_json: AsJson = False) -> None:
    """List the routes."""

    async def work() -> list[routes.StoredRoute]:
        async with opened(settings()) as store, store.read() as tx:
            return await routes.everyone(tx)

    found = run(work())
    if as_json:
        print_lines(msgspec.structs.asdict(one) for one in found)
        return
    for one in found:
        typer.echo(
            f"{one.prefix or 'all numbers'}  trunk {one.trunk}  priority {one.priority}  weight {one.weight}  "
            f"{one.account or 'shared'}"
        )


@app.command("remove")
def remove(prefix: Prefix, trunk: TrunkName, account: Account = None) -> None:
    """Remove a route. Numbers that are queued take another, or wait."""

    async def work() -> None:
        checked("PREFIX", checked_prefix, prefix)
        async with opened(settings()) as store, store.write() as tx:
            account_id = await account_named(tx, account)
            found = await trunk_named(tx, trunk)
            if not await routes.remove(tx, account_id=account_id, prefix=prefix, trunk_id=found.id):
                of = f"account {account} has no" if account else "there is no shared"
                raise UserError(f"{of} route {prefix!r} to trunk {trunk}")

    run(work())
