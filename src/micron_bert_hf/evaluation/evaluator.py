"""One method, one set, one protocol, some seeds: every sample is predicted once a seed, by what never saw its person.

    OUT/run.json                   what decides the run; another run is refused
    OUT/folds/seed-0-fold-003.parquet   predictions of one fold, whole or absent
    OUT/folds/seed-0-fold-003.error.txt   why a fold crashed; gone when it was run again
    OUT/folds/seed-0-fold-003.maps.npz  where the method looked, on that fold's worst samples, if it can tell
    OUT/predictions.parquet        all of them; every score below can be computed from it alone
    OUT/results.json               scores, intervals, what was run on what, by which commit; written last
    OUT/figures/*.png

The same command goes on where the run was: finished folds are not run again, crashed ones are. Labels of a fold's
held-out samples are joined to the predictions here, after the predictor has answered; a method has no access to them.
"""

import os
import shutil
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm
from transformers.utils.logging import disable_progress_bar

from ..data import SampleSet, person_ids
from ..locks import folder_lock
from ..run_files import claim_folder, read_json, write_json
from ..run_provenance import num_cores, run_provenance
from .methods import ExplainingPredictor, Method, TrainingPairs
from .predictions import PredictionTable
from .protocols import EvaluationProtocol, Fold
from .report import NUM_WORST, summarize, worst_samples, write_figures


RUN_NAME, RESULTS_NAME, PREDICTIONS_NAME = "run.json", "results.json", "predictions.parquet"
FOLDS_NAME, FIGURES_NAME, SECONDS_NAME = "folds", "figures", "seconds.json"
# In a file of maps: which samples they are of.
MAP_POSITIONS = "positions"


class FoldsFailed(RuntimeError):
    """Some folds crashed; the others are kept, and the same call runs those alone."""


@dataclass(frozen=True)
class Job:
    """One fold of one seed; `number` is the fold's position in the protocol."""

    seed: int
    number: int
    fold: Fold

    @property
    def file_name(self) -> str:
        return f"seed-{self.seed}-fold-{self.number:03d}.parquet"

    @property
    def maps_name(self) -> str:
        return f"seed-{self.seed}-fold-{self.number:03d}.maps.npz"

    def __str__(self) -> str:
        return f"fold {self.fold.name} of seed {self.seed}"


class FoldRunner:
    """
    Runs folds in one process. Prepared inputs are kept, since preparing a pair depends on nothing but the pair; a
    method is made anew for every fold, since one that is held out here was learnt from there, and none may remember.

    Args:
        make_method: makes the method.
        samples: whose labels stay here: `fit` gets those of training people, nobody gets the others'.
    """

    def __init__(self, make_method: Callable[[], Method], samples: SampleSet):
        self.make_method = make_method
        self.preparing = make_method()
        self.samples = samples
        self.people = person_ids(samples.datasets, samples.subject_ids)
        self._inputs: dict[int, np.ndarray] = {}

    def inputs(self, indices: Sequence[int]) -> np.ndarray:
        """`(len(indices), ...)`: what the method sees of these pairs."""
        for index in indices:
            if index not in self._inputs:
                row = self.samples.row(index, motion=self.preparing.needs_motion)
                self._inputs[index] = self.preparing.prepare(row)
        return np.stack([self._inputs[index] for index in indices])

    def run(self, job: Job) -> tuple[PredictionTable, dict[str, np.ndarray]]:
        """
        Returns:
            The predictions, and of a method that can tell where it looked `positions` of the fold's worst samples and
            a map of each, name -> `(num_worst, rows, columns)`.

        Raises:
            ValueError: the method answered with something that is no probability for every sample and class.
        """
        samples, fold = self.samples, job.fold
        train = TrainingPairs(
            inputs=self.inputs(fold.train_indices) if fold.train_indices else np.empty(0),
            labels=samples.labels[list(fold.train_indices)],
            sample_ids=tuple(samples.sample_ids[index] for index in fold.train_indices),
            subject_ids=tuple(self.people[index] for index in fold.train_indices),
            label_names=samples.label_names,
        )
        predictor = self.make_method().fit(train, job.seed)
        scores = np.asarray(predictor(self.inputs(fold.test_indices)), np.float64)
        expected = (len(fold.test_indices), len(samples.label_names))
        if scores.shape != expected or not np.isfinite(scores).all():
            raise ValueError(
                f"{self.preparing.name} must answer {job} with finite scores of shape {expected}, got shape"
                f" {scores.shape} with {int((~np.isfinite(scores)).sum())} that are not finite."
            )
        labels = samples.labels[list(fold.test_indices)]
        maps: dict[str, np.ndarray] = {}
        if isinstance(predictor, ExplainingPredictor):
            worst = np.argsort(scores[np.arange(len(labels)), labels], kind="stable")[:NUM_WORST]
            positions = np.array(fold.test_indices)[worst]
            maps = {**predictor.maps(self.inputs(positions.tolist())), MAP_POSITIONS: positions}
        table = PredictionTable(
            sample_ids=tuple(samples.sample_ids[index] for index in fold.test_indices),
            subject_ids=tuple(samples.subject_ids[index] for index in fold.test_indices),
            labels=labels,
            scores=scores,
            label_names=samples.label_names,
            datasets=tuple(samples.datasets[index] for index in fold.test_indices),
            folds=(fold.name,) * len(fold.test_indices),
            seeds=(job.seed,) * len(fold.test_indices),
        )
        return table, maps


