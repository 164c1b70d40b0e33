"""`python -m benchmarks.take_probe OUT`: let the docs tell of this pretraining run and its linear probe."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.measure import machine
from benchmarks.render import README, RESULTS, render_readme


def main() -> None:
    folder = Path(sys.argv[1])
    results, provenance, history = (
        json.loads((folder / name).read_text()) for name in ("linear_probe.json", "provenance.json", "history.json")
    )
    # an entry's throughput is that of the steps since the entry before
    steps = [entry["step"] for entry in history]
    seconds = sum(
        (step - before) * provenance["pairs_per_step"] / entry["samples_per_second"]
        for step, before, entry in zip(steps, [0, *steps], history)
    )
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    results |= {
        "method": "Micron-BERT, tiny_cpu recipe, linear probe",
        "protocol": "subject-disjoint folds, pooled; probe chosen on validation subjects of another seed",
        "seeds": [json.loads((folder / "run.json").read_text())["seed"]],
        "uf1": results["pretrained"]["uf1"],
        "uar": results["pretrained"]["uar"],
        "commit": commit,
        "pretraining": {name: provenance[name] for name in ("fingerprint", "num_clips", "num_frames", "steps")},
        "seconds": seconds,
        "cores": os.cpu_count(),
        "cpu": machine()["processor"],
    }
    (RESULTS / "linear_probe.json").write_text(json.dumps(results, indent=2) + "\n")
    last = sorted((folder / "pictures").iterdir())[-1]
    shutil.copyfile(last, README.parent / "docs" / "pretraining.png")
    render_readme()


if __name__ == "__main__":
    main()
