"""The commands of keys: what they print once, and what they refuse."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ringback.model.api_key import parse_token
from tests.e2e.test_cli_routing import Shell


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.chdir(tmp_path)
    made = Shell(tmp_path)
    made.do("account", "create", "acme")
    return made


def made(said: str) -> str:
    """The id of the key that was printed."""
    found = re.search(r"^key  (rb_\S+)$", said, flags=re.MULTILINE)
    assert found is not None
    token = parse_token(found[1])
    assert token is not None
    return token.key_id


def test_from_its_making_to_its_end(shell: Shell) -> None:
    first = made(shell.do("key", "create", "acme", "crm", "--scope", "tasks:read", "--days", "1"))
    (line,) = shell.do("key", "list", "acme").splitlines()
    assert line.startswith(f"{first}  crm  operator  tasks:read  until ")
    second = made(shell.do("key", "rotate", "acme", first, "--overlap-hours", "0"))
    shell.fails("key", "rotate", "acme", first, text=f"there is no key {first} that is valid")
    shell.do("key", "revoke", "acme", second)
    shell.fails("key", "revoke", "acme", second, text=f"there is no key {second} that is not revoked")
    assert "revoked" in shell.do("key", "list", "acme").splitlines()[1]
    assert [line.split("  ")[1:3] for line in shell.do("audit", "acme").splitlines()] == [
        ["cli", "key.revoked"],
        ["cli", "key.created"],
        ["cli", "key.created"],
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("create", "nobody", "crm"), "there is no account 'nobody'"),
        (("create", "acme", ""), "NAME must have 1 to 64 printable characters"),
        (("create", "acme", "crm", "--role", "king"), "--role must be one of viewer, operator, owner"),
        (("create", "acme", "crm", "--scope", "all"), "--scope: must be one of account:read"),
        (("create", "acme", "crm", "--role", "viewer", "--scope", "tasks:write"), "cannot have the scope tasks:write"),
        (("create", "acme", "crm", "--days", "0"), "--days must be more than 0"),
        (("list", "nobody"), "there is no account 'nobody'"),
        (("revoke", "acme", "aaaa"), "there is no key aaaa"),
    ],
)
def test_refused_commands(shell: Shell, arguments: tuple[str, ...], message: str) -> None:
    shell.fails("key", *arguments, text=message)
