"""What `micron-bert predict` and `micron-bert spot` do, from their words to the text that they print."""

import csv
import json
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

import numpy as np
from transformers.utils.logging import disable_progress_bar

from ..hub import load_classifier_folder, model_folder
from ..pipeline_micron_bert import MicroExpressionClassificationPipeline
from .change import FlowChange
from .recognizer import FoundExpression, MicroExpressionRecognizer, MovementCurve
from .video import Video


FORMATS = ("table", "json", "csv")
TASK = "micro-expression-classification"


def load_classifier(model: str) -> MicroExpressionClassificationPipeline:
    """
    The pipeline of a model folder or a repository. Its own code is not run: this package has that code.

    Raises:
        OSError, ValueError: as of [`model_folder`] and [`load_classifier_folder`].
    """
    disable_progress_bar()  # of weights that load in a moment
    loaded, image_processor = load_classifier_folder(model_folder(model))
    return MicroExpressionClassificationPipeline(model=loaded, image_processor=image_processor, task=TASK)


def predict(
    sources: Sequence[Path],
    model: str,
    fps: float | None = None,
    output_format: str = "table",
    figure: Path | None = None,
    clip: Path | None = None,
    by: str = "flow",
    progress: bool = False,
) -> str:
    """
    Args:
        sources: onset and apex, two pictures; or one video file or folder of frames.
        figure, clip (*optional*): a .png, and of a video an .mp4, to write.
        by: what movement in a video is measured by.

    Raises:
        ValueError: another number of sources, another format; what [`Video`] refuses.
    """
    _check(output_format, figure, clip)
    if len(sources) == 2:
        if clip is not None or fps is not None or by != "flow":
            raise ValueError(
                "two pictures are no video: --save-video, --fps and --by are of a video or folder of frames"
            )
        return _predict_pair(sources, model, output_format, figure)
    if len(sources) != 1:
        raise ValueError(f"expected onset and apex, or one video or folder of frames, got {len(sources)} paths")
    recognize = MicroExpressionRecognizer(load_classifier(model), by=by)
    return _spot(recognize, sources[0], fps, output_format, figure, clip, progress)


def spot(
    source: Path,
    fps: float | None = None,
    output_format: str = "table",
    figure: Path | None = None,
    progress: bool = False,
) -> str:
    """As [`predict`] of a video, without a model: where micro-expressions are, not which."""
    _check(output_format, figure)
    return _spot(MicroExpressionRecognizer(), source, fps, output_format, figure, None, progress)


def _check(output_format: str, figure: Path | None, clip: Path | None = None) -> None:
    if output_format not in FORMATS:
        raise ValueError(f"`format` is {output_format!r}; expected one of {', '.join(FORMATS)}")
    for path, suffix in ((figure, ".png"), (clip, ".mp4")):
        if path is not None and (path.suffix.lower() != suffix or not path.absolute().parent.is_dir()):
            raise ValueError(f"{path}: expected the path of a {suffix} in a folder that is there")


def _predict_pair(sources: Sequence[Path], model: str, output_format: str, figure: Path | None) -> str:
    for path in sources:
        if not path.is_file():
            raise FileNotFoundError(f"there is no file {path}")
    recognize = MicroExpressionRecognizer(load_classifier(model))
    found = recognize.pair(*map(str, sources))
    moved = found.change >= recognize.options.least_change
    if figure is not None:
        caption = "" if moved else "nothing moved: the probabilities say nothing"
        _save_pair_figure(recognize, found, figure, caption)
    if output_format == "json":
        scores = dict(found.scores) if moved else {}
        answer = {"notes": found.notes, "moved": moved, "change": found.change, "scores": scores}
        return json.dumps({"onset": str(sources[0]), "apex": str(sources[1]), **answer}, indent=2)
    if output_format == "csv":
        scores = found.scores.values() if moved else [""] * len(found.scores)
        rows = [(str(sources[0]), str(sources[1]), moved, found.change, *scores)]
        return _csv(("onset", "apex", "moved", "change", *found.scores), rows)
    lines = [f"note: {note}" for note in found.notes]
    lines += [f"moved {found.change:.2f} {FlowChange.unit} (counts from {recognize.options.least_change:.2f})"]
    if not moved:
        return "\n".join([*lines, "Nothing moved: there is no expression to name."])
    return "\n".join([*lines, *(f"{label:16}{score:7.1%}" for label, score in found.scores.items())])


