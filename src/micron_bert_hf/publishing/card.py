"""The model card: `model_card.md` filled with what the folder and its results say, and nothing else.

Whatever they do not say reads "not measured" (of a number) or "nobody wrote it down" (of a fact). The last line of a
rendered card is a checksum of the rest, so that a text that somebody has edited is told from one that may be replaced.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from string import Template
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from .folder import ModelFolder, label_names
from .known_datasets import known_dataset
from .results import SCORES, Result


NOT_MEASURED, NOT_WRITTEN = "not measured", "nobody wrote it down"
# The Hub's word for it.
UNKNOWN_LICENSE = "unknown"
_METRIC_TITLES = {"uf1": "UF1", "uar": "UAR", "accuracy": "Accuracy"}
_MARK = re.compile(
    r"\n<!-- written by micron-bert publish, sha256 ([0-9a-f]{64}); edit the text above, and it is kept -->\n\Z"
)


@dataclass(frozen=True)
class CardFacts:
    """
    Args:
        repo_id (`str`): `USER/NAME`.
        folder (`ModelFolder`)
        results (`tuple[Result, ...]`): that of the folder, if there is one, among them.
        license (`str`, *optional*): as the publisher states it, such as `"cc-by-4.0"`.
        tag (`str`, *optional*): that the published commit will have.
    """

    repo_id: str
    folder: ModelFolder
    results: tuple[Result, ...] = ()
    license: str | None = None
    tag: str | None = None


def render_card(facts: CardFacts) -> str:
    """Text of `README.md`, front matter and mark included."""
    template = files(__package__).joinpath("model_card.md").read_text(encoding="utf-8")
    body = Template(template).substitute(
        title=facts.repo_id.rpartition("/")[2],
        introduction=_introduction(facts),
        usage=_usage(facts),
        inputs=_inputs(facts),
        outputs=_outputs(facts),
        training_data=_training_data(facts),
        results=_results(facts),
        compute=_compute(facts),
        limits=_limits(facts),
        license=_license(facts),
        version=version("micron-bert-hf"),
    )
    text = f"---\n{card_data(facts).to_yaml()}\n---\n\n{body}"
    digest = hashlib.sha256(text.encode()).hexdigest()
    return f"{text}\n<!-- written by micron-bert publish, sha256 {digest}; edit the text above, and it is kept -->\n"


def is_untouched_card(text: str) -> bool:
    """Whether a card is one of ours as it was rendered, which may be rendered anew."""
    mark = _MARK.search(text)
    return mark is not None and hashlib.sha256(text[: mark.start()].encode()).hexdigest() == mark[1]


def card_data(facts: CardFacts) -> ModelCardData:
    """Metadata for the Hub; in the `model-index` each score's `metric_args` say whether it is of these weights."""
    is_classifier = label_names(facts.folder.model) is not None
    datasets = sorted(name for name in training_subjects(facts) if re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name))
    return ModelCardData(
        library_name="transformers",
        license=facts.license or UNKNOWN_LICENSE,
        pipeline_tag="video-classification" if is_classifier else "image-feature-extraction",
        tags=["micron-bert", "micro-expression", "facial-expression", "custom_code"],
        datasets=datasets or None,
        metrics=list(SCORES) if facts.results else None,
        model_name=facts.repo_id.rpartition("/")[2],
        eval_results=list(_eval_results(facts.results)) or None,
    )


def _eval_results(results: Sequence[Result]) -> Iterator[EvalResult]:
    for result in results:
        for name in SCORES:
            value = result.content.get(name)
            if value is not None:
                yield EvalResult(
                    task_type="video-classification",
                    task_name="Micro-expression classification",
                    dataset_type=result.dataset.partition(",")[0],
                    dataset_name=result.dataset,
                    metric_type=name,
                    metric_name=f"{_METRIC_TITLES[name]} ({result.protocol})",
                    metric_value=value,
                    metric_args={
                        "protocol": result.protocol,
                        "seeds": result.content.get("seeds") or NOT_WRITTEN,
                        "label_map": result.content.get("label_map") or NOT_WRITTEN,
                        "of_these_weights": result.is_of_these_weights,
                    },
                )


def training_subjects(facts: CardFacts) -> dict[str, int]:
    """Dataset -> how many people of it the model has seen; empty where nobody wrote it down."""
    provenance = facts.folder.provenance or {"subjects": {}}
    return {name: len(people) for name, people in provenance["subjects"].items()}


