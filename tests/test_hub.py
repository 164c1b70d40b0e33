"""The package's names, and folders that load where the package is not: a fresh, isolated, offline process."""

import importlib
import json
import os
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoModelForPreTraining,
    AutoModelForVideoClassification,
    pipeline,
)
from transformers.pipelines import PIPELINE_REGISTRY

import micron_bert_hf
from micron_bert_hf import (
    MicroExpressionClassificationPipeline,
    MicronBertConfig,
    MicronBertForMicroExpressionClassification,
    MicronBertForPreTraining,
    MicronBertImageProcessor,
    MicronBertModel,
    hub,
)
from micron_bert_hf.hub import load_whole, model_folder, save_for_hub


MODEL_CLASSES = [MicronBertModel, MicronBertForPreTraining, MicronBertForMicroExpressionClassification]
RESULTS = {"protocol": "LOSO", "uf1": 0.5, "confusion": [[3, 1], [0, 2]], "note": "Überraschung"}
FILES = {
    "config.json",
    "configuration_micron_bert.py",
    "image_processing_micron_bert.py",
    "model.safetensors",
    "modeling_micron_bert.py",
    "pipeline_micron_bert.py",
    "preprocessor_config.json",
}


@pytest.fixture
def image_processor():
    return MicronBertImageProcessor(size={"height": 24, "width": 40})


@pytest.fixture
def make_model(tiny_config):
    def make(model_class, **options):
        torch.manual_seed(1)
        for name, value in options.items():
            setattr(tiny_config, name, value)
        return model_class(tiny_config).eval()

    return make


def contents(folder):
    """Every file of a folder with its bytes, hidden ones too."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# ---------------------------------------------------------------------------------------------- names and registration


def test_public_names():
    assert set(micron_bert_hf.__all__) == {
        "MicroExpressionClassificationPipeline",
        "MicronBertConfig",
        "MicronBertForMicroExpressionClassification",
        "MicronBertForPreTraining",
        "MicronBertImageProcessor",
        "MicronBertModel",
        "metric_path",
    }
    assert micron_bert_hf.__version__ == "0.1.0"


def assert_registered(config):
    assert AutoConfig.for_model("micron_bert").__class__ is MicronBertConfig
    assert type(AutoModel.from_config(config)) is MicronBertModel
    assert type(AutoModelForPreTraining.from_config(config)) is MicronBertForPreTraining
    assert type(AutoModelForVideoClassification.from_config(config)) is MicronBertForMicroExpressionClassification
    registered = PIPELINE_REGISTRY.supported_tasks["micro-expression-classification"]
    assert registered["impl"] is MicroExpressionClassificationPipeline
    assert registered["pt"] == (AutoModelForVideoClassification,)


def test_registration_can_be_repeated(tiny_config, monkeypatch):
    assert_registered(tiny_config)
    calls = []
    monkeypatch.setattr(PIPELINE_REGISTRY, "register_pipeline", lambda *args, **kwargs: calls.append(args))
    importlib.reload(micron_bert_hf)
    assert calls == []  # it would warn that it overwrites
    assert_registered(tiny_config)


def test_auto_image_processor_of_a_plain_folder(tiny_config, image_processor, tmp_path):
    MicronBertModel(tiny_config).save_pretrained(tmp_path)
    image_processor.save_pretrained(tmp_path)
    loaded = AutoImageProcessor.from_pretrained(tmp_path)
    assert type(loaded) is MicronBertImageProcessor and loaded.to_dict() == image_processor.to_dict()


def test_own_code_comes_before_the_folder_s(make_model, image_processor, frame_pair, tmp_path):
    """With the package installed its classes are used, with or without trust in the folder's code."""
    model = make_model(MicronBertForMicroExpressionClassification)
    save_for_hub(tmp_path / "m", model=model, image_processor=image_processor)
    assert type(AutoModelForVideoClassification.from_pretrained(tmp_path / "m")) is type(model)
    assert type(AutoImageProcessor.from_pretrained(tmp_path / "m", trust_remote_code=True)) is MicronBertImageProcessor
    # but not the pipeline's: transformers takes it from the folder, and asks for consent
    task = "micro-expression-classification"
    with pytest.raises(ValueError, match="trust_remote_code=True"):
        pipeline(task, model=str(tmp_path / "m"), device="cpu")
    classify = pipeline(task, model=str(tmp_path / "m"), device="cpu", trust_remote_code=True)
    assert type(classify.model) is type(model)
    installed = pipeline(task, model=classify.model, image_processor=image_processor, device="cpu")
    assert classify(frame_pair) == installed(frame_pair)


