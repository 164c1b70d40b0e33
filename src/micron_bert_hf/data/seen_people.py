"""Whom a model has seen: what makes a number about new people, or not."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class SeenPeople:
    """
    Args:
        subjects: dataset -> `subject_id`s, sorted; labelled or not, in pretraining for example.
        is_complete (`bool`): nobody else; else there may be more whom nobody wrote down.
    """

    subjects: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    is_complete: bool = True

    def union(self, other: "SeenPeople") -> "SeenPeople":
        """Those of both; complete if both are."""
        subjects = {
            dataset: tuple(sorted({*self.subjects.get(dataset, ()), *other.subjects.get(dataset, ())}))
            for dataset in sorted({*self.subjects, *other.subjects})
        }
        return SeenPeople(subjects, self.is_complete and other.is_complete)
