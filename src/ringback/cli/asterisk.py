"""`ringback asterisk`: a configuration for the Asterisk that dials."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Annotated

import typer

from ringback.cli.common import fail
from ringback.settings import split_address

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
