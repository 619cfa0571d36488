"""Speech by espeak-ng, played here by small programs of that name on a temporary PATH; at the end by the real one."""

from __future__ import annotations

import asyncio
import json
import os
import select
import sys
from array import array
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from ringback.clock import RealClock, VirtualClock
from ringback.model.template import Play, Say, Template
from ringback.model.voice_settings import Gender, VoiceSettings
from ringback.telephony.port import Prompt
from ringback.voice.espeak import MAX_WAV_BYTES, Espeak, EspeakRun, installed_espeak, voices_listed
from ringback.voice.languages import TAGS, tag_of, why_silent, why_unspoken
from ringback.voice.prompts import PromptMaker, render
from ringback.voice.speech import Speech
from ringback.voice.synthesizer import SpeechError
from ringback.voice.tones import pattern

# Says a text as one sample a character at 8,000 samples/s, and keeps a diary of its runs.
SPEAKS = """
import json, os, struct, sys
text = sys.stdin.buffer.read()
with open(os.path.join(os.path.dirname(__file__), "diary"), "a") as diary:
    diary.write(json.dumps({"args": sys.argv[1:], "text": text.decode()}) + "\\n")
header = b"RIFF" + struct.pack("<I", 0x7ffff024) + b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 8000, 16000, 2, 16)
sys.stdout.buffer.write(header + b"data" + struct.pack("<I", 0x7ffff000) + b"\\x01\\x00" * len(text))
"""


