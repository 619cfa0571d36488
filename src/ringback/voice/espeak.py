"""One run of espeak-ng: text in, audio of the telephony port out.

The program is run, never linked: its licence is not ours, and a voice that crashes or hangs must not take calls with
it. The text goes to its standard input; no word of it is ever an option or meets a shell.

A run blocks its thread. The subprocesses of asyncio would not, but a shutdown that cancels one while it is being
started can wait for it for ever (seen on Python 3.11.7).
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading

from ringback.voice.wav import WavError, pcm_from_wav

PROGRAM = "espeak-ng"
MAX_SPEECH_SECONDS = 180.0
MAX_WAV_BYTES = 8_000_000  # 180 s of espeak-ng's 22,050 16-bit samples a second

_SAID_BYTES = 300  # of what the program writes to standard error
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def speech_program() -> str | None:
    """The path of espeak-ng when it is on ``PATH``."""
    return shutil.which(PROGRAM)


class EspeakError(Exception):
    """The program did not do its work. The text says why."""


class EspeakHung(EspeakError):
    """It had to be killed, for it took too long."""


class EspeakRun:
    """A run that is to be made once, by :meth:`audio`, and can be stopped from another thread.

    ``program`` is a path, ``language`` a voice of espeak-ng (a language tag), ``time_limit`` in seconds of real time.
    """

    def __init__(self, program: str, text: str, language: str, time_limit: float) -> None:
        # -b 1: the text is UTF-8. A language never looks like an option: templates hold language tags only.
        self._command = [program, "--stdout", "--stdin", "-b", "1", "-v", language.lower()]
        self._text = _plain(text).encode("utf-8", errors="replace")
        self._time_limit = time_limit
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = False
        self._hung = False

    def audio(self) -> bytes:
        """Run the program and wait for it.

        Raises:
            EspeakError: it could not be started, failed, took too long or made no audio; or it was stopped.
        """
        try:
            process = self._start()
        except OSError as error:
            raise EspeakError(f"cannot be started ({error.strerror})") from error
        timer = threading.Timer(self._time_limit, self._give_up)
        timer.start()
        try:
            # Leaving the block closes the pipes and waits for the end.
            with process:
                try:
                    wav, said, code = self._listen(process)
                finally:
                    self._kill()
        finally:
            timer.cancel()
        if self._hung:
            raise EspeakHung(f"did not finish in {self._time_limit:g} s")
        if len(wav) > MAX_WAV_BYTES:
            raise EspeakError(f"made more than {MAX_WAV_BYTES} bytes")
        if code != 0:
            raise EspeakError(f"ended with {code}: {said}")
        try:
            return pcm_from_wav(io.BytesIO(wav), MAX_SPEECH_SECONDS)
        except WavError as error:
            raise EspeakError(f"its audio {error}") from error

    def stop(self) -> None:
        """End the run, now or as soon as it begins. Safe from any thread, at any time."""
        with self._lock:
            self._stopped = True
        self._kill()

    def _start(self) -> subprocess.Popen[bytes]:
        # A file, not a pipe: nobody has to write while the program reads, or cares when it does not.
        with tempfile.TemporaryFile() as text:
            text.write(self._text)
            text.seek(0)
            with self._lock:
                if self._stopped:
                    raise EspeakError("was stopped")
                self._process = subprocess.Popen(  # noqa: S603 - no shell, and the text is not in the command
                    self._command,
                    stdin=text,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    start_new_session=True,  # a group of its own, so that a kill reaches what it has started
                )
                return self._process

    def _listen(self, process: subprocess.Popen[bytes]) -> tuple[bytes, str, int | None]:
        """What the program writes, what it says on standard error, and its exit code (``None``: not ended)."""
        assert process.stdout is not None
        assert process.stderr is not None
        wav = process.stdout.read(MAX_WAV_BYTES + 1)
        if len(wav) > MAX_WAV_BYTES:
            return wav, "", None
        code = process.wait()
        # Only what is there: nobody reads along, so a program that complains without end blocks until it is killed.
        os.set_blocking(process.stderr.fileno(), False)
        said = process.stderr.read(_SAID_BYTES) or b""
        return wav, said.decode(errors="replace").strip(), code

    def _give_up(self) -> None:
        self._hung = True
        self._kill()

    def _kill(self) -> None:
        with self._lock:
            if self._process is not None and self._process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signal.SIGKILL)


def _plain(text: str) -> str:
    """The text without what espeak-ng takes for commands (control characters) or phonemes (double brackets)."""
    return _CONTROL.sub(" ", text).replace("[[", "[ [")
