"""Our own door in this process: a world of accounts, with keys, and a client."""

from __future__ import annotations

from typing import Any

import httpx

from ringback.model.api_key import Role, Scope, make_token
from ringback.store import api_keys
from ringback.store.api_keys import NewKey
from tests.api.vendor_world import Tenant, World


class Own:
    """A client of ``/v1`` with an owner's key of the first account, and one of the other's."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.key = self.new_key(world.account)
        self.foreign = self.new_key(world.other)

    def new_key(
        self,
        tenant: Tenant,
        *,
        role: Role = Role.OWNER,
        scopes: frozenset[Scope] | None = None,
        expires_at: int | None = None,
    ) -> str:
        """The text of a new key."""
        token = make_token()

        async def work() -> None:
            new = NewKey(name="a key", role=role, scopes=scopes, expires_at=expires_at)
            async with self.world.store.write() as tx:
                await api_keys.create(tx, tenant.id, new, token, self.world.clock.now_ms(), actor="cli")

        self.world.run(work())
        return token.text

    def ask(
        self, method: str, path: str, *, key: str | None = None, headers: dict[str, str] | None = None, **parts: Any
    ) -> httpx.Response:
        """One request; ``key`` empty: none is sent."""
        key = self.key if key is None else key
        sent = {**({"Authorization": f"Bearer {key}"} if key else {}), **(headers or {})}

        async def work() -> httpx.Response:
            transport = httpx.ASGITransport(self.world.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://own") as client:
                return await client.request(method, f"/v1{path}", headers=sent, **parts)

        return self.world.run(work())

    def good(self, method: str, path: str, **parts: Any) -> Any:
        """The answer of a request that is granted."""
        response = self.ask(method, path, **parts)
        assert response.status_code < 300, response.text
        return response.json() if response.content else None

    def bad(self, status: int, method: str, path: str, **parts: Any) -> dict[str, Any]:
        """The problem of a request that is refused."""
        response = self.ask(method, path, **parts)
        assert response.status_code == status, response.text
        assert response.headers["content-type"] == "application/problem+json"
        problem: dict[str, Any] = response.json()
        assert problem["status"] == status
        assert problem["type"].startswith("urn:ringback:problem:")
        return problem

    def task(self, name: str = "a task", count: int = 3, **more: Any) -> dict[str, Any]:
        """A new task."""
        numbers = [{"number": f"4930123456{one:02}"} for one in range(count)]
        made: dict[str, Any] = self.good(
            "POST", "/tasks", json={"name": name, "template_id": self.world.plain, "numbers": numbers, **more}
        )
        return made
