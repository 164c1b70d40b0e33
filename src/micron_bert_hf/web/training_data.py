"""What the page says a model has learnt from, as the file beside its weights says it."""

from pathlib import Path

from ..hub import PROVENANCE_NAME
from ..publishing.folder import read_provenance


NOT_WRITTEN = "Nobody wrote down what this model has learnt from."


def learnt_from(folder: Path) -> str:
    """
    One sentence.

    Args:
        folder: of a model.

    Raises:
        ValueError: it is damaged.
    """
    seen = read_provenance(folder / PROVENANCE_NAME)
    if seen is None or not seen["subjects"]:
        return NOT_WRITTEN
    sets = [f"{name} ({len(people)} people)" for name, people in sorted(seen["subjects"].items())]
    others = "" if seen["is_complete"] else ", and maybe from others whom nobody wrote down"
    return f"This model has learnt from: {', '.join(sets)}{others}."
