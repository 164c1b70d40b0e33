"""The command line as a person meets it: help, exit statuses, one line instead of a traceback."""

import subprocess
import sys

from datasets import Dataset, Features, Value
from datasets import Image as HubImage
from PIL import Image


def run(*arguments, cwd=None, before=""):
    code = f"{before}\nfrom micron_bert_hf.cli import main\nmain()"
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=cwd)


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


def test_usage_errors_exit_with_2():
    assert run("convert").returncode == 2
    assert run("no-such-command").returncode == 2


def test_demo_refuses_a_foreign_folder_before_any_work(tmp_path):
    foreign = tmp_path / "demo_output" / "model"
    foreign.mkdir(parents=True)
    (foreign / "thesis.txt").write_text("mine")
    (tmp_path / "demo_output" / "results.json").write_text("{}")
    done = run("demo", cwd=tmp_path)
    assert done.returncode == 1
    assert "thesis.txt" in done.stderr and "Traceback" not in done.stderr
    assert "Rendering" not in done.stdout
    assert (tmp_path / "demo_output" / "results.json").exists()


def test_a_missing_extra_is_named(tmp_path):
    absent = "import sys; sys.modules['cv2'] = None"
    done = run("demo", cwd=tmp_path, before=absent)
    assert done.returncode == 1
    assert "micron-bert-hf[all]" in done.stderr and "Traceback" not in done.stderr


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
