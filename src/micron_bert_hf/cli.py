"""The command `micron-bert`."""

import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from transformers.utils import logging  # which the package has imported


# What a shell calls a process that Ctrl-C ended: 128 and the number of SIGINT.
INTERRUPTED = 130

app = typer.Typer(
    name="micron-bert",
    help="""Facial micro-expression recognition with Micron-BERT.

    Exit status: 0; 1 after an error, which is one line; 2 on usage; 130 on Ctrl-C.

    Tab completes commands and options after `micron-bert --install-completion`.
    """,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@dataclass
class CommonOptions:
    """What stands before the command."""

    debug: bool = False


@app.callback()
def before_the_command(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Also show where in the code an error came from.")] = False,
) -> None:
    context.ensure_object(CommonOptions).debug = debug
    if not debug:
        logging.set_verbosity_error()  # not a table of many lines of what an error says in one
    if not sys.stderr.isatty():
        logging.disable_progress_bar()  # of weights, which load in a moment; our own bars are not among them


@app.command()
def convert(
    checkpoint: Annotated[Path, typer.Argument(help="A .pth checkpoint of the original Micron-BERT code.")],
    output: Annotated[Path, typer.Argument(help="The folder to write; must not exist or be empty.")],
) -> None:
    """Convert a checkpoint of the original code into a folder that from_pretrained loads.

    Example: micron-bert convert CASME2-is224-p8-b16-ep200.pth micron-bert-casme2
    """
    from .conversion import convert_checkpoint  # torch and transformers take seconds to import: not for --help

    print(f"Model written to {convert_checkpoint(checkpoint, output)}")


@app.command()
def demo(
    output: Annotated[Path, typer.Argument(help="The folder to write into.")] = Path("demo_output"),
    seed: Annotated[int, typer.Option(min=0, help="Seed of the faces, the split, the weights and every draw.")] = 0,
    model: Annotated[
        str | None, typer.Option(help="Instead show this classifier, a folder or USER/NAME, on a web page.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Of the web page. Default: the first free from 7860 on.")
    ] = None,
) -> None:
    """Make synthetic faces, pretrain, fine-tune, score on people never seen and draw one prediction.

    Takes less than 10 minutes on 2 CPU cores. Example: micron-bert demo demo_output

    With --model: a web page on this machine alone. Example: micron-bert demo --model demo_output/model
    """
    if model is not None:
        from .web import serve

        serve(model, host="127.0.0.1", port=port)
        return
    if port is not None:
        raise typer.BadParameter("--port is that of the web page: give --model too")
    from .demo import run_demo

    run_demo(output, seed=seed)


@app.command()
def synthesize(
    output: Annotated[Path, typer.Argument(help="The folder to write; must not exist, or be empty, or be this set.")],
    preset: Annotated[str | None, typer.Option(help="A set with a name, e.g. mer-synth-v1; sets all else.")] = None,
    subjects: Annotated[int | None, typer.Option(help="People. Default: 60.")] = None,
    clips_per_class: Annotated[int | None, typer.Option(help="For each person and class. Default: 2.")] = None,
    unlabelled: Annotated[int | None, typer.Option(help="Make this many long clips instead, for pretraining.")] = None,
    seconds: Annotated[float | None, typer.Option(help="Length of a long clip. Default: 4.")] = None,
    image_size: Annotated[int | None, typer.Option(help="Pixels, 32 to 1024. Default: 224.")] = None,
    difficulty: Annotated[float | None, typer.Option(help="0 (easy) to 1. Default: 0.7.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of everything that is drawn. Default: 0.")] = None,
    classes: Annotated[str | None, typer.Option(help="Names with commas between. Default: four classes.")] = None,
    frames: Annotated[str | None, typer.Option(help="pair (onset and apex) or clip. Default: pair.")] = None,
    fps: Annotated[int | None, typer.Option(help="Frames a second, 100 or 200. Default: 100.")] = None,
    color: Annotated[str | None, typer.Option(help="rgb or grey. Default: rgb.")] = None,
    jobs: Annotated[int, typer.Option(help="Processes that render; as many as there are cores. Changes no byte.")] = 1,
    contact_sheet: Annotated[Path | None, typer.Option(help="Also write a picture of some samples, a PNG.")] = None,
    baselines: Annotated[bool, typer.Option(help="Measure the baselines for the card.")] = True,
) -> None:
    """Make a synthetic micro-expression dataset that load_dataset reads, with exact motion and a card.

    A run that was interrupted goes on where it was. Example: micron-bert synthesize OUT --preset mer-synth-v1 --jobs 2
    """
    from .synthetic.dataset_writer import check_contact_sheet, write_contact_sheet, write_dataset
    from .synthetic.presets import resolve_parameters

    options = {
        "num_subjects": subjects,
        "clips_per_class": clips_per_class,
        "num_clips": unlabelled,
        "seconds": seconds,
        "image_size": image_size,
        "difficulty": difficulty,
        "seed": seed,
        "classes": None if classes is None else tuple(classes.split(",")),
        "frames": frames,
        "fps": fps,
        "color": color,
    }
    parameters = resolve_parameters(preset, {name: value for name, value in options.items() if value is not None})
    if contact_sheet is not None:
        check_contact_sheet(contact_sheet, output, parameters)
    print(f"Dataset written to {write_dataset(output, parameters, num_processes=jobs, baselines=baselines)}")
    if contact_sheet is not None:
        write_contact_sheet(output, contact_sheet)
        print(f"Contact sheet written to {contact_sheet}")


@app.command()
def prepare_clips(
    source: Annotated[Path, typer.Argument(help="A tree of folders of frames and of video files.")],
    output: Annotated[Path, typer.Argument(help="The folder to write; must not exist, or be empty, or be this set.")],
    fps: Annotated[float | None, typer.Option(help="Frames a second of folders of frames; videos say theirs.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Name in the column dataset. Default: that of SOURCE.")] = None,
    subject_level: Annotated[int, typer.Option(help="Which folder below SOURCE names the subject, from 1.")] = 1,
    image_size: Annotated[int, typer.Option(help="Reduce frames to this shorter side, in pixels.")] = 256,
    clip_frames: Annotated[int, typer.Option(help="Cut what is longer, 3 or more.")] = 64,
    encoding: Annotated[str, typer.Option(help="jpeg or png, of frames that cannot keep their bytes.")] = "jpeg",
    max_pixels: Annotated[int, typer.Option(help="Do not decode larger images and videos.")] = 64_000_000,
    num_shards: Annotated[int, typer.Option(help="Files of the set.")] = 16,
    shard_index: Annotated[int | None, typer.Option(help="Make this shard alone, from 0; for many machines.")] = None,
    jobs: Annotated[int, typer.Option(help="Shards made at once; as many as there are cores. Changes no byte.")] = 1,
) -> None:
    """Make a set of clips for pretraining from folders of frames and from videos.

    What is damaged is left out and listed with the reason. A run that was interrupted goes on where it was. Files that
    need no change keep their bytes, with EXIF (the place, the camera) and comments. OUTPUT needs room for the longest
    sequence, --jobs times, beside the set.
    Example: micron-bert prepare-clips recordings clips --fps 200 --jobs 8
    """
    from .data.clip_preparation import PreparationOptions
    from .data.clip_preparation import prepare_clips as prepare

    options = PreparationOptions(dataset, fps, image_size, clip_frames, encoding, subject_level, max_pixels)
    report = prepare(
        source, output, options=options, num_shards=num_shards, shard_index=shard_index, num_processes=jobs
    )
    print(report)
    if report.held_shards:
        numbers = ", ".join(map(str, report.held_shards))
        raise BlockingIOError(f"shards that were asked for are held by another process: {numbers}; run again")


@app.command()
def evaluate(
    checkpoint: Annotated[
        str,
        typer.Argument(help="A model (folder or USER/NAME), a recipe (.yaml), or a reference method; see below."),
    ],
    dataset: Annotated[str, typer.Argument(help="A labelled set: folder, USER/NAME, or a synthetic preset.")],
    protocol: Annotated[
        str,
        typer.Option(help="loso, group_kfold:N, holdout_subjects:N, megc2019, cross_dataset:NAME, or as_is."),
    ] = "loso",
    seeds: Annotated[int, typer.Option(min=1, help="How many: 0, 1, ...; each trains every fold once.")] = 5,
    output: Annotated[Path | None, typer.Option(help="Folder of the results. Default: made up from the rest.")] = None,
    recipe: Annotated[Path | None, typer.Option(help="How a model is fine-tuned, a .yaml. Default: defaults.")] = None,
    label_map: Annotated[str | None, typer.Option(help="Such as casme2-5. Default: classes as labelled.")] = None,
    split: Annotated[str, typer.Option(help="Of the set.")] = "train",
    crop: Annotated[
        str | None, typer.Option(help="landmarks or none. Default: landmarks where there are some.")
    ] = None,
    ignore_head: Annotated[bool, typer.Option(help="Learn a new head where the model has one.")] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Folds at once; as many as there are cores.")] = 1,
) -> None:
    """Score a method on people it has not learnt from: every sample is predicted once a seed, all folds are pooled.

    A model is fine-tuned anew in every fold. With --protocol as_is a classifier answers as it stands, untrained here.
    Reference methods: majority, onset_appearance, frame_difference, dis_flow, dis_flow_mirrored, true_flow, ststnet.
    OUTPUT gets predictions.parquet, results.json and figures. A run that was interrupted goes on where it was.
    Example: micron-bert evaluate demo_output/model mer-synth --protocol group_kfold:5 --seeds 3 --jobs 2
    """
    from .evaluation import FoldsFailed
    from .experiments import EvaluationRequest, run_evaluation

    request = EvaluationRequest(
        checkpoint, dataset, protocol, tuple(range(seeds)), output, recipe, label_map, split, crop, ignore_head
    )
    try:
        print(run_evaluation(request, num_processes=jobs))
    except FoldsFailed as error:
        typer.echo(f"micron-bert: {error}", err=True)
        raise typer.Exit(1) from error


@app.command()
def score(
    predictions: Annotated[Path, typer.Argument(help="A predictions.parquet, or the folder it is in.")],
    compare: Annotated[Path | None, typer.Option(help="Another one: is the difference more than chance?")] = None,
    figures: Annotated[Path | None, typer.Option(help="Also draw into this folder, which must not exist.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Compute every number anew from the predictions alone; the order of their rows does not matter.

    Example: micron-bert score results/predictions.parquet --compare other/predictions.parquet
    """
    from .experiments import score_predictions

    print(score_predictions(predictions, compare, figures, as_json=json))


FORMAT = Annotated[str, typer.Option("--format", help="table, json or csv.")]
FPS = Annotated[float | None, typer.Option(help="Frames a second of a folder of frames; videos say theirs.")]


@app.command()
def predict(
    sources: Annotated[
        list[Path],
        typer.Argument(help="ONSET APEX, two pictures; or a video, or a folder of frames.", show_default=False),
    ],
    model: Annotated[str, typer.Option(help="A classifier: a folder or USER/NAME.")],
    fps: FPS = None,
    output_format: FORMAT = "table",
    save_figure: Annotated[
        Path | None, typer.Option(help="A .png: maps of a pair; timeline and maps of a video.")
    ] = None,
    save_video: Annotated[
        Path | None, typer.Option(help="An .mp4 of a video: the face, what has changed in it, the timeline.")
    ] = None,
    by: Annotated[str, typer.Option(help="Find movement in a video by flow, or by the model's attention.")] = "flow",
) -> None:
    """Name the micro-expression of two frames, or find and name those of a video. The face is aligned first.

    Example: micron-bert predict onset.png apex.png --model demo_output/model --save-figure answer.png
    """
    from .spotting.commands import predict as run

    print(run(sources, model, fps, output_format, save_figure, save_video, by, progress=sys.stderr.isatty()))


@app.command()
def spot(
    source: Annotated[Path, typer.Argument(help="A video, or a folder of frames.")],
    fps: FPS = None,
    output_format: FORMAT = "table",
    save_figure: Annotated[Path | None, typer.Option(help="A .png of movement over time.")] = None,
) -> None:
    """Find where in a video micro-expressions are, without naming them; needs no model.

    Example: micron-bert spot interview.mp4 --save-figure timeline.png
    """
    from .spotting.commands import spot as run

    print(run(source, fps, output_format, save_figure, progress=sys.stderr.isatty()))


@app.command()
def convert_dataset(
    database: Annotated[
        str,
        typer.Argument(help="casme, casme2, casme_squared, casme3, fourdme, megc2019, mmew, samm, samm_long or smic."),
    ],
    paths: Annotated[
        list[Path],
        typer.Argument(help="RAW_FOLDER OUT; of megc2019 the three converted sets and OUT.", show_default=False),
    ],
    part: Annotated[str | None, typer.Option(help="Of smic: hs, vis, nir, hs-e ...; of casme3: a, b, c.")] = None,
    sheet: Annotated[Path | None, typer.Option(help="The label sheet, if it is not in RAW_FOLDER.")] = None,
    frames: Annotated[str, typer.Option(help="pair (onset and apex) or clip (onset to offset).")] = "pair",
    image_size: Annotated[int, typer.Option(help="Side of an aligned face, else shorter side, pixels.")] = 256,
    align: Annotated[bool, typer.Option("--align", help="Find the face; one transform for the whole clip.")] = False,
    stabilize: Annotated[bool, typer.Option("--stabilize", help="Also take head drift out of aligned clips.")] = False,
    official_crops: Annotated[
        bool, typer.Option("--official-crops", help="The lab's own cropped frames, where it has some.")
    ] = False,
    detector: Annotated[str, typer.Option(help="Of faces: mtcnn, or yunet from the Hub.")] = "mtcnn",
    encoding: Annotated[
        str | None, typer.Option(help="png or jpeg. Default: png for labelled sets, jpeg for long ones.")
    ] = None,
    errata: Annotated[bool, typer.Option(help="Apply the table of known errata.")] = True,
    strict: Annotated[bool, typer.Option("--strict", help="Refuse what would be repaired or left out.")] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Processes; as many as there are cores. Changes no byte.")] = 1,
    push_to_hub: Annotated[
        str | None, typer.Option(help="USER/NAME: also upload the set, to a private repository.")
    ] = None,
    i_may_redistribute: Annotated[
        bool, typer.Option("--i-may-redistribute", help="The database's agreement allows me to upload it.")
    ] = False,
) -> None:
    """Convert an official release to one schema that load_dataset reads, with every frame and label accounted for.

    Repairs and what is left out are listed in OUT/repairs.csv, faces in OUT/contact_sheets. Nothing leaves the machine
    unless --push-to-hub says so. A run that was interrupted goes on where it was.
    Example: micron-bert convert-dataset casme2 CASME2 casme2 --align --jobs 2
    """
    from .databases import ConversionOptions, convert

    options = ConversionOptions(
        frames, image_size, align, stabilize, official_crops, detector, encoding, errata, strict
    )
    if push_to_hub is not None:
        from .publishing.dataset import check_permission, make_private_repository, publish_dataset

        check_permission(database, i_may_redistribute)  # this and the next before hours of work
        make_private_repository(push_to_hub)
    *sources, output = paths
    print(convert(database, sources, output, options=options, part=part, sheet=sheet, num_processes=jobs))
    if push_to_hub is not None:
        print(publish_dataset(output, push_to_hub, i_may_redistribute=i_may_redistribute))


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(help="A classifier's folder.")],
    output: Annotated[Path, typer.Argument(help="The folder to write; must not exist or be empty.")],
    onnx: Annotated[bool, typer.Option("--onnx", help="As ONNX, the one format there is.")] = False,
    int8: Annotated[bool, typer.Option("--int8", help="Also a graph in 8 bits; what it changes is printed.")] = False,
) -> None:
    """Write a classifier as ONNX with any batch size, checked against torch; examples/onnx_inference.py runs it.

    Example: micron-bert export demo_output/model demo_output/onnx --onnx
    """
    from .export import describe_export, export_onnx

    if not onnx:
        raise typer.BadParameter("give --onnx, the one format there is")
    print(f"{describe_export(export_onnx(folder, output, int8=int8))}\nWritten to {output}")


@app.command()
def publish(
    folder: Annotated[Path, typer.Argument(help="A model's folder; it is not changed.")],
    repo_id: Annotated[str, typer.Argument(metavar="USER/NAME", help="The repository; made if it does not exist.")],
    private: Annotated[bool, typer.Option("--private", help="Only you can see it.")] = False,
    revision: Annotated[str | None, typer.Option(help="A branch. Default: main.")] = None,
    tag: Annotated[str | None, typer.Option(help="A tag for the commit, once it was loaded back.")] = None,
    results: Annotated[
        list[Path] | None, typer.Option(help="results.json of an evaluation, or its folder; may be given again.")
    ] = None,
    license: Annotated[str | None, typer.Option(help="Such as apache-2.0. Default: the card says unknown.")] = None,
    space: Annotated[bool, typer.Option("--space", help="Also a Space of that name: a web page over it.")] = False,
) -> None:
    """Send a model to the Hub, with card and code: tried without this package before, loaded back and compared after.

    One commit: a push that fails leaves the repository as it was. The card's numbers come from the results alone.
    Example: micron-bert publish demo_output/model USER/NAME --private --license apache-2.0
    """
    if space:
        from .publishing.space import publish_space as send
    else:
        from .publishing import publish_model as send

    print(send(folder, repo_id, private=private, revision=revision, tag=tag, results=results, license=license))


def run_converter(database: str) -> None:
    """`micron-bert convert-dataset DATABASE` as a script of its own."""
    with one_line_errors() as options:
        app(["convert-dataset", database, *sys.argv[1:]], prog_name="micron-bert", obj=options)


def main() -> None:
    """Run the command line; see [`one_line_errors`]."""
    with one_line_errors() as options:
        app(obj=options)


@contextmanager
def one_line_errors() -> Iterator[CommonOptions]:
    """
    Exit status 0; 1 with one line on standard error, or the traceback if the options that are given to the command
    line come to say so; 2 on usage; 130 with one line on Ctrl-C.
    """
    options = CommonOptions()
    warnings.filterwarnings("ignore", message="Image size")  # PIL's, of a picture that an error refuses
    try:
        yield options
    except SystemExit as end:
        if end.code == INTERRUPTED:
            typer.echo("micron-bert: interrupted", err=True)
        raise
    except Exception as error:
        if options.debug:
            traceback.print_exc()
        else:
            typer.echo(f"micron-bert: {describe_error(error)}", err=True)
        raise SystemExit(1) from error


def describe_error(error: Exception) -> str:
    """One line: what is wrong with the input, or that this package is."""
    from huggingface_hub.errors import StrictDataclassError  # takes a moment to import: not for what goes well

    text = " ".join(filter(None, map(str.strip, str(error).splitlines()))) or type(error).__name__
    if isinstance(error, (OSError, ValueError, StrictDataclassError)):
        return text
    if isinstance(error, ModuleNotFoundError):
        return f"{text}; in a checkout, pip install '.[all]' brings what every command needs"
    if isinstance(error, MemoryError):
        return f"not enough memory: {text}"
    return (
        f"this is a fault of micron-bert: {type(error).__name__}: {text}. Please report what `micron-bert --debug`,"
        " followed by the rest of the command, shows."
    )


if __name__ == "__main__":
    main()