class Voice:
    """A fake espeak-ng in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def install(self, script: str) -> None:
        self.shell(f'exec {sys.executable} -S -E {self.folder / "script.py"} "$@"')
        (self.folder / "script.py").write_text(script)

    def shell(self, lines: str) -> None:
        program = self.folder / "espeak-ng"
        # Asked for its voices it has none to tell of.
        program.write_text(f'#!/bin/sh\n[ "$1" = --voices ] && exit 0\n{lines}\n')
        program.chmod(0o755)

    def diary(self) -> list[dict[str, Any]]:
        diary = self.folder / "diary"
        return [json.loads(line) for line in diary.read_text().splitlines()] if diary.exists() else []


@pytest.fixture
def voice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Voice:
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return Voice(tmp_path)


def say(*texts: str, language: str = "en", **options: object) -> list[Prompt]:
    """Say the texts one after the other."""

    async def main() -> list[Prompt]:
        speech = Speech(RealClock(), installed_espeak(), **options)  # type: ignore[arg-type]  # test data
        return [await speech.say(text, language) for text in texts]

    return asyncio.run(main())


def is_notes(prompt: Prompt, text: str) -> bool:
    return prompt.key.startswith("notes:") and prompt.pcm == pattern(text)


def test_the_program_is_found_on_the_path(voice: Voice, monkeypatch: pytest.MonkeyPatch) -> None:
    voice.install(SPEAKS)
    found = installed_espeak()
    assert found is not None
    assert found.command("en", VoiceSettings())[0] == str(voice.folder / "espeak-ng")
    assert installed_espeak() is found  # with the list of its voices
    monkeypatch.setenv("PATH", str(voice.folder / "nothing-here"))
    packaged = installed_espeak()
    assert packaged is not None
    assert packaged.command("en", VoiceSettings())[0] == sys.executable
    monkeypatch.setattr("ringback.voice.espeak.PACKAGE", "no_such_package")
    assert installed_espeak() is None


def test_a_text_is_spoken(voice: Voice) -> None:
    voice.install(SPEAKS)
    (prompt,) = say("Hello  Grüße\n", language="pt-BR")
    assert prompt.pcm == b"\x01\x00" * len("Hello Grüße".encode())
    assert prompt.key.startswith("say:")
    assert voice.diary() == [{"args": ["--stdout", "--stdin", "-b", "1", "-v", "pt-br"], "text": "Hello Grüße"}]


@pytest.mark.parametrize("text", ["--version", "-w /tmp/x", "$(touch x)", "`id`; id", "'\"", "-"])
def test_no_text_is_an_option_or_a_command(voice: Voice, text: str) -> None:
    voice.install(SPEAKS)
    say(text)
    assert [(len(run["args"]), run["text"]) for run in voice.diary()] == [(6, text)]


def test_what_the_program_takes_for_codes_is_taken_out(voice: Voice) -> None:
    voice.install(SPEAKS)
    say("a[[h@l'oU]]b\x01 50P\0c")
    assert voice.diary()[0]["text"] == "a[ [h@l'oU]]b  50P c"


def test_an_equal_text_is_made_once(voice: Voice) -> None:
    voice.install(SPEAKS)
    first, second, other, german = say("one", "one", "two") + say("one", language="de")
    assert first is second
    assert len({first.key, other.key, german.key}) == 3
    assert len(voice.diary()) == 3


def test_calls_that_want_the_same_text_at_once_share_one_run(voice: Voice) -> None:
    voice.install(SPEAKS)

    async def main() -> list[Prompt | BaseException]:
        speech = Speech(RealClock(), installed_espeak())
        waiting = [asyncio.create_task(speech.say("same", "en")) for _ in range(5)]
        await asyncio.sleep(0)
        waiting[0].cancel()  # the call that asked first has ended: the others still get it
        return await asyncio.gather(*waiting, return_exceptions=True)

    cancelled, *prompts = asyncio.run(main())
    assert isinstance(cancelled, asyncio.CancelledError)
    assert {prompt.pcm for prompt in prompts if isinstance(prompt, Prompt)} == {b"\x01\x00" * 4}
    assert len(prompts) == 4
    assert len(voice.diary()) == 1


def test_no_more_than_two_programs_run_at_once() -> None:
    clock = VirtualClock()

    class Counting(Speech):
        """Runs take a second and count themselves."""

        running = most = 0

        async def _run(self, *_: object) -> bytes:
            self.running += 1
            self.most = max(self.most, self.running)
            await clock.sleep(1)
            self.running -= 1
            return b"\x01\x00"

    async def main() -> tuple[int, float]:
        speech = Counting(clock, Espeak(("espeak-ng",)))
        await asyncio.gather(*(speech.say(f"text {number}", "en") for number in range(6)))
        return speech.most, clock.monotonic()

    most, took = clock.run(main())
    assert most == 2
    assert took == pytest.approx(3)


def test_the_cache_is_bounded_and_keeps_what_is_used(voice: Voice) -> None:
    voice.install(SPEAKS)
    a, b, c = "a" * 100, "b" * 100, "c" * 100  # 200 bytes of audio each
    say(a, b, a, c, a, b, cache_bytes=400)
    assert [run["text"][0] for run in voice.diary()] == ["a", "b", "c", "b"]


def test_audio_larger_than_the_cache_is_played_all_the_same(voice: Voice) -> None:
    voice.install(SPEAKS)
    first, second = say("a" * 100, "a" * 100, cache_bytes=10)
    assert first.pcm == second.pcm == b"\x01\x00" * 100


FAILURES = {
    "a code": ("cat >/dev/null; echo 'no such voice' >&2; exit 3", "ended with 3: no such voice"),
    "a signal": ("kill -SEGV $$", "ended with -11"),
    "garbage": ("cat >/dev/null; echo 'this is not audio'", "is not a PCM WAV file"),
    "nothing": ("cat >/dev/null", "is not a PCM WAV file"),
    "a header alone": ("printf 'RIFF\\044\\000\\000\\000WAVEfmt '", "is not a PCM WAV file"),
    "no end of audio": ("cat /dev/zero", f"made more than {MAX_WAV_BYTES} bytes"),
    "complaints in binary": ("head -c 1000 /dev/zero >&2; exit 1", "ended with 1"),
    "no end of complaints": ("cat /dev/zero >&2", "did not finish in 1 s"),
    "ends without reading": ("exec 0<&-; exit 1", "ended with 1"),
}


@pytest.mark.parametrize(("lines", "reason"), FAILURES.values(), ids=FAILURES.keys())
def test_a_failure_becomes_notes_with_a_logged_reason(voice: Voice, lines: str, reason: str) -> None:
    voice.shell(lines)
    with capture_logs() as logs:
        (prompt,) = say("Hello you", time_limit=1.0)
    assert is_notes(prompt, "Hello you")
    entry = logs[-1]
    assert (entry["event"], entry["log_level"]) == ("speech_failed", "warning")
    assert reason in entry["reason"]
    assert "Hello" not in str(entry)  # what is said to a callee is nobody else's business


def test_a_failure_is_not_remembered(voice: Voice) -> None:
    voice.shell("exit 1")

    async def main() -> tuple[Prompt, Prompt]:
        speech = Speech(RealClock(), installed_espeak())
        failed = await speech.say("Hello", "en")
        voice.install(SPEAKS)
        return failed, await speech.say("Hello", "en")

    failed, spoken = asyncio.run(main())
    assert is_notes(failed, "Hello")
    assert spoken.pcm == b"\x01\x00" * 5


def test_a_program_that_cannot_be_started(voice: Voice) -> None:
    voice.shell("exit 0")
    program = installed_espeak()
    (voice.folder / "espeak-ng").unlink()

    async def main() -> Prompt:
        return await Speech(RealClock(), program).say("Hello", "en")

    with capture_logs() as logs:
        assert is_notes(asyncio.run(main()), "Hello")
    assert "No such file" in logs[0]["reason"]


def test_a_hanging_program_is_ended_with_its_children_and_left_alone_for_a_while(voice: Voice) -> None:
    # The shell stays and waits for a child that holds the pipes open.
    voice.shell(f'echo $$ >>"{voice.folder}/pids"; sleep 60 & echo $! >>"{voice.folder}/pids"; wait')
    with capture_logs() as logs:
        first, second = say("Hello", "again", time_limit=0.5)
    assert is_notes(first, "Hello")
    assert is_notes(second, "again")
    assert [entry["event"] for entry in logs] == ["speech_paused", "speech_failed"]
    assert logs[1]["reason"] == "did not finish in 0.5 s"
    pids = [int(line) for line in (voice.folder / "pids").read_text().split()]
    assert len(pids) == 2
    assert all(_ends(pid) for pid in pids)


def _ends(pid: int) -> bool:
    """Whether that process has ended, or does within five seconds."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        ready, _, _ = select.select([process], [], [], 5.0)
        return bool(ready)
    finally:
        os.close(process)


