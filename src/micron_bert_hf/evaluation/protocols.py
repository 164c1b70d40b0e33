"""Who is learnt from and who is tested on: the protocols of an evaluation, as folds of samples.

| text | folds |
|---|---|
| `loso` | one for each person, who is tested on the model of all others (leave one subject out) |
| `group_kfold:10` | 10, each of whole persons, of about equally many samples |
| `holdout_subjects:12` | one: 12 persons drawn with seed 0 are tested on; `holdout_subjects:12:7` draws with seed 7 |
| `megc2019` | `loso` over the composite of CASME II, SAMM and SMIC, with its three classes (See et al., FG 2019) |
| `cross_dataset:casme2` | one: learnt from all other data sets, tested on all of casme2 |
| `as_is` | one: nothing is learnt here, and all persons are tested on |

A person is a subject of a data set: databases number their subjects alike. Who shares a fold depends on the persons
alone (of `group_kfold` also on their numbers of samples), never on the order of the rows.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from ..data import splits
from ..data.label_maps import COMPOSITE_DATASETS, COMPOSITE_LABEL_MAP
from ..data.samples import SampleSet


AS_IS = "as_is"


@dataclass(frozen=True)
class Fold:
    """
    Samples to learn from and samples to test on, without a person in both.

    Args:
        name (`str`): unlike those of the other folds of its protocol; may have a "/".
        train_indices, test_indices (`tuple[int, ...]`): positions in the sample set, ascending.
    """

    name: str
    train_indices: tuple[int, ...]
    test_indices: tuple[int, ...]


@dataclass(frozen=True)
class EvaluationProtocol:
    """
    How a sample set is dealt to folds; [`loso`] and its neighbours, or [`parse_protocol`], make one.

    Args:
        name (`str`): what [`parse_protocol`] reads, and what stands beside results.
        is_complete (`bool`): every sample is tested.
        test_people: of a sample set, name of each fold -> persons it tests on.
        trains (`bool`): whether anything is learnt; else folds have no training samples.
    """

    name: str
    is_complete: bool
    test_people: Callable[[SampleSet], dict[str, tuple[str, ...]]] = field(repr=False, compare=False)
    trains: bool = True

    def folds(self, samples: SampleSet) -> tuple[Fold, ...]:
        """
        Raises:
            ValueError: too few persons, or another data set than the protocol is for.
        """
        people = _people(samples)
        folds = []
        for name, tested in self.test_people(samples).items():
            is_tested = [person in tested for person in people]
            folds.append(
                Fold(
                    name,
                    tuple(index for index, test in enumerate(is_tested) if not test) if self.trains else (),
                    tuple(index for index, test in enumerate(is_tested) if test),
                )
            )
        check_folds(folds, samples, complete=self.is_complete, trains=self.trains)
        return tuple(folds)


def check_folds(folds: Sequence[Fold], samples: SampleSet, *, complete: bool, trains: bool = True) -> None:
    """
    Refuse folds that no honest number can come from, whoever made them.

    Args:
        complete (`bool`): whether every sample must be tested.
        trains (`bool`): whether every fold must have training samples; else none may.

    Raises:
        ValueError: no folds; a name that occurs twice; a fold with an empty side; a sample that is not there, stands
            twice on one side or is tested twice; a person on both sides of a fold or tested in two; with `complete`, a
            sample that is never tested.
    """
    if not folds:
        raise ValueError("Expected at least one fold, got none.")
    names = [fold.name for fold in folds]
    if len(set(names)) != len(names):
        repeated = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(f"Every fold must have a name of its own, got {repeated[:3]} more than once.")
    people = _people(samples)
    fold_of: dict[int, str] = {}
    tester_of: dict[str, str] = {}
    for fold in folds:
        if fold.train_indices and not trains:
            raise ValueError(f"The fold {fold.name!r} has train samples, and nothing is to be learnt.")
        sides = {"train": fold.train_indices, "test": fold.test_indices}
        if not trains:
            del sides["train"]
        for side, indices in sides.items():
            if not indices:
                raise ValueError(f"The fold {fold.name!r} has no {side} samples.")
            if len(set(indices)) != len(indices):
                raise ValueError(f"The fold {fold.name!r} has a {side} sample twice.")
            if min(indices) < 0 or max(indices) >= len(people):
                raise ValueError(
                    f"The fold {fold.name!r} has {side} samples {min(indices)} to {max(indices)}; expected positions"
                    f" in [0, {len(people)})."
                )
        on_both = sorted({people[i] for i in fold.train_indices} & {people[i] for i in fold.test_indices})
        if on_both:
            raise ValueError(f"The fold {fold.name!r} learns from {on_both[:3]} and tests on them ({len(on_both)}).")
        for index in fold.test_indices:
            earlier = fold_of.setdefault(index, fold.name)
            if earlier != fold.name:
                raise ValueError(
                    f"The sample {samples.sample_ids[index]!r} is tested in the fold {earlier!r} and in {fold.name!r}."
                )
            earlier = tester_of.setdefault(people[index], fold.name)
            if earlier != fold.name:
                raise ValueError(f"{people[index]!r} is tested in the fold {earlier!r} and in {fold.name!r}.")
    if complete and len(fold_of) != len(people):
        never = [samples.sample_ids[index] for index in range(len(people)) if index not in fold_of]
        raise ValueError(f"{len(never)} of {len(people)} samples are never tested, the first of them {never[:3]}.")


def loso() -> EvaluationProtocol:
    """Leave one subject out: a fold for each person, named as the person."""
    return EvaluationProtocol("loso", True, _one_by_one)


def group_kfold(num_folds: int) -> EvaluationProtocol:
    """
    Args:
        num_folds (`int`): at least 2; at most the number of persons, or `folds` raises. See
            [`~micron_bert_hf.data.deal_subjects`].
    """
    if num_folds < 2:
        raise ValueError(f"`num_folds` must be 2 or more, got {num_folds}.")
    return EvaluationProtocol(f"group_kfold:{num_folds}", True, partial(_dealt, num_folds))


def holdout_subjects(num_test_subjects: int, seed: int = 0) -> EvaluationProtocol:
    """
    Args:
        num_test_subjects (`int`): persons to test on, at least 1; less than there are, or `folds` raises.
        seed (`int`): of the draw, at least 0. See [`~micron_bert_hf.data.holdout_subjects`].
    """
    if num_test_subjects < 1 or seed < 0:
        raise ValueError(
            f"`num_test_subjects` must be 1 or more and `seed` 0 or more, got {num_test_subjects} and {seed}."
        )
    name = f"holdout_subjects:{num_test_subjects}"
    test_people = partial(_held_out, num_test_subjects, seed)
    return EvaluationProtocol(f"{name}:{seed}" if seed else name, False, test_people)


def megc2019() -> EvaluationProtocol:
    """
    The composite database evaluation of MEGC2019: `loso` over all persons of the three databases at once. Its columns
    for one database come from the same predictions, restricted to it.

    Which clips are in the set is the converters' part: the official list has 442 of 68 persons.
    """
    return EvaluationProtocol("megc2019", True, _one_by_one_of_the_composite)


def cross_dataset(test_dataset: str) -> EvaluationProtocol:
    """
    Args:
        test_dataset (`str`): as in the column `dataset`; all others are learnt from.
    """
    return EvaluationProtocol(f"cross_dataset:{test_dataset}", False, partial(_all_of, test_dataset))


def as_is() -> EvaluationProtocol:
    """All persons are tested on, by a classifier that was trained elsewhere."""
    return EvaluationProtocol(AS_IS, True, _everyone, trains=False)


def parse_protocol(text: str) -> EvaluationProtocol:
    """
    The protocol of a text; `parse_protocol(protocol.name) == protocol`.

    Raises:
        ValueError: names the texts that are understood.
    """
    name, _, rest = text.partition(":")
    if text == "loso":
        return loso()
    if text == "megc2019":
        return megc2019()
    if text == AS_IS:
        return as_is()
    if name == "cross_dataset" and rest:
        return cross_dataset(rest)
    numbers = [int(number) for number in rest.split(":")] if re.fullmatch(r"[0-9]+(:[0-9]+)?", rest) else []
    if name == "group_kfold" and len(numbers) == 1:
        return group_kfold(*numbers)
    if name == "holdout_subjects" and numbers:
        return holdout_subjects(*numbers)
    raise ValueError(
        f"There is no protocol {text!r}; expected loso, group_kfold:FOLDS, holdout_subjects:SUBJECTS,"
        " holdout_subjects:SUBJECTS:SEED, megc2019, cross_dataset:DATASET or as_is."
    )


def _people(samples: SampleSet) -> tuple[str, ...]:
    return splits.person_ids(samples.datasets, samples.subject_ids)


def _everyone(samples: SampleSet) -> dict[str, tuple[str, ...]]:
    return {"all": tuple(sorted(set(_people(samples))))}


def _one_by_one(samples: SampleSet) -> dict[str, tuple[str, ...]]:
    people = sorted(set(_people(samples)))
    if len(people) < 2:
        raise ValueError(f"Leaving one subject out needs two persons or more, got {people}.")
    return {person: (person,) for person in people}


def _one_by_one_of_the_composite(samples: SampleSet) -> dict[str, tuple[str, ...]]:
    found = sorted(set(samples.datasets))
    if found != sorted(COMPOSITE_DATASETS) or samples.label_map != COMPOSITE_LABEL_MAP:
        raise ValueError(
            f"megc2019 is for the data sets {sorted(COMPOSITE_DATASETS)} together and the label map"
            f" {COMPOSITE_LABEL_MAP!r}, got {found} and {samples.label_map!r}."
        )
    return _one_by_one(samples)


def _dealt(num_folds: int, samples: SampleSet) -> dict[str, tuple[str, ...]]:
    digits = len(str(num_folds - 1))
    dealt = splits.deal_subjects(_people(samples), num_folds)
    return {f"fold{number:0{digits}d}": tested for number, tested in enumerate(dealt)}


def _held_out(num_test_subjects: int, seed: int, samples: SampleSet) -> dict[str, tuple[str, ...]]:
    split = splits.holdout_subjects(_people(samples), num_test_subjects=num_test_subjects, seed=seed)
    return {"holdout": split.test_subjects}


def _all_of(test_dataset: str, samples: SampleSet) -> dict[str, tuple[str, ...]]:
    found = set(samples.datasets)
    if test_dataset not in found or len(found) < 2:
        raise ValueError(
            f"cross_dataset:{test_dataset} needs samples of {test_dataset!r} and of another data set, got samples of"
            f" {sorted(found)}."
        )
    people = zip(samples.datasets, _people(samples))
    return {test_dataset: tuple(sorted({person for dataset, person in people if dataset == test_dataset}))}
