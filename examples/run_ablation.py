"""The same model with and without each part: pretrain, fine-tune in every fold and score every variant of a recipe.

    python examples/run_ablation.py examples/recipes/ablation/paper_cpu.yaml --output_dir OUT --jobs 2

OUT/ablation.json has the table. The same command goes on where it was.
"""

import argparse
import sys
from pathlib import Path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path, help="a YAML file, see micron_bert_hf.experiments.ablation")
    parser.add_argument("--output_dir", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=1, help="folds at once; as many as there are cores")
    options = parser.parse_args()

    from micron_bert_hf.evaluation import FoldsFailed
    from micron_bert_hf.experiments import read_ablation, run_ablation

    try:
        results = run_ablation(read_ablation(options.recipe), options.output_dir, num_processes=options.jobs)
    except (OSError, ValueError, FloatingPointError, FoldsFailed) as error:
        print(f"run_ablation.py: {error}", file=sys.stderr)
        return 1
    width = max(len(variant["name"]) for variant in results["variants"])
    print(f"\n{'':{width}}  UF1    95 % over people")
    for variant in results["variants"]:
        low, high = variant["uf1_interval"]
        print(f"{variant['name']:{width}}  {variant['uf1']:.3f}  {low:.3f} ... {high:.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
