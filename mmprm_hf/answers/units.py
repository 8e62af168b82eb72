"""Units of measurement as dimension and factor: cm, square inches, km/h, miles per hour, dollars.

A plain noun (apples) is a unit of a dimension of its own. Standard library only.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from fractions import Fraction


@dataclasses.dataclass(frozen=True)
class Unit:
    """A unit of a dimension ("length", "length^2", "length/time", "noun apple"): `factor` of its base unit."""

    dimension: str
    factor: Fraction = Fraction(1)


_SYMBOLS: dict[str, Unit] = {  # singular and in American spelling; `_known` turns others into it
    name: Unit(dimension, Fraction(factor))
    for dimension, names in {
        "length": "mm .001 millimeter .001 cm .01 centimeter .01 dm .1 decimeter .1 m 1 meter 1 km 1000 kilometer 1000 "
        "in .0254 inch .0254 inche .0254 ft .3048 foot .3048 feet .3048 yard .9144 yd .9144 mile 1609.344 mi 1609.344",
        "mass": "mg .000001 g .001 gram .001 kg 1 kilogram 1 ton 1000 tonne 1000",
        "pounds": "lb 1 pound 1 oz 1/16 ounce 1/16",
        "time": "s 1 sec 1 second 1 min 60 minute 60 h 3600 hr 3600 hour 3600 day 86400 week 604800",
        "months": "month 1 year 12 yr 12",
        "volume": "ml .001 mL .001 milliliter .001 l 1 L 1 liter 1",
        "gallons": "gallon 1 gal 1 quart 1/4 pint 1/8",
        "force": "N 1 kN 1000 newton 1",
        "energy": "J 1 kJ 1000 joule 1",
        "power": "W 1 kW 1000 watt 1",
        "temperature": "K 1 kelvin 1",
        "voltage": "V 1 kV 1000 volt 1",
        "pressure": "Pa 1 kPa 1000 pascal 1",
        "frequency": "Hz 1 kHz 1000 hertz 1",
        "angle": "deg 1 degree 1",
        "percent": "% 1 percent 1 pct 1 percentage 1",
        "dollars": "dollar 1 cent .01",
        "yuan": "yuan 1",
        "units": "unit 1",
        "people": "people 1 person 1",
        "prime": "' 1",
        "length/time": "mph .44704 kph 5/18 kmh 5/18",
    }.items()
    for name, factor in re.findall(r"(\S+) (\S+)", names)
}
LETTER_UNITS = frozenset(("force", "energy", "power", "temperature", "voltage"))
"""Dimensions whose symbols are capital letters, as unknowns are."""
_SYMBOLS |= {f"degrees {name}": Unit(f"degrees {name[0]}") for name in ("C", "Celsius", "F", "Fahrenheit")}
_NOT_A_UNIT = re.compile(
    r"or|and|to|than|not|half|halves|(?:third|quarter)s?|sqrt|sin|cos|tan|log|times|plus|minus|per|over|more|less|fewer"
    r"|only|mod|but|with|when|where|for|from|are|each"
)
_MEASURES = frozenset(("long", "wide", "tall", "high", "deep", "thick", "old", "away", "apart", "each", "total"))
_UNIT = re.compile(
    r"(?P<square>(?:square|sq\.?|cubic) ?)?(?P<name>%|'|[A-Za-z][A-Za-z ]*)(?:\^\s*\{?\s*(?P<power>[23])\s*\}?)?"
)


@functools.lru_cache(maxsize=16384)
def read_unit(text: str) -> Unit | None:
    """Return the unit that `text` names; None if it names none.

    Example:
        >>> read_unit("square inches").dimension, read_unit("km/h").factor, read_unit("apples").dimension
        ('length^2', Fraction(5, 18), 'noun apple')
    """
    text = re.sub(r"\bper cent\b", "percent", text.strip())
    over, *under = re.split(r"\s*/\s*|\s+per\s+|\s+an?\s+", text)
    units = [_simple_unit(part) for part in (over, *under)]
    if len(units) > 2 or None in units:
        return None
    if len(units) == 1:
        return units[0]
    return Unit(f"{units[0].dimension}/{units[1].dimension}", units[0].factor / units[1].factor)


def _simple_unit(text: str) -> Unit | None:
    match = _UNIT.fullmatch(text)
    if not match:
        return None
    name = match.group("name").strip()
    words = name.casefold().split()
    is_noun = len(words) <= 3 and all(len(word) >= 3 and not _NOT_A_UNIT.fullmatch(word) for word in words)
    is_measure = len(words) == 2 and words[1] in _MEASURES  # centimeters long, but not hours late
    known = _known(name) or (_known(words[0]) if is_measure else None)
    if known is None and is_noun and len(words) > 1 and _known(words[0]):
        return None
    if known is None:
        return Unit("noun " + " ".join(map(_singular, words))) if is_noun else None
    square = match.group("square") or ""
    power = int(match.group("power") or (3 if square.startswith("cubic") else 2 if square else 1))
    return known if power == 1 else Unit(f"{known.dimension}^{power}", known.factor**power)


def _known(name: str) -> Unit | None:
    is_symbol = len(name) <= 2 and name[:1].isupper()
    return _SYMBOLS.get(name) or (None if is_symbol else _SYMBOLS.get(_singular(name.casefold())))


def _singular(word: str) -> str:
    return re.sub("(met|lit)re$", r"\1er", re.sub("(?<=..[^s])s$", "", word))


def units_agree(first: str, second: str) -> bool:
    """Return whether two dimensions may be compared: "units" stands for any length, "units^2" for any area.

    Example:
        >>> units_agree("units^2", "length^2"), units_agree("units", "length^2")
        (True, False)
    """
    units, other = (first, second) if first.startswith("units") else (second, first)
    name, _, power = units.partition("^")
    return first == second or (name == "units" and other.startswith("length") and other.partition("^")[2] == power)