def evaluate(
    make_method: Callable[[], Method],
    make_samples: Callable[[], SampleSet],
    protocol: EvaluationProtocol,
    seeds: Sequence[int],
    output_dir: str | os.PathLike,
    *,
    num_processes: int = 1,
    figures: bool = True,
    progress: bool = True,
) -> dict[str, Any]:
    """
    Args:
        make_method: called for every fold; one method learns from one fold's people and from no others.
        make_samples: called once here and once in every process. Both must be picklable
            (`functools.partial(read_samples, "faces")`).
        protocol: who is held out when.
        seeds: of training; a method without chance runs the first one only.
        output_dir: absent, empty, or of the same run.
        num_processes (`int`): folds run at once. The cores are shared among them; it changes no prediction.
        figures (`bool`): also draw.

    Returns:
        The content of `results.json`.

    Raises:
        ValueError: before any training: fewer than two people or classes, a class that some fold's training people
            lack, a method that cannot answer for these classes, or a folder of another run.
        FoldsFailed: after all other folds are done.
    """
    output_dir = Path(output_dir)
    if num_processes < 1:
        raise ValueError(f"`num_processes` must be at least 1, got {num_processes}.")
    if not seeds or len(set(seeds)) != len(seeds):
        raise ValueError(f"Expected one or more different seeds, got {list(seeds)}.")
    samples, method = make_samples(), make_method()
    folds = protocol.folds(samples)
    if protocol.trains:
        _check_training_classes(folds, samples)
    method.check(samples.label_names)
    seeds = tuple(seeds) if method.uses_seed else tuple(seeds[:1])
    identity = {
        "method": method.name,
        "settings": dict(method.identity(samples.label_names)),
        "data": {
            "fingerprint": samples.fingerprint,
            "label_map": samples.label_map,
            "label_names": list(samples.label_names),
            "num_left_out": samples.num_left_out,
            "crop": samples.crop,
        },
        "protocol": protocol.name,
        "seeds": list(seeds),
    }
    output_dir.mkdir(parents=True, exist_ok=True)
    with folder_lock(output_dir):
        claim_folder(output_dir, RUN_NAME, identity)
        jobs = [Job(seed, number, fold) for seed in seeds for number, fold in enumerate(folds)]
        folds_dir = output_dir / FOLDS_NAME
        folds_dir.mkdir(exist_ok=True)
        todo = [job for job in jobs if not (folds_dir / job.file_name).exists()]
        # what stands in results.json is of a whole run
        if todo:
            (output_dir / RESULTS_NAME).unlink(missing_ok=True)
        start = time.perf_counter()
        failed = _run_jobs(todo, folds_dir, make_method, make_samples, samples, num_processes, progress)
        _add_seconds(folds_dir, time.perf_counter() - start)
        if failed:
            lines = "\n".join(f"  {job}: {reason}" for job, reason in failed.items())
            raise FoldsFailed(
                f"{len(failed)} of {len(jobs)} folds crashed:\n{lines}\nThe whole errors stand in {folds_dir}. The"
                " same command runs these folds again, and no others."
            )
        return _finish(output_dir, jobs, samples, method, protocol, identity, figures)


