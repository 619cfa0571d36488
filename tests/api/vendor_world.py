"""The vendor's door in this process: the application on a store in a temporary file, under a clock that tests set."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import httpx
import msgspec
from sqlalchemy import select, text

from ringback.api.app import create_app
from ringback.api.itnio.signature import sign
from ringback.model.outcome import Outcome
from ringback.model.template import Say, Template
from ringback.settings import Settings
from ringback.store import accounts, calls, leases, node_start, submission, templates, trunks, workers
from ringback.store.database import Store
from ringback.store.opening import open_store
from ringback.store.schema import metadata

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import TypeVar

    from litestar import Litestar

    T = TypeVar("T")

#: The instant of the published signature.
PUBLISHED_SECONDS = 1_630_468_800
PUBLISHED_KEY = "bDqJFiq9"
PUBLISHED_SECRET = "7bz1lzh9"

ANSWERED = {"outcome": Outcome.ANSWERED}
BUSY = {"outcome": Outcome.BUSY}

#: Tasks whose counters are not those of their calls, and flows whose rounds are not those of their nodes.
WRONG_COUNTERS = text(
    "SELECT t.id FROM task t LEFT JOIN "
    "(SELECT task_id, COUNT(*) AS total, SUM(state = 'queued') AS queued FROM call GROUP BY task_id) c "
    "ON c.task_id = t.id WHERE t.total <> COALESCE(c.total, 0) OR t.queued <> COALESCE(c.queued, 0) "
    "UNION ALL SELECT f.id FROM flow f WHERE f.rounds <> (SELECT COUNT(*) FROM node n WHERE n.flow_id = f.id)"
)


class FakeClock:
    """Stands still until told otherwise; whoever sleeps moves it."""

    def __init__(self, seconds: float) -> None:
        self._us = round(seconds * 1_000_000)

    def set(self, seconds: float) -> None:
        """It is now so many seconds after the epoch."""
        self._us = round(seconds * 1_000_000)

    def now_ms(self) -> int:
        return self._us // 1_000

    def now_us(self) -> int:
        return self._us

    def monotonic(self) -> float:
        return self._us / 1_000_000

    async def sleep(self, seconds: float) -> None:
        self._us += round(max(0.0, seconds) * 1_000_000)
        await asyncio.sleep(0)

    @contextlib.contextmanager
    def holding(self) -> Iterator[None]:
        yield


class Tenant(msgspec.Struct, frozen=True):
    """An account's credentials."""

    id: int
    key: str
    secret: str


