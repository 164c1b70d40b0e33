"""Predictions that know whose they are: identity travels with every row to the metric, order is never trusted.

A table is also a file, from which alone every score can be computed again: Parquet with the columns `sample_id`,
`subject_id`, `dataset`, `fold`, `seed`, `label` (name of the true class) and `scores` (float64, one for each class),
ordered by seed, dataset and sample. The names of the classes stand in its schema.
"""

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from ..data import ClassificationCollator, FramePairs
from ..modeling_micron_bert import MicronBertForMicroExpressionClassification
from .metrics import score


# Raise it with every change of columns or of what the schema says.
FORMAT_VERSION = 1
# Of predictions that come from no data set on disk and from no folds.
UNNAMED_DATASET, ONLY_FOLD = "unnamed", "all"
_TUPLES = ("sample_ids", "subject_ids", "datasets", "folds", "seeds")
_UNFINISHED = ".tmp"
_SCHEMA_KEY = b"micron_bert_hf.predictions"
_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("sample_id", "subject_id", "dataset", "fold")),
        ("seed", pa.int64()),
        ("label", pa.string()),
        ("scores", pa.list_(pa.float64())),
    ]
)


@dataclass(frozen=True)
class PredictionTable:
    """
    One row for each sample and seed.

    Args:
        sample_ids, subject_ids (`tuple[str, ...]`)
        labels (`np.ndarray` of shape `(num_rows,)`): class numbers, int64.
        scores (`np.ndarray` of shape `(num_rows, num_labels)`): probabilities, float; the prediction is the largest.
        label_names (`tuple[str, ...]`): the fixed label set; position = class number.
        datasets, folds (`tuple[str, ...]`, *optional*): `"unnamed"` and `"all"` when absent.
        seeds (`tuple[int, ...]`, *optional*): of the training; 0 when absent.
        metadata (`Mapping[str, Any]`): what else a file says of its predictions, ready for JSON.

    Raises:
        ValueError: columns of different lengths; a sample of a data set that occurs twice with one seed; a subject of
            a data set in two folds of one seed; a label outside the label set; scores that are not finite.
    """

    sample_ids: tuple[str, ...]
    subject_ids: tuple[str, ...]
    labels: np.ndarray
    scores: np.ndarray
    label_names: tuple[str, ...]
    datasets: tuple[str, ...] | None = None
    folds: tuple[str, ...] | None = None
    seeds: tuple[int, ...] | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        num_rows = len(self.sample_ids)
        defaults = {
            "datasets": (UNNAMED_DATASET,) * num_rows,
            "folds": (ONLY_FOLD,) * num_rows,
            "seeds": (0,) * num_rows,
        }
        for name, default in defaults.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, default)
        shapes = {name: (len(getattr(self, name)),) for name in ("subject_ids", "datasets", "folds", "seeds")}
        shapes |= {"labels": self.labels.shape, "scores": self.scores.shape}
        expected = {name: (num_rows,) for name in shapes} | {"scores": (num_rows, len(self.label_names))}
        if shapes != expected:
            raise ValueError(f"Expected columns of shapes {expected} for {num_rows} samples, got {shapes}.")
        counts = Counter(zip(self.seeds, self.datasets, self.sample_ids))
        repeated = sorted(key for key, count in counts.items() if count > 1)
        if repeated:
            raise ValueError(
                f"Every sample must be predicted once a seed, got (seed, dataset, sample) {repeated[:3]} more than"
                " once."
            )
        fold_of: dict[tuple[int, str, str], str] = {}
        for seed, dataset, subject, fold in zip(self.seeds, self.datasets, self.subject_ids, self.folds):
            earlier = fold_of.setdefault((seed, dataset, subject), fold)
            if earlier != fold:
                raise ValueError(
                    f"Every subject must be tested in one fold only, but {dataset}/{subject} is in the folds"
                    f" {earlier!r} and {fold!r} of seed {seed}."
                )
        if num_rows and (self.labels.min() < 0 or self.labels.max() >= len(self.label_names)):
            raise ValueError(
                f"Labels must lie in [0, {len(self.label_names)}), got {self.labels.min()} to {self.labels.max()}."
            )
        if not np.isfinite(self.scores).all():
            raise ValueError("Scores must be finite, got NaN or infinity.")

    def __len__(self) -> int:
        return len(self.sample_ids)

    @property
    def predictions(self) -> np.ndarray:
        """Class numbers `(num_rows,)`, int64; the first of equal scores."""
        return self.scores.argmax(axis=1)

    def check_complete(self, sample_ids: Sequence[str], datasets: Sequence[str] | None = None) -> None:
        """
        Refuse a table that does not predict, with each of its seeds, exactly these samples.

        Args:
            sample_ids: of all samples.
            datasets: of the same samples, where there are several; `None` compares `sample_ids` alone.
        """
        wanted = set(sample_ids) if datasets is None else set(zip(datasets, sample_ids))
        found_with: dict[int, set] = {seed: set() for seed in self.seeds or (0,)}
        for seed, dataset, sample_id in zip(self.seeds, self.datasets, self.sample_ids):
            found_with[seed].add(sample_id if datasets is None else (dataset, sample_id))
        for seed, found in found_with.items():
            missing, unexpected = wanted - found, found - wanted
            if missing or unexpected:
                raise ValueError(
                    f"Expected exactly one prediction for each of {len(wanted)} samples; missing"
                    f" {sorted(missing)[:3]} ({len(missing)}), unexpected {sorted(unexpected)[:3]} ({len(unexpected)})"
                    f" of seed {seed}."
                )

    def select(self, mask: np.ndarray) -> "PredictionTable":
        """The rows where `mask`, `(num_rows,)` bool, is true, in their order."""
        if mask.dtype != bool or mask.shape != (len(self),):
            raise ValueError(f"Expected a mask of {len(self)} booleans, got {mask.dtype} of shape {mask.shape}.")
        return self._take(np.flatnonzero(mask).tolist())

    def for_seed(self, seed: int) -> "PredictionTable":
        """
        The rows of one seed.

        Raises:
            ValueError: there are none.
        """
        if seed not in self.seeds:
            raise ValueError(f"There are no predictions of seed {seed}, only of {sorted(set(self.seeds))}.")
        return self.select(np.array(self.seeds) == seed)

    def score(self) -> dict[str, Any]:
        """
        [`~micron_bert_hf.evaluation.score`] of the whole table, pooled over its folds.

        Raises:
            ValueError: there are several seeds, which are several experiments, or no rows.
        """
        seeds = sorted(set(self.seeds))
        if len(seeds) > 1:
            raise ValueError(f"A score is of one seed, and the table has {seeds}; pick one with `for_seed`.")
        return score(self.labels, self.predictions, self.label_names)

    def to_rows(self) -> list[dict[str, Any]]:
        """`{"sample_id", "subject_id", "label", "prediction", "scores"}` with class names, ready for JSON."""
        return [
            {
                "sample_id": sample_id,
                "subject_id": subject_id,
                "label": self.label_names[label],
                "prediction": self.label_names[prediction],
                "scores": dict(zip(self.label_names, scores)),
            }
            for sample_id, subject_id, label, prediction, scores in zip(
                self.sample_ids, self.subject_ids, self.labels, self.predictions, self.scores.tolist()
            )
        ]

    def write(self, path: str | os.PathLike, metadata: Mapping[str, Any] | None = None) -> None:
        """
        Write the table as a Parquet file, whole or not at all, in the order of seed, dataset and sample.

        Args:
            metadata: instead of the table's own.
        """
        table = self._in_order()
        columns = {
            "sample_id": table.sample_ids,
            "subject_id": table.subject_ids,
            "dataset": table.datasets,
            "fold": table.folds,
            "seed": table.seeds,
            "label": [self.label_names[label] for label in table.labels],
            "scores": list(table.scores.astype(np.float64)),
        }
        described = {
            "format_version": FORMAT_VERSION,
            "label_names": list(self.label_names),
            "metadata": dict(self.metadata if metadata is None else metadata),
        }
        schema = _SCHEMA.with_metadata({_SCHEMA_KEY: json.dumps(described, allow_nan=False).encode()})
        path = Path(path)
        temporary = path.with_name(path.name + _UNFINISHED)
        pq.write_table(pa.table(columns, schema=schema), temporary, write_page_checksum=True)
        os.replace(temporary, path)

    @classmethod
    def read(cls, path: str | os.PathLike) -> "PredictionTable":
        """
        Read what [`write`] wrote, in the order of seed, dataset and sample.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is damaged, no table of predictions, or holds what no table may hold.
        """
        if not Path(path).exists():
            raise FileNotFoundError(f"there is no table of predictions at {path}")
        try:
            return cls._parse(pq.read_table(path, page_checksum_verification=True))._in_order()
        except (OSError, ValueError) as error:  # pyarrow's errors are among them
            raise ValueError(f"{path} cannot be read as a table of predictions: {error}") from error

    @classmethod
    def concatenate(cls, tables: Sequence["PredictionTable"]) -> "PredictionTable":
        """
        The rows of all tables, one table after the other.

        Raises:
            ValueError: no tables, other label sets or metadata, or rows that cannot stand in one table.
        """
        if not tables:
            raise ValueError("Expected at least one table, got none.")
        first = tables[0]
        for name in ("label_names", "metadata"):
            differing = [getattr(table, name) for table in tables if getattr(table, name) != getattr(first, name)]
            if differing:
                raise ValueError(f"Tables differ in their `{name}`: {getattr(first, name)} and {differing[0]}.")
        joined = {name: tuple(value for table in tables for value in getattr(table, name)) for name in _TUPLES}
        arrays = {name: np.concatenate([getattr(table, name) for table in tables]) for name in ("labels", "scores")}
        return cls(**joined, **arrays, label_names=first.label_names, metadata=first.metadata)

    @classmethod
    def _parse(cls, stored: pa.Table) -> "PredictionTable":
        if not stored.schema.equals(_SCHEMA):
            found = [f"{name}: {kind}" for name, kind in zip(stored.schema.names, stored.schema.types)]
            raise ValueError(f"its columns are {found}; expected {_SCHEMA.names}")
        described = json.loads((stored.schema.metadata or {}).get(_SCHEMA_KEY, b"null"))
        if not isinstance(described, dict) or described.get("format_version") != FORMAT_VERSION:
            raise ValueError(f"its schema does not say that it is of format version {FORMAT_VERSION}")
        empty = [name for name in stored.column_names if stored[name].null_count]
        if empty:
            raise ValueError(f"values are missing in {empty}")
        label_names = described["label_names"]
        columns = {name: stored[name].to_pylist() for name in stored.column_names}
        unknown = sorted(set(columns["label"]) - set(label_names))
        if unknown:
            raise ValueError(f"the labels {unknown} are not among {label_names}")
        wrong = [scores for scores in columns["scores"] if len(scores) != len(label_names)]
        if wrong:
            raise ValueError(f"a row has {len(wrong[0])} scores for {len(label_names)} labels")
        return cls(
            sample_ids=tuple(columns["sample_id"]),
            subject_ids=tuple(columns["subject_id"]),
            labels=np.array([label_names.index(label) for label in columns["label"]], np.int64),
            scores=np.array(columns["scores"], np.float64).reshape(len(stored), len(label_names)),
            label_names=tuple(label_names),
            datasets=tuple(columns["dataset"]),
            folds=tuple(columns["fold"]),
            seeds=tuple(columns["seed"]),
            metadata=described["metadata"],
        )

    def _in_order(self) -> "PredictionTable":
        keys = list(zip(self.seeds, self.datasets, self.sample_ids))
        return self._take(sorted(range(len(keys)), key=keys.__getitem__))

    def _take(self, rows: Sequence[int]) -> "PredictionTable":
        columns = {name: tuple(getattr(self, name)[row] for row in rows) for name in _TUPLES}
        return replace(self, **columns, labels=self.labels[rows], scores=self.scores[rows])


