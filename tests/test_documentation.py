"""What the documentation says is so: its code runs, its commands exist, its links lead somewhere, the site builds."""

import ast
import functools
import importlib
import json
import re
import runpy
import shlex
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

import av
import pytest
import typer
import yaml
from PIL import Image

from benchmarks.render import EXAMPLE
from micron_bert_hf import MicronBertConfig, MicronBertForMicroExpressionClassification, MicronBertImageProcessor
from micron_bert_hf.cli import app
from micron_bert_hf.hub import save_for_hub
from micron_bert_hf.synthetic import generate_micro_expressions
from micron_bert_hf.training import read_classification_recipe, read_recipe


ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
LANGUAGES = {"python", "bash", "console", "yaml", "text", "bibtex"}
LINE_LENGTH = 119
COMMAND_LINE = typer.main.get_command(app)
COMMANDS = COMMAND_LINE.commands
# Which function reads the command line of a script; the other scripts say by --help what they take.
RECIPE_READERS = {"run_pretraining": read_recipe, "run_classification": read_classification_recipe}
# Runs the Python of all pages in one process, a page after the other with names of its own; padded with empty lines,
# code fails at its line of the page.
RUNNER = """
import json, sys
for page, blocks in json.load(open(sys.argv[1])):
    print("page", page, flush=True)
    names = {"__name__": "__main__"}
    for line, code in blocks:
        exec(compile("\\n" * line + code, page, "exec"), names)
"""


@dataclass(frozen=True)
class Block:
    """
    Args:
        line (`int`): of the opening fence, from 1.
        language, code (`str`)
        reason (`str`, *optional*): why it is not run, from a comment before it.
    """

    line: int
    language: str
    code: str
    reason: str | None


def relative(path):
    return path.relative_to(ROOT).as_posix()


def outside_of_blocks(path):
    """`(line number, text)` of what is neither code nor rendered from results."""
    fence, rendered = False, None
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if place := re.fullmatch(r"<!-- (/?)([\w-]+) -->", line):
            rendered = None if place[1] else place[2]
        elif line.startswith("```"):
            fence = not fence
        elif not fence and rendered is None:
            yield number, line


def blocks_of(path):
    """The fenced blocks of a page, those of rendered sections too."""
    text = path.read_text(encoding="utf-8")
    found = re.finditer(r"(?:^<!-- not run: (.+?) -->\n)?^```(.*)\n((?:.*\n)*?)```$", text, re.MULTILINE)
    return [
        Block(text[: match.start(2)].count("\n") + 1, match[2], match[3], match[1] and match[1].strip())
        for match in found
    ]


def run_pages(folder, pages):
    """Run the Python blocks of `pages` in `folder`; the finished process."""
    listed = [
        (
            path.name if path.parent == folder else relative(path),
            [(b.line, b.code) for b in blocks_of(path) if runs(b)],
        )
        for path in pages
    ]
    (folder / "pages.json").write_text(json.dumps(listed))
    return subprocess.run([sys.executable, "-c", RUNNER, "pages.json"], cwd=folder, capture_output=True, text=True)


def runs(block):
    return block.language == "python" and block.reason is None


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder as `make demo` leaves it, with a small model in the place of the demo's, and what readers bring."""
    folder = tmp_path_factory.mktemp("workplace")
    config = MicronBertConfig(
        image_size=96,
        hidden_size=16,
        num_hidden_layers=1,
        intermediate_size=16,
        id2label={0: "happiness", 1: "surprise"},
    )
    save_for_hub(
        folder / "demo_output" / "model",
        model=MicronBertForMicroExpressionClassification(config),
        image_processor=MicronBertImageProcessor(size={"height": 96, "width": 96}),
    )
    row = next(generate_micro_expressions(1, 1, image_size=224, difficulty=0.0, seed=1, classes=("surprise",)))
    for name in ("onset", "apex"):
        Image.fromarray(row[name]).save(folder / f"{name}.png")
    with av.open(folder / "interview.mp4", "w") as container:
        stream = container.add_stream("mpeg4", rate=30)
        stream.width, stream.height, stream.pix_fmt = 224, 224, "yuv420p"
        for name in ["onset"] * 15 + ["apex"] * 5 + ["onset"] * 15:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(row[name])))
        container.mux(stream.encode())
    return folder


