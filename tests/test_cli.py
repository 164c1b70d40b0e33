"""The command line as a person meets it: help, exit statuses, one line instead of a traceback."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from datasets import Dataset, Features, Value
from datasets import Image as HubImage
from PIL import Image

from micron_bert_hf import cli
from micron_bert_hf.spotting import commands


def run(*arguments, cwd=None, before=""):
    code = f"{before}\nfrom micron_bert_hf.cli import main\nmain()"
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=cwd)


def run_here(monkeypatch, capsys, *arguments):
    """In this process; exit status, and what stands on standard output and on standard error."""
    monkeypatch.setattr(sys, "argv", ["micron-bert", *arguments])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return end.value.code, *capsys.readouterr()


def test_each_command_has_a_help_page_with_an_example():
    """All pages from one process: importing what they need takes longer than showing them."""
    pages = """
import sys
from micron_bert_hf.cli import main
for command in sys.argv[1:]:
    sys.argv = ["micron-bert", command, "--help"]
    try:
        main()
    except SystemExit as end:
        print("PAGE", command, end.code)
"""
    commands = [
        "convert",
        "convert-dataset",
        "demo",
        "evaluate",
        "export",
        "predict",
        "prepare-clips",
        "publish",
        "score",
    ]
    commands += ["spot", "synthesize"]
    done = subprocess.run([sys.executable, "-c", pages, *commands], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rest = " ".join(done.stdout.split())
    for command in commands:
        page, end, rest = rest.partition(f"PAGE {command} 0")
        assert end and f"micron-bert {command} " in page.replace("Usage: micron-bert", ""), command


def test_usage_errors_exit_with_2(monkeypatch, capsys):
    assert run_here(monkeypatch, capsys, "convert")[0] == 2
    assert run_here(monkeypatch, capsys, "no-such-command")[0] == 2


def test_debug_shows_the_traceback_of_what_else_is_one_line(monkeypatch, capsys):
    assert run_here(monkeypatch, capsys, "spot", "absent.mp4") == (
        1,
        "",
        "micron-bert: there is no file or folder absent.mp4\n",
    )
    code, out, error = run_here(monkeypatch, capsys, "--debug", "spot", "absent.mp4")
    assert (code, out) == (1, "") and error.startswith("Traceback (most recent call last):\n")
    assert error.endswith("\nFileNotFoundError: there is no file or folder absent.mp4\n")
    assert "spotting/video.py" in error


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("two\n\n  lines\n"), "two lines"),
        (OSError(28, "No space left on device", "out"), "[Errno 28] No space left on device: 'out'"),
        (MemoryError("8 GiB"), "not enough memory: 8 GiB"),
        (
            ModuleNotFoundError("No module named 'av'"),
            "No module named 'av'; in a checkout, pip install '.[all]' brings",
        ),
        (
            KeyError("label"),
            "this is a fault of micron-bert: KeyError: 'label'. Please report what `micron-bert --debug`",
        ),
        (RuntimeError(), "this is a fault of micron-bert: RuntimeError: RuntimeError. Please report"),
    ],
)
def test_every_error_is_one_line_that_says_whose_it_is(monkeypatch, capsys, error, line):
    """A command that fails in this way stands in for those that might."""

    def fail(*arguments, **options):
        raise error

    monkeypatch.setattr(commands, "spot", fail)
    code, _, said = run_here(monkeypatch, capsys, "spot", "a.mp4")
    assert code == 1 and said.startswith(f"micron-bert: {line}") and said.endswith("\n") and said.count("\n") == 1
    code, _, said = run_here(monkeypatch, capsys, "--debug", "spot", "a.mp4")
    assert code == 1 and said.startswith("Traceback") and type(error).__name__ in said


def test_ctrl_c_is_one_line_and_130(tmp_path):
    """While it works; the bar on standard error says that it does."""
    code = "from micron_bert_hf.cli import main; main()"
    command = [sys.executable, "-c", code, "synthesize", str(tmp_path / "faces"), "--image-size", "64"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            said = ""
            while "synthetic faces:" not in said:
                character = process.stderr.read(1)
                assert character, said
                said += character
            process.send_signal(signal.SIGINT)
            out, rest = process.communicate(timeout=60)
        finally:
            process.kill()  # else a process that went on would be waited for
    assert process.returncode == 130 and out == ""
    assert "Traceback" not in rest and rest.endswith("micron-bert: interrupted\n")


def test_bash_completes_commands():
    """The script that `--show-completion` prints, sourced, and what <TAB> then does after `micron-bert pre`."""
    session = r"""
