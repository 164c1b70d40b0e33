"""The whole way on two CPU cores: make faces, pretrain without labels, fine-tune, score on new people, show one.

Everything below is drawn from one seed. The recipe was chosen on other synthetic subjects (seeds other than the
default) and the held-out subjects are scored once, at the end.
"""

import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from transformers import pipeline, set_seed

from .configuration_micron_bert import MicronBertConfig
from .data import FramePairs, check_subjects_disjoint, holdout_subjects, write_clips
from .evaluation import majority_baseline, predict
from .hub import check_replaceable, save_for_hub
from .image_processing_micron_bert import MicronBertImageProcessor
from .modeling_micron_bert import MicronBertForMicroExpressionClassification, MicronBertForPreTraining
from .run_files import write_json
from .run_provenance import num_cores, run_provenance
from .synthetic import generate_micro_expressions
from .torch_threads import one_torch_thread
from .training import (
    FineTuningArguments,
    PretrainingArguments,
    RunArguments,
    classifier_from_pretrained,
    fine_tune,
    pretrain,
)
from .visualization import prediction_figure, save_figure


MODEL_NAME = "model"
FIGURE_NAME = "micro_expression.png"
RESULTS_NAME = "results.json"


@dataclass(frozen=True)
class DemoRecipe:
    """
    Sizes of the demo; all ours, chosen for about four minutes on two cores and on validation subjects.

    Args:
        num_train_subjects, num_test_subjects, clips_per_class (`int`)
        difficulty (`float` in [0, 1]): of the synthetic set.
        classes (`tuple[str, ...]`): the label set; position = class number.
        model (`dict`): fields of [`MicronBertConfig`].
        pretraining_epochs, fine_tuning_epochs, batch_size (`int`)
        pretraining_base_learning_rate (`float`): for 256 pairs a step, see [`PretrainingArguments`].
        fine_tuning_learning_rate (`float`)
    """

    num_train_subjects: int = 50
    num_test_subjects: int = 20
    clips_per_class: int = 2
    difficulty: float = 0.15
    classes: tuple[str, ...] = ("happiness", "surprise", "disgust", "repression")
    model: Mapping[str, Any] = field(
        default_factory=lambda: {
            "image_size": 96,
            "hidden_size": 96,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 192,
            "decoder_hidden_size": 96,
            "decoder_num_hidden_layers": 1,
            "decoder_intermediate_size": 192,
        }
    )
    pretraining_epochs: int = 6
    fine_tuning_epochs: int = 24
    batch_size: int = 8
    pretraining_base_learning_rate: float = 0.032
    fine_tuning_learning_rate: float = 1e-3


def run_demo(output_dir: str | os.PathLike, seed: int = 0, recipe: DemoRecipe | None = None) -> dict[str, Any]:
    """
    Run the demo and leave `model/` (loads with `from_pretrained`), `micro_expression.png` and, last, `results.json` in
    `output_dir`, which is made if absent. What an earlier run left under these names is replaced.

    Args:
        seed (`int`): of the faces, the split, the weights and every draw; at least 0.

    Returns:
        The content of `results.json`.
    """
    with one_torch_thread():
        return _run(Path(output_dir), seed, recipe or DemoRecipe())


