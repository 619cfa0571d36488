"""Prometheus metrics, read from the store when they are asked for: what is stored is what is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry, Gauge, generate_latest

from ringback.store import breakers, engine_nodes, provenance, records, trunks

if TYPE_CHECKING:
    from ringback.store.database import Store


CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4


async def metrics_text(store: Store, now_ms: int) -> bytes:
    """The exposition text."""
    async with store.read() as tx:
        routes = await trunks.everyone(tx)
        states = await breakers.of_trunks(tx, [route.id for route in routes])
        tasks = await records.tasks_by_state(tx)
        totals = await records.call_totals(tx)
        nodes = await engine_nodes.everyone(tx, now_ms)
        held = await provenance.why_held(tx)
    registry = CollectorRegistry()
    hold = Gauge("ringback_held", "1 while nothing is dialled until ringback settle", registry=registry)
    hold.set(bool(held))
    busy = Gauge("ringback_trunk_lines_busy", "Calls that hold a line of the trunk", ["trunk"], registry=registry)
    lines = Gauge("ringback_trunk_lines", "Lines of the trunk", ["trunk"], registry=registry)
    shut = Gauge("ringback_trunk_breaker_open", "1 while the trunk's breaker is open", ["trunk"], registry=registry)
    openings = Gauge("ringback_trunk_breaker_openings", "How often it has opened", ["trunk"], registry=registry)
    for route in routes:
        shut.labels(route.name).set(states[route.id].opened_at is not None)
        openings.labels(route.name).set(states[route.id].openings)
        busy.labels(route.name).set(route.busy)
        lines.labels(route.name).set(route.channels)
    by_state = Gauge("ringback_tasks", "Tasks by state", ["state"], registry=registry)
    for state, count in tasks.items():
        by_state.labels(state).set(count)
    calls = Gauge("ringback_calls", "Calls of all tasks by what became of them", ["state"], registry=registry)
    for state, count in totals.items():
        calls.labels(state).set(count)
    up = Gauge("ringback_node_up", "1 while the node of the engine is reported and well", ["node"], registry=registry)
    draining = Gauge("ringback_node_draining", "1 while it shall take no new calls", ["node"], registry=registry)
    live = Gauge("ringback_node_live_calls", "Calls that it has, as last reported", ["node"], registry=registry)
    for node in nodes:
        up.labels(node.name).set(not node.trouble and not node.is_stale(now_ms))
        draining.labels(node.name).set(node.draining)
        live.labels(node.name).set(node.live_calls)
    return generate_latest(registry)