# -------------------------------------------------------------------------------------------------- in another process


ISOLATED = """
import json, sys
site_packages, folders, out, threads = json.loads(sys.argv[1])
sys.path.append(site_packages)  # under -S: no .pth file, so no editable install
sys.modules["micron_bert_hf"] = None
try:
    import micron_bert_hf
except ImportError:
    pass
else:
    raise SystemExit("the package is importable")

import numpy as np
import torch
import transformers
from transformers import AutoConfig, AutoImageProcessor, pipeline

torch.set_num_threads(threads)
trust = {"trust_remote_code": True}
given = np.load(out + "/given.npz")
pixel_values = torch.from_numpy(given["pixel_values"])
for name, folder in folders.items():
    try:
        AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except ValueError as error:
        assert "trust_remote_code" in str(error), error
    else:
        raise SystemExit("code was run without consent")
    config = AutoConfig.from_pretrained(folder, **trust)
    with open(f"{out}/{name}.config.json", "w") as file:
        json.dump(config.to_dict(), file)
    processor = AutoImageProcessor.from_pretrained(folder, **trust)
    result = {"processed": processor(tuple(given["frames"]), return_tensors="np")["pixel_values"]}
    for auto in ("AutoModel", "AutoModelForPreTraining", "AutoModelForVideoClassification"):
        model = getattr(transformers, auto).from_pretrained(folder, **trust).eval()
        assert type(model).__module__.startswith("transformers_modules."), type(model)
        result[auto + ".class"] = np.array(type(model).__name__)
        options = {}
        if auto == "AutoModelForPreTraining":
            options["bool_swapped_pos"] = torch.from_numpy(given["bool_swapped_pos"])
            options["crop_pixel_values"] = torch.from_numpy(given["crop_pixel_values"])
        with torch.no_grad():
            for key, value in model(pixel_values, **options).items():
                result[f"{auto}.{key}"] = value.numpy()
            encoded = model.base_model(pixel_values)
        result[auto + ".encoder"] = encoded.last_hidden_state.numpy()
    np.savez(f"{out}/{name}.npz", **result)
    if name == "classifier":
        pair = tuple(given["frames"])
        answers = []
        for classify in (
            pipeline(model=folder, device="cpu", **trust),
            pipeline("micro-expression-classification", model=folder, device="cpu", **trust),
        ):
            assert type(classify).__module__.startswith("transformers_modules."), type(classify)
            maps = classify({"onset": given["files"][0].item(), "apex": given["files"][1].item()}, return_maps=True)
            maps = {key: value.tolist() if key != "predictions" else value for key, value in maps.items()}
            answers.append([classify(pair), classify([pair, pair[::-1]], batch_size=2), maps])
        with open(f"{out}/pipeline.json", "w") as file:
            json.dump(answers, file)
"""


