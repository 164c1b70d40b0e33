"""Tables from the results' JSON, and their places in README and docs. A number stands there only through here."""

import json
import re
from pathlib import Path

import typer

from micron_bert_hf.cli import app
from micron_bert_hf.databases import DATABASES, megc2019


MIB = 2**20
RESULTS = Path(__file__).parent / "results"
EVALUATIONS = RESULTS / "evaluations"
README = Path(__file__).parent.parent / "README.md"
# An example in the help of a command: it ends its paragraph.
EXAMPLE = re.compile(r"\s*Example: (.+?)(?=\n\n|\Z)", re.DOTALL)
# The documents that say a section, from the root of the repository.
PLACES = {
    "demo": ("README.md",),
    "example": ("README.md",),
    "evaluation": ("README.md", "docs/evaluation.md"),
    "commands": ("README.md", "docs/commands.md"),
    "command-line": ("docs/commands.md",),
    "ablation": ("docs/evaluation.md",),
    "presets": ("docs/synthetic.md",),
    "databases": ("docs/databases.md",),
    "faces": ("docs/databases.md",),
    "conversion": ("docs/databases.md",),
    "pretraining": ("docs/pretraining.md",),
    "probe": ("docs/pretraining.md",),
    "spotting": ("docs/spotting.md",),
    "bench": ("docs/speed.md",),
    "export": ("docs/publishing.md",),
    "inference": ("docs/speed.md",),
    "scale": ("docs/scale.md",),
    "formats": ("docs/scale.md",),
    "engines": ("docs/scale.md",),
}
# The frames of CAS(ME)^3, the largest set of the field, as the paper's abstract counts them.
FRAMES_AT_SCALE = 8_000_000
# GPUs of docs/scale.md: float16/bfloat16 dense peak of the vendor's data sheets in FLOP/s, and the share of it that a
# model of this width is assumed to reach. The share is an assumption, not a measurement.
GPUS = {"A100": 312e12, "H100": 989e12}
ASSUMED_SHARE_OF_PEAK = 0.25
# Epochs of the recipe, and what an epoch shows of a clip.
SCALE_EPOCHS, SCALE_PAIRS_PER_CLIP, SCALE_CLIP_FRAMES = 100, 4, 64


def sections() -> dict[str, str]:
    """What stands between the markers of each name, from the stored results and from the package itself."""
    texts = {}
    if (RESULTS / "demo.json").exists():
        demo = json.loads((RESULTS / "demo.json").read_text())
        texts |= {"demo": demo_summary(demo), "example": f"```text\n{demo['readme_example']}\n```"}
    if (RESULTS / "cpu.json").exists():
        texts["bench"] = tables(json.loads((RESULTS / "cpu.json").read_text()))
    if (RESULTS / "presets.json").exists():
        texts["presets"] = presets(json.loads((RESULTS / "presets.json").read_text()))
    if (RESULTS / "pretraining.json").exists():
        texts["pretraining"] = pretraining(json.loads((RESULTS / "pretraining.json").read_text()))
    if (RESULTS / "linear_probe.json").exists():
        texts["probe"] = linear_probe(json.loads((RESULTS / "linear_probe.json").read_text()))
    if EVALUATIONS.exists():
        texts["evaluation"] = evaluations([json.loads(path.read_text()) for path in sorted(EVALUATIONS.iterdir())])
    if (RESULTS / "ablation.json").exists():
        texts["ablation"] = ablation(json.loads((RESULTS / "ablation.json").read_text()))
    if (RESULTS / "faces.json").exists():
        texts["faces"] = faces(json.loads((RESULTS / "faces.json").read_text()))
    if (RESULTS / "conversion.json").exists():
        texts["conversion"] = conversion(json.loads((RESULTS / "conversion.json").read_text()))
    spotted = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("spotting-*.json"))]
    if spotted:
        texts["spotting"] = spotting(spotted)
    if (RESULTS / "export.json").exists():
        texts["export"] = export(json.loads((RESULTS / "export.json").read_text()))
    if (RESULTS / "inference.json").exists():
        texts["inference"] = inference(json.loads((RESULTS / "inference.json").read_text()))
    measured, formats = (RESULTS / f"{name}.json" for name in ("pretraining", "clip_formats"))
    if measured.exists() and formats.exists():
        results, formats = json.loads(measured.read_text()), json.loads(formats.read_text())
        texts |= {"scale": scale(results), "formats": clip_formats(formats), "engines": engines(formats)}
    return texts | {"databases": databases(), "commands": commands(), "command-line": command_line()}


