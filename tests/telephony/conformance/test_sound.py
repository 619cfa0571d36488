"""What is on the call itself: prompts that stop, recordings, transfers."""

from __future__ import annotations

import math
import struct
import wave
from pathlib import Path

import pytest

from ringback.telephony.port import SAMPLE_RATE, KeyPressed, PromptFinished, TalkingStarted, Transferred
from tests.telephony.conformance.engines import ENGINES, marks, why_not
from tests.telephony.conformance.run import Seen
from tests.telephony.conformance.table import BY_NAME
from tests.telephony.conformance.talks import CALLEE_HERTZ, HEARD_HERTZ
from tests.telephony.sip_peer import tone

#: Two seconds of prompt, in whole packets, may lose or win a little at its ends.
SLACK_SECONDS = 0.2


def loud_seconds(seen: Seen) -> float:
    """How long the peer heard something."""
    assert seen.peer_call is not None
    samples = seen.peer_call.heard()
    packets = [samples[start : start + 160] for start in range(0, len(samples), 160)]
    return sum(0.02 for packet in packets if max(map(abs, packet)) > 1_000)


def loudness(samples: list[int], hertz: float) -> float:
    """Amplitude of this frequency (Goertzel), in the samples' unit."""
    turn = 2 * math.pi * hertz / SAMPLE_RATE
    real = sum(sample * math.cos(turn * n) for n, sample in enumerate(samples))
    imaginary = sum(sample * math.sin(turn * n) for n, sample in enumerate(samples))
    return 2 * math.hypot(real, imaginary) / len(samples)


def recorded(path: Path) -> list[int]:
    with wave.open(str(path)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (SAMPLE_RATE, 1, 2)
        data = file.readframes(file.getnframes())
    return list(struct.unpack(f"<{len(data) // 2}h", data))


# --- one check for each case ---


def a_key_stops_the_prompt(seen: Seen) -> None:
    assert KeyPressed("5") in seen.events
    assert PromptFinished() not in seen.events
    # It began at the answer; the key came half a second later, and the call ended a second after that.
    assert 0.3 < loud_seconds(seen) < 0.9


def a_prompt_plays_on_when_keys_do_not_stop_it(seen: Seen) -> None:
    assert seen.events.index(KeyPressed("#")) < seen.events.index(PromptFinished())
    assert loud_seconds(seen) == pytest.approx(1.5, abs=SLACK_SECONDS)


def speech_stops_a_prompt_that_may_be_interrupted(seen: Seen) -> None:
    assert TalkingStarted() in seen.events
    assert PromptFinished() not in seen.events
    # The callee began half a second after the answer; that it is speech takes up to 0.3 s to tell.
    assert 0.4 < loud_seconds(seen) < 1.2


def a_prompt_plays_on_when_speech_does_not_stop_it(seen: Seen) -> None:
    assert TalkingStarted() not in seen.events
    assert loud_seconds(seen) == pytest.approx(8.0, abs=SLACK_SECONDS)


def a_key_stops_a_prompt_that_may_be_interrupted_and_is_no_speech(seen: Seen) -> None:
    assert TalkingStarted() not in seen.events
    a_key_stops_the_prompt(seen)


def a_prompt_plays_on_when_nobody_speaks(seen: Seen) -> None:
    assert TalkingStarted() not in seen.events
    assert loud_seconds(seen) == pytest.approx(2.0, abs=SLACK_SECONDS)


def a_recording_has_both_sides_and_hinders_no_prompt(seen: Seen) -> None:
    assert seen.ended.recorded
    assert loud_seconds(seen) == pytest.approx(2.0, abs=SLACK_SECONDS)
    assert seen.recording is not None
    samples = recorded(seen.recording)
    assert seen.result is not None
    assert seen.result.talk_ms is not None
    assert len(samples) / SAMPLE_RATE == pytest.approx(seen.result.talk_ms / 1000, abs=1.0)
    both = samples[SAMPLE_RATE * 3 // 10 : SAMPLE_RATE * 7 // 10]  # both are heard, from 0.3 s to 0.7 s
    assert loudness(both, HEARD_HERTZ) > 1_000, "our side"
    assert loudness(both, CALLEE_HERTZ) > 1_000, "the callee's side"
    assert loudness(both, 2_500) < 500, "and nothing else"


def a_transfer_is_asked_of_the_trunk(seen: Seen) -> None:
    (told,) = (event for event in seen.events if isinstance(event, Transferred))
    assert told.accepted
    assert seen.peer_call is not None
    (refer,) = (message for message in seen.peer_call.messages if message.method == "REFER")
    assert "sip:4930999@" in refer.headers["refer-to"]


def a_refused_transfer_leaves_the_call_up(seen: Seen) -> None:
    told = [event for event in seen.events if isinstance(event, Transferred)]
    assert told == [Transferred(accepted=False, sip_code=603)]
    assert loud_seconds(seen) == pytest.approx(0.4, abs=SLACK_SECONDS), "it talks on"


CHECKS = {
    "barge_in": a_key_stops_the_prompt,
    "keys_during_a_prompt": a_prompt_plays_on_when_keys_do_not_stop_it,
    "speaks": speech_stops_a_prompt_that_may_be_interrupted,
    "speaks_in_vain": a_prompt_plays_on_when_speech_does_not_stop_it,
    "key_where_speech_interrupts": a_key_stops_a_prompt_that_may_be_interrupted_and_is_no_speech,
    "sounds_that_are_no_speech": a_prompt_plays_on_when_nobody_speaks,
    "recording": a_recording_has_both_sides_and_hinders_no_prompt,
    "transfer": a_transfer_is_asked_of_the_trunk,
    "transfer_refused": a_refused_transfer_leaves_the_call_up,
}


@pytest.mark.parametrize(
    ("engine", "case"),
    [
        pytest.param(engine, case, marks=marks(engine), id=f"{engine}-{case}")
        for engine in ENGINES
        for case in CHECKS
        if why_not(engine, BY_NAME[case]) is None
    ],
)
def test_what_was_heard(engine: str, case: str, runs) -> None:
    CHECKS[case](runs(engine)[case])


def test_frequencies_are_told_apart() -> None:
    samples = tone(1.0, hertz=HEARD_HERTZ, amplitude=5_000)
    assert loudness(samples, HEARD_HERTZ) == pytest.approx(5_000, rel=0.01)
    assert loudness(samples, CALLEE_HERTZ) < 50
