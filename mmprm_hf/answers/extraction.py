"""The final answer of a whole response, found where responses put it: a box, "the answer is", the last line.

Whatever stands last wins. For responses without an answer block; `mmprm_hf.steps` reads those that have one. Standard
library only.
"""

from __future__ import annotations

import re

from .cleaning import closed_boxes, text_to_closing_brace
from .phrases import SENTENCE_END

MAX_RULE_CHARS = 2000
"""Of a longer answer the final one is extracted; what is still longer, gold and options too, is undecided."""
MAX_RESPONSE_CHARS = 20_000
"""Only the end of a longer response is read: such a response is a degenerate loop."""
_TAG = re.compile(r"<answer>(.*?)</answer>", re.DOTALL | re.IGNORECASE)
_JSON = re.compile(
    r"\{[^{}]*\"(?:final_)?answer\"\s*:\s*(?:\"([^\"]*)\"|([^\",{}]+))[^{}]*\}\s*(?:```)?\s*$", re.IGNORECASE
)
_BULLETS = re.compile(r"(?<=[:：])\**[ \t]*\n\s*((?:[-*•][ \t]+\S[^\n]*(?:\n\s*|$))+)\Z")
_BULLET = re.compile(r"^\s*[-*•][ \t]+", re.MULTILINE)
_BARE_BOX = re.compile(r"\\boxed\s+(?=[A-Za-z0-9](?![\w{]))([A-Za-z0-9])")
_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
_ANSWER_LINE = re.compile(
    r"^[ \t†*#>]*(?:(?:(?:final |correct )?answer|ans|答案)(?:\*{1,2})?[ \t]*(?:[:：=是为]|-(?=[ \t]))"
    r"|a(?:\*\*)?[ \t]*[:：]"
    r"|(?<=####)(?<!#####))[ \t*]*\n?\s{0,6}(?=[^\s*])",
    re.IGNORECASE | re.MULTILINE,
)
_LAST_ANSWER_LINE = re.compile(
    r"^[ \t†*#>]*(?:(?:final |correct )?answer|答案)(?:\*{1,2})?[ \t]*[:：][ \t*]*\n?[ \t]*(?=[^\s*])"
    r"|^[ \t]*####[ \t]+(?=\S)",
    re.IGNORECASE | re.MULTILINE,
)
_END_TAG = re.compile(r"<answer>((?:(?!<answer>).)*)</answer>\Z", re.DOTALL | re.IGNORECASE)
_PHRASE = re.compile(
    r"(?<!wrong )(?<!incorrect )(?<!other )\b(?:answers?|result|solutions?|choice|option)\b"
    r"(?: (?:to|of|for)\b(?![^.\n]{0,60}?\bother\b)[^.\n]{0,60}?)?[ \t]*"
    r"(?:\bis\b|\bare\b|\bwould be\b|\bshould be\b|:|=):?\*{0,2}\s{0,3}(?=\S)"
    r"(?:(?:therefore|thus|then|approximately)\s+)?"
    r"|(?:答案[ \t]*[是为:：]?|故选|(?<!不)应?选择?)[ \t]*[:：]?[ \t]*(?=[^\s。])",
    re.IGNORECASE,
)
_SAYS_NOTHING = re.compile(r"(?:an?|the|given|shown|as|found|clear|that|then|therefore|correct)\b(?!.*[\d\\])|.*:$")
_IS_ANSWER = re.compile(r"(?:answer|答案).*(?:[\d\\]|(?<![A-Za-z])[A-Z](?![A-Za-z]))", re.IGNORECASE)
_DISPLAYS = {"\\[": "\\]", "$$": "$$", "\\(": "\\)", "\\begin": "\\end"}


def extract_answer(response: str) -> str | None:
    r"""Return the text of the final answer: the last box, answer line or "the answer is" phrase, or the last line.

    Args:
        response: A whole response of a model, reasoning and all.

    Returns:
        The answer as it is written, with its markup (`RuleVerifier` removes it); several boxes in one sentence and
        the points of a list are joined by commas. None for a blank response and for an answer that is cut off before
        its first word.

    Example:
        >>> extract_answer("3 + 4 = 7, so it is \\boxed{7}."), extract_answer("So many.\nAnswer: 12 cm")
        ('7', '12 cm')
        >>> extract_answer("We get \\boxed{7}. Halved, the answer is 3.5."), extract_answer("The answer is:\n- 12")
        ('3.5', '12')
    """
    answer = final_answer(response)
    response = _without_bullets(response.strip()[-MAX_RESPONSE_CHARS:])
    if answer is not None or not response:
        return answer or None
    return _last_line(response)