def test_python_of_the_documentation_runs(workplace):
    """The code a reader copies, page by page and in the order of the page."""
    done = run_pages(workplace, [path for path in DOCUMENTS if any(map(runs, blocks_of(path)))])
    assert done.returncode == 0, done.stderr
    # of the first page: the example whose printed output it shows
    printed = re.search(r"^page README.md\n(.*?)(?=^page |\Z)", done.stdout, re.MULTILINE | re.DOTALL)[1]
    predictions, shapes = printed.strip().splitlines()[-2:]
    assert {entry["label"] for entry in json.loads(predictions.replace("'", '"'))} == {"happiness", "surprise"}
    assert shapes == "(12, 12) (12, 12)"
    example = next(block for block in blocks_of(README) if "pipeline(" in block.code)
    assert len(example.code.strip().splitlines()) <= 10


@pytest.mark.parametrize(
    ("code", "message"),
    [("x = 1\nraise ValueError('no')\n", 'File "page.md", line 8'), ("import torch\ntorch.sqrt(\n", "SyntaxError")],
)
def test_broken_python_is_found(code, message, tmp_path):
    """What was right before it, and a block that is not run, do not hide it."""
    page = tmp_path / "page.md"
    page.write_text(f"<!-- not run: it never ends -->\n```python\nwhile True: pass\n```\n\n```python\n{code}```\n")
    done = run_pages(tmp_path, [page])
    assert done.returncode != 0 and message in done.stderr, done.stderr


def test_names_of_a_page_are_its_own(tmp_path):
    for name, code in (("first.md", "x = 1"), ("second.md", "print(x)")):
        (tmp_path / name).write_text(f"```python\n{code}\n```\n")
    done = run_pages(tmp_path, [tmp_path / "first.md", tmp_path / "second.md"])
    assert "NameError" in done.stderr and "second.md" in done.stderr


@pytest.mark.parametrize("path", DOCUMENTS, ids=relative)
def test_blocks_are_known_and_well_formed(path):
    for block in blocks_of(path):
        assert block.language in LANGUAGES, f"line {block.line}: of what kind is this block? {block.language!r}"
        if block.language == "python":
            compile(block.code, relative(path), "exec")
        elif block.language == "yaml":
            keys = yaml.safe_load(block.code)
            assert isinstance(keys, dict), f"line {block.line}"


@pytest.mark.parametrize(
    ("page", "reader"), [("pretraining", read_recipe), ("fine-tuning", read_classification_recipe)]
)
def test_recipes_of_the_pages_are_recipes(page, reader, tmp_path):
    recipes = [block for block in blocks_of(ROOT / "docs" / f"{page}.md") if block.language == "yaml"]
    assert recipes
    for block in recipes:
        (tmp_path / "recipe.yaml").write_text(block.code)
        recipe = reader([str(tmp_path / "recipe.yaml")])
        assert recipe.model == yaml.safe_load(block.code)["model"]


# ----------------------------------------------------------------------------------------------------- command lines


@functools.cache
def help_of(script):
    """What `python SCRIPT --help` says, without a process for each."""
    said = []
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as stopped:
        patch.setattr(sys, "argv", [script, "--help"])
        patch.setattr(sys.stdout, "write", said.append)
        runpy.run_path(str(ROOT / script), run_name="__main__")
    assert stopped.value.code == 0
    return "".join(said)


def check_script(script, arguments):
    """A script of the repository takes these arguments."""
    assert (ROOT / script).is_file(), f"there is no {script}"
    name = Path(script).stem
    if script.startswith("dataset_scripts/"):
        COMMANDS["convert-dataset"].make_context("convert-dataset", [name, *arguments])
    elif name in RECIPE_READERS and arguments != ["--help"]:
        RECIPE_READERS[name](arguments)
    elif options := {argument for argument in arguments if argument.startswith("--")} - {"--help"}:
        unknown = options - set(re.findall(r"--\w+", help_of(script)))
        assert not unknown, f"{script} has no {unknown}"


