"""`ringback report`: where reports go, how they fare, and sending them again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ringback.cli.common import UserError, account_named, iso, opened, print_lines, run, settings
from ringback.clock import RealClock
from ringback.model.destinations import InvalidDestination, check_url
from ringback.model.report import OWN_EVENTS, Event, Form, new_secret
from ringback.store import accounts, deliveries, report_endpoints
from ringback.store.database import News

if TYPE_CHECKING:
    from ringback.settings import Settings
    from ringback.store.report_endpoints import Endpoint, Standing

MAX_SECRET = 128

app = typer.Typer(help="Reports: what is pushed to the user about calls, tasks and flows.", no_args_is_help=True)

OfAccount = Annotated[str | None, typer.Option("--account", help="Only those of this account.")]
Id = Annotated[int, typer.Argument(help="Id of the receiver, as listed.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line, for programs.")]


@app.command("add")
def add(
    account: Annotated[str, typer.Argument(help="Account whose reports it gets.")],
    url: Annotated[str, typer.Argument(help="Where they are sent: http:// or https://.")],
    form: Annotated[
        str, typer.Option(help="events (ours, signed), agent, single or batch (the vendor's), sms (a provider).")
    ] = "events",
    app_id: Annotated[str | None, typer.Option("--app", help="Only of this application (appId).")] = None,
    event: Annotated[list[str] | None, typer.Option(help="Only this event; repeat. None: every one.")] = None,
    token: Annotated[str, typer.Option(help="Bearer token of an sms provider.")] = "",
) -> None:
    """Add a receiver and print its id, and the secret that signs events, once."""

    async def work() -> tuple[int, str]:
        chosen = _form(form)
        wanted = _events(event or [], chosen)
        secret = _secret(chosen, token)
        in_force = settings()
        _check_url(url, in_force)
        async with opened(in_force) as store, store.write() as tx:
            found = await accounts.by_name(tx, account)
            if found is None:
                raise UserError(f"there is no account {account!r}")
            application = None if app_id is None else await accounts.application_of(tx, found.id, app_id)
            if app_id is not None and application is None:
                raise UserError(f"--app: there is no application {app_id!r}")
            endpoint_id = await report_endpoints.add(
                tx,
                account_id=found.id,
                application_id=None if application is None else application.id,
                url=url,
                form=chosen,
                secret=secret,
                events=wanted,
                now_ms=RealClock().now_ms(),
            )
        return endpoint_id, secret if chosen is Form.EVENTS else ""

    endpoint_id, secret = run(work())
    typer.echo(f"receiver  {endpoint_id}")
    if secret:
        typer.echo(f"secret    {secret}")
        typer.echo("The secret is not shown again.")


@app.command("list")
def show(account: OfAccount = None) -> None:
    """List the receivers."""

    async def work() -> list[Endpoint]:
        async with opened(settings()) as store, store.read() as tx:
            return await report_endpoints.everyone(tx, await account_named(tx, account))

    for one in run(work()):
        of = "every application" if one.app_id is None else one.app_id
        wanted = ", ".join(sorted(one.events)) or "every event"
        state = "" if one.disabled_reason is None else f"  disabled: {one.disabled_reason}"
        typer.echo(f"{one.id}  {one.account}  {one.form}  {one.url}  {of}  {wanted}{state}")


@app.command("remove")
def remove(receiver: Id) -> None:
    """Remove a receiver with everything that waits for it."""

    async def work() -> None:
        async with opened(settings()) as store, store.write() as tx:
            if not await report_endpoints.remove(tx, receiver):
                raise UserError(f"there is no receiver {receiver}")

    run(work())


@app.command("disable")
def disable(receiver: Id) -> None:
    """Send a receiver nothing any more; what happens is kept for it."""

    async def work() -> None:
        async with opened(settings()) as store, store.write() as tx:
            if not await report_endpoints.disable(tx, receiver, "by command", RealClock().now_ms()):
                raise UserError(f"there is no receiver {receiver}, or it is disabled already")

    run(work())


@app.command("enable")
def enable(receiver: Id) -> None:
    """Send to a receiver again, everything that waits at once."""

    async def work() -> None:
        async with opened(settings()) as store:
            async with store.write() as tx:
                if not await report_endpoints.enable(tx, receiver, RealClock().now_ms()):
                    raise UserError(f"there is no receiver {receiver}")
            store.announce(News.WORK)

    run(work())


@app.command("failures")
def failures(account: OfAccount = None, as_json: AsJson = False) -> None:
    """Show how the reports of each receiver fare: waiting, failing, given up, and why."""

    async def work() -> list[Standing]:
        async with opened(settings()) as store, store.read() as tx:
            return await report_endpoints.standings(tx, await account_named(tx, account))

    found = run(work())
    if as_json:
        print_lines(_values(one) for one in found)
        return
    for one in found:
        since = "" if one.oldest_at is None else f", the oldest of {iso(one.oldest_at)}"
        typer.echo(
            f"{one.endpoint.id}  {one.endpoint.url}  {one.pending} waiting ({one.retrying} have failed){since}, "
            f"{one.dead} given up"
        )
        if one.endpoint.disabled_reason is not None:
            typer.echo(f"  disabled: {one.endpoint.disabled_reason}")
        if one.last_error:
            typer.echo(f"  last failure: {one.last_error}")


@app.command("replay")
def replay(
    receiver: Annotated[int | None, typer.Option(help="Only those of this receiver.")] = None,
    dead: Annotated[bool, typer.Option("--dead", help="What was given up.")] = False,
    task: Annotated[int | None, typer.Option(help="Everything about this task and its calls.")] = None,
    report: Annotated[list[int] | None, typer.Option(help="This report, by its number (msg_NUMBER); repeat.")] = None,
) -> None:
    """Send reports again, under the ids they had. Delivered ones are kept for some days (reports_keep_days)."""

    async def work() -> int:
        if not (dead or task is not None or report):
            raise UserError("say what to send again: --dead, --task or --report")
        async with opened(settings()) as store:
            async with store.write() as tx:
                count = await deliveries.replay(
                    tx,
                    RealClock().now_ms(),
                    report_ids=report or None,
                    endpoint_id=receiver,
                    task_id=task,
                    dead_only=dead,
                )
            store.announce(News.WORK)
        return count

    typer.echo(f"{run(work())} reports are sent again")


def _form(text: str) -> Form:
    try:
        return Form(text)
    except ValueError:
        raise UserError(f"--form must be one of {', '.join(Form)}") from None


def _events(texts: list[str], form: Form) -> list[Event]:
    if texts and form is not Form.EVENTS:
        raise UserError(f"--event: a receiver of the form {form} gets what that form has")
    for text in texts:
        if text not in OWN_EVENTS:
            raise UserError(f"--event must be one of {', '.join(sorted(OWN_EVENTS))}")
    return [Event(text) for text in dict.fromkeys(texts)]


def _secret(form: Form, token: str) -> str:
    if token and form is not Form.SMS:
        raise UserError("--token: only a receiver of the form sms has one")
    if len(token) > MAX_SECRET or not token.isascii() or not (token.isprintable() or not token):
        raise UserError(f"--token must have at most {MAX_SECRET} printable ASCII characters")
    if form is Form.EVENTS:
        return new_secret()
    return token


def _check_url(url: str, in_force: Settings) -> None:
    try:
        check_url(url, in_force.networks_of_reports)
    except InvalidDestination as error:
        raise UserError(f"URL {error}") from None


def _values(one: Standing) -> dict[str, object]:
    return {
        "receiver": one.endpoint.id,
        "account": one.endpoint.account,
        "url": one.endpoint.url,
        "form": str(one.endpoint.form),
        "disabled": one.endpoint.disabled_reason,
        "pending": one.pending,
        "retrying": one.retrying,
        "dead": one.dead,
        "oldest_at": None if one.oldest_at is None else iso(one.oldest_at),
        "last_error": one.last_error,
    }
