"""`ringback asterisk`: a configuration for the Asterisk that dials, and the nodes: how they are, drain, undrain."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from ringback.cli.common import UserError, console, fail, iso, opened, print_lines, run, settings
from ringback.clock import RealClock
from ringback.model.engine_node import SeenNode, Standing, standing
from ringback.roles.node_watch import NoSuchNode, drain_node
from ringback.settings import split_address
from ringback.store import engine_nodes

#: The option that sets each field.
_OPTIONS = {
    "http_host": "http",
    "http_port": "http port",
    "user": "user",
    "password": "password",
    "sip_host": "sip",
    "sip_port": "sip port",
    "rtp_start": "rtp: rtp_start",
    "rtp_end": "rtp: rtp_end",
}

app = typer.Typer(help="Asterisk, the engine for production.", no_args_is_help=True)


@app.command("config")
def config(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the files are written; made when needed.")],
    http: Annotated[str, typer.Option(help="Where Asterisk's HTTP server listens, HOST:PORT.")] = "127.0.0.1:8088",
    sip: Annotated[str, typer.Option(help="Where Asterisk's SIP listens, HOST:PORT.")] = "0.0.0.0:5060",
    rtp: Annotated[str, typer.Option(help="UDP ports for audio, FIRST-LAST; a call takes two.")] = "10000-20000",
    user: Annotated[str, typer.Option(help="User for Ringback.")] = "ringback",
    password: Annotated[str, typer.Option(help="Its password; a new one is made when none is given.")] = "",
) -> None:
    """Write a minimal Asterisk configuration that works with Ringback, every line explained. Overwrites nothing."""
    # Needs no database and no engine, only their texts.
    from ringback.telephony.asterisk.configuration import AsteriskOptions, asterisk_files

    first, _, last = rtp.partition("-")
    if not (first.isdecimal() and last.isdecimal() and len(first + last) <= 10):
        fail(f"--rtp must be FIRST-LAST, got {rtp!r}")
    try:
        http_host, http_port = split_address(http)
    except ValueError as error:
        fail(f"--http {error}")
    try:
        sip_host, sip_port = split_address(sip)
    except ValueError as error:
        fail(f"--sip {error}")
    try:
        options = AsteriskOptions(
            http_host=http_host,
            http_port=http_port,
            user=user,
            password=password or secrets.token_urlsafe(24),
            sip_host=sip_host,
            sip_port=sip_port,
            rtp_start=int(first),
            rtp_end=int(last),
        )
    except ValueError as error:
        field, _, text = str(error).partition(" ")
        fail(f"--{_OPTIONS[field]} {text}")
    files = asterisk_files(options)
    present = sorted(name for name in files if (folder / name).exists())
    if present:
        fail(f"{folder} holds {', '.join(present)} already; name a folder without them")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            # Passwords are in them, and Asterisk usually runs as another user: its group may read.
            path = folder / name
            path.touch(mode=0o640)
            path.write_text(text)
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}")
    typer.echo(f"{len(files)} files in {folder}: copy them to Asterisk's folder, usually /etc/asterisk, and start it.")
    typer.echo("Then:")
    typer.echo("export RINGBACK_TELEPHONY=asterisk")
    typer.echo(f"export RINGBACK_ASTERISK=http://{options.user}:{options.password}@{http}")


Node = Annotated[str, typer.Argument(metavar="NODE", help="HOST:PORT, as `ringback asterisk nodes` shows it.")]


@app.command("nodes")
def nodes(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, for programs.")] = False,
) -> None:
    """Show every Asterisk as the dialler sees it: its state, its calls, and why it takes none."""

    async def work() -> list[SeenNode]:
        async with opened(settings()) as store, store.read() as tx:
            return await engine_nodes.everyone(tx, RealClock().now_ms())

    found = run(work())
    now_ms = RealClock().now_ms()
    values = [_node_values(node, now_ms) for node in found]
    if as_json:
        print_lines(values)
        return
    table = Table("node", "state", "calls", "lines", "weight", "placed", "reason")
    for one in values:
        table.add_row(*(str(one[name]) for name in _COLUMNS))
    console.print(table)


@app.command("drain")
def drain(node: Node) -> None:
    """Let an Asterisk take no new calls; those it has go on. Returns when the dialler has taken note."""
    _drain(node, on=True)


@app.command("undrain")
def undrain(node: Node) -> None:
    """Let a drained Asterisk take calls again. Returns when the dialler has taken note."""
    _drain(node, on=False)


_COLUMNS = ("name", "state", "live_calls", "lines", "weight", "placed", "reason")


def _node_values(node: SeenNode, now_ms: int) -> dict[str, Any]:
    """A node as other programs read it."""
    state = standing(node, now_ms)
    reason = f"no dialler has reported it since {iso(node.seen_at)}" if state is Standing.UNKNOWN else node.trouble
    return {
        "name": node.name,
        "state": state,
        "draining": node.draining,
        "live_calls": node.live_calls,
        "lines": node.lines,
        "weight": node.weight,
        "placed": node.placed,
        "reason": reason,
        "seen_at": iso(node.seen_at),
    }


def _drain(name: str, *, on: bool) -> None:
    async def work() -> None:
        clock = RealClock()
        async with opened(settings(), clock) as store:
            try:
                noted = await drain_node(store, clock, name, on=on)
            except NoSuchNode as error:
                raise UserError(str(error)) from None
        what = f"{name} takes no new calls" if on else f"{name} takes calls"
        if not noted.by_dialler:
            typer.echo(f"no dialler runs; from its start on, {what}")
        elif not on:
            typer.echo(what + (f" when it is well again: {noted.node.trouble}" if noted.node.trouble else " again"))
        elif noted.node.live_calls:
            typer.echo(
                f"{what}; {noted.node.live_calls} go on, and `ringback asterisk nodes` says drained after the last"
            )
        else:
            typer.echo(f"{what} and is drained")

    run(work())
