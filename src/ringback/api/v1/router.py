"""Every route of ``/v1``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from litestar import Router
from litestar.di import Provide
from litestar.exceptions import HTTPException

from ringback.api.v1 import calls, events, explain, flows, keys, numbers, receivers, tasks, templates
from ringback.api.v1.bodies import StrictRequest
from ringback.api.v1.door import SCOPE, caller_of, check_caller
from ringback.api.v1.problems import Problem, answer_http, answer_problem, answer_unexpected

if TYPE_CHECKING:
    from litestar.types import ControllerRouterHandler

PREFIX = "/v1"
HANDLERS: list[ControllerRouterHandler] = [
    keys.get_account,
    keys.list_keys,
    keys.make_key,
    keys.revoke_key,
    keys.rotate_key,
    keys.audit_log,
    templates.make_template,
    templates.list_templates,
    templates.get_template,
    templates.retire_template,
    tasks.make_task,
    tasks.list_tasks,
    tasks.get_task,
    tasks.pause,
    tasks.resume,
    tasks.cancel,
    numbers.add_numbers,
    numbers.upload_numbers,
    numbers.withdraw_numbers,
    numbers.close_task,
    calls.list_calls,
    calls.get_call,
    calls.get_recording,
    explain.explain_number,
    events.task_events,
    events.flow_events,
    flows.list_flows,
    flows.get_flow,
    flows.edit_flow,
    flows.edit_node,
    flows.cancel_flow,
    flows.cancel_node,
    receivers.make_receiver,
    receivers.list_receivers,
    receivers.remove_receiver,
    receivers.enable_receiver,
    receivers.disable_receiver,
    receivers.replay_reports,
]


def v1_router(max_body_bytes: int) -> Router:
    """The routes. ``max_body_bytes``: larger bodies are refused."""
    router = Router(
        path=PREFIX,
        route_handlers=HANDLERS,
        guards=[check_caller],
        dependencies={"caller": Provide(caller_of)},
        exception_handlers={
            Problem: answer_problem,
            HTTPException: answer_http,
            Exception: answer_unexpected,
        },
        request_class=StrictRequest,
        request_max_body_size=max_body_bytes,
    )
    for route in router.routes:
        for handler in getattr(route, "route_handlers", ()):
            # The framework answers OPTIONS by itself, with the methods that there are.
            assert "OPTIONS" in handler.http_methods or SCOPE in handler.opt, (
                f"{route.path}: a route without a scope would be open to every key"
            )
    return router
