"""Tables from the results' JSON, and their place in the README. A number stands in the README only through here."""

import json
import re
from pathlib import Path


MIB = 2**20
RESULTS = Path(__file__).parent / "results"
README = Path(__file__).parent.parent / "README.md"


def sections() -> dict[str, str]:
    """What the README says between its markers, from the stored results."""
    texts = {}
    if (RESULTS / "demo.json").exists():
        demo = json.loads((RESULTS / "demo.json").read_text())
        texts |= {"demo": demo_summary(demo), "example": f"```text\n{demo['readme_example']}\n```"}
    if (RESULTS / "cpu.json").exists():
        texts["bench"] = tables(json.loads((RESULTS / "cpu.json").read_text()))
    return texts


def render_readme() -> None:
    """Put every section in its place."""
    for name, text in sections().items():
        render_into(README, name, text)


def demo_summary(results: dict) -> str:
    """Scores of `make demo` beside their baselines, and the confusion matrix."""
    data, machine = results["data"], results["machine"]
    lead = (
        f"{data['num_train_pairs']} pairs of {data['num_train_subjects']} synthetic people to learn from,"
        f" {data['num_test_pairs']} pairs of {data['num_test_subjects']} others to test on; one held-out split, recipe"
        f" fixed beforehand; difficulty {results['recipe']['difficulty']}, seed {results['seeds'][0]}, commit"
        f" {(results['commit'] or 'unknown')[:12]}; {sum(results['seconds'].values()):.0f} s on"
        f" {machine['cores']} cores of {machine['cpu']}."
    )
    methods = {
        "Micron-BERT, pretrained on unlabelled pairs": results,
        "the same from scratch": results["baselines"]["from_scratch"],
        f"majority (always {results['baselines']['majority']['prediction']})": results["baselines"]["majority"],
    }
    scores = _table(
        "on people never seen | UF1 | UAR | accuracy",
        [[name, *(f"{row[key]:.3f}" for key in ("uf1", "uar", "accuracy"))] for name, row in methods.items()],
    )
    names = results["label_names"]
    confusion = _table(
        "true \\ predicted | " + " | ".join(names),
        [[name, *map(str, counts)] for name, counts in zip(names, results["confusion_matrix"])],
    )
    parts = [lead, scores, confusion]
    if results["uf1"] <= results["baselines"]["from_scratch"]["uf1"]:
        parts.append("Pretraining did not help in this run: the model from scratch is at least as good.")
    return "\n\n".join(parts)


def tables(results: dict) -> str:
    """The benchmark's results as Markdown."""
    machine = results["machine"]
    parts = [
        f"Measured on {machine['processor']} ({machine['instruction_set']}), {machine['threads']} threads, float32,"
        f" torch {machine['torch']}, transformers {machine['transformers']}, commit {machine['commit']}, seed"
        f" {machine['seed']}; default model (patch 8, width 512, 4 + 4 layers).",
        _times(results["times"]),
        _memory(results["memory"]),
        _diagonal(results["diagonal"]),
        _profile(results["profile_of_a_pretraining_step"]),
    ]
    return "\n\n".join(parts)


def render_into(path: Path, name: str, text: str) -> None:
    """
    Replace what stands between `<!-- NAME -->` and `<!-- /NAME -->`.

    Raises:
        ValueError: the file has no such place, or more than one.
    """
    document = path.read_text()
    place = re.compile(rf"(?<=<!-- {name} -->\n).*?(?=<!-- /{name} -->)", re.DOTALL)
    if len(place.findall(document)) != 1:
        raise ValueError(f"{path} must hold exactly one <!-- {name} --> ... <!-- /{name} -->.")
    path.write_text(place.sub(lambda _: f"{text}\n", document))


def _table(header: str, rows: list[list[str]]) -> str:
    columns = header.split("|")
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(cell.strip() for cell in line) + " |" for line in lines)


def _times(rows: list[dict]) -> str:
    return _table(
        "what | pixels | pairs | ours | plain | faster (range) | of the GEMM peak | at the peak it would be",
        [
            [
                row["what"],
                str(row["image_size"]),
                str(row["batch_size"]),
                f"{row['ours_seconds']:.2f} s",
                f"{row['plain_seconds']:.2f} s",
                f"**{row['speed_ratio']:.2f}x** ({row['speed_ratio_range'][0]:.2f} ... "
                f"{row['speed_ratio_range'][1]:.2f})",
                f"{100 * row['share_of_gemm_peak']:.0f} % of {row['gemm_peak_gflops']:.0f} GFLOP/s",
                f"{row['plain_seconds'] / (row['ours_seconds'] * row['share_of_gemm_peak']):.2f}x",
            ]
            for row in rows
        ],
    )


def _memory(rows: list[dict]) -> str:
    return _table(
        "peak extra memory of a pretraining step, one pair | ours | plain | ratio",
        [
            [
                f"{row['image_size']} px",
                f"{row['ours_bytes'] / MIB:.0f} MiB",
                f"{row['plain_bytes'] / MIB:.0f} MiB",
                f"**{row['memory_ratio']:.2f}x**",
            ]
            for row in rows
        ],
    )


def _diagonal(rows: list[dict]) -> str:
    cells = []
    for row in rows:
        ours, plain = row["ours"], row["plain"]
        cells.append(
            [
                f"{row['num_patches']}",
                f"{ours['peak_extra_bytes'] / MIB:.0f} MiB",
                f"{plain['peak_extra_bytes'] / MIB:.0f} MiB",
                f"{ours['peak_extra_bytes'] / row['num_patches'] / 1024:.1f} KiB",
                f"{ours['seconds']:.3f} s",
                f"{plain['seconds']:.3f} s",
            ]
        )
    header = "patches | diagonal, forward and backward: ours | plain | ours a patch | time, ours | time, plain"
    return _table(header, cells)


def _profile(shares: dict[str, float]) -> str:
    return _table(
        "where a pretraining step (224 px, one pair) spends its time | share",
        [[kind, f"{100 * share:.0f} %"] for kind, share in shares.items()],
    )