class World:
    """Two accounts, their templates, a fast trunk, and the application in front of them.

    ``plain`` is a template without text variables, ``greeting`` uses ``text1``, ``retired`` is retired and ``foreign``
    belongs to the other account.
    """

    def __init__(self, path: Path, settings: Settings) -> None:
        self.clock = FakeClock(PUBLISHED_SECONDS)
        self.path = path
        self.settings = settings
        self._runner = asyncio.Runner()
        self.store: Store
        self.app: Litestar
        self.account: Tenant
        self.other: Tenant
        self.plain = self.greeting = self.retired = self.foreign = 0
        self.application_id = 0
        self.worker_id = 0

    def run(self, story: Coroutine[Any, Any, T]) -> T:
        """Run to its end."""
        return self._runner.run(story)

    def open(self) -> None:
        """Open and furnish."""
        self.run(self._open())

    def close(self) -> None:
        """Leave nothing open."""
        with self._runner:
            self.run(self.store.close())

    async def _open(self) -> None:
        self.store = await open_store(f"sqlite:///{self.path}", self.clock)
        self.account = await self.tenant("own", PUBLISHED_KEY, PUBLISHED_SECRET)
        self.other = await self.tenant("other", "otherKey", "otherSecret")
        now = self.clock.now_ms()
        async with self.store.write() as tx:
            await trunks.add(tx, name="t", engine="sandbox", calls_per_second=1_000_000, channels=1_000, now_ms=now)
            found = await accounts.application_of(tx, self.account.id, accounts.DEFAULT_APP_ID)
            assert found is not None
            self.application_id = found.id
            self._lease_no = 0
            self.worker_id = await workers.register(tx, engine="sandbox", pid=1, now_ms=now)
        self.plain = await self.template("plain", "Good day.")
        self.greeting = await self.template("greeting", "Good day, ${text1}.")
        self.retired = await self.template("retired", "Good day.")
        self.foreign = await self.template("foreign", "Good day.", account_id=self.other.id)
        async with self.store.write() as tx:
            await templates.retire(tx, self.retired, now)
        self.app = create_app(self.store, self.clock, self.settings)

    async def wrong_counters(self) -> list[int]:
        """Ids of :data:`WRONG_COUNTERS`: what must be empty."""
        async with self.store.read() as tx:
            return [row[0] for row in await tx.execute(WRONG_COUNTERS)]

    async def tenant(
        self,
        name: str,
        key: str,
        secret: str,
        *,
        zone: str = "UTC",
        envelope: str = "both",
        networks: Sequence[str] = (),
    ) -> Tenant:
        """A new account."""
        async with self.store.write() as tx:
            account_id = await accounts.create(
                tx,
                name=name,
                api_key=key,
                api_secret=secret,
                time_zone=zone,
                envelope=envelope,
                allowed_networks=networks,
                now_ms=self.clock.now_ms(),
            )
        return Tenant(account_id, key, secret)

    async def template(self, name: str, words: str, *, account_id: int | None = None) -> int:
        """A new template that says the words."""
        value = Template(name=name, initial_node="start", nodes={"start": [Say(words)]})
        async with self.store.write() as tx:
            return await templates.add(tx, value, {}, account_id=account_id, now_ms=self.clock.now_ms())

    async def next_id(self, table: str, value: int) -> None:
        """The next row of the table gets this id."""
        async with self.store.write() as tx:
            await tx.execute(text("DELETE FROM sqlite_sequence WHERE name = :name"), {"name": table})
            await tx.execute(
                text("INSERT INTO sqlite_sequence (name, seq) VALUES (:name, :seq)"), {"name": table, "seq": value - 1}
            )

    def headers(self, tenant: Tenant | None = None, *, seconds: int | None = None) -> dict[str, str]:
        """Right sign headers, at the clock's time unless told otherwise."""
        who = tenant or self.account
        timestamp = str(self.clock.now_ms() // 1000 if seconds is None else seconds)
        return {
            "Content-Type": "application/json;charset=UTF-8",
            "Api-Key": who.key,
            "Timestamp": timestamp,
            "Sign": sign(who.key, who.secret, timestamp),
        }

    async def request(
        self,
        method: str,
        path: str,
        *,
        content: bytes = b"",
        headers: Mapping[str, str] | Sequence[tuple[bytes, bytes]] | None = None,
        address: str = "127.0.0.1",
    ) -> httpx.Response:
        """One request from an address; without ``headers`` with those of :meth:`headers`."""
        transport = httpx.ASGITransport(app=self.app, client=(address, 1234))
        async with httpx.AsyncClient(transport=transport, base_url="http://ringback") as client:
            return await client.request(
                method, path, content=content, headers=self.headers() if headers is None else headers
            )

    async def post(
        self, path: str, body: object = None, *, content: bytes | None = None, tenant: Tenant | None = None, **more: Any
    ) -> dict[str, Any]:
        """POST a body as JSON (or ``content`` as it is) and return the answer, which is always HTTP 200."""
        sent = msgspec.json.encode(body) if content is None else content
        more.setdefault("headers", self.headers(tenant))
        response = await self.request("POST", path, content=sent, **more)
        return _answer(response)

    async def get(self, path: str, *, tenant: Tenant | None = None, **more: Any) -> dict[str, Any]:
        """GET, and return the answer."""
        more.setdefault("headers", self.headers(tenant))
        return _answer(await self.request("GET", path, **more))

    def task_body(self, **changes: Any) -> dict[str, Any]:
        """A right body of ``send/agent``, with changes; a member set to ``...`` is left out."""
        body = {
            "appId": "default",
            "taskName": "a task",
            "agentId": self.plain,
            "numberInfoList": [{"calleeNumber": "4915112345600"}],
        }
        return {name: value for name, value in (body | changes).items() if value is not ...}

    async def send(self, *, tenant: Tenant | None = None, **changes: Any) -> int:
        """Make a task. Returns its id."""
        done = await self.post("/voice/group/call/send/agent", self.task_body(**changes), tenant=tenant)
        assert done["code"] == 0, done
        task_id = done["data"]
        assert isinstance(task_id, int)
        return task_id

    async def send_with_flow(self, *, tenant: Tenant | None = None, **changes: Any) -> tuple[int, dict[str, Any]]:
        """Make a task with a recall flow, of two rounds unless told otherwise. Returns its id and the flow's detail."""
        flow = changes.pop("recallFlow", {"recallType": 1, "recallInterval": 30, "recallNum": 2})
        task_id = await self.send(tenant=tenant, recallFlow=flow, **changes)
        return task_id, await self.flow_of(task_id, tenant=tenant)

    async def flow_of(self, task_id: int, *, tenant: Tenant | None = None) -> dict[str, Any]:
        """The detail of the flow that hangs on a task."""
        body = {
            "current": 1,
            "size": 100,
            "params": {"strTime": "2000-01-01 00:00:00", "endTime": "2099-01-01 00:00:00", "taskName": str(task_id)},
        }
        page = await self.post("/voice/recallFlow/queryPage", body, tenant=tenant)
        (row,) = [row for row in page["data"]["records"] if row["taskId"] == task_id]
        return await self.detail(row["keyId"], tenant=tenant)

    async def detail(self, key: int, *, tenant: Tenant | None = None) -> dict[str, Any]:
        """The detail of a flow."""
        done = await self.post("/voice/recallFlow/queryDetail", {"keyId": key}, tenant=tenant)
        assert done["code"] == 0, done
        data = done["data"]
        assert isinstance(data, dict)
        return data

    async def submit(self) -> None:
        """Start the tasks that are due."""
        async with self.store.write() as tx:
            await submission.submit_due(tx, self.clock.now_ms(), 100, minute_seconds=60)

    async def dial(self, *results: Mapping[str, Any]) -> None:
        """Lease as many calls as there are results, of whatever task is calling, and end them so."""
        now_us = self.clock.now_us()
        self._lease_no += 1
        async with self.store.write() as tx:
            batch = await leases.lease(
                tx,
                worker_id=self.worker_id,
                lease_no=self._lease_no,
                engine="sandbox",
                now_us=now_us,
                horizon_us=1_000_000,
                grace_us=0,
                free_lines=len(results),
            )
        assert len(batch.leases) == len(results), batch.waiting
        ended = [
            calls.CallResult(call_id=held.call_id, lease_no=held.lease_no, ended_at=self.clock.now_ms(), **result)
            for held, result in zip(batch.leases, results, strict=True)
        ]
        async with self.store.write() as tx:
            await calls.ended(tx, self.worker_id, ended, self.clock.now_ms(), minute_seconds=60)

    async def start_next_round(self) -> int | None:
        """Start the node that is due, and its task. Returns the task's id."""
        async with self.store.write() as tx:
            (task_id,) = (await node_start.start_due(tx, self.clock.now_ms(), 10)).values()
        await self.submit()
        return task_id

    async def contents(self) -> dict[str, list[tuple[Any, ...]]]:
        """Every row of every table."""
        async with self.store.read() as tx:
            return {
                table.name: [tuple(row) for row in await tx.execute(select(table))] for table in metadata.sorted_tables
            }


def _answer(response: httpx.Response) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    answer = msgspec.json.decode(response.content)
    assert isinstance(answer, dict)
    return answer
