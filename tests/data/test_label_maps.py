"""Label maps: the numbers of clips of the published groupings follow from the raw counts of the label sheets."""

from collections import Counter

import pytest

from micron_bert_hf.data import LABEL_MAPS, LabelMap
from micron_bert_hf.data.label_maps import COMPOSITE_DATASETS


# Counted on the label sheets, spelled and capitalised as there.
CASME2 = {"others": 99, "disgust": 63, "happiness": 32, "repression": 27, "surprise": 25, "sadness": 7, "fear": 2}
SAMM = {
    "Anger": 57,
    "Other": 26,
    "Happiness": 26,
    "Surprise": 15,
    "Contempt": 12,
    "Disgust": 9,
    "Fear": 8,
    "Sadness": 6,
}
SMIC_HS = {"negative": 70, "positive": 51, "surprise": 43}
CASME3 = {
    "disgust": 250,
    "surprise": 187,
    "others": 158,
    "Others": 3,
    "fear": 86,
    "anger": 64,
    "sad": 57,
    "happy": 55,
}


def mapped(name, raw_counts, dataset=""):
    counts = Counter()
    for label, count in raw_counts.items():
        counts[LABEL_MAPS[name](label, dataset)] += count
    counts.pop(None, None)
    return dict(counts)


@pytest.mark.parametrize(
    ("name", "raw_counts", "expected"),
    [
        ("casme2-3", CASME2, {"negative": 90, "positive": 32, "surprise": 25}),
        ("casme2-5", CASME2, {"disgust": 63, "happiness": 32, "others": 99, "repression": 27, "surprise": 25}),
        ("samm-3", SAMM, {"negative": 92, "positive": 26, "surprise": 15}),
        ("samm-5", SAMM, {"anger": 57, "contempt": 12, "happiness": 26, "other": 26, "surprise": 15}),
        ("smic-3", SMIC_HS, SMIC_HS),
        ("casme3-3", CASME3, {"negative": 457, "positive": 55, "surprise": 187}),
        ("casme3-4", CASME3, {"negative": 457, "others": 161, "positive": 55, "surprise": 187}),
        (
            "casme3-7",
            CASME3,
            {"anger": 64, "disgust": 250, "fear": 86, "happy": 55, "others": 161, "sad": 57, "surprise": 187},
        ),
    ],
)
def test_the_classes_have_the_numbers_of_clips_that_papers_state(name, raw_counts, expected):
    assert mapped(name, raw_counts) == expected
    assert LABEL_MAPS[name].classes == tuple(sorted(expected))
    assert f"-{len(expected)}" in name


def test_the_groupings_have_their_published_sizes():
    sheets = {"casme2": CASME2, "samm": SAMM, "casme3": CASME3}
    assert {database: sum(counts.values()) for database, counts in sheets.items()} == {
        "casme2": 255,
        "samm": 159,
        "casme3": 860,
    }
    sizes = {
        name: sum(mapped(name, sheets[name.split("-")[0]]).values())
        for name in ("casme2-3", "casme2-5", "samm-3", "samm-5", "casme3-3", "casme3-4", "casme3-7")
    }
    assert sizes == {
        "casme2-3": 147,
        "casme2-5": 246,
        "samm-3": 133,
        "samm-5": 136,
        "casme3-3": 699,
        "casme3-4": 860,
        "casme3-7": 860,
    }


def test_the_composite_is_its_three_databases_and_numbers_classes_as_megc2019():
    """By the sheets 444: MEGC2019's list of 442 lacks two negative clips of CASME II."""
    assert LABEL_MAPS["composite-3"].classes == ("negative", "positive", "surprise")
    total = Counter()
    for dataset, counts in {"casme2": CASME2, "samm": SAMM, "smic": SMIC_HS}.items():
        alone = mapped(COMPOSITE_DATASETS[dataset], counts)
        assert mapped("composite-3", counts, dataset) == alone
        total.update(alone)
    assert total == {"negative": 252, "positive": 109, "surprise": 83}


def test_the_composite_knows_whose_label_it_is():
    """Fear is left out of CASME II and negative in SAMM; without the database nobody can tell."""
    composite = LABEL_MAPS["composite-3"]
    assert composite("Fear", "samm") == "negative"
    assert composite("fear", "casme2") is None
    for dataset in ("", "casme3"):
        with pytest.raises(ValueError, match="composite-3 does not know the label 'fear'"):
            composite("fear", dataset)


@pytest.mark.parametrize("name", LABEL_MAPS)
def test_an_unknown_label_raises_and_names_the_map_and_what_it_knows(name):
    assert LABEL_MAPS[name].name == name
    with pytest.raises(ValueError, match=f"{name} does not know the label 'tense' of the dataset 'casme'; .*surprise"):
        LABEL_MAPS[name]("tense", "casme")


def test_a_table_that_contradicts_itself_is_refused():
    with pytest.raises(ValueError, match=r"maps \['fear'\] and leaves them out"):
        LabelMap("x", ("a",), {"fear": "a"}, frozenset({"fear"}), "nobody")
    with pytest.raises(ValueError, match="its classes"):
        LabelMap("x", ("a", "b"), {"fear": "a"}, frozenset(), "nobody")