def commands() -> str:
    """One command a row, with the first sentence of its help."""
    rows = []
    for name, command in typer.main.get_command(app).commands.items():
        summary = " ".join(command.help.split("\n\n")[0].split())
        rows.append([f"`micron-bert {name}`", summary])
    return _table("command | what it does", rows)


def command_line() -> str:
    """Every command with its arguments and options, examples first, and what may stand before the command."""
    group = typer.main.get_command(app)
    before = [[f"`{option.opts[0]}`", option.help, _default(option)] for option in group.params if option.expose_value]
    parts = ["## Before the command", _table("option | meaning | default", before)]
    for name, command in group.commands.items():
        examples = [" ".join(example.split()) for example in EXAMPLE.findall(command.help)]
        usage, rows = f"micron-bert {name}", []
        for parameter in command.params:
            if parameter.param_type_name == "argument":
                place = parameter.metavar or parameter.name.upper()
                usage += f" {place}" if parameter.required else f" [{place}]"
                usage += " ..." if parameter.nargs == -1 else ""
                rows.append([f"`{place}`", parameter.help, _default(parameter)])
            else:
                names = [*parameter.opts, *parameter.secondary_opts]
                rows.append([", ".join(f"`{name}`" for name in names), parameter.help, _default(parameter)])
        parts += [
            f"## {name}",
            EXAMPLE.sub("", command.help).strip(),
            "```console\n" + "".join(f"$ {example}\n" for example in examples) + "```",
            f"Usage: `{usage} [OPTIONS]`",
            _table("argument or option | meaning | default", rows),
        ]
    return "\n\n".join(parts)


def _default(parameter: typer.core.TyperArgument | typer.core.TyperOption) -> str:
    """As one would write it; empty where nothing is taken, or what the help says."""
    if parameter.required:
        return "required"
    if parameter.default is None or parameter.default is False:
        return ""
    return f"`{parameter.opts[0] if parameter.default is True else parameter.default}`"


def spotting(results: list[dict]) -> str:
    """How well intervals are found, by flow and by attention; people that nothing was chosen on first."""
    titles = {"flow": "optical flow", "attention": "the model's diagonal attention"}
    rows, notes = [], []
    for result in sorted(results, key=lambda result: "validation" in result["data"]):
        chosen_on = "validation" in result["data"]
        name = "validation people" if chosen_on else f"`{result['data']['set']}`"
        for by, title in titles.items():
            scores = result["measures"][by]
            rows.append(
                [
                    name,
                    title,
                    *(f"{scores[key]:.2f}" for key in ("f1", "precision", "recall")),
                    f"{scores['apex_mae_ms']:.0f} ms",
                    f"{1000 * scores['seconds_a_clip'] * scores['num_videos'] / result['num_frames']:.0f} ms",
                ]
            )
        notes.append(
            f"{name[0].upper() + name[1:]}: {scores['num_videos']} clips with {result['num_expressions']}"
            f" micro-expressions{', which the options were chosen on' if chosen_on else ''}; commit {_commit(result)}."
        )
    machine = results[0]["machine"]
    return (
        _table("people | by | F1 (IoU 0.5) | precision | recall | apex is off by | a frame", rows)
        + f"\n\n{' '.join(notes)} The attention is that of the demo's model; {machine['torch_threads']} thread on"
        f" {machine['cpu']}."
    )


def databases() -> str:
    """How certain each converter is, as it says itself."""
    rows = [
        [f"`{database.name}`", database.title, ", ".join(database.parts), database.certain, database.to_confirm]
        for database in DATABASES.values()
    ]
    rows.append([f"`{megc2019.NAME}`", megc2019.TITLE, "all", megc2019.CERTAIN, megc2019.TO_CONFIRM])
    return _table("name | database | parts | certain | to confirm by a first user", rows)


