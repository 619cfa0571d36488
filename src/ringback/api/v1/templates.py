"""Agent templates: made from YAML, listed, shown, retired. A template is never changed."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec
from litestar import Request, delete, get, post
from litestar.params import JSONBody, PathParameter

from ringback.api.v1.door import By, needs
from ringback.api.v1.fields import moment
from ringback.api.v1.once import Made, once
from ringback.api.v1.paging import MAX_ID, Cursor, Limit, Page, behind, page_of
from ringback.api.v1.problems import FieldError, Kind, Problem, not_found
from ringback.model.api_key import Scope
from ringback.store import listings, templates
from ringback.store.database import Tx
from ringback.store.listings import TemplateRow
from ringback.voice.load import MAX_SOURCE_BYTES, TemplateError, load_template_text

TemplateId = Annotated[int, PathParameter(ge=1, le=MAX_ID, description="Id of the template.")]


class NewTemplate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A template in the form of its YAML file. It may play no files."""

    yaml: Annotated[
        str,
        msgspec.Meta(min_length=1, max_length=MAX_SOURCE_BYTES, examples=["name: hello\nsteps:\n  - say: Good day.\n"]),
    ]


class TemplateMade(msgspec.Struct, frozen=True):
    """What was made."""

    id: int
    name: str


class TemplateOut(msgspec.Struct, frozen=True, kw_only=True):
    """A template in a list. ``shared``: the operator made it for all accounts."""

    id: int
    name: str
    shared: bool
    retired: bool
    created_at: datetime


class TemplateShown(msgspec.Struct, frozen=True, kw_only=True):
    """A template: ``variables`` are what each number must have, ``body`` its nodes and steps."""

    id: int
    name: str
    retired: bool
    variables: list[str]
    body: dict[str, Any]


@post("/templates", status_code=201, tags=["templates"], **needs(Scope.TEMPLATES_WRITE, statuses=(Kind.KEY_REUSED,)))
async def make_template(request: Request[Any, Any, Any], caller: By, data: JSONBody[NewTemplate]) -> Made[TemplateMade]:
    """Make a template. Everything wrong with it is told at once, each fault with its line."""
    try:
        loaded = load_template_text(data.yaml, "template", None)
    except TemplateError as error:
        faults = [FieldError("yaml", f"line {one.line}: {one.field}: {one.message}") for one in error.problems]
        raise Problem(Kind.INVALID, "yaml: is no valid template", errors=faults) from None

    async def work(tx: Tx) -> TemplateMade:
        template_id = await templates.add(
            tx, loaded.template, loaded.audio, account_id=caller.account_id, now_ms=caller.now_ms
        )
        return TemplateMade(template_id, loaded.template.name)

    return await once(request, caller, work, status=201)


@get("/templates", tags=["templates"], **needs(Scope.TEMPLATES_READ))
async def list_templates(caller: By, limit: Limit = 50, cursor: Cursor = None) -> Page[TemplateOut]:
    """The account's templates and the shared ones, newest first."""
    async with caller.store.read() as tx:
        found = await listings.templates_of(tx, caller.account_id, before=behind(cursor), limit=limit + 1)
    return page_of(found, limit, lambda row: row.id, _out)


@get("/templates/{template_id:int}", tags=["templates"], **needs(Scope.TEMPLATES_READ, statuses=(Kind.NOT_FOUND,)))
async def get_template(caller: By, template_id: TemplateId) -> TemplateShown:
    """One template."""
    async with caller.store.read() as tx:
        found = await templates.get(tx, template_id, account_id=caller.account_id)
    if found is None or found.voice_node is not None:
        raise not_found("template", template_id)
    return TemplateShown(
        id=found.id,
        name=found.template.name,
        retired=found.retired,
        variables=list(found.template.text_variables()),
        body=msgspec.to_builtins(found.template),
    )


@delete(
    "/templates/{template_id:int}",
    status_code=204,
    tags=["templates"],
    **needs(Scope.TEMPLATES_WRITE, statuses=(Kind.NOT_FOUND,)),
)
async def retire_template(caller: By, template_id: TemplateId) -> None:
    """Let it start no more tasks; those that call go on. A shared one is the operator's to retire."""
    async with caller.store.write() as tx:
        if not await templates.retire(tx, template_id, caller.now_ms, account_id=caller.account_id):
            raise not_found("template", template_id)


def _out(row: TemplateRow) -> TemplateOut:
    return TemplateOut(
        id=row.id, name=row.name, shared=row.shared, retired=row.retired, created_at=moment(row.created_at)
    )
