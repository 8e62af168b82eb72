"""Answer text as exact typed values: numbers with units, clock times and ratios, coordinates, several values.

Cleaning takes away markup and lead-ins; reading is exact or fails (None), it never guesses. Standard library only.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import unicodedata
from fractions import Fraction

# --- Cleaning -----------------------------------------------------------------------------------------------------

_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")
_REPLACEMENTS = (
    (r"\x0c(?=[A-Za-z])", r"\\f"),  # \frac and \boxed that went through a reader of escapes
    (r"\x08(?=[A-Za-z])", r"\\b"),
    (r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mathit|mathsf|operatorname|mbox|hbox)\s*\{([^{}]*)\}", r" \1 "),
    (r"\\\$|\$|\\[()\[\]]", " "),
    (r"\\[,;:!> ]|~|\\q?quad\b|\\(?:left|right|displaystyle|bf|rm|it)\b", " "),
    (r"\\[dtc]frac", r"\\frac"),
    (r"\{,\}", ","),
    (r"\\%", "%"),
    (r"\\([{}])", r"\1"),
    (r"\^\s*\{?\s*\\circ\s*\}?|\\degrees?\b|\\circ\b|°", " degrees "),
    (r"\\colon\b", ":"),
    (r"[−–—]", "-"),
    (r"×|(?<=\d) ?[xX] ?(?=\d)", r"\\times "),
    (r"^\(\d\) +(?=\S)", ""),
    (r"π", r"\\pi "),
    (r"√\s*(\d+)", r"\\sqrt{\1}"),
    (r"\*\*|__|`", ""),
    (r"\s+", " "),
)
_LEAD_IN = re.compile(
    r"(?:\b(?:final |correct |right )?(?:answer|result|solution)\s*(?:is|are|:|=|would be)|答案\s*[是为:]?|故选"
    r"|选(?!项)择?)\s*:?\s*",
    re.IGNORECASE,
)


@functools.lru_cache(maxsize=65536)
def clean(text: str) -> str:
    """Text without boxes, math delimiters, text macros, lead-ins and closing punctuation."""
    text = re.sub(r"[⁰¹²³⁴-⁹]+", lambda match: "^{" + match.group().translate(_SUPERSCRIPTS) + "}", text)
    text = re.sub(r"(?<=\d)(?=[¼½¾⅐-⅞])", " ", text)
    text = re.sub(r"\x08oxed\b", r"\\boxed", text)
    text = unicodedata.normalize("NFKC", text.replace("°", r"\degree ")).replace("\u2044", "/").replace("。", ".")
    text = _last_box(text)
    text += "}" * (text.count("{") - text.count("}"))  # a cut formula is read as far as it goes
    for _ in range(2):  # macros may be nested once: \text{\textbf{C}}
        for pattern, replacement in _REPLACEMENTS:
            text = re.sub(pattern, replacement, text)
    lead_ins = list(_LEAD_IN.finditer(text))
    if lead_ins and text[lead_ins[-1].end() :].strip(" ."):
        text = text[lead_ins[-1].end() :]
    return text.strip().rstrip(".,;!").strip()


def _last_box(text: str) -> str:
    r"""Content of the last closed ``\boxed{...}``; the text itself if there is none."""
    start = max(text.rfind(r"\boxed{"), text.rfind(r"\fbox{"))
    if start < 0:
        return text
    opening = text.index("{", start)
    depth = 0
    for index in range(opening, len(text)):
        depth += (text[index] == "{") - (text[index] == "}")
        if depth == 0:
            return text[opening + 1 : index]
    return text


# --- Typed values -------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Number:
    """An exact number: `raw` as written, `value` in the base unit of the dimension `unit` ("" for none)."""

    value: Fraction
    raw: Fraction
    unit: str = ""
    num_decimals: int = 0


@dataclasses.dataclass(frozen=True)
class Colon:
    """A clock time or ratio, told apart by form: 7:35 is a time, 3:4 a ratio, 10:15 either."""

    parts: tuple[Fraction, ...]
    is_time: bool
    half_day: str = ""


@dataclasses.dataclass(frozen=True)
class _Sequence:
    """Coordinates or an interval (brackets kept, order matters), or several values (no brackets, in any order)."""

    brackets: str
    parts: tuple[Value, ...]


Value = Number | Colon | _Sequence

_UNITS: dict[str, tuple[str, Fraction]] = {  # singular, American spelling; `_with_unit` brings others to it
    name: (dimension, Fraction(factor))
    for dimension, names in {
        "length": "mm .001 millimeter .001 cm .01 centimeter .01 dm .1 decimeter .1 m 1 meter 1 km 1000 kilometer 1000 "
        "in .0254 inch .0254 inche .0254 ft .3048 foot .3048 feet .3048 mile 1609.344",
        "mass": "g .001 gram .001 kg 1 kilogram 1",
        "time": "s 1 sec 1 second 1 min 60 minute 60 h 3600 hr 3600 hour 3600 day 86400",
        "volume": "ml .001 mL .001 milliliter .001 l 1 L 1 liter 1",
        "angle": "deg 1 degree 1",
        "percent": "% 1 percent 1",
        "dollars": "dollar 1 cent .01",
    }.items()
    for name, factor in re.findall(r"(\S+) (\S+)", names)
}
_NOT_A_UNIT = re.compile(
    r"or|and|to|than|not|half|halves|(?:third|quarter)s?|sqrt|sin|cos|tan|log|times|plus|minus|per|over"
)
_SCALES = {"dozen": 12, "hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9}
_WORDS: dict[str, int] = {
    word: int(number)
    for number, word in re.findall(
        r"(\d+) (\w+)",
        "0 zero 1 one 2 two 3 three 4 four 5 five 6 six 7 seven 8 eight 9 nine 10 ten 11 eleven 12 twelve 13 thirteen "
        "14 fourteen 15 fifteen 16 sixteen 17 seventeen 18 eighteen 19 nineteen 20 twenty 30 thirty 40 forty 50 fifty "
        "60 sixty 70 seventy 80 eighty 90 ninety",
    )
}
_PARTS = {"half": 2, "halves": 2, "third": 3, "thirds": 3, "quarter": 4, "quarters": 4, "fifth": 5, "fifths": 5}
_CHINESE_DIGITS = dict(zip("零一二三四五六七八九两", (*range(10), 2), strict=True))
_PLAIN = r"(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+"
_FRACTION = r"\\frac\s*(?:\{\s*(\d{1,40})\s*\}|(\d))\s*(?:\{\s*(\d{1,40})\s*\}|(\d))|(\d{1,40})\s*/\s*(\d{1,40})"
NUMBER = re.compile(
    rf"(?P<sign>[-+]?)\s*[€£¥]?\s*(?:(?:(?P<whole>\d{{1,40}})(?:\s+|(?=\\frac)))?(?P<fraction>{_FRACTION})|(?P<plain>{_PLAIN})"
    r"(?:\s*(?:[eE]|\\times\s*10\s*\^|\\cdot\s*10\s*\^)\s*\{?\s*(?P<exponent>[-+]?\d{1,2})\s*\}?)?)"
)
_UNIT = re.compile(
    r"\s*(?P<square>(?:square|sq\.?|cubic) )?(?P<name>%|[A-Za-z][A-Za-z ]*)(?:\^\s*\{?(?P<power>[23])\}?)?"
)
NAME = re.compile(
    r"(?P<name>(?:m ?)?(?:\\angle|\\triangle|∠|△)? ?[A-Za-z]+(?:_\{?\w+\}?)?|\([a-z], ?[a-z]\))"
    r"\s*(?:=|\\approx|:(?=\s))\s*(?P<value>[^=]+)"
)


@functools.lru_cache(maxsize=65536)
def read_value(text: str) -> Value | None:
    """The typed value of a whole cleaned text; None if it has another form."""
    text = text.strip()
    named = NAME.fullmatch(text)
    if named:
        text = named.group("value").strip()
    return _read_number(text) or _read_colon(text) or _read_sequence(text)


def _read_number(text: str) -> Number | None:
    """A number with or without a unit, a compound (2 hours 30 minutes) or a small number word."""
    text = _digits_for_words(text)
    if re.match(r"[-+]?[1-9]\d{0,2}(?: \d{3})+(?![\d/])", text):
        text = re.sub(r"(?<=\d) (?=\d{3}(?!\d))", "", text)  # 10 000
    match = NUMBER.match(text)
    raw = number_of(match) if match else None
    if raw is None:
        return None
    num_decimals = len((match.group("plain") or "").partition(".")[2])
    rest = text[match.end() :].strip()
    if not rest:
        return Number(raw, raw, "", num_decimals)
    compound = re.fullmatch(r"([A-Za-z]+),?\s+(?:and )?(\d.*)", rest)
    if compound:
        first, second = _with_unit(raw, compound.group(1), 0), _read_number(compound.group(2))
        is_sum = first and second and first.unit == second.unit != ""
        total = first.value + second.value if is_sum else None
        return Number(total, total, first.unit) if is_sum else None
    return _with_unit(raw, rest, num_decimals)


def _digits_for_words(text: str) -> str:
    """Text whose leading number words (twenty-one, one hundred, three quarters, 三十) are digits."""
    chinese = re.match("([一二两三四五六七八九]?)十([一二三四五六七八九]?)", text)
    if chinese:
        tens, ones = (_CHINESE_DIGITS.get(digit) for digit in chinese.groups())
        return f"{10 * (1 if tens is None else tens) + (ones or 0)}{text[chinese.end() :]}"
    if text[:1] in _CHINESE_DIGITS:
        return f"{_CHINESE_DIGITS[text[0]]}{text[1:]}"
    words = re.split(r"(?<=y)-(?=[a-z])|-(?=half|third|quarter|fifth)| ", text.casefold(), maxsplit=3)
    if words[0] in _PARTS and len(words) == 1:
        return f"1/{_PARTS[words[0]]}"
    if words[0] not in _WORDS:
        return text
    total, num_used = _WORDS[words[0]], 1
    if len(words) > 1:
        if words[1] in _PARTS:
            total, num_used = f"{total}/{_PARTS[words[1]]}", 2
        elif total >= 20 and 0 < _WORDS.get(words[1], 0) < 10:
            total, num_used = total + _WORDS[words[1]], 2
        elif words[1] in _WORDS:
            return text  # two three: no number
    return " ".join([str(total), *words[num_used:]])


def number_of(match: re.Match[str]) -> Fraction | None:
    """The value of a `NUMBER` match; None for a zero denominator or absurdly many digits."""
    sign = -1 if match.group("sign") == "-" else 1
    if match.group("fraction"):
        digits = [group for group in re.fullmatch(_FRACTION, match.group("fraction")).groups() if group]
        if int(digits[1]) == 0:
            return None
        return sign * (int(match.group("whole") or 0) + Fraction(int(digits[0]), int(digits[1])))
    plain = match.group("plain").replace(",", "")
    return None if len(plain) > 80 else sign * Fraction(plain) * Fraction(10) ** int(match.group("exponent") or 0)


def _with_unit(raw: Fraction, text: str, num_decimals: int) -> Number | None:
    """Number `raw` in the unit `text`: converted if known, as it is for a plain noun, None for anything else."""
    scale, _, rest = text.partition(" ")
    if scale in _SCALES:
        raw, text = raw * _SCALES[scale], rest
        if not text:
            return Number(raw, raw)
    text = re.sub("^(?:度|°)$", "degrees", text)
    ratio = re.fullmatch(r"([A-Za-z][A-Za-z ]*?)\s*(?:/|\bper\b)\s*([A-Za-z ]+)", text)
    if ratio:
        over, under = (_with_unit(Fraction(1), part, 0) for part in ratio.groups())
        if not (over and under):
            return None
        unit = f"{over.unit}/{under.unit}" if over.unit and under.unit else ""
        return Number(raw * over.value / under.value if unit else raw, raw, unit, num_decimals)
    match = _UNIT.fullmatch(text)
    if not match:
        return None
    name = match.group("name").strip()
    singular = re.sub("(met|lit)re$", r"\1er", re.sub("(?<=..)s$", "", name.casefold()))
    known = _UNITS.get(name) or _UNITS.get(singular)
    if known:
        dimension, factor = known
        square = match.group("square") or ""
        power = int(match.group("power") or (3 if square == "cubic " else 2 if square else 1))
        return Number(raw * factor**power, raw, dimension if power == 1 else f"{dimension}^{power}", num_decimals)
    words = name.casefold().split()
    is_noun = len(words) <= 3 and all(len(word) >= 3 and not _NOT_A_UNIT.fullmatch(word) for word in words)
    return Number(raw, raw, "", num_decimals) if is_noun else None


def _read_colon(text: str) -> Colon | None:
    """A clock time or ratio; "3 to 4" is a ratio too."""
    match = re.fullmatch(
        r"([\d.]{1,12}(?:\s*(?::|\bto\b)\s*[\d.]{1,12}){1,3})\s*([ap])?\.?\s*(?:m\.?)?", text, re.IGNORECASE
    )
    if not match:
        return None
    texts = re.split(r"\s*(?::|to)\s*", match.group(1), flags=re.IGNORECASE)
    if not all(re.fullmatch(r"\d+(?:\.\d+)?", part) for part in texts):
        return None
    parts = tuple(Fraction(part) for part in texts)
    is_time = ":" in text and all(re.fullmatch(r"[0-5]\d", part) for part in texts[1:]) and parts[0] <= 24
    return Colon(parts, is_time and len(parts) <= 3, (match.group(2) or "").casefold())


def _read_sequence(text: str) -> Value | None:
    """Coordinates, an interval, a set, or several values joined by commas, "and", "or"; (5) is 5."""
    match = re.fullmatch(r"(?:[A-Z] ?)?([(\[{])(.*)([)\]}])", text)
    brackets, inner = (match.group(1) + match.group(3), match.group(2)) if match else ("", text)
    if brackets and re.search(r"[(\[{][^)\]}]*[,;]", inner):
        brackets, inner = "", text  # (1,2), (3,4): several bracketed values
    if brackets and not re.search("[,;]", inner):
        return _read_number(inner.strip()) if brackets == "()" else None
    separator = r"[,;](?![^(\[]*[)\]])" + ("" if brackets else r"|\band\b|\bor\b|、")
    texts = [part for part in re.split(separator, inner) if part.strip()]
    if len(texts) < 2 or len(texts) > 20:
        return None
    parts = tuple(read_value(part) for part in texts)
    return None if None in parts else _Sequence("" if brackets == "{}" else brackets, parts)


def same_value(gold: Value, answer: Value) -> bool:
    """Whether a typed answer has the gold's value."""
    if isinstance(gold, Number) and isinstance(answer, Number):
        return _same_number(gold, answer)
    if isinstance(gold, Colon) and isinstance(answer, Colon):
        if gold.half_day and answer.half_day and gold.half_day != answer.half_day:
            return False
        if bool(gold.half_day) != bool(answer.half_day) and max(gold.parts[0], answer.parts[0]) > 12:
            return _on_24_hours(gold) == _on_24_hours(answer)
        is_ratio = not (gold.is_time and answer.is_time) and len(gold.parts) == len(answer.parts)
        pairs = list(zip(gold.parts, answer.parts, strict=False))
        return gold.parts == answer.parts or (
            is_ratio and pairs[0] != (0, 0) and all(a * pairs[0][1] == b * pairs[0][0] for a, b in pairs[1:])
        )
    if isinstance(gold, Colon) and isinstance(answer, Number):
        # 5:12 may be a time; the fraction 5/12 is none, and has to be that very one.
        is_fraction = answer.raw.denominator > 1 and not answer.num_decimals and answer.raw.numerator == gold.parts[0]
        is_plain_ratio = len(gold.parts) == 2 and (not gold.is_time or is_fraction) and not answer.unit
        return is_plain_ratio and gold.parts[0] == gold.parts[1] * answer.value
    if isinstance(gold, _Sequence) and isinstance(answer, _Sequence):
        if gold.brackets != answer.brackets or len(gold.parts) != len(answer.parts):
            return False
        if gold.brackets:
            return all(same_value(a, b) for a, b in zip(gold.parts, answer.parts, strict=True))
        left = list(answer.parts)
        for part in gold.parts:
            found = next((index for index, other in enumerate(left) if same_value(part, other)), None)
            if found is None:
                return False
            del left[found]
        return True
    return False


