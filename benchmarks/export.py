"""`python -m benchmarks.export MODEL DATASET`: what ONNX and its 8-bit twin cost and win, beside torch.

    python -m benchmarks.export demo_output/model mer-synth-v1

MODEL is a classifier's folder, DATASET a labelled set of its classes. Writes results/export.json and renders README
and docs. Each of the three answers for every pair of the set as it stands (protocol `as_is`). Times are medians of
interleaved runs on one thread: its own processor time, which is what passes where nothing else runs. With more threads
whatever else runs on a shared machine decides.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.render import RESULTS, render_readme
from micron_bert_hf.data import read_samples
from micron_bert_hf.evaluation import PredictionTable, Predictor, TrainingPairs, as_is, evaluate
from micron_bert_hf.evaluation.evaluator import PREDICTIONS_NAME
from micron_bert_hf.experiments import FixedClassifier, compare_tables
from micron_bert_hf.export import INT8_NAME, LABELS_NAME, ONNX_NAME, export_onnx, load_classifier_folder, open_session
from micron_bert_hf.run_files import read_json, write_json
from micron_bert_hf.run_provenance import run_provenance


# Of the methods: name -> file of its graph, none for torch.
GRAPHS = {"torch": None, "onnx": ONNX_NAME, "int8": INT8_NAME}
BATCH_SIZES, RUNS, TIMED_PAIRS = (1, 8), 31, 8


class GraphClassifier(FixedClassifier):
    """A [`FixedClassifier`] whose answers come from a graph in `folder`, one pair at a time."""

    def __init__(self, model: str, folder: Path, name: str):
        super().__init__(model)
        self.name = f"{self.name}, {name}"
        self._folder, self._graph = folder, GRAPHS[name]

    def fit(self, train: TrainingPairs, seed: int) -> Predictor:
        session = open_session(self._folder / self._graph)
        labels = read_json(self._folder / LABELS_NAME)
        order = [labels.index(name) for name in train.label_names]

        def predict(inputs: np.ndarray) -> np.ndarray:
            logits = np.concatenate([session.run(["logits"], {"pixel_values": pair[None]})[0] for pair in inputs])
            scores = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
            return (scores / scores.sum(axis=1, keepdims=True))[:, order]

        return predict


def measure_scores(model: Path, dataset: str, exported: Path) -> dict[str, Any]:
    """Each method on the people of the set, and how its answers differ from torch's."""
    make_samples = partial(read_samples, dataset)
    makers: dict[str, Callable[[], FixedClassifier]] = {
        name: partial(FixedClassifier, str(model))
        if graph is None
        else partial(GraphClassifier, str(model), exported, name)
        for name, graph in GRAPHS.items()
    }
    rows, tables = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for name, make_method in makers.items():
            output = Path(folder) / name
            results = evaluate(make_method, make_samples, as_is(), (0,), output, figures=False, progress=False)
            kept = ("uf1", "uf1_interval", "uar", "accuracy", "num_samples", "num_subjects", "dataset", "protocol")
            rows[name] = {key: results[key] for key in (*kept, "transductive", "seeds")}
            tables[name] = PredictionTable.read(output / PREDICTIONS_NAME)
    for name in rows:
        if name != "torch":
            table, reference = tables[name], tables["torch"]
            rows[name]["against_torch"] = {
                **compare_tables(table, reference),
                "label_agreement": float((table.predictions == reference.predictions).mean()),
                "largest_score_change": float(np.abs(table.scores - reference.scores).max()),
            }
    return rows


def measure_times(model_folder: Path, exported: Path, pixel_values: np.ndarray) -> list[dict[str, Any]]:
    """
    One row a batch size.

    Args:
        pixel_values (`(num_pairs, 2, C, H, W)` float32): what is asked, over and over.
    """
    model, _ = load_classifier_folder(model_folder)

    @torch.inference_mode()
    def ask_torch(batch: np.ndarray) -> None:
        model(pixel_values=torch.from_numpy(batch))

    ask: dict[str, Callable[[np.ndarray], Any]] = {
        name: ask_torch if graph is None else partial(_ask_session, open_session(exported / graph, num_threads=1))
        for name, graph in GRAPHS.items()
    }
    rows, threads_before = [], torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for batch_size in BATCH_SIZES:
            batches = [pixel_values[at : at + batch_size] for at in range(0, len(pixel_values), batch_size)]
            rows.append({"batch_size": batch_size, **interleaved(ask, batches)})
    finally:
        torch.set_num_threads(threads_before)
    return rows


def _ask_session(session: Any, batch: np.ndarray) -> None:
    session.run(None, {"pixel_values": batch})


def interleaved(
    ask: Mapping[str, Callable[[np.ndarray], Any]], batches: Sequence[np.ndarray], runs: int = RUNS
) -> dict[str, Any]:
    """
    Median seconds a pair of each, and how much faster than torch it is in the same run: a machine whose speed drifts
    gives the same ratio.

    Args:
        ask: what computes in the thread that calls it.
    """
    num_pairs = sum(map(len, batches))
    seconds: dict[str, list[float]] = {name: [] for name in ask}
    for run in range(runs + 1):
        for name, answer in ask.items():
            start = time.thread_time()
            for batch in batches:
                answer(batch)
            elapsed = time.thread_time() - start
            if run > 0:  # the first one warms up
                seconds[name].append(elapsed / num_pairs)
    ratios = {
        name: [torch_seconds / own for torch_seconds, own in zip(seconds["torch"], seconds[name])]
        for name in ask
        if name != "torch"
    }
    return {
        "seconds_a_pair": {name: statistics.median(values) for name, values in seconds.items()},
        "faster_than_torch": {name: statistics.median(values) for name, values in ratios.items()},
        "faster_than_torch_range": {name: [min(values), max(values)] for name, values in ratios.items()},
    }


def measure(model: Path, dataset: str) -> dict[str, Any]:
    """Everything, as it stands in results/export.json."""
    with tempfile.TemporaryDirectory() as folder:
        exported = Path(folder) / "onnx"
        report = export_onnx(model, exported, int8=True)
        scores = measure_scores(model, dataset, exported)
        samples = read_samples(dataset)
        method = FixedClassifier(str(model))
        positions = np.linspace(0, len(samples) - 1, min(TIMED_PAIRS, len(samples))).astype(int)
        timed = np.stack([method.prepare(samples.row(int(position))) for position in positions])
        times = measure_times(model, exported, timed)
    trained = read_json(model / "results.json") or {}
    return {
        **run_provenance(),
        "model": {**report["model"], "seeds": trained.get("seeds"), "trained_on": trained.get("dataset")},
        "graphs": report["files"],
        "onnx_versions": {name: report["versions"][name] for name in ("onnx", "onnxscript", "onnxruntime")},
        "scores": scores,
        "times": times,
        "runs": RUNS,
        "timed_pairs": len(timed),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="a classifier's folder")
    parser.add_argument("dataset", help="a labelled set of its classes")
    arguments = parser.parse_args()
    write_json(RESULTS / "export.json", measure(arguments.model, arguments.dataset))
    render_readme()


if __name__ == "__main__":
    main()
