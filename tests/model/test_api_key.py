"""Keys: what they look like, what lets in, what they may do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringback.model.api_key import (
    SCOPES_OF,
    Role,
    Scope,
    Token,
    check_token,
    hash_secret,
    make_token,
    may_grant,
    parse_token,
    scopes_for,
)


def test_a_key_reads_back_and_no_two_are_alike() -> None:
    made = [make_token() for _ in range(1_000)]
    assert [parse_token(one.text) for one in made] == made
    assert len({one.key_id for one in made}) == len({one.secret for one in made}) == 1_000
    for one in made:
        assert one.secret not in repr(one)


@given(st.text(max_size=80))
def test_what_is_no_key_is_none(text: str) -> None:
    assert parse_token(text) is None


@given(st.integers(0, 62), st.characters(codec="ascii"))
def test_no_changed_character_lets_in(place: int, character: str) -> None:
    token = make_token()
    text = token.text
    at = place % len(text)
    changed = text[:at] + character + text[at + 1 :]
    if changed == text:
        return
    found = parse_token(changed)
    assert found is None or found.key_id != token.key_id or not check_token(found, hash_secret(token.secret))


def test_only_the_right_secret_of_a_known_key_lets_in() -> None:
    token = make_token()
    stored = hash_secret(token.secret)
    assert check_token(token, stored)
    assert not check_token(token, None)
    assert not check_token(None, stored)
    assert not check_token(None, None)
    assert not check_token(None, hash_secret("")), "no key is not the key with an empty secret"
    assert not check_token(Token(token.key_id, ""), stored)
    assert token.secret not in stored


def test_roles_are_in_order() -> None:
    assert SCOPES_OF[Role.VIEWER] < SCOPES_OF[Role.OPERATOR] < SCOPES_OF[Role.OWNER] == frozenset(Scope)
    assert all(scope.endswith(":read") for scope in SCOPES_OF[Role.VIEWER])
    assert not {Scope.KEYS_WRITE, Scope.KEYS_READ, Scope.AUDIT_READ} & SCOPES_OF[Role.OPERATOR]


@given(st.sampled_from(Role), st.none() | st.frozensets(st.sampled_from(Scope)))
def test_a_key_has_no_more_than_its_role(role: Role, asked: frozenset[Scope] | None) -> None:
    if asked is not None and not asked <= SCOPES_OF[role]:
        with pytest.raises(ValueError, match=f"a key of the role {role} cannot have the scope"):
            scopes_for(role, asked)
        return
    scopes = scopes_for(role, asked)
    assert scopes == (SCOPES_OF[role] if asked is None else asked)
    assert may_grant(frozenset(Scope), scopes)
    assert may_grant(scopes, scopes)
