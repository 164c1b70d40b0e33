"""From a database's own labels to the classes of a published task: one named table for each grouping.

A number is comparable only within one grouping, and groupings of the same size differ: a "3-class CASME II" that puts
others, fear and sadness among the negative (254 clips) is not `casme2-3` (147). So the name of the map stands beside
every result. Raw labels are compared in lower case: CAS(ME)^3 writes "others" and, three times, "Others".

Numbers of clips were counted on the label sheets. Classes are numbered in the order of the alphabet, which for the
three classes of MEGC2019 is the order of its list: 0 negative, 1 positive, 2 surprise.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class LabelMap:
    """
    One grouping of raw labels.

    Args:
        name (`str`): as it stands in results, such as `"casme2-5"`.
        classes (`tuple[str, ...]`): position = class number.
        mapping (`Mapping[str, str]`): raw label in lower case -> class. Of a map over several databases, whose labels
            mean different things, `DATASET/LABEL` -> class.
        left_out (`frozenset[str]`): raw labels, written alike, that the grouping leaves out.
        source (`str`): who groups like this, and how many clips it gives.

    Raises:
        ValueError: a label that is both mapped and left out, or classes other than those that occur in `mapping`.
    """

    name: str
    classes: tuple[str, ...]
    mapping: Mapping[str, str]
    left_out: frozenset[str]
    source: str

    def __post_init__(self):
        both = sorted(self.left_out & set(self.mapping))
        if both:
            raise ValueError(f"{self.name} maps {both} and leaves them out.")
        if sorted(set(self.mapping.values())) != sorted(self.classes):
            raise ValueError(f"{self.name} maps to {sorted(set(self.mapping.values()))}, its classes: {self.classes}.")

    def __call__(self, label_raw: str, dataset: str = "") -> str | None:
        """
        Args:
            label_raw (`str`): the database's own label, in any case.
            dataset (`str`): the row's; it decides in a map over several databases.

        Returns:
            The class, or `None` for a label that the grouping leaves out.

        Raises:
            ValueError: a label that the map does not know.
        """
        label = label_raw.strip().lower()
        for key in (f"{dataset}/{label}", label):
            if key in self.mapping:
                return self.mapping[key]
            if key in self.left_out:
                return None
        known = sorted(self.mapping.keys() | self.left_out)
        raise ValueError(
            f"The label map {self.name} does not know the label {label_raw!r} of the dataset {dataset!r}; it knows"
            f" {', '.join(known)}."
        )


def _label_map(name: str, classes: Mapping[str, tuple[str, ...]], left_out: tuple[str, ...], source: str) -> LabelMap:
    """From class -> raw labels, as groupings are written down."""
    mapping = {label: klass for klass, labels in classes.items() for label in labels}
    return LabelMap(name, tuple(sorted(classes)), mapping, frozenset(left_out), source)


def _each_itself(*labels: str) -> dict[str, tuple[str, ...]]:
    return {label: (label,) for label in labels}


_MEGC2019 = "MEGC2019's list combined_3class_gt.csv: 0 negative, 1 positive, 2 surprise (See et al., FG 2019)"
_CASME2_SHEET = "column Estimated Emotion of the label sheet of CASME II, 255 clips"
_SAMM_SHEET = "column Estimated Emotion of SAMM_Micro_FACS_Codes_v2.xlsx, 159 clips"
_CASME3_SHEET = "column emotion of cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx, 860 clips (not v1, which has 921)"
_CASME3_NEGATIVE = ("anger", "disgust", "fear", "sad")

_OF_ONE_DATABASE = (
    _label_map(
        "casme2-3",
        {"negative": ("disgust", "repression"), "positive": ("happiness",), "surprise": ("surprise",)},
        ("others", "sadness", "fear"),
        f"{_MEGC2019}; {_CASME2_SHEET}, of which 147 are kept; MEGC2019's list lacks two of them.",
    ),
    _label_map(
        "casme2-5",
        _each_itself("disgust", "happiness", "others", "repression", "surprise"),
        ("sadness", "fear"),
        f"The usual five classes of CASME II; {_CASME2_SHEET}, of which 246 are kept. Papers quote 246, 247 and 255.",
    ),
    _label_map(
        "samm-3",
        {
            "negative": ("anger", "contempt", "disgust", "fear", "sadness"),
            "positive": ("happiness",),
            "surprise": ("surprise",),
        },
        ("other",),
        f"{_MEGC2019}; {_SAMM_SHEET}, of which 133 are kept.",
    ),
    _label_map(
        "samm-5",
        _each_itself("anger", "contempt", "happiness", "other", "surprise"),
        ("disgust", "fear", "sadness"),
        f"The usual five classes of SAMM; {_SAMM_SHEET}, of which 136 are kept.",
    ),
    _label_map(
        "smic-3",
        _each_itself("negative", "positive", "surprise"),
        (),
        "SMIC's own three classes: 164 clips of SMIC-HS, all in MEGC2019's list combined_3class_gt.csv.",
    ),
    _label_map(
        "casme3-3",
        {"negative": _CASME3_NEGATIVE, "positive": ("happy",), "surprise": ("surprise",)},
        ("others",),
        f"{_CASME3_SHEET}, of which 699 are kept. HTNet's list has 687, the one of Micron-BERT is unpublished.",
    ),
    _label_map(
        "casme3-4",
        {"negative": _CASME3_NEGATIVE, "others": ("others",), "positive": ("happy",), "surprise": ("surprise",)},
        (),
        f"{_CASME3_SHEET}, all kept.",
    ),
    _label_map(
        "casme3-7",
        _each_itself("anger", "disgust", "fear", "happy", "others", "sad", "surprise"),
        (),
        f"{_CASME3_SHEET}, all kept.",
    ),
)


def _composite(name: str, of_database: Mapping[str, LabelMap], source: str) -> LabelMap:
    """Several databases at once, each by its own map: fear is left out of CASME II and negative in SAMM."""
    return LabelMap(
        name,
        next(iter(of_database.values())).classes,
        {
            f"{dataset}/{label}": klass
            for dataset, part in of_database.items()
            for label, klass in part.mapping.items()
        },
        frozenset(f"{dataset}/{label}" for dataset, part in of_database.items() for label in part.left_out),
        source,
    )


_BY_NAME = {label_map.name: label_map for label_map in _OF_ONE_DATABASE}
# The databases of MEGC2019's composite, as they stand in the column `dataset`, and the map of each.
COMPOSITE_DATASETS: Mapping[str, str] = MappingProxyType({"casme2": "casme2-3", "samm": "samm-3", "smic": "smic-3"})
COMPOSITE_LABEL_MAP = "composite-3"
_BY_NAME[COMPOSITE_LABEL_MAP] = _composite(
    COMPOSITE_LABEL_MAP,
    {dataset: _BY_NAME[name] for dataset, name in COMPOSITE_DATASETS.items()},
    f"{_MEGC2019}: 442 clips of 68 people, 250 negative, 109 positive, 83 surprise.",
)
LABEL_MAPS: Mapping[str, LabelMap] = MappingProxyType(_BY_NAME)
