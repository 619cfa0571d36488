"""`ringback template`: what is said and asked on an answered call."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ringback.cli.common import MAX_ID, UserError, opened, run, settings
from ringback.clock import RealClock
from ringback.model.template import Template
from ringback.store import accounts, templates
from ringback.voice.languages import why_silent
from ringback.voice.load import TemplateError, load_template
from ringback.voice.speech import installed_voice

app = typer.Typer(help="Agent templates.", no_args_is_help=True)


def _refuse_silent(file: Path, template: Template) -> None:
    """End with a clear line when no voice here speaks the template's language: a call would be too late."""
    if silent := why_silent(template):
        typer.echo(f"{file}: language: {silent}", err=True)
        raise typer.Exit(1)


@app.command("add")
def add(
    file: Annotated[Path, typer.Argument(help="The template, a YAML file.")],
    account: Annotated[str | None, typer.Option(help="The only account that may use it; default: all.")] = None,
) -> None:
    """Check a template and store it with its audio. Prints its id, alone on the last line."""
    try:
        loaded = load_template(file)
    except TemplateError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    _refuse_silent(file, loaded.template)

    async def work() -> int:
        async with opened(settings()) as store, store.write() as tx:
            account_id = None
            if account is not None:
                found = await accounts.by_name(tx, account)
                if found is None:
                    raise UserError(f"there is no account {account!r}")
                account_id = found.id
            return await templates.add(
                tx, loaded.template, loaded.audio, account_id=account_id, now_ms=RealClock().now_ms()
            )

    template_id = run(work())
    if installed_voice() is None:
        typer.echo("note: no voice is installed, so texts are played as notes", err=True)
    typer.echo(template_id)


@app.command("check")
def check(file: Annotated[Path, typer.Argument(help="The template, a YAML file.")]) -> None:
    """Check a template without storing it."""
    try:
        loaded = load_template(file)
    except TemplateError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    _refuse_silent(file, loaded.template)
    used = ", ".join(loaded.template.text_variables()) or "none"
    intents = ", ".join(loaded.template.intents()) or "none"
    typer.echo(f"{file}: good. Text variables: {used}. Intents: {intents}.")


@app.command("list")
def show() -> None:
    """List the templates."""

    async def work() -> list[tuple[int, str, bool]]:
        async with opened(settings()) as store, store.read() as tx:
            return await templates.listed(tx)

    for template_id, name, retired in run(work()):
        typer.echo(f"{template_id}  {name}{'  (retired)' if retired else ''}")


@app.command("retire")
def retire(template_id: Annotated[int, typer.Argument(help="Id of the template.", min=1, max=MAX_ID)]) -> None:
    """Let a template start no more tasks. Running ones go on with it."""

    async def work() -> None:
        async with opened(settings()) as store, store.write() as tx:
            if not await templates.retire(tx, template_id, RealClock().now_ms()):
                raise UserError(f"there is no template {template_id}, or it is retired already")

    run(work())
