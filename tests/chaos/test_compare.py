"""Each check of the comparison finds what breaks its promise, and nothing where all were kept."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from chaos import compare
from chaos.compare import Check
from chaos.evidence import MS, CallRow, Evidence, Seen, WorkerRow
from chaos.limits import every_limit
from tests.chaos.stories import OTHER_CALLER, T0, kept, row, seen, task


def broken(evidence: Evidence) -> set[str]:
    return {check.promise for check in [*compare.every_check(evidence), *every_limit(evidence)] if check.broken}


def test_a_run_that_kept_every_promise_breaks_none() -> None:
    checks = [*compare.every_check(kept()), *every_limit(kept())]
    assert {check.promise: check.broken for check in checks if check.broken} == {}
    assert all(check.checked for check in checks), "each check looked at something"


def late_copy(evidence: Evidence, index: int, by_ms: int) -> Seen:
    """The same call once more, with a Call-ID of its own."""
    first = evidence.seen[index]
    return seen(
        first.call or 0,
        first.task or 0,
        first.callee,
        first.at_ns // MS - T0 + by_ms,
        (first.ended_ns or 0) // MS - T0 + by_ms,
        trunk="b" if by_ms > 2_000 else "a",
    )


def stranger(evidence: Evidence) -> None:
    evidence.seen[1].call = 99


def wrong_number(evidence: Evidence) -> None:
    evidence.seen[1].callee = "4999"


def wrong_caller_id(evidence: Evidence) -> None:
    evidence.seen[1].caller = OTHER_CALLER


def dialled_and_given_back(evidence: Evidence) -> None:
    evidence.calls[1] = CallRow(id=2, task_id=1, callee="4902", state="cancelled")


def twice(evidence: Evidence) -> None:
    evidence.seen.append(late_copy(evidence, 1, 300))


def twice_and_lied(evidence: Evidence) -> None:
    """The second INVITE claims to be that of the next round."""
    again = late_copy(evidence, 1, 300)
    again.call, again.task = 4, 2
    del evidence.seen[4]
    evidence.seen.append(again)


def before_its_lease(evidence: Evidence) -> None:
    evidence.seen[1].at_ns = (T0 + 1_099 - compare.CLOCK_MS) * MS


def after_its_result(evidence: Evidence) -> None:
    evidence.calls[1].ended_at = T0 + 1_120 - compare.TRANSIT_MS - 2


def lost(evidence: Evidence) -> None:
    evidence.calls[6].state = "queued"


def still_dialling(evidence: Evidence) -> None:
    evidence.calls[4] = row(5, 2, "4903", 5_100, 5_600, state="dialling", outcome=None, sip_code=None)


def counter_off(evidence: Evidence) -> None:
    evidence.tasks[0].answered, evidence.tasks[0].failed = 2, 1


def total_off(evidence: Evidence) -> None:
    evidence.tasks[0].total = 4


def worker_left(evidence: Evidence) -> None:
    evidence.workers.append(WorkerRow(id=4, pid=14))


def no_such_answer(evidence: Evidence) -> None:
    evidence.seen[0].answered_ns, evidence.seen[0].code = None, 486


def wrong_code(evidence: Evidence) -> None:
    evidence.calls[1].sip_code = 603


def code_from_nowhere(evidence: Evidence) -> None:
    del evidence.seen[1]


def given_up_without_a_settler(evidence: Evidence) -> None:
    evidence.calls[1].sip_code, evidence.seen[1].code = 487, None


def round_too_early(evidence: Evidence) -> None:
    evidence.tasks[0].finished_at = T0 + 3_021


def round_holds_too_many(evidence: Evidence) -> None:
    evidence.calls.append(CallRow(id=8, task_id=2, callee="4901", state="cancelled"))
    evidence.tasks[1].total, evidence.tasks[1].cancelled = 3, 1


def round_lacks_one(evidence: Evidence) -> None:
    evidence.calls[0].outcome, evidence.calls[0].sip_code = "failed", None
    evidence.tasks[0].answered, evidence.tasks[0].failed = 0, 3


def dialled_while_paused(evidence: Evidence) -> None:
    evidence.stops[0].from_ns, evidence.stops[0].until_ns = (T0 + 1_000) * MS, (T0 + 1_400) * MS


def dialled_after_cancel(evidence: Evidence) -> None:
    evidence.stops[1].from_ns = (T0 + 1_320 - compare.TRANSIT_MS - 1) * MS


def takeover_late(evidence: Evidence) -> None:
    evidence.killed[0].settled_ns = evidence.killed[0].at_ns + round((1 + compare.SETTLING_SECONDS) * 1e9) + 1


def takeover_never(evidence: Evidence) -> None:
    evidence.killed[0].settled_ns = None


def thawed_and_wrote(evidence: Evidence) -> None:
    evidence.calls[2].outcome = "answered"
    evidence.calls[2].reason = "written after it was fenced off"


def thawed_and_dialled(evidence: Evidence) -> None:
    evidence.calls[2].started_at = T0 + 1_200
    evidence.frozen[0].at_ns = (T0 + 1_220 - compare.TRANSIT_MS - 1) * MS


def not_fenced(evidence: Evidence) -> None:
    evidence.workers[2].fenced_at = None


def made_twice(evidence: Evidence) -> None:
    evidence.tasks.append(task(4, total=0, name="task1"))


def made_never(evidence: Evidence) -> None:
    evidence.asked_twice["task9"] = 0


def told_twice(evidence: Evidence) -> None:
    evidence.asked_twice["task1"] = 2


def stands_still(evidence: Evidence) -> None:
    evidence.back[0].seconds = None


def goes_on_late(evidence: Evidence) -> None:
    evidence.back[0].seconds = compare.BACK_SECONDS + 1


def too_fast(evidence: Evidence) -> None:
    evidence.limits.rate["a"] = 1.0


def trunk_too_full(evidence: Evidence) -> None:
    evidence.limits.channels["a"] = 2


def task_too_full(evidence: Evidence) -> None:
    evidence.limits.task_lines[1] = 2


def account_too_full(evidence: Evidence) -> None:
    evidence.limits.account_lines[1] = 3


KNOWN = "every INVITE is a call of the store"
ONCE = "dialled at most once in a task"
ONCE_BY_TIME = "the same, told by caller ids and times only"
IN_TIME = "dialled after its lease, before its result"
CODES = "a stored SIP code is the carrier's"


@pytest.mark.parametrize(
    ("breaks", "promises"),
    [
        (stranger, {KNOWN}),
        (wrong_number, {KNOWN}),
        (wrong_caller_id, {KNOWN}),
        (dialled_and_given_back, {KNOWN}),
        (twice, {ONCE, ONCE_BY_TIME}),
        (twice_and_lied, {ONCE_BY_TIME, IN_TIME}),
        (before_its_lease, {IN_TIME}),
        (after_its_result, {IN_TIME}),
        (lost, {"no number lost"}),
        (still_dialling, {"no worker holds a call"}),
        (counter_off, {"counters equal rows"}),
        (total_off, {"counters equal rows"}),
        (worker_left, {"no worker holds a call"}),
        (no_such_answer, {"a stored answer is the carrier's"}),
        (wrong_code, {CODES}),
        (code_from_nowhere, {CODES}),
        (given_up_without_a_settler, {CODES}),
        (round_too_early, {"rounds recall the failed, never early"}),
        (round_holds_too_many, {"rounds recall the failed, never early"}),
        (round_lacks_one, {"rounds recall the failed, never early"}),
        (dialled_while_paused, {"stop means stop"}),
        (dialled_after_cancel, {"stop means stop"}),
        (takeover_late, {"a killed dialler is taken over"}),
        (takeover_never, {"a killed dialler is taken over"}),
        (thawed_and_wrote, {"a fenced dialler does nothing more"}),
        (thawed_and_dialled, {"a fenced dialler does nothing more"}),
        (not_fenced, {"a fenced dialler does nothing more"}),
        (made_twice, {"a repeated request makes one task"}),
        (made_never, {"a repeated request makes one task"}),
        (told_twice, {"a repeated request makes one task"}),
        (stands_still, {"dialling goes on by itself"}),
        (goes_on_late, {"dialling goes on by itself"}),
        (too_fast, {"calls per second of trunk a"}),
        (trunk_too_full, {"lines of trunk a"}),
        (task_too_full, {"lines of task 1"}),
        (account_too_full, {"lines of account 1"}),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_broken_promise_is_found(breaks: Callable[[Evidence], None], promises: set[str]) -> None:
    evidence = kept()
    breaks(evidence)
    found = broken(evidence)
    assert promises <= found, "found"
    checks: list[Check] = [*compare.every_check(evidence), *every_limit(evidence)]
    assert all(check.broken for check in checks if check.promise in promises)


def test_an_idle_worker_that_was_killed_need_not_be_settled() -> None:
    evidence = kept()
    evidence.workers.append(WorkerRow(id=4, pid=14, idle=True))
    assert broken(evidence) == set()
