"""The HTTP application: the vendor's door, health and metrics."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import structlog
from litestar import Litestar, MediaType, Request, Response, get
from litestar.datastructures import State
from litestar.exceptions import HTTPException, MethodNotAllowedException, NotFoundException
from litestar.exceptions.responses import create_exception_response
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme
from sqlalchemy.exc import SQLAlchemyError

from ringback import __version__
from ringback.api.itnio import (
    agent_tasks,
    call_centre,
    job_records,
    jobs,
    money,
    phone_calls,
    phones,
    recall_flows,
    records,
    resends,
    single_calls,
    tasks,
    voice_files,
    voice_tasks,
)
from ringback.api.itnio.door import Door
from ringback.api.itnio.envelope import answer, bad
from ringback.api.itnio.families import OWN_PREFIXES
from ringback.api.metrics import CONTENT_TYPE, metrics_text
from ringback.api.v1.door import House
from ringback.api.v1.problems import answer_http
from ringback.api.v1.router import PREFIX, v1_router
from ringback.store import provenance
from ringback.store.database import StoreUnavailable
from ringback.store.lookups import quickened

if TYPE_CHECKING:
    from litestar.handlers import HTTPRouteHandler

    from ringback.clock import Clock
    from ringback.settings import Settings
    from ringback.store.database import Store

log = structlog.get_logger(__name__)

#: A database that takes longer than this for the smallest question is not ready.
READY_SECONDS = 2.0


def create_app(store: Store, clock: Clock, settings: Settings) -> Litestar:
    """The application on an open store, which outlives it."""
    door = Door(store, clock, settings)
    house = House(store, clock, settings)

    @get("/health/live", media_type=MediaType.TEXT)
    async def live() -> str:
        """The process runs."""
        return "ok"

    @get("/health/ready", media_type=MediaType.TEXT)
    async def ready() -> Response[str]:
        """The database answers. Says so when it is held, so that nothing is dialled."""
        try:
            async with asyncio.timeout(READY_SECONDS), store.read() as tx:
                held = await provenance.why_held(tx)
        except (SQLAlchemyError, StoreUnavailable, TimeoutError) as error:
            log.warning("not_ready", error=str(error) or type(error).__name__)
            return Response("the database does not answer", status_code=503)
        return Response(held or "ok")

    @get("/metrics", include_in_schema=False)
    async def metrics() -> Response[bytes]:
        """Prometheus metrics."""
        return Response(await metrics_text(store, clock.now_ms()), headers={"content-type": CONTENT_TYPE})

    return Litestar(
        route_handlers=[
            live,
            ready,
            metrics,
            v1_router(settings.max_body_megabytes * 1_000_000),
            *_vendor_routes(door),
        ],
        state=State({"house": house}),
        lifespan=[lambda _: quickened(store, door.accounts, door.flows, house.keys)],
        exception_handlers={NotFoundException: _not_routed, MethodNotAllowedException: _not_routed},
        # The description alone: the pages that show it load their scripts from elsewhere.
        openapi_config=OpenAPIConfig(
            title="Ringback",
            version=__version__,
            path="/schema",
            render_plugins=[JsonRenderPlugin(path="/")],
            components=Components(
                security_schemes={
                    "bearer": SecurityScheme(
                        type="http", scheme="bearer", description="A key, as `ringback key create` prints it."
                    )
                }
            ),
        ),
        # The door reads bodies itself and answers in the vendor's form when one is too large.
        request_max_body_size=None,
        # The framework would set up logging for the whole process; that is for whoever starts it.
        logging_config=None,
    )


def _vendor_routes(door: Door) -> list[HTTPRouteHandler]:
    families = (
        agent_tasks,
        voice_tasks,
        single_calls,
        tasks,
        resends,
        recall_flows,
        records,
        voice_files,
        money,
        phones,
        phone_calls,
        call_centre,
        jobs,
        job_records,
    )
    return [route for family in families for route in family.routes(door)]


def _not_routed(request: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
    """An operation that is not offered is answered in the vendor's form too, under the vendor's paths."""
    path = request.url.path
    if path.startswith(f"{PREFIX}/"):
        return answer_http(request, error)
    if any(path.startswith(f"{prefix}/") for prefix in OWN_PREFIXES):
        fault = bad("path", f"there is no operation {request.method} {path}")
        return answer(fault.code, fault.message)
    return create_exception_response(request, error)
