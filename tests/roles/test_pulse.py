"""The pulse: a dead trunk gets 30 INVITEs and no more, and a trunk that lives again is dialled again, whatever was."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given, settings
from hypothesis import strategies as st

from ringback.model.breaker import MOST_UNANSWERED, Breaker, Verdict, after_call, closed, probing, without_strikes
from ringback.model.outcome import Outcome
from ringback.model.task import Limits
from ringback.roles.pulse import Placed, Pulse
from ringback.store.calls import CallResult
from ringback.store.leases import Lease

NOW_MS = 1_767_600_000_000
TRUNK = 1
CODES = {Verdict.ALIVE: 486, Verdict.REFUSED: 403, Verdict.ERROR: 503}


def lease_of(call_id: int, *, probe: bool) -> Lease:
    return Lease(
        call_id=call_id,
        lease_no=1,
        task_id=1,
        trunk_id=TRUNK,
        callee="4930000000",
        dialled="4930000000",
        caller_id="",
        texts=None,
        template_id=1,
        limits=Limits(),
        slot_us=0,
        probe=probe,
    )


class Line:
    """A trunk as its dialler and its breaker see it. ``woken`` counts the wake-ups."""

    def __init__(self) -> None:
        self.woken = 0
        self.pulse = Pulse(self._wake)
        self.breaker = Breaker()
        self.up: list[tuple[Lease, Placed]] = []
        self.calls = 0
        self.now = NOW_MS
        self.since_response = 0

    def _wake(self, trunk_id: int) -> None:
        assert trunk_id == TRUNK
        self.woken += 1

    def dial(self, wanted: int = 1) -> int:
        """Lease up to so many calls, and place those that the headroom lets leave. Returns how many that is."""
        offered = self.pulse.offer(TRUNK)
        probe = self.breaker.opened_at is not None
        if probe:
            retry = self.breaker.retry_ms(self.now)
            offered = 1 if retry is not None and retry <= self.now else 0
        count = min(wanted, offered)
        self.pulse.leased({TRUNK: count}, {TRUNK: self.breaker.closed_at})
        placed = 0
        while placed < count and (probe or self.pulse.headroom(TRUNK) > 0):
            placed += 1
            self.calls += 1
            if probe:
                self.breaker = probing(self.breaker, self.calls, self.now)
            else:
                self.since_response += 1
            self.up.append((lease_of(self.calls, probe=probe), self.pulse.placed(TRUNK)))
        return placed

    def end(self, index: int, verdict: Verdict, *, stored: bool = True) -> None:
        """A call ends so."""
        lease, placed = self.up.pop(index % len(self.up))
        raw = CallResult(
            call_id=lease.call_id,
            lease_no=1,
            outcome=Outcome.FAILED,
            ended_at=self.now,
            verdict=verdict,
            sip_code=CODES.get(verdict),
        )
        result = self.pulse.weighed(lease, placed, raw)
        if verdict in CODES:
            self.since_response = 0
        if verdict is Verdict.NEUTRAL:
            self.since_response -= 1
        if not stored:
            return
        if result.trunk_rang:
            self.breaker = without_strikes(self.breaker)
        self.breaker = after_call(self.breaker, lease.call_id, result.verdict, result.sip_code, self.now)

    def end_all(self, verdict: Verdict) -> None:
        while self.up:
            self.end(0, verdict)


steps = st.lists(
    st.one_of(
        st.tuples(st.just("dial"), st.integers(1, 40)),
        st.tuples(st.just("end"), st.sampled_from(Verdict)),
        st.tuples(st.just("silence"), st.integers(1, 40)),
        st.tuples(st.just("neutral"), st.integers(1, 40)),
        st.tuples(st.just("ring"), st.integers(0, 40)),
        st.tuples(st.just("reset"), st.none()),
        st.tuples(st.just("later"), st.integers(1, 400_000)),
    ),
    max_size=60,
)


def run(line: Line, story: Iterable[tuple[str, object]]) -> None:
    for what, value in story:
        number = value if isinstance(value, int) else 0
        if what == "dial":
            line.dial(number)
        elif what == "reset":
            line.breaker = closed(line.breaker, line.now)
        elif what == "later":
            line.now += number
        elif what == "ring" and line.up:
            lease, placed = line.up[number % len(line.up)]
            line.pulse.responded(TRUNK, placed, rang=True)
            if lease.probe:
                line.breaker = closed(line.breaker, line.now)
        elif what == "end" and line.up:
            line.end(0, value if isinstance(value, Verdict) else Verdict.NEUTRAL)
        elif what in ("silence", "neutral"):
            for _ in range(min(number, len(line.up))):
                line.end(0, Verdict.SILENT if what == "silence" else Verdict.NEUTRAL)


@settings(deadline=None, max_examples=300)
@given(steps)
def test_when_the_trunk_responds_again_dialling_resumes(story: list[tuple[str, object]]) -> None:
    line = Line()
    run(line, story)
    # From now on every call, and every one still up, gets its busy or its silence and the next ones a response.
    line.end_all(Verdict.SILENT)
    for _ in range(4):
        line.now += 310_000
        line.dial(100)
        line.end_all(Verdict.ALIVE)
    assert line.breaker.opened_at is None
    line.dial(0)
    assert line.dial(100) == MOST_UNANSWERED


@settings(deadline=None, max_examples=300)
@given(steps, st.lists(st.tuples(st.integers(1, 40), st.integers(0, 40)), min_size=1, max_size=30))
def test_a_trunk_that_died_gets_so_many_invites_and_then_single_probes(
    story: list[tuple[str, object]], rounds: list[tuple[int, int]]
) -> None:
    line = Line()
    run(line, story)
    line.dial(0)
    # Dead from here on.
    placed = line.calls
    probes = 0
    for wanted, ends in rounds:
        was_open = line.breaker.opened_at is not None
        dialled = line.dial(wanted)
        if was_open:
            assert dialled <= 1
            probes += dialled
        for _ in range(min(ends, len(line.up))):
            line.end(0, Verdict.SILENT)
        line.now += 1000
    assert line.calls - placed - probes <= MOST_UNANSWERED


def test_silence_that_brings_nothing_back_wakes_nobody_and_a_response_does() -> None:
    line = Line()
    assert line.dial(100) == MOST_UNANSWERED
    assert line.dial(1) == 0
    line.end(0, Verdict.SILENT)
    assert line.dial(1) == 0
    assert line.woken == 0
    line.pulse.responded(TRUNK, line.up[0][1], rang=False)
    assert line.woken == 1
    assert line.dial(100) == MOST_UNANSWERED


def test_calls_that_told_nothing_count_as_never_placed() -> None:
    line = Line()
    line.dial(100)
    line.dial(1)
    line.end_all(Verdict.NEUTRAL)
    assert line.woken >= 1
    assert line.dial(100) == MOST_UNANSWERED


def test_silence_is_nothing_when_others_were_heard_since() -> None:
    line = Line()
    line.dial(10)
    line.pulse.responded(TRUNK, line.up[-1][1], rang=True)
    line.end_all(Verdict.SILENT)
    assert line.breaker.opened_at is None
    assert line.breaker.strikes == 0


def test_what_earlier_calls_still_do_does_not_hide_that_later_ones_fail() -> None:
    line = Line()
    line.dial(5)
    old = [placed for _, placed in line.up]
    line.dial(10)
    for number in range(10):
        line.end(5, Verdict.ERROR)
        line.pulse.responded(TRUNK, old[number % 5], rang=True)
        if number == 4:
            line.end(0, Verdict.ALIVE)
            line.up.insert(0, (lease_of(99, probe=False), old[0]))
    assert line.breaker.opened_at is not None


def test_a_call_that_rings_after_failures_ends_their_run() -> None:
    line = Line()
    for _ in range(12):
        line.dial(2)
        line.end(0, Verdict.ERROR)
        line.pulse.responded(TRUNK, line.up[-1][1], rang=True)
    assert line.breaker.opened_at is None


def test_a_trunk_that_responds_is_offered_what_leaves_from_lease_to_lease() -> None:
    line = Line()
    assert line.dial(MOST_UNANSWERED) == MOST_UNANSWERED
    line.end_all(Verdict.ALIVE)
    for _ in range(100):
        line.pulse.responded(TRUNK, line.pulse.placed(TRUNK), rang=False)
    assert line.pulse.offer(TRUNK) == MOST_UNANSWERED + (MOST_UNANSWERED + 100)
    line.pulse.responded(TRUNK, line.pulse.placed(TRUNK), rang=False)
    # One slow lease does not make the next one small.
    assert line.pulse.offer(TRUNK) == MOST_UNANSWERED + (MOST_UNANSWERED + 100) // 2


def test_a_trunk_that_has_fallen_silent_is_offered_its_headroom_only() -> None:
    line = Line()
    for _ in range(100):
        line.pulse.responded(TRUNK, line.pulse.placed(TRUNK), rang=False)
    assert line.pulse.offer(TRUNK) == MOST_UNANSWERED + 100
    for _ in range(10):
        line.pulse.placed(TRUNK)
    assert line.pulse.offer(TRUNK) == MOST_UNANSWERED - 10
