"""The final answer of a whole response, found where responses put it: a box, "the answer is", the last line.

For responses without an answer block; `mmprm_hf.steps` reads those that have one. Standard library only.
"""

from __future__ import annotations

import re

from .cleaning import text_to_closing_brace

MAX_RESPONSE_CHARS = 20_000
"""Only the end of a longer response is read: such a response is a degenerate loop."""
_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
_ANSWER_LINE = re.compile(
    r"^[ \t†*#>]*(?:(?:final |correct )?answer|ans|a|答案)(?:\*\*)?[ \t]*(?::|：|=|是|为)[ \t*]*"
    r"(?P<answer>[^\s*][^\n]*)",
    re.IGNORECASE | re.MULTILINE,
)
_PHRASE = re.compile(
    r"\b(?:answer|result|solution|choice|option)\b(?: (?:to|of|for)\b[^.\n]{0,60}?)?[ \t]*"
    r"(?:\bis\b|\bare\b|\bwould be\b|\bshould be\b|:|=):?\s{0,3}(?=(?P<answer>\S[^\n]*))"
    r"|(?:答案[ \t]*[是为:：]?|故选|应?选择?)[ \t]*[:：]?[ \t]*(?P<chinese>[^\s。][^\n。]*)",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"(?<=[^\d\s])[.!?](?=\s+[A-Z\\]|$)|(?<=\d)\.(?=\s+[A-Z]|$)|。")


def extract_answer(response: str) -> str | None:
    r"""Return the text of the final answer: the last box, answer line, "the answer is" phrase, or the last line.

    Args:
        response: A whole response of a model, reasoning and all.

    Returns:
        The answer as it is written, with its markup (`RuleVerifier` removes it); None for a blank response and for an
        answer that is cut off before its first word.

    Example:
        >>> extract_answer("3 + 4 = 7, so it is \\boxed{7}."), extract_answer("So many.\nAnswer: 12 cm")
        ('7', '12 cm')
    """
    response = response.strip()[-MAX_RESPONSE_CHARS:]
    if not response:
        return None
    boxes = list(_BOX.finditer(response))
    if boxes:
        start = boxes[-1].end()
        content = text_to_closing_brace(response, start)
        return (response[start:] if content is None else content).strip() or None
    lines = list(_ANSWER_LINE.finditer(response))
    if lines:
        return lines[-1].group("answer").strip().rstrip("。")
    phrases = list(_PHRASE.finditer(response))
    if phrases:
        text = phrases[-1].group("answer") or phrases[-1].group("chinese")
        return _SENTENCE_END.split(text, maxsplit=1)[0].strip() or None
    return response.splitlines()[-1].strip()
