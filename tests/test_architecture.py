"""The direction of imports and the bans, read from the syntax tree of every file, so that the drawing cannot rot.

`violations` holds the whole table. It is applied to the repository as it is, and to snippets that break each rule.
"""

import ast
import graphlib
import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import pytest
from transformers.dynamic_module_utils import get_imports, get_relative_imports


ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "micron_bert_hf"
SOURCE = ROOT / "src" / PACKAGE

# What each file that is pushed to the Hub may import of ours. Nothing else of the package exists there.
REMOTE_SIBLINGS = {
    "configuration_micron_bert": set(),
    "modeling_micron_bert": {"configuration_micron_bert"},
    "image_processing_micron_bert": set(),
    "pipeline_micron_bert": set(),
}
# What the package imports of its own when it is imported: the above, and the paths of the modules for `evaluate`.
IMPORTED_WITH_THE_PACKAGE = {*REMOTE_SIBLINGS, "metrics"}
# What whoever loads a model from the Hub has installed: transformers and what it needs itself.
REMOTE_LIBRARIES = {"transformers", "torch", "numpy", "PIL", "huggingface_hub", "safetensors"}
MODELING = "modeling_micron_bert"
# Units of the package that `data` may not know: the model, and what brings it along.
NOT_FOR_DATA = {MODELING, "pipeline_micron_bert", "hub", "conversion", "training", "evaluation"}
# What a module for `evaluate` may import: it is copied elsewhere and run there.
METRIC_MODULE_LIBRARIES = {"evaluate", "datasets", "numpy"}
# A wheel of either that does not match torch makes transformers fail to import.
BANNED_LIBRARIES = {"torchvision", "timm"}
PICKLES = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
NOT_IMPORTED_BY_ANYONE = {"tests", "examples", "dataset_scripts", "benchmarks"}
DUMPING_GROUNDS = {"utils", "helpers", "common", "misc"}
# distribution: module, where the names differ
MODULE_OF = {
    "pillow": "PIL",
    "huggingface-hub": "huggingface_hub",
    "opencv-python-headless": "cv2",
    "scikit-learn": "sklearn",
    "pyyaml": "yaml",
}


def declared_libraries(core_only):
    """Modules of the dependencies in pyproject.toml: of the core, or also of every extra but that of the tests."""
    modules = set()
    for requirement in importlib.metadata.requires("micron-bert-hf"):
        name = re.match(r"[\w.-]+", requirement)[0].lower()
        extra = re.search(r"extra == ['\"](\w+)['\"]", requirement)
        if extra is None or not (core_only or extra[1] == "test"):
            modules.add(MODULE_OF.get(name, name.replace("-", "_")))
    return modules - {"micron_bert_hf"}


def imports(path, tree):
    """
    Every import of a file, inside functions too, as `(module, names, line)`; what is ours as `micron_bert_hf.x.y`,
    also when it was written as a relative import. `from . import x` of a file x is an import of `micron_bert_hf.x`.
    """
    package = [PACKAGE, *path.parts[2:-1]] if path.parts[:2] == ("src", PACKAGE) else []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, [], node.lineno
        elif isinstance(node, ast.ImportFrom):
            parts = package[: len(package) - node.level + 1] if node.level else []
            parts += node.module.split(".") if node.module else []
            folder = (ROOT / "src").joinpath(*parts)
            rest = []
            for alias in node.names:
                if (folder / f"{alias.name}.py").exists() or (folder / alias.name).is_dir():
                    yield ".".join([*parts, alias.name]), [], node.lineno
                else:
                    rest.append(alias.name)
            if rest:
                yield ".".join(parts), rest, node.lineno


def unit_of(module):
    """The file or folder of the package that a module belongs to; `""` is the package itself."""
    return module.split(".")[1] if "." in module else ""


