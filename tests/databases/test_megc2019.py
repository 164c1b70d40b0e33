"""The composite of MEGC2019 from three converted sets of the official size: 442 clips of 68 people, or an error."""

import datasets
import pytest
import trees

from micron_bert_hf.data import read_samples
from micron_bert_hf.databases import DATABASES, ConversionOptions, compose_megc2019, convert, convert_database
from micron_bert_hf.databases.expected_counts import EXPECTED_COUNTS
from micron_bert_hf.databases.megc2019 import NOT_IN_THE_LIST


NUMBERS = (1, 2, 3)
TINY = (16, 16)
LEFT_OUT = {"casme2": ("others", "sadness", "fear"), "samm": ("Other",)}


def clips_of(counts, people, few):
    """`(person, label)` of every clip: `few` people have none but those that the composite leaves out."""
    kept = [label for label, count in counts.items() if label not in few for _ in range(count)]
    others = [label for label, count in counts.items() if label in few for _ in range(count)]
    some, rest = people
    return [(number % some + 1, label) for number, label in enumerate(kept)] + [
        (some + 1 + number % rest, label) for number, label in enumerate(others)
    ]


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    root = tmp_path_factory.mktemp("megc")
    counts = dict(EXPECTED_COUNTS["casme2", "all"][0].classes)
    rows = []
    for number, (person, label) in enumerate(clips_of(counts, (24, 2), LEFT_OUT["casme2"])):
        rows.append((f"{person:02d}", f"EP{number:03d}", 1, 2, 3, "4", label))
    negative = [place for place, row in enumerate(rows) if row[-1] == "disgust"]
    for place, (_, sample_id) in zip(negative, NOT_IN_THE_LIST):
        subject, clip = sample_id.removeprefix("sub").split("_", 1)
        rows[place] = (subject, clip, 1, "/" if subject == "04" else 1, 3, "4", "disgust")
    trees.write_xlsx(root / "casme2-raw/CASME2-coding-1.xlsx", trees.casme2_rows(rows))
    for subject, clip, *_ in rows:
        trees.write_frames(root / f"casme2-raw/CASME2-RAW/sub{subject}/{clip}", NUMBERS, size=TINY)

    expected = EXPECTED_COUNTS["samm", "all"][0].classes
    counts = {label.capitalize(): count for label, count in expected.items()}
    clips = [
        (person, f"{person:03d}_{number}_1", 1, 2, 3, 3, "4", label, "I")
        for number, (person, label) in enumerate(clips_of(counts, (28, 1), LEFT_OUT["samm"]))
    ]
    header = [trees.SAMM_HEADER]
    header += [(s, c, 1, a, b, d, n, "Micro - 1/2", u, e, o, None) for s, c, a, b, d, n, u, e, o in clips]
    trees.write_xlsx(root / "samm-raw/SAMM_Micro_FACS_Codes_v2.xlsx", header, "MICRO_ONLY", trees.SAMM_PREAMBLE)
    for person, clip, *_ in clips:
        trees.write_frames(root / f"samm-raw/SAMM/{person:03d}/{clip}", NUMBERS, f"{person:03d}_{{:05d}}.jpg", TINY)

    codes = {"negative": "ne", "positive": "po", "surprise": "sur"}
    emotions = [label for label, count in (("negative", 70), ("positive", 51), ("surprise", 43)) for _ in range(count)]
    for number, label in enumerate(emotions):
        clip = f"s{number % 16 + 1}_{codes[label]}_{number:03d}"
        folder = root / f"smic-raw/SMIC_all_raw/HS/{clip.split('_')[0]}/micro/{label}/{clip}"
        trees.write_frames(folder, NUMBERS, "image{:06d}.bmp", TINY)
    for name in ("casme2", "samm", "smic"):
        convert_database(
            DATABASES[name], root / f"{name}-raw", root / name, options=ConversionOptions(), progress=False
        )
    return root