def faces(results: dict) -> str:
    """How well faces are found and aligned, and what one transform a clip is worth."""
    alignment, size = results["alignment"], results["image_size"]
    errors = (
        ("error of the eyes, in distances between the eyes", "eye_error_percent"),
        ("error of the five points after alignment, likewise", "aligned_error_percent"),
    )
    rotation = alignment["rotation_error_degrees"]
    rows = [["faces found", f"{alignment['recall']:.0%}, {alignment['num_false_faces']} false"]]
    for what, key in errors:
        rows.append([what, f"{alignment[key]['median']:.1f} % (95 of 100 below {alignment[key]['p95']:.1f} %)"])
    rows.append(["error of rotation", f"{rotation['median']:.2f} (95 of 100 below {rotation['p95']:.1f}) degrees"])
    rows.append(
        ["time, one core", f"{alignment['detection_ms']:.0f} ms a face, {alignment['warp_ms']:.1f} ms a frame"]
    )
    for row in results["jitter"]:
        steps = row["step_pixels"]
        what = f"the nose's root moves from frame to frame: {row['way']}"
        rows.append([what, f"{steps['median']:.2f} (95 of 100 below {steps['p95']:.2f}) px of {size}"])
    height, width = results["frame_size"]
    nearest, farthest = results["eye_distance_pixels"]
    return (
        _table("faces | measured", rows)
        + f"\n\n{alignment['num_frames']} synthetic people (difficulty {results['difficulty']}) in frames of {width} x"
        f" {height}, rolled by up to {results['max_roll_degrees']:.0f} degrees, eyes {nearest:.0f} to {farthest:.0f}"
        f" pixels apart; real faces vary in more ways. {results['detector'].upper()}, seed {results['seed']},"
        f" {results['machine']['cpu']}, commit {_commit(results)}."
    )


def _commit(results: dict) -> str:
    """Short, and whether the tree was changed since."""
    commit = results["commit"] or "unknown"
    return commit[:12] + ("-dirty" if commit.endswith("-dirty") else "")


def inference(results: dict) -> str:
    """What a user of a model waits for, beside what was aimed at."""
    budgets, models, height_width = results["budgets"], results["models"], results["frame_size"]
    imports, memory = results["imports"]["over_modeling_utils"], results["memory"]
    minutes = max(memory["frames"]) / memory["fps"] / 60

    def ratio(found: dict) -> str:
        return f"{found['median']:.2f}x ({found['range'][0]:.2f} ... {found['range'][1]:.2f})"

    rows = [
        ["import, over transformers' own modeling utilities", ratio(imports), f"{budgets['import_ratio']['budget']}x"],
        [
            "a pair with its face found and aligned, over the model alone",
            ratio(models["default"]["pair"]["over_model"]),
            f"{budgets['pair_ratio']['budget']}x",
        ],
        [
            f"a clip of {models['default']['clip']['frames']} frames, spotted and classified",
            f"{models['default']['clip']['clip']['seconds']:.2f} s",
            f"{budgets['clip_seconds']['budget']:.0f} s",
        ],
        [
            f"memory of a video of {minutes:.0f} minutes beyond that of one of"
            f" {min(memory['frames']) / memory['fps']:.0f} seconds",
            f"{memory['extra_bytes'] / 1e6:.0f} MB",
            f"{budgets['extra_bytes']['budget'] / 1e6:.0f} MB",
        ],
    ]
    return (
        _table("what | measured | at most", rows)
        + f"\n\nFrames of {height_width[1]} x {height_width[0]}; the model of the default size, random weights; with"
        f" the demo's model the clip takes {models['given']['clip']['clip']['seconds']:.2f} s."
        f" {results['machine']['cores']} cores of {results['machine']['cpu']}, commit {_commit(results)}."
    )


