"""`python -m benchmarks.take_evaluations REFERENCE FOLDER ...`: let README and docs tell of these evaluations.

    python -m benchmarks.take_evaluations results-dis-flow results-majority results-windowed
    python -m benchmarks.take_evaluations --ablation ablation

Each FOLDER is what `micron-bert evaluate` left; every method is compared with that of REFERENCE, person by person.
"""

import json
import shutil
import sys
from pathlib import Path

from benchmarks.render import EVALUATIONS, README, RESULTS, render_readme
from micron_bert_hf.evaluation.predictions import PredictionTable
from micron_bert_hf.experiments import compare_tables
from micron_bert_hf.run_files import file_name
from micron_bert_hf.visualization import save_figure
from micron_bert_hf.visualization.evaluation import comparison_figure


FIGURE = README.parent / "docs" / "evaluation.png"
# What is left out: lists of people, which the predictions have, and bins, which are a picture.
LEFT_OUT = ("seen_people", "majority_class", "calibration")


def take_evaluations(reference: Path, folders: list[Path]) -> None:
    EVALUATIONS.mkdir(exist_ok=True)
    reference_table = PredictionTable.read(reference / "predictions.parquet")
    rows = []
    for folder in [reference, *folders]:
        results = json.loads((folder / "results.json").read_text())
        kept = {name: value for name, value in results.items() if name not in LEFT_OUT}
        kept["expected_calibration_error"] = results["calibration"]["expected_calibration_error"]
        if folder != reference:
            table = PredictionTable.read(folder / "predictions.parquet")
            kept["comparison"] = {
                "with": reference_table.metadata["method"],
                **compare_tables(table, reference_table),
            }
        path = EVALUATIONS / f"{file_name(results['method'])}-{file_name(results['dataset'])}.json"
        path.write_text(json.dumps(kept, indent=1) + "\n")
        low, high = results["uf1_interval"]
        rows.append({"method": results["method"], "uf1": results["uf1"], "low": low, "high": high})
    rows.sort(key=lambda row: row["uf1"])
    num_labels = len(results["label_names"])
    figure = comparison_figure(
        rows, f"{results['dataset']}, people never seen", chance=1 / num_labels, caption=results["protocol"]
    )
    save_figure(figure, FIGURE)


def main() -> None:
    if sys.argv[1] == "--ablation":
        shutil.copyfile(Path(sys.argv[2]) / "ablation.json", RESULTS / "ablation.json")
    else:
        reference, *folders = map(Path, sys.argv[1:])
        take_evaluations(reference, folders)
    render_readme()


if __name__ == "__main__":
    main()
