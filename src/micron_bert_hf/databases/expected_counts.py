"""What whole releases give, as counted on their label sheets: in one table, so that a first user gets a pass or a
difference."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class ExpectedCounts:
    """
    What one version of a release gives.

    Args:
        clips (`int`): of recordings, micro-expressions.
        subjects (`int` or `None`): `None` where sources differ or nobody has counted.
        classes (`Mapping[str, int]`): label in lower case -> clips; empty where nobody has counted.
        source (`str`): who counted.
        version (`str`): the sheet's version that it is about; `""` for any.
    """

    clips: int
    subjects: int | None
    classes: Mapping[str, int]
    source: str
    version: str = ""


_CASME2 = {
    "others": 99, "disgust": 63, "happiness": 32, "repression": 27, "surprise": 25, "sadness": 7, "fear": 2,
}  # fmt: skip
_SAMM = {
    "anger": 57, "other": 26, "happiness": 26, "surprise": 15, "contempt": 12, "disgust": 9, "fear": 8, "sadness": 6,
}  # fmt: skip
_CASME3_A = {
    "disgust": 250, "surprise": 187, "others": 161, "fear": 86, "anger": 64, "sad": 57, "happy": 55,
}  # fmt: skip
_CASME3_C = {"negative": 99, "surprise": 30, "others": 20, "positive": 16}
_CASME_SQUARED = {"negative": 21, "others": 19, "surprise": 9, "positive": 8}
_MEGC2019 = "MEGC2019's list combined_3class_gt.csv"


def _three(negative: int, positive: int, surprise: int) -> dict[str, int]:
    return {"negative": negative, "positive": positive, "surprise": surprise}


# (database, part) -> by version of the label sheet.
EXPECTED_COUNTS: Mapping[tuple[str, str], tuple[ExpectedCounts, ...]] = MappingProxyType(
    {
        ("casme2", "all"): (ExpectedCounts(255, 26, _CASME2, "label sheet of 2014; papers quote 246, 247 or 255"),),
        ("samm", "all"): (ExpectedCounts(159, 29, _SAMM, "SAMM_Micro_FACS_Codes_v2.xlsx"),),
        ("smic", "hs"): (ExpectedCounts(164, 16, _three(70, 51, 43), _MEGC2019),),
        ("smic", "vis"): (ExpectedCounts(71, 8, _three(24, 28, 19), "SMIC-VIS-E_annotation.xlsx"),),
        ("casme3", "a"): (
            ExpectedCounts(
                860, 94, _CASME3_A, "cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx", "v2: 860 micro-expressions"
            ),
            ExpectedCounts(
                921,
                95,
                {},
                "cas(me)3_part_A_ME_label_JpgIndex_v1.xlsx",
                "v1: 921 micro-expressions, some of them none, as the lab found; use v2",
            ),
        ),
        ("casme3", "c"): (ExpectedCounts(165, 30, _CASME3_C, "CAS(ME)3_part_C_ME.xlsx"),),
        ("casme", "all"): (ExpectedCounts(189, None, {}, "the sheet that meb reads; the lab's page speaks of 195"),),
        ("casme_squared", "all"): (
            ExpectedCounts(57, 22, _CASME_SQUARED, "micro-expressions of CAS(ME)^2code_final.xlsx"),
        ),
        ("samm_long", "all"): (
            ExpectedCounts(159, None, {}, "micro-expressions of SAMM_LongVideos_V1 to V3_Release.xlsx"),
        ),
        ("mmew", "all"): (ExpectedCounts(300, None, {}, "MMEW_Micro_Exp.xlsx"),),
        ("fourdme", "all"): (ExpectedCounts(267, None, {}, "the sheet that meb reads"),),
        ("megc2019", "all"): (ExpectedCounts(442, 68, _three(250, 109, 83), _MEGC2019),),
        ("megc2019", "casme2"): (ExpectedCounts(145, 24, _three(88, 32, 25), _MEGC2019),),
        ("megc2019", "samm"): (ExpectedCounts(133, 28, _three(92, 26, 15), _MEGC2019),),
        ("megc2019", "smic"): (ExpectedCounts(164, 16, _three(70, 51, 43), _MEGC2019),),
    }
)


def counted_labels(database: str, part: str = "all") -> frozenset[str]:
    """The labels of a release, in lower case, where somebody has counted them."""
    return frozenset(EXPECTED_COUNTS[database, part][0].classes)