def _run(output_dir: Path, seed: int, recipe: DemoRecipe) -> dict[str, Any]:
    check_replaceable(output_dir / MODEL_NAME)  # before the work, not after it
    output_dir.mkdir(parents=True, exist_ok=True)
    # results.json says that a run is complete: an old one must not stand beside new files
    (output_dir / RESULTS_NAME).unlink(missing_ok=True)
    seconds: dict[str, float] = {}
    label2id = {name: index for index, name in enumerate(recipe.classes)}

    num_subjects = recipe.num_train_subjects + recipe.num_test_subjects
    with _stage(f"1/6 Rendering the micro-expressions of {num_subjects} synthetic people", "render", seconds):
        rows = list(
            generate_micro_expressions(
                num_subjects,
                recipe.clips_per_class,
                recipe.model["image_size"],
                recipe.difficulty,
                seed,
                classes=recipe.classes,
                num_processes=min(num_cores(), num_subjects),
                progress=True,
            )
        )
        image_processor = MicronBertImageProcessor(
            size={"height": recipe.model["image_size"], "width": recipe.model["image_size"]}
        )
        split = holdout_subjects(
            [row["subject_id"] for row in rows], num_test_subjects=recipe.num_test_subjects, seed=seed
        )
        train_rows = [rows[index] for index in split.train_indices]
        test_rows = [rows[index] for index in split.test_indices]
        train_pairs = FramePairs(train_rows, image_processor, label2id)
        test_pairs = FramePairs(test_rows, image_processor, label2id)
        check_subjects_disjoint(train_pairs.subject_ids, test_pairs.subject_ids)
    print(
        f"  {len(train_rows)} pairs of {len(split.train_subjects)} people to learn from,"
        f" {len(test_rows)} pairs of {len(split.test_subjects)} others to test on"
    )

    with _stage("2/6 Pretraining without labels: restore the swapped patches", "pretrain", seconds):
        set_seed(seed)
        pretrained = MicronBertForPreTraining(MicronBertConfig(**recipe.model))
        with tempfile.TemporaryDirectory() as folder:
            clips = Path(folder) / "clips"
            write_clips(clips, train_rows)  # a pair is a clip of two frames
            pretraining = pretrain(
                pretrained,
                image_processor,
                clips,
                PretrainingArguments(
                    epochs=recipe.pretraining_epochs,
                    batch_size=recipe.batch_size,
                    base_learning_rate=recipe.pretraining_base_learning_rate,
                    pairs_per_clip=1,
                    seed=seed,
                ),
                RunArguments(num_workers=0),
            )

    arguments = FineTuningArguments(
        epochs=recipe.fine_tuning_epochs,
        batch_size=recipe.batch_size,
        learning_rate=recipe.fine_tuning_learning_rate,
        seed=seed,
    )
    with _stage("3/6 Fine-tuning the classifier", "fine_tune", seconds):
        set_seed(seed)
        model = classifier_from_pretrained(pretrained, recipe.classes)
        fine_tuning = fine_tune(model, train_pairs, arguments)
    with _stage("4/6 The same without pretraining, to see what pretraining is worth", "from_scratch", seconds):
        set_seed(seed)
        scratch = MicronBertForMicroExpressionClassification(model.config)
        fine_tune(scratch, train_pairs, arguments)

    with _stage("5/6 Scoring on the people held out", "evaluate", seconds):
        table = predict(model, test_pairs)
        scores = table.score()
        from_scratch = predict(scratch, test_pairs).score()
        majority = majority_baseline(train_pairs.labels.tolist(), table.labels, recipe.classes)
    results = {
        "method": "Micron-BERT, demo",
        "dataset": f"synthetic, difficulty {recipe.difficulty}",
        "protocol": "holdout_subjects: fixed recipe, the held-out subjects scored once",
        "seeds": [seed],
        **scores,
        "baselines": {"majority": majority, "from_scratch": from_scratch},
        "data": {
            "train_subjects": list(split.train_subjects),
            "test_subjects": list(split.test_subjects),
            "num_train_subjects": len(split.train_subjects),
            "num_test_subjects": len(split.test_subjects),
            "num_train_pairs": len(train_rows),
            "num_test_pairs": len(test_rows),
        },
        "label2id": label2id,
        "recipe": asdict(recipe),
        "pretraining": {
            "first_loss": pretraining.history[0],
            "last_loss": pretraining.history[-1],
            "pairs_per_second": pretraining.samples_per_second,
        },
        "fine_tuning": {"history": fine_tuning.history, "pairs_per_second": fine_tuning.samples_per_second},
        "num_parameters": model.num_parameters(),
        "seconds": seconds,
        **run_provenance(),
    }

    with _stage("6/6 Saving the model, and asking the saved one about a pair it never saw", "show", seconds):
        model_dir = save_for_hub(
            output_dir / MODEL_NAME,
            model=model,
            image_processor=image_processor,
            results=results,
            provenance=_provenance(train_rows),
        )
        row = _most_moving(test_rows)
        shown = _show(model_dir, row, scores, output_dir / FIGURE_NAME)
    results["shown"] = {"sample_id": row["sample_id"], "subject_id": row["subject_id"], "label": row["label"], **shown}
    results["predictions"] = table.to_rows()
    write_json(output_dir / RESULTS_NAME, results)
    _print_summary(results, output_dir)
    return results


