"""`python -m benchmarks.take_presets FOLDER ...`: let the docs tell of the baselines of these synthetic sets."""

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.render import RESULTS, render_readme


def main() -> None:
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    sets = {}
    for folder in map(Path, sys.argv[1:]):
        results = json.loads((folder / "results.json").read_text())
        parameters = json.loads((folder / "parameters.json").read_text())
        sets[results["dataset"]] = {
            "seeds": [parameters["parameters"]["seed"]],
            "generator_version": parameters["generator_version"],
            **results,
        }
    (RESULTS / "presets.json").write_text(json.dumps({"commit": commit, "sets": sets}, indent=2) + "\n")
    render_readme()


if __name__ == "__main__":
    main()