def _check_training_classes(folds: Sequence[Fold], samples: SampleSet) -> None:
    occurring = set(samples.labels.tolist())
    if len(occurring) < 2:
        raise ValueError(
            f"Expected samples of two classes or more, got {sorted(samples.label_names[c] for c in occurring)}."
        )
    for fold in folds:
        counts = np.bincount(samples.labels[list(fold.train_indices)], minlength=len(samples.label_names))
        missing = [name for name, count in zip(samples.label_names, counts) if count == 0]
        if missing:
            raise ValueError(
                f"In fold {fold.name} no training person shows {', '.join(missing)}, so that it could not be learnt."
                f" Take another protocol, a label map without it, or more data."
            )


# ------------------------------------------------------------------------------------------------------ running folds

# Of a worker process: made once by its initialiser.
_runner: FoldRunner | None = None


def _start_worker(make_method: Callable[[], Method], make_samples: Callable[[], SampleSet], num_threads: int) -> None:
    global _runner
    torch.set_num_threads(num_threads)
    disable_progress_bar()  # of each fold's loading of weights, through the bar of the folds
    _runner = FoldRunner(make_method, make_samples())


def _run_in_worker(job: Job, folds_dir: Path) -> str | None:
    return _run_and_keep(_runner, job, folds_dir)


def _run_and_keep(runner: FoldRunner, job: Job, folds_dir: Path) -> str | None:
    """Leave the fold's predictions, or the reason why there are none; `None` or the last line of that reason."""
    error_path = _error_path(folds_dir, job)
    try:
        table, maps = runner.run(job)
    # a fold that crashes, however it does, must not take the others along; nothing is swallowed
    except Exception as error:
        error_path.write_text(traceback.format_exc(), encoding="utf-8")
        return f"{type(error).__name__}: {error}"
    if maps:
        np.savez_compressed(folds_dir / job.maps_name, **maps)
    table.write(folds_dir / job.file_name)  # last: it says that the fold is done
    error_path.unlink(missing_ok=True)
    return None


def _error_path(folds_dir: Path, job: Job) -> Path:
    return (folds_dir / job.file_name).with_suffix(".error.txt")


def _run_jobs(
    jobs: Sequence[Job],
    folds_dir: Path,
    make_method: Callable[[], Method],
    make_samples: Callable[[], SampleSet],
    samples: SampleSet,
    num_processes: int,
    progress: bool,
) -> dict[Job, str]:
    failed: dict[Job, str] = {}
    with tqdm(total=len(jobs), desc="evaluate", unit="fold", disable=not progress) as bar:
        if num_processes == 1 or len(jobs) < 2:
            runner = FoldRunner(make_method, samples)
            outcomes: Iterator[tuple[Job, str | None]] = ((job, _run_and_keep(runner, job, folds_dir)) for job in jobs)
        else:
            outcomes = _run_in_processes(jobs, folds_dir, make_method, make_samples, num_processes)
        for job, reason in outcomes:
            if reason is not None:
                failed[job] = reason
                bar.write(f"{job} crashed: {reason}")
            bar.update()
    return dict(sorted(failed.items(), key=lambda entry: (entry[0].seed, entry[0].number)))