def _provenance(train_rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Whom the model has seen, in pretraining and in fine-tuning alike."""
    (dataset,) = {row["dataset"] for row in train_rows}
    return {
        "crop": "none",
        "num_pairs": len(train_rows),
        "subjects": {dataset: sorted({row["subject_id"] for row in train_rows})},
        "is_complete": True,
        "frame_rates": {dataset: sorted({row["fps"] for row in train_rows})},
    }


def _show(model_dir: Path, row: Mapping[str, Any], scores: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Predict one row with the saved model through the pipeline and draw it."""
    classify = pipeline("micro-expression-classification", model=str(model_dir), trust_remote_code=True)
    answer = classify({"onset": row["onset"], "apex": row["apex"]}, return_maps=True)
    still = classify({"onset": row["onset"], "apex": row["onset"]}, return_maps=True)
    probabilities = {entry["label"]: entry["score"] for entry in answer["predictions"]}
    figure = prediction_figure(
        row["onset"],
        row["apex"],
        answer["diagonal_attention"],
        answer["patch_of_interest"],
        {name: probabilities[name] for name in scores["label_names"]},
        still_diagonal_attention=still["diagonal_attention"],
        label=row["label"],
        title="A micro-expression, as Micron-BERT sees it",
        caption=(
            f"Synthetic subject {row['subject_id']}, held out; of all held-out pairs the one that moves most. Over all"
            f" {scores['num_samples']}: UF1 {scores['uf1']:.2f}, UAR {scores['uar']:.2f}."
        ),
    )
    save_figure(figure, path)
    return {"prediction": answer["predictions"][0]["label"], "scores": probabilities}


def _most_moving(rows: list[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The row whose expression moves the face most, told from the ground truth and not from any prediction."""
    motion = [np.percentile(np.linalg.norm(row["expression_motion"][row["face_mask"]], axis=-1), 99) for row in rows]
    return rows[int(np.argmax(motion))]


@contextmanager
def _stage(title: str, name: str, seconds: dict[str, float]) -> Iterator[None]:
    print(f"\n{title}", flush=True)
    start = time.perf_counter()
    yield
    seconds[name] = round(time.perf_counter() - start, 2)
    print(f"  {seconds[name]:.1f} s", flush=True)


def _print_summary(results: Mapping[str, Any], output_dir: Path) -> None:
    majority, scratch = results["baselines"]["majority"], results["baselines"]["from_scratch"]
    names = results["label_names"]
    width = max(map(len, names))
    print(f"\nOn {results['data']['num_test_subjects']} people never seen ({results['num_samples']} pairs):")
    print(f"  {'':24}   UF1    UAR   accuracy")
    for title, scores in (
        ("Micron-BERT, pretrained", results),
        ("the same from scratch", scratch),
        (f"always {majority['prediction']}", majority),
    ):
        print(f"  {title:24} {scores['uf1']:.3f}  {scores['uar']:.3f}  {scores['accuracy']:.3f}")
    if results["uf1"] <= scratch["uf1"]:
        print("  Pretraining did not help here: the model from scratch is at least as good.")
    if results["uf1"] <= majority["uf1"]:
        print("  NOT better than always naming one class.")
    print(f"\n  {'true / predicted':{width + 3}}" + "  ".join(f"{name:>{len(name)}}" for name in names))
    for name, counts in zip(names, results["confusion_matrix"]):
        print(f"  {name:{width + 3}}" + "  ".join(f"{count:>{len(other)}}" for other, count in zip(names, counts)))
    print(f"\n  total {sum(results['seconds'].values()):.0f} s")
    for name, what in (
        (FIGURE_NAME, "look at it"),
        (MODEL_NAME, "loads with from_pretrained"),
        (RESULTS_NAME, "all numbers"),
    ):
        print(f"  {output_dir / name}: {what}")
