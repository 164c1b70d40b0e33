"""The command `micron-bert`."""

from pathlib import Path
from typing import Annotated

import typer


app = typer.Typer(
    name="micron-bert",
    help="Facial micro-expression recognition with Micron-BERT.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


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
) -> None:
    """Make synthetic faces, pretrain, fine-tune, score on people never seen and draw one prediction.

    Takes less than 10 minutes on 2 CPU cores. Example: micron-bert demo demo_output
    """
    from .demo import run_demo

    run_demo(output, seed=seed)


def main() -> None:
    """
    Run the command line: exit status 0, 1 with one line on standard error when the input is at fault, 2 on usage.
    """
    try:
        app()
    except (OSError, ValueError) as error:
        typer.echo(f"micron-bert: {error}", err=True)
        raise SystemExit(1) from error


if __name__ == "__main__":
    main()
