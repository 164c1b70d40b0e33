"""The dataset card (`README.md`) of a set on disk, rendered from its `parameters.json` and `results.json`."""

from collections.abc import Mapping, Sequence
from typing import Any

from huggingface_hub import DatasetCardData

from .expressions import CLASS_ACTION_UNITS, THREE_CLASS_LABELS
from .face_model import LANDMARK_NAMES
from .presets import LabelledSetParameters, SetParameters, reproduction_command


# The faces are rendered from CC0 assets by a program, whose own licence (Apache-2.0) does not extend to its output.
LICENSE = "cc0-1.0"

_LABELLED_COLUMNS: Mapping[str, str] = {
    "sample_id, subject_id": "`s003_012` is a clip of the person `s003`. Unique within this set only: join sets by"
    " `(dataset, subject_id)`. Neither the number nor the order of the rows depends on the class.",
    "dataset": "name of this set",
    "frames": "images, 8-bit RGB PNG: {frames}",
    "frame_indices": "which frame of the clip each of `frames` is. The apex frame is"
    ' `row["frames"][row["frame_indices"].index(row["apex"])]` in every set.',
    "onset, apex, offset": "frame numbers in the CLIP as an annotator gives them, the first frame is 0. The apex may"
    " miss the true one by some frames. They count the clip's frames, also where `frames` holds two of them.",
    "true_apex": "frame number of the apex without the annotator's error",
    "fps": "frames a second of the clip",
    "label, label_raw": 'name of the class (a string: `dataset.class_encode_column("label")` gives numbers)',
    "action_units": "labelled FACS units at their peak: list of `unit` (number), `left`, `right` (intensity 0 to 1);"
    " left is the person's left",
    "other_action_units": "the same for what moves besides: a habit of this person, chance, a blink",
    "landmarks": "`onset` and `apex`: (x, y) in pixels of {landmarks} points, the centre of the first pixel at"
    " (0.5, 0.5), in the order given below",
    "motion": "16-bit image of 2 H x W: exact displacement from onset to apex of the point seen at each pixel of the"
    ' onset frame; x parts above y parts. Read by `decode_motion(row["motion"])`, or'
    ' `(np.asarray(row["motion"], np.float32) - 32768).reshape(2, H, W) / 512`, in pixels.',
    "expression_motion": "the same with head and gaze held still: only the face's own movement",
    "motion_valid": "1-bit image: the head is seen here and the point stays visible at the apex",
    "face_mask": "1-bit image: the face, from chin to hairline, in the onset frame",
}
_UNLABELLED_COLUMNS: Mapping[str, str] = {
    "sample_id, subject_id": "`u003_000` is the clip of the person `u003`, who is in no other clip. Unique within this"
    " set only: join sets by `(dataset, subject_id)`.",
    "dataset": "name of this set",
    "frames": "images, 8-bit RGB PNG: {frames}",
    "fps": "frames a second",
    "intervals": "the micro-expressions in the order of time, none or several, without overlap: list of `onset`,"
    " `apex`, `offset` (frame numbers, the first frame is 0), `label`, `action_units` (list of `unit`, `left`,"
    " `right`: peak intensity 0 to 1, left is the person's left). For pretraining they are left aside.",
    "landmarks": "one list a frame: (x, y) in pixels of {landmarks} points, the centre of the first pixel at"
    " (0.5, 0.5), in the order given below",
}


