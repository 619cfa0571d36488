"""`ringback account`: tenants and their credentials."""

from __future__ import annotations

import ipaddress
import secrets
from typing import Annotated
from zoneinfo import ZoneInfo

import typer

from ringback.cli.common import UserError, opened, run, settings
from ringback.clock import RealClock
from ringback.store import accounts
from ringback.store.accounts import ENVELOPES, NameTaken

MAX_LINES = 1_000_000

app = typer.Typer(help="Accounts: who may use the API.", no_args_is_help=True)

Zone = Annotated[str | None, typer.Option("--time-zone", help="Zone of the API's times, such as Asia/Shanghai.")]
Networks = Annotated[
    list[str] | None, typer.Option("--allow-ip", help="Address or network that may call; repeat. None: every one.")
]
Lines = Annotated[int | None, typer.Option(help="Most calls of the account at once; 0: as many as its trunks carry.")]
Envelope = Annotated[str | None, typer.Option(help="Answers of the vendor's API: both, code or status.")]


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="Name of the account.")],
    api_key: Annotated[str | None, typer.Option(help="API key; made when not given.")] = None,
    api_secret: Annotated[str | None, typer.Option(help="API secret; made when not given.")] = None,
    time_zone: Zone = None,
    allow_ip: Networks = None,
    envelope: Envelope = None,
    lines: Lines = None,
) -> None:
    """Create an account and print its credentials, once."""
    key = api_key or secrets.token_hex(8)
    secret = api_secret or secrets.token_urlsafe(24)

    async def work() -> None:
        zone, chosen, networks = _checked(time_zone or "UTC", envelope or "both", allow_ip or [], lines)
        if not 1 <= len(name) <= 64 or not name.isprintable():
            raise UserError("NAME must have 1 to 64 printable characters")
        for option, value, longest in (("--api-key", key, 64), ("--api-secret", secret, 128)):
            if not 4 <= len(value) <= longest or not value.isascii() or not value.isprintable() or " " in value:
                raise UserError(f"{option} must have 4 to {longest} printable ASCII characters without blanks")
        async with opened(settings()) as store, store.write() as tx:
            try:
                account_id = await accounts.create(
                    tx,
                    name=name,
                    api_key=key,
                    api_secret=secret,
                    time_zone=zone,
                    envelope=chosen,
                    allowed_networks=networks,
                    now_ms=RealClock().now_ms(),
                )
                await accounts.limit(tx, account_id, lines or None)
            except NameTaken as error:
                raise UserError(str(error)) from None

    run(work())
    typer.echo(f"account     {name}")
    typer.echo(f"api key     {key}")
    typer.echo(f"api secret  {secret}")
    typer.echo(f"appId       {accounts.DEFAULT_APP_ID}")
    typer.echo("The secret is not shown again.")


@app.command("set")
def change(
    name: Annotated[str, typer.Argument(help="Name of the account.")],
    time_zone: Zone = None,
    allow_ip: Networks = None,
    any_ip: Annotated[bool, typer.Option("--any-ip", help="Empty the address list.")] = False,
    envelope: Envelope = None,
    lines: Lines = None,
) -> None:
    """Change an account; what is not named stays."""

    async def work() -> None:
        _checked(time_zone or "UTC", envelope or "both", allow_ip or [], lines)
        networks = [] if any_ip else allow_ip
        async with opened(settings()) as store, store.write() as tx:
            found = await accounts.by_name(tx, name)
            if found is None:
                raise UserError(f"there is no account {name!r}")
            await accounts.change(tx, found.id, time_zone=time_zone, envelope=envelope, allowed_networks=networks)
            if lines is not None:
                await accounts.limit(tx, found.id, lines or None)

    run(work())


@app.command("list")
def show() -> None:
    """List the accounts, without their secrets."""

    async def work() -> list[accounts.Account]:
        async with opened(settings()) as store, store.read() as tx:
            return await accounts.everyone(tx)

    for one in run(work()):
        networks = ", ".join(one.allowed_networks) or "any address"
        lines = "" if one.lines is None else f"  {one.lines} lines"
        typer.echo(f"{one.name}  key {one.api_key}  {one.time_zone}  envelope {one.envelope}  {networks}{lines}")


def _checked(time_zone: str, envelope: str, networks: list[str], lines: int | None) -> tuple[str, str, list[str]]:
    if lines is not None and not 0 <= lines <= MAX_LINES:
        raise UserError(f"--lines must be 0 to {MAX_LINES:,}")
    try:
        ZoneInfo(time_zone)
    except (KeyError, ValueError, OSError):
        raise UserError(f"--time-zone: there is no time zone {time_zone!r}") from None
    if envelope not in ENVELOPES:
        raise UserError(f"--envelope must be one of {', '.join(ENVELOPES)}")
    for network in networks:
        try:
            ipaddress.ip_network(network)
        except ValueError as error:
            raise UserError(f"--allow-ip: {error}") from None
    return time_zone, envelope, networks
