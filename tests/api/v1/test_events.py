"""Server-sent events: what has changed, at once, until it is over."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

from ringback.api.v1 import events
from tests.api.v1.own_world import Own
from tests.api.vendor_world import ANSWERED, BUSY


def parsed(text: str) -> list[tuple[str, Any]]:
    found = []
    for block in text.replace("\r\n", "\n").strip().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if "event" in lines:
            found.append((lines["event"], json.loads(lines["data"])))
    return found


def test_a_task_tells_each_change_and_its_end(own: Own) -> None:
    task = own.task(count=2)["id"]

    async def story() -> str:
        transport = httpx.ASGITransport(own.world.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://own") as client:
            headers = {"Authorization": f"Bearer {own.key}"}
            stream = asyncio.create_task(client.get(f"/v1/tasks/{task}/events", headers=headers))
            for _ in range(50):
                await asyncio.sleep(0)
            await own.world.submit()
            for _ in range(200):
                await asyncio.sleep(0)
            await own.world.dial(ANSWERED, BUSY)
            return (await stream).text

    told = parsed(own.world.run(story()))
    assert [kind for kind, _ in told][-1] == "end"
    assert {kind for kind, _ in told[:-1]} == {"progress"}
    first, last = told[0][1], told[-1][1]
    assert (first["id"], first["counts"]["queued"]) == (task, 2)
    assert (last["state"], last["counts"]["answered"], last["counts"]["failed"]) == ("finished", 1, 1)
    assert len(told) == len({json.dumps(one) for one in told}), "only what has changed is told"


def test_a_flow_tells_its_nodes(own: Own) -> None:
    made = own.task(flow={"nodes": [{"interval_minutes": 1}]})
    own.good("POST", f"/flows/{made['flow_id']}/cancel")
    response = own.ask("GET", f"/flows/{made['flow_id']}/events")
    assert response.headers["content-type"].startswith("text/event-stream")
    ((kind, flow),) = parsed(response.text)
    assert (kind, flow["state"], flow["nodes"][0]["state"]) == ("end", "cancelled", "cancelled")


def test_a_stream_ends_with_its_key_or_its_time(own: Own, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "LONGEST_SECONDS", 40.0)
    task = own.task()["id"]
    response = own.ask("GET", f"/tasks/{task}/events")
    assert len(parsed(response.text)) == 1
    assert response.text.count(": quiet") == 2, "a comment now and then"
    expiring = own.new_key(own.world.account, expires_at=own.world.clock.now_ms() + 5_000)
    before = own.world.clock.now_ms()
    own.ask("GET", f"/tasks/{task}/events", key=expiring)
    assert own.world.clock.now_ms() - before <= 6_000


def test_so_many_streams_and_no_more(own: Own, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "MOST_STREAMS", 0)
    own.bad(429, "GET", f"/tasks/{own.task()['id']}/events")
    assert not own.world.app.state.house.streams[own.world.account.id]