def render_card(description: Mapping[str, Any], parameters: SetParameters, results: Mapping[str, Any] | None) -> str:
    """Text of `README.md`.

    Its metadata name every shard and the number of rows, so that `load_dataset` refuses a folder that lacks a shard or
    a row, also while the set is still being written.

    Args:
        description: content of `parameters.json` with `generator_version`, `fingerprint`, `shards` (paths),
            `num_rows`, `num_bytes`.
        parameters: the same parameters, as an object.
        results: of `measure_baselines`, or `None` where there are none.
    """
    labelled = isinstance(parameters, LabelledSetParameters)
    sections = [
        _introduction(description, parameters),
        _limits(),
        _loading(parameters),
        _schema(parameters),
        _classes(parameters),
        _baselines(results, labelled),
        f"## Making it again\n\n```\n{reproduction_command(parameters)}\n```\n\nGenerator version"
        f" {description['generator_version']}, fingerprint of the parameters `{description['fingerprint']}`. The same"
        " command gives the same frames for any number of processes; other builds of NumPy or OpenCV may differ in"
        " single grey levels. All parameters and a checksum of every shard are in `parameters.json`.",
        _credits(),
    ]
    return f"---\n{_metadata(description, parameters)}\n---\n\n" + "\n\n".join(sections) + "\n"


def _metadata(description: Mapping[str, Any], parameters: SetParameters) -> str:
    labelled = isinstance(parameters, LabelledSetParameters)
    data = DatasetCardData(
        license=LICENSE,
        pretty_name=_title(parameters),
        task_categories=["video-classification"] if labelled else ["other"],
        tags=["micro-expression", "facial-expression", "synthetic", "optical-flow", "action-units"],
        size_categories=[_size_category(description["num_rows"])],
        annotations_creators=["machine-generated"],
        source_datasets=["original"],
        configs=[
            {"config_name": "default", "data_files": [{"split": "train", "path": list(description["shards"])}]},
        ],
        dataset_info={
            # `datasets` knows what it has read by a hash of this block
            "description": f"fingerprint {description['fingerprint']}",
            "splits": [
                {"name": "train", "num_bytes": description["num_bytes"], "num_examples": description["num_rows"]}
            ],
        },
    )
    return data.to_yaml()


def _title(parameters: SetParameters) -> str:
    return "Synthetic micro-expressions" if parameters.name == "synthetic" else parameters.name


def _introduction(description: Mapping[str, Any], parameters: SetParameters) -> str:
    common = (
        f"{parameters.image_size} x {parameters.image_size} pixels, {parameters.fps} frames a second,"
        f" {'colour' if parameters.color == 'rgb' else 'a camera without colour (three equal channels)'}, difficulty"
        f" {parameters.difficulty:g} (0: clear movements, still head; 1: weak movements among drift, blinks and"
        f" noise), seed {parameters.seed}."
    )
    if isinstance(parameters, LabelledSetParameters):
        content = (
            f"{description['num_rows']} micro-expressions of {parameters.num_subjects} rendered people:"
            f" {parameters.clips_per_class} for each person and each of {len(parameters.classes)} classes. {common}"
            " Every sample has the exact motion between onset and apex, which no recorded database knows."
        )
    else:
        content = (
            f"{parameters.num_clips} long clips of {parameters.seconds:g} s, each of another rendered person, with"
            " blinks, glances, speech-like movements of the mouth, head drift, and none or several micro-expressions."
            f" {common} For pretraining, which leaves the intervals aside, and for spotting, which is scored against"
            " them."
        )
    return (
        f"# {_title(parameters)}\n\n{content}\n\nMade by the face generator of `micron_bert_hf`. It is for trying,"
        " testing, teaching and comparing methods without a signed agreement, and for measuring whether a model sees"
        " where a face moves."
    )


def _limits() -> str:
    return (
        "## What it does not show\n\n"
        "* It is synthetic. There is no real person in it, and a score on it is not evidence about real faces: it is a"
        " number about this generator.\n"
        "* All faces come from one head model with rendered skin and hair. Their variety is ours and stands for no"
        " population; conclusions about groups of people cannot be drawn from it.\n"
        "* A class is a combination of action units by rule, without the ambiguity of human labels. Nothing is felt:"
        " `happiness` names a movement.\n"
        "* Intensities, timing, habits, head movement and camera noise are drawn from distributions of our own.\n"
        "* There is one split, `train`. Make folds by `subject_id`, never by row."
    )


