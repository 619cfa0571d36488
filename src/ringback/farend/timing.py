"""How long the carrier rings, listens and waits: one value, so that tests can be quick without changing behaviour."""

from __future__ import annotations

import msgspec

from ringback.model import sandbox_numbers


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """Durations in seconds. The defaults are what the test numbers promise."""

    ring: float = sandbox_numbers.RING_SECONDS
    longest_listen: float = sandbox_numbers.LONGEST_LISTEN_SECONDS  # from the answer until the callee hangs up
    hangs_up_after: float = sandbox_numbers.HANGS_UP_AFTER_SECONDS
    voicemail_greeting: float = sandbox_numbers.VOICEMAIL_GREETING_SECONDS
    early_media: float = sandbox_numbers.EARLY_MEDIA_SECONDS
    #: Silence that tells a key-presser that the prompt is over; shorter gaps are between words.
    prompt_silence: float = 0.4
    #: Without any prompt the key is pressed after this long.
    no_prompt: float = 5.0
    #: A phone that nobody answers stops ringing after this long (RFC 3261's timer C), so that a caller who died
    #: without CANCEL leaves nothing behind.
    longest_ring: float = 180.0
    #: RFC 3261's T1, the estimate of a round trip; retransmissions double from it and give up after 64 of it.
    t1: float = 0.5

    @property
    def give_up(self) -> float:
        """After how long an unanswered message is given up (64 times T1)."""
        return 64 * self.t1