def final_answer(response: str) -> str | None:
    r"""Return the final answer that a response marks as such: in a box, on an answer line, by "the answer is".

    As `extract_answer`, but None where nothing is marked: a last line is not guessed to be the answer. "" for a mark
    with nothing behind it.

    Example:
        >>> final_answer("3 + 4 = 7, so it is \\boxed{7}."), final_answer("3 + 4 = 7")
        ('7', None)
    """
    response = _without_bullets(response.strip()[-MAX_RESPONSE_CHARS:])
    marked = _marked_answer(response)
    if marked is not None:
        return marked
    response = _BARE_BOX.sub(r"\\boxed{\1}", response)
    box = next(reversed(list(_BOX.finditer(response))), None)
    line = next(reversed(list(_ANSWER_LINE.finditer(response))), None)
    box_start, line_start = (match.start() if match else -1 for match in (box, line))
    content = text_to_closing_brace(response, box.end()) if box else None
    box_end = box.end() + len(content or "") if box else -1
    phrase, phrase_start = _last_phrase(response, box_end)
    if phrase is not None and phrase_start > max(box_start, line.end() if line else -1):
        return phrase
    if line is not None and line_start > box_start:
        return _line_at(response, line.end()).rstrip("。")
    if box is not None:
        joined = ", ".join(closed_boxes(response)) if content is not None else response[box.end() :]
        return joined.strip()
    return None


def split_answer_line(response: str) -> tuple[str, str | None]:
    r"""Return a response without the answer line or the answer's tags that it ends with, and what these say.

    Returns:
        The text before and the answer; the whole text and None where the response ends in another way.

    Example:
        >>> split_answer_line("3 + 4 = 7\nAnswer: 7"), split_answer_line("So the answer is 7.")
        (('3 + 4 = 7', '7'), ('So the answer is 7.', None))
    """
    text = response.rstrip()
    tags = _END_TAG.search(text[-MAX_RESPONSE_CHARS:])
    if tags is not None:
        start = len(text) - len(tags.group())
        return text[:start].rstrip(), tags.group(1).strip()
    *_, line = [None, *_LAST_ANSWER_LINE.finditer(text, max(0, len(text) - MAX_RULE_CHARS))]
    if line is None:
        return response, None
    answer = _line_at(text, line.end())
    is_last = "".join(text[line.end() :].split()) == "".join(answer.split())
    return (
        (text[: line.start()].rstrip(), answer.rstrip("。").removesuffix("**"))
        if is_last and answer
        else (response, None)
    )


def answer_to_read(answer: str) -> str | None:
    """Return the text of an answer to judge: what it marks as the answer if it is long; None if that is long as well.

    Example:
        >>> answer_to_read("<answer>84</answer>"), answer_to_read("So. " * 1000 + "The answer is 5.")
        ('84', '5')
    """
    if len(answer) > MAX_RULE_CHARS:
        answer = extract_answer(answer) or ""
    marked = _marked_answer(answer.strip())
    answer = marked or _without_bullets(answer)
    return answer if len(answer) <= MAX_RULE_CHARS else None


def _marked_answer(text: str) -> str | None:
    """What stands between the tags of an answer, or under "answer" in JSON; None for several and for no such mark."""
    tagged = {content.strip() for content in _TAG.findall(text)}
    if tagged:
        return tagged.pop() if len(tagged) == 1 else None
    match = _JSON.search(text[-MAX_RULE_CHARS:])
    return (match.group(1) or match.group(2) or "").strip() if match else None


def _without_bullets(text: str) -> str:
    """A list behind a colon in one line, its points joined by commas: the bullet of "- 12" is not a sign."""
    return _BULLETS.sub(lambda match: " " + ", ".join(_BULLET.sub("", match.group(1)).strip().splitlines()), text)


def _last_phrase(response: str, box_end: int) -> tuple[str | None, int]:
    """What the last phrase that names an answer says, and where; phrases like "the solution is an integer" do not.

    Behind a box only "the answer is" with a value or a letter counts.
    """
    for match in reversed(list(_PHRASE.finditer(response))):
        text = SENTENCE_END.split(_line_at(response, match.end()), maxsplit=1)[0].strip()
        if box_end >= 0 and (match.start() < box_end or not _IS_ANSWER.search(match.group() + text)):
            continue
        if not _SAYS_NOTHING.match(text) or match.end() + len(text) >= len(response) - 1:
            return text, match.start()
    return None, -1


def _line_at(text: str, start: int) -> str:
    """The line from `start`; all of a formula that is displayed on lines of its own."""
    line, _, rest = text[start:].partition("\n")
    closing = _DISPLAYS.get(line.strip())
    if closing is None or closing not in rest:
        return line.strip()
    return f"{line.strip()} {rest[: rest.index(closing)].strip()} {closing}"


def _last_line(response: str) -> str:
    """The last line; from its opening on where it closes a displayed formula."""
    line = response.splitlines()[-1].strip()
    for opening, closing in _DISPLAYS.items():
        if line.rstrip(".").startswith(closing) and len(line) < 20:
            start = response.rfind(opening, 0, len(response) - len(line))
            if start >= 0:
                return response[start:]
    return line