def test_folders_load_where_the_package_is_not(make_model, image_processor, frame_pair, tmp_path):
    """All three folders, by every auto class and the pipeline, in `python -I -S`, offline, to the last bit."""
    id2label = {0: "negative", 1: "positive", 2: "surprise"}
    models = {
        "encoder": make_model(MicronBertModel),
        "classifier": make_model(MicronBertForMicroExpressionClassification, id2label=id2label),
        "pretraining": make_model(MicronBertForPreTraining, contextual_agreement="self_distillation"),
    }
    folders = {}
    for name, model in models.items():
        model.save_pretrained(tmp_path / name)  # what a trainer has written is completed
        folders[name] = str(save_for_hub(tmp_path / name, model=model, image_processor=image_processor))
        assert set(os.listdir(folders[name])) == FILES

    generator = torch.Generator().manual_seed(3)
    given = {
        "pixel_values": image_processor(frame_pair)["pixel_values"],
        "frames": np.stack(frame_pair),
        "files": np.array([str(tmp_path / "onset.png"), str(tmp_path / "apex.png")]),
        "bool_swapped_pos": (torch.rand(1, 15, generator=generator) < 0.5).numpy(),
        "crop_pixel_values": torch.randn(1, 2, 3, 16, 16, generator=generator).numpy(),
    }
    for path, frame in zip(given["files"], frame_pair):
        Image.fromarray(frame).save(path)
    np.savez(tmp_path / "given.npz", **given)

    arguments = [sysconfig.get_paths()["purelib"], folders, str(tmp_path), torch.get_num_threads()]
    environment = {
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_OFFLINE": "1",
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path / "home"),
    }
    process = subprocess.run(
        [sys.executable, "-I", "-S", "-c", ISOLATED, json.dumps(arguments)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        cwd=tmp_path,
    )
    assert process.returncode == 0, process.stderr[-4000:]

    pixel_values = torch.from_numpy(given["pixel_values"])
    for name, folder in folders.items():
        # from the file as well: a tensor's place in memory decides the last bit of a product
        model = type(models[name]).from_pretrained(folder).eval()
        for key, tensor in models[name].state_dict().items():
            assert torch.equal(model.state_dict()[key], tensor), f"{name}: {key}"
        loaded = dict(np.load(tmp_path / f"{name}.npz"))
        expected = {"processed": given["pixel_values"]}
        own = {
            "encoder": "AutoModel",
            "classifier": "AutoModelForVideoClassification",
            "pretraining": "AutoModelForPreTraining",
        }[name]
        options = {}
        if name == "pretraining":
            options = {key: torch.from_numpy(given[key]) for key in ("bool_swapped_pos", "crop_pixel_values")}
        with torch.no_grad():
            encoder = model.base_model(pixel_values)
            outputs = model(pixel_values, **options)
        expected |= {f"AutoModel.{key}": value.numpy() for key, value in encoder.items()}
        expected |= {f"{own}.{key}": value.numpy() for key, value in outputs.items()}
        for auto in ("AutoModel", "AutoModelForPreTraining", "AutoModelForVideoClassification"):
            expected[f"{auto}.encoder"] = encoder.last_hidden_state.numpy()  # whichever head is put on it
        for key, value in expected.items():
            assert loaded[key].dtype == value.dtype
            np.testing.assert_array_equal(loaded[key], value, err_msg=f"{name}: {key}")
        assert [str(loaded[f"{auto}.class"]) for auto in ("AutoModel", "AutoModelForPreTraining")] == [
            "MicronBertModel",
            "MicronBertForPreTraining",
        ]
        assert str(loaded["AutoModelForVideoClassification.class"]) == "MicronBertForMicroExpressionClassification"
        config = json.loads((tmp_path / f"{name}.config.json").read_text())
        assert config["hidden_size"] == 32 and set(config["auto_map"]) == set(hub.MODEL_AUTO_MAP)
        assert ("custom_pipelines" in config) == (name == "classifier")

    classify = pipeline(
        "micro-expression-classification", model=models["classifier"], image_processor=image_processor, device="cpu"
    )
    maps = classify(frame_pair, return_maps=True)
    maps = {key: value.tolist() if key != "predictions" else value for key, value in maps.items()}
    expected = [classify(frame_pair), classify([frame_pair, frame_pair[::-1]], batch_size=2), maps]
    assert json.loads((tmp_path / "pipeline.json").read_text()) == [expected, expected]


# ---------------------------------------------------------------------------------------------------------- the folder


@pytest.mark.parametrize("model_class", MODEL_CLASSES)
def test_written_files(make_model, image_processor, tmp_path, model_class):
    seen = {"subjects": {"casme2": ["01"]}, "is_complete": True}
    folder = save_for_hub(
        tmp_path / "deep" / "model",
        model=make_model(model_class),
        image_processor=image_processor,
        results=RESULTS,
        provenance=seen,
    )
    assert folder == tmp_path / "deep" / "model"
    assert {path.name for path in folder.iterdir()} == FILES | {"results.json", "provenance.json"}
    assert os.listdir(tmp_path / "deep") == ["model"]
    assert json.loads((folder / "results.json").read_text(encoding="utf-8")) == RESULTS
    assert json.loads((folder / "provenance.json").read_text(encoding="utf-8")) == seen
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == [model_class.__name__]
    assert str(tmp_path) not in json.dumps(config)
    source = Path(micron_bert_hf.__file__).parent
    for name in FILES:
        if name.endswith(".py"):
            assert (folder / name).read_bytes() == (source / name).read_bytes()


@pytest.mark.parametrize("model_class", MODEL_CLASSES)
def test_model_and_processor_are_not_changed(make_model, image_processor, tmp_path, model_class):
    model = make_model(model_class).train()
    config, before = model.config, dict(model.config.__dict__)
    processor_before = dict(image_processor.__dict__)
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    save_for_hub(tmp_path / "m", model=model, image_processor=image_processor)
    assert model.config is config and config.__dict__ == before and "auto_map" not in config.to_dict()
    assert image_processor.__dict__ == processor_before
    assert model.training
    assert all(cls._auto_class is None for cls in (model_class, MicronBertConfig, MicronBertImageProcessor))
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, weights[name])


