"""`ringback trunk`: where calls go out, how numbers are written there, and what they may show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ringback.cli.common import (
    UserError,
    account_named,
    checked,
    iso,
    opened,
    print_lines,
    run,
    settings,
    trunk_named,
)
from ringback.clock import RealClock
from ringback.model.routing import checked_added, checked_caller_id, checked_strip
from ringback.settings import split_address
from ringback.store import breakers, caller_ids, trunks
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
Strip = typer.Option(help="Digits to take off the called number when it begins so.")
Prefix = typer.Option(help="Digits, + in front if need be, to put before the called number then.")
CallerIdRule = Annotated[
    str | None,
    typer.Option("--caller-ids", help="Caller ids that calls may show: any, owned, or auto (owned if it owns some)."),
]
Numbers = Annotated[list[str] | None, typer.Option("--caller-id", help="Number that the trunk owns; repeat.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line, for programs.")]
#: What the option says and what is stored.
RULES = {"any": "any", "owned": "owned", "auto": None}


@app.command("add")
def add(
    name: Annotated[str, typer.Argument(help="Name of the trunk.")],
    to: Annotated[str, To],
    user: Annotated[str, User] = "",
    password: Annotated[str, Password] = "",
    cps: Rate = 5.0,
    channels: Channels = 30,
    account: Annotated[str | None, typer.Option(help="Account that it belongs to. Not given: shared by all.")] = None,
    strip: Annotated[str, Strip] = "",
    prefix: Annotated[str, Prefix] = "",
    caller_id: Numbers = None,
    caller_id_rule: CallerIdRule = None,
) -> None:
    """Add a trunk. Without routes calls go through the first trunk there is."""
    assert cps is not None
    assert channels is not None
    rate, lines = cps, channels

    async def work() -> None:
        if not 1 <= len(name) <= 64 or not name.isprintable():
            raise UserError("NAME must have 1 to 64 printable characters")
        host, port = _checked(to, user, password, rate, lines)
        rule = _rule(caller_id_rule)
        owned = _numbers("--caller-id", caller_id)
        in_force = settings()
        async with opened(in_force) as store, store.write() as tx:
            try:
                trunk_id = await trunks.add(
                    tx,
                    name=name,
                    engine="sip" if in_force.telephony == "sandbox" else in_force.telephony,
                    host=host,
                    port=port,
                    username=user,
                    password=password,
                    calls_per_second=rate,
                    channels=lines,
                    account_id=await account_named(tx, account),
                    strip=checked("--strip", checked_strip, strip),
                    prefix=checked("--prefix", checked_added, prefix),
                    caller_ids=rule,
                    now_ms=RealClock().now_ms(),
                )
            except NameTaken as error:
                raise UserError(str(error)) from None
            await caller_ids.add(tx, trunk_id, owned)

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
    account: Annotated[str | None, typer.Option(help="Account that it belongs to from now on.")] = None,
    shared: Annotated[bool, typer.Option("--shared", help="It belongs to no account: all may use it.")] = False,
    strip: Annotated[str | None, Strip] = None,
    prefix: Annotated[str | None, Prefix] = None,
    caller_id: Numbers = None,
    caller_id_rule: CallerIdRule = None,
) -> None:
    """Change a trunk; what is not named stays. Calls that start from now on follow it.

    Numbers given with --caller-id replace those that it owns. A new address, user or password
    closes its circuit breaker.
    """

    async def work() -> None:
        if account is not None and shared:
            raise UserError("--shared: the trunk cannot belong to --account too")
        rule = _rule(caller_id_rule)
        owned = _numbers("--caller-id", caller_id)
        async with opened(settings()) as store, store.write() as tx:
            found = await trunk_named(tx, name)
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
                    strip=None if strip is None else checked("--strip", checked_strip, strip),
                    prefix=None if prefix is None else checked("--prefix", checked_added, prefix),
                    now_ms=RealClock().now_ms(),
                )
                if account is not None or shared:
                    await trunks.give_to(tx, found.id, await account_named(tx, account))
            except TrunkInUse as error:
                raise UserError(str(error)) from None
            if caller_id_rule is not None:
                await trunks.allow_caller_ids(tx, found.id, rule)
            if caller_id is not None:
                unwanted = set(await caller_ids.of_trunk(tx, found.id)) - set(owned)
                await caller_ids.remove(tx, found.id, sorted(unwanted))
                await caller_ids.add(tx, found.id, owned)

    run(work())


@app.command("list")
def show(as_json: AsJson = False) -> None:
    """List the trunks, without their passwords, and why one is shut."""

    async def work() -> list[tuple[trunks.Trunk, list[str], Breaker]]:
        async with opened(settings()) as store, store.read() as tx:
            known = await trunks.everyone(tx)
            states = await breakers.of_trunks(tx, [one.id for one in known])
            return [(one, await caller_ids.of_trunk(tx, one.id), states[one.id]) for one in known]

    now_ms = RealClock().now_ms()
    found = run(work())
    if as_json:
        print_lines(_values(one, numbers, breaker, now_ms) for one, numbers, breaker in found)
        return
    for one, numbers, breaker in found:
        typer.echo(
            f"{one.name}  {one.engine}  {one.host}:{one.port}  {one.calls_per_second:g} calls/s  "
            f"{one.busy} of {one.channels} lines busy  {one.account or 'shared'}"
            + (f"  strip {one.strip}" if one.strip else "")
            + (f"  prefix {one.prefix}" if one.prefix else "")
            + (f"  {len(numbers)} caller ids" if numbers else "")
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


@app.command("caller-ids")
def change_caller_ids(
    name: Annotated[str, typer.Argument(help="Name of the trunk.")],
    add_numbers: Annotated[list[str] | None, typer.Option("--add", help="Number to add; repeat.")] = None,
    remove_numbers: Annotated[list[str] | None, typer.Option("--remove", help="Number to remove; repeat.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the numbers that a trunk owns, the next one in turn first, after adding and removing some."""

    async def work() -> list[str]:
        new = _numbers("--add", add_numbers)
        old = _numbers("--remove", remove_numbers)
        async with opened(settings()) as store, store.write() as tx:
            found = await trunk_named(tx, name)
            missing = await caller_ids.remove(tx, found.id, old)
            if missing:
                raise UserError(f"--remove: trunk {name} does not own {', '.join(sorted(missing))}")
            await caller_ids.add(tx, found.id, new)
            return await caller_ids.of_trunk(tx, found.id)

    numbers = run(work())
    if as_json:
        print_lines({"trunk": name, "number": number} for number in numbers)
        return
    for number in numbers:
        typer.echo(number)


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


def _rule(option: str | None) -> str | None:
    if option is not None and option not in RULES:
        raise UserError(f"--caller-ids must be one of {', '.join(RULES)}")
    return RULES[option or "auto"]


def _numbers(option: str, given: list[str] | None) -> list[str]:
    return [checked(option, checked_caller_id, number) for number in given or ()]


def _values(one: trunks.Trunk, numbers: list[str], breaker: Breaker, now_ms: int) -> dict[str, Any]:
    """A trunk as other programs read it."""
    shut = breaker.opened_at is not None
    return {
        "name": one.name,
        "engine": one.engine,
        "host": one.host,
        "port": one.port,
        "user": one.username,
        "calls_per_second": one.calls_per_second,
        "channels": one.channels,
        "busy": one.busy,
        "account": one.account,
        "strip": one.strip,
        "prefix": one.prefix,
        "caller_ids": one.caller_ids or "auto",
        "numbers": numbers,
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
