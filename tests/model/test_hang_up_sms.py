"""Which calls a text message follows, and when it leaves."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringback.model.hang_up_sms import MAX_CONTENT, MAX_SECONDS, MAX_SENDER, HangUpSms, sent_after_seconds
from ringback.model.outcome import ANSWERED_OUTCOMES, FAILED_OUTCOMES, Outcome
from ringback.model.template import Hangup, Template

outcomes = st.sampled_from(Outcome)
pressed = st.text("0123456789*#", max_size=5)
settings = st.builds(
    lambda key, seconds, failure, ringing: (key, seconds, failure, ringing),
    st.none() | st.sampled_from("0123456789"),
    st.none() | st.integers(0, MAX_SECONDS),
    st.booleans(),
    st.booleans(),
).filter(lambda one: one != (None, None, False, False))


def sms(key: str | None, seconds: int | None, failure: bool, ringing: bool) -> HangUpSms:
    return HangUpSms(content="hi", on_key=key, on_success_after_seconds=seconds, on_failure=failure, on_ringing=ringing)


def only(**one: object) -> HangUpSms:
    return HangUpSms(**{"content": "hi", **one})  # type: ignore[arg-type]  # a table of members


@pytest.mark.parametrize("outcome", Outcome)
@pytest.mark.parametrize("rang", [True, False])
def test_each_trigger_alone(outcome: Outcome, rang: bool) -> None:
    answered = outcome in ANSWERED_OUTCOMES

    def after(of: HangUpSms, keys: str = "") -> int | None:
        return sent_after_seconds(of, outcome=outcome, keys=keys, rang=rang)

    assert after(only(on_key="1"), "12") == 0
    assert after(only(on_key="1"), "21") is None
    assert after(only(on_key="1")) is None
    assert after(only(on_success_after_seconds=60)) == (60 if answered else None)
    assert after(only(on_failure=True)) == (None if answered else 0)
    assert after(only(on_ringing=True)) == (0 if rang and not answered else None)


@given(settings, outcomes, pressed, st.booleans())
def test_several_triggers_are_the_earliest_of_each_alone(
    wanted: tuple[str | None, int | None, bool, bool], outcome: Outcome, keys: str, rang: bool
) -> None:
    nothing: tuple[None, None, bool, bool] = (None, None, False, False)
    alone = []
    for place, value in enumerate(wanted):
        if value is not None and value is not False:
            one = sms(*(value if at == place else nothing[at] for at in range(4)))  # type: ignore[arg-type]  # as above
            alone.append(sent_after_seconds(one, outcome=outcome, keys=keys, rang=rang))
    fired = [wait for wait in alone if wait is not None]
    assert sent_after_seconds(sms(*wanted), outcome=outcome, keys=keys, rang=rang) == min(fired, default=None)


@given(settings, st.sampled_from(sorted(FAILED_OUTCOMES)), st.booleans())
def test_success_alone_never_follows_a_failure(
    wanted: tuple[str | None, int | None, bool, bool], outcome: Outcome, rang: bool
) -> None:
    after = sent_after_seconds(sms(*wanted), outcome=outcome, keys="", rang=rang)
    assert after in (None, 0)
    assert (after == 0) == (wanted[2] or (wanted[3] and rang))


@pytest.mark.parametrize(
    ("wrong", "member"),
    [
        ({"content": ""}, "content"),
        ({"content": " "}, "content"),
        ({"content": "x" * (MAX_CONTENT + 1)}, "content"),
        ({"sender": "x" * (MAX_SENDER + 1)}, "sender"),
        ({"on_key": "*"}, "on_key"),
        ({"on_key": "12"}, "on_key"),
        ({"on_key": ""}, "on_key"),
        ({"on_key": "²"}, "on_key"),
        ({"on_success_after_seconds": -1}, "on_success_after_seconds"),
        ({"on_success_after_seconds": MAX_SECONDS + 1}, "on_success_after_seconds"),
        ({"on_failure": False}, "at least one"),
    ],
)
def test_what_is_out_of_range_is_named(wrong: dict[str, object], member: str) -> None:
    with pytest.raises(ValueError, match=member):
        HangUpSms(**{"content": "hi", "on_failure": True, **wrong})  # type: ignore[arg-type]  # wrong on purpose


def test_a_template_keeps_it_and_needs_its_variables() -> None:
    whole = HangUpSms(content="Dear ${text2}", sender="acme", on_key="1", on_success_after_seconds=5)
    template = Template(name="t", initial_node="a", nodes={"a": [Hangup()]}, sms=whole)
    stored = msgspec.json.encode(template)
    assert msgspec.json.decode(stored, type=Template) == template
    assert template.text_variables() == ("text2",)
    with pytest.raises(ValueError, match=r"sms\.content: \$\{text11\}"):
        Template(name="t", initial_node="a", nodes={"a": [Hangup()]}, sms=only(on_failure=True, content="${text11}"))