def test_encoder_taken_from_a_classifier_s_folder_has_no_pipeline(make_model, image_processor, tmp_path):
    classifier = make_model(MicronBertForMicroExpressionClassification)
    save_for_hub(tmp_path / "classifier", model=classifier, image_processor=image_processor)
    encoder = AutoModel.from_pretrained(tmp_path / "classifier")
    save_for_hub(tmp_path / "encoder", model=encoder, image_processor=image_processor)
    config = json.loads((tmp_path / "encoder" / "config.json").read_text())
    assert "custom_pipelines" not in config and config["architectures"] == ["MicronBertModel"]


def test_a_second_time_replaces_and_keeps_the_card(make_model, image_processor, tmp_path):
    folder = tmp_path / "m"
    model = make_model(MicronBertForMicroExpressionClassification)
    save_for_hub(folder, model=model, image_processor=image_processor, results=RESULTS, provenance={})
    (folder / "README.md").write_text("card")
    (folder / "model-00001-of-00002.safetensors").write_bytes(b"shard of an older, larger model")
    with torch.no_grad():
        model.classifier.bias.fill_(7)
    save_for_hub(folder, model=model, image_processor=image_processor)
    assert {path.name for path in folder.iterdir()} == FILES | {"README.md"}  # what was of the old model is not
    assert (folder / "README.md").read_text() == "card"
    loaded = AutoModelForVideoClassification.from_pretrained(folder)
    assert torch.equal(loaded.classifier.bias, model.classifier.bias)
    assert os.listdir(tmp_path) == ["m"]


def test_empty_folder_and_link(make_model, image_processor, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    save_for_hub(tmp_path / "link", model=make_model(MicronBertModel), image_processor=image_processor)
    assert (tmp_path / "link").is_symlink()
    assert {path.name for path in (tmp_path / "real").iterdir()} == FILES


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("checkpoint-10/optimizer.pt", "holds checkpoint-10, which would be lost"),
        ("pytorch_model.bin", "holds pytorch_model.bin"),
        ("notes.txt", "holds notes.txt"),
    ],
)
def test_what_is_not_ours_is_not_deleted(make_model, image_processor, tmp_path, name, message):
    folder, model = tmp_path / "m", make_model(MicronBertModel)
    save_for_hub(folder, model=model, image_processor=image_processor)
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"precious")
    before = contents(tmp_path)
    with pytest.raises(FileExistsError, match=message):
        save_for_hub(folder, model=model, image_processor=image_processor)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("config", [None, "{", "[]", '{"model_type": "bert"}'])
def test_folder_of_something_else(make_model, image_processor, tmp_path, config):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "model.safetensors").write_bytes(b"another model")
    if config is not None:
        (tmp_path / "m" / "config.json").write_text(config)
    before = contents(tmp_path)
    with pytest.raises(FileExistsError, match="not a Micron-BERT model folder"):
        save_for_hub(tmp_path / "m", model=make_model(MicronBertModel), image_processor=image_processor)
    assert contents(tmp_path) == before


def test_bad_arguments_write_nothing(make_model, image_processor, tmp_path):
    (tmp_path / "file").write_text("a file")
    model = make_model(MicronBertModel)
    good = {"output_dir": tmp_path / "m", "model": model, "image_processor": image_processor}
    for bad, error, message in (
        ({"output_dir": tmp_path / "file"}, FileExistsError, "is a file"),
        ({"model": torch.nn.Linear(2, 2)}, TypeError, "Expected a Micron-BERT model, .* got Linear"),
        ({"image_processor": None}, TypeError, "Expected a MicronBertImageProcessor, got NoneType"),
        ({"results": {"uf1": float("nan")}}, ValueError, "JSON compliant"),
        ({"results": {"uf1": np.float32(0.5)}}, TypeError, "must be JSON-able, got .* of type float32"),
        ({"provenance": {"subjects": {1, 2}}}, TypeError, "must be JSON-able, got .* of type set"),
    ):
        arguments = good | bad
        with pytest.raises(error, match=message):
            save_for_hub(arguments.pop("output_dir"), **arguments)
    assert os.listdir(tmp_path) == ["file"]


