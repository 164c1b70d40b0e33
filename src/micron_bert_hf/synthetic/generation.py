"""The public call: a stream of labelled clips with ground truth, made by one or several processes, cached on disk."""

import multiprocessing
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any

import cv2
from tqdm.auto import tqdm

from ..worker_processes import end_with_parent
from .clips import ClipParameters, ClipRenderer, UnlabelledParameters
from .expressions import CLASS_ACTION_UNITS, DURATION
from .long_clips import PAUSE
from .subject_cache import SubjectCache


# Part of the cache's key. Raise it with every change that alters a row.
GENERATOR_VERSION = "3"
DEFAULT_CLASSES = ("happiness", "surprise", "disgust", "repression")
# Below this the eyes are a few pixels wide and nothing that is measured here means anything.
MIN_IMAGE_SIZE = 32
# The fastest onset lasts 0.06 s; at fewer frames a second it falls between two frames.
MIN_FPS = 20
FRAME_CHOICES = ("pair", "clip")
COLOR_CHOICES = ("rgb", "grey")
# The shortest unlabelled clip in which the longest micro-expression fits, with a pause before and after.
MIN_SECONDS = DURATION[1] + 2 * PAUSE
# Subjects that workers may be ahead of the caller, beyond one each: bounds the memory.
_AHEAD = 1
AnyParameters = ClipParameters | UnlabelledParameters
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def generate_micro_expressions(
    num_subjects: int = 12,
    clips_per_class: int = 2,
    image_size: int = 224,
    difficulty: float = 0.5,
    seed: int = 0,
    *,
    classes: Sequence[str] = DEFAULT_CLASSES,
    frames: str = "pair",
    fps: int = 100,
    color: str = "rgb",
    num_processes: int = 1,
    cache_dir: str | os.PathLike[str] | None = None,
    progress: bool = False,
) -> Iterator[dict[str, Any]]:
    """Makes synthetic micro-expressions with exact motion ground truth.

    The same arguments give the same rows, byte for byte on one machine, for any `num_processes` and with or without a
    cache. The first `k` subjects are the same for every `num_subjects >= k`, and a class's clips for every choice of
    `classes`.

    Args:
        num_subjects: subjects, numbered from 0.
        clips_per_class: clips of each class for each subject.
        image_size: height and width of the frames in pixels, at least 32.
        difficulty: 0 (clear movements, still head, little noise) to 1 (weak movements among drift, blinks, others and
            noise).
        seed: non-negative.
        classes: keys of `CLASS_ACTION_UNITS`, without repeats.
        frames: `"pair"` renders onset and apex; `"clip"` renders every frame and adds `frames`.
        fps: frames per second, at least 20.
        color: `"grey"` gives frames of a camera without colour (three equal channels), as SAMM's.
        num_processes: worker processes; 1 works in the caller's process. With more, the caller's script needs the
            usual `if __name__ == "__main__":` guard, since workers are spawned.
        cache_dir: folder for finished subjects, or `None`. An interrupted call goes on from there.
        progress: shows a progress bar.

    Yields:
        One dict per clip, subject by subject. Left is the subject's left; positions are (x, y) in pixels, x to the
        right, y down, the centre of pixel (0, 0) at (0.5, 0.5).

        - `sample_id`, `subject_id`, `dataset` (`str`): for instance `"s003_012"`, `"s003"`, `"synthetic"`. Neither the
          number in `sample_id` nor the order of a subject's rows depends on the class.
        - `label`, `label_raw` (`str`): the class, twice; `THREE_CLASS_LABELS` maps it to three classes.
        - `onset`, `apex`: `(H, W, 3)` uint8 RGB frames.
        - `action_units`: `{"12": (left, right)}`, peak intensities in 0..1 of the labelled movement.
        - `other_action_units`: the same for what accompanies it unlabelled (a subject's habit, chance, a blink).
        - `motion`: `(H, W, 2)` float32, exact displacement in pixels from onset to apex of the point seen at each
          pixel of the onset frame; `expression_motion`: the part of it that is left with head and gaze held still.
        - `motion_valid`: `(H, W)` bool, the head is seen here and the point stays visible; `face_mask`: `(H, W)` bool.
        - `landmarks_onset`, `landmarks_apex`: `(K, 2)` float32, in the order of `LANDMARK_NAMES`.
        - `fps`, `onset_index`, `apex_index`, `offset_index`: frame numbers as annotated; `true_apex_index` without the
          annotator's error.
        - `frames` (only `frames="clip"`): `(T, H, W, 3)` uint8.

    Raises:
        ValueError: at once, before any work, if an argument is out of its range.
    """
    _check_integer("num_subjects", num_subjects, 1)
    _check_integer("clips_per_class", clips_per_class, 1)
    _check_common(image_size, difficulty, seed, fps, color, num_processes)
    if frames not in FRAME_CHOICES:
        raise ValueError(f"frames is {frames!r}; expected one of {FRAME_CHOICES}")
    parameters = ClipParameters(
        classes=_check_classes(classes),
        clips_per_class=clips_per_class,
        image_size=image_size,
        difficulty=float(difficulty),
        seed=seed,
        fps=fps,
        frames=frames,
        color=color,
    )
    cache = None if cache_dir is None else SubjectCache(cache_dir, parameters, GENERATOR_VERSION)
    total = num_subjects * len(parameters.classes) * parameters.clips_per_class
    return _stream_rows(num_subjects, total, parameters, cache, num_processes, progress)


