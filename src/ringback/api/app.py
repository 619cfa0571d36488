"""The HTTP application: the vendor's door, health and metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from litestar import Litestar, MediaType, Response, get
from litestar.openapi import OpenAPIConfig
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from ringback import __version__
from ringback.api.itnio import recall_flows, tasks
from ringback.api.itnio.door import Door
from ringback.api.metrics import metrics_text

if TYPE_CHECKING:
    from ringback.clock import Clock
    from ringback.settings import Settings
    from ringback.store.database import Store


def create_app(store: Store, clock: Clock, settings: Settings) -> Litestar:
    """The application on an open store, which outlives it."""
    door = Door(store, clock, settings)

    @get("/health/live", media_type=MediaType.TEXT)
    async def live() -> str:
        """The process runs."""
        return "ok"

    @get("/health/ready", media_type=MediaType.TEXT)
    async def ready() -> Response[str]:
        """The database answers."""
        try:
            async with store.read() as tx:
                await tx.execute(text("SELECT 1"))
        except SQLAlchemyError:
            return Response("the database does not answer", status_code=503)
        return Response("ok")

    @get("/metrics", media_type=MediaType.TEXT, include_in_schema=False)
    async def metrics() -> Response[bytes]:
        """Prometheus metrics."""
        return Response(await metrics_text(store), media_type="text/plain; version=0.0.4; charset=utf-8")

    return Litestar(
        route_handlers=[live, ready, metrics, *tasks.routes(door), *recall_flows.routes(door)],
        openapi_config=OpenAPIConfig(title="Ringback", version=__version__, path="/schema"),
        # The door reads bodies itself and answers in the vendor's form when one is too large.
        request_max_body_size=None,
    )