def _on_24_hours(time: Colon) -> tuple[Fraction, ...]:
    hour = time.parts[0] % 12 + (12 if time.half_day == "p" else 0) if time.half_day else time.parts[0]
    return (hour, *time.parts[1:])


def _same_number(gold: Number, answer: Number) -> bool:
    """Equal values: units agree or one is missing, 30 % is 30 and 0.3, and 0.33 is 1/3 (never 0.334)."""
    if gold.unit and answer.unit:
        return gold.unit == answer.unit and gold.value == answer.value
    if gold.raw == answer.raw:
        return True
    if "percent" in (gold.unit, answer.unit):
        percent, other = (gold, answer) if gold.unit else (answer, gold)
        return percent.raw == 100 * other.raw
    for decimal, exact in ((gold, answer), (answer, gold)):
        if decimal.num_decimals >= 2 and not exact.num_decimals and exact.raw.denominator > 1:
            return round(exact.raw, decimal.num_decimals) == decimal.raw
    return False


_ENDS = r"(-?\s*(?:\\infty|[\d.]+(?:/\d+)?|\\frac\s*\{[^{}]+\}\s*\{[^{}]+\}|\\sqrt\s*\{[^{}]+\}|\\pi))"
_BELOW, _ABOVE = r"(<=?|\\leq?(?:slant)?\b|≤|\\lt\b)", r"(>=?|\\geq?(?:slant)?\b|≥|\\gt\b)"
_BETWEEN = re.compile(rf"{_ENDS}\s*{_BELOW}\s*[A-Za-z]\s*{_BELOW}\s*{_ENDS}")
_ONE_SIDED = re.compile(rf"[A-Za-z]\s*(?:{_BELOW}|{_ABOVE})\s*{_ENDS}")


def interval_of(text: str) -> str:
    r"""A cleaned inequality in one letter as an interval, any other text unchanged.

    Example:
        >>> interval_of(r"1 \le x < 3"), interval_of("x > 2")
        ('[1,3)', '(2,\\infty)')
    """

    def is_closed(relation: str) -> bool:
        return relation not in ("<", ">", "\\lt", "\\gt")

    between, one_sided = _BETWEEN.fullmatch(text), _ONE_SIDED.fullmatch(text)
    if between:
        low, after_low, before_high, high = between.groups()
        return f"{'[' if is_closed(after_low) else '('}{low},{high}{']' if is_closed(before_high) else ')'}"
    if one_sided:
        below, above, end = one_sided.groups()
        if below:
            return rf"(-\infty,{end}{']' if is_closed(below) else ')'}"
        return rf"{'[' if is_closed(above) else '('}{end},\infty)"
    return text