def export(results: dict) -> str:
    """What ONNX and its 8-bit twin cost and win, beside torch."""
    titles = {"torch": "torch, float32", "onnx": "ONNX, float32", "int8": "ONNX, encoder in 8 bits"}
    files = {"onnx": "model.onnx", "int8": "model_int8.onnx"}
    header = "what | UF1 (95 % over people) | accuracy | labels as torch's"
    header += "".join(f" | a pair, {row['batch_size']} at a time | faster" for row in results["times"])
    rows = []
    for name, title in titles.items():
        scores = results["scores"][name]
        low, high = scores["uf1_interval"]
        is_graph = name in files
        same = f"{100 * scores['against_torch']['label_agreement']:.1f} %" if is_graph else "-"
        cells = [title, f"{scores['uf1']:.3f} ({low:.2f} ... {high:.2f})", f"{scores['accuracy']:.3f}", same]
        for row in results["times"]:
            faster = "-"
            if is_graph:
                least, most = row["faster_than_torch_range"][name]
                faster = f"{row['faster_than_torch'][name]:.2f}x ({least:.2f} ... {most:.2f})"
            cells += [f"{1000 * row['seconds_a_pair'][name]:.1f} ms", faster]
        rows.append([*cells, f"{results['graphs'][files[name]]['bytes'] / 1e6:.2f} MB" if is_graph else "-"])
    shared, change = results["scores"]["torch"], results["scores"]["int8"]["against_torch"]
    return (
        _table(f"{header} | file", rows)
        + f"\n\n{shared['num_samples']} pairs of {shared['num_subjects']} people of `{shared['dataset']}`,"
        f" `{shared['protocol']}`, asked of the demo's model, which has {'' if shared['transductive'] else 'not '}seen"
        f" them before; 8 bits change UF1 by {change['uf1_difference']:+.3f} (p = {change['p_value']:.2f}) and a"
        f" probability by {change['largest_score_change']:.2f} at most. Times are medians of {results['runs']}"
        f" interleaved runs over {results['timed_pairs']} pairs on one thread; onnxruntime"
        f" {results['onnx_versions']['onnxruntime']}, torch {results['versions']['torch']},"
        f" {results['machine']['cpu']}, commit {_commit(results)}."
    )


def conversion(results: dict) -> str:
    """Frames a second, memory."""
    rows = []
    for run in results["runs"]:
        options = [
            f"--{name}" if value is True else f"--{name} {value}"
            for name, value in {**run["options"], "jobs": run["num_processes"]}.items()
        ]
        peak, growth = run["peak_bytes"] / MIB, run["second_half_growth_bytes"] / MIB
        rows.append(
            [
                f"`{' '.join(options)}`",
                str(run["num_frames"]),
                f"{run['frames_a_second']:.0f}",
                f"{peak:.0f} MiB",
                f"{growth:+.0f} MiB",
            ]
        )
    width, height = results["frame_size"]
    return (
        _table("conversion | frames stored | frames a second | most memory | growth over its second half", rows)
        + f"\n\n{results['num_clips']} clips of {results['clip_frames']} frames of {width} x {height}, JPEG of"
        f" {results['bytes_a_frame'] / 1000:.0f} kB; PIL alone decodes {results['decoding_frames_a_second']:.0f} a"
        f" second on one core. {results['machine']['cores']} cores of {results['machine']['cpu']}, commit"
        f" {_commit(results)}."
    )


def evaluations(results: list[dict]) -> str:
    """Methods on one set under one protocol, best first."""
    rows = []
    for result in sorted(results, key=lambda result: -result["uf1"]):
        low, high = result["uf1_interval"]
        comparison = result.get("comparison")
        difference = "-"
        if comparison is not None:
            p = comparison["p_value"]
            difference = f"{comparison['uf1_difference']:+.3f} (p {'< 0.001' if p < 0.001 else f'= {p:.3f}'})"
        sd = "-" if result["uf1_sd"] is None else f"{result['uf1_sd']:.3f}"
        rows.append(
            [
                result["method"],
                f"{result['uf1']:.3f} ({low:.2f} ... {high:.2f})",
                sd,
                f"{result['uar']:.3f}",
                f"{result['accuracy']:.3f}",
                difference,
                f"{result['seconds'] / 60:.0f} min" if result["seconds"] >= 90 else f"{result['seconds']:.0f} s",
            ]
        )
    shared = results[0]
    with_reference = next(result["comparison"]["with"] for result in results if "comparison" in result)
    commits = sorted({(result["commit"] or "unknown")[:12] for result in results})
    num_seeds = max(len(result["seeds"]) for result in results)
    return (
        _table(
            f"method | UF1 (95 % over people) | sd over seeds | UAR | accuracy | against {with_reference} | time", rows
        )
        + f"\n\n{shared['num_samples']} pairs of {shared['num_subjects']} people of `{shared['dataset']}`,"
        f" `{shared['protocol']}`, pooled; seeds 0 to {num_seeds - 1} where there is chance; nobody tested on was seen"
        f" before; p by randomization over people, two-sided; {shared['machine']['cores']} cores of"
        f" {shared['machine']['cpu']}, commit {', '.join(commits)}."
    )


