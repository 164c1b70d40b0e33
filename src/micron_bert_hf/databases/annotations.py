"""One micro-expression as a sheet states it, what is wrong about it, and what is made of it: pure functions.

Nothing is mended in silence: whatever differs from the sheet is a [`Repair`], with what was found, what is used and by
which rule. Rules, in their order:

* `offset`: an offset that is absent, 0, negative or before the onset becomes onset + duration - 1 where the sheet has
  durations, else the apex if that is after the onset, else the last frame on disk; an interval of a recording, whose
  last frame may be minutes away, is left out instead. Where the sheet has durations and the two disagree, the duration
  decides.
* `apex`: an apex that is absent, outside of onset and offset, or equal to the onset becomes the middle frame, rounded
  down. A release without apexes gets the middle frame too; that is its rule, not a repair.
* `frames`: onset, apex or offset without a file become the nearest frame on disk within the interval. A clip whose
  frames begin after its apex is left out: what led to the apex is gone.
* `numbering`: a clip whose files are as many as its sheet says, but begin with 1 or 0 instead of the onset, was
  numbered anew; it is left out, since frames that happen to have the right numbers are others.

A clip without an onset, without a folder, without two frames inside its interval, is left out, with the reason.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


LEFT_OUT = "left out"
# What a strict conversion lets pass: documented corrections, another spelling of a folder's name, and folders of
# frames that no label is about.
ERRATUM, SPELLING, UNLABELLED = "erratum", "spelling", "unlabelled"
HARMLESS_RULES = frozenset((ERRATUM, SPELLING, UNLABELLED))
UNREADABLE = "unreadable"


@dataclass(frozen=True)
class Repair:
    """
    Something that differs from the label sheet, or that the sheet or the disk lacks.

    Args:
        sample_id (`str`): the clip's.
        field (`str`): such as `"apex"`, `"folder"`, `"frames"`, `"sample"`.
        found, used (`str`): what stood there, and what is used instead; `LEFT_OUT` if there is no such sample.
        rule (`str`): one of `HARMLESS_RULES`, or another rule's name.
        reason (`str`): why, or who says so.
    """

    sample_id: str
    field: str
    found: str
    used: str
    rule: str
    reason: str


@dataclass(frozen=True)
class Erratum:
    """
    A known mistake of a release, by the clip it is in.

    Args:
        recording (`str`): the clip as its release names it, with its subject: `"sub24/EP02_02f"`.
        field (`str`): a field of the sheet, or `"folder"`.
        found (`str`): what must stand there for the erratum to apply, since copies of a sheet differ.
        used (`str`): what is right.
        reason (`str`): who says so.
    """

    recording: str
    field: str
    found: str
    used: str
    reason: str


@dataclass(frozen=True)
class Annotation:
    """
    One micro-expression (or macro-expression) of a sheet; frames by the numbers of their files.

    Args:
        sample_id (`str`): unique in its release.
        subject_id (`str`): text, as the release writes it: `"01"`.
        recording (`str`): the clip as the release names it.
        onset, apex, offset (`int` or `None`): `None` where the sheet says nothing.
        label_raw (`str`): the release's own label.
        where (`str`): sheet and row, for messages.
        labels (`tuple[str, ...]`): all labels, where a release gives several; else `(label_raw,)` is understood.
        duration (`int` or `None`): in frames, both ends counted, where the sheet has it.
        has_apex (`bool`): whether the release annotates apexes at all.
        is_apex_corrected (`bool`): an erratum changed it.
        kind (`str`): `"micro"` or `"macro"`.
        objective_class, action_units_raw (`str`): `""` where there is none.
        stated (`Mapping[str, str]`): what the sheet has for `onset`, `apex` and `offset`, such as `"/"`, for the list
            of repairs.
        cells (`Mapping[str, str]`): the whole row, by the sheet's own names.
    """

    sample_id: str
    subject_id: str
    recording: str
    onset: int | None
    apex: int | None
    offset: int | None
    label_raw: str
    where: str
    labels: tuple[str, ...] = ()
    duration: int | None = None
    has_apex: bool = True
    is_apex_corrected: bool = False
    kind: str = "micro"
    objective_class: str = ""
    action_units_raw: str = ""
    stated: Mapping[str, str] = field(default_factory=dict)
    cells: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Interval:
    """
    Where a micro-expression is among the frames that are there.

    Args:
        onset, apex, offset (`int`): numbers of files that exist; onset < apex <= offset. Of a macro-expression or a
            recording the apex may be `None`.
        apex_source (`str`): `"annotated"`, `"repaired"`, `"middle"` (a release without apexes) or `"none"`.
        numbers (`tuple[int, ...]`): the frames from onset to offset that are there.
    """

    onset: int
    apex: int | None
    offset: int
    apex_source: str
    numbers: tuple[int, ...]


def apply_errata(
    recording: str, values: Mapping[str, str], errata: Sequence[Erratum]
) -> tuple[dict[str, str], list[Repair]]:
    """
    Correct the cells of one row.

    Args:
        values: field -> text.

    Returns:
        The corrected values, and what was corrected; its `sample_id` is the recording, since that of the sample may
        depend on what is corrected.
    """
    corrected, repairs = dict(values), []
    for erratum in errata:
        if erratum.recording == recording and values.get(erratum.field) == erratum.found:
            corrected[erratum.field] = erratum.used
            about = (recording, erratum.field, erratum.found, erratum.used)
            repairs.append(Repair(*about, ERRATUM, erratum.reason))
    return corrected, repairs


def left_out(annotation: Annotation, found: str, reason: str, rule: str = "sample") -> Repair:
    return Repair(annotation.sample_id, "sample", found, LEFT_OUT, rule, reason)


def settle_interval(
    annotation: Annotation, numbers: Sequence[int], needs_apex: bool = True
) -> tuple[Interval | None, list[Repair]]:
    """
    Decide which frames a micro-expression consists of; see the rules above.

    Args:
        numbers: frames on disk, ascending.
        needs_apex (`bool`): whether an apex that is absent is replaced, as a pair of frames needs, or stays absent.

    Returns:
        The interval, `None` if the sample is left out, and the repairs, which say so.
    """
    repairs: list[Repair] = []

    def repair(name: str, found: int | None, used: int, rule: str, reason: str) -> int:
        stated = annotation.stated.get(name, "" if found is None else str(found))
        repairs.append(Repair(annotation.sample_id, name, stated, str(used), rule, reason))
        return used

    if annotation.onset is None or annotation.onset < 0:
        found = "" if annotation.onset is None else str(annotation.onset)
        return None, [left_out(annotation, found, f"it has no onset ({annotation.where})")]
    if not numbers:
        return None, [left_out(annotation, annotation.recording, "its folder holds no frames")]

    onset, offset, apex = annotation.onset, annotation.offset, annotation.apex
    by_duration = None if not annotation.duration else onset + annotation.duration - 1
    if offset is None or offset <= 0 or offset < onset:
        is_peak = apex is not None and apex > onset
        if by_duration is None and not is_peak and not needs_apex:
            stated = annotation.stated.get("offset", "" if offset is None else str(offset))
            return None, [left_out(annotation, stated, f"no offset, no apex after its onset ({annotation.where})")]
        used, source = (
            (by_duration, "onset + duration - 1")
            if by_duration is not None
            else (apex, "the apex")
            if is_peak
            else (numbers[-1], "the last frame on disk")
        )
        offset = repair("offset", offset, used, "offset", f"absent, 0 or before the onset; {source} is used")
    elif by_duration is not None and by_duration != offset and by_duration >= onset:
        reason = f"the sheet's duration of {annotation.duration} frames from onset {onset} says otherwise"
        offset = repair("offset", offset, by_duration, "offset", reason)

    is_renumbered = numbers[0] in (0, 1) and numbers[0] != onset and len(numbers) == offset - onset + 1
    if is_renumbered and numbers[-1] - numbers[0] == offset - onset:
        spans = f"{onset} to {offset}"
        reason = f"its files are numbered anew, from {numbers[0]} to {numbers[-1]}"
        return None, [*repairs, left_out(annotation, spans, reason, "numbering")]

    inside = tuple(numbers[bisect_left(numbers, onset) : bisect_right(numbers, offset)])
    if len(inside) < 2:
        spans = f"{onset} to {offset}"
        reason = f"{len(inside)} of the frames {spans} are on disk, which has {numbers[0]} to {numbers[-1]}"
        return None, [*repairs, left_out(annotation, spans, f"{reason}; expected two or more")]

    # what a spotting sheet lacks, or states for one frame only, stays as it is
    apex_source = "repaired" if annotation.is_apex_corrected else "annotated"
    if not annotation.has_apex:
        apex_source = "middle" if needs_apex else "none"
        apex = max((onset + offset) // 2, onset + 1) if needs_apex else None
    elif needs_apex and (problem := _apex_problem(apex, onset, offset)):
        reason = f"{problem}; the middle frame is used"
        apex = repair("apex", apex, max((onset + offset) // 2, onset + 1), "apex", reason)
        apex_source = "repaired"
    elif not needs_apex and (apex is None or not onset <= apex <= offset):
        if apex is not None and apex >= 0:
            repairs.append(Repair(annotation.sample_id, "apex", str(apex), "", "apex", "outside of onset and offset"))
        apex, apex_source = None, "none"

    if needs_apex and apex is not None and apex <= inside[0] != onset:
        spans = f"{onset} to {apex}"
        reason = f"of the frames {spans} only the apex is on disk, if any, which begins with {inside[0]}"
        return None, [*repairs, left_out(annotation, spans, reason, "frames")]
    first = onset if onset == inside[0] else repair("onset", onset, inside[0], "frames", "no such frame on disk")
    last = offset if offset == inside[-1] else repair("offset", offset, inside[-1], "frames", "no such frame on disk")
    if apex is not None and apex not in inside:
        nearest = min(inside[1:] if needs_apex else inside, key=lambda number: (abs(number - apex), number))
        apex = repair("apex", apex, nearest, "frames", "no such frame on disk")
        apex_source = "repaired" if apex_source == "annotated" else apex_source
    missing = offset - onset + 1 - len(inside)
    inner_missing = last - first + 1 - len(inside)
    if inner_missing:
        repairs.append(
            Repair(
                annotation.sample_id,
                "frames",
                f"{inner_missing} of {last - first + 1} missing",
                f"the {len(inside)} that are there",
                "frames",
                f"no such frames on disk ({missing} of the annotated interval in all)",
            )
        )
    return Interval(first, apex, last, apex_source, inside), repairs


def _apex_problem(apex: int | None, onset: int, offset: int) -> str | None:
    if apex is None or apex < 0:
        return "absent"
    if apex == onset:
        return "equal to the onset"
    if not onset < apex <= offset:
        return f"outside of onset {onset} and offset {offset}"
    return None
