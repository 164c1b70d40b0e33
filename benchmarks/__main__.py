"""
`python -m benchmarks`: measure, write results/cpu.json, render the tables. About 15 minutes on 2 cores.
"""

import argparse
import json

from tqdm import tqdm

from benchmarks import measure
from benchmarks.render import RESULTS, render_readme, tables


def run() -> dict:
    """Everything, in the order in which it is printed."""
    results: dict = {"machine": measure.machine(), "times": [], "memory": [], "diagonal": []}
    sizes = sorted({size for size, _ in measure.TIMED})
    steps = len(measure.TIMED) + 2 * len(sizes) + 2 * len(measure.PATCHES) + 1
    with tqdm(total=steps, desc="benchmark") as bar:
        for size in sizes:
            peaks = {}
            for who in ("ours", "plain"):
                bar.set_postfix_str(f"memory, {size} px, {who}")
                peaks[who] = measure.in_fresh_process("measure_training_memory", who, size)["peak_extra_bytes"]
                bar.update()
            results["memory"].append(
                {
                    "image_size": size,
                    "ours_bytes": peaks["ours"],
                    "plain_bytes": peaks["plain"],
                    "memory_ratio": peaks["ours"] / peaks["plain"],
                }
            )
        for patches in measure.PATCHES:
            row: dict = {"num_patches": patches}
            for who in ("ours", "plain"):
                bar.set_postfix_str(f"diagonal, {patches} patches, {who}")
                row[who] = measure.in_fresh_process("measure_diagonal", who, patches)
                bar.update()
            results["diagonal"].append(row)
        for size, batch in measure.TIMED:
            bar.set_postfix_str(f"times, {size} px, {batch} pairs")
            results["times"] += measure.measure_times(size, batch)
            bar.update()
        bar.set_postfix_str("profile")
        results["profile_of_a_pretraining_step"] = measure.profile_step(*measure.TIMED[0])
        bar.update()
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--render-only", action="store_true", help="Only render what is stored.")
    file = RESULTS / "cpu.json"
    if not parser.parse_args().render_only:
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(run(), indent=2) + "\n")
    print(tables(json.loads(file.read_text())))
    render_readme()


if __name__ == "__main__":
    main()