def test_a_shutdown_ends_a_running_program(voice: Voice) -> None:
    """Whenever it comes: as the program is seen to start is the worst moment."""
    os.mkfifo(voice.folder / "started")
    voice.shell(f'echo $$ >"{voice.folder}/started"; sleep 60')

    async def main() -> int:
        speech = Speech(RealClock(), installed_espeak(), time_limit=60)
        talking = asyncio.create_task(speech.say("Hello", "en"))
        pid = int(await asyncio.to_thread((voice.folder / "started").read_text))
        talking.cancel()
        return pid

    for _ in range(5):
        assert _ends(asyncio.run(main()))


def test_a_run_that_is_stopped_before_it_begins_never_begins(voice: Voice) -> None:
    voice.install(SPEAKS)
    program = installed_espeak()
    assert program is not None
    run = EspeakRun(program, "Hello", "en", VoiceSettings(), 5.0)
    run.stop()
    with pytest.raises(SpeechError, match="was stopped"):
        run.audio()
    assert voice.diary() == []


def test_virtual_time_stands_still_while_the_program_runs(voice: Voice) -> None:
    voice.install(SPEAKS)
    clock = VirtualClock()

    async def main() -> tuple[Prompt, float]:
        prompt = await Speech(clock, installed_espeak()).say("Hello", "en")
        return prompt, clock.monotonic()

    prompt, took = clock.run(main())
    assert prompt.pcm == b"\x01\x00" * 5
    assert took < 0.001


def test_without_the_program_there_are_notes_and_one_warning() -> None:
    async def main() -> list[Prompt]:
        speech = Speech(RealClock(), None)
        return [await speech.say(text, "en") for text in ("Hello you", "Hello you", "", " \n")]

    with capture_logs() as logs:
        first, second, *silent = asyncio.run(main())
    assert is_notes(first, "Hello you")
    assert first == second
    assert [prompt.pcm for prompt in silent] == [b"", b""]
    assert [entry["event"] for entry in logs] == ["speech_missing"]


# --- voices ---