def _introduction(facts: CardFacts) -> str:
    names = label_names(facts.folder.model)
    if names is None:
        return (
            "A Micron-BERT encoder for pairs of face frames, without a classifier. Fine-tune it, or look at its maps"
            " of where two frames differ."
        )
    return (
        f"Micron-BERT, which names the micro-expression between two frames of a face as one of {len(names)} classes:"
        f" {', '.join(map(_cell, names))}."
    )


def _usage(facts: CardFacts) -> str:
    revision = facts.tag or "COMMIT"
    pin = "" if facts.tag else "  # 40 digits, from the history of this repository"
    if label_names(facts.folder.model) is not None:
        ask = 'classify({"onset": "onset.png", "apex": "apex.png"}, top_k=1)'
        # pipeline("micro-expression-classification") would ask for trust_remote_code with the package installed, too
        ours = (
            "from micron_bert_hf import (\n"
            "    MicroExpressionClassificationPipeline,\n"
            "    MicronBertForMicroExpressionClassification,\n"
            "    MicronBertImageProcessor,\n"
            ")\n\n"
            "classify = MicroExpressionClassificationPipeline(\n"
            f'    model=MicronBertForMicroExpressionClassification.from_pretrained("{facts.repo_id}"),\n'
            f'    image_processor=MicronBertImageProcessor.from_pretrained("{facts.repo_id}"),\n'
            f")\n{ask}"
        )
        alone = (
            f'from transformers import pipeline\n\nrevision = "{revision}"{pin}\n'
            "classify = pipeline(\n"
            '    "micro-expression-classification",\n'
            f'    model="{facts.repo_id}",\n'
            f"    revision=revision,\n    trust_remote_code=True,\n)\n{ask}"
        )
    else:
        ours = (
            "from micron_bert_hf import MicronBertImageProcessor, MicronBertModel\n\n"
            f'processor = MicronBertImageProcessor.from_pretrained("{facts.repo_id}")\n'
            f'model = MicronBertModel.from_pretrained("{facts.repo_id}")\n'
            'outputs = model(processor(("onset.png", "apex.png"), return_tensors="pt")["pixel_values"])'
        )
        alone = (
            f'from transformers import AutoImageProcessor, AutoModel\n\nrevision = "{revision}"{pin}\n'
            f'trust = {{"revision": revision, "trust_remote_code": True}}\n'
            f'processor = AutoImageProcessor.from_pretrained("{facts.repo_id}", **trust)\n'
            f'model = AutoModel.from_pretrained("{facts.repo_id}", **trust)\n'
            'outputs = model(processor(("onset.png", "apex.png"), return_tensors="pt")["pixel_values"])'
        )
    return (
        f"With the package `micron_bert_hf` installed:\n\n```python\n{ours}\n```\n\n"
        f"With `transformers` alone:\n\n```python\n{alone}\n```"
    )


def _inputs(facts: CardFacts) -> str:
    processor, config = facts.folder.image_processor, facts.folder.model.config
    height, width = processor.size["height"], processor.size["width"]
    crops = {
        str(content["crop"])
        for content in (
            facts.folder.provenance or {},
            *(result.content for result in facts.results if result.is_of_these_weights),
        )
        if content.get("crop") is not None
    }
    return "\n".join(
        [
            f"* **Frames:** two RGB images, resized to {height} x {width} pixels; patches of"
            f" {config.patch_size} pixels.",
            f"* **Face crop:** {' and '.join(map(_crop, sorted(crops))) or NOT_WRITTEN}. Both frames are cut by the"
            " same box, from the onset frame: another crop is another task. The model neither finds nor aligns faces.",
            f"* **Frame rate of the training clips:** {_frame_rates(facts)}. The model sees two frames and no time:"
            " which frame is onset and which apex is decided by whoever asks. SMIC was recorded at 100, CASME II and"
            " SAMM at 200 frames a second; at 25 a micro-expression lasts a few frames.",
        ]
    )


def _frame_rates(facts: CardFacts) -> str:
    known = (facts.folder.provenance or {}).get("frame_rates", {})
    parts = []
    for name in sorted({*training_subjects(facts), *known}):
        rates = " and ".join(f"{rate:g}" for rate in known.get(name, ()))
        parts.append(f"{_cell(name)} {f'{rates} frames a second' if rates else NOT_WRITTEN}")
    return "; ".join(parts) or NOT_WRITTEN


