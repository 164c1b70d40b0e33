"""`python -m benchmarks.take_demo demo_output`: let the README tell of this run of `make demo`."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.render import README, RESULTS, render_readme


def readme_example() -> str:
    """The Python code of the README's inference example."""
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    return next(block for block in blocks if "pipeline(" in block)


def main() -> None:
    demo_output = Path(sys.argv[1]).resolve()
    results = json.loads((demo_output / "results.json").read_text())
    done = subprocess.run(
        [sys.executable, "-c", readme_example()], capture_output=True, text=True, check=True, cwd=demo_output.parent
    )
    results["readme_example"] = done.stdout.strip()
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "demo.json").write_text(json.dumps(results, indent=2) + "\n")
    shutil.copyfile(demo_output / "micro_expression.png", README.parent / "docs" / "demo.png")
    render_readme()


if __name__ == "__main__":
    main()
