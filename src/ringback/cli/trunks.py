"""`ringback trunk`: where calls go out."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from ringback.cli.common import UserError, iso, opened, run, settings
from ringback.clock import RealClock
from ringback.settings import split_address
from ringback.store import breakers, trunks
from ringback.store.accounts import NameTaken
from ringback.store.trunks import TrunkInUse
from ringback.telephony.port import Destination, DialOrder
from ringback.telephony.sip.addressing import address_call

if TYPE_CHECKING:
    from ringback.model.breaker import Breaker

app = typer.Typer(help="Trunks: SIP routes with their limits.", no_args_is_help=True)

Rate = Annotated[float | None, typer.Option("--cps", help="Calls per second at most, spread evenly.")]
Channels = Annotated[int | None, typer.Option(help="Calls at the same time at most.")]
To = typer.Option(help="Where its INVITEs go, HOST:PORT.")
User = typer.Option(help="User for digest authentication.")
Password = typer.Option(help="Password for digest authentication.")


@app.command("add")
def add(
    name: Annotated[str, typer.Argument(help="Name of the trunk.")],
    to: Annotated[str, To],
    user: Annotated[str, User] = "",
    password: Annotated[str, Password] = "",
    cps: Rate = 5.0,
    channels: Channels = 30,
) -> None:
    """Add a trunk. Calls go through the first trunk there is."""
    assert cps is not None
    assert channels is not None
    rate, lines = cps, channels

    async def work() -> None:
        if not 1 <= len(name) <= 64 or not name.isprintable():
            raise UserError("NAME must have 1 to 64 printable characters")
        host, port = _checked(to, user, password, rate, lines)
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
                    calls_per_second=rate,
                    channels=lines,
                    now_ms=RealClock().now_ms(),
                )
            except NameTaken as error:
                raise UserError(str(error)) from None

    run(work())
    typer.echo(f"trunk {name} to {to}: {cps:g} calls/s, {channels} channels")


@app.command("set")
def change(
    name: Annotated[str, typer.Argument(help="Name of the trunk.")],
    to: Annotated[str | None, To] = None,
    user: Annotated[str | None, User] = None,
    password: Annotated[str | None, Password] = None,
    cps: Rate = None,
    channels: Channels = None,
) -> None:
    """Change a trunk; what is not named stays. Calls that start from now on follow it.

    A new address, user or password closes its circuit breaker.
    """

    async def work() -> None:
        async with opened(settings()) as store, store.write() as tx:
            found = {one.name: one for one in await trunks.everyone(tx)}.get(name)
            if found is None:
                raise UserError(f"there is no trunk {name!r}")
            host, port = _checked(
                to or f"[{found.host}]:{found.port}",
                found.username if user is None else user,
                found.password if password is None else password,
                found.calls_per_second if cps is None else cps,
                found.channels if channels is None else channels,
            )
            try:
                await trunks.change(
                    tx,
                    name,
                    host=host if to else None,
                    port=port if to else None,
                    username=user,
                    password=password,
                    calls_per_second=cps,
                    channels=channels,
                    now_ms=RealClock().now_ms(),
                )
            except TrunkInUse as error:
                raise UserError(str(error)) from None

    run(work())


@app.command("list")
def show(as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False) -> None:
    """List the trunks, without their passwords, and why one is shut."""

    async def work() -> list[tuple[trunks.Trunk, Breaker]]:
        async with opened(settings()) as store, store.read() as tx:
            known = await trunks.everyone(tx)
            states = await breakers.of_trunks(tx, [one.id for one in known])
            return [(one, states[one.id]) for one in known]

    now_ms = RealClock().now_ms()
    for one, breaker in run(work()):
        if as_json:
            sys.stdout.write(msgspec.json.encode(_values(one, breaker, now_ms)).decode() + "\n")
            continue
        typer.echo(
            f"{one.name}  {one.engine}  {one.host}:{one.port}  {one.calls_per_second:g} calls/s  "
            f"{one.busy} of {one.channels} lines busy"
        )
        if breaker.opened_at is not None:
            typer.echo(f"  open since {iso(breaker.opened_at)}: {breaker.reason}, {breaker.next_try(now_ms)}")


@app.command("reset")
def reset(name: Annotated[str, typer.Argument(help="Name of the trunk.")]) -> None:
    """Close the circuit breaker of a trunk: it is dialled again at once."""

    async def work() -> None:
        async with opened(settings()) as store, store.write() as tx:
            if not await trunks.reset(tx, name, RealClock().now_ms()):
                raise UserError(f"there is no trunk {name!r}")

    run(work())


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


def _values(one: trunks.Trunk, breaker: Breaker, now_ms: int) -> dict[str, Any]:
    """A trunk as other programs read it."""
    shut = breaker.opened_at is not None
    return {
        "name": one.name,
        "engine": one.engine,
        "host": one.host,
        "port": one.port,
        "calls_per_second": one.calls_per_second,
        "channels": one.channels,
        "busy": one.busy,
        "open": shut,
        "open_since": iso(breaker.opened_at),
        "reason": breaker.reason if shut else None,
        "next_try_at": iso(breaker.retry_ms(now_ms)),
        "probing": breaker.probe_id is not None,
        "openings": breaker.openings,
    }


def _checked(to: str, user: str, password: str, cps: float, channels: int) -> tuple[str, int]:
    """Host and port, when the telephony engine can dial through such a trunk. Raises :class:`UserError`."""
    try:
        host, port = split_address(to)
    except ValueError as error:
        raise UserError(f"--to {error}") from None
    if password and not user:
        raise UserError("--password needs --user")
    if not 0.001 <= cps <= 1000:
        raise UserError("--cps must be 0.001 to 1000")
    if not 1 <= channels <= 100_000:
        raise UserError("--channels must be 1 to 100000")
    order = DialOrder(
        call_id=1,
        task_id=1,
        callee="123456",
        caller_id="",
        destination=Destination(host=host, port=port, user=user, password=password),
    )
    try:
        address_call(order)
    except ValueError as error:
        raise UserError(f"--to, --user or --password: {error}") from None
    return host, port