def ablation(results: dict) -> str:
    """One variant a row, in the order of the recipe."""
    rows = [
        [
            variant["name"] + ("" if variant["pretrained"] else " (not pretrained)"),
            f"{variant['uf1']:.3f} ({variant['uf1_interval'][0]:.2f} ... {variant['uf1_interval'][1]:.2f})",
            f"{variant['uar']:.3f}",
        ]
        for variant in results["variants"]
    ]
    return (
        _table("variant | UF1 (95 % over people) | UAR", rows)
        + f"\n\n{results['num_samples']} pairs of {results['num_subjects']} people of `{results['dataset']}`,"
        f" `{results['protocol']}`, pooled; seed {', '.join(map(str, results['seeds']))};"
        f" {results['machine']['cores']} cores of {results['machine']['cpu']}, commit"
        f" {_commit(results)}."
    )


def render_readme() -> None:
    """Put every section of the README and of the docs in its places."""
    for name, text in sections().items():
        for place in PLACES[name]:
            render_into(README.parent / place, name, text)


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


def presets(results: dict) -> str:
    """Baselines of the synthetic sets that have a name."""
    names = ("majority", "onset_appearance", "frame_difference", "dis_flow", "true_flow")
    header = "set | people | micro-expressions | majority | onset frame | frame difference | DIS flow | true flow"
    rows = []
    for dataset, row in results["sets"].items():
        cells = []
        for name in names:
            found = row["baselines"].get(name)
            if found is None:
                cells.append("-")
            else:
                low, high = found["uf1_interval"]
                cells.append(f"{found['uf1']:.3f} ({low:.2f} ... {high:.2f})")
        rows.append([f"`{dataset}`", str(row["num_subjects"]), str(row["num_samples"]), *cells])
    return f"{_table(header, rows)}\n\nUF1 of four classes, 95 % interval over people; commit {results['commit']}."


def linear_probe(results: dict) -> str:
    """The tiny recipe's encoder beside random weights, on people it has not seen."""
    rows = [["pretrained by the recipe", f"{results['pretrained']['uf1']:.3f}", f"{results['pretrained']['uar']:.3f}"]]
    rows += [
        [f"random weights, seed {row['seed']}", f"{row['uf1']:.3f}", f"{row['uar']:.3f}"] for row in results["random"]
    ]
    table = _table("linear probe of the diagonal attention | UF1 | UAR", rows)
    return (
        f"{table}\n\n{results['num_pairs']} pairs of {results['subjects']} people of `{results['dataset']}`, none of"
        f" whom was pretrained on; chance is a UAR of 0.250; commit {results['commit']}, {results['seconds']:.0f} s of"
        f" pretraining on {results['cores']} cores of {results['cpu']}."
    )


def pretraining(results: dict) -> str:
    """What pretraining costs around its matrix products."""
    data, memory, wait, ranks, start = (results[name] for name in ("data_path", "memory", "wait", "ranks", "start"))
    rows = []
    for size, row in data["sizes"].items():
        low, high = row["of_bare_pil_range"]
        what = "decoding" if size == "224" else f"decoding and resizing to {size}"
        rows.append(
            [
                f"pairs a second and core, {what}",
                f"{row['pairs_a_second']:.0f}, which is {row['of_bare_pil']:.2f} ({low:.2f} ... {high:.2f}) of PIL"
                " alone on the same bytes",
            ]
        )
    rows += [
        ["waiting for data, tiny recipe, 2 workers on 2 cores", f"{100 * wait['data_wait_share']:.1f} % of a step"],
        [
            f"memory over {memory['steps']:,} steps of reading",
            f"{memory['start_bytes'] / MIB:.0f} MiB at the start, {memory['end_bytes'] / MIB:.0f} MiB at the end,"
            f" slope {memory['slope_bytes_a_step']:.0f} bytes a step in the second half",
        ],
        [
            "two processes (gloo) against one with twice the accumulation, 10 steps",
            f"losses differ by {ranks['largest_loss_difference']:.1e} at most",
        ],
        [
            f"from the command to the first step and a saved model, {start['num_clips']:,} clips",
            f"{start['seconds_to_the_first_step_and_the_saved_model']:.1f} s",
        ],
    ]
    machine = results["machine"]
    return (
        f"{_table('what | measured', rows)}\n\nMeasured on {machine['processor']} ({machine['instruction_set']}), 2"
        f" cores, load {results['load_average']:.1f} at the start, commit {machine['commit']}."
    )


