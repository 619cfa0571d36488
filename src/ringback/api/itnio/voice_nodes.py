"""Voice nodes: what a voice task, a round of its recall flow or a single call plays, made into a template."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from ringback.api.itnio.envelope import bad
from ringback.api.itnio.fields import check_range
from ringback.api.itnio.hang_up_messages import message_asked
from ringback.api.itnio.voice_files import Upload, store_upload, upload_asked
from ringback.model.template import Template
from ringback.model.voice_settings import Gender
from ringback.store import templates, voice_files
from ringback.voice.languages import TAGS, tag_of, why_unspoken
from ringback.voice.node_template import InvalidNode, VoiceNode, template_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ringback.api.itnio.door import Call
    from ringback.api.itnio.fields import VoiceNodeIn
    from ringback.store.database import Tx

FILE, UPLOAD, SPEECH = 1, 2, 3
GENDERS = {1: Gender.MALE, 2: Gender.FEMALE}
#: The vendor prints 1,000 and 2,048; this is what a template holds.
MAX_TEXT = 2_000


class Spoken(msgspec.Struct, frozen=True, kw_only=True):
    """A text to speak, as it is asked for."""

    text: str | None
    language: str | None
    rate: float | None
    gender: int | None
    accent: str | int | None
    #: What the operation calls its members, where it does not call them text, lan, speakingRate, ssmlGender, accent.
    names: dict[str, str] = {}

    def node(self, prefix: str = "", *, longest: int = MAX_TEXT) -> VoiceNode:
        """The node that speaks it. ``prefix`` stands before field names in errors.

        Raises :class:`~ringback.api.itnio.envelope.VendorError` (-22), also for a language without a voice here.
        """
        text_field, language_field = (f"{prefix}{self.names.get(name, name)}" for name in ("text", "lan"))
        if self.text is None:
            raise bad(text_field, "is missing")
        if not 1 <= len(self.text.strip()) <= longest:
            raise bad(text_field, f"must have 1 to {longest} characters, has {len(self.text.strip())}")
        if self.language is None:
            raise bad(language_field, "is missing")
        tag = tag_of(self.language)
        if tag is None:
            raise bad(language_field, f"must be one of {' '.join(TAGS)}")
        unspoken = why_unspoken(tag)
        if unspoken:
            raise bad(language_field, unspoken)
        if self.gender is not None and self.gender not in GENDERS:
            raise bad(f"{prefix}ssmlGender", f"must be 1 (male) or 2 (female), got {self.gender}")
        return VoiceNode(
            text=self.text,
            language=tag,
            speaking_rate=1.0 if self.rate is None else self.rate,
            gender=None if self.gender is None else GENDERS[self.gender],
            accent="" if self.accent is None else str(self.accent).strip(),
        )


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """A voice node, checked: the template that it makes, and what it was made with, for whoever asks.

    ``upload`` is a file that came with it and is not stored yet.
    """

    template: Template
    made_with: dict[str, Any]
    upload: Upload | None = None

    async def stored(self, tx: Tx, call: Call) -> int:
        """Store what is not there yet. Returns the template's id.

        Raises :class:`~ringback.api.itnio.envelope.VendorError` (-20), and then nothing may be committed.
        """
        if self.upload is not None:
            await store_upload(tx, call, self.upload)
        audio: dict[str, bytes] = {}
        for file_id in self.template.files():
            pcm = await voice_files.pcm_of(tx, call.account.id, file_id)
            assert pcm is not None, "a file is never taken away, and this one was there or is stored above"
            audio[file_id] = pcm
        # What makes two nodes one template: what is played, and what is shown of it.
        voice_node = msgspec.json.encode({**self.made_with, "template": self.template}, order="sorted").decode()
        return await templates.of_voice_node(
            tx, voice_node, self.template, audio, account_id=call.account.id, now_ms=call.now_ms
        )


async def prepared(call: Call, asked: VoiceNodeIn, *, prefix: str = "", loop_count: int | None = None) -> Prepared:
    """The node asked for. ``prefix`` stands before field names in errors. Nothing is stored yet.

    Raises :class:`~ringback.api.itnio.envelope.VendorError` (-20, -21, -22).
    """
    if asked.source is None:
        raise bad(f"{prefix}source", "is missing")
    loops = check_range(1 if loop_count is None else loop_count, f"{prefix}loopCount", 1, 9)
    sms = await message_asked(call, asked, prefix)
    made_with = {
        name: value
        for name in asked.__struct_fields__
        if name in NODE_MEMBERS and (value := getattr(asked, name)) is not None
    }
    upload = None
    if asked.source == FILE:
        node = await file_node(call, asked.voiceFileId, f"{prefix}voiceFileId")
    elif asked.source == UPLOAD:
        names = {"name": f"{prefix}uploadName", "data_field": f"{prefix}baseFile"}
        upload = await upload_asked(call, asked.uploadName, asked.baseFile, **names)
        made_with["voiceFileId"] = upload.file_id
        node = VoiceNode(file=upload.file_id)
    elif asked.source == SPEECH:
        spoken = Spoken(
            text=asked.text,
            language=asked.lan,
            rate=asked.speakingRate,
            gender=asked.ssmlGender,
            accent=asked.accent,
        )
        node = spoken.node(prefix)
    else:
        raise bad(f"{prefix}source", f"must be 1 (file), 2 (upload) or 3 (text), got {asked.source}")
    node = msgspec.structs.replace(node, loop_count=loops)
    made = made_template(node, prefix=prefix)
    return Prepared(
        template=msgspec.structs.replace(made, sms=sms), made_with=made_with | {"loopCount": loops}, upload=upload
    )


async def file_node(call: Call, file_id: str | None, field: str) -> VoiceNode:
    """The node that plays an uploaded file. Raises :class:`~ringback.api.itnio.envelope.VendorError` (-22)."""
    if file_id is None:
        raise bad(field, "is missing")
    async with call.door.store.read() as tx:
        if not await voice_files.exists(tx, call.account.id, file_id):
            raise bad(field, f"there is no voice file {file_id[:64]!r}")
    return VoiceNode(file=file_id)


def made_template(node: VoiceNode, *, prefix: str = "", names: Mapping[str, str] | None = None) -> Template:
    """The template that plays a node. ``names``: what the operation calls members that it calls otherwise.

    Raises :class:`~ringback.api.itnio.envelope.VendorError` (-22).
    """
    try:
        return template_of(node)
    except InvalidNode as error:
        member = _MEMBERS.get(error.field, error.field)
        raise bad(f"{prefix}{(names or {}).get(member, member)}", error.message) from None


#: A node's members by the vendor's names.
_MEMBERS = {
    "file": "voiceFileId",
    "language": "lan",
    "speaking_rate": "speakingRate",
    "loop_count": "loopCount",
    "delay_play": "delayPlay",
    "delay_hangup": "delayHangup",
}
#: The members that say what a node plays.
NODE_MEMBERS = frozenset(
    {
        "source",
        "voiceFileId",
        "uploadName",
        "text",
        "lan",
        "speakingRate",
        "ssmlGender",
        "accent",
        "hangUpSms",
        "smsContent",
        "senderId",
        "feedbackPush",
        "feedbackValue",
        "successPush",
        "successPushTime",
        "failedPush",
        "ringPush",
    }
)