def calls_that_run_code(tree):
    """What turns data into code, or into objects: eval, exec, a shell, unpickling."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        function, keywords = ast.unparse(node.func), {key.arg: ast.unparse(key.value) for key in node.keywords}
        if function in ("eval", "exec", "compile", "__import__", "os.system", "os.popen", "yaml.load"):
            yield node.lineno, function
        if keywords.get("shell", "False") != "False":
            yield node.lineno, "shell=True"
        if function == "torch.load" and keywords.get("weights_only") != "True":
            yield node.lineno, "torch.load without weights_only=True"
        if keywords.get("allow_pickle", "False") != "False":
            yield node.lineno, "allow_pickle"


def violations_of_a_metric_module(path, module, is_standard):
    """`metrics/__init__.py` comes with the package and is light; `metrics/x/x.py` is for `evaluate`."""
    if path.name == "__init__.py":
        if not is_standard:
            yield f"the paths of the metrics import {module}"
    elif unit_of(module) != "evaluation" and not is_standard and module.split(".")[0] not in METRIC_MODULE_LIBRARIES:
        yield f"a metric module imports {module}"


def violations(path, text):
    """
    Every rule a file breaks, as `line: what`.

    Args:
        path: relative to the root of the repository; decides which rules hold
        text: its source
    """
    path, found = Path(path), []
    tree = ast.parse(text)
    in_package = path.parts[:2] == ("src", PACKAGE)
    in_tests = path.parts[0] in ("tests", "benchmarks")
    unit = path.with_suffix("").parts[2] if in_package else None

    if path.stem in DUMPING_GROUNDS:
        found.append(f"0: a file named {path.stem}")
    if not in_tests:
        found += [f"{line}: {what}" for line, what in calls_that_run_code(tree)]
        for node in ast.walk(tree):
            if isinstance(node, ast.ExceptHandler) and node.type is None:
                found.append(f"{node.lineno}: bare except")
            if isinstance(node, ast.Assert):
                found.append(f"{node.lineno}: assert outside the tests")
            if unit == "metrics" and isinstance(node, ast.ImportFrom) and node.level:
                found.append(f"{node.lineno}: a metric module is copied away from what it imports")

    for module, names, line in imports(path, tree):
        library = module.split(".")[0]
        is_standard = library in sys.stdlib_module_names or library == "__future__"
        is_ours = library == PACKAGE
        target = unit_of(module) if is_ours else None

        if library in BANNED_LIBRARIES:
            found.append(f"{line}: {library} is banned")
        if in_tests:
            continue
        if library in PICKLES:
            found.append(f"{line}: {library} runs what it reads")
        if library in NOT_IMPORTED_BY_ANYONE - {path.parts[0]}:
            found.append(f"{line}: imports {library}")

        if in_package and unit in ("faces", "databases") and target in NOT_FOR_DATA | {"publishing", "spotting"}:
            found.append(f"{line}: {unit} imports {target}")
        if in_package and unit in REMOTE_SIBLINGS:
            if is_ours and target not in REMOTE_SIBLINGS[unit]:
                found.append(f"{line}: remote code imports {module}")
            if not is_ours and not is_standard and library not in REMOTE_LIBRARIES:
                found.append(f"{line}: remote code imports {library}")
        elif in_package:
            allowed = declared_libraries(core_only=unit in ("__init__", "hub"))
            if not is_ours and not is_standard and library not in allowed:
                found.append(f"{line}: {library} is not declared for {unit}")
            if unit == "__init__" and is_ours and target not in IMPORTED_WITH_THE_PACKAGE:
                found.append(f"{line}: the package imports {target} when it is imported")
            if is_ours and target == "" and unit != "__init__":
                found.append(f"{line}: imports the package instead of the module")
            if unit == "data" and target in NOT_FOR_DATA:
                found.append(f"{line}: data imports {target}")
            if unit == "evaluation" and "metrics" in path.stem:
                if not is_ours and not is_standard and library != "numpy":
                    found.append(f"{line}: a metric imports {library}")
                if is_ours and target != "evaluation":
                    found.append(f"{line}: a metric imports {module}")
            if unit == "metrics":
                found += [f"{line}: {what}" for what in violations_of_a_metric_module(path, module, is_standard)]
        elif path.parts[0] == "dataset_scripts" and is_ours and target not in ("data", "faces", "databases", "cli"):
            found.append(f"{line}: a dataset script imports {module}")
        elif path.parts[0] == "examples" and is_ours:
            private = [name for name in (*module.split("."), *names) if name.startswith("_") and name != "__version__"]
            if private:
                found.append(f"{line}: an example imports the private {private}")
    return found


def files(*folders):
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def test_the_repository_keeps_the_rules():
    checked = files("src", "examples", "dataset_scripts", "tests", "benchmarks")
    assert {path.stem for path in checked} > {*REMOTE_SIBLINGS, "__init__", "hub"}
    found = {
        str(path.relative_to(ROOT)): violations(path.relative_to(ROOT), path.read_text(encoding="utf-8"))
        for path in checked
    }
    assert {path: broken for path, broken in found.items() if broken} == {}


REMOTE = "src/micron_bert_hf/image_processing_micron_bert.py"
HUB = "src/micron_bert_hf/hub.py"
DATA = "src/micron_bert_hf/data/pairs.py"
FACES = "src/micron_bert_hf/faces/alignment.py"
DATABASES = "src/micron_bert_hf/databases/casme2.py"
METRICS = "src/micron_bert_hf/evaluation/metrics.py"
METRIC_PATHS = "src/micron_bert_hf/metrics/__init__.py"
METRIC_MODULE = "src/micron_bert_hf/metrics/uf1/uf1.py"
EXAMPLE = "examples/fine_tune.py"
SCRIPT = "dataset_scripts/casme2.py"


@pytest.mark.parametrize(
    ("path", "text", "broken"),
    [
        (REMOTE, "import scipy.ndimage", "1: remote code imports scipy"),
        (REMOTE, "def f():\n    import cv2", "2: remote code imports cv2"),
        (REMOTE, "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import av", "3: remote code imports av"),
        (REMOTE, "from .hub import save_for_hub", "1: remote code imports micron_bert_hf.hub"),
        (REMOTE, "from . import hub", "1: remote code imports micron_bert_hf.hub"),
        (REMOTE, "from micron_bert_hf import hub", "1: remote code imports micron_bert_hf.hub"),
        (REMOTE, "import micron_bert_hf.data.pairs", "1: remote code imports micron_bert_hf.data.pairs"),
        (
            "src/micron_bert_hf/configuration_micron_bert.py",
            "from .modeling_micron_bert import MicronBertModel",
            "1: remote code imports micron_bert_hf.modeling_micron_bert",
        ),
        (
            "src/micron_bert_hf/pipeline_micron_bert.py",
            "from .image_processing_micron_bert import load_frame",
            "1: remote code imports micron_bert_hf.image_processing_micron_bert",
        ),
        ("src/micron_bert_hf/__init__.py", "from .hub import save_for_hub", "1: the package imports hub when it is"),
        ("src/micron_bert_hf/__init__.py", "import tqdm", "1: tqdm is not declared for __init__"),
        (HUB, "import matplotlib", "1: matplotlib is not declared for hub"),
        (HUB, "import pandas", "1: pandas is not declared for hub"),
        (DATA, "from ..modeling_micron_bert import MicronBertModel", "1: data imports modeling_micron_bert"),
        (DATA, "from .. import hub", "1: data imports hub"),
        (FACES, "from ..hub import save_for_hub", "1: faces imports hub"),
        (DATABASES, "from ..training import recipes", "1: databases imports training"),
        (DATA, "from micron_bert_hf import MicronBertModel", "1: imports the package instead of the module"),
        (DATA, "from . import augmentation\nimport micron_bert_hf", "2: imports the package instead of the module"),
        (DATA, "import scipy", "1: scipy is not declared for data"),
        (METRICS, "import torch", "1: a metric imports torch"),
        (METRICS, "from ..data.pairs import x", "1: a metric imports micron_bert_hf.data.pairs"),
        (METRIC_PATHS, "import numpy", "1: the paths of the metrics import numpy"),
        (METRIC_PATHS, "def f():\n    import evaluate", "2: the paths of the metrics import evaluate"),
        (
            METRIC_PATHS,
            "from micron_bert_hf.evaluation import score",
            "1: the paths of the metrics import micron_bert_hf.evaluation",
        ),
        (METRIC_MODULE, "import sklearn", "1: a metric module imports sklearn"),
        (
            METRIC_MODULE,
            "from micron_bert_hf.data.pairs import x",
            "1: a metric module imports micron_bert_hf.data.pairs",
        ),
        (METRIC_MODULE, "from ...evaluation.metrics import uf1", "1: a metric module is copied away from what it"),
        (EXAMPLE, "from micron_bert_hf._registry import x", "1: an example imports the private ['_registry']"),
        (EXAMPLE, "from micron_bert_hf.hub import _names", "1: an example imports the private ['_names']"),
        (EXAMPLE, "from tests.conftest import x", "1: imports tests"),
        (SCRIPT, "from micron_bert_hf.hub import save_for_hub", "1: a dataset script imports micron_bert_hf.hub"),
        (SCRIPT, "from micron_bert_hf import MicronBertConfig", "1: a dataset script imports micron_bert_hf"),
        ("src/micron_bert_hf/cli.py", "from examples import demo", "1: imports examples"),
        ("tests/test_x.py", "def f():\n    from torchvision import io", "2: torchvision is banned"),
        (REMOTE, "import timm", "1: timm is banned"),
        (HUB, "import pickle", "1: pickle runs what it reads"),
        (HUB, "x = eval('1')", "1: eval"),
        (HUB, "exec('1')", "1: exec"),
        (HUB, "import os\nos.system('ls')", "2: os.system"),
        (HUB, "import subprocess\nsubprocess.run('ls', shell=True)", "2: shell=True"),
        (HUB, "import torch\ntorch.load('x')", "2: torch.load without weights_only=True"),
        (HUB, "import torch\ntorch.load('x', weights_only=False)", "2: torch.load without weights_only=True"),
        (HUB, "import numpy as np\nnp.load('x', allow_pickle=True)", "2: allow_pickle"),
        (HUB, "try:\n    x = 1\nexcept:\n    pass", "3: bare except"),
        (HUB, "assert True", "1: assert outside the tests"),
        ("src/micron_bert_hf/data/utils.py", "", "0: a file named utils"),
    ],
)
def test_each_rule_can_fail(path, text, broken):
    assert any(line.startswith(broken) for line in violations(path, text)), violations(path, text)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (REMOTE, "import io, torch, numpy, PIL\nfrom transformers import Pipeline"),
        ("src/micron_bert_hf/modeling_micron_bert.py", "from .configuration_micron_bert import MicronBertConfig"),
        (HUB, "from . import modeling_micron_bert\nfrom .modeling_micron_bert import MicronBertModel"),
        (HUB, "import torch\nmodel = torch.load('x', weights_only=True)\nmodel.eval()\nmodel.compile()"),
        (DATA, "from ..image_processing_micron_bert import MicronBertImageProcessor"),
        ("src/micron_bert_hf/training/loop.py", "import accelerate\nfrom ..data import pairs"),
        (METRICS, "import math\nimport numpy as np\nfrom .predictions import read"),
        ("src/micron_bert_hf/__init__.py", "from .metrics import metric_path"),
        (METRIC_PATHS, "from pathlib import Path"),
        (
            METRIC_MODULE,
            "import math, evaluate, datasets, numpy\nfrom micron_bert_hf.evaluation.metrics import uf1",
        ),
        (
            EXAMPLE,
            "from micron_bert_hf import MicronBertModel, __version__\nfrom micron_bert_hf.hub import save_for_hub",
        ),
        (SCRIPT, "from micron_bert_hf.data.rows import to_row"),
        ("tests/test_x.py", "assert True\nimport pickle"),
    ],
)
def test_what_is_allowed_passes(path, text):
    assert violations(path, text) == []


def test_units_of_the_package_form_no_circle():
    graph = {}
    for path in files("src"):
        relative = path.relative_to(ROOT)
        unit = relative.with_suffix("").parts[2]
        for module, _, _ in imports(relative, ast.parse(path.read_text(encoding="utf-8"))):
            if module.split(".")[0] == PACKAGE and unit_of(module) not in ("", unit):
                graph.setdefault(unit, set()).add(unit_of(module))
    order = list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError
    assert order.index("configuration_micron_bert") < order.index(MODELING) < order.index("hub")


@pytest.mark.parametrize("name", REMOTE_SIBLINGS)
def test_transformers_finds_what_the_files_import(name):
    """transformers finds imports by regular expression, in docstrings too; what it finds must be what there is."""
    path = SOURCE / f"{name}.py"
    assert set(get_relative_imports(path)) == REMOTE_SIBLINGS[name]
    assert set(get_imports(path)) <= REMOTE_LIBRARIES | set(sys.stdlib_module_names)


def test_importing_the_package_needs_the_core_only():
    """With every optional dependency missing, and those that others bring along not imported by us."""
    optional = declared_libraries(core_only=False) - declared_libraries(core_only=True)
    optional |= BANNED_LIBRARIES | {"gradio", "av", "pandas", "scipy", "sklearn", "yaml", "pytest"}
    # huggingface_hub and transformers need these two themselves; that we do not is in the table above
    optional -= {"tqdm", "yaml"}
    assert optional > {"cv2", "matplotlib", "datasets", "accelerate", "evaluate"}
    program = f"""
import sys
for name in {sorted(optional)}:
    sys.modules[name] = None
import micron_bert_hf
from micron_bert_hf import *
from micron_bert_hf import hub
assert metric_path("uf1") and "micron_bert_hf.evaluation" not in sys.modules
MicronBertModel, MicronBertImageProcessor, MicroExpressionClassificationPipeline
assert MicronBertConfig().hidden_size == 512
"""
    process = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300)
    assert process.returncode == 0, process.stderr[-4000:]
