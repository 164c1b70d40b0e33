"""Graphs that answer as torch does, in every mode, or are not left; and the script that runs one without torch."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch
from datasets import Dataset, Features, Image, Value
from PIL import Image as PILImage
from torch.testing import assert_close
from transformers import pipeline

from benchmarks import export as benchmark
from benchmarks import render
from micron_bert_hf import (
    MicronBertConfig,
    MicronBertForMicroExpressionClassification,
    MicronBertImageProcessor,
    MicronBertModel,
    export,
)
from micron_bert_hf.export import export_onnx, export_program, open_session
from micron_bert_hf.hub import save_for_hub


ROOT = Path(__file__).parent.parent
LABELS = ("happiness", "surprise", "disgust")
SIZES = {
    "image_size": 32,
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}
WINDOWED = {"attention_mode": "windowed", "attention_window": 3}
FILES = {"config.json", "export.json", "labels.json", "model.onnx", "preprocessor_config.json"}


@pytest.fixture(autouse=True)
def few_drawn_pairs(monkeypatch):
    monkeypatch.setattr(export, "NUM_DRAWN_PAIRS", 3)


def save_classifier(folder, labels=LABELS, processor_size=None, **fields):
    """A classifier of random weights, its head larger than at the start so that its answers differ clearly."""
    torch.manual_seed(0)
    names = {"id2label": dict(enumerate(labels)), "label2id": {name: index for index, name in enumerate(labels)}}
    model = MicronBertForMicroExpressionClassification(MicronBertConfig(**{**SIZES, **names, **fields}))
    with torch.no_grad():
        model.classifier.weight.mul_(3)
        model.classifier.bias.copy_(torch.linspace(-0.1, 0.1, len(labels)))
    height, width = processor_size or model.config.image_height_width
    grey = model.config.num_channels == 1
    options = {"do_convert_rgb": False, "image_mean": 0.5, "image_std": 0.25} if grey else {}
    image_processor = MicronBertImageProcessor(size={"height": height, "width": width}, **options)
    return save_for_hub(folder, model=model, image_processor=image_processor)


def make_pair(seed, height=52, width=44):
    """Two uint8 RGB pictures, higher than wide, with a spot that differs between them."""
    generator = np.random.default_rng(seed)
    row, column = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j][..., None]
    waves = np.sin(generator.uniform(3, 9, 3) * row + generator.uniform(3, 9, 3) * column + generator.uniform(0, 6, 3))
    spot = np.exp(-((row - generator.uniform(0.2, 0.8)) ** 2 + (column - generator.uniform(0.2, 0.8)) ** 2) / 0.02)
    frames = [128 + 70 * waves + change * spot + generator.normal(0, 2, waves.shape) for change in (0, 40)]
    return tuple(frame.clip(0, 255).round().astype(np.uint8) for frame in frames)


def frames_of(config, num_pairs, seed):
    """Standard normal frames; in the second a part, another in each pair, has moved, and everything changed a bit."""
    generator = torch.Generator().manual_seed(seed)
    shape = (num_pairs, config.num_channels, *config.image_height_width)
    onset, change = (torch.randn(shape, generator=generator) for _ in range(2))
    apex = onset + 0.3 * change
    for number in range(num_pairs):
        rows = slice(number * shape[2] // num_pairs, shape[2])
        apex[number, :, rows] = apex[number, :, rows].roll((2, -2)[number % 2], dims=2)
    return torch.stack([onset, apex], dim=1)


def assert_answers_as(model, session, frames):
    with torch.no_grad():
        expected = model(frames)
    names = [output.name for output in session.get_outputs()]
    for name, found in zip(names, session.run(None, {"pixel_values": frames.numpy()})):
        assert_close(torch.from_numpy(found), expected[name], atol=1e-4, rtol=0)
    return expected


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    return save_classifier(tmp_path_factory.mktemp("model") / "classifier")


@pytest.fixture(scope="module")
def exported(classifier, tmp_path_factory):
    """A folder with both graphs, and what `export_onnx` returned."""
    folder = tmp_path_factory.mktemp("export") / "new" / "onnx"
    report = export_onnx(classifier, folder, int8=True, pairs=[make_pair(seed) for seed in range(5)])
    return folder, report


# ---------------------------------------------------------------------------------------------------------- the graphs


@pytest.mark.parametrize(
    "fields",
    [
        {"attention_mode": "full", "pooling": "patch_of_interest", "patch_of_interest_score": "softmax"},
        # 16 patches, of which the median is the lower of two, and 15
        {**WINDOWED, "pooling": "positions"},
        {**WINDOWED, "pooling": "mean", "use_patch_of_interest": False, "image_size": [24, 40]},
        # 1100 patches in three blocks of attention scores, the last smaller than the others
        {
            "image_size": [100, 176],
            "patch_size": 4,
            "num_channels": 1,
            "hidden_size": 8,
            "intermediate_size": 8,
            "patch_of_interest_score": "cosine",
            "query_frame": "swapped",
            "rescale_attention": False,
        },
    ],
    ids=["full", "windowed", "windowed-oblong", "blocks-grey"],
)
def test_every_mode_answers_as_torch_does(fields, tmp_path):
    folder = save_classifier(tmp_path / "model", **fields)
    report = export_onnx(folder, tmp_path / "onnx")
    session = open_session(tmp_path / "onnx" / "model.onnx", 1)
    model = MicronBertForMicroExpressionClassification.from_pretrained(folder)
    config, num_patches = model.config, model.config.patch_grid[0] * model.config.patch_grid[1]

    outputs = {"logits": [3], "diagonal_attention": [1, num_patches], "patch_of_interest": [num_patches]}
    if config.attention_mode == "windowed":
        outputs["displacement"] = [num_patches, 2]
    assert {output.name: output.shape for output in session.get_outputs()} == {
        name: ["batch", *shape] for name, shape in outputs.items()
    }
    [entry] = session.get_inputs()
    size = [2, config.num_channels, *config.image_height_width]
    assert (entry.name, entry.shape, entry.type) == ("pixel_values", ["batch", *size], "tensor(float)")
    assert report["outputs"] == {name: ["batch", *shape] for name, shape in outputs.items()}

    for num_pairs in (1, 3, 4):
        frames = frames_of(config, num_pairs, seed=num_pairs)
        expected = assert_answers_as(model, session, frames)
    # an answer that did not depend on the frames, or on their order, would pass so far
    assert expected.logits.std(dim=0).max() > 1e-3
    with pytest.raises(AssertionError):
        assert_answers_as(lambda frames: model(frames.flip(1)), session, frames)


def test_a_program_of_torch_takes_any_number_of_pairs(classifier):
    program = export_program(classifier).module()
    model = MicronBertForMicroExpressionClassification.from_pretrained(classifier)
    for num_pairs in (1, 2, 5):
        frames = frames_of(model.config, num_pairs, seed=7)
        with torch.no_grad():
            expected, found = model(frames), program(frames)
        assert list(found) == ["logits", "diagonal_attention", "patch_of_interest"]
        for name, value in found.items():
            assert_close(value, expected[name], atol=1e-5, rtol=0)
    with pytest.raises((AssertionError, RuntimeError)):
        program(torch.zeros(1, 2, 3, 40, 40))


def test_the_folder_says_what_it_is(classifier, exported):
    folder, report = exported
    assert {path.name for path in folder.iterdir()} == {*FILES, "model_int8.onnx"}
    assert [path.name for path in folder.parent.iterdir()] == ["onnx"]
    written = json.loads((folder / "export.json").read_text())
    assert written == json.loads(json.dumps(report))
    assert json.loads((folder / "labels.json").read_text()) == list(LABELS) == written["labels"]
    for name, file in written["files"].items():
        assert file["bytes"] == (folder / name).stat().st_size
    assert set(written["files"]) == {"model.onnx", "model_int8.onnx"}
    assert written["versions"]["onnx"] == onnx.__version__ and written["versions"]["torch"] == torch.__version__

    graph = onnx.load(folder / "model.onnx")
    onnx.checker.check_model(graph, full_check=True)
    assert [(entry.domain, entry.version) for entry in graph.opset_import] == [("", written["opset"])]
    assert written["opset"] == 20 and written["ir_version"] == graph.ir_version
    for path in folder.iterdir():  # nothing of the machine it was made on
        content = path.read_bytes()
        assert str(ROOT).encode() not in content and str(classifier.parent).encode() not in content

    config = MicronBertConfig.from_pretrained(folder)
    assert config.id2label == dict(enumerate(LABELS)) and config.image_size == 32
    assert MicronBertImageProcessor.from_pretrained(folder).size["height"] == 32
    for name in ("config.json", "preprocessor_config.json"):
        assert "auto_map" in (classifier / name).read_text()
        assert "_micron_bert." not in (folder / name).read_text()  # code that is not there


def test_the_report_says_what_was_compared(exported):
    runs = exported[1]["checked"]["runs"]
    assert [(run["inputs"], run["batch_size"], run["num_pairs"]) for run in runs] == [
        ("noise", 1, 1),
        ("noise", 3, 3),
        ("given pairs", 1, 1),
        ("given pairs", 3, 5),
    ]
    for run in runs:
        assert set(run["largest_difference"]) == {"logits", "diagonal_attention", "patch_of_interest"}
        for name, difference in run["largest_difference"].items():
            assert 0 <= difference <= 1e-4 and 0 < run["float32_rounding"][name] < 1e-4
    assert "any number of pairs of [2, 3, 32, 32]" in export.describe_export(exported[1])


def test_what_eight_bits_change_is_reported(classifier, exported):
    folder, report = exported
    assert report["files"]["model_int8.onnx"]["bytes"] < 0.95 * report["files"]["model.onnx"]["bytes"]
    graph = onnx.load(folder / "model_int8.onnx")
    # the four projections and the two of the MLP of the one layer; none of the diagonal attention
    assert sum(node.op_type == "MatMulInteger" for node in graph.graph.node) == 6

    model = MicronBertForMicroExpressionClassification.from_pretrained(classifier)
    processor = MicronBertImageProcessor.from_pretrained(classifier)
    session = open_session(folder / "model_int8.onnx")
    changes, same = [], []
    for seed in range(5):
        frames = processor(make_pair(seed), return_tensors="pt")["pixel_values"]
        with torch.no_grad():
            expected = model(frames).logits.numpy()[0]
        found = session.run(["logits"], {"pixel_values": frames.numpy()})[0][0]
        changes.append(np.abs(found - expected).max())
        same.append(found.argmax() == expected.argmax())
    change = report["int8"]
    assert change["num_pairs"] == 5 and change["largest_logit_change"] > 1e-4
    assert change["largest_logit_change"] == pytest.approx(max(changes), rel=1e-3)
    assert change["label_agreement"] == np.mean(same)
    assert "int8, on 5 pairs" in export.describe_export(report)


def test_eight_bits_leave_alone_what_compares_the_frames(tmp_path):
    folder = save_classifier(tmp_path / "model", **WINDOWED, pooling="positions")
    export_onnx(folder, tmp_path / "onnx", int8=True)
    frames = frames_of(MicronBertConfig.from_pretrained(folder), 3, seed=5).numpy()
    names = ["displacement", "diagonal_attention", "patch_of_interest"]
    exact, rounded = (
        open_session(tmp_path / "onnx" / name).run(names, {"pixel_values": frames})
        for name in ("model.onnx", "model_int8.onnx")
    )
    for one, other in zip(exact[:2], rounded[:2]):
        np.testing.assert_allclose(one, other, atol=1e-6)
    assert np.abs(exact[2] - rounded[2]).max() > 1e-4  # from the encoder
    ungated = save_classifier(tmp_path / "ungated", **WINDOWED, pooling="mean", use_patch_of_interest=False)
    with pytest.raises(ValueError, match="int8 is for the layers of an encoder"):
        export_onnx(ungated, tmp_path / "no", int8=True)
    assert not (tmp_path / "no").exists()


def test_drawn_pairs_move_a_little():
    onset, apex = export.draw_pairs(2, 48, 32, 3)[1].astype(float)
    assert onset.shape == (48, 32, 3) and onset.std() > 10
    moved = np.abs(apex - onset).mean(axis=2)
    assert moved.max() > 3 * moved.mean() and moved.mean() < 0.25 * onset.std()
    again, other = export.draw_pairs(1, 48, 32, 3)[0], export.draw_pairs(1, 48, 32, 3, seed=1)[0]
    np.testing.assert_array_equal(export.draw_pairs(2, 48, 32, 3)[0], again)
    assert (again != other).mean() > 0.9


# ------------------------------------------------------------------------------------------------------------ refusals


def test_a_graph_that_differs_is_refused_and_nothing_is_left(tmp_path, monkeypatch):
    def upper_median():
        from onnxscript import opset20 as op

        def median(self, dim: int, keepdim: bool = False):
            place = op.Constant(value_ints=[self.shape[dim] // 2])
            values, places = op.TopK(self, op.Constant(value_ints=[self.shape[dim]]), axis=dim, largest=0, sorted=1)
            return op.Gather(values, place, axis=dim), op.Gather(places, place, axis=dim)

        return median

    folder = save_classifier(tmp_path / "model", **WINDOWED, pooling="positions")
    monkeypatch.setattr(export, "_translate_median", upper_median)
    with pytest.raises(ValueError, match=r"`logits` differs from torch's by .* 1.0e-04 \(noise, 1 at a time\)"):
        export_onnx(folder, tmp_path / "onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize(
    ("difference", "rounding"), [(1.1e-4, 1e-6), (float("nan"), 1e-6), (float("inf"), 1e-6), (3.1e-4, 1e-4)]
)
def test_no_difference_above_the_limit_passes(difference, rounding):
    def run(difference, rounding):
        return {
            "inputs": "noise",
            "batch_size": 3,
            "largest_difference": {"logits": 0.0, "patch_of_interest": difference},
            "float32_rounding": {"logits": 1.0, "patch_of_interest": rounding},
        }

    good = [run(0.9e-4, 0.0), run(2.9e-4, 1e-4)]
    export.refuse_differences(good)
    with pytest.raises(ValueError, match="`patch_of_interest` differs"):
        export.refuse_differences([*good, run(difference, rounding)])


def break_folder(folder, how):
    weights = folder / "model.safetensors"
    if how == "encoder":
        config = MicronBertConfig.from_pretrained(folder)
        save_for_hub(folder, model=MicronBertModel(config), image_processor=MicronBertImageProcessor())
    elif how == "no config":
        (folder / "config.json").unlink()
    elif how == "no processor":
        (folder / "preprocessor_config.json").unlink()
    elif how == "pickle":
        weights.unlink()
        torch.save({"x": torch.zeros(1)}, folder / "pytorch_model.bin")
    elif how == "cut":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif how == "other sizes":
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "intermediate_size": 48}))
    elif how == "more layers":
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 2}))
    elif how == "bad config":
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "patch_size": 7}))


@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        ("encoder", ValueError, r"no folder of a MicronBertForMicro.*names \['MicronBertModel'\]"),
        ("no config", OSError, "it has no config.json"),
        ("no processor", OSError, "has no preprocessor_config.json"),
        ("pickle", OSError, "safetensors"),
        ("cut", ValueError, "are damaged or no safetensors"),
        ("other sizes", ValueError, r"micron_bert.layers.0.mlp.fc1.bias \(64,\) instead of \(48,\)"),
        ("more layers", ValueError, r"do not fit its config.json as a MicronBertFor\w*: missing .*\(16\)"),
        ("bad config", ValueError, "multiple of `patch_size` 7"),
    ],
)
def test_folders_that_are_no_classifier_are_refused(how, error, message, tmp_path):
    folder = save_classifier(tmp_path / "model")
    break_folder(folder, how)
    with pytest.raises(error, match=message):
        export_onnx(folder, tmp_path / "onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_frames_of_another_size_and_too_few_pairs_are_refused(tmp_path):
    folder = save_classifier(tmp_path / "model", processor_size=(40, 40))
    with pytest.raises(ValueError, match=r"makes pairs of \(2, 3, 40, 40\), the model takes \(2, 3, 32, 32\)"):
        export_onnx(folder, tmp_path / "onnx")
    with pytest.raises(ValueError, match="Expected 3 pairs or more to compare by, got 2"):
        export_onnx(folder, tmp_path / "onnx", pairs=[make_pair(0), make_pair(1)])
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_folder_that_holds_something_is_left_alone(classifier, tmp_path):
    (tmp_path / "onnx").mkdir()
    (tmp_path / "onnx" / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="holds something else"):
        export_onnx(classifier, tmp_path / "onnx")
    assert [path.name for path in tmp_path.rglob("*")] == ["onnx", "mine.txt"]


def test_what_a_killed_run_left_does_not_come_along(classifier, tmp_path):
    (tmp_path / ".onnx.partial").mkdir()
    (tmp_path / ".onnx.partial" / "model_int8.onnx").write_text("half of a graph")
    export_onnx(classifier, tmp_path / "onnx")
    assert {path.name for path in (tmp_path / "onnx").iterdir()} == FILES
    assert [path.name for path in tmp_path.iterdir()] == ["onnx"]


@pytest.mark.parametrize("library", ["onnx", "onnxruntime", "onnxscript"])
def test_a_missing_library_is_named_with_its_extra(library, classifier, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ModuleNotFoundError, match=rf"pip install '\.\[onnx\]' in a checkout .*{library}"):
        export_onnx(classifier, tmp_path / "onnx")
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------------------------ the example, the benchmark


def run_example(temporary, *arguments):
    """
    In a process where nothing but numpy, pillow and onnxruntime is to be had, and which is not told from outside that
    onnxruntime is to keep its telemetry to itself; it would leave a file in the folder `temporary`.
    """
    code = (
        "import runpy, sys\n"
        "for name in ('torch', 'transformers', 'micron_bert_hf', 'onnx'): sys.modules[name] = None\n"
        "sys.argv = sys.argv[1:]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    script = str(ROOT / "examples" / "onnx_inference.py")
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    done = subprocess.run(
        [sys.executable, "-c", code, script, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=environment | {"TMPDIR": str(temporary)},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert list(temporary.iterdir()) == []
    label, score = done.stdout.split()
    return label, float(score)


@pytest.mark.parametrize("problem_type", [None, "multi_label_classification"])
def test_the_example_answers_as_the_pipeline_without_torch(problem_type, classifier, exported, tmp_path):
    folder, exported_folder, temporary = classifier, exported[0], tmp_path / "temporary"
    temporary.mkdir()
    if problem_type is not None:
        folder = save_classifier(tmp_path / "model", problem_type=problem_type)
        exported_folder = tmp_path / "onnx"
        export_onnx(folder, exported_folder)
    classify = pipeline("micro-expression-classification", model=str(folder), trust_remote_code=True)
    for seed in (0, 3):
        paths = [tmp_path / f"onset{seed}.png", tmp_path / f"apex{seed}.png"]
        for frame, path in zip(make_pair(seed), paths):
            PILImage.fromarray(frame).save(path)
        [expected] = classify({"onset": paths[0], "apex": paths[1]}, top_k=1)
        label, score = run_example(temporary, exported_folder, *paths)
        assert label == expected["label"] and abs(score - expected["score"]) < 1e-3


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """Twelve pairs of six people, whose classes are LABELS in another order."""
    rows = []
    for number in range(12):
        onset, apex = make_pair(number, height=32, width=32)
        identity = {"sample_id": f"clip{number:02d}", "subject_id": f"s{number // 2}", "label": LABELS[number % 3]}
        rows.append({**identity, "onset": onset, "apex": apex})
    texts = {name: Value("string") for name in ("sample_id", "subject_id", "label")}
    folder = tmp_path_factory.mktemp("faces") / "faces"
    folder.mkdir()
    Dataset.from_list(rows, features=Features({**texts, "onset": Image(), "apex": Image()})).to_parquet(
        folder / "data.parquet"
    )
    return folder


def test_the_benchmark_measures_all_three(classifier, faces, monkeypatch):
    monkeypatch.setattr(benchmark, "RUNS", 1)
    monkeypatch.setattr(benchmark, "TIMED_PAIRS", 2)
    threads = torch.get_num_threads()
    results = json.loads(json.dumps(benchmark.measure(classifier, str(faces)), allow_nan=False))
    assert torch.get_num_threads() == threads

    scores = results["scores"]
    assert set(scores) == {"torch", "onnx", "int8"}
    for name in ("uf1", "uar", "accuracy", "num_samples"):
        assert scores["onnx"][name] == scores["torch"][name]
    assert scores["torch"]["num_samples"] == 12 and scores["torch"]["protocol"] == "as_is"
    assert scores["onnx"]["against_torch"]["largest_score_change"] < 1e-4
    assert scores["onnx"]["against_torch"]["label_agreement"] == 1
    assert scores["int8"]["against_torch"]["largest_score_change"] > 1e-5
    assert [row["batch_size"] for row in results["times"]] == [1, 8]
    for row in results["times"]:
        assert all(0 < row["seconds_a_pair"][name] < 1 for name in ("torch", "onnx", "int8"))
    assert (
        results["commit"] and results["machine"]["cpu"] and set(results["graphs"]) == {"model.onnx", "model_int8.onnx"}
    )

    table = render.export(results).splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table if line.startswith("| ")][2:]
    assert [row[0] for row in rows] == ["torch, float32", "ONNX, float32", "ONNX, encoder in 8 bits"]
    for row, name in zip(rows, ("torch", "onnx", "int8")):
        assert row[1].startswith(f"{scores[name]['uf1']:.3f} (") and row[2] == f"{scores[name]['accuracy']:.3f}"
        assert row[4] == f"{1000 * results['times'][0]['seconds_a_pair'][name]:.1f} ms"
    assert rows[0][3] == rows[0][5] == rows[0][7] == rows[0][8] == "-" and rows[1][3] == "100.0 %"
    assert rows[2][7].startswith(f"{results['times'][1]['faster_than_torch']['int8']:.2f}x (")
    assert "12 pairs of 6 people of `faces`, `as_is`" in table[-1]


def test_times_are_shared_among_pairs_and_ratios_are_of_one_run(monkeypatch):
    steps = [0, 9, 0, 9, 0, 4, 0, 2, 0, 8, 0, 2]  # to a start and to an end, torch and onnx, three runs
    clock = iter(np.cumsum(steps).tolist())
    monkeypatch.setattr(benchmark, "time", SimpleNamespace(thread_time=lambda: next(clock)))
    asked = []
    ask = {"torch": lambda batch: None, "onnx": asked.append}
    row = benchmark.interleaved(ask, [np.zeros((1, 2)), np.zeros((1, 2))], runs=2)
    assert len(asked) == 6
    assert row["seconds_a_pair"] == {"torch": 3.0, "onnx": 1.0}  # 4 and 8 seconds for two pairs, 2 and 2
    assert row["faster_than_torch"] == {"onnx": 3.0} and row["faster_than_torch_range"] == {"onnx": [2.0, 4.0]}
