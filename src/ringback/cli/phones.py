"""`ringback phone`: the SIP phones of the accounts."""

from __future__ import annotations

import typer

from ringback.cli.common import iso, opened, run, settings
from ringback.clock import RealClock
from ringback.store import phones

app = typer.Typer(help="SIP phones that register with Ringback.", no_args_is_help=True)


@app.command("list")
def show() -> None:
    """List the phones, without their passwords, and where those that are registered can be called."""

    async def work() -> list[phones.Phone]:
        async with opened(settings()) as store, store.read() as tx:
            return await phones.everyone(tx)

    now_ms = RealClock().now_ms()
    for one in run(work()):
        where = "not registered"
        if one.is_registered(now_ms):
            host = f"[{one.contact_host}]" if ":" in one.contact_host else one.contact_host
            where = f"at {host}:{one.contact_port} until {iso(one.registered_until)}"
        typer.echo(f"{one.login}  {one.name}  group {one.group_id} {one.group_name}  account {one.account}  {where}")