def _run_in_processes(
    jobs: Sequence[Job],
    folds_dir: Path,
    make_method: Callable[[], Method],
    make_samples: Callable[[], SampleSet],
    num_processes: int,
) -> Iterator[tuple[Job, str | None]]:
    """
    A process that dies (killed, out of memory) breaks its pool and says nothing of its fold: those that were handed
    out are counted as crashed, and a new pool goes on with the rest.
    """
    waiting = list(jobs)
    while waiting:
        num_workers = min(num_processes, len(waiting))
        with ProcessPoolExecutor(
            num_workers,
            mp_context=get_context("spawn"),  # forking a process in which torch has run threads may hang
            initializer=_start_worker,
            initargs=(make_method, make_samples, max(1, num_cores() // num_workers)),
        ) as pool:
            running: dict[Future, Job] = {}
            broken = False
            while (waiting or running) and not broken:
                # no more than there are workers, so that what is handed out is what runs
                while waiting and len(running) < num_workers:
                    job = waiting.pop(0)
                    running[pool.submit(_run_in_worker, job, folds_dir)] = job
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    job = running.pop(future)
                    try:
                        reason = future.result()
                    except BrokenProcessPool:
                        broken = True
                        reason = "its process died; was it killed, or out of memory?"
                        _error_path(folds_dir, job).write_text(reason, encoding="utf-8")
                    yield job, reason
            # a pool that broke has no result for the others either, though a fold may have been kept
            for job in running.values():
                if (folds_dir / job.file_name).exists():
                    yield job, None
                else:
                    reason = "a process beside its own died, and it with it"
                    _error_path(folds_dir, job).write_text(reason, encoding="utf-8")
                    yield job, reason


# ---------------------------------------------------------------------------------------------------------- finishing


def _add_seconds(folds_dir: Path, seconds: float) -> None:
    path = folds_dir / SECONDS_NAME
    write_json(path, (read_json(path) or 0.0) + seconds)


def _finish(
    output_dir: Path,
    jobs: Sequence[Job],
    samples: SampleSet,
    method: Method,
    protocol: EvaluationProtocol,
    identity: Mapping[str, Any],
    figures: bool,
) -> dict[str, Any]:
    folds_dir = output_dir / FOLDS_NAME
    table = PredictionTable.concatenate([PredictionTable.read(folds_dir / job.file_name) for job in jobs])
    tested = sorted({index for job in jobs for index in job.fold.test_indices})
    table.check_complete(
        [samples.sample_ids[index] for index in tested], [samples.datasets[index] for index in tested]
    )
    folds = {job.fold.name: job.fold for job in jobs if job.fold.train_indices}
    description = {
        "method": method.name,
        "protocol": protocol.name,
        "label_map": samples.label_map,
        "seeds": identity["seeds"],
        "num_left_out": samples.num_left_out,
        "crop": samples.crop,
        "data_fingerprint": samples.fingerprint,
        "settings": identity["settings"],
        "seen_people": asdict(method.seen_people()),
        # what always answering with the most frequent training class needs to know
        "majority_class": {
            name: samples.label_names[
                int(np.bincount(samples.labels[list(fold.train_indices)], minlength=len(samples.label_names)).argmax())
            ]
            for name, fold in folds.items()
        },
        "seconds": round(read_json(folds_dir / SECONDS_NAME), 1),
        **run_provenance(),
    }
    table.write(output_dir / PREDICTIONS_NAME, metadata=description)
    results = summarize(table, description)
    if figures:
        worst = worst_samples(table, samples, _read_maps(folds_dir, jobs, samples))
        partial = output_dir / f".{FIGURES_NAME}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        write_figures(partial, table, results, worst)
        shutil.rmtree(output_dir / FIGURES_NAME, ignore_errors=True)
        os.replace(partial, output_dir / FIGURES_NAME)
    write_json(output_dir / RESULTS_NAME, results)
    return results


def _read_maps(folds_dir: Path, jobs: Sequence[Job], samples: SampleSet) -> dict[int, dict[str, np.ndarray]]:
    """Position of a sample -> its maps, of the first seed that has some."""
    maps: dict[int, dict[str, np.ndarray]] = {}
    for job in jobs:
        path = folds_dir / job.maps_name
        if path.exists():
            with np.load(path) as stored:
                names = [name for name in stored.files if name != MAP_POSITIONS]
                for place, position in enumerate(stored[MAP_POSITIONS].tolist()):
                    maps.setdefault(position, {name: stored[name][place] for name in names})
    return maps
