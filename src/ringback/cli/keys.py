"""`ringback key`: keys of our own API (`/v1`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ringback.cli.common import UserError, iso, opened, run, settings
from ringback.clock import RealClock
from ringback.model.api_key import Role, Scope, make_token, scopes_for
from ringback.store import accounts, api_keys, audit
from ringback.store.api_keys import KeyNotFound, NewKey

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ringback.store.api_keys import ApiKey
    from ringback.store.audit import Entry
    from ringback.store.database import Tx

DAY_MS = 86_400_000
HOUR_MS = 3_600_000
ACTOR = "cli"
MAX_NAME = 64

app = typer.Typer(help="Keys of our own API (/v1).", no_args_is_help=True)

Account = Annotated[str, typer.Argument(help="Name of the account.")]
KeyId = Annotated[str, typer.Argument(help="Id of the key, as listed.")]


@app.command("create")
def create(
    account: Account,
    name: Annotated[str, typer.Argument(help="What the key is for.")],
    role: Annotated[str, typer.Option(help="viewer, operator or owner.")] = Role.OPERATOR,
    scope: Annotated[list[str] | None, typer.Option(help="Only this scope of the role; repeat. None: all.")] = None,
    days: Annotated[float | None, typer.Option(help="It expires after so many days. None: never.")] = None,
) -> None:
    """Make a key and print it, once."""
    token = make_token()

    async def work(tx: Tx, account_id: int) -> None:
        now_ms = RealClock().now_ms()
        try:
            chosen = Role(role)
        except ValueError:
            raise UserError(f"--role must be one of {', '.join(Role)}, got {role!r}") from None
        scopes = _scopes(scope, chosen)
        if not 1 <= len(name) <= MAX_NAME or not name.isprintable():
            raise UserError(f"NAME must have 1 to {MAX_NAME} printable characters")
        if days is not None and not 0 < days <= 36_500:
            raise UserError("--days must be more than 0 and at most 36500")
        new = NewKey(
            name=name, role=chosen, scopes=scopes, expires_at=None if days is None else now_ms + round(days * DAY_MS)
        )
        await api_keys.create(tx, account_id, new, token, now_ms, actor=ACTOR)

    _change(account, work)
    typer.echo(f"key  {token.text}")
    typer.echo("The key is not shown again.")


@app.command("list")
def show(account: Account) -> None:
    """List the keys of an account."""

    async def work() -> list[ApiKey]:
        async with opened(settings()) as store, store.read() as tx:
            return await api_keys.of_account(tx, await _account_id(tx, account))

    for one in run(work()):
        all_of_role = one.scopes == scopes_for(one.role, None)
        scopes = "every scope of its role" if all_of_role else ", ".join(sorted(one.scopes))
        ended = f"  revoked {iso(one.revoked_at)}" if one.revoked_at is not None else ""
        until = f"  until {iso(one.expires_at)}" if one.expires_at is not None else ""
        typer.echo(f"{one.key_id}  {one.name}  {one.role}  {scopes}{until}{ended}")


@app.command("revoke")
def revoke(account: Account, key: KeyId) -> None:
    """Let a key in no more, from now on."""
    _change(account, lambda tx, of: api_keys.revoke(tx, of, key, RealClock().now_ms(), actor=ACTOR))


@app.command("rotate")
def rotate(
    account: Account,
    key: KeyId,
    overlap_hours: Annotated[float, typer.Option(help="So long the old key goes on.", min=0, max=8_760)] = 24,
) -> None:
    """Replace a key: print a new one like it, once; the old one expires after the overlap."""
    token = make_token()

    async def work(tx: Tx, of: int) -> None:
        overlap_ms = round(overlap_hours * HOUR_MS)
        await api_keys.rotate(tx, of, key, token, RealClock().now_ms(), overlap_ms=overlap_ms, actor=ACTOR)

    _change(account, work)
    typer.echo(f"key  {token.text}")
    typer.echo("The key is not shown again.")


def log(
    account: Account,
    limit: Annotated[int, typer.Option(help="How many, the newest first.", min=1, max=1_000)] = 50,
) -> None:
    """Show what was changed in an account, and by whom."""

    async def work() -> list[Entry]:
        async with opened(settings()) as store, store.read() as tx:
            return await audit.page(tx, await _account_id(tx, account), before=None, limit=limit)

    for one in run(work()):
        changes = f"  {one.after}" if one.after is not None else ""
        typer.echo(f"{iso(one.at)}  {one.actor}  {one.action}  {one.subject}{changes}")


def _change(account: str, change: Callable[[Tx, int], Awaitable[object]]) -> None:
    async def work() -> None:
        async with opened(settings()) as store, store.write() as tx:
            try:
                await change(tx, await _account_id(tx, account))
            except KeyNotFound as error:
                raise UserError(str(error)) from None

    run(work())


async def _account_id(tx: Tx, name: str) -> int:
    found = await accounts.by_name(tx, name)
    if found is None:
        raise UserError(f"there is no account {name!r}")
    return found.id


def _scopes(asked: list[str] | None, role: Role) -> frozenset[Scope] | None:
    if not asked:
        return None
    try:
        return scopes_for(role, frozenset(map(Scope, asked)))
    except ValueError as error:
        text = str(error)
        if "is not a valid Scope" in text:
            text = f"must be one of {', '.join(Scope)}"
        raise UserError(f"--scope: {text}") from None