def test_the_composite_has_the_challenges_counts(sets, tmp_path):
    options = ConversionOptions()
    report = convert("megc2019", [sets / "smic", sets / "casme2", sets / "samm"], tmp_path / "out", options=options)
    counts = report.description["counts"]
    assert counts == {"clips": 442, "subjects": 68, "classes": {"negative": 250, "positive": 109, "surprise": 83}}
    assert "differs" not in str(report)
    assert len(datasets.load_dataset(str(tmp_path / "out"), split="train")) == 442
    samples = read_samples(tmp_path / "out", label_map="composite-3")
    assert len(samples) == 442 and samples.num_left_out == 0
    assert len(set(zip(samples.datasets, samples.subject_ids))) == 68
    assert not {("casme2", name) for name in samples.sample_ids} & set(NOT_IN_THE_LIST)
    assert (tmp_path / "out/contact_sheets/disgust.png").exists()
    with pytest.raises(FileExistsError, match="holds something else"):
        compose_megc2019([sets / "smic", sets / "casme2", sets / "samm"], tmp_path / "out")


def test_another_composite_is_refused_with_what_differs(sets, tmp_path):
    raw = tmp_path / "smic-raw"
    trees.write_smic(raw)
    convert_database(DATABASES["smic"], raw, tmp_path / "smic", options=ConversionOptions(), progress=False)
    with pytest.raises(ValueError, match=r"(?s)must not be compared.*smic:.*clips +4 +164 +differs.*all:.*282 +442"):
        compose_megc2019([tmp_path / "smic", sets / "casme2", sets / "samm"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_leftovers_of_another_run_are_refused(sets, tmp_path):
    (tmp_path / ".out.partial/data").mkdir(parents=True)
    (tmp_path / ".out.partial/data/train-00000-of-00001.parquet").write_bytes(b"of another run")
    with pytest.raises(FileExistsError, match=r"out.partial holds data and no identity.json"):
        compose_megc2019([sets / "smic", sets / "casme2", sets / "samm"], tmp_path / "out")


def test_wrong_sets_are_named(sets, tmp_path):
    with pytest.raises(ValueError, match="needs a converted set of each of samm too"):
        compose_megc2019([sets / "smic", sets / "casme2"], tmp_path / "out")
    with pytest.raises(ValueError, match="both hold SMIC"):
        compose_megc2019([sets / "smic", sets / "smic", sets / "samm"], tmp_path / "out")
    with pytest.raises(ValueError, match="smic-raw is no converted set"):
        compose_megc2019([sets / "smic-raw", sets / "casme2", sets / "samm"], tmp_path / "out")
    raw = trees.write_smic(tmp_path / "raw", "VIS")
    convert_database(DATABASES["smic"], raw, tmp_path / "vis", options=ConversionOptions(), part="vis", progress=False)
    with pytest.raises(ValueError, match="vis holds SMIC, part vis; expected CASME II, SAMM and part hs"):
        compose_megc2019([tmp_path / "vis", sets / "casme2", sets / "samm"], tmp_path / "out")
    clip = ConversionOptions(frames="clip")
    convert_database(DATABASES["smic"], sets / "smic-raw", tmp_path / "clip", options=clip, progress=False)
    with pytest.raises(ValueError, match="made with different `frames` .*'smic': 'clip'"):
        compose_megc2019([tmp_path / "clip", sets / "casme2", sets / "samm"], tmp_path / "out")
    small = ConversionOptions(image_size=64)
    convert_database(DATABASES["smic"], sets / "smic-raw", tmp_path / "small", options=small, progress=False)
    with pytest.raises(ValueError, match="made with different `image_size`"):
        compose_megc2019([tmp_path / "small", sets / "casme2", sets / "samm"], tmp_path / "out")
    with pytest.raises(ValueError, match="takes three converted sets and OUT, and no option"):
        convert("megc2019", [sets / "smic"], tmp_path / "out", options=ConversionOptions())