def _loading(parameters: SetParameters) -> str:
    lines = [
        "from datasets import load_dataset",
        "",
        'dataset = load_dataset("PATH", split="train")  # streaming=True reads it shard by shard',
        "row = dataset[0]",
    ]
    if isinstance(parameters, LabelledSetParameters):
        lines += [
            'onset, apex = (row["frames"][row["frame_indices"].index(row[name])] for name in ("onset", "apex"))',
            "",
            "# with micron_bert_hf installed",
            "from micron_bert_hf.synthetic import decode_motion, patch_motion",
            "",
            'motion = decode_motion(row["motion"])  # (H, W, 2) float32, pixels',
            "lengths = patch_motion(motion, patch_size=8)  # (H / 8, W / 8), for sides that 8 divides",
        ]
    return "## How to load it\n\n```python\n" + "\n".join(lines) + "\n```"


def _schema(parameters: SetParameters) -> str:
    if not isinstance(parameters, LabelledSetParameters):
        columns, frames = _UNLABELLED_COLUMNS, "every frame of the clip"
    elif parameters.frames == "pair":
        columns, frames = _LABELLED_COLUMNS, "the onset frame and the apex frame, nothing between them"
    else:
        columns, frames = _LABELLED_COLUMNS, "every frame of the clip"
    rows = [
        (name, text.replace("{frames}", frames).replace("{landmarks}", str(len(LANDMARK_NAMES))))
        for name, text in columns.items()
    ]
    names = ", ".join(f"`{name}`" for name in LANDMARK_NAMES)
    return f"## Columns\n\n{_table(('column', 'content'), rows)}\n\nLandmarks, left being the person's left: {names}."


def _classes(parameters: SetParameters) -> str:
    rows = [
        (
            label,
            " or ".join("+".join(map(str, units)) for units in CLASS_ACTION_UNITS[label]),
            THREE_CLASS_LABELS[label],
        )
        for label in parameters.classes
    ]
    table = _table(("class", "FACS action units", "of three classes"), rows)
    return (
        f"## Classes\n\n{table}\n\nThe combinations are ours, within the labelling criteria of CASME II"
        " (happiness: 6 or 12; disgust: 9, 10 or 4+7; surprise: 1+2, 25 or 2; repression: 15 or 17; Yan et al., PLoS"
        " ONE 9(1), e86041, 2014, Table 3) and, for the further classes, close to the objective classes III, V and VI"
        " of Davison et al. (arXiv 1708.07549). Units 14 and 24 in repression, 5 and 26 in surprise are our additions."
        " All shares, intensities and timings are ours. The three classes are those of the Micro-Expression Grand"
        " Challenge 2019 (See et al., FG 2019)."
    )


def _baselines(results: Mapping[str, Any] | None, labelled: bool) -> str:
    if results is None:
        return "## Baselines\n\nNot measured for this set."
    rows = [
        (
            scores["description"],
            f"{scores['uf1']:.3f} [{scores['uf1_interval'][0]:.3f}, {scores['uf1_interval'][1]:.3f}]",
            f"{scores['uar']:.3f} [{scores['uar_interval'][0]:.3f}, {scores['uar_interval'][1]:.3f}]",
        )
        for scores in results["baselines"].values()
    ]
    what = "samples" if labelled else "micro-expressions, each told its true onset frame and its annotated apex frame"
    return (
        f"## Baselines\n\n{_table(('method', 'UF1', 'UAR'), rows)}\n\n{results['num_samples']} {what};"
        f" {results['protocol']}. Chance is a UAR of {1 / len(results['label_names']):.3f}. Every method but the first"
        " crops the face by its true landmarks. All numbers and the versions of the libraries are in `results.json`."
    )


def _credits() -> str:
    return (
        "## Licence and credits\n\n"
        "CC0 1.0: it is rendered from assets under CC0 1.0 alone. The head mesh and its shape targets are"
        ' MakeHuman/MPFB2\'s (CC0 1.0); the 52 facial units are "Face Units 01" by Mika Suominen (CC0 1.0). No'
        " photograph, scan or texture of a person is used."
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _size_category(num_rows: int) -> str:
    for limit, name in ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K")):
        if num_rows < limit:
            return name
    return "100K<n<1M"
