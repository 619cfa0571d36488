"""What Asterisk says over ARI: the events that matter here, with every field that decides something."""

from __future__ import annotations

from typing import Final

import msgspec

#: All that Asterisk is asked to send. Some sixteen events a call would come otherwise.
WANTED: Final = (
    "ApplicationReplaced",
    "ChannelDestroyed",
    "ChannelDtmfReceived",
    "ChannelHangupRequest",
    "ChannelStateChange",
    "ChannelTalkingFinished",
    "ChannelTalkingStarted",
    "Dial",
    "PlaybackFinished",
    "RecordingFailed",
    "RecordingFinished",
    "StasisStart",
)


class Channel(msgspec.Struct, frozen=True):
    """A channel as an event or an answer shows it. ``state``: ``Down``, ``Ringing``, ``Up`` and a few more."""

    id: str
    name: str = ""
    state: str = ""


class Playback(msgspec.Struct, frozen=True):
    """A prompt that plays or has played. ``state``: ``done``, ``failed`` and a few more."""

    id: str
    state: str = ""


class Recording(msgspec.Struct, frozen=True):
    """A recording under way or done."""

    name: str


class AriEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One event. Fields that its type does not have stay at their defaults.

    ``tech_cause`` is a SIP code, ``cause`` a Q.850 one; both are at times made up by Asterisk. ``soft``: a hang-up that
    this side asked for.
    """

    type: str
    channel: Channel | None = None
    peer: Channel | None = None  # of Dial
    dialstatus: str = ""
    args: list[str] = []
    cause: int | None = None
    tech_cause: int | None = None
    soft: bool = False
    digit: str = ""
    playback: Playback | None = None
    recording: Recording | None = None

    @property
    def begins(self) -> bool:
        """Whether its channel begins to be dialled, or is answered: after the channel's end neither comes."""
        return self.type == "StasisStart" or (self.type == "Dial" and not self.dialstatus)

    @property
    def about(self) -> Channel | None:
        """The channel that it is about."""
        return self.channel or self.peer


_event = msgspec.json.Decoder(AriEvent)
_channel = msgspec.json.Decoder(Channel)
_channels = msgspec.json.Decoder(list[Channel])


def read_event(text: str) -> AriEvent:
    """Read one event. Raises :class:`msgspec.DecodeError`."""
    return _event.decode(text)


def read_channel(body: bytes) -> Channel:
    """Read the answer to a question for one channel. Raises :class:`msgspec.DecodeError`."""
    return _channel.decode(body)


def read_channels(body: bytes) -> list[Channel]:
    """Read the list of all channels. Raises :class:`msgspec.DecodeError`."""
    return _channels.decode(body)
