"""What every run begins with: an account, its trunks and its templates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ringback.model.template import Gather, OnVoicemail, Play, Tag, Template
from ringback.store import accounts, routes, templates, trunks
from ringback.store.accounts import DEFAULT_APP_ID
from ringback.telephony.port import BYTES_PER_SECOND

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ringback.simulator.plan import TrunkPlan
    from ringback.store.database import Store

#: The intents that the templates give.
INTENTS = ("100", "101", "109")
_QUESTION = "question.wav"
_AUDIO = {_QUESTION: bytes(2 * BYTES_PER_SECOND)}

_ASKING = Template(
    name="asking",
    initial_node="ask",
    nodes={
        "ask": [Gather(prompt=Play(_QUESTION), timeout=3, cases={"1": "yes", "9": "no"}), Tag("100")],
        "yes": [Tag("101")],
        "no": [Tag("109")],
    },
)
_TELLING = Template(
    name="telling",
    initial_node="tell",
    nodes={"tell": [Play(_QUESTION), Tag("100"), Play(_QUESTION)]},
    on_voicemail=OnVoicemail.CONTINUE,
)
#: The names of the templates.
TEMPLATES = (_ASKING.name, _TELLING.name)


class Stage(msgspec.Struct, frozen=True):
    """Ids; ``templates`` by name."""

    account: int
    application: int
    templates: dict[str, int]


async def set_stage(store: Store, plans: Sequence[TrunkPlan], now_ms: int) -> Stage:
    """Make all of it. A trunk's host is its name, by which the carrier knows it."""
    async with store.write() as tx:
        account = await accounts.create(
            tx,
            name="a",
            api_key="k",
            api_secret="s",  # noqa: S106 - nobody logs in here
            time_zone="UTC",
            envelope="both",
            allowed_networks=[],
            now_ms=now_ms,
        )
        application = await accounts.application_of(tx, account, DEFAULT_APP_ID)
        assert application is not None
        for plan in plans:
            trunk = await trunks.add(
                tx,
                name=plan.name,
                engine="sandbox",
                host=plan.name,
                calls_per_second=plan.rate,
                channels=plan.channels,
                now_ms=now_ms,
            )
            if len(plans) > 1:
                await routes.add(
                    tx, account_id=None, prefix="", trunk_id=trunk, priority=plan.priority, weight=plan.weight
                )
        made = {
            value.name: await templates.add(tx, value, _AUDIO, account_id=None, now_ms=now_ms)
            for value in (_ASKING, _TELLING)
        }
    return Stage(account, application.id, made)