@torch.no_grad()
def predict(
    model: MicronBertForMicroExpressionClassification,
    pairs: FramePairs,
    *,
    batch_size: int = 64,
    progress: bool = True,
) -> PredictionTable:
    """
    Class probabilities of every pair, without augmentation and in evaluation mode (the model's mode is put back).

    Args:
        pairs: labelled with the model's own class numbers.
    """
    if model.config.problem_type == "multi_label_classification":
        raise ValueError("A prediction table holds one class a pair, got a multi-label model.")
    if pairs.labels is None:
        raise ValueError("A prediction table needs labelled pairs; give `FramePairs` a `label2id`.")
    loader = DataLoader(pairs, batch_size=batch_size, collate_fn=ClassificationCollator(None, seed=0))
    was_training = model.training
    model.eval()
    scores = [
        model(pixel_values=batch["pixel_values"].to(model.device)).logits.float().softmax(dim=-1).cpu()
        for batch in tqdm(loader, desc="predict", unit="batch", disable=not progress, delay=1)
    ]
    model.train(was_training)
    table = PredictionTable(
        pairs.sample_ids,
        pairs.subject_ids,
        pairs.labels.numpy(),
        torch.cat(scores).numpy(),
        tuple(model.config.id2label[index] for index in range(model.config.num_labels)),
    )
    table.check_complete(pairs.sample_ids)
    return table