def _spot(
    recognize: MicroExpressionRecognizer,
    source: Path,
    fps: float | None,
    output_format: str,
    figure: Path | None,
    clip: Path | None,
    progress: bool,
) -> str:
    video = Video(source, fps)
    curve = recognize.curve(video, progress)
    found = recognize.expressions(video, curve)
    if figure is not None or clip is not None:
        _draw(recognize, video, curve, found, figure, clip, progress)
    if output_format == "json":
        expressions = [item.as_json() for item in found]
        answer = {
            "source": str(source),
            "notes": curve.notes,
            "unit_of_change": curve.unit,
            "expressions": expressions,
        }
        return json.dumps(answer, indent=2)
    names = ("onset", "apex", "offset")
    if output_format == "csv":
        header = (*names, *(f"{name}_seconds" for name in names), "change", "label", "score")
        return _csv(header, [[getattr(item, name) for name in header] for item in found])
    lines = [f"note: {note}" for note in curve.notes]
    if not found:
        return "\n".join([*lines, "No micro-expression was spotted."])
    lines.append(f"{'onset':>8}{'apex':>8}{'offset':>8}{'seconds':>18}{'moved':>10}  expression")
    for item in found:
        span = f"{item.onset_seconds:.2f} ... {item.offset_seconds:.2f}"
        label = "" if item.label is None else f"{item.label} ({item.score:.0%})"
        lines.append(f"{item.onset:8}{item.apex:8}{item.offset:8}{span:>18}{item.change:10.2f}  {label}".rstrip())
    return "\n".join([*lines, f"moved: {curve.unit}"])


def _save_pair_figure(recognize: MicroExpressionRecognizer, found: FoundExpression, path: Path, caption: str) -> None:
    from ..visualization import prediction_figure, save_figure  # a second to import: not for those who only read

    maps = found.maps
    figure = prediction_figure(
        *found.frames,
        maps["diagonal_attention"],
        maps["patch_of_interest"],
        found.scores,
        # without it the texture of a patch shows more than its movement
        still_diagonal_attention=recognize.still_diagonal_attention(found),
        caption=caption,
    )
    save_figure(figure, path)


def _draw(
    recognize: MicroExpressionRecognizer,
    video: Video,
    curve: MovementCurve,
    found: Sequence[FoundExpression],
    figure: Path | None,
    clip: Path | None,
    progress: bool,
) -> None:
    """The timeline, with faces and maps where there is a model for them, and the video."""
    from ..visualization import (  # a second to import: not for those who only read
        clip_figure,
        clip_scale,
        save_figure,
        shown_places,
        timeline_figure,
        write_clip_video,
    )

    intervals = [(item.onset_seconds, item.apex_seconds, item.offset_seconds, item.label or "") for item in found]
    said = {"least_change": recognize.options.floor(curve.values), "unit": curve.unit}
    if not recognize.has_maps:
        save_figure(timeline_figure(curve.seconds, curve.values, intervals, **said), figure)
        return
    places = shown_places(curve.seconds, [item.apex_seconds for item in found])
    numbers = curve.numbers if clip is not None else [curve.numbers[place] for place in places]
    # the maps are small and kept; the faces are read again
    changes = {item.number: item.change for item in recognize.change_maps(video, curve, numbers, progress)}
    scale = clip_scale(np.stack(list(changes.values())))
    if figure is not None:
        wanted = {curve.numbers[place] for place in places}
        shown = [
            (frame.seconds, frame.pixels, changes[frame.number])
            for frame in recognize.aligned_frames(video, curve, wanted)
        ]
        caption = "Lower faces: what has changed since the first frame, as the model sees it; one scale for all."
        save_figure(
            clip_figure(curve.seconds, curve.values, intervals, shown, scale=scale, caption=caption, **said), figure
        )
    if clip is not None:
        frames = (
            (frame.seconds, frame.pixels, changes[frame.number])
            for frame in recognize.aligned_frames(video, curve, changes)
        )
        write_clip_video(clip, frames, curve.seconds, curve.values, intervals, scale=scale, **said)


def _csv(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    table = StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return table.getvalue().rstrip("\n")
