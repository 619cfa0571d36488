"""`ringback trunk`: where calls go out."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from ringback.cli.common import UserError, opened, run, settings
from ringback.clock import RealClock
from ringback.settings import split_address
from ringback.store import trunks
from ringback.store.accounts import NameTaken
from ringback.store.trunks import TrunkInUse

app = typer.Typer(help="Trunks: SIP routes with their limits.", no_args_is_help=True)

_HOST = re.compile(r"[0-9A-Za-z.:-]{1,255}")
_UNSAFE = re.compile(r'[\x00-\x20\x7f<>"\\;@]')


@app.command("add")
def add(
    name: Annotated[str, typer.Argument(help="Name of the trunk.")],
    to: Annotated[str, typer.Option(help="Where its INVITEs go, HOST:PORT.")],
    user: Annotated[str, typer.Option(help="User for digest authentication.")] = "",
    password: Annotated[str, typer.Option(help="Password for digest authentication.")] = "",
    cps: Annotated[float, typer.Option(help="Calls per second at most, spread evenly.")] = 5.0,
    channels: Annotated[int, typer.Option(help="Calls at the same time at most.")] = 30,
) -> None:
    """Add a trunk. Calls go through the first trunk there is."""

    async def work() -> None:
        try:
            host, port = split_address(to)
        except ValueError as error:
            raise UserError(f"--to {error}") from None
        if not _HOST.fullmatch(host) or port == 0:
            raise UserError(f"--to must be HOST:PORT, got {to!r}")
        if not 1 <= len(name) <= 64 or not name.isprintable():
            raise UserError("NAME must have 1 to 64 printable characters")
        if len(user) > 64 or len(password) > 128 or _UNSAFE.search(user) or re.search(r'["\\\x00-\x1f\x7f]', password):
            raise UserError("--user and --password must not hold quotes, backslashes or control characters")
        if password and not user:
            raise UserError("--password needs --user")
        if not 0 < cps <= 1000:
            raise UserError("--cps must be more than 0 and at most 1000")
        if not 1 <= channels <= 100_000:
            raise UserError("--channels must be 1 to 100000")
        in_force = settings()
        async with opened(in_force) as store, store.write() as tx:
            try:
                await trunks.add(
                    tx,
                    name=name,
                    engine="sip" if in_force.telephony == "sandbox" else in_force.telephony,
                    host=host,
                    port=port,
                    username=user,
                    password=password,
                    calls_per_second=cps,
                    channels=channels,
                    now_ms=RealClock().now_ms(),
                )
            except NameTaken as error:
                raise UserError(str(error)) from None

    run(work())
    typer.echo(f"trunk {name} to {to}: {cps:g} calls/s, {channels} channels")


@app.command("list")
def show() -> None:
    """List the trunks, without their passwords."""

    async def work() -> list[trunks.Trunk]:
        async with opened(settings()) as store, store.read() as tx:
            return await trunks.everyone(tx)

    for one in run(work()):
        typer.echo(
            f"{one.name}  {one.engine}  {one.host}:{one.port}  {one.calls_per_second:g} calls/s  "
            f"{one.busy} of {one.channels} lines busy"
        )


@app.command("remove")
def remove(name: Annotated[str, typer.Argument(help="Name of the trunk.")]) -> None:
    """Remove a trunk that has carried no call yet."""

    async def work() -> None:
        async with opened(settings()) as store, store.write() as tx:
            try:
                if not await trunks.remove(tx, name):
                    raise UserError(f"there is no trunk {name!r}")
            except TrunkInUse as error:
                raise UserError(str(error)) from None

    run(work())
