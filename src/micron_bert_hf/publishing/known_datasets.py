"""What a card says of the sets that a model has seen, by the name in their column `dataset`."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class KnownDataset:
    """
    Args:
        terms (`str`): on which it is given away.
        url (`str`, *optional*): where the agreement is.
        is_synthetic (`bool`): there is no real person in it.
    """

    terms: str
    url: str | None = None
    is_synthetic: bool = False


_SYNTHETIC = KnownDataset("CC0 1.0", is_synthetic=True)
_SIGNED = "Research only, by signed agreement; not to be passed on."
_SAMM = KnownDataset(
    "Research only, by signed agreement with Manchester Metropolitan University; not to be passed on.",
    "https://helward.mmu.ac.uk/STAFF/M.Yap/dataset.php",
)
_CASME3 = KnownDataset(_SIGNED, "http://casme.psych.ac.cn/casme/e4")
# The databases as `micron_bert_hf.databases` names and describes them, which needs OpenCV and an Excel reader to be
# imported, and our synthetic sets; a test holds both to what stands here.
KNOWN_DATASETS: Mapping[str, KnownDataset] = MappingProxyType(
    {
        "casme": KnownDataset(_SIGNED, "http://casme.psych.ac.cn/casme/e1"),
        "casme2": KnownDataset(_SIGNED, "http://casme.psych.ac.cn/casme/e2"),
        "casme3": _CASME3,
        "casme3_c": _CASME3,
        "casme_squared": KnownDataset(_SIGNED, "http://casme.psych.ac.cn"),
        "fourdme": KnownDataset(
            "Research only, by signed agreement with the University of Oulu; not to be passed on.",
            "https://6gflagship.com/publications/4dme-a-spontaneous-4d-micro-expression-dataset-with-multimodalities",
        ),
        "mmew": KnownDataset(
            "Research only, by signed agreement, sent by e-mail; not to be passed on.",
            "http://www.dpailab.com/database.html",
        ),
        "samm": _SAMM,
        "smic": KnownDataset(
            "Research only, by signed agreement with the University of Oulu; not to be passed on.",
            "https://www.oulu.fi/cmvs/node/41319",
        ),
        "synthetic": _SYNTHETIC,
        "mer-synth-v1": _SYNTHETIC,
        "mer-synth-v1-easy": _SYNTHETIC,
        "mer-synth-v1-hard": _SYNTHETIC,
        "mer-synth-v1-pretrain": _SYNTHETIC,
        "mer-synth-v1-spotting": _SYNTHETIC,
    }
)


def known_dataset(name: str) -> KnownDataset | None:
    """`None` for a set that nobody described; `"synthetic, difficulty 0.15"`, the demo's, is `"synthetic"`."""
    return KNOWN_DATASETS.get(name.partition(",")[0])
