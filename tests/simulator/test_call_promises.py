"""Each promise about a call is seen to be broken when it is, and only then."""

from __future__ import annotations

from ringback.model.windows import parse_window
from ringback.simulator import call_promises as promises
from ringback.simulator.book import Outage
from simulator.worlds import PERSON, SECOND_US, START_US, book, place


def test_at_most_once() -> None:
    kept = book()
    assert promises.at_most_once(place(kept), kept) is None
    assert promises.at_most_once(place(kept, task_id=2), kept) is None, "another task may dial the same number"
    assert promises.at_most_once(place(kept), kept) is not None


def test_claimed_before_the_invite() -> None:
    kept = book()
    assert promises.claimed_first(place(kept), kept) is None
    for state in ("queued", "ended", "cancelled", ""):
        kept.state_of = lambda _call_id, state=state: state
        assert promises.claimed_first(place(kept), kept) is not None


def test_calls_per_second() -> None:
    kept = book()  # two a second
    assert all(promises.spread(place(kept, after_us=at), kept) is None for at in (0, 1, 2))
    assert promises.spread(place(kept, after_us=SECOND_US - 1), kept) is not None
    assert promises.spread(place(kept, after_us=SECOND_US + 1), kept) is None


def test_lines_of_a_trunk() -> None:
    kept = book()  # two channels
    first = place(kept)
    assert promises.lines_of_trunk(place(kept), kept) is None
    assert promises.lines_of_trunk(place(kept), kept) is not None
    first.ended_us = START_US
    kept.calls[1].ended_us = START_US
    assert promises.lines_of_trunk(place(kept), kept) is None


def test_lines_of_a_task_and_of_its_rounds() -> None:
    kept = book(lines=1)
    assert promises.lines_of_task(place(kept), kept) is None
    assert promises.lines_of_task(place(kept, task_id=2), kept) is None
    assert promises.lines_of_task(place(kept, task_id=2), kept) is not None


def test_calling_windows_in_the_callees_zone() -> None:
    kept = book(windows=(parse_window("09:00", "09:10"),))
    assert promises.inside_windows(place(kept), kept) is None
    assert promises.inside_windows(place(kept, "121255500000"), kept) is not None, "it is three in the night"
    assert promises.inside_windows(place(kept, "999120000000"), kept) is not None, "nobody knows where that is"
    assert promises.inside_windows(place(kept, after_us=601 * SECOND_US), kept) is not None
    kept.tolerance_us = 2 * SECOND_US
    assert promises.inside_windows(place(kept, after_us=601 * SECOND_US), kept) is None


def test_a_window_round_midnight() -> None:
    kept = book(windows=(parse_window("22:00", "09:01"),))
    assert promises.inside_windows(place(kept), kept) is None
    assert promises.inside_windows(place(kept, after_us=61 * SECOND_US), kept) is not None


def test_stop_means_stop() -> None:
    kept = book()
    assert promises.stop_means_stop(place(kept), kept) is None
    kept.stopped[1] = "pause"
    assert promises.stop_means_stop(place(kept), kept) is not None


def test_denied_numbers() -> None:
    kept = book()
    assert promises.denied_is_spared(place(kept, PERSON), kept) is None
    assert promises.denied_is_spared(place(kept, "881620000000"), kept) is not None


def test_a_dead_trunk_is_spared() -> None:
    kept = book()
    kept.outages["t1"] = Outage(START_US)
    found = [promises.dead_trunk_is_spared(place(kept, f"4930{number:05d}"), kept) for number in range(60)]
    assert found[:50] == [None] * 50
    assert found[-1] is not None
    kept.outages["t1"].starts = 1
    assert promises.dead_trunk_is_spared(place(kept), kept) is None, "a new worker has to find out for itself"


def test_every_promise_is_asked() -> None:
    assert set(promises.OF_A_CALL.values()) == {
        value
        for name, value in vars(promises).items()
        if callable(value) and getattr(value, "__module__", "") == promises.__name__ and not name.startswith("_")
    }
