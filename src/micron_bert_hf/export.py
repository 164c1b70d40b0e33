"""A classifier for where torch and transformers are not: as ONNX, checked against torch before it stands anywhere.

    from micron_bert_hf.export import export_onnx
    report = export_onnx("demo_output/model", "demo_output/onnx")

The graph takes any number of pairs of one image size, `pixel_values (batch, 2, channels, height, width)` float32, and
gives what the model gives: `logits`, `diagonal_attention`, `patch_of_interest`, and `displacement` in windowed mode.

For use from torch there is [`export_program`], in memory. It is not written to a file: `torch.export.load` unpickles
what an archive asks it to, and torch promises no version but its own to read one, while the model's folder, which is
safetensors and stays readable, gives the same program in seconds.
"""

import contextlib
import copy
import json
import logging
import os
import platform
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .configuration_micron_bert import MicronBertConfig
from .hub import CONFIG_NAME, PROCESSOR_NAME, load_classifier_folder
from .image_processing_micron_bert import MicronBertImageProcessor
from .locks import LOCK_NAME
from .modeling_micron_bert import MicronBertForMicroExpressionClassification
from .run_files import file_sha256, whole_folder, write_json
from .run_provenance import commit


if TYPE_CHECKING:
    import onnx
    import onnxruntime

# Read when onnxruntime is imported, below and by whoever imports it after this: since 1.32 it tells its maker of its
# use and keeps a number of the machine, unless it is told not to.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

ONNX_NAME, INT8_NAME = "model.onnx", "model_int8.onnx"
LABELS_NAME, REPORT_NAME = "labels.json", "export.json"
# The first with an operator for GELU; onnxruntime 1.18 (May 2024) runs it.
OPSET = 20
# Our aim: by how much any output may differ from torch's. Where hardly anything moved the pooling of the head divides
# rounding by next to nothing, and torch in float32 is itself as far as that from torch in float64: there the limit is
# this multiple of that distance, ours, since two implementations round differently.
TOLERANCE, ROUNDING_MULTIPLE = 1e-4, 3.0
# Besides one at a time, graph and torch are asked so many pairs at a time; and ours, four times so many if the caller
# has no pairs.
BATCH_SIZE, NUM_DRAWN_PAIRS = 3, 12
# Ours, of the drawn pictures: waves a picture, pixels by which a part moves at most, grain in grey levels of 255.
NUM_WAVES, MAX_MOVEMENT, GRAIN = 64, 1.5, 1.0
# Where a node of the graph comes from, as the exporter notes it, and what the encoder's layers have in it.
_SCOPES_KEY, _LAYERS_SCOPE = "pkg.torch.onnx.name_scopes", "micron_bert.layers."
# Of the configs: code that lies beside the weights and not beside the graph, and where on this machine that is.
_LEFT_OUT = ("auto_map", "custom_pipelines", "_name_or_path")


# ---------------------------------------------------------------------------------------------------------- the pairs


def draw_pairs(num_pairs: int, height: int, width: int, num_channels: int, seed: int = 0) -> list[np.ndarray]:
    """
    Pictures with the statistics of a filmed face and of nobody: coloured waves whose amplitude falls with frequency;
    in the second frame a part of the picture has moved by a pixel or so, and each frame has its own grain.

    Returns:
        `num_pairs` of `(2, height, width, num_channels)` uint8.
    """
    pairs = []
    for number in range(num_pairs):
        random = np.random.default_rng([seed, number])
        row, column = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
        middle, (down, right) = random.uniform(0.3, 0.7, 2), random.uniform(-MAX_MOVEMENT, MAX_MOVEMENT, 2)
        moved = np.exp(-((row - middle[0]) ** 2 + (column - middle[1]) ** 2) / 0.02)
        # waves from one a picture up to one in 16 pixels
        frequency = np.geomspace(1.0, max(2.0, height / 16), NUM_WAVES)
        angle, phase = random.uniform(0, 2 * np.pi, (2, NUM_WAVES))
        color = random.normal(0, 25, (NUM_WAVES, num_channels)) / frequency[:, None] ** 0.5
        frames = []
        for share in (0.0, 1.0):
            y, x = row - share * moved * down / height, column - share * moved * right / width
            along = np.cos(angle) * x[..., None] + np.sin(angle) * y[..., None]
            picture = 128 + np.cos(2 * np.pi * frequency * along + phase) @ color
            frames.append(picture + random.normal(0, GRAIN, picture.shape))
        pairs.append(np.stack(frames).clip(0, 255).round().astype(np.uint8))
    return pairs