def generate_unlabelled_clips(
    num_clips: int = 4,
    seconds: float = 3.0,
    fps: int = 100,
    image_size: int = 224,
    difficulty: float = 0.5,
    seed: int = 0,
    *,
    classes: Sequence[str] = DEFAULT_CLASSES,
    color: str = "rgb",
    num_processes: int = 1,
    cache_dir: str | os.PathLike[str] | None = None,
    progress: bool = False,
) -> Iterator[dict[str, Any]]:
    """Makes long clips with blinks, glances, speech-like movements, head drift and none or several micro-expressions.

    For pretraining, which leaves `intervals` aside, and for spotting, which is scored against them. Each clip shows
    another subject, and none of them occurs in [`generate_micro_expressions`], whatever the seeds. Determinism,
    processes and cache are as there; the first `k` clips are the same for every `num_clips >= k`.

    Args:
        num_clips: clips, numbered from 0.
        seconds: length of each clip, at least 0.9. A row takes `seconds * fps * image_size**2 * 3` bytes, 45 MB for
            3 s at 100 frames a second and 224 pixels.
        fps, image_size, seed, color, num_processes, cache_dir, progress: as in [`generate_micro_expressions`].
        difficulty: 0 to 1; higher means weaker micro-expressions, more speech, drift and noise.
        classes: of the micro-expressions that may occur.

    Yields:
        One dict per clip:

        - `sample_id`, `subject_id`, `dataset` (`str`): for instance `"u003_000"`, `"u003"`, `"synthetic"`.
        - `fps` (`int`).
        - `intervals`: list of `{"onset", "apex", "offset", "label", "action_units"}` in the order of time, frame
          numbers with `onset < apex < offset`; empty if nothing happens. Intervals do not overlap.
        - `frames`: `(T, H, W, 3)` uint8 RGB with `T = round(seconds * fps) + 1`.
        - `landmarks`: `(T, K, 2)` float32, (x, y) in pixels, in the order of `LANDMARK_NAMES`.

    Raises:
        ValueError: at once, before any work, if an argument is out of its range.
    """
    _check_integer("num_clips", num_clips, 1)
    if not _is_number(seconds) or not MIN_SECONDS <= seconds < float("inf"):
        raise ValueError(f"seconds is {seconds!r}; expected a number of at least {MIN_SECONDS:g}")
    _check_common(image_size, difficulty, seed, fps, color, num_processes)
    parameters = UnlabelledParameters(
        seconds=float(seconds),
        classes=_check_classes(classes),
        image_size=image_size,
        difficulty=float(difficulty),
        seed=seed,
        fps=fps,
        color=color,
    )
    cache = None if cache_dir is None else SubjectCache(cache_dir, parameters, GENERATOR_VERSION)
    return _stream_rows(num_clips, num_clips, parameters, cache, num_processes, progress)