def scale(results: dict) -> str:
    """What 8 million frames cost: arithmetic on what was measured."""
    model, data = results["model"], results["data_path"]
    pairs_per_second = data["sizes"]["224"]["pairs_a_second"]
    pairs_per_epoch = FRAMES_AT_SCALE / SCALE_CLIP_FRAMES * SCALE_PAIRS_PER_CLIP
    pairs = SCALE_EPOCHS * pairs_per_epoch
    flops = model["pretraining_flops_a_pair"]
    rows = [
        ["a JPEG frame (224 pixels, quality 95), measured", f"{data['bytes_a_frame'] / 1024:.1f} KiB"],
        ["8 million frames on disk", f"{FRAMES_AT_SCALE * data['bytes_a_frame'] / 1e9:.0f} GB"],
        ["reading and decoding, measured on one core", f"{pairs_per_second:.0f} pairs a second"],
        ["a pair, forward and backward, by arithmetic", f"{flops / 1e9:.0f} GFLOP"],
        ["parameters", f"{model['parameters'] / 1e6:.1f} million, {model['parameter_bytes'] / MIB:.0f} MiB"],
        ["weights, gradients and Adam's moments", f"{model['training_state_bytes'] / MIB:.0f} MiB"],
        ["an epoch", f"{pairs_per_epoch / 1e6:.2f} million pairs"],
        [f"{SCALE_EPOCHS} epochs", f"{pairs / 1e6:.0f} million pairs, {pairs * flops / 1e18:.1f} EFLOP"],
    ]
    columns = "GPU | pairs a second | CPU cores a GPU | hours on 1 | on 8 | on 32"
    gpus = []
    for name, peak in GPUS.items():
        speed = peak * ASSUMED_SHARE_OF_PEAK / flops
        hours = [f"{pairs / speed / 3600 / count:.1f}" for count in (1, 8, 32)]
        gpus.append([name, f"{speed:.0f}", f"{speed / pairs_per_second:.1f}", *hours])
    return f"{_table('quantity | value', rows)}\n\n{_table(columns, gpus)}"


def clip_formats(results: dict) -> str:
    """The on-disk formats that were compared."""
    names = {
        "parquet": "Parquet, a row group a clip, checksums (kept)",
        "parquet_unchecked": "the same without checksums",
        "tar_stream": "tar, read in order as WebDataset does",
        "tar_indexed": "tar with an index of our own",
    }
    rows = [
        [
            text,
            f"{row['bytes_a_frame']:,.0f}",
            f"{row['bytes_read_a_pair'] / 1024:.0f} KiB",
            f"{row['pairs_a_second_reading_of_parquet']:.2f}x",
            f"{row['pairs_a_second_decoding_of_parquet']:.2f}x",
            f"{row['random_clip_milliseconds']:.1f} ms",
        ]
        for name, text in names.items()
        for row in (results["formats"][name],)
    ]
    header = "format | bytes a frame | read a pair | reading | reading and decoding | time to one clip"
    opening = [
        [f"{row['num_shards']:,}", f"{row['clip_index_seconds']:.3f} s", f"{row['datasets_streaming_seconds']:.1f} s"]
        for row in results["opening"]
    ]
    machine = results["machine"]
    return (
        f"{_table(header, rows)}\n\n"
        + _table("shards | index and first clip | `load_dataset(streaming=True)` and first row", opening)
        + f"\n\nRatios to Parquet, interleaved runs, page cache; {machine['processor']}, load"
        f" {machine['load_average']:.1f}, commit {machine['commit']}."
    )


def engines(results: dict) -> str:
    """What starting the tasks of a preparation costs."""
    row = results["engines"]
    processes, ray = row["processes"], row["ray"]
    rows = [
        [
            "processes, as a Slurm array starts them",
            f"{processes['total_seconds']:.0f} s",
            f"{processes['processor_seconds_a_task']:.1f} s, almost all of it importing this package",
            f"{processes['installed_megabytes']:.0f} MB",
        ],
        [
            f"Ray {ray['version']}",
            f"{ray['total_seconds']:.0f} s",
            f"{1000 * ray['seconds_a_further_task']:.1f} ms once its workers stand",
            f"{ray['installed_megabytes']:.0f} MB",
        ],
    ]
    return _table(f"{row['num_tasks']} empty tasks | in all | a task | to install", rows)


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
