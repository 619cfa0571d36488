"""`ringback price` and `ringback balance`: what they store, what they print, and what they refuse."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from e2e.test_cli_routing import Shell

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.chdir(tmp_path)
    made = Shell(tmp_path)
    made.do("account", "create", "acme")
    made.do("trunk", "add", "carrier", "--to", "127.0.0.1:5060")
    return made


def test_prices(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text("name: t\nsteps:\n  - hangup\n")
    template_id = shell.do("template", "add", "t.yaml").splitlines()[-1]
    assert shell.do("price", "list") == "trunk carrier  free\n"
    shell.do("price", "trunk", "carrier", "--rate", "0.023625", "--period", "20+20")
    shell.do("price", "template", template_id, "--rate", "1")
    assert shell.do("price", "list").splitlines() == [
        "trunk carrier  0.023625 a minute, 20+20",
        f"template {template_id}  1 a minute, 60+60",
    ]
    shell.do("price", "trunk", "carrier", "--free")
    shell.do("price", "template", template_id, "--free")
    assert shell.do("price", "list") == "trunk carrier  free\n"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("trunk", "carrier"), "give either --rate or --free"),
        (("trunk", "carrier", "--rate", "1", "--free"), "give either --rate or --free"),
        (("trunk", "carrier", "--rate", "1e3"), "--rate must be an amount"),
        (("trunk", "carrier", "--rate", "-1"), "--rate: a rate is 0 to 1000000"),
        (("trunk", "carrier", "--rate", "1", "--period", "60"), "--period must be two numbers"),
        (("trunk", "carrier", "--rate", "1", "--period", "0+60"), "--period: each step"),
        (("trunk", "nobody", "--rate", "1"), "nobody"),
        (("template", "99", "--rate", "1"), "there is no template 99"),
    ],
)
def test_what_is_no_price(shell: Shell, arguments: tuple[str, ...], text: str) -> None:
    before = shell.do("price", "list")
    shell.fails("price", *arguments, text=text)
    assert shell.do("price", "list") == before


def test_balances(shell: Shell) -> None:
    assert shell.do("balance", "show", "acme") == "calls are not charged to this account\n"
    shell.do("balance", "set", "acme", "25.5", "--currency", "EUR")
    shell.do("balance", "add", "acme", "0.000001")
    assert shell.do("balance", "show", "acme") == "25.500001 EUR\n"
    shell.do("balance", "add", "acme", "--", "-30")
    assert shell.do("balance", "show", "acme") == "-4.499999 EUR\n"
    shell.do("balance", "set", "acme", "--currency", "USD")
    assert shell.do("balance", "show", "acme") == "-4.499999 USD\n"
    shell.do("balance", "set", "acme", "--none")
    assert shell.do("balance", "show", "acme") == "calls are not charged to this account\n"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("set", "acme", "1.0000001"), "AMOUNT must be an amount"),
        (("set", "acme", "1", "--none"), "--none: there is an AMOUNT too"),
        (("set", "acme"), "give AMOUNT, --none or --currency"),
        (("set", "acme", "1", "--currency", "eur"), "--currency must be three capital letters"),
        (("set", "acme", "1", "--currency", "EURO"), "--currency must be three capital letters"),
        (("set", "acme", "1", "--currency", "E1R"), "--currency must be three capital letters"),
        (("add", "acme", "much"), "AMOUNT must be an amount"),
        (("add", "nobody", "1"), "there is no account 'nobody'"),
        (("show", "nobody"), "there is no account 'nobody'"),
    ],
)
def test_what_is_no_balance(shell: Shell, arguments: tuple[str, ...], text: str) -> None:
    shell.do("balance", "set", "acme", "7", "--currency", "CHF")
    shell.fails("balance", *arguments, text=text)
    assert shell.do("balance", "show", "acme") == "7 CHF\n"