def check_command(line):
    """
    Refuse a line of a shell block that the reader could not run.

    Raises:
        AssertionError, ValueError, SystemExit, or typer's own: a program, a command, an option or a file that does
            not exist.
    """
    words = shlex.split(line, comments=True)
    if not words:
        return
    program, *arguments = words
    program = program.removeprefix(".venv/bin/")
    if program == "torchrun":
        program, arguments = "python", arguments[next(i for i, word in enumerate(arguments) if word.endswith(".py")) :]
    if program == "micron-bert":
        before = {"--help", *(name for option in COMMAND_LINE.params for name in option.opts)}
        while arguments and arguments[0] in before:
            arguments = arguments[1:]
            if not arguments:
                return
        assert arguments and arguments[0] in COMMANDS, f"there is no command {line!r}"
        if arguments[1:] != ["--help"]:
            COMMANDS[arguments[0]].make_context(arguments[0], arguments[1:])
    elif program == "python" and arguments[0] == "-m":
        assert importlib.util.find_spec(arguments[1]) is not None, f"there is no module {arguments[1]}"
    elif program == "python":
        check_script(arguments[0], arguments[1:])
    elif program == "make":
        targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert arguments[0] in targets, f"the Makefile makes no {arguments[0]}"
    else:
        raise ValueError(f"what is {program}? Teach `check_command` how to check {line!r}")


