r"""Units of measurement as dimension and factor: cm, square inches, km/h, kg m/s^2, miles per hour, dollars.

Symbols are read with upper and lower case (mHz is not MHz), words without. A plain noun (apples) is a unit of a
dimension of its own; a word that computes, orders or counts (squared, sixth, pairs) is none. Standard library only.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import re
from fractions import Fraction

from .approximate import PI, Scalar
from .numerals import NUMBER_WORDS, PARTS, SCALE_WORDS


@dataclasses.dataclass(frozen=True)
class Unit:
    """A unit of a dimension ("length", "length^2", "length*time^-1", "noun apple"): `factor` of its base unit."""

    dimension: str
    factor: Fraction = Fraction(1)


_PREFIXES = {"T": 12, "G": 9, "M": 6, "k": 3, "h": 2, "d": -1, "c": -2, "m": -3, "µ": -6, "n": -9, "p": -12}
_PREFIX_WORDS = {"tera": 12, "giga": 9, "mega": 6, "kilo": 3, "centi": -2, "milli": -3, "micro": -6, "nano": -9}
_FORCE = "mass*length*time^-2"
_ENERGY, _POWER = "mass*length^2*time^-2", "mass*length^2*time^-3"
_SI = """
    m:kMhdcmµnp:meter:length:1  g:kMmµn:gram:mass:1/1000  s:mµnp:second:time:1  L:mcdkhµ:liter:length^3:1/1000
    l:mcdkhµ::length^3:1/1000  N:kMGmµ:newton:FORCE:1  J:kMGTmµ:joule:ENERGY:1  W:kMGTmµ:watt:POWER:1
    Wh:kMGTm::ENERGY:3600  eV:kMGTm::ENERGY:1.602176634e-19  cal:k:calorie:ENERGY:4.184  K:mµ:kelvin:temperature:1
    V:kMmµ:volt:POWER*current^-1:1  A:kmµn:ampere:current:1  C:mµnp:coulomb:current*time:1
    Ω:kMGmµ:ohm:POWER*current^-2:1  F:mµnp:farad:current^2*time*POWER^-1:1  T:mµn:tesla:mass*time^-2*current^-1:1
    Wb:m:weber:ENERGY*current^-1:1  H:mµ:henry:ENERGY*current^-2:1  Pa:kMGhmµ:pascal:mass*length^-1*time^-2:1
    Hz:kMGTm:hertz:time^-1:1  mol:mµnk:mole:amount:1  bar:m::mass*length^-1*time^-2:100000
    B:kMGT:byte:information:8  b:kMGT:bit:information:1  bps:kMGTm::information*time^-1:1
"""
_SYMBOLS = """
    Å:length:1e-10  cc:length^3:1e-6  h:time:3600  hr:time:3600  hrs:time:3600  min:time:60  mins:time:60  sec:time:1
    secs:time:1  in:length:.0254  ft:length:.3048  yd:length:.9144  mi:length:1609.344  lb:mass:.45359237
    lbs:mass:.45359237  oz:mass:.028349523125  gal:length^3:.003785411784  qt:length^3:.000946352946
    yr:months:12  yrs:months:12  mph:length*time^-1:.44704  kph:length*time^-1:5/18  kmh:length*time^-1:5/18
    deg:angle:1  rad:radians:1  %:percent:1  pct:percent:1  $:dollars:1  ¢:dollars:.01  €:euros:1  £:sterling:1
    ¥:yen_or_yuan:1  ₹:rupees:1  USD:dollars:1  EUR:euros:1  GBP:sterling:1  JPY:yen:1  RMB:yuan:1  CNY:yuan:1
    ₩:won:1  ₽:roubles:1  元:yuan:1  ':prime:1  amp:current:1  amps:current:1
    atm:mass*length^-1*time^-2:101325  ha:length^2:10000
"""
_WORDS = """
    inch:length:.0254  inche:length:.0254  foot:length:.3048  feet:length:.3048  yard:length:.9144  mile:length:1609.344
    pound:pounds:1  ounce:mass:.028349523125  ton:tons:1  tonne:mass:1000  minute:time:60  hour:time:3600
    day:time:86400  week:time:604800  month:months:1  year:months:12  gallon:length^3:.003785411784
    quart:length^3:.000946352946  pint:length^3:.000473176473  degree:angle:1  radian:radians:1  percent:percent:1
    percentage:percent:1  dollar:dollars:1  cent:dollars:.01  euro:euros:1  yen:yen:1  yuan:yuan:1  rupee:rupees:1
    pence:sterling:.01  unit:units:1  people:people:1  person:people:1  hectare:length^2:10000
    acre:length^2:4046.8564224