def _frames(
    pairs: Sequence[Any] | None, image_processor: MicronBertImageProcessor, config: MicronBertConfig
) -> np.ndarray:
    """Given pairs, or drawn ones, as `pixel_values (num_pairs, 2, C, H, W)` float32 of the model's size."""
    height, width = config.image_height_width
    if pairs is None:
        # half as large again, so that the processor has to resize
        pairs = draw_pairs(NUM_DRAWN_PAIRS, height * 3 // 2, width * 3 // 2, config.num_channels)
    pixel_values = image_processor(list(pairs), return_tensors="np")["pixel_values"]
    expected = (2, config.num_channels, height, width)
    if pixel_values.shape[1:] != expected:
        raise ValueError(f"The image processor makes pairs of {pixel_values.shape[1:]}, the model takes {expected}.")
    return pixel_values


# ----------------------------------------------------------------------------------------------------------- the graph


class _NamedOutputs(torch.nn.Module):
    """A classifier that answers with exactly these outputs, in this order."""

    def __init__(self, model: MicronBertForMicroExpressionClassification, names: Sequence[str]):
        super().__init__()
        self.model = model
        self.names = tuple(names)

    def forward(self, pixel_values: torch.FloatTensor) -> dict[str, torch.Tensor]:
        outputs = self.model(pixel_values=pixel_values)
        return {name: outputs[name] for name in self.names}


def output_names(config: MicronBertConfig) -> tuple[str, ...]:
    """What the graph gives, in order."""
    names = ("logits", "diagonal_attention", "patch_of_interest")
    return (*names, "displacement") if config.attention_mode == "windowed" else names


def export_program(folder: str | os.PathLike) -> torch.export.ExportedProgram:
    """
    A classifier's folder as a program of `torch.export`: pairs of the config's image size, in any number.

        program = export_program("demo_output/model")
        logits = program.module()(pixel_values)["logits"]

    Raises:
        ValueError, OSError: as of [`load_classifier_folder`].
    """
    model, _ = load_classifier_folder(folder)
    return _program(model)


@torch.no_grad()
def _program(model: MicronBertForMicroExpressionClassification) -> torch.export.ExportedProgram:
    config = model.config
    example = torch.zeros(2, 2, config.num_channels, *config.image_height_width)
    batch = torch.export.Dim("batch", min=1)
    module = _NamedOutputs(model, output_names(config)).eval()
    return torch.export.export(module, (example,), dynamic_shapes={"pixel_values": {0: batch}})


def _translate_median() -> Callable[..., Any]:
    """`torch.median(values, dim)`, which the exporter does not know: of two middle values the lower, and its place."""
    from onnxscript import opset20 as op

    def median(self, dim: int, keepdim: bool = False):
        middle = (self.shape[dim] + 1) // 2
        values, places = op.TopK(self, op.Constant(value_ints=[middle]), axis=dim, largest=0, sorted=1)
        last = op.Constant(value_ints=[middle - 1]) if keepdim else op.Constant(value_int=middle - 1)
        return op.Gather(values, last, axis=dim), op.Gather(places, last, axis=dim)

    return median


def _to_onnx(program: torch.export.ExportedProgram, names: Sequence[str]) -> "tuple[onnx.ModelProto, list[str]]":
    """The graph, and the names of the matrix products in the encoder's layers."""
    with _without_chatter():
        exported = torch.onnx.export(
            program,
            input_names=["pixel_values"],
            output_names=list(names),
            dynamic_shapes={"pixel_values": {0: "batch"}},  # the program has them; this is for their names
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
            custom_translation_table={torch.ops.aten.median.dim: _translate_median()},
        )
    graph = exported.model_proto
    in_layers = [
        node.name
        for node in graph.graph.node
        if node.op_type == "MatMul"
        and any(entry.key == _SCOPES_KEY and _LAYERS_SCOPE in entry.value for entry in node.metadata_props)
    ]
    # half of a small file otherwise, and it tells the paths of this machine
    for part in (graph, graph.graph, *graph.graph.node, *graph.graph.value_info, *graph.graph.initializer):
        del part.metadata_props[:]
    return graph, in_layers


@contextlib.contextmanager
def _without_chatter() -> Iterator[None]:
    """Silence what the exporter and the quantizer say of torchvision, deprecations and advice nobody here can take."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", None)]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            yield
        finally:
            for logger, level in zip(loggers, levels):
                logger.setLevel(level)


def _quantize(source: Path, target: Path, in_layers: Sequence[str]) -> None:
    """
    The encoder's layers, which are nearly all the work, to 8 bits: weights to int8 with a scale for each column,
    activations to uint8 as they come.

    What compares two frames stays in float32, since they differ by less than 8 bits resolve: with the projections of
    the diagonal attention in 8 bits too, the demo's model kept 79 % of its labels on 96 synthetic pairs of other
    people instead of 98 %, and was no faster.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with _without_chatter():
        quantize_dynamic(
            source,
            target,
            op_types_to_quantize=["MatMul"],
            per_channel=True,
            weight_type=QuantType.QInt8,
            nodes_to_quantize=list(in_layers),
        )


def open_session(path: str | os.PathLike, num_threads: int | None = None) -> "onnxruntime.InferenceSession":
    """
    A graph, ready to run on the CPU.

    Args:
        num_threads (`int`, *optional*): as many as there are cores when `None`.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    if num_threads is not None:
        options.intra_op_num_threads = num_threads
    return onnxruntime.InferenceSession(os.fspath(path), options, providers=["CPUExecutionProvider"])


# -------------------------------------------------------------------------------------------------------------- export


def export_onnx(
    folder: str | os.PathLike,
    output_dir: str | os.PathLike,
    *,
    int8: bool = False,
    pairs: Sequence[Any] | None = None,
) -> dict[str, Any]:
    """
    Write `model.onnx`, `config.json`, `preprocessor_config.json`, `labels.json` (class names, position = class number)
    and `export.json` (what was checked, with which versions) to `output_dir`, which is complete or absent.

    The written graph is run by onnxruntime beside torch, on noise and on pairs, one at a time and three at a time.

    Args:
        folder: of a classifier.
        output_dir: absent or empty.
        int8 (`bool`): also `model_int8.onnx`, the encoder's layers in 8 bits. What that changes is reported, not
            judged. One scale is found for all pairs of a call: an answer depends a little on the others.
        pairs (*optional*): what is asked besides noise, as the image processor takes a batch; three or more. Drawn
            ones (see [`draw_pairs`]) when absent.

    Returns:
        The content of `export.json`.

    Raises:
        ModuleNotFoundError: onnx, onnxscript or onnxruntime is not there; the message says how to get it.
        FileExistsError: `output_dir` holds something.
        ValueError: no classifier; a processor of another image size; too few pairs; an output that differs from
            torch's by more than the limit; int8 without an encoder. Nothing is left.
        OSError: weights that are missing or no safetensors.
    """
    _check_libraries()
    output_dir = Path(output_dir)
    with whole_folder(output_dir) as written:
        try:
            # of a run that was killed: nothing of it can be gone on with
            for left in written.iterdir():
                if left.name != LOCK_NAME:
                    left.unlink()
            return _write(Path(folder), written, int8, pairs)
        except BaseException:
            shutil.rmtree(written, ignore_errors=True)
            raise


def _check_libraries() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ModuleNotFoundError(
            f"writing ONNX needs onnx, onnxscript and onnxruntime, pip install '.[onnx]' in a checkout ({error})"
        ) from error


def _write(folder: Path, written: Path, int8: bool, pairs: Sequence[Any] | None) -> dict[str, Any]:
    import onnx

    model, image_processor = load_classifier_folder(folder)
    config = model.config
    if pairs is not None and len(pairs) < BATCH_SIZE:
        raise ValueError(f"Expected {BATCH_SIZE} pairs or more to compare by, got {len(pairs)}.")
    if int8 and model.micron_bert.layers is None:
        raise ValueError("int8 is for the layers of an encoder, and this model, windowed without a gate, has none.")
    frames = _frames(pairs, image_processor, config)
    names = output_names(config)
    graph, in_layers = _to_onnx(_program(model), names)
    onnx.save(graph, written / ONNX_NAME)

    noise = np.random.default_rng(0).standard_normal((BATCH_SIZE, *frames.shape[1:]), np.float32)
    comparison = _Comparison(open_session(written / ONNX_NAME), model)
    runs = [
        {"inputs": kind, "batch_size": size, "num_pairs": len(inputs), **comparison.measure(inputs, size)}
        for kind, all_inputs in (("noise", noise), ("drawn pairs" if pairs is None else "given pairs", frames))
        for size, inputs in ((1, all_inputs[:1]), (BATCH_SIZE, all_inputs))
    ]
    refuse_differences(runs)

    labels = [config.id2label[number] for number in range(config.num_labels)]
    report: dict[str, Any] = {
        "model": {"folder": folder.resolve().name, "attention_mode": config.attention_mode, "pooling": config.pooling},
        "opset": OPSET,
        "ir_version": graph.ir_version,
        "inputs": {value.name: _shape(value) for value in graph.graph.input},
        "outputs": {value.name: _shape(value) for value in graph.graph.output},
        "labels": labels,
        "checked": {"tolerance": TOLERANCE, "rounding_multiple": ROUNDING_MULTIPLE, "runs": runs},
        "files": {ONNX_NAME: _describe_file(written / ONNX_NAME)},
    }
    if int8:
        _quantize(written / ONNX_NAME, written / INT8_NAME, in_layers)
        report["files"][INT8_NAME] = _describe_file(written / INT8_NAME)
        report["int8"] = _int8_change(open_session(written / INT8_NAME), model, frames)
    report["commit"] = commit()
    report["versions"] = {
        "python": platform.python_version(),
        **{
            name: version(name)
            for name in ("micron-bert-hf", "torch", "transformers", "numpy", "onnx", "onnxscript", "onnxruntime")
        },
    }
    write_json(written / CONFIG_NAME, _published(config.to_json_string(use_diff=False)))
    write_json(written / PROCESSOR_NAME, _published(image_processor.to_json_string()))
    write_json(written / LABELS_NAME, labels)
    write_json(written / REPORT_NAME, report)
    return report


def _published(text: str) -> dict[str, Any]:
    return {name: value for name, value in json.loads(text).items() if name not in _LEFT_OUT}


def _shape(value: "onnx.ValueInfoProto") -> list[str | int]:
    return [dimension.dim_param or dimension.dim_value for dimension in value.type.tensor_type.shape.dim]


def _describe_file(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "sha256": file_sha256(path)}


def _run(session: "onnxruntime.InferenceSession", names: Sequence[str], frames: np.ndarray) -> dict[str, np.ndarray]:
    return dict(zip(names, session.run(list(names), {"pixel_values": frames})))


@torch.no_grad()
def _ask(model: MicronBertForMicroExpressionClassification, frames: np.ndarray) -> dict[str, np.ndarray]:
    outputs = model(pixel_values=torch.from_numpy(frames).to(model.dtype))
    return {name: outputs[name].numpy() for name in output_names(model.config)}


class _Comparison:
    """A graph beside torch in float32, and that beside torch in float64."""

    def __init__(self, session: "onnxruntime.InferenceSession", model: MicronBertForMicroExpressionClassification):
        self.session = session
        self.model = model
        self.exact = copy.deepcopy(model).double()

    def measure(self, frames: np.ndarray, batch_size: int) -> dict[str, dict[str, float]]:
        """
        Largest absolute difference of each output from torch's, and how far torch's is from exact arithmetic.

        Raises:
            ValueError: an output of another shape.
        """
        names = output_names(self.model.config)
        largest = {what: dict.fromkeys(names, 0.0) for what in ("largest_difference", "float32_rounding")}
        for start in range(0, len(frames), batch_size):
            batch = frames[start : start + batch_size]
            found, expected, exact = _run(self.session, names, batch), _ask(self.model, batch), _ask(self.exact, batch)
            for name in names:
                if found[name].shape != expected[name].shape:
                    raise ValueError(
                        f"The graph's `{name}` has the shape {found[name].shape}, torch's {expected[name].shape}."
                    )
                for what, one, other in (
                    ("largest_difference", found, expected),
                    ("float32_rounding", expected, exact),
                ):
                    # unlike max(), np.maximum keeps a NaN
                    largest[what][name] = float(np.maximum(largest[what][name], np.abs(one[name] - other[name]).max()))
        return largest


def refuse_differences(runs: Sequence[Mapping[str, Any]]) -> None:
    """
    Args:
        runs: `inputs`, `batch_size`, and what [`_Comparison.measure`] found.

    Raises:
        ValueError: a difference above the limit, or none at all (NaN).
    """
    for run in runs:
        for name, difference in run["largest_difference"].items():
            limit = max(TOLERANCE, ROUNDING_MULTIPLE * run["float32_rounding"][name])
            if not difference <= limit:
                raise ValueError(
                    f"The graph's `{name}` differs from torch's by {difference:.1e}, more than {limit:.1e}"
                    f" ({run['inputs']}, {run['batch_size']} at a time); nothing was written."
                )


def _int8_change(
    session: "onnxruntime.InferenceSession", model: MicronBertForMicroExpressionClassification, frames: np.ndarray
) -> dict[str, Any]:
    """How far the int8 graph's answers are from torch's, a pair at a time."""
    found, expected = (
        np.concatenate([ask(frames[at : at + 1])["logits"] for at in range(len(frames))])
        for ask in (partial(_run, session, ["logits"]), partial(_ask, model))
    )
    several = model.config.problem_type == "multi_label_classification"
    same = (found > 0) == (expected > 0) if several else found.argmax(1) == expected.argmax(1)
    return {
        "num_pairs": len(frames),
        "largest_logit_change": float(np.abs(found - expected).max()),
        "largest_logit": float(np.abs(expected).max()),
        "label_agreement": float(same.mean()),
    }


def describe_export(report: Mapping[str, Any]) -> str:
    """Some lines for a terminal, from what [`export_onnx`] returns."""
    runs = report["checked"]["runs"]
    lines = [f"opset {report['opset']}, any number of pairs of {report['inputs']['pixel_values'][1:]}"]
    for name, shape in report["outputs"].items():
        difference = max(run["largest_difference"][name] for run in runs)
        lines.append(f"  {name:20} {str(shape):24} at most {difference:.1e} from torch's")
    for name, file in report["files"].items():
        lines.append(f"  {name:20} {file['bytes'] / 1e6:.1f} MB")
    if "int8" in report:
        change = report["int8"]
        lines.append(
            f"  int8, on {change['num_pairs']} pairs: logits of up to {change['largest_logit']:.2f} change by up to"
            f" {change['largest_logit_change']:.2f}; {change['label_agreement']:.0%} of the labels stay"
        )
    return "\n".join(lines)