LISTED = """\
Pty Language       Age/Gender VoiceName          File                 Other Languages
 5  af              --/M      Afrikaans          gmw/af
 5  en-029          --/M      English_(Caribbean) gmw/en-029           (en 10)
 2  en-gb           --/M      English_(Great_Britain) gmw/en               (en 2)
 5  en-in           --/M      english-mb-in1     mb/mb-in1            (en 1)
 5  pt              --/M      Portuguese_(Portugal) roa/pt               (pt-pt 5)
 5  pt-br           --/M      Portuguese_(Brazil) roa/pt-BR            (pt 6)
 5  cmn             --/M      Chinese_(Mandarin,_latin_as_English) sit/cmn              (zh-cmn 5)(zh 5)
 5  es-419          --/M      Spanish_(Latin_America) roa/es-419           (es-mx 6)
 5  es              --/M      Spanish_(Spain)    roa/es
"""


def test_the_best_voice_of_each_language_is_taken() -> None:
    assert voices_listed(LISTED) == {
        "af": "gmw/af",
        "en-029": "gmw/en-029",
        "en-gb": "gmw/en",
        "en": "gmw/en",
        "pt": "roa/pt",
        "pt-pt": "roa/pt",
        "pt-br": "roa/pt-BR",
        "cmn": "sit/cmn",
        "zh-cmn": "sit/cmn",
        "zh": "sit/cmn",
        "es-419": "roa/es-419",
        "es-mx": "roa/es-419",
        "es": "roa/es",
    }
    assert voices_listed("nothing of the kind\n x y\n") == {}


@pytest.mark.parametrize(
    ("language", "settings", "options"),
    [
        ("en", VoiceSettings(), ["gmw/en"]),
        ("PT-br", VoiceSettings(), ["roa/pt-BR"]),
        ("en-AU", VoiceSettings(), ["gmw/en"]),
        ("xx", VoiceSettings(), ["xx"]),
        ("en", VoiceSettings(gender=Gender.FEMALE), ["gmw/en+f3"]),
        ("en", VoiceSettings(gender=Gender.MALE, speaking_rate=2), ["gmw/en+m3", "-s", "350"]),
        ("en", VoiceSettings(speaking_rate=4), ["gmw/en", "-s", "700"]),
        ("en", VoiceSettings(speaking_rate=0.25), ["gmw/en", "-s", "80"]),  # its slowest
        ("pt", VoiceSettings(accent="55"), ["roa/pt-BR"]),
        ("pt", VoiceSettings(accent="br"), ["roa/pt-BR"]),
        ("es", VoiceSettings(accent="54"), ["roa/es-419"]),
        ("es", VoiceSettings(accent="34"), ["roa/es"]),
        ("en", VoiceSettings(accent="91"), ["gmw/en"]),  # there is no such voice
        ("en", VoiceSettings(accent="9" * 32), ["gmw/en"]),
    ],
)
def test_settings_become_options(voice: Voice, language: str, settings: VoiceSettings, options: list[str]) -> None:
    (voice.folder / "espeak-ng").write_text(f"#!/bin/sh\ncat <<'END'\n{LISTED}END\n")
    (voice.folder / "espeak-ng").chmod(0o755)
    command = Espeak((str(voice.folder / "espeak-ng"),)).command(language, settings)
    assert command[1:6] == ["--stdout", "--stdin", "-b", "1", "-v"]
    assert command[6:] == options


def test_other_settings_make_another_prompt(voice: Voice) -> None:
    voice.install(SPEAKS)

    async def main() -> set[str]:
        speech = Speech(RealClock(), installed_espeak())
        wanted = [VoiceSettings(), VoiceSettings(accent="GB"), VoiceSettings(gender=Gender.MALE)]
        return {(await speech.say("Hello", "en", settings)).key for settings in wanted}

    assert len(asyncio.run(main())) == 3


# --- the real one, in a process of its own ---


