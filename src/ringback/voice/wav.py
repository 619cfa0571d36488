"""WAV files to the audio of the telephony port: 8,000 samples/s, mono, 16-bit little-endian PCM.

Written without numpy (the core must stay small) and without audioop (it left Python in 3.13). One second of input
makes exactly one second of output, so a file is converted second by second in little memory.
"""

from __future__ import annotations

import sys
import wave
from array import array
from itertools import accumulate, pairwise
from typing import IO, TYPE_CHECKING

from ringback.telephony.port import SAMPLE_RATE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MIN_RATE = 4_000
MAX_RATE = 192_000


class WavError(ValueError):
    """Not a WAV file that can be played. The text says why."""


def pcm_from_wav(file: IO[bytes], max_seconds: float) -> bytes:
    """The audio of an open WAV file: 8 or 16 bits a sample, mono or stereo (mixed), 4,000 to 192,000 samples/s.

    The length in the header is not believed, only what is there: programs that write to a pipe cannot know it.

    Raises:
        WavError: it is no such file, or holds nothing, or more than ``max_seconds``.
    """
    try:
        with wave.open(file, "rb") as reader:
            return b"".join(_seconds(reader, max_seconds))
    except (wave.Error, EOFError) as error:
        raise WavError(f"is not a PCM WAV file ({str(error) or 'it ends too early'})") from error


def _seconds(reader: wave.Wave_read, max_seconds: float) -> Iterator[bytes]:
    """The converted audio, a second at a time."""
    rate, channels, width = reader.getframerate(), reader.getnchannels(), reader.getsampwidth()
    if channels not in (1, 2):
        raise WavError(f"must be mono or stereo, has {channels} channels")
    if width not in (1, 2):
        raise WavError(f"must have 8 or 16 bits a sample, has {8 * width}")
    if not MIN_RATE <= rate <= MAX_RATE:
        raise WavError(f"must have {MIN_RATE} to {MAX_RATE} samples a second, has {rate}")
    resample = _resampler(rate)
    frames_read = 0
    while frames := reader.readframes(rate):
        samples = _mono(frames, channels, width)
        if not samples:  # the file ends within a frame
            break
        frames_read += len(samples)
        if frames_read > max_seconds * rate:
            raise WavError(f"must play at most {max_seconds:g} seconds")
        yield _little_endian(resample(samples))
    if not frames_read:
        raise WavError("holds no audio")


def _mono(frames: bytes, channels: int, width: int) -> array[int]:
    """Signed 16-bit samples of one channel. A frame cut short by the end of the file is dropped."""
    frames = frames[: len(frames) - len(frames) % (channels * width)]
    if width == 1:  # 8-bit samples are unsigned, silence is 128
        samples = array("h", [(sample - 128) << 8 for sample in frames])
    else:
        samples = array("h", frames)
        if sys.byteorder == "big":
            samples.byteswap()
    if channels == 1:
        return samples
    return array("h", [(left + right) >> 1 for left, right in zip(samples[0::2], samples[1::2], strict=True)])


def _resampler(rate: int) -> Callable[[array[int]], array[int]]:
    """A function that takes up to one second at ``rate`` to 8,000 samples/s.

    Each output sample is the mean of the input over its own 1/8000 s: the running sum is interpolated linearly at the
    edges of those spans. Picking single points instead would fold what lies above 4 kHz into the speech.
    """
    if rate == SAMPLE_RATE:
        return lambda samples: samples
    edges = [divmod(edge * rate, SAMPLE_RATE) for edge in range(SAMPLE_RATE + 1)]

    def resample(samples: array[int]) -> array[int]:
        count = -(-len(samples) * SAMPLE_RATE // rate)
        padded = samples + array("h", [samples[-1]]) * (rate + 1 - len(samples))
        sums = list(accumulate(padded, initial=0))
        # In units of 1/8000 sample, so that everything stays a whole number; a span is ``rate`` of them.
        at_edges = [sums[whole] * SAMPLE_RATE + padded[whole] * part for whole, part in edges[: count + 1]]
        return array("h", [(end - start) // rate for start, end in pairwise(at_edges)])

    return resample


def _little_endian(samples: array[int]) -> bytes:
    if sys.byteorder == "big":
        samples = samples[:]
        samples.byteswap()
    return samples.tobytes()