def _check_common(image_size: int, difficulty: float, seed: int, fps: int, color: str, num_processes: int) -> None:
    for name, value, lowest in (
        ("image_size", image_size, MIN_IMAGE_SIZE),
        ("seed", seed, 0),
        ("fps", fps, MIN_FPS),
        ("num_processes", num_processes, 1),
    ):
        _check_integer(name, value, lowest)
    if not _is_number(difficulty) or not 0 <= difficulty <= 1:
        raise ValueError(f"difficulty is {difficulty!r}; expected a number from 0 to 1")
    if color not in COLOR_CHOICES:
        raise ValueError(f"color is {color!r}; expected one of {COLOR_CHOICES}")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _check_integer(name: str, value: Any, lowest: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < lowest:
        raise ValueError(f"{name} is {value!r}; expected an integer of at least {lowest}")


def _check_classes(classes: Sequence[str]) -> tuple[str, ...]:
    if isinstance(classes, str):
        raise ValueError(f"classes is the string {classes!r}; expected a sequence of class names")
    unknown = [name for name in classes if name not in CLASS_ACTION_UNITS]
    if unknown:
        raise ValueError(f"unknown class(es) {unknown}; expected some of {list(CLASS_ACTION_UNITS)}")
    if not classes or len(set(classes)) != len(classes):
        raise ValueError(f"classes is {list(classes)}; expected at least one name and none twice")
    return tuple(classes)


def _stream_rows(
    num_subjects: int,
    total: int,
    parameters: AnyParameters,
    cache: SubjectCache | None,
    num_processes: int,
    progress: bool,
) -> Iterator[dict[str, Any]]:
    subjects = _in_process if num_processes == 1 else _in_workers
    with tqdm(total=total, unit="sample", desc="synthetic faces", disable=not progress) as bar:
        for rows in subjects(num_subjects, parameters, cache, num_processes):
            for row in rows:
                bar.update()
                yield row


def _in_process(
    num_subjects: int, parameters: AnyParameters, cache: SubjectCache | None, num_processes: int
) -> Iterator[Sequence[dict[str, Any]]]:
    renderer = None
    for subject_index in range(num_subjects):
        rows = None if cache is None else cache.read(subject_index)
        if rows is None:
            if renderer is None:  # made only if the cache lacks something
                renderer = ClipRenderer()
            rows = _render_and_store(renderer, subject_index, parameters, cache)
        yield rows


def _in_workers(
    num_subjects: int, parameters: AnyParameters, cache: SubjectCache | None, num_processes: int
) -> Iterator[Sequence[dict[str, Any]]]:
    num_processes = min(num_processes, num_subjects)
    executor = ProcessPoolExecutor(
        num_processes, mp_context=multiprocessing.get_context("spawn"), initializer=_start_worker
    )

    def submit(subject_index: int) -> Future:
        with _single_threaded_children():
            return executor.submit(_work, subject_index, parameters, cache)

    def start(subject_index: int) -> Future | None:
        cached = cache is not None and cache.path(subject_index).exists()
        return None if cached else submit(subject_index)

    try:
        pending: deque[Future | None] = deque()
        for subject_index in range(num_subjects):
            while len(pending) < min(num_processes + _AHEAD, num_subjects - subject_index):
                pending.append(start(subject_index + len(pending)))
            future = pending.popleft()
            rows = None if future is not None or cache is None else cache.read(subject_index)
            if rows is None:  # being made, or its file turned out to be damaged
                rows = (future or submit(subject_index)).result()
            yield rows
    finally:
        executor.shutdown(cancel_futures=True)


def _render_and_store(
    renderer: ClipRenderer, subject_index: int, parameters: AnyParameters, cache: SubjectCache | None
) -> list[dict[str, Any]]:
    rows = list(renderer.render_subject(subject_index, parameters))
    if cache is not None:
        cache.write(subject_index, rows)
    return rows


# The renderer of a worker process, made once when it starts; never set in the caller's process.
_worker_renderer: ClipRenderer | None = None


def _start_worker() -> None:
    global _worker_renderer
    end_with_parent()
    cv2.setNumThreads(1)
    _worker_renderer = ClipRenderer()


def _work(subject_index: int, parameters: AnyParameters, cache: SubjectCache | None) -> list[dict[str, Any]]:
    return _render_and_store(_worker_renderer, subject_index, parameters, cache)


@contextmanager
def _single_threaded_children() -> Iterator[None]:
    """Processes started inside use one BLAS/OpenMP thread: those libraries read the environment when they load."""
    before = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
