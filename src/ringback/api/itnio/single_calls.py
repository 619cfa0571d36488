"""``sendCode`` and ``sendGroup``: one text to one number, one file to a few. Each is a small task of its own."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

import msgspec

from ringback.api.itnio.door import Call, Success, post_route
from ringback.api.itnio.envelope import Code, bad
from ringback.api.itnio.fields import check_range, local_text
from ringback.api.itnio.task_settings import application_of, caller_id, checked, store_task
from ringback.api.itnio.voice_fields import SendCodeIn, SendGroupIn, SentOut
from ringback.api.itnio.voice_nodes import Prepared, Spoken, file_node, made_template
from ringback.model.audience import RecallType
from ringback.model.flow import FlowSpec
from ringback.model.numbers import InvalidNumber, parse_callee
from ringback.model.task import DEFAULT_RING_SECONDS, Limits, NumberList, TaskKind, TaskSpec, build_numbers
from ringback.store import flows, records
from ringback.store.database import News

if TYPE_CHECKING:
    from litestar.handlers import HTTPRouteHandler

    from ringback.api.itnio.door import Door
    from ringback.voice.node_template import VoiceNode

#: The largest of the published figures.
MAX_CALLEES = 1_000
MAX_CALLED_INFO = 1_000
MAX_DURATION_SECONDS = 120
MAX_DELAY_SECONDS = 999
DEFAULT_RECALL_MINUTES = 5
#: Longest texts by language; the others may have as many as the larger of the published figures.
MAX_TEXT_OF = {"IDN": 299, "VN": 299, "TH": 299}
MAX_TEXT = 1_000


def routes(door: Door) -> list[HTTPRouteHandler]:
    """The operations of this family."""
    return [
        *post_route(door, "/sendCode", SendCodeIn, send_code, answers=list[SentOut]),
        *post_route(door, "/sendGroup", SendGroupIn, send_group, answers=list[SentOut]),
    ]


async def send_code(call: Call, asked: SendCodeIn) -> Success:
    """Speak a text to one number. With ``recallCount`` it is called again as long as calls fail.

    Then only the last result is reported.
    """
    try:
        callee = parse_callee(str(asked.callee))
    except InvalidNumber as error:
        raise bad("callee", str(error)) from None
    recalls = check_range(asked.recallCount or 0, "recallCount", 0, 9)
    minutes = DEFAULT_RECALL_MINUTES if asked.recallInterval is None else asked.recallInterval
    flow = None
    if recalls:
        check_range(minutes, "recallInterval", 1, 999)
        flow = FlowSpec(recall_type=RecallType.FAILED, interval_minutes=minutes, rounds=recalls).checked()
    node = _spoken(asked)
    limits = _limits(asked)
    info = _called_info(asked.calledInfo)
    numbers = build_numbers([(callee, {})], field="callee", needed_texts=frozenset())
    async with call.door.store.write() as tx:
        application = await application_of(tx, call, asked.appId)
        spec = TaskSpec(
            name=_name(call, "sendCode"),
            template_id=await node.stored(tx, call),
            application_id=application.id,
            caller_id=caller_id(asked.displayNum),
            limits=limits,
            kind=TaskKind.CODE,
            called_info=info,
            report_last=flow is not None,
        )
        task_id = await store_task(tx, call, checked(spec), numbers)
        if flow is not None:
            await flows.create(
                tx, call.account.id, task_id, flow, parent_template_id=spec.template_id, now_ms=call.now_ms
            )
        (stored,) = await records.page(tx, task_id)
    call.door.store.announce(News.WORK)
    return Success([SentOut(voiceId=str(stored.id), callee=callee)])


async def send_group(call: Call, asked: SendGroupIn) -> Success:
    """Play a file to a few numbers. ``data`` says for each whether its call is queued, or why not."""
    given = [part.strip() for part in str(asked.callee).split(",")]
    if len(given) > MAX_CALLEES:
        raise bad("callee", f"holds {len(given)} numbers, at most {MAX_CALLEES}")
    played = await file_node(call, asked.fileId, "fileId")
    node = _prepared(
        msgspec.structs.replace(played, loop_count=_loops(asked.loopCount)), {"source": 1, "voiceFileId": asked.fileId}
    )
    limits = _limits(asked)
    info = _called_info(asked.calledInfo)
    sent, numbers = _sorted_out(given)
    if numbers is None:
        return Success(sent)
    async with call.door.store.write() as tx:
        application = await application_of(tx, call, asked.appId)
        spec = TaskSpec(
            name=_name(call, "sendGroup"),
            template_id=await node.stored(tx, call),
            application_id=application.id,
            caller_id=caller_id(asked.displayNum),
            limits=limits,
            kind=TaskKind.GROUP,
            called_info=info,
        )
        task_id = await store_task(tx, call, checked(spec), numbers)
        stored = {record.callee: record.id for record in await records.page(tx, task_id, limit=MAX_CALLEES)}
    call.door.store.announce(News.WORK)
    return Success(
        [
            SentOut(voiceId=str(stored[one.callee]), callee=one.callee) if one.terminationCode == "0" else one
            for one in sent
        ]
    )


def _spoken(asked: SendCodeIn) -> Prepared:
    spoken = Spoken(
        text=asked.text,
        language=asked.language,
        rate=asked.speakingRate,
        gender=asked.ssmlGender,
        accent=asked.accent,
        names={"lan": "language"},
    )
    node = msgspec.structs.replace(
        spoken.node(longest=MAX_TEXT_OF.get(asked.language.strip().upper(), MAX_TEXT)),
        loop_count=_loops(asked.loopCount),
        delay_play=check_range(asked.delayPlay or 0, "delayPlay", 0, MAX_DELAY_SECONDS),
        delay_hangup=check_range(asked.delayHangup or 0, "delayHangup", 0, MAX_DELAY_SECONDS),
    )
    return _prepared(node, {"source": 3, "text": asked.text, "lan": asked.language})


def _prepared(node: VoiceNode, made_with: dict[str, Any]) -> Prepared:
    template = made_template(node, names={"lan": "language", "voiceFileId": "fileId"})
    for name in template.text_variables():
        raise bad("text", f"it uses {name}, and a single call has no texts")
    return Prepared(template=template, made_with=made_with | {"loopCount": node.loop_count})


def _loops(count: int | None) -> int:
    return check_range(1 if count is None else count, "loopCount", 1, 9)


def _sorted_out(given: list[str]) -> tuple[list[SentOut], NumberList | None]:
    """What is to be said of each number, and those that can be called; ``None`` when none can."""
    sent: list[SentOut] = []
    callees: list[str] = []
    for text in given:
        try:
            callee = parse_callee(text)
        except InvalidNumber as error:
            sent.append(_refused(text, f"callee: {error}"))
            continue
        if callee in callees:
            sent.append(_refused(callee, "callee: is there already; it is called once"))
            continue
        callees.append(callee)
        sent.append(SentOut(voiceId=None, callee=callee))
    if not callees:
        return sent, None
    return sent, build_numbers(((callee, {}) for callee in callees), field="callee", needed_texts=frozenset())


def _refused(callee: str, why: str) -> SentOut:
    return SentOut(voiceId=None, callee=callee, terminationCode=str(int(Code.PARAMETER)), terminationReason=why)


def _limits(asked: SendCodeIn | SendGroupIn) -> Limits:
    ring = DEFAULT_RING_SECONDS if asked.maxRingingTime is None else asked.maxRingingTime
    longest = MAX_DURATION_SECONDS if asked.maxDuration is None else asked.maxDuration
    return Limits(
        ring_seconds=check_range(ring, "maxRingingTime", 20, 120),
        call_seconds=check_range(longest, "maxDuration", 1, MAX_DURATION_SECONDS),
    )


def _called_info(text: str | None) -> str:
    if text is not None and len(text) > MAX_CALLED_INFO:
        raise bad("calledInfo", f"must have at most {MAX_CALLED_INFO} characters, has {len(text)}")
    return text or ""


def _name(call: Call, operation: str) -> str:
    """A name for the task that nobody has given: when it was asked for, and something that makes it the only one."""
    return f"{operation} {local_text(call.now_ms, call.account.time_zone)} {secrets.token_hex(6)}"