"""


def _read_dimension(text: str) -> collections.Counter[str]:
    """The base dimensions of a dimension, each with its power."""
    powers: collections.Counter[str] = collections.Counter()
    for part in filter(None, text.split("*")):
        name, _, power = part.partition("^")
        inner = {"FORCE": _FORCE, "ENERGY": _ENERGY, "POWER": _POWER}.get(name)
        for base, exponent in (_read_dimension(inner) if inner else {name: 1}).items():
            powers[base] += exponent * int(power or 1)
    return powers


def _write_dimension(powers: collections.Counter[str]) -> str:
    parts = sorted((name, power) for name, power in powers.items() if power)
    return "*".join(name if power == 1 else f"{name}^{power}" for name, power in parts)


def _unit(dimension: str, factor: str | Fraction) -> Unit:
    return Unit(_write_dimension(_read_dimension(dimension)), Fraction(factor))


def _tables() -> tuple[dict[str, Unit], dict[str, Unit]]:
    """Units by symbol and by word (in lower case, singular, in American spelling)."""
    symbols, words = ({}, {})
    for table, text in ((symbols, _SYMBOLS), (words, _WORDS)):
        table.update({name: _unit(*rest) for name, *rest in (entry.split(":") for entry in text.split())})
    for entry in _SI.split():
        symbol, prefixes, word, dimension, factor = entry.split(":")
        symbols[symbol] = _unit(dimension, factor)
        for prefix in prefixes:
            symbols[prefix + symbol] = _unit(dimension, Fraction(factor) * Fraction(10) ** _PREFIXES[prefix])
        for prefix, power in {"": 0, **_PREFIX_WORDS}.items():
            if word:
                words[prefix + word] = _unit(dimension, Fraction(factor) * Fraction(10) ** power)
    for name in ("C", "Celsius", "F", "Fahrenheit"):
        symbols[f"degrees {name}"] = Unit(f"degrees {name[0]}")
    return symbols, words


SYMBOLS, WORDS = _tables()
LETTER_UNITS = frozenset(
    SYMBOLS[letter].dimension for letter in ("N", "J", "W", "K", "V", "A", "C", "F", "T", "H", "'")
)
"""Dimensions whose symbols are capital letters, as unknowns are, or marks."""
_ORDINALS = "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth"
_NOT_A_NOUN = frozenset(
    f"""
    or and to than not half sqrt sin cos tan log ln lim times plus minus per over more less fewer only mod but with when
    where for from are each squared cubed doubled tripled halved factorial choose pair couple score dozen gross lakh
    crore trillion quadrillion mil out off too is was the that this least most about wrong incorrect false invalid
    rejected extraneous fold divided multiplied added subtracted raised power percentile root square cube cubic inverse
    reciprocal equal greater exactly approximately respectively point negative positive modulo base percent
    millionth {_ORDINALS} {" ".join(PARTS)} {" ".join(NUMBER_WORDS)} {" ".join(SCALE_WORDS)}
    """.split()
)
_MEASURES = frozenset(("long", "wide", "tall", "high", "deep", "thick", "old", "away", "apart", "each", "total"))
_SYMBOL = "|".join(sorted(map(re.escape, SYMBOLS), key=len, reverse=True))
_FACTOR = re.compile(
    r"(?P<square>(?:square|sq\.?|cubic) ?)?(?P<name>degrees (?:C|F)(?:elsius|ahrenheit)?\b|[A-Za-zµΩÅ]+|[%'$¢€£¥₹₩₽元])"
    r"(?: ?\^ ?(?:\{ ?(?P<power>-?[1-9]) ?\}|(?P<digit>[1-9]))|(?<=[a-z])(?P<glued>[23])"
    r"| (?P<word>squared|cubed)\b)?\.?"
)


@functools.lru_cache(maxsize=16384)
def read_unit(text: str) -> Unit | None:
    """Return the unit that `text` names; None if it names none.

    Example:
        >>> read_unit("square inches").dimension, read_unit("km/h").factor, read_unit("apples").dimension
        ('length^2', Fraction(5, 18), 'noun apple')
    """
    text = re.sub(r"\\Omega(?![A-Za-z])", "Ω", re.sub(r"\\mu(?![A-Za-z]) ?|μ", "µ", text.strip()))
    text = re.sub(r"\\cdot(?![A-Za-z])|\*|·", " * ", text)
    text = re.sub(r"\s+", " ", text)
    text = re.sub(r"\bper cent\b", "percent", text)
    text = re.sub(r"/ ?\(([^()/]*)\)", lambda match: "/" + re.sub(r" \* | (?=[a-zµ])", "/", match.group(1)), text)
    over, *under = re.split(r"\s*/\s*|\s+per\s+|\s+an?\s+", text)
    units = [_product(over), *map(_product, under)]
    if None in units or len(units) > 3:
        return None
    powers, factor = _read_dimension(units[0].dimension), units[0].factor
    for unit in units[1:]:
        powers.subtract(_read_dimension(unit.dimension))
        factor /= unit.factor
    return Unit(_write_dimension(powers), factor)


def _product(text: str) -> Unit | None:
    """One unit, or several known ones side by side."""
    unit = _power_of_one(text)
    if unit is not None or not re.search(r"[ *]", text):
        return unit
    powers: collections.Counter[str] = collections.Counter()
    factor, position = Fraction(1), 0
    while position < len(text):
        match = _FACTOR.match(text, position)
        unit = match and _power_of_one(match.group(), is_alone=False)
        if not unit:
            return None
        powers.update(_read_dimension(unit.dimension))
        factor *= unit.factor
        position = re.compile(r"(?: \* | |$)?").match(text, match.end()).end()
    return Unit(_write_dimension(powers), factor)


def _power_of_one(text: str, *, is_alone: bool = True) -> Unit | None:
    """A unit with its power; a noun or a unit with a measure (``cm long``) only where it `is_alone`."""
    match = _FACTOR.fullmatch(text)
    known = _known(match.group("name")) if match else None
    if known is None:
        return _noun(text) if is_alone else None
    square = (match.group("square") or match.group("word") or "").strip(" .d")
    written = match.group("power") or match.group("digit") or match.group("glued")
    power = int(written or {"": 1, "cubic": 3, "cube": 3}.get(square, 2))
    powers = {name: exponent * power for name, exponent in _read_dimension(known.dimension).items()}
    return Unit(_write_dimension(collections.Counter(powers)), known.factor**power)


def _noun(text: str) -> Unit | None:
    """A dimension of its own for one to three plain words, or a known unit with a measure behind it."""
    words = text.split()
    if len(words) == 2 and words[1] in _MEASURES:  # centimeters long, but not hours late
        known = _known(words[0])
        if known is not None:
            return known
    if not 1 <= len(words) <= 3 or not all(re.fullmatch(r"[A-Z]?[a-z]{2,}|[A-Z]{3,}", word) for word in words):
        return None
    singular = [_singular(word.casefold()) for word in words]
    is_plain = not any(re.search("[^e]ed$", word) and len(word) > 4 for word in words)  # shaded, but not speed
    is_plain &= all(len(word) >= 3 and word not in _NOT_A_NOUN for word in (*singular, *map(str.casefold, words)))
    is_symbol = len(words) == 1 and words[0].casefold() in map(str.casefold, SYMBOLS)  # mol is no Mol
    if not is_plain or is_symbol or (len(words) > 1 and _known(words[0]) is not None):
        return None
    return Unit("noun " + " ".join(singular))


def _known(name: str) -> Unit | None:
    return SYMBOLS.get(name) or WORDS.get(_singular(name.casefold()))


def _singular(word: str) -> str:
    return re.sub("(met|lit)re$", r"\1er", re.sub("(?<=..[^s])s$", "", word))


_CONVERSIONS: dict[tuple[str, str], Scalar] = {
    ("pounds", "mass"): Fraction("0.45359237"),
    ("pounds", "sterling"): Fraction(1),
    ("radians", "angle"): Fraction(180) / PI,
}


def conversion(first: str, second: str) -> Scalar | None:
    """Return the number of units of dimension `second` that one of `first` is; None if they measure other things.

    Example:
        >>> conversion("length", "length"), conversion("length", "mass")
        (Fraction(1, 1), None)
    """
    if first == second:
        return Fraction(1)
    if (second, first) in _CONVERSIONS:
        return Fraction(1) / _CONVERSIONS[second, first]
    return _CONVERSIONS.get((first, second))


def may_agree(first: str, second: str) -> bool:
    """Return whether a dimension may stand for another: units for a length, units^2 for an area, nouns for each other.

    Example:
        >>> may_agree("units^2", "length^2"), may_agree("units", "length^2")
        (True, False)
    """
    units, other = (first, second) if first.startswith("units") else (second, first)
    name, _, power = units.partition("^")
    return name == "units" and other.startswith("length") and other.partition("^")[2] == power