@pytest.mark.parametrize("path", DOCUMENTS, ids=relative)
def test_commands_of_the_documentation_exist(path, monkeypatch):
    """They are parsed, not run: command, arguments, options and recipes are there."""
    monkeypatch.chdir(ROOT)
    for block in blocks_of(path):
        if block.language == "bash":
            for line in block.code.replace("\\\n", " ").splitlines():
                check_command(line)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_has_an_example_that_exists(name):
    examples = EXAMPLE.findall(COMMANDS[name].help)
    assert examples
    for example in examples:
        assert example.startswith(f"micron-bert {name} ")
        check_command(example)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("micron-bert prophesy video.mp4", "no command"),
        ("micron-bert --verbose spot video.mp4", "no command"),
        (
            "micron-bert predict onset.png apex.png --model m --save-figurine answer.png",
            "No such option: --save-figurine",
        ),
        ("micron-bert predict onset.png apex.png", "Missing parameter: model"),
        ("micron-bert convert-dataset casme2 RAW casme2 --jobs many", "valid integer"),
        (".venv/bin/python examples/run_everything.py", "no examples/run_everything.py"),
        (
            ".venv/bin/python examples/run_pretraining.py examples/recipes/tiny_cpu.yaml --no_such_option 1",
            "--no_such_option 1",
        ),
        (
            ".venv/bin/python examples/run_pretraining.py examples/recipes/enormous.yaml --output_dir OUT",
            "enormous.yaml",
        ),
        ("torchrun --nproc_per_node 8 examples/run_classification.py --dataset FACES --epoch 3", "--epoch 3"),
        (".venv/bin/python examples/run_linear_probe.py pretrained faces --seeds 3", "has no {'--seeds'}"),
        (".venv/bin/python dataset_scripts/casme9.py RAW OUT", "no dataset_scripts/casme9.py"),
        (".venv/bin/python -m benchmarks.nothing", "no module benchmarks.nothing"),
        ("make coffee", "makes no coffee"),
        ("curl somewhere", "what is curl?"),
    ],
)
def test_commands_that_do_not_exist_are_found(line, words, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    with pytest.raises((AssertionError, ValueError, SystemExit, typer.TyperException)) as found:
        check_command(line)
    # who exits has said why on standard error
    said = capsys.readouterr().err if found.type is SystemExit else str(found.value)
    assert words in said


@pytest.mark.parametrize("path", DOCUMENTS, ids=relative)
def test_commands_and_files_in_the_text_exist(path):
    """`micron-bert ...` and paths between backticks, where words in capitals may stand for something."""
    for number, line in outside_of_blocks(path):
        for span in re.findall(r"`([^`]+)`", line):
            where = f"line {number}: `{span}`"
            if re.fullmatch(r"(src|tests|examples|benchmarks|docs|dataset_scripts)/[\w./-]*\w", span):
                assert (ROOT / span).exists() or "NAME" in span, where
            words = span.split()
            if words[0] == "micron-bert" and len(words) > 1 and words[1].islower() and not words[1].startswith("-"):
                assert words[1] in COMMANDS, where
                options = {option for parameter in COMMANDS[words[1]].params for option in parameter.opts}
                assert {word for word in words if word.startswith("--")} <= options | {"--help"}, where


# --------------------------------------------------------------------------------------------------- links and lines


def anchors_of(path):
    """The anchors that GitHub gives the headings of a page."""
    headings = [re.match(r"#+ (.*)", line) for _, line in outside_of_blocks(path)]
    commands = re.findall(r"^## (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    titles = [heading[1] for heading in headings if heading] + commands
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def broken_links(path):
    """Links and images of a page that lead nowhere."""
    text = "\n".join(line for _, line in outside_of_blocks(path))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?://", target):
            continue
        name, _, anchor = target.partition("#")
        file = (path.parent / name) if name else path
        if not file.is_file() or (anchor and anchor not in anchors_of(file)):
            yield target


@pytest.mark.parametrize("path", DOCUMENTS, ids=relative)
def test_links_lead_somewhere(path):
    assert list(broken_links(path)) == []


def test_a_broken_link_is_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# One title\n[a](page.md#one-title) [b](#one-title) [c](#other)\n[d](gone.md) ![e](gone.png)\n")
    assert list(broken_links(page)) == ["#other", "gone.md", "gone.png"]


@pytest.mark.parametrize("path", DOCUMENTS, ids=relative)
def test_lines_are_not_long(path):
    """Tables, pictures and what is rendered aside; commands go on after a backslash."""
    lines = dict(outside_of_blocks(path))
    for block in blocks_of(path):
        if block.language in ("bash", "python", "yaml"):
            lines |= {block.line + number: line for number, line in enumerate(block.code.splitlines(), 1)}
    long = [n for n, line in lines.items() if len(line) > LINE_LENGTH and not line.startswith(("|", "!["))]
    assert long == []


# -------------------------------------------------------------------------------------------------------------- site


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site as `make docs` builds it: a warning, such as a page that is in no menu, is an error."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return folder


class LoadedThings(HTMLParser):
    """Addresses that a browser asks for by itself."""

    def __init__(self):
        super().__init__()
        self.addresses = []

    def handle_starttag(self, tag, attributes):
        named = dict(attributes)
        if tag == "link" and named.get("rel") not in ("canonical", "prev", "next"):
            self.addresses.append(named["href"])
        elif "src" in named:
            self.addresses.append(named["src"])


def loaded_by(html):
    parser = LoadedThings()
    parser.feed(html)
    return parser.addresses


def test_the_site_loads_nothing_from_elsewhere(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 20
    for page in pages:
        addresses = loaded_by(page.read_text(encoding="utf-8"))
        assert addresses and not [a for a in addresses if re.match(r"(https?:)?//", a)], page
    for sheet in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(https?:)?//", sheet.read_text(encoding="utf-8")), sheet
    assert loaded_by('<script src="https://a.b/c.js">') and loaded_by('<link rel="stylesheet" href="//fonts">')


def public_names(module):
    """`__all__` of a module, else its public functions and classes, without importing what it needs."""
    path = (ROOT / "src").joinpath(*module.split("."))
    tree = ast.parse((path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return ast.literal_eval(node.value)
    named = [node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))]
    return [name for name in named if not name.startswith("_")]


def test_the_site_shows_every_public_name(site):
    pages = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "api").iterdir())
    documented = set(re.findall(r"^::: (micron_bert_hf(?:\.\w+)?)$", pages, re.MULTILINE))
    packages = {
        f"micron_bert_hf.{path.parent.name}" for path in (ROOT / "src" / "micron_bert_hf").glob("*/__init__.py")
    }
    assert packages - {"micron_bert_hf.metrics"} <= documented  # the one name of the metrics is in the package itself
    html = "\n".join(page.read_text(encoding="utf-8") for page in (site / "api").rglob("*.html"))
    shown = set(re.findall(r'id="([\w.]+)"', html))
    # a function whose module has its name stands behind that
    missing = [
        f"{module}.{name}"
        for module in documented
        for name in public_names(module)
        if not {f"{module}.{name}", f"{module}.{name}.{name}"} & shown
    ]
    assert missing == []
    # arguments are lists: nothing like `data (dict) seed (int)` in one paragraph
    assert not re.search(r"<strong>Arguments</strong></p>\s*<p>[\w, ]+ \(<", html)


def test_docstrings_become_lists(monkeypatch):
    """The house's docstrings, which griffe's own readers do not understand."""
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    sections_to_lists = importlib.import_module("docstrings").sections_to_lists
    written = textwrap.dedent(
        """\
        What it is.

        Args:
            first, second (`int`): two of them,
                told at length.
            third (`str`, *optional*)

        Returns:
            `Path`: of it.

        Raises:
            ValueError: no.

        The end."""
    )
    expected = textwrap.dedent(
        """\
        What it is.


        **Arguments**

        - **first, second** (`int`): two of them,
            told at length.
        - **third** (`str`, *optional*)


        **Returns**

        `Path`: of it.


        **Raises**

        - **ValueError**: no.

        The end."""
    )
    assert sections_to_lists(written) == expected
