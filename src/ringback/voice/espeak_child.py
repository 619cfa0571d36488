"""A process of its own that speaks with the espeak-ng library, as the program espeak-ng would.

Run by its path, never imported: the library is under another licence and must not be loaded into a server. It needs
nothing but Python. Options, always before the others: the library, the folder of its data; then those of the program
that :mod:`ringback.voice.espeak` uses.
"""

from __future__ import annotations

import ctypes
import struct
import sys

_SYNCHRONOUS = 2  # AUDIO_OUTPUT_SYNCHRONOUS: samples to the callback, in this thread
_DO_NOT_EXIT = 0x8000  # espeakINITIALIZE_DONT_EXIT
_RATE = 1  # espeakRATE
_BY_CHARACTER = 1  # POS_CHARACTER
_UTF8 = 1  # espeakCHARS_UTF8
_PAUSE_AT_END = 0x1000  # espeakENDPAUSE
_MALE, _FEMALE = 1, 2
_UNKNOWN_SIZE = 0x7FFFF000  # as the program writes it: a pipe does not tell the length

_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class _Voice(ctypes.Structure):
    """``espeak_VOICE`` of speak_lib.h."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("languages", ctypes.c_void_p),
        ("identifier", ctypes.c_char_p),
        ("gender", ctypes.c_ubyte),
        ("age", ctypes.c_ubyte),
        ("variant", ctypes.c_ubyte),
        ("xx1", ctypes.c_ubyte),
        ("score", ctypes.c_int),
        ("spare", ctypes.c_void_p),
    )


def main(arguments: list[str]) -> int:
    """Speak, or list the voices. Returns the exit code."""
    library_path, data, *options = arguments
    library = ctypes.CDLL(library_path)
    rate = library.espeak_Initialize(_SYNCHRONOUS, 0, data.encode(), _DO_NOT_EXIT)
    if rate <= 0:
        return _failed("the library cannot be initialised")
    if options == ["--voices"]:
        _list_voices(library)
        return 0
    settings = dict(zip(options[::2], options[1::2], strict=False)) if len(options) % 2 == 0 else {}
    return _speak(library, rate, settings.get("-v", "en"), int(settings.get("-s", "0")))


def _speak(library: ctypes.CDLL, sample_rate: int, voice: str, words_a_minute: int) -> int:
    if library.espeak_SetVoiceByName(voice.encode()) != 0:
        return _failed(f"there is no voice {voice}")
    if words_a_minute:
        library.espeak_SetParameter(_RATE, words_a_minute, 0)
    out = sys.stdout.buffer
    out.write(b"RIFF" + struct.pack("<I", 0x24 + _UNKNOWN_SIZE) + b"WAVEfmt ")
    out.write(struct.pack("<IHHIIHH", 16, 1, 1, sample_rate, 2 * sample_rate, 2, 16))
    out.write(b"data" + struct.pack("<I", _UNKNOWN_SIZE))

    def take(samples: ctypes._Pointer[ctypes.c_short], count: int, _events: int | None) -> int:
        if samples and count > 0:
            out.write(ctypes.string_at(samples, 2 * count))
        return 0

    callback = _Callback(take)  # kept here, or it would be gone while the library calls it
    library.espeak_SetSynthCallback(callback)
    text = sys.stdin.buffer.read()
    size = ctypes.c_size_t(len(text) + 1)
    flags = _UTF8 | _PAUSE_AT_END
    if library.espeak_Synth(text, size, 0, _BY_CHARACTER, 0, flags, None, None) != 0:
        return _failed("the library refuses the text")
    library.espeak_Synchronize()
    out.flush()
    return 0


def _list_voices(library: ctypes.CDLL) -> None:
    """The columns that the program prints with ``--voices``."""
    library.espeak_ListVoices.restype = ctypes.POINTER(ctypes.POINTER(_Voice))
    voices = library.espeak_ListVoices(None)
    print("Pty Language       Age/Gender VoiceName          File                 Other Languages")
    position = 0
    while voices[position]:
        voice = voices[position].contents
        position += 1
        spoken = _languages(voice.languages)
        if not spoken:
            continue
        (priority, language), *others = spoken
        gender = {_MALE: "M", _FEMALE: "F"}.get(voice.gender, "-")
        name = voice.name.decode(errors="replace").replace(" ", "_")
        rest = "".join(f"({other} {rank})" for rank, other in others)
        print(f"{priority:2}  {language} --/{gender} {name} {voice.identifier.decode()} {rest}")


def _languages(address: int | None) -> list[tuple[int, str]]:
    """Priority and language: a byte, then text up to a zero; a zero in place of the byte ends it."""
    found: list[tuple[int, str]] = []
    while address and (priority := ctypes.string_at(address, 1)[0]):
        language = ctypes.string_at(address + 1)
        found.append((priority, language.decode()))
        address += len(language) + 2
    return found


def _failed(reason: str) -> int:
    print(reason, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
