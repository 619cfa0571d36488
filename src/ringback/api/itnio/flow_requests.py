"""A recall flow as it is asked for, by whichever operation: checked first, stored with what its rounds play."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ringback.api.itnio.envelope import VendorError, bad
from ringback.api.itnio.voice_nodes import Prepared, prepared
from ringback.model.audience import RecallType
from ringback.model.flow import FlowSpec, InvalidFlow
from ringback.store import templates

if TYPE_CHECKING:
    from ringback.api.itnio.door import Call
    from ringback.api.itnio.fields import RecallFlowIn
    from ringback.store.database import Tx


class FlowRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A flow, checked. ``plays`` is one agent template (its id) or voice node a round."""

    spec: FlowSpec
    plays: list[int | Prepared]
    prefix: str

    async def text_variables(self, tx: Tx, account_id: int) -> frozenset[str]:
        """The text variables that the rounds use, for any of them may call any number.

        Raises :class:`VendorError` (-22) for an agent template that is not there.
        """
        found: set[str] = set()
        for at, one in enumerate(self.plays):
            if isinstance(one, Prepared):
                found.update(one.template.text_variables())
                continue
            stored = await templates.usable(tx, account_id, one)
            if stored is None:
                raise unknown_template(f"{self.prefix}nodeList[{at}].scriptId", one)
            found.update(stored.template.text_variables())
        return frozenset(found)

    async def stored(self, tx: Tx, call: Call) -> FlowSpec:
        """The flow, what its rounds play stored. Raises :class:`VendorError` (-20): nothing may be committed then."""
        ids = [await one.stored(tx, call) if isinstance(one, Prepared) else one for one in self.plays]
        return msgspec.structs.replace(self.spec, template_ids=tuple(ids))


async def flow_asked(call: Call, asked: RecallFlowIn, *, prefix: str) -> FlowRequest:
    """The flow asked for. ``prefix`` stands before field names in errors. Nothing is stored yet.

    Raises :class:`VendorError` (-20, -21, -22).
    """
    try:
        recall_type = RecallType(asked.recallType)
    except ValueError:
        raise bad(f"{prefix}recallType", f"must be 0 (all) or 1 (failed), got {asked.recallType}") from None
    nodes = asked.nodeList or []
    try:
        spec = FlowSpec(
            recall_type=recall_type,
            interval_minutes=asked.recallInterval,
            rounds=asked.recallNum,
            intents=tuple(dict.fromkeys(str(intent) for intent in asked.recallIntent or ())),
            # How many there are is checked here; which, when they are stored.
            template_ids=(0,) * len(nodes),
        ).checked()
    except InvalidFlow as error:
        raise bad(f"{prefix}{error.field}", str(error).removeprefix(f"{error.field}: ")) from None
    plays: list[int | Prepared] = []
    for at, node in enumerate(nodes):
        field = f"{prefix}nodeList[{at}]."
        if node.scriptId is not None:
            plays.append(node.scriptId)
        elif node.source is not None:
            plays.append(await prepared(call, node, prefix=field))
        else:
            raise bad(f"{field}scriptId", "is missing")
    return FlowRequest(spec=spec, plays=plays, prefix=prefix)


def unknown_template(field: str, template_id: int) -> VendorError:
    """The template does not exist, is retired or belongs to somebody else: all look alike."""
    return bad(field, f"there is no agent template {template_id}")
