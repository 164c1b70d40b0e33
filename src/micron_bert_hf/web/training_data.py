"""What the page says a model has learnt from, as the files beside its weights say it."""

from pathlib import Path

from ..hub import RESULTS_NAME
from ..run_files import read_json


NOT_WRITTEN = "Nobody wrote down what this model has learnt from."


def learnt_from(folder: Path) -> str:
    """
    One sentence.

    Args:
        folder: of a model; read are `provenance.json`, of a training run, and `results.json`, of the demo.

    Raises:
        ValueError: one of them is damaged.
    """
    provenance, results = read_json(folder / "provenance.json"), read_json(folder / RESULTS_NAME)
    if isinstance(provenance, dict) and isinstance(provenance.get("subjects"), dict) and provenance["subjects"]:
        sets = [f"{name} ({len(people)} people)" for name, people in sorted(provenance["subjects"].items())]
        others = "" if provenance.get("is_complete") else ", and maybe from others whom nobody wrote down"
        return f"This model has learnt from: {', '.join(sets)}{others}."
    data = results.get("data") if isinstance(results, dict) else None
    if isinstance(data, dict) and "num_train_subjects" in data:
        return f"This model has learnt from: {results.get('dataset')} ({data['num_train_subjects']} people)."
    return NOT_WRITTEN
