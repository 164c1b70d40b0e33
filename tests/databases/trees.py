"""Releases in small: folders and label sheets in each database's official layout, with pictures of our own.

Sheets have the real headers, preambles and blank columns. A frame is a small picture that its number can be read from
(`frame_number`), so that a test sees which file a converted row took.
"""

import csv
from io import BytesIO
from pathlib import Path

import numpy as np
import openpyxl
import pyarrow.parquet as pq
import xlwt
from PIL import Image


WIDTH, HEIGHT = 40, 48
_CODE_ROWS = 4


def write_frames(folder, numbers, pattern="img{}.jpg", size=(WIDTH, HEIGHT), grey=False):
    """One picture a number; `pattern` takes it, such as `"006_{:05d}.jpg"`."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        picture(number, size, grey).save(folder / pattern.format(number), quality=100, subsampling=0)


def picture(number, size=(WIDTH, HEIGHT), grey=False):
    """A picture whose top rows say its number in 16 black or white columns."""
    width, height = size
    pixels = np.full((height, width, 3), 128, np.uint8)
    pixels[height // 2 :, :, 0] = 60 + number % 100
    cell = max(1, width // 16)
    for bit in range(16):
        pixels[: height // 4, bit * cell : (bit + 1) * cell] = 255 * (number >> bit & 1)
    image = Image.fromarray(pixels)
    return image.convert("L") if grey else image


def read_number(image):
    """The number that `picture` wrote, from a picture of any size."""
    pixels = np.asarray(image.convert("L"), np.float32)
    height, width = pixels.shape
    cell = max(1, width // 16)
    row = pixels[: height // 8]
    return sum(int(row[:, bit * cell : (bit + 1) * cell].mean() > 128) << bit for bit in range(16))


def write_xlsx(path, rows, worksheet="Sheet1", preamble=()):
    path.parent.mkdir(parents=True, exist_ok=True)
    workbook = openpyxl.Workbook()
    sheet = workbook.active
    sheet.title = worksheet
    for row in [*preamble, *rows]:
        sheet.append(list(row))
    workbook.save(path)
    return path


def write_xls(path, rows, worksheet="Sheet1"):
    path.parent.mkdir(parents=True, exist_ok=True)
    workbook = xlwt.Workbook()
    sheet = workbook.add_sheet(worksheet)
    for number, row in enumerate(rows):
        for place, value in enumerate(row):
            if value is not None:
                sheet.write(number, place, value)
    workbook.save(str(path))
    return path


# ------------------------------------------------------------------------------------------------------------ CASME II

CASME2_HEADER = (
    "Subject", "Filename", None, "OnsetFrame", "ApexFrame", "OffsetFrame", None, "Action Units", "Estimated Emotion"
)  # fmt: skip
# subject, clip, onset, apex, offset, action units, emotion
CASME2_CLIPS = (
    ("01", "EP02_01f", 46, 59, 86, "4+L10", "happiness"),
    ("01", "EP03_02", 131, 161, 181, "12", "others"),
    ("02", "EP08_04", 7, 17, 40, "L4", "disgust"),
    ("04", "EP12_01f", 261, "/", 321, "4", "repression"),
    ("05", "EP09_05f", 69, 69, 130, "?", "surprise"),
    ("24", "EP02_02f", 11, 31, 51, "R14", "disgust"),
)


def casme2_rows(clips=CASME2_CLIPS):
    return [
        CASME2_HEADER,
        *((subject, clip, None, onset, apex, offset, None, units, emotion)
          for subject, clip, onset, apex, offset, units, emotion in clips),
    ]  # fmt: skip


def write_casme2(root, clips=CASME2_CLIPS, step=1):
    """RAW_selected, with the frames of sub24/EP02_02f under EP02_07 as in the release."""
    write_xlsx(root / "CASME2-coding-20140508.xlsx", casme2_rows(clips))
    for subject, clip, onset, _, offset, _, _ in clips:
        folder = "EP02_07" if (subject, clip) == ("24", "EP02_02f") else clip
        write_frames(root / "CASME2_RAW_selected" / f"sub{subject}" / folder, range(onset, offset + 1, step))
    return root


# ---------------------------------------------------------------------------------------------------------------- SAMM

SAMM_HEADER = (
    "Subject", "Filename", "Inducement Code", "Onset Frame", "Apex Frame", "Offset Frame", "Duration", "Micro",
    "Action Units", "Estimated Emotion", "Objective Classes", "Notes",
)  # fmt: skip
# subject, clip, onset, apex, offset, duration, action units, emotion, objective class
SAMM_CLIPS = (
    (6, "006_1_2", 5562, 5588, 5632, 71, "4+7", "Anger", "III"),
    (7, "007_6_1", 101, 120, 140, 40, "(R6 or R12)+R15", "Happiness", "I"),
    (13, "013_1_9", 5658, 5700, 5739, 82, "2", "Other", "VII"),
    (28, "028_4_1", 1099, 1350, 1140, 42, "10A/B", "Contempt", "VII"),
    (32, "032_3_1", 4927, -1, 4960, 34, "A/L12", "Surprise", "II"),
)
SAMM_PREAMBLE = [("SAMM Micro-Expression FACS Codes",), (), ("Subject codes are those of the consent forms",)] + [
    ()
] * 10


def write_samm(root, clips=SAMM_CLIPS):
    rows = [
        SAMM_HEADER,
        *((subject, clip, 1, onset, apex, offset, duration, "Micro - 1/2", units, emotion, objective, None)
          for subject, clip, onset, apex, offset, duration, units, emotion, objective in clips),
    ]  # fmt: skip
    write_xlsx(root / "SAMM_Micro_FACS_Codes_v2.xlsx", rows, "MICRO_ONLY", SAMM_PREAMBLE)
    for subject, clip, onset, _, offset, duration, *_ in clips:
        pattern = "%03d_{:04d}.jpg" if clip == "028_4_1" else "%03d_{:05d}.jpg"
        last = max(offset, onset + duration - 1)
        write_frames(root / "SAMM" / f"{subject:03d}" / clip, range(onset, last + 1), pattern % subject, grey=True)
    return root


# ---------------------------------------------------------------------------------------------------------------- SMIC

SMIC_CLIPS = ("s1_ne_01", "s1_po_02", "s3_sur_01", "s11_ne_07")
_SMIC_EMOTIONS = {"ne": "negative", "po": "positive", "sur": "surprise"}
SMIC_E_HEADER = (
    "Subject", "Filename", None, "OnsetF", "OffsetF", "Onset2F", "Offset2F", None, "FirstF", "LastF", "TotalMF1",
    "TotalMF2", "TotalVL", "Emotion",
)  # fmt: skip


def write_smic(root, camera="HS", clips=SMIC_CLIPS, cropped=False, length=12):
    base = root / ("SMIC_all_cropped" if cropped else "SMIC_all_raw") / camera
    for number, clip in enumerate(clips):
        subject, emotion, _ = clip.split("_")
        pattern = "reg_image{:06d}.bmp" if cropped else "image{:06d}.bmp"
        start = 100 + 1000 * number
        write_frames(base / subject / "micro" / _SMIC_EMOTIONS[emotion] / clip, range(start, start + length), pattern)
        (base / subject / "non_micro").mkdir(exist_ok=True)
    return root


def write_smic_extended(root, clips=SMIC_CLIPS, length=60):
    """The first clip has a second interval; a remark stands below the table."""
    rows = [SMIC_E_HEADER]
    for number, clip in enumerate(clips):
        subject, emotion, _ = clip.split("_")
        start = 1000 * (number + 1)
        second = (start + 40, start + 50) if number == 0 else (0, 0)
        about = (start + 10, start + 24, *second, None, start, start + length - 1, 15, 11, length)
        rows.append((subject, clip, None, *about, _SMIC_EMOTIONS[emotion]))
        folder = root / "SMIC-E_raw image" / "HS_long" / "SMIC-HS-E" / f"s{int(subject[1:]):02d}" / clip
        write_frames(folder, range(start, start + length), "image{:06d}.jpg")
    rows += [(), ("Note: frames are counted from the start of the recording",)]
    write_xlsx(root / "SMIC-HS-E_annotation.xlsx", rows)
    return root


# ------------------------------------------------------------------------------------------------------- conversions


def write_workbook(path, worksheets):
    """An .xlsx or .xls with several worksheets: name -> rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".xls":
        workbook = xlwt.Workbook()
        for name, rows in worksheets.items():
            sheet = workbook.add_sheet(name)
            for number, row in enumerate(rows):
                for place, value in enumerate(row):
                    if value is not None:
                        sheet.write(number, place, value)
    else:
        workbook = openpyxl.Workbook()
        workbook.remove(workbook.active)
        for name, rows in worksheets.items():
            sheet = workbook.create_sheet(name)
            for row in rows:
                sheet.append(list(row))
    workbook.save(str(path))
    return path