source <(micron-bert --show-completion)
COMP_WORDS=(micron-bert pre) COMP_CWORD=1
$(complete -p micron-bert | sed 's/.*-F \([^ ]*\) .*/\1/') micron-bert pre micron-bert
printf '%s\n' "${COMPREPLY[@]}"
"""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "--norc", "-c", session], capture_output=True, text=True, env={**os.environ, "PATH": path}
    )
    assert done.stdout.split() == ["prepare-clips", "predict"], done.stderr


def test_demo_refuses_a_foreign_folder_before_any_work(tmp_path, monkeypatch, capsys):
    foreign = tmp_path / "demo_output" / "model"
    foreign.mkdir(parents=True)
    (foreign / "thesis.txt").write_text("mine")
    (tmp_path / "demo_output" / "results.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    code, out, error = run_here(monkeypatch, capsys, "demo")
    assert code == 1 and out == ""
    assert "thesis.txt" in error and "Traceback" not in error
    assert (tmp_path / "demo_output" / "results.json").exists()


def test_a_missing_extra_is_named(tmp_path):
    absent = "import sys; sys.modules['cv2'] = None"
    done = run("demo", cwd=tmp_path, before=absent)
    assert done.returncode == 1
    assert "pip install '.[all]'" in done.stderr and "Traceback" not in done.stderr


def test_prepare_clips_says_what_it_made_and_what_is_wrong(tmp_path, frame_pair):
    for subject in ("s01", "s02", "s03"):
        (tmp_path / "lab" / subject).mkdir(parents=True)
        for number, frame in enumerate(frame_pair):
            Image.fromarray(frame).save(tmp_path / "lab" / subject / f"{number}.png")
    (tmp_path / "lab" / "s03" / "2.jpg").write_bytes(b"")
    (tmp_path / "lab" / "notes.txt").write_text("mine")

    done = run("prepare-clips", "lab", "clips", cwd=tmp_path)
    assert done.returncode == 1 and not (tmp_path / "clips").exists()
    assert "--fps" in done.stderr and "Traceback" not in done.stderr

    done = run("prepare-clips", "lab", "clips", "--fps", "100", "--num-shards", "2", "--jobs", "2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        f"3 clips, 6 frames in {tmp_path / 'clips'}",
        f"1 quarantined, listed with reasons in {tmp_path / 'clips' / 'quarantine.csv'}",
        "1 files ignored: not an image or video by its name",
    ]
    assert "3/3" in done.stderr  # the bar counts sequences
    options = ("--fps", "100", "--num-shards", "2", "--shard-index", "1")
    done = run("prepare-clips", "lab", "alone", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("Not finished: 1 shards are missing (0)\n")
    shard = "data/train-00001-of-00002.parquet"
    assert (tmp_path / "alone" / shard).read_bytes() == (tmp_path / "clips" / shard).read_bytes()


def test_evaluate_and_score_print_the_same_numbers(tmp_path, frame_pair):
    onset, apex = (Image.fromarray(frame) for frame in frame_pair)
    features = Features(
        {"onset": HubImage(), "apex": HubImage(), "label": Value("string"), "subject_id": Value("string")}
    )
    rows = [
        {"onset": onset, "apex": apex, "label": label, "subject_id": subject}
        for subject in ("01", "02", "03")
        for label in ("negative", "positive")
    ]
    (tmp_path / "faces").mkdir()
    Dataset.from_list(rows, features=features).to_parquet(tmp_path / "faces" / "data.parquet")

    done = run("evaluate", "majority", "faces", "--output", "out", cwd=tmp_path)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    assert "Majority class on faces, loso: 6 samples of 3 people, 3 folds, 1 seed" in done.stdout
    scored = run("score", "out/predictions.parquet", cwd=tmp_path)
    assert scored.returncode == 0, scored.stderr
    assert scored.stdout.strip() == done.stdout.split("\n\nPredictions,")[0].strip()
