"""The command line as a person meets it: help, exit statuses, one line instead of a traceback."""

import subprocess
import sys

import pytest


def run(*arguments, cwd=None, before=""):
    code = f"{before}\nfrom micron_bert_hf.cli import main\nmain()"
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=cwd)


@pytest.mark.parametrize("command", ["convert", "demo", "synthesize"])
def test_each_command_has_a_help_page_with_an_example(command):
    done = run(command, "--help")
    assert done.returncode == 0
    assert f"micron-bert {command}" in " ".join(done.stdout.split())


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
