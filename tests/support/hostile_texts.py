"""Texts that break parsers: deep, long, repeated and half-written."""

_PIECES = [
    "(", "{", "\\frac", "\\sqrt{", "9^", "x<", "\\cup", "1,", "!", "-", "\\sin ", "or ", "one ", "十", "\ud800", "|",
]  # fmt: skip
HOSTILE_TEXTS = [piece * count for piece in _PIECES for count in (1, 30, 300, 2000)]
HOSTILE_TEXTS += [first * 40 + second * 40 for first in _PIECES for second in _PIECES]
