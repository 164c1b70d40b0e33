"""The databases of the field: from the official releases to one schema. See [`convert_database`]."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from . import megc2019
from .casme import CASME
from .casme2 import CASME2
from .casme3 import CASME3
from .casme_squared import CASME_SQUARED
from .converter import ConversionOptions, convert_database
from .database import Database
from .fourdme import FOURDME
from .megc2019 import compose_megc2019
from .mmew import MMEW
from .report import ConversionReport
from .samm import SAMM
from .samm_long import SAMM_LONG
from .smic import SMIC


_DATABASES = (CASME2, SAMM, SMIC, CASME3, CASME, CASME_SQUARED, SAMM_LONG, MMEW, FOURDME)
DATABASES: Mapping[str, Database] = MappingProxyType({database.name: database for database in _DATABASES})


def convert(
    name: str,
    sources: Sequence[str | os.PathLike],
    output_dir: str | os.PathLike,
    *,
    options: ConversionOptions,
    part: str | None = None,
    sheet: Path | None = None,
    num_processes: int = 1,
    progress: bool = True,
) -> ConversionReport:
    """
    Convert what the command line names: a database from its raw folder, or `megc2019` from three converted sets.

    Raises:
        ValueError: no such database, or not as many `sources` as it takes; else as [`convert_database`] and
            [`compose_megc2019`].
    """
    if name == megc2019.NAME:
        if len(sources) != 3 or options != ConversionOptions() or part is not None or sheet is not None:
            raise ValueError("megc2019 takes three converted sets and OUT, and no option: their frames are kept")
        return compose_megc2019(sources, output_dir)
    if name not in DATABASES:
        raise ValueError(
            f"there is no converter for {name!r}; expected {', '.join(sorted([*DATABASES, megc2019.NAME]))}"
        )
    if len(sources) != 1:
        raise ValueError(f"{name} takes RAW_FOLDER and OUT, got {len(sources) + 1} paths")
    return convert_database(
        DATABASES[name],
        sources[0],
        output_dir,
        options=options,
        part=part,
        sheet=sheet,
        num_processes=num_processes,
        progress=progress,
    )


__all__ = [
    "DATABASES",
    "ConversionOptions",
    "ConversionReport",
    "Database",
    "compose_megc2019",
    "convert",
    "convert_database",
]
