"""FACS codes as coders write them, `"4+L10"` or `"(R6 or R12)+R15"`, to units with side and intensity."""

import re
import unicodedata
from dataclasses import dataclass


# A side (left, right; A as SAMM writes it, which FACS does not know as a side), a unit, an intensity from A to E.
# "AU" may stand before or after the side.
_UNIT = re.compile(r"(?:AU)?\s*(?P<side>[LRA]?)\s*(?:AU)?\s*(?P<unit>\d{1,2})(?P<intensity>[A-E]?)", re.IGNORECASE)
_OR = re.compile(r"\bor\b|/", re.IGNORECASE)


@dataclass(frozen=True)
class ActionUnit:
    """
    Args:
        unit (`int`): its number in FACS.
        side (`str`): `"L"`, `"R"`, `"A"` as the coder wrote it, `""` for both sides or not said.
        intensity (`str`): `"A"` (trace) to `"E"` (maximum), `""` if not coded.
    """

    unit: int
    side: str
    intensity: str


@dataclass(frozen=True)
class ActionUnits:
    """
    Args:
        units (`tuple[ActionUnit, ...]`): what is certain, in the coder's order.
        alternatives (`tuple[str, ...]`): parts of the code that leave a choice or that are no code, as text.
    """

    units: tuple[ActionUnit, ...]
    alternatives: tuple[str, ...]


def parse_action_units(text: str) -> ActionUnits:
    """
    Read a code. Parts are joined by `+` or commas (also full-width ones, as in CAS(ME)^3); a part with `or` or `/` is
    an alternative, kept as text, since nobody but the coder can choose; so is a part that is no code, such as `?`.
    """
    units, alternatives = [], []
    for part in _parts(unicodedata.normalize("NFKC", text)):
        found = _UNIT.fullmatch(part)
        if found:
            units.append(ActionUnit(int(found["unit"]), found["side"].upper(), found["intensity"].upper()))
        else:
            alternatives.append(part)
    return ActionUnits(tuple(units), tuple(alternatives))


def _parts(text: str) -> list[str]:
    """Cut at `+` and commas outside of parentheses; parentheses round a whole part go."""
    parts, depth, start = [], 0, 0
    for position, character in enumerate(text):
        depth = max(0, depth + (character == "(") - (character == ")"))
        if character in "+,;、" and depth == 0:
            parts.append(text[start:position])
            start = position + 1
    parts.append(text[start:])
    stripped = (part.strip() for part in parts)
    return [part[1:-1].strip() if part[:1] == "(" and part[-1:] == ")" and _OR.search(part) else part
            for part in stripped if part]  # fmt: skip