# -------------------------------------------------------------------------------------------------- complete or absent


@pytest.fixture(params=[False, True], ids=["absent", "present"])
def destination(request, make_model, image_processor, tmp_path):
    """A folder that is not there, or holds an older model; with it, the arguments of the newer one."""
    folder = tmp_path / "m"
    if request.param:
        old = make_model(MicronBertModel)
        save_for_hub(folder, model=old, image_processor=image_processor, results={"old": True})
    model = make_model(MicronBertForMicroExpressionClassification)
    return folder, {"model": model, "image_processor": image_processor, "results": RESULTS}


@pytest.mark.parametrize("step", ["_save_model", "_save_image_processor", "_move_into_place"])
def test_error_leaves_the_old_state(destination, monkeypatch, step):
    folder, arguments = destination
    before = contents(folder.parent)
    original = getattr(hub, step)

    def full_disk(*args):
        if step != "_move_into_place":
            original(*args)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(hub, step, full_disk)
    with pytest.raises(OSError, match="No space left"):
        save_for_hub(folder, **arguments)
    assert contents(folder.parent) == before


def test_where_folders_cannot_be_exchanged(destination, monkeypatch):
    folder, arguments = destination
    before = contents(folder.parent)
    monkeypatch.setattr(hub, "_exchange", lambda first, second: False)

    if folder.exists():
        rename = Path.rename
        with monkeypatch.context() as patch:
            # the second of the two renames fails: the first is taken back

            def second_fails(self, target):
                if target == folder and not self.name.endswith(".old"):
                    raise OSError("device gone")
                return rename(self, target)

            patch.setattr(Path, "rename", second_fails)
            with pytest.raises(OSError, match="device gone"):
                save_for_hub(folder, **arguments)
        assert contents(folder.parent) == before

    save_for_hub(folder, **arguments)
    assert set(os.listdir(folder)) == FILES | {"results.json"} and os.listdir(folder.parent) == ["m"]


def test_kill_at_any_moment_leaves_old_or_new(destination):
    """The process dies (SIGKILL) at the first, second, third ... thing it does to a file, until it survives."""
    folder, arguments = destination
    old = contents(folder)

    def run_and_die_at(moment):
        child = os.fork()
        if child:
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        count = 0

        def hook(event, _):
            nonlocal count
            if event in ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "ctypes.dlsym"):
                count += 1
                if count == moment:
                    os.kill(os.getpid(), signal.SIGKILL)

        status = 1
        try:
            sys.addaudithook(hook)
            save_for_hub(folder, **arguments)
            status = 0
        finally:
            os._exit(status)

    states = []
    for moment in range(1, 400):
        status = run_and_die_at(moment)
        assert status in (0, -signal.SIGKILL)
        states.append(contents(folder))
        if status == 0:
            break
    new = states[-1]
    assert set(new) == FILES | {"results.json"}
    assert status == 0 and len(states) > 15
    assert all(state in (old, new) for state in states)
    assert states[0] == old


def test_weights_in_parts_and_in_their_own_precision(make_model, tmp_path):
    """What is refused of parts, `tests/test_bad_input.py` knows."""
    model = make_model(MicronBertModel).bfloat16()
    model.save_pretrained(tmp_path, max_shard_size="50KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    for dtype, expected in (("auto", torch.bfloat16), (torch.float32, torch.float32)):
        loaded = load_whole(MicronBertModel, tmp_path, dtype).state_dict()
        assert {tensor.dtype for tensor in loaded.values() if tensor.is_floating_point()} == {expected}
        for name, tensor in model.state_dict().items():
            assert torch.equal(loaded[name], tensor.to(expected)), name


@pytest.mark.parametrize("name", ["absent", "/absent/model", "absent/model/encoder", "../model", "absent/mo del"])
def test_names_that_are_neither_a_folder_nor_a_repository(name):
    with pytest.raises(FileNotFoundError, match="and it is no USER/NAME"):
        model_folder(name)


def test_a_repository_that_cannot_be_reached():
    with pytest.raises(FileNotFoundError, match="no folder user/absent, .*internet connection"):
        model_folder("user/absent")
