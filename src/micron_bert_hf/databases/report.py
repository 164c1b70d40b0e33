"""What a converted set says about itself: names of its files, counts beside the expected ones."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


CONVERSION_NAME, REPAIRS_NAME, CARD_NAME = "conversion.json", "repairs.csv", "README.md"
SHEETS_FOLDER, IDENTITY_NAME = "contact_sheets", "identity.json"
_SHOWN = 5


@dataclass(frozen=True)
class ConversionReport:
    """What a converted set holds; its text is what the command prints."""

    output_dir: Path
    description: Mapping[str, Any]
    was_there: bool

    def __str__(self) -> str:
        found = self.description
        lines = [f"{found['title']}: read {'; '.join(found['sheets']) or 'no label sheet'}"]
        lines.append(f"frames from {found['frames_folder']}")
        lines += count_lines(found)
        if found["repairs"]:
            kinds = ", ".join(f"{count} {name}" for name, count in sorted(found["repairs"].items()))
            lines.append(f"repairs: {kinds}; each with its reason in {self.output_dir / REPAIRS_NAME}")
        else:
            lines.append("nothing was repaired or left out")
        for sentence, samples in sorted(found["faces"].items()):
            lines.append(f"faces: {sentence}: {len(samples)} ({', '.join(samples[:_SHOWN])})")
        state = "was already there" if self.was_there else "written"
        lines.append(f"{found['num_rows']} rows, {found['num_frames']} frames; set {state}: {self.output_dir}")
        lines.append(f"terms: {found['terms']['text']} ({found['terms']['url']})")
        return "\n".join(lines)


def count_lines(description: Mapping[str, Any]) -> list[str]:
    """Counts beside the expected ones, a line each."""
    counts, expected = description["counts"], description["expected"]
    source = "nobody has counted what to expect" if expected is None else expected["source"]
    lines = [f"{'':24}{'found':>8}{'expected':>10}   ({source})"]
    for name, found, wanted in expected_rows(counts, expected):
        stated = "?" if wanted is None else wanted
        lines.append(f"{name:24}{found:>8}{stated:>10}{'' if wanted in (None, found) else '   differs'}")
    return lines


def expected_rows(counts: Mapping[str, Any], expected: Mapping[str, Any] | None) -> list[tuple[str, int, int | None]]:
    """`(what, found, expected)` of subjects, clips and every class; `None` where it is not known what to expect."""
    expected = expected or {"subjects": None, "clips": None, "classes": {}}
    rows = [(name, counts[name], expected[name]) for name in ("subjects", "clips")]
    for name in sorted({*counts["classes"], *expected["classes"]}):
        wanted = expected["classes"].get(name, 0) if expected["classes"] else None
        rows.append((name or "no label", counts["classes"].get(name, 0), wanted))
    return rows