def _crop(crop: str) -> str:
    return {
        "landmarks": "a box round eyes and mouth, from landmarks of the onset frame",
        "none": "none: frames as the dataset has them",
    }.get(crop, _cell(crop))


def _outputs(facts: CardFacts) -> str:
    names = label_names(facts.folder.model)
    maps = (
        "Two maps over the patches come with it: the diagonal attention, SMALL where a patch changed, and the patch of"
        " interest."
    )
    if names is None:
        return f"Token vectors, for a head of your own. {maps}"
    rows = [(str(index), name) for index, name in enumerate(names)]
    return f"A score for each class of the label set:\n\n{_table(('number', 'class'), rows)}\n\n{maps}"


def _training_data(facts: CardFacts) -> str:
    subjects, conversion = training_subjects(facts), facts.folder.conversion
    lines = []
    if conversion is not None:
        lines.append(
            "Converted from a checkpoint of the original code"
            f" ({_cell(conversion.get('source_file') or NOT_WRITTEN)}), not trained here."
        )
    if not subjects:
        return "\n\n".join([*lines, f"Which people it has seen: {NOT_WRITTEN}."])
    rows = []
    for name, number in sorted(subjects.items()):
        known = known_dataset(name)
        terms = f"its terms: {NOT_WRITTEN}" if known is None else known.terms
        kind = NOT_WRITTEN if known is None else "rendered" if known.is_synthetic else "recorded"
        rows.append((name, str(number), kind, terms if known is None or known.url is None else f"{terms} {known.url}"))
    lines.append(_table(("dataset", "people", "rendered or recorded", "licence or terms"), rows))
    provenance = facts.folder.provenance or {}
    pairs = provenance.get("num_pairs")
    lines.append(f"Labelled pairs: {NOT_WRITTEN if pairs is None else pairs}.")
    if provenance.get("is_complete") is False:
        lines.append(f"There may be others: whom the model it started from had seen, {NOT_WRITTEN}.")
    return "\n\n".join(lines)


def _results(facts: CardFacts) -> str:
    if not facts.results:
        return f"UF1, UAR and accuracy: {NOT_MEASURED}."
    rows = [row for result in facts.results for row in _score_rows(result)]
    head = (
        "set",
        "what",
        "UF1",
        "95 % interval",
        "UAR",
        "accuracy",
        "protocol",
        "seeds",
        "label map",
        "pairs, people",
    )
    parts = [
        _table(head, rows),
        "UF1 and UAR are plain means over all classes, from one confusion matrix pooled over all folds. Intervals are"
        " bootstrap intervals over people. An evaluation in folds trains a model anew for each: its number is about"
        " the recipe, and not about the weights in this repository, which "
        + (
            "are scored where it says so."
            if any(result.is_of_these_weights for result in facts.results)
            else f"were {NOT_MEASURED}."
        ),
    ]
    return "\n\n".join([*parts, *(_details(result) for result in facts.results)])


def _score_rows(result: Result) -> Iterator[tuple[str, ...]]:
    content = result.content
    what = f"{result.method} ({'these weights' if result.is_of_these_weights else 'models of the folds'})"
    shared = (
        NOT_WRITTEN if result.protocol == "unknown" else result.protocol,
        ", ".join(map(str, content["seeds"])) if content.get("seeds") else NOT_WRITTEN,
        str(content.get("label_map") or NOT_WRITTEN),
    )
    yield (result.dataset, what, *_scores(content), *shared, _size(content))
    parts = content.get("per_dataset") or {}
    if len(parts) > 1:
        for name, part in sorted(parts.items()):
            yield (f"{name} alone", what, *_scores(part), *shared, _size(part))
    majority = content.get("majority_baseline") or (content.get("baselines") or {}).get("majority")
    if majority is not None:
        yield (result.dataset, "always the most frequent class", *_scores(majority), *shared, "the same")


def _scores(content: Mapping[str, Any]) -> tuple[str, str, str, str]:
    interval = content.get("uf1_interval")
    return (
        _number(content.get("uf1")),
        NOT_MEASURED if interval is None else f"{interval[0]:.3f} to {interval[1]:.3f}",
        _number(content.get("uar")),
        _number(content.get("accuracy")),
    )


def _number(value: float | None) -> str:
    return NOT_MEASURED if value is None else f"{value:.3f}"