def convert_tree(name, raw, out, part=None, sheet=None, **options):
    """Report; rows by `sample_id`, frames as the numbers that are painted on them; repairs.csv without its reasons."""
    from micron_bert_hf.databases import DATABASES, ConversionOptions, convert_database

    report = convert_database(
        DATABASES[name], raw, out, options=ConversionOptions(**options), part=part, sheet=sheet, progress=False
    )
    rows = {}
    for shard in sorted(Path(out).glob("data/*.parquet")):
        for row in pq.read_table(shard).to_pylist():
            row["frames"] = [read_number(Image.open(BytesIO(frame["bytes"]))) for frame in row["frames"]]
            rows[row["sample_id"]] = row
    with (Path(out) / "repairs.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    repairs = [(line["sample_id"], line["field"], line["found"], line["used"], line["rule"]) for line in lines]
    return report, rows, repairs


# ---------------------------------------------------------------------------------------------------------- CAS(ME)^3

CASME3_SHEET = "cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx"
CASME3_HEADER = ("Subject", "Filename", "Onset", "Apex", "Offset", "AU", "Objective class", "emotion")
# subject, clip, onset, apex, offset, action units, objective class, emotion
CASME3_EVENTS = (
    ("spNO.1", "a", 20, 25, 30, "4+R7", 7, "disgust"),
    ("spNO.1", "a", 60, 64, 70, "5", 2, "Others"),
    ("spNO.14", "J", 12, 18, 24, "1+2", 2, "surprise"),
    ("spNO.10", "b", 3, 12, 15, "12", 1, "happy"),
    ("spNO.11", "c", 40, 40, 50, "15", 6, "sad"),
    ("spNO.12", "d", 10, 40, 100, "4", 4, "anger"),
    ("spNO.149", "d", 112, 83, 140, "4", 4, "fear"),
    ("spNO.214", "c", 5, 20, 3460, "4", 4, "disgust"),
    ("spNO.216", "d", 3647, 2668, 2694, "4", 4, "disgust"),
    ("spNO.216", "e", 0, 0, 25, "4", 4, "disgust"),
    ("spNO.40", "e", 1812, 1830, 0, "4", 4, "disgust"),
    ("spNO.40", "e", 2327, 2360, 0, "4", 4, "others"),
)
# what lies in the folder of each clip; those of spNO.10 begin with 8, as most do
CASME3_FRAMES = {
    "spNO.1/a": range(8, 81),
    "spNO.1/b": range(8, 12),
    "spNO.10/b": range(8, 20),
    "spNO.11/c": range(36, 55),
    "spNO.12/d": range(8, 103),
    "spNO.14/j": range(8, 27),
    "spNO.149/d": range(110, 142),
    "spNO.214/c": range(1, 60),
    "spNO.216/d": range(2640, 2700),
    "spNO.216/e": range(1, 30),
    "spNO.40/e": [*range(1805, 1850), *range(2320, 2410)],
}
# A picture of depth has the number of its frame, and this.
CASME3_DEPTH = 30000
CASME3_C_HEADER = ("sub", "count", "onset", "offset", "au", "emotion")
CASME3_C_EVENTS = (
    (1, 1, 100, 111, "4\uff0c7", "negative"),
    (1, 2, 150, 160, "4,?", "surprise"),
    (12, 1, 30, 42, 12, "positive"),
)


def write_casme3_a(root, events=CASME3_EVENTS, sheet=CASME3_SHEET):
    """Part A: the sheet of the micro-expressions, and the frames of whole clips beside their depth."""
    write_xlsx(root / "annotation" / "partA" / sheet, [CASME3_HEADER, *events], "label")
    for clip, numbers in CASME3_FRAMES.items():
        write_frames(root / "part_A" / clip / "color", numbers, "{}.jpg")
        for number in (numbers[0], numbers[1]):
            folder = root / "part_A" / clip / "depth"
            folder.mkdir(exist_ok=True)
            picture(number + CASME3_DEPTH).save(folder / f"{number}.png")
    return root


def write_casme3_clips(root, events=CASME3_EVENTS[:2]):
    """The other download of part A: a folder a micro-expression, with its depth in another place."""
    write_xlsx(root / "annotation" / CASME3_SHEET, [CASME3_HEADER, *events], "label")
    for subject, clip, onset, _, offset, *_ in events:
        name = f"{subject}_{clip}_{onset}"
        numbers = range(onset, offset + 1)
        write_frames(root / "Part_A_ME_clip" / "frame" / name, numbers, "{}.jpg")
        write_frames(root / "Part_A_ME_clip" / "depth" / name, [number + CASME3_DEPTH for number in numbers], "{}.png")
    return root


def write_casme3_b(root, clips=("spNO.101/a", "spNO.101/b", "spNO.102/a"), tail="color"):
    for place, clip in enumerate(clips):
        start = 1 + 100 * place
        write_frames(root / "part_B" / clip / tail, range(start, start + 70), "{}.jpg")
        if tail:
            write_frames(root / "part_B" / clip / "depth", [CASME3_DEPTH + start], "{}.png")
    return root


def write_casme3_c(root, tail=("a", "color"), events=CASME3_C_EVENTS):
    write_xlsx(root / "CAS(ME)3_part_C_ME.xlsx", [CASME3_C_HEADER, *events], "mockCrimeME")
    for subject in sorted({event[0] for event in events}):
        write_frames(root.joinpath("part_C", f"{subject:02d}", *tail), range(20, 170), "{}.jpg")
    return root


# --------------------------------------------------------------------------------------------------------------- CASME

CASME_HEADER = ("Emotion", "Subject", None, "Filename", "OnsetF", "ApexF1", "ApexF2", None, "OffsetF", "AU")
# emotion, subject, clip, onset, first apex, second apex, offset, action units
CASME_CLIPS = (
    ("tense", 1, "EP01_5", 98, 108, 113, 123, "4"),
    ("disgust", 1, "EP03_2", 60, None, 72, 80, "4+9"),
    ("repression", 2, "EP01_2", 5, "/", "/", 16, "14"),
    ("surprise", 19, "EP06_01", 69, 69, 90, 100, "1+2"),
)


def write_casme(root, clips=CASME_CLIPS, folder="CASME_raw_selected", pattern="{clip}-{{}}.jpg"):
    """The clips of sub19 pad the numbers of their frames."""
    rows = [(emotion, subject, None, clip, onset, first, second, None, offset, units)
            for emotion, subject, clip, onset, first, second, offset, units in clips]  # fmt: skip
    write_xlsx(root / "casme.xlsx", [CASME_HEADER, *rows])
    for _, subject, clip, onset, _, _, offset, _ in clips:
        names = pattern.format(clip=clip)
        names = names.replace("{}", "{:03d}") if subject == 19 else names
        write_frames(root / folder / f"sub{subject:02d}" / clip, range(onset, offset + 1), names)
    return root


# ---------------------------------------------------------------------------------------------------------- CAS(ME)^2

CASME_SQUARED_SHEET = "CAS(ME)^2code_final.xlsx"
# subject, clip, onset, apex, offset, action units, emotion, type, self-report
CASME_SQUARED_ROWS = (
    (1, "disgust1_1", 30, 36, 41, "4+10", "negative", "micro-expression", "disgust"),
    (1, "disgust1_2", 5, 12, 0, "4", "negative", "macro-expression", "disgust"),
    (1, "happy1_1", 20, 24, 30, "12", "positive", "macro-expression", "happiness"),
    (2, "disgust1_1", 10, 15, 19, "1+2", "surprise", "micro-expression", "surprise"),
    (2, "anger1_1", 50, 50, 0, "4", "others", "macro-expression", "helpless"),
    (2, "anger1_2", 3, 9, 14, "4", "others", "macro-expression", "anger"),
)
CASME_SQUARED_PEOPLE = (("first", "s15", 1), (None, "s16", 2), (None, "s19", 3))
CASME_SQUARED_CODES = (("0101", "disgust1"), ("0102", "disgust2"), (401, "anger1"), ("0502", "happy1"))
CASME_SQUARED_RECORDINGS = (
    "s15/15_0101disgustingteeth", "s15/15_0102eatingworms", "s15/15_0502funnyerrors", "s16/16_0101disgustingteeth",
    "s16/16_0401girlcrashing",
)  # fmt: skip


def write_casme_squared(
    root, rows=CASME_SQUARED_ROWS, recordings=CASME_SQUARED_RECORDINGS, people=CASME_SQUARED_PEOPLE
):
    """rawpic beside the folders of crops and videos, which have the same people."""
    worksheets = {"CASFEcode_final": rows, "naming rule1": people, "naming rule2": CASME_SQUARED_CODES}
    write_workbook(root / CASME_SQUARED_SHEET, worksheets)
    for place, recording in enumerate(recordings):
        numbers = [1000 * place + number for number in range(1, 61)] if place == 1 else range(1, 61)
        write_frames(root / "rawpic" / recording, numbers, "img{:03d}.jpg")
    for other in ("cropped", "selectedpic", "rawvideo"):
        (root / other / "s15" / "15_0101disgustingteeth").mkdir(parents=True, exist_ok=True)
    return root


# ---------------------------------------------------------------------------------------------------- SAMM Long Videos

SAMM_LONG_HEADER = (
    "Subject", "Filename", "Inducement Code", "Onset", "Apex", "Offset", "Duration", "Type", "Action Units", "Notes"
)  # fmt: skip
# subject, expression, onset, apex, offset, duration, type, action units
SAMM_LONG_ROWS = (
    (6, "006_1_1", 3, 10, 20, 18, "Macro", "4+7"),
    (6, "006_1_2", 30, 40, 52, 23, "Micro - 1/2", "R12"),
    (6, "006_2_1", 0, 20, 60, 61, "Macro", "4"),
    (7, "007_3_1", 12, -1, 25, 14, "Micro - 1/2", "L14"),
    (7, "007_3_2", 40, 50, 90, 51, "Macro", "12"),
    (36, "036_7_4", 5, 9, 15, 11, "Macro", "12"),
)
SAMM_LONG_RECORDINGS = ("006_1", "006_2", "007_3", "007_4")


def write_samm_long(root, rows=SAMM_LONG_ROWS, version="V2", with_samm=False):
    """One recording has no expression, and one expression no recording."""
    table = [(*row[:2], 1, *row[2:], None) for row in rows]
    preamble = [("SAMM Long Videos",), ("Onset, apex and offset are frames",)] + [()] * 7
    sheet = root / f"SAMM_LongVideos_{version}_Release.xlsx"
    write_xlsx(sheet, [SAMM_LONG_HEADER, *table], "FACS_Movement_Only", preamble)
    for recording in SAMM_LONG_RECORDINGS:
        write_frames(root / "SAMM_longvideos" / recording, range(1, 61), recording + "_{:04d}.jpg", grey=True)
    if with_samm:
        clips = [(6, "006_1_2", 2030, 2040, 2052, 23, "R12", "Happiness", "I")]
        write_samm(root, clips)
    return root


# ---------------------------------------------------------------------------------------------------------------- MMEW

MMEW_HEADER = (
    "Subject", "Filename", "OnsetFrame", "ApexFrame", "OffsetFrame", "Action Units", "Estimated Emotion", "remarks"
)  # fmt: skip
MMEW_CLIPS = (
    ("S03", "S03-01-002", 1, 8, 15, "12", "happiness", None),
    ("S03", "S03-04-001", 1, 5, 3, "4", "others", "blurred"),
    ("S03", "S03-04-002", 1, 6, 12, "4+7", "others", None),
    ("S10", "S10-02-001", 2, 30, 12, "1+2", "surprise", None),
)


def write_mmew(root, clips=MMEW_CLIPS, by_person=True):
    """Others lie under repression; beside them are pictures of macro-expressions."""
    write_xlsx(root / "MMEW_Micro_Exp.xlsx", [MMEW_HEADER, *clips])
    base = root if by_person else root / "MMEW_Final" / "Micro_Expression"
    for subject, clip, *_, emotion, _ in clips:
        folder = "repression" if emotion == "others" else emotion
        person = (subject,) if by_person else ()
        write_frames(base.joinpath(*person, folder, clip), range(1, 21), "{}.jpg")
    write_frames(root / "MMEW_Final" / "Macro_Expression" / "S03" / "happiness", [7], "S03-01-00{}.jpg")
    return root


# ---------------------------------------------------------------------------------------------------------------- 4DME

FOURDME_HEADER = (
    "sub_ID", "fold_name", "fold", "Emotion", "Onset", "Apex", "Offset", "AUs", "AU1", "AU4", "AU12", "eye blink",
    "Positive", "Negative", "Surprise", "Repression", "Others", "Total",
)  # fmt: skip
# subject, folder, emotion, onset, apex, offset, action units, five flags
FOURDME_CLIPS = (
    ("S01", "001_01_1", "Positive", 100, 106, 115, "AU12", (1, 0, 0, 0, 0)),
    ("S01", "001_02_1", "Surprise+Positive", 40, 50, 60, "AU1+AU2", (1, None, 1, None, None)),
    ("S13", "001_01_1", "Negative", 7, 15, 20, "AU4(k)+L7", (0, 1, 0, 0, 0)),
    ("S13", "002_01_1", "Repression+Negative", 30, 36, 44, "R2+12\uff08k\uff09+45", (0, 1, 0, 1, 0)),
    ("S13", "002_02_1", "Others", 60, 66, 70, "4(k)", (None, None, None, None, None)),
)


def write_fourdme(root, clips=FOURDME_CLIPS, total=True):
    rows = [FOURDME_HEADER]
    for subject, folder, emotion, onset, apex, offset, units, flags in clips:
        rows.append((subject, folder, 1, emotion, onset, apex, offset, units, 0, 1, 0, 0, *flags, 1))
        frames = range(onset, offset + 1)
        write_frames(root / "gray_micro" / subject / folder, frames, "{:05d}.jpg", grey=True)
    if total:
        rows.append((None, None, None, "Total", None, None, None, None, 9, 9, 9, 9, 2, 2, 1, 1, 1, 7))
    write_xlsx(root / "4DME_Labelling_Micro_release v1.xlsx", rows)
    return root
