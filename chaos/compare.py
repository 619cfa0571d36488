"""The promises, each a pure function from the evidence to how much was checked and what broke it."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Final

import msgspec

from chaos.evidence import MS, CallRow, Evidence, Seen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

#: Between our order to Asterisk and the INVITE's arrival at the carrier lie Asterisk's threads, on a busy machine. What
#: arrives later than it may by no more than this is counted apart, milliseconds.
TRANSIT_MS: Final = 250
#: Every process of ours reads the time of the database, as well as the way there and back lets it, milliseconds.
CLOCK_MS: Final = 50
FINAL: Final = frozenset({"ended", "skipped", "cancelled"})
ON_THE_LINE: Final = frozenset({"dialling", "in_progress"})
SPOKEN: Final = frozenset({"answered", "voicemail"})
#: How long a takeover may last beyond ``takeover_seconds``: the look that notices comes up to two looks (a fifth each)
#: late, and then every call is asked for.
SETTLING_SECONDS: Final = 10.0
#: Dialling must go on that soon after what was killed is back.
BACK_SECONDS: Final = 60.0


class Check(msgspec.Struct, kw_only=True):
    """One promise. ``broken``: a line for each violation. ``note``: figures, and what was counted apart."""

    promise: str
    checked: int
    broken: list[str]
    note: str = ""


def every_check(evidence: Evidence) -> list[Check]:
    """All promises of one call, one task, one worker; those of limits are in :mod:`chaos.limits`."""
    checks: tuple[Callable[[Evidence], Check], ...] = (
        known,
        dialled_twice,
        dialled_twice_by_caller_id,
        in_its_time,
        nothing_lost,
        counters_hold,
        nothing_held,
        answers_are_answers,
        codes_are_codes,
        recalled_in_order,
        stop_means_stop,
        taken_over,
        thawed,
        made_once,
        goes_on,
    )
    return [check(evidence) for check in checks]


def known(evidence: Evidence) -> Check:
    """Each INVITE names a call and a task of the store, goes to that call's number, and shows its task's caller id."""
    calls, tasks = {one.id: one for one in evidence.calls}, {one.id: one for one in evidence.tasks}
    broken = []
    for seen in evidence.seen:
        row, task = calls.get(seen.call or 0), tasks.get(seen.task or 0)
        if row is None or task is None or row.task_id != task.id or row.callee != seen.callee:
            broken.append(f"INVITE to {seen.callee} names call {seen.call} of task {seen.task}, which is {row}")
        elif task.caller_id != seen.caller:
            broken.append(f"INVITE to {seen.callee} of task {task.id} shows {seen.caller}, not {task.caller_id}")
        elif row.state != "ended":
            broken.append(f"call {row.id} was dialled, and its row is {row.state}")
    return Check(promise="every INVITE is a call of the store", checked=len(evidence.seen), broken=broken)


def dialled_twice(evidence: Evidence) -> Check:
    """By what the INVITEs say of themselves."""
    pairs = Counter((seen.task, seen.callee) for seen in evidence.seen)
    broken = [f"task {task} dialled {callee} {count} times" for (task, callee), count in pairs.items() if count > 1]
    repeats = sum(seen.repeats for seen in evidence.seen)
    note = f"{repeats} INVITEs were repeats of one on its way"
    return Check(promise="dialled at most once in a task", checked=len(pairs), broken=broken, note=note)


def dialled_twice_by_caller_id(evidence: Evidence) -> Check:
    """Without believing what INVITEs say of themselves: each parent task and its rounds show a caller id of their own.

    A number may come as often as it has rows that were dialled under that caller id, and each row's time holds one.
    """
    caller_of = {one.id: one.caller_id for one in evidence.tasks}
    rows: dict[tuple[str, str], list[CallRow]] = defaultdict(list)
    for row in evidence.calls:
        if row.state == "ended":
            rows[caller_of[row.task_id], row.callee].append(row)
    arrivals: dict[tuple[str, str], list[Seen]] = defaultdict(list)
    for seen in evidence.seen:
        arrivals[seen.caller, seen.callee].append(seen)
    broken = []
    for pair, came in arrivals.items():
        mine = sorted(rows[pair], key=lambda row: row.started_at or 0)
        if len(came) > len(mine):
            broken.append(f"{pair[1]} was called {len(came)} times by {pair[0]}, for {len(mine)} calls")
            continue
        for row in mine:
            begins_ns = ((row.started_at or 0) - CLOCK_MS) * MS
            inside = [seen for seen in came if begins_ns <= seen.at_ns and _before(seen, row)]
            if len(inside) > 1:
                broken.append(f"{pair[1]} was called {len(inside)} times while call {row.id} lasted")
    return Check(promise="the same, told by caller ids and times only", checked=len(arrivals), broken=broken)


def _before(seen: Seen, row: CallRow) -> bool:
    return row.ended_at is None or seen.at_ns <= (row.ended_at + 1) * MS


def in_its_time(evidence: Evidence) -> Check:
    """No INVITE before its call was leased (committed), and none after it was settled."""
    calls = {one.id: one for one in evidence.calls}
    broken, early, soonest, late, worst = [], 0, 0.0, 0, 0.0
    for seen in evidence.seen:
        row = calls.get(seen.call or 0)
        if row is None or row.started_at is None:
            continue
        if seen.at_ns < row.started_at * MS:
            before = row.started_at - seen.at_ns / MS
            early, soonest = early + 1, max(soonest, before)
            if before > CLOCK_MS:
                broken.append(f"call {row.id} was dialled {before:.0f} ms before its lease")
        if not _before(seen, row):
            after = (seen.at_ns - (row.ended_at or 0) * MS) / MS
            late, worst = late + 1, max(worst, after)
            if after > TRANSIT_MS:
                broken.append(f"call {row.id} was dialled {after:.0f} ms after it was settled as {row.outcome}")
    return Check(
        promise="dialled after its lease, before its result",
        checked=len(evidence.seen),
        broken=broken,
        note=f"clocks apart: {early} before it, by {soonest:.0f} ms at most; {late} after it, by {worst:.0f} ms",
    )


def nothing_lost(evidence: Evidence) -> Check:
    """Every number of every task has come to an end, and what was leased has an outcome."""
    broken = [
        f"call {row.id} of task {row.task_id} is {row.state}, outcome {row.outcome}"
        for row in evidence.calls
        if row.state not in FINAL or (row.state == "ended") != (row.outcome is not None)
    ]
    outcomes = Counter(row.outcome for row in evidence.calls if row.outcome)
    note = (
        f"{outcomes.total()} claimed = {outcomes.total() - outcomes['unknown']} ended + {outcomes['unknown']} unknown"
    )
    return Check(promise="no number lost", checked=len(evidence.calls), broken=broken, note=note)


def counters_hold(evidence: Evidence) -> Check:
    """The counters of each task are what its rows say."""
    rows: dict[int, Counter[str]] = defaultdict(Counter)
    for row in evidence.calls:
        ended = "answered" if row.outcome in SPOKEN else "failed"
        active = "active" if row.state in ON_THE_LINE else row.state
        rows[row.task_id][ended if row.state == "ended" else active] += 1
    broken = []
    for task in evidence.tasks:
        kept = {
            name: getattr(task, name) for name in ("queued", "active", "answered", "failed", "skipped", "cancelled")
        }
        if task.total != rows[task.id].total() or any(rows[task.id][name] != count for name, count in kept.items()):
            broken.append(f"task {task.id} says {kept} of {task.total}, its rows {dict(rows[task.id])}")
    return Check(promise="counters equal rows", checked=len(evidence.tasks), broken=broken)


def nothing_held(evidence: Evidence) -> Check:
    """Every worker that held a call when it was last seen has ended, and none holds one."""
    held = Counter(row.worker_id for row in evidence.calls if row.state in ON_THE_LINE)
    broken = [f"worker {worker} still holds {count} calls" for worker, count in held.items()]
    broken += [f"worker {one.id} has not ended" for one in evidence.workers if one.ended_at is None and not one.idle]
    return Check(promise="no worker holds a call", checked=len(evidence.workers), broken=broken)


def answers_are_answers(evidence: Evidence) -> Check:
    """What the store calls answered was answered by the carrier."""
    by_call = _by_call(evidence.seen)
    rows = [row for row in evidence.calls if row.outcome in SPOKEN]
    broken = [
        f"call {row.id} is {row.outcome}, and the carrier answered no such call"
        for row in rows
        if (seen := by_call.get(row.id)) is None or seen.answered_ns is None
    ]
    ours = {row.id for row in rows}
    missed = {seen.call for seen in evidence.seen if seen.answered_ns is not None} - ours
    noted = sum(row.id in missed and row.answered_at is not None for row in evidence.calls)
    note = f"{len(missed)} answered there and unknown here, the answer of {noted} being stored"
    return Check(promise="a stored answer is the carrier's", checked=len(rows), broken=broken, note=note)


def codes_are_codes(evidence: Evidence) -> Check:
    """A SIP code in the store was sent by the carrier, on that call."""
    by_call = _by_call(evidence.seen)
    rows = [row for row in evidence.calls if row.sip_code is not None]
    broken, given_up = [], 0
    for row in rows:
        seen = by_call.get(row.id)
        if row.sip_code == 487 and (seen is None or seen.code is None) and "process that held" in (row.reason or ""):
            given_up += 1  # hung up by whoever settled it, perhaps before the carrier had said anything
        elif seen is None:
            broken.append(f"call {row.id} has code {row.sip_code}, and the carrier knows no such call")
        elif row.sip_code != (200 if seen.answered_ns is not None else seen.code):
            broken.append(f"call {row.id} has code {row.sip_code}; the carrier sent {seen.code}")
    note = f"{given_up} given up at a takeover" if given_up else ""
    return Check(promise="a stored SIP code is the carrier's", checked=len(rows), broken=broken, note=note)


def recalled_in_order(evidence: Evidence) -> Check:
    """A round dials failed numbers of the round before only, and not before the interval is over."""
    by_task: dict[int, list[CallRow]] = defaultdict(list)
    for row in evidence.calls:
        by_task[row.task_id].append(row)
    first: dict[int, int] = {}
    for seen in evidence.seen:
        if seen.task is not None:
            first[seen.task] = min(seen.at_ns, first.get(seen.task, seen.at_ns))
    finished = {task.id: task.finished_at for task in evidence.tasks}
    broken, checked = [], 0
    for node in evidence.nodes:
        if node.task_id is None:
            continue
        before = by_task[node.previous_task_id]
        failed = {row.callee for row in before if row.state == "ended" and row.outcome not in SPOKEN}
        dialled = {row.callee for row in by_task[node.task_id]}
        checked += len(dialled)
        broken += [f"round {node.id} holds {callee}, which had not failed" for callee in sorted(dialled - failed)]
        broken += [f"round {node.id} lacks {callee}, which had failed" for callee in sorted(failed - dialled)]
        ended = finished.get(node.previous_task_id)
        earliest = None if ended is None else (ended + evidence.interval_seconds * 1000) * MS
        if node.task_id in first and (earliest is None or first[node.task_id] < earliest):
            broken.append(f"round {node.id} began before its time")
    return Check(promise="rounds recall the failed, never early", checked=checked, broken=broken)


def stop_means_stop(evidence: Evidence) -> Check:
    """Nothing of a task starts at the carrier after a pause or cancel was answered."""
    broken, late, worst, during = [], 0, 0.0, 0
    by_task: dict[int | None, list[Seen]] = defaultdict(list)
    for seen in evidence.seen:
        by_task[seen.task].append(seen)
    for stop in evidence.stops:
        for seen in by_task[stop.task_id]:
            if seen.at_ns <= stop.from_ns or (stop.until_ns is not None and seen.at_ns >= stop.until_ns):
                continue
            during += 1
            after = (seen.at_ns - stop.from_ns) / MS
            late, worst = late + 1, max(worst, after)
            if after > TRANSIT_MS:
                broken.append(f"task {stop.task_id}: an INVITE {after:.0f} ms after its {stop.kind} was answered")
    kinds = Counter(stop.kind for stop in evidence.stops)
    note = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    if late:
        note += f"; {late} INVITEs on their way, {worst:.0f} ms after it at most"
    return Check(promise="stop means stop", checked=len(evidence.stops), broken=broken, note=note)


def taken_over(evidence: Evidence) -> Check:
    """What a killed dialler held is settled in time."""
    most = evidence.takeover_seconds + SETTLING_SECONDS
    took = [(one.settled_ns - one.at_ns) / 1e9 for one in evidence.killed if one.settled_ns is not None]
    broken = [f"worker {one.worker_id} was never settled" for one in evidence.killed if one.settled_ns is None]
    broken += [f"a takeover took {seconds:.1f} s" for seconds in took if seconds > most]
    held = sum(one.held for one in evidence.killed)
    note = f"{held} calls held; {max(took, default=0):.1f} s at most, allowed {most:g} s"
    return Check(promise="a killed dialler is taken over", checked=len(evidence.killed), broken=broken, note=note)


def thawed(evidence: Evidence) -> Check:
    """A dialler that was fenced off while it stood still dials nothing more and changes no row when it goes on."""
    calls = {row.id: row for row in evidence.calls}
    workers = {one.id: one for one in evidence.workers}
    broken, checked = [], 0
    for one in evidence.frozen:
        row = workers.get(one.worker_id)
        if row is None or row.fenced_at is None:
            broken.append(f"worker {one.worker_id} stood still and was not fenced off")
            continue
        for seen in evidence.seen:
            of = calls.get(seen.call or 0)
            # Itself it stood still from the freeze on; Asterisk sends what it had been told before.
            if of is not None and of.worker_id == one.worker_id and seen.at_ns > one.at_ns + TRANSIT_MS * MS:
                broken.append(f"worker {one.worker_id} dialled call {of.id} after it stood still")
        checked += len(one.rows)
        broken += [f"{before} became {calls[before.id]}" for before in one.rows if calls[before.id] != before]
    note = f"{len(evidence.frozen)} frozen past the takeover"
    return Check(promise="a fenced dialler does nothing more", checked=checked, broken=broken, note=note)


def made_once(evidence: Evidence) -> Check:
    """A task that was asked for several times at once exists once."""
    names = Counter(task.name for task in evidence.tasks)
    broken = [f"{names[name]} tasks are called {name}" for name in evidence.asked_twice if names[name] != 1]
    broken += [f"{made} answers said {name} was made" for name, made in evidence.asked_twice.items() if made > 1]
    return Check(promise="a repeated request makes one task", checked=len(evidence.asked_twice), broken=broken)


def goes_on(evidence: Evidence) -> Check:
    """After each fault dialling goes on by itself."""
    broken = [
        f"after {one.fault}: " + ("nothing more was dialled" if one.seconds is None else f"{one.seconds:.0f} s")
        for one in evidence.back
        if one.seconds is None or one.seconds > BACK_SECONDS
    ]
    longest = max((one.seconds or 0 for one in evidence.back), default=0)
    return Check(
        promise="dialling goes on by itself",
        checked=len(evidence.back),
        broken=broken,
        note=f"{longest:.1f} s after the restart at most",
    )


def _by_call(seen: Iterable[Seen]) -> dict[int, Seen]:
    return {one.call: one for one in seen if one.call is not None}
