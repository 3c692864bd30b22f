"""Damage for readers' tests: bytes flipped, cut, repeated, and lengths enlarged, the same for the same seed.

rng = random.Random(1)
for _ in range(500):
    data = mutate(whole, rng)
    with contextlib.suppress(UnusablePicture):  # what is documented, and nothing else
        read_picture(data)
"""

from __future__ import annotations

import random
from collections.abc import Callable

_EXTREMES = {
    2: (0, 1, 0x7FFF, 0x8000, 0xFFFE, 0xFFFF),
    4: (0, 1, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF),
}
"""Numbers that lengths, counts and sizes go wrong at, by the bytes they have."""
_TOKENS = (
    b"\0", b"\xff", b"\xff\xd9", b"\xfe\xff\xdd\xe0", b"\xc3", b"\xef\xbb\xbf", b'"', b"'", b",", b";", b"\n", b"\r",
    b"\\", b"[", b"]", b"{", b"}", b"nan", b"-1", b"1e999", b"9" * 30, b"null", b"[" * 40, b"\xed\xa0\x80",
)  # fmt: skip
"""What means something to readers of pictures, tables or JSON."""


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Damage a file in one to three places, more often near its beginning, where headers are.

    Args:
        data: The whole file, not empty.
        rng: Decides the damage; the same state gives the same.

    Returns:
        The damaged file, rarely equal to `data` or empty.
    """
    for _ in range(rng.choice((1, 1, 2, 3))):
        if data:
            data = rng.choice(_KINDS)(data, rng)
    return data


def _place(data: bytes, rng: random.Random) -> int:
    """A position: half of the time in the first 1,024 bytes, now and then in the last 32."""
    end = len(data)
    start, stop = rng.choice(((0, end), (0, min(end, 1024)), (0, min(end, 1024)), (max(0, end - 32), end)))
    return rng.randrange(start, stop)


def _flip(data: bytes, rng: random.Random) -> bytes:
    """Change one bit."""
    at = _place(data, rng)
    return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]


def _overwrite(data: bytes, rng: random.Random) -> bytes:
    """Put chance in the place of some bytes."""
    at, length = _place(data, rng), rng.choice((1, 1, 2, 4, 16))
    return data[:at] + rng.randbytes(len(data[at : at + length])) + data[at + length :]


def _enlarge(data: bytes, rng: random.Random) -> bytes:
    """Put an extreme number in the place of two or four bytes, or double or increase the one that is there."""
    at, length, order = _place(data, rng), rng.choice((2, 4)), rng.choice(("little", "big"))
    old = int.from_bytes(data[at : at + length], order)
    new = rng.choice((*_EXTREMES[length], old + 1, old - 1, 2 * old, old + 1000)) % (1 << 8 * length)
    return data[:at] + new.to_bytes(length, order) + data[at + length :]


def _cut(data: bytes, rng: random.Random) -> bytes:
    """Drop everything from a place on."""
    return data[: rng.randrange(len(data))]


def _remove(data: bytes, rng: random.Random) -> bytes:
    """Drop some bytes in the middle."""
    at = _place(data, rng)
    return data[:at] + data[at + rng.choice((1, 2, 8, 100)) :]


def _repeat(data: bytes, rng: random.Random) -> bytes:
    """Repeat a part where it ends."""
    at = _place(data, rng)
    part = data[at : at + rng.choice((1, 2, 8, 100, 1000))]
    return data[:at] + part * rng.choice((2, 2, 3, 9)) + data[at + len(part) :]


def _move(data: bytes, rng: random.Random) -> bytes:
    """Write a part of the file over another."""
    source, at, length = _place(data, rng), _place(data, rng), rng.choice((2, 8, 64))
    part = data[source : source + length]
    return data[:at] + part + data[at + len(part) :]


def _insert(data: bytes, rng: random.Random) -> bytes:
    """Put in something that means something."""
    at = _place(data, rng)
    return data[:at] + rng.choice(_TOKENS) + data[at:]


_KINDS: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    _flip, _overwrite, _overwrite, _enlarge, _enlarge, _cut, _remove, _repeat, _move, _insert,
)  # fmt: skip
