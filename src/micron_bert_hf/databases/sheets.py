"""Label sheets as the labs release them: read by the names of their columns, wherever those stand.

A sheet's header row is searched for, never counted, and a column is known by any of the names of `COLUMN_NAMES`, so
that preambles, blank columns and renamed copies read alike. Cells become the text that a reader of the sheet sees:
`"01"` stays `"01"`, the number 6 becomes `"6"`.
"""

import re
import unicodedata
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


SHEET_SUFFIXES = (".xlsx", ".xls")
# Ours: the largest sheet known takes 0.5 MB. The second limit is of what an .xlsx, which is a zip, unpacks to.
MAX_SHEET_BYTES, MAX_UNPACKED_BYTES = 64 * 2**20, 512 * 2**20
# Ours: a sheet in memory has a place for every cell of the rectangle that its farthest cell spans.
MAX_CELLS = 5_000_000
_CELL_PLACE = re.compile(rb'\br="([A-Z]{1,3})([0-9]{1,7})"')
# Ours: the longest preamble known has 13 lines.
MAX_PREAMBLE = 60
# Field -> the names its column has in any release, reduced to small letters and digits (see `_plain`).
COLUMN_NAMES: Mapping[str, tuple[str, ...]] = {
    "subject": ("subject", "sub", "subid", "subjectid"),
    "clip": ("filename", "foldname", "clip"),
    "count": ("count",),
    "onset": ("onsetframe", "onset", "onsetf"),
    "apex": ("apexframe", "apex", "apexf", "apexf1", "apex1"),
    "apex_2": ("apexf2", "apex2"),
    "offset": ("offsetframe", "offset", "offsetf"),
    "onset_2": ("onset2f", "onset2"),
    "offset_2": ("offset2f", "offset2"),
    "onset_3": ("onset3f", "onset3"),
    "offset_3": ("offset3f", "offset3"),
    "duration": ("duration",),
    "action_units": ("actionunits", "actionunit", "aus", "au"),
    "emotion": ("estimatedemotion", "emotion"),
    "objective_class": ("objectiveclasses", "objectiveclass"),
    "type": ("type", "expressiontype", "micromacro"),
    "positive": ("positive",),
    "negative": ("negative",),
    "surprise": ("surprise",),
    "repression": ("repression",),
    "others": ("others",),
}
# Ours: what stands in a cell that says nothing.
NO_VALUE = frozenset(("", "/", "-", "--", "nan", "none", "n/a", "na", "null", "?"))


@dataclass(frozen=True)
class SheetRow:
    """
    One row.

    Args:
        number (`int`): as a spreadsheet program counts, from 1.
        values (`Mapping[str, str]`): field -> text; every field that was asked for, `""` if the cell is blank or the
            column is not there.
        cells (`Mapping[str, str]`): the sheet's own column names -> text, all that are not blank.
    """

    number: int
    values: Mapping[str, str]
    cells: Mapping[str, str]


@dataclass(frozen=True)
class LabelSheet:
    """
    Args:
        path (`Path`), worksheet (`str`): where it was read.
        columns (`tuple[str, ...]`): names of the columns, as they stand there.
        rows (`tuple[SheetRow, ...]`): those that name a clip or a frame.
        other_rows (`tuple[SheetRow, ...]`): those that do neither, such as remarks at the end.
    """

    path: Path
    worksheet: str
    columns: tuple[str, ...]
    rows: tuple[SheetRow, ...]
    other_rows: tuple[SheetRow, ...]

    def where(self, row: SheetRow) -> str:
        return f"{self.path.name}, {self.worksheet}, row {row.number}"


def read_label_sheet(path: Path, required: Sequence[str], optional: Sequence[str] = ()) -> LabelSheet:
    """
    Read the first worksheet that has a header with all required columns.

    Args:
        required, optional: fields, keys of `COLUMN_NAMES`. Which rows are labels, [`is_label_row`] says.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no worksheet has these columns, a column occurs twice, a label has no subject, the file is no sheet
            or is too large. The message says what was looked for and what was found.
    """
    seen = []
    for name, lines in _worksheets(path):
        for position, line in enumerate(lines[:MAX_PREAMBLE]):
            columns = _match(line, (*required, *optional), path, name)
            if not set(required) - set(columns):
                return _read_rows(path, name, lines, position, columns, (*required, *optional))
        first = next((line for line in lines if any(map(cell_text, line))), ())
        seen.append(f"{name!r} begins with {[text for text in map(cell_text, first) if text][:8]}")
    wanted = "; ".join(f"{field} ({' or '.join(COLUMN_NAMES[field])})" for field in required)
    raise ValueError(f"{path} is not the sheet looked for: no row names the columns {wanted}. {'; '.join(seen)}")


def read_columns_by_place(path: Path, fields: Sequence[str], worksheet: int = 0) -> LabelSheet:
    """
    Read a worksheet that has no header: its columns are `fields`, in their order.

    Raises:
        FileNotFoundError, ValueError: as [`read_label_sheet`]; or there is no such worksheet, or fewer columns.
    """
    worksheets = list(_worksheets(path))
    if worksheet >= len(worksheets):
        raise ValueError(f"{path} has {len(worksheets)} worksheets; expected at least {worksheet + 1}")
    name, lines = worksheets[worksheet]
    width = max((len(line) for line in lines), default=0)
    if width < len(fields):
        raise ValueError(f"{path}, {name}: {width} columns; expected {len(fields)}: {', '.join(fields)}")
    return _read_rows(path, name, lines, -1, {field: place for place, field in enumerate(fields)}, fields)


