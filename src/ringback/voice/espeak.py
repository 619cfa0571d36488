"""The voice that is always there: espeak-ng.

It is run, never linked: its licence is not ours, and a voice that crashes or hangs must not take calls with it. The
text goes to its standard input; no word of it is ever an option or meets a shell. It is the program on ``PATH`` or,
without one, a process of ours that drives the library in the package ``espeakng-loader``.
"""

from __future__ import annotations

import importlib.util
import io
import re
import shutil
import sys
import tempfile
import threading
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from ringback.model.voice_settings import PLAIN_VOICE, Gender, VoiceSettings
from ringback.voice.dialects import regional
from ringback.voice.program_run import ProgramError, ProgramHung, ProgramRun
from ringback.voice.synthesizer import SpeechError, SpeechHung
from ringback.voice.wav import WavError, pcm_from_wav

if TYPE_CHECKING:
    from collections.abc import Mapping

PROGRAM = "espeak-ng"
PACKAGE = "espeakng_loader"
MAX_SPEECH_SECONDS = 180.0
MAX_WAV_BYTES = 8_000_000  # 180 s of espeak-ng's 22,050 16-bit samples a second
WORDS_A_MINUTE = 175  # espeak-ng's own
#: It speaks no slower than this.
SLOWEST = 80

_LIST_SECONDS = 5.0
_LIST_BYTES = 1_000_000
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_OTHER = re.compile(r"\((\S+) (\d+)\)")
_VOICES = {Gender.MALE: "+m3", Gender.FEMALE: "+f3"}

log = structlog.get_logger(__name__)


def installed_espeak() -> Espeak | None:
    """espeak-ng as it is installed here; ``None`` when it is not."""
    program = shutil.which(PROGRAM)
    if program is not None:
        return _espeak((program,))
    found = importlib.util.find_spec(PACKAGE)  # where it is; imported it would be loaded
    if found is None or found.origin is None:
        return None
    folder = Path(found.origin).parent
    library = next((path for path in sorted(folder.glob("libespeak-ng.*"))), None)
    data = folder / "espeak-ng-data"
    if library is None or not data.is_dir():
        return None
    child = Path(__file__).with_name("espeak_child.py")
    return _espeak((sys.executable, "-I", "-S", str(child), str(library), str(data)))


@lru_cache(maxsize=8)
def _espeak(command: tuple[str, ...]) -> Espeak:
    """One for each command, so that the list of its voices is made once."""
    return Espeak(command)


class Espeak:
    """espeak-ng, started by ``command`` and its own options behind that."""

    def __init__(self, command: tuple[str, ...]) -> None:
        self.name = PROGRAM
        self._command = command
        self._lock = threading.Lock()
        self._languages: dict[str, str] | None = None

    def languages(self) -> Mapping[str, str]:
        """The tags that it speaks, each with the file of its best voice."""
        with self._lock:
            if self._languages is None:
                self._languages = _languages(self._command)
            return self._languages

    def make(
        self, text: str, language: str, settings: VoiceSettings = PLAIN_VOICE, time_limit: float = 5.0
    ) -> EspeakRun:
        """Speak a text."""
        return EspeakRun(self, text, language, settings, time_limit)

    def command(self, language: str, settings: VoiceSettings) -> list[str]:
        """The command line; may block as :meth:`languages` does."""
        # -b 1: the text is UTF-8. A language never looks like an option: templates hold language tags only.
        command = [*self._command, "--stdout", "--stdin", "-b", "1", "-v"]
        command.append(self._voice(language, settings))
        if settings.speaking_rate != 1.0:
            command += ["-s", str(max(SLOWEST, round(WORDS_A_MINUTE * settings.speaking_rate)))]
        return command

    def _voice(self, language: str, settings: VoiceSettings) -> str:
        known = self.languages()
        tag = next((tag for tag in regional(language, settings.accent) if tag in known), None)
        voice = language.lower() if tag is None else known[tag]
        return voice if settings.gender is None else voice + _VOICES[settings.gender]


class EspeakRun:
    """A run that is to be made once, by :meth:`audio`, and can be stopped from another thread."""

    def __init__(self, espeak: Espeak, text: str, language: str, settings: VoiceSettings, time_limit: float) -> None:
        self._espeak = espeak
        self._text = _plain(text).encode("utf-8", errors="replace")
        self._language = language
        self._settings = settings
        self._time_limit = time_limit
        self._lock = threading.Lock()
        self._run: ProgramRun | None = None
        self._stopped = False

    def audio(self) -> bytes:
        """Run the program and wait for it.

        Raises:
            SpeechError: it could not be started, failed, took too long or made no audio; or it was stopped.
        """
        command = [] if self._stopped else self._espeak.command(self._language, self._settings)
        with self._lock:
            if self._stopped:
                raise SpeechError("was stopped")
            run = self._run = ProgramRun(command, time_limit=self._time_limit, max_output=MAX_WAV_BYTES)
        with tempfile.TemporaryFile() as text:
            text.write(self._text)
            text.seek(0)
            try:
                wav = run.output(text)
            except ProgramHung as error:
                raise SpeechHung(str(error)) from error
            except ProgramError as error:
                raise SpeechError(str(error)) from error
        try:
            return pcm_from_wav(io.BytesIO(wav), MAX_SPEECH_SECONDS)
        except WavError as error:
            raise SpeechError(f"its audio {error}") from error

    def stop(self) -> None:
        """End the run, now or as soon as it begins. Safe from any thread, at any time."""
        with self._lock:
            self._stopped = True
            run = self._run
        if run is not None:
            run.stop()


def _languages(command: tuple[str, ...]) -> dict[str, str]:
    try:
        with tempfile.TemporaryFile() as nothing:
            run = ProgramRun([*command, "--voices"], time_limit=_LIST_SECONDS, max_output=_LIST_BYTES)
            listed = run.output(nothing).decode(errors="replace")
    except ProgramError as error:
        log.warning("voices_unknown", program=command[0], reason=str(error))
        return {}
    return voices_listed(listed)


def voices_listed(listed: str) -> dict[str, str]:
    """The table that ``--voices`` prints: each language tag with the file of the voice that speaks it best.

    The columns: priority, language, age and gender, name, file, and other languages as ``(tag priority)``.
    """
    best: dict[str, tuple[int, str]] = {}
    for line in listed.splitlines():
        columns = line.split(maxsplit=5)
        # Voices of another program (mb) need data that may not be there.
        if len(columns) < 5 or not columns[0].isdecimal() or columns[4].startswith("mb/"):
            continue
        priority, tag, _, _, file, *others = columns
        # The tag that a voice is for goes before the tags that it will do for.
        also = [(other, int(rank)) for other, rank in _OTHER.findall("".join(others))]
        for name, rank in [(tag, int(priority) - 1_000), *also]:
            if name.lower() not in best or rank < best[name.lower()][0]:
                best[name.lower()] = (rank, file)
    return {tag: file for tag, (_, file) in best.items()}


def _plain(text: str) -> str:
    """The text without what espeak-ng takes for commands (control characters) or phonemes (double brackets)."""
    return _CONTROL.sub(" ", text).replace("[[", "[ [")