def _size(content: Mapping[str, Any]) -> str:
    people = content.get("num_subjects", (content.get("data") or {}).get("num_test_subjects"))
    return ", ".join(NOT_WRITTEN if value is None else str(value) for value in (content.get("num_samples"), people))


def _details(result: Result) -> str:
    """What was seen before, and who was taken for whom."""
    content = result.content
    seen = {
        True: f"**Not a number about new people:** {content.get('num_seen_test_subjects', 'some')} of those tested on"
        " had been seen in training or pretraining.",
        False: "Nobody tested on had been seen before.",
        None: f"Whether people tested on had been seen before: {NOT_WRITTEN}.",
    }[content.get("transductive") if _is_known_transductive(content) else _held_out_by_demo(content)]
    parts = [f"### {_cell(result.dataset)}, {_cell(result.protocol)}, {_cell(result.method)}", seen]
    matrix, names = content.get("confusion_matrix"), content.get("label_names")
    if matrix is None:
        parts.append(f"Confusion matrix: {NOT_MEASURED}.")
    else:
        rows = [(name, *map(str, counts)) for name, counts in zip(names, matrix)]
        parts.append("Confusion matrix, summed over seeds (rows: truth, columns: answer):")
        parts.append(_table(("", *names), rows))
    return "\n\n".join(parts)


def _is_known_transductive(content: Mapping[str, Any]) -> bool:
    return content.get("transductive") is not None


def _held_out_by_demo(content: Mapping[str, Any]) -> bool | None:
    """The demo writes down whom it learnt from and whom it tested on, `None` where a result does not."""
    data = content.get("data") or {}
    if "train_subjects" not in data or "test_subjects" not in data:
        return None
    return bool(set(data["train_subjects"]) & set(data["test_subjects"]))


def _compute(facts: CardFacts) -> str:
    lines = [f"{facts.folder.model.num_parameters():,} parameters."]
    for result in facts.results:
        seconds = result.content.get("seconds")
        total = sum(seconds.values()) if isinstance(seconds, Mapping) else seconds
        machine = result.content.get("machine") or {}
        cores = machine.get("cores")
        lines.append(
            f"* {_cell(result.method)} on {_cell(result.dataset)}:"
            f" {NOT_MEASURED if total is None else f'{total:.0f} s'} on"
            f" {NOT_WRITTEN if cores is None else cores} cores of {_cell(machine.get('cpu') or NOT_WRITTEN)}"
            f" (commit {_cell(result.content.get('commit') or NOT_WRITTEN)})."
        )
    if not facts.results:
        lines.append(f"Time and machine of the training: {NOT_MEASURED}.")
    return f"{lines[0]}\n\n" + "\n".join(lines[1:])


def _limits(facts: CardFacts) -> str:
    names = {*training_subjects(facts), *(result.dataset for result in facts.results)}
    known = [known_dataset(name) for name in names]
    if known and all(entry is not None and entry.is_synthetic for entry in known):
        data = (
            "* Everything it learnt from and was scored on is SYNTHETIC: rendered faces of one generator. How it does"
            f" on real faces is {NOT_MEASURED}."
        )
    elif any(entry is not None and not entry.is_synthetic for entry in known):
        data = (
            "* The recorded databases are small, made in laboratories, and of few groups of people. How it does for"
            f" others, in other light and with other cameras, is {NOT_MEASURED}."
        )
    else:
        data = f"* Whether it has seen real or synthetic faces: {NOT_WRITTEN}."
    return "\n".join(
        [
            data,
            "* These are not the numbers of the paper, and the paper's numbers are not claimed: they have not been"
            " reproduced here.",
            f"* Differences between age, sex, skin colour and other groups: {NOT_MEASURED}.",
            "* It always answers with one of its classes, also where no face is in the frames and nothing moved.",
            "* A class is a label that people or a rule gave to a movement, and not a feeling.",
        ]
    )


def _license(facts: CardFacts) -> str:
    if facts.license is None:
        stated = "Nobody has stated a licence for these weights: without one, nobody else has a right to use them."
    else:
        stated = f"The publisher states `{_cell(facts.license)}` for these weights."
    return f"{stated} The code in this repository is Apache-2.0. The terms of the training data, above, hold besides."


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, cells))} |" for cells in lines)


def _cell(text: Any) -> str:
    """Words of others within a line of Markdown: no line breaks, no columns, no HTML."""
    return " ".join(str(text).split()).replace("|", "\\|").replace("<", "&lt;")