def frame_number(text: str, where: str) -> int | None:
    """
    A cell that holds the number of a frame.

    Returns:
        The number, negative ones too; `None` for a cell that says nothing, such as `""` or `"/"`.

    Raises:
        ValueError: anything else; the message names `where`.
    """
    if text.strip().lower() in NO_VALUE:
        return None
    if not re.fullmatch(r"[+-]?\d{1,9}(\.0+)?", text.strip()):
        raise ValueError(f"{where}: {text!r} is no frame number")
    return int(float(text))


def cell_text(value: Any) -> str:
    """A cell as its reader sees it, without spaces around: `6.0` is `"6"`, `True` is `"TRUE"`."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return unicodedata.normalize("NFC", str(value)).replace("\u00a0", " ").strip()


# ------------------------------------------------------------------------------------------------------- within a file


def _worksheets(path: Path) -> Iterator[tuple[str, list[list[Any]]]]:
    """Name and lines of each, the first line being that of row 1."""
    from python_calamine import CalamineError, CalamineWorkbook

    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    size = path.stat().st_size
    if size > MAX_SHEET_BYTES:
        raise ValueError(f"{path} has {size} bytes, more than the limit of {MAX_SHEET_BYTES}")
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                size = sum(entry.file_size for entry in archive.infolist())
                if size > MAX_UNPACKED_BYTES:
                    raise ValueError(f"{path} unpacks to {size} bytes, more than the limit of {MAX_UNPACKED_BYTES}")
                _check_extent(path, archive)
        workbook = CalamineWorkbook.from_path(str(path))
        for name in workbook.sheet_names:
            yield name, workbook.get_sheet_by_name(name).to_python(skip_empty_area=False)
    except (CalamineError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} cannot be read as a sheet: {error}") from error


def _check_extent(path: Path, archive: zipfile.ZipFile) -> None:
    """
    Raises:
        ValueError: a worksheet's cells span a rectangle that would not fit into memory.
    """
    for name in archive.namelist():
        if not name.startswith("xl/worksheets/"):
            continue
        rows = columns = 0
        with archive.open(name) as file:
            rest = b""
            while block := file.read(2**20):
                text = rest + block
                for letters, number in _CELL_PLACE.findall(text):
                    column = 0
                    for letter in letters:
                        column = 26 * column + letter - 64
                    rows, columns = max(rows, int(number)), max(columns, column)
                rest = text[-16:]
        if rows * columns > MAX_CELLS:
            raise ValueError(f"{path}, {name}: {rows} rows x {columns} columns, more than {MAX_CELLS} cells")


def _plain(text: str) -> str:
    return re.sub("[^a-z0-9]", "", unicodedata.normalize("NFKC", text).lower())


def _match(line: Sequence[Any], fields: Sequence[str], path: Path, worksheet: str) -> dict[str, int]:
    """Field -> place of its column, for those that this line names. The first of a field's names wins."""
    names = [_plain(cell_text(cell)) for cell in line]
    places = {}
    for field in fields:
        for name in COLUMN_NAMES[field]:
            found = [place for place, text in enumerate(names) if text == name]
            if len(found) > 1:
                raise ValueError(f"{path}, {worksheet}: {len(found)} columns are called {name!r}")
            if found:
                places[field] = found[0]
                break
    return places


def _read_rows(
    path: Path,
    worksheet: str,
    lines: Sequence[Sequence[Any]],
    header: int,
    columns: Mapping[str, int],
    fields: Sequence[str],
) -> LabelSheet:
    names = [cell_text(cell) for cell in lines[header]] if header >= 0 else []
    rows, other_rows = [], []
    for position in range(header + 1, len(lines)):
        texts = [cell_text(cell) for cell in lines[position]]
        if not any(texts):
            continue
        values = {field: texts[columns[field]] if field in columns else "" for field in fields}
        cells = {
            (names[place] if place < len(names) and names[place] else f"column {place + 1}"): text
            for place, text in enumerate(texts)
            if text
        }
        row = SheetRow(position + 1, values, cells)
        if is_label_row(values) and not values["subject"]:
            raise ValueError(
                f"{path.name}, {worksheet}, row {row.number}: a label without a subject"
                f" ({' | '.join(texts[:8])}); if its cell is merged with others, write it into each of them"
            )
        (rows if is_label_row(values) else other_rows).append(row)
    if not rows:
        raise ValueError(f"{path}, {worksheet}: the header is there, but no row with a subject and a frame follows it")
    return LabelSheet(path, worksheet, tuple(name for name in names if name), tuple(rows), tuple(other_rows))


def is_label_row(values: Mapping[str, str]) -> bool:
    """Whether a row has the number of a frame, or names a subject and a clip; a remark below the table does not."""
    frames = (values.get(field, "") for field in ("onset", "offset"))
    has_frame = any(character.isdigit() for text in frames for character in text)
    return has_frame or bool(values["subject"] and values.get("clip"))
