"""`ringback price` and `ringback balance`: what calls cost, and what accounts have left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ringback.cli.common import UserError, opened, run, settings, trunk_named
from ringback.model.billing import Tariff, money_text, parse_money, parse_period
from ringback.store import accounts, tariffs
from ringback.store.accounts import Account
from ringback.store.database import News

if TYPE_CHECKING:
    from ringback.store.database import Tx

prices = typer.Typer(help="Prices: what a minute costs, and in which steps.", no_args_is_help=True)
balances = typer.Typer(help="Balances: what accounts have left.", no_args_is_help=True)

Rate = Annotated[str | None, typer.Option(help="Price of a minute, such as 0.0236.")]
Period = Annotated[str, typer.Option(help="Steps that are charged whole: first+further seconds.")]
Free = Annotated[bool, typer.Option("--free", help="It costs nothing.")]
Name = Annotated[str, typer.Argument(help="Name of the account.")]
Amount = Annotated[str, typer.Argument(help="Amount, such as 25 or 0.5.")]


@prices.command("trunk")
def price_trunk(
    name: Annotated[str, typer.Argument(help="Name of the trunk.")],
    rate: Rate = None,
    period: Period = "60+60",
    free: Free = False,
) -> None:
    """Set what calls through a trunk cost. It holds for calls that end from now on."""

    async def work() -> None:
        tariff = _tariff(rate, period, free=free)
        async with opened(settings()) as store, store.write() as tx:
            found = await trunk_named(tx, name)
            await tariffs.of_trunk(tx, found.id, tariff)

    run(work())


@prices.command("template")
def price_template(
    template_id: Annotated[int, typer.Argument(help="Id of the agent template.")],
    rate: Rate = None,
    period: Period = "60+60",
    free: Free = False,
) -> None:
    """Set what the agent costs beside the line."""

    async def work() -> None:
        tariff = _tariff(rate, period, free=free)
        async with opened(settings()) as store, store.write() as tx:
            if not await tariffs.of_template(tx, template_id, tariff):
                raise UserError(f"there is no template {template_id}")

    run(work())


@prices.command("list")
def price_list() -> None:
    """Show every price."""

    async def work() -> tuple[dict[str, Tariff | None], dict[int, Tariff]]:
        async with opened(settings()) as store, store.read() as tx:
            return await tariffs.listed(tx)

    of_trunks, of_templates = run(work())
    for name, tariff in of_trunks.items():
        typer.echo(f"trunk {name}  {_shown(tariff)}")
    for template_id, tariff in of_templates.items():
        typer.echo(f"template {template_id}  {_shown(tariff)}")


@balances.command("show")
def show(name: Name) -> None:
    """Show what an account has left."""

    async def work() -> Account:
        async with opened(settings()) as store, store.read() as tx:
            return await _account(tx, name)

    found = run(work())
    if found.balance_micros is None:
        typer.echo("calls are not charged to this account")
    else:
        typer.echo(f"{money_text(found.balance_micros)} {found.currency}")


@balances.command("set")
def put(
    name: Name,
    amount: Annotated[str | None, typer.Argument(help="What it has left from now on.")] = None,
    none: Annotated[bool, typer.Option("--none", help="Charge no calls to it.")] = False,
    currency: Annotated[str | None, typer.Option(help="Three letters; no amount is converted.")] = None,
) -> None:
    """Set what an account has left, or that its calls are not charged to it."""

    async def work() -> None:
        if none and amount is not None:
            raise UserError("--none: there is an AMOUNT too")
        if amount is None and not none and currency is None:
            raise UserError("give AMOUNT, --none or --currency")
        micros = None if amount is None else _amount(amount)
        if currency is not None and not (
            len(currency) == 3 and currency.isascii() and currency.isalpha() and currency.isupper()
        ):
            raise UserError("--currency must be three capital letters")
        async with opened(settings()) as store:
            async with store.write() as tx:
                found = await _account(tx, name)
                if none or micros is not None:
                    await accounts.set_balance(tx, found.id, micros)
                if currency is not None:
                    await accounts.set_currency(tx, found.id, currency)
            store.announce(News.WORK)

    run(work())


@balances.command("add")
def add(name: Name, amount: Amount) -> None:
    """Add a payment to what an account has left. Dialling that waited for it goes on."""

    async def work() -> None:
        micros = _amount(amount)
        async with opened(settings()) as store:
            async with store.write() as tx:
                found = await _account(tx, name)
                await accounts.add_to_balance(tx, found.id, micros)
            store.announce(News.WORK)

    run(work())


def _tariff(rate: str | None, period: str, *, free: bool) -> Tariff | None:
    if free == (rate is not None):
        raise UserError("give either --rate or --free")
    if rate is None:
        return None
    try:
        steps = parse_period(period)
    except ValueError as error:
        raise UserError(f"--period {error}") from None
    try:
        micros = parse_money(rate)
    except ValueError as error:
        raise UserError(f"--rate {error}") from None
    try:
        Tariff(micros, 1, 1)
    except ValueError as error:
        raise UserError(f"--rate: {error}") from None
    try:
        return Tariff(micros, *steps)
    except ValueError as error:
        raise UserError(f"--period: {error}") from None


def _amount(text: str) -> int:
    try:
        return parse_money(text)
    except ValueError as error:
        raise UserError(f"AMOUNT {error}") from None


def _shown(tariff: Tariff | None) -> str:
    return "free" if tariff is None else f"{money_text(tariff.rate_micros)} a minute, {tariff.period}"


async def _account(tx: Tx, name: str) -> Account:
    found = await accounts.by_name(tx, name)
    if found is None:
        raise UserError(f"there is no account {name!r}")
    return found
