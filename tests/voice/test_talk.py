"""What each step of a template means, seen from the leg."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from ringback.clock import VirtualClock
from ringback.model.template import Gather, Hangup, OnVoicemail, Pause, Play, Say, Step, Tag, Template, Transfer
from ringback.telephony.port import (
    CallEvent,
    Ended,
    HungUpBy,
    KeyPressed,
    MachineDetected,
    Prompt,
    PromptFinished,
    Ringing,
    TalkingStarted,
    Transferred,
)
from ringback.voice.prompts import PromptMaker
from ringback.voice.speech import Speech
from ringback.voice.talk import talk
from tests.voice.fake_leg import FakeLeg, converse

Script = list[tuple[float, CallEvent]]

ONE = Play("1s.wav")
TWO = Play("2s.wav")
THREE = Play("3s.wav")


def template(*steps: Step, **nodes: list[Step]) -> Template:
    """A template that begins with ``steps``; ``nodes`` are the others."""
    return Template(name="test", initial_node="first", nodes={"first": list(steps), **nodes})


def press(at: float, key: str) -> tuple[float, KeyPressed]:
    return at, KeyPressed(key)


def choice(**options: object) -> Gather:
    """A gather that goes to ``yes`` on 1 and to ``no`` on 2."""
    return Gather(**{"timeout": 5.0, "cases": {"1": "yes", "2": "no"}, **options})  # type: ignore[arg-type]  # test data


YES_NO: dict[str, list[Step]] = {"yes": [Tag("101")], "no": [Tag("102")]}


def test_steps_run_in_order_and_the_end_hangs_up() -> None:
    result, leg, took = converse(template(TWO, THREE, Tag("7")))
    assert leg.done == [(0.0, "play 2"), (2.0, "play 3"), (5.0, "hang up")]
    assert took == pytest.approx(5)
    assert result.reason == "template ended"
    assert result.ended.hung_up_by is HungUpBy.RINGBACK
    assert (result.intent, result.keys, result.machine) == ("7", "", False)


def test_hangup_ends_the_call_before_later_steps() -> None:
    result, leg, _ = converse(template(ONE, Hangup(), TWO, Tag("7")))
    assert [what for _, what in leg.done] == ["play 1", "hang up"]
    assert result.intent is None


def test_an_accepted_transfer_ends_the_conversation() -> None:
    result, leg, took = converse(template(ONE, Tag("7"), Transfer("100"), TWO, Tag("8")))
    assert leg.done[:2] == [(0.0, "play 1"), (1.0, "transfer 100")]
    assert took == pytest.approx(2)
    assert (result.reason, result.intent) == ("transferred", "7")
    assert result.ended.reason == "transferred"


def test_after_a_refused_transfer_the_next_step_runs() -> None:
    refused = Transferred(accepted=False, sip_code=486)
    result, leg, _ = converse(
        template(Transfer("100"), choice(), Transfer("200"), **YES_NO), [press(0.5, "1")], transfer=refused
    )
    assert leg.done == [(0.0, "transfer 100"), (1.0, "hang up")]
    assert (result.reason, result.intent) == ("template ended", "101")  # a key pressed meanwhile counts
    _, twice, _ = converse(template(Transfer("100"), Transfer("200")), transfer=refused)
    assert twice.done == [(0.0, "transfer 100"), (1.0, "transfer 200"), (2.0, "hang up")]


def test_the_target_of_a_transfer_can_be_a_text_variable() -> None:
    _, leg, _ = converse(template(Transfer("${text2}")), texts={"text2": " +4930123456 "})
    assert leg.done[0] == (0.0, "transfer +4930123456")


def test_a_target_that_the_engine_refuses_is_passed_over() -> None:
    result, leg, _ = converse(
        template(Transfer("${text1}"), ONE), texts={"text1": "Ann"}, transfer=ValueError("must be digits")
    )
    assert leg.done == [(0.0, "transfer Ann"), (0.0, "play 1"), (1.0, "hang up")]
    assert result.reason == "template ended"


def test_the_longest_duration_holds_during_a_transfer() -> None:
    result, leg, took = converse(template(Transfer("100")), max_seconds=0.5)
    assert (result.reason, took) == ("maximum duration", pytest.approx(0.5))
    assert leg.done[-1] == (0.5, "hang up")


def test_the_callee_hangs_up_during_a_transfer() -> None:
    result, leg, _ = converse(template(Transfer("100"), ONE), [(0.5, Ended(hung_up_by=HungUpBy.CALLEE))])
    assert result.reason == "callee hung up"
    assert leg.done == [(0.0, "transfer 100")]


def test_the_last_tag_is_the_intent() -> None:
    result, _, _ = converse(template(Tag("1"), Tag("2")))
    assert result.intent == "2"


def test_say_fills_in_the_texts() -> None:
    short, _, _ = converse(template(Say("${text1}")), texts={"text1": "word"})
    _, spoken, _ = converse(template(Say("${text1}")), texts={"text1": "word " * 5})
    _, silent, _ = converse(template(Say("${text1}")), texts={})
    assert short.reason == "template ended"
    assert spoken.done[0] == (0.0, "play 1.25")  # five words of notes
    assert silent.done == [(0.0, "hang up")]  # nothing to say, nothing is played


def test_a_key_in_a_gather_stops_its_prompt_and_chooses() -> None:
    result, leg, _ = converse(template(choice(prompt=THREE), **YES_NO), [press(1.2, "2")])
    assert leg.done == [(0.0, "play 3"), (1.2, "stop"), (1.2, "hang up")]
    assert (result.intent, result.keys) == ("102", "2")


def test_the_timeout_of_a_gather_runs_from_the_end_of_its_prompt() -> None:
    result, leg, _ = converse(template(choice(prompt=TWO, default="no"), **YES_NO))
    assert leg.done == [(0.0, "play 2"), (7.0, "hang up")]
    assert result.intent == "102"


def test_a_key_just_before_the_timeout_counts() -> None:
    result, _, took = converse(template(choice(default="no"), **YES_NO), [press(4.99, "1")])
    assert result.intent == "101"
    assert took == pytest.approx(4.99)


def test_without_a_default_the_next_step_follows() -> None:
    result, leg, _ = converse(template(choice(), ONE, Tag("9"), **YES_NO))
    assert leg.done == [(5.0, "play 1"), (6.0, "hang up")]
    assert result.intent == "9"


def test_a_key_that_is_no_case_goes_to_the_default_at_once() -> None:
    result, _, took = converse(template(choice(default="no"), **YES_NO), [press(1, "7")])
    assert result.intent == "102"
    assert took == pytest.approx(1)


def test_a_key_that_is_not_accepted_neither_stops_the_prompt_nor_restarts_the_timeout() -> None:
    script = [press(1, "7"), press(4, "A"), press(6, "1")]
    result, leg, _ = converse(template(choice(prompt=TWO, keys="12", timeout=5), **YES_NO), script)
    assert leg.done == [(0.0, "play 2"), (6.0, "hang up")]
    assert (result.intent, result.keys) == ("101", "7A1")


def test_keys_before_a_gather_are_kept_for_it_and_its_prompt_is_left_out() -> None:
    result, leg, _ = converse(template(TWO, choice(prompt=THREE), **YES_NO), [press(0.5, "2")])
    assert leg.done == [(0.0, "play 2"), (2.0, "hang up")]  # the first prompt is heard to its end
    assert result.intent == "102"


def test_a_gather_takes_no_more_keys_than_it_asks_for() -> None:
    steps = (ONE, choice(), choice(), ONE)
    result, leg, _ = converse(
        template(*steps, yes=[choice(), Tag("1")], no=[Tag("2"), ONE]), [press(0.1, "1"), press(0.2, "2")]
    )
    assert leg.done == [(0.0, "play 1"), (1.0, "play 1"), (2.0, "hang up")]
    assert (result.intent, result.keys) == ("2", "12")


def test_several_keys_end_with_the_last_or_with_the_timeout_after_each() -> None:
    asked = Gather(max_keys=3, timeout=4, cases={"123": "yes", "12": "no"})
    whole, _, took = converse(template(asked, **YES_NO), [press(3, "1"), press(6, "2"), press(9, "3")])
    assert whole.intent == "101"
    assert took == pytest.approx(9)
    part, _, took = converse(template(asked, **YES_NO), [press(3, "1"), press(6, "2")])
    assert part.intent == "102"
    assert took == pytest.approx(10)
    assert part.keys == "12"


def test_some_keys_typed_ahead_leave_the_prompt_out_and_wait_for_the_rest() -> None:
    asked = Gather(prompt=THREE, max_keys=2, timeout=4, cases={"12": "yes"})
    result, leg, took = converse(template(ONE, asked, yes=[Tag("1")]), [press(0.5, "1"), press(3, "2")])
    assert [what for _, what in leg.done] == ["play 1", "hang up"]
    assert result.intent == "1"
    assert took == pytest.approx(3)


def test_keys_pressed_while_nobody_asks_are_still_reported() -> None:
    result, _, _ = converse(template(TWO), [press(0.5, "4"), press(1, "#"), press(1.5, "*")])
    assert result.keys == "4#*"


# --- prompts that may be interrupted ---

OPEN = Play("3s.wav", barge_in=True)


def speak(at: float) -> tuple[float, TalkingStarted]:
    return at, TalkingStarted()


@pytest.mark.parametrize("happens", [speak(1.2), press(1.2, "7")], ids=["speech", "key"])
def test_speech_or_a_key_stops_a_prompt_that_may_be_interrupted_and_the_next_step_runs(
    happens: tuple[float, CallEvent],
) -> None:
    result, leg, _ = converse(template(OPEN, Tag("7"), TWO), [happens])
    assert leg.done == [(0.0, "play 3"), (1.2, "stop"), (1.2, "play 2"), (3.2, "hang up")]
    assert (result.reason, result.intent) == ("template ended", "7")


def test_a_prompt_that_may_not_be_interrupted_plays_on() -> None:
    _, leg, _ = converse(template(THREE, TWO), [speak(1.2), press(1.4, "1")])
    assert leg.done == [(0.0, "play 3"), (3.0, "play 2"), (5.0, "hang up")]


def test_an_interruption_is_of_one_prompt_only() -> None:
    _, leg, _ = converse(template(OPEN, OPEN, OPEN), [speak(1), speak(2)])
    assert leg.done == [
        (0.0, "play 3"), (1.0, "stop"), (1.0, "play 3"), (2.0, "stop"), (2.0, "play 3"), (5.0, "hang up"),
    ]  # fmt: skip


def test_what_began_before_the_prompt_does_not_stop_it() -> None:
    _, leg, _ = converse(template(TWO, OPEN), [speak(0.5), press(1, "4"), speak(1.5)])
    assert leg.done == [(0.0, "play 2"), (2.0, "play 3"), (5.0, "hang up")]


def test_a_prompt_that_nobody_interrupts_plays_to_its_end() -> None:
    _, leg, _ = converse(template(OPEN, Tag("1")))
    assert leg.done == [(0.0, "play 3"), (3.0, "hang up")]


def test_speech_stops_the_prompt_of_a_gather_which_then_waits_for_keys() -> None:
    steps = template(choice(prompt=OPEN, default="no"), **YES_NO)
    pressed, leg, _ = converse(steps, [speak(1), press(4, "1")])
    assert leg.done == [(0.0, "play 3"), (1.0, "stop"), (4.0, "hang up")]
    assert pressed.intent == "101"
    timed_out, leg, _ = converse(steps, [speak(1)])
    assert leg.done == [(0.0, "play 3"), (1.0, "stop"), (6.0, "hang up")]
    assert timed_out.intent == "102"


def test_speech_does_not_stop_the_prompt_of_a_gather_that_may_not_be_interrupted() -> None:
    _, leg, _ = converse(template(choice(prompt=THREE), **YES_NO), [speak(1), speak(4)])
    assert leg.done == [(0.0, "play 3"), (8.0, "hang up")]


def test_a_key_that_the_gather_does_not_accept_does_not_stop_its_prompt_either() -> None:
    _, leg, _ = converse(template(choice(prompt=OPEN, keys="12"), **YES_NO), [press(1, "7")])
    assert leg.done == [(0.0, "play 3"), (8.0, "hang up")]


def test_a_key_that_interrupted_is_kept_for_the_next_gather() -> None:
    result, leg, _ = converse(template(OPEN, choice(prompt=TWO), **YES_NO), [press(1, "2")])
    assert leg.done == [(0.0, "play 3"), (1.0, "stop"), (1.0, "hang up")]
    assert result.intent == "102"


def test_a_pause_is_silent_and_keeps_keys_for_the_next_gather() -> None:
    result, leg, took = converse(
        template(ONE, Pause(2.5), choice(prompt=TWO), **YES_NO), [press(1.2, "5"), press(2, "1")]
    )
    assert leg.done == [(0.0, "play 1"), (3.5, "hang up")]
    assert took == pytest.approx(3.5)
    assert (result.intent, result.keys) == (None, "51")


def test_a_pause_ends_with_the_call_and_with_the_longest_duration() -> None:
    result, _, took = converse(template(Pause(999), Tag("1")), [(4, Ended(hung_up_by=HungUpBy.CALLEE))])
    assert (result.reason, result.intent) == ("callee hung up", None)
    assert took == pytest.approx(4)
    result, _, took = converse(template(Pause(999), Tag("1")), max_seconds=10)
    assert (result.reason, result.intent) == ("maximum duration", None)
    assert took == pytest.approx(10)


def test_the_callee_hangs_up_during_a_prompt() -> None:
    end = Ended(hung_up_by=HungUpBy.CALLEE)
    result, leg, took = converse(template(THREE, Tag("1")), [press(0.5, "4"), (1, end)])
    assert leg.done == [(0.0, "play 3")]
    assert took == pytest.approx(1)
    assert (result.ended, result.reason, result.keys, result.intent) == (end, "callee hung up", "4", None)


def test_the_callee_hangs_up_during_a_gather() -> None:
    result, _, took = converse(template(Tag("5"), choice(), **YES_NO), [(2, Ended(hung_up_by=HungUpBy.CALLEE))])
    assert took == pytest.approx(2)
    assert result.intent == "5"


def test_the_engine_loses_the_call() -> None:
    end = Ended(engine_failed=True, reason="engine process died")
    result, _, _ = converse(template(THREE), [(1, end)])
    assert result.ended.engine_failed
    assert result.reason == "engine process died"


def test_a_machine_is_hung_up_on_at_once() -> None:
    result, leg, _ = converse(template(THREE, Tag("1")), [(1.5, MachineDetected())])
    assert leg.done == [(0.0, "play 3"), (1.5, "stop"), (1.5, "hang up")]
    assert (result.machine, result.reason, result.intent) == (True, "answering machine", None)


def test_a_machine_is_spoken_to_when_the_template_says_so() -> None:
    patient = msgspec.structs.replace(template(THREE, Tag("1")), on_voicemail=OnVoicemail.CONTINUE)
    result, leg, _ = converse(patient, [(1.5, MachineDetected())])
    assert leg.done == [(0.0, "play 3"), (3.0, "hang up")]
    assert (result.machine, result.reason, result.intent) == (True, "template ended", "1")


@pytest.mark.parametrize("finishes_prompts", [True, False])
def test_the_longest_duration_is_held(finishes_prompts: bool) -> None:
    result, leg, took = converse(template(TWO, THREE), max_seconds=3.5, finishes_prompts=finishes_prompts)
    assert leg.done[-2:] == [(3.5, "stop"), (3.5, "hang up")]
    assert took == pytest.approx(3.5)
    assert result.reason == "maximum duration"


def test_the_longest_duration_is_held_in_a_gather() -> None:
    result, leg, _ = converse(template(choice(timeout=60), **YES_NO), max_seconds=10)
    assert leg.done == [(10.0, "hang up")]
    assert result.reason == "maximum duration"


def test_a_template_that_goes_round_is_stopped() -> None:
    visits = [Gather(timeout=1, default="first")]
    result, _, took = converse(template(*visits))
    assert took == pytest.approx(51)  # fifty changes of node, so fifty-one visits
    assert result.reason == "more than 50 node changes"


def test_fifty_node_changes_are_allowed() -> None:
    nodes: dict[str, list[Step]] = {f"n{i}": [Gather(timeout=1, default=f"n{i + 1}")] for i in range(1, 50)}
    result, _, _ = converse(template(Gather(timeout=1, default="n1"), **nodes, n50=[Tag("end")]))
    assert (result.intent, result.reason) == ("end", "template ended")


def test_an_engine_that_never_reports_the_end() -> None:
    result, _, took = converse(template(ONE), [press(2, "5")], reports_end=False)
    assert took == pytest.approx(6)
    assert result.ended == Ended(
        engine_failed=False, hung_up_by=HungUpBy.RINGBACK, reason="no end reported by the engine"
    )
    assert result.keys == "5"  # what is pressed while waiting is not lost


def test_a_machine_noticed_after_hanging_up_is_noted() -> None:
    result, _, _ = converse(template(ONE), [(2, MachineDetected())], reports_end=False)
    assert (result.machine, result.reason) == (True, "template ended")


def test_progress_that_comes_late_means_nothing() -> None:
    result, leg, _ = converse(template(TWO), [(1, Ringing())])
    assert leg.done == [(0.0, "play 2"), (2.0, "hang up")]
    assert result.reason == "template ended"


def test_a_missing_file_does_not_end_the_call() -> None:
    result, leg, _ = converse(template(Play("gone.wav"), Tag("1")), audio={})
    assert [what.split()[0] for _, what in leg.done] == ["play", "hang"]
    assert result.intent == "1"


def test_the_end_of_a_stopped_prompt_is_not_taken_for_the_end_of_the_next() -> None:
    """The prompt ended as keys were pressed: its end waits behind them, and the next prompt begins meanwhile."""
    script: Script = [press(0.5, "1"), press(0.5, "7"), (0.5, PromptFinished())]
    _, leg, _ = converse(template(choice(prompt=THREE), yes=[TWO], no=[TWO]), script)
    assert leg.done == [(0.0, "play 3"), (0.5, "stop"), (0.5, "play 2"), (2.5, "hang up")]


def test_what_happens_while_a_prompt_is_made_is_not_missed() -> None:
    """Speech can take seconds: the callee may have gone, and the longest duration runs on."""
    clock = VirtualClock()

    class Slow(PromptMaker):
        async def prompt(self, *_: Any) -> Prompt:  # type: ignore[override]  # whatever is asked for
            await clock.sleep(20)
            return Prompt("slow", bytes(16_000))

    async def main(script: Script, max_seconds: float) -> tuple[str, float]:
        leg = FakeLeg(clock, script)
        began = clock.monotonic()
        result = await talk(
            leg, template(Say("x")), texts={}, prompts=Slow(Speech(clock, None)), max_seconds=max_seconds, clock=clock
        )
        await leg.close()
        return result.reason, clock.monotonic() - began

    gone: Script = [(3, Ended(hung_up_by=HungUpBy.CALLEE))]
    reason, took = clock.run(main(gone, 100))
    assert reason == "callee hung up"
    assert took == pytest.approx(3)
    reason, took = clock.run(main([], 10))
    assert reason == "maximum duration"
    assert took == pytest.approx(10)


def test_a_cancelled_conversation_leaves_nothing_waiting() -> None:
    clock = VirtualClock()

    async def main() -> set[asyncio.Task[Any]]:
        leg = FakeLeg(clock)
        prompts = PromptMaker(Speech(clock, None), {"3s.wav": bytes(48_000)})
        talking = asyncio.create_task(
            talk(leg, template(THREE), texts={}, prompts=prompts, max_seconds=60, clock=clock)
        )
        await clock.sleep(1)
        talking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await talking
        await leg.close()
        await clock.sleep(0)
        return {task for task in asyncio.all_tasks() if task is not asyncio.current_task()}

    assert clock.run(main()) == set()
