"""FACS codes of every database that was seen, to units, sides, intensities and alternatives."""

import pytest

from micron_bert_hf.databases.action_units import ActionUnit, parse_action_units


@pytest.mark.parametrize(
    ("text", "units", "alternatives"),
    [
        ("4+L10", [(4, "", ""), (10, "L", "")], []),
        ("12", [(12, "", "")], []),
        ("R14+4", [(14, "R", ""), (4, "", "")], []),
        ("l1+r2", [(1, "L", ""), (2, "R", "")], []),
        ("4B+7C", [(4, "", "B"), (7, "", "C")], []),
        ("A12", [(12, "A", "")], []),
        ("AUR2+LAU4", [(2, "R", ""), (4, "L", "")], []),
        ("AU4 + AU15", [(4, "", ""), (15, "", "")], []),
        ("(R6 or R12)+R15", [(15, "R", "")], ["R6 or R12"]),
        ("L12 or L14", [], ["L12 or L14"]),
        ("10A/B", [], ["10A/B"]),
        ("A/L12", [], ["A/L12"]),
        ("R14A or 17A or 24A", [], ["R14A or 17A or 24A"]),
        ("4，12", [(4, "", ""), (12, "", "")], []),  # full-width comma, CAS(ME)^3
        ("4，?", [(4, "", "")], ["?"]),
        ("?", [], ["?"]),
        ("", [], []),
        ("4+", [(4, "", "")], []),
        ("1+2+123", [(1, "", ""), (2, "", "")], ["123"]),
        ("(4+7)", [], ["(4+7)"]),
    ],
)
def test_codes(text, units, alternatives):
    found = parse_action_units(text)
    assert found.units == tuple(ActionUnit(*unit) for unit in units)
    assert found.alternatives == tuple(alternatives)