@pytest.fixture
def packaged(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Espeak:
    """espeak-ng from the package: nothing on the PATH."""
    monkeypatch.setenv("PATH", str(tmp_path))
    found = installed_espeak()
    assert found is not None
    return found


def test_the_packaged_voice_speaks_every_language_of_the_vendor(packaged: Espeak) -> None:
    assert not [tag for tag in TAGS.values() if tag not in packaged.languages()]
    assert packaged.languages()["en"] == "gmw/en"


@pytest.mark.parametrize(
    ("text", "language"),
    [("Good day, this is a test.", "en"), ("Mã xác nhận của bạn", "vi"), ("안녕하세요", "ko"), ("-v --help", "en")],
)
def test_the_packaged_voice_makes_speech(packaged: Espeak, text: str, language: str) -> None:
    pcm = packaged.make(text, language, time_limit=20.0).audio()
    samples = array("h", pcm)
    assert 0.4 < len(samples) / 8_000 < 6
    assert max(samples) > 3_000  # it can be heard


def test_rate_and_gender_can_be_heard(packaged: Espeak) -> None:
    def spoken(**settings: Any) -> bytes:
        return packaged.make("One two three four five", "en", VoiceSettings(**settings), 20.0).audio()

    plain, fast, female, male = (
        spoken(),
        spoken(speaking_rate=2),
        spoken(gender=Gender.FEMALE),
        spoken(gender=Gender.MALE),
    )
    assert len(fast) < 0.7 * len(plain)
    assert len({plain, female, male}) == 3


def test_the_packaged_voice_says_why_it_cannot(packaged: Espeak) -> None:
    with pytest.raises(SpeechError, match="ended with 1: there is no voice xx"):
        packaged.make("Hello", "xx", time_limit=20.0).audio()


def test_the_library_is_not_loaded_here(packaged: Espeak) -> None:
    packaged.make("Hello", "en", time_limit=20.0).audio()
    assert "espeakng_loader" not in sys.modules
    assert "libespeak" not in Path("/proc/self/maps").read_text()


def test_a_language_without_a_voice_is_told(packaged: Espeak, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [why_unspoken(tag) for tag in ("en", "en-AU", "pt-br", "zh")] == ["", "", "", ""]
    assert why_unspoken("tlh-Latn") == "espeak-ng has no voice for 'tlh-Latn' here"
    speaks = Template(name="t", language="tlh", initial_node="a", nodes={"a": [Say("Hello")]})
    plays = Template(name="t", language="tlh", initial_node="a", nodes={"a": [Play("x.wav")]})
    assert "no voice" in why_silent(speaks)
    assert not why_silent(plays)
    monkeypatch.setattr("ringback.voice.espeak.PACKAGE", "no_such_package")
    assert not why_unspoken("tlh")  # everything is notes there


def test_the_vendors_codes() -> None:
    assert (tag_of("VN"), tag_of(" arb "), tag_of("XX"), tag_of("")) == ("vi", "ar", None, None)
    assert len(TAGS) == 14


# --- prompts ---


@pytest.mark.parametrize(
    ("text", "texts", "rendered"),
    [
        ("Hello ${text1}, ${text10}!", {"text1": "Ann", "text10": "ten"}, "Hello Ann, ten!"),
        ("${text1}", {"text1": "x" * 31}, "x" * 30),
        ("[${text2}]", {"text1": "Ann"}, "[]"),
        ("${text1}", {"text1": "${text2}", "text2": "no"}, "${text2}"),
        ("Costs $5", {}, "Costs $5"),
    ],
)
def test_render(text: str, texts: dict[str, str], rendered: str) -> None:
    assert render(text, texts) == rendered


def test_prompts_of_a_template(voice: Voice) -> None:
    voice.install(SPEAKS)
    audio = {"a.wav": b"\x02\x00" * 3, "same.wav": b"\x02\x00" * 3, "b.wav": b"\x03\x00"}

    async def main() -> list[Prompt]:
        prompts = PromptMaker(Speech(RealClock(), installed_espeak()), audio)
        steps: list[Say | Play] = [Say("Hi ${text1}"), Play("a.wav"), Play("same.wav"), Play("b.wav"), Play("gone.wav")]
        return [await prompts.prompt(step, "en", {"text1": "Ann"}) for step in steps]

    with capture_logs() as logs:
        said, a, same, b, gone = asyncio.run(main())
    assert said.pcm == b"\x01\x00" * len("Hi Ann")
    assert (a.pcm, b.pcm) == (audio["a.wav"], audio["b.wav"])
    assert a.key == same.key != b.key  # equal key, equal audio
    assert gone.pcm
    assert [entry["event"] for entry in logs] == ["file_missing"]
