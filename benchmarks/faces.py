"""
`python -m benchmarks.faces`: how well and how fast faces are found, aligned and held still; writes results/faces.json.
About 1.2 minutes on one core, most of it for rendering.

Synthetic faces are the ground truth. Points of real faces are annotated by other conventions than the generator's, and
real faces vary in more ways: the errors here compare detectors and changes, and promise nothing about real faces.
"""

import json
import statistics
import time
from collections.abc import Callable, Iterator

import cv2
import numpy as np

from benchmarks.render import RESULTS
from micron_bert_hf.faces import FaceAligner, FaceAlignment, Stabilizer, load_detector
from micron_bert_hf.faces.alignment import EYE_DISTANCE_SHARE, template_points
from micron_bert_hf.faces.transforms import chain_transforms, invert_transform, move_points, similarity_transform
from micron_bert_hf.run_provenance import run_provenance
from micron_bert_hf.synthetic import generate_micro_expressions, generate_unlabelled_clips
from micron_bert_hf.synthetic.face_model import LANDMARK_NAMES


SEED = 11
DIFFICULTY = 0.7
DETECTOR = "mtcnn"
ALIGNED_SIZE = 224
# Still frames: rendered at one size, then put into larger ones with other size, roll and place.
NUM_SUBJECTS, RENDERED_SIZE = 40, 320
FRAME_HEIGHT, FRAME_WIDTH = 480, 640
MAX_ROLL = 25.0
EYE_DISTANCE = (50.0, 110.0)
# Clips: their own drift, blinks and speech; the root of the nose is what moves least in a face.
NUM_CLIPS, CLIP_SIZE, SECONDS, FPS = 4, 256, 0.9, 50
# A face counts as found if both eyes are nearer to the true ones than this, in distances between the eyes.
FOUND_WITHIN = 0.25


def true_points(landmarks: np.ndarray) -> np.ndarray:
    """
    `landmarks_onset` of a row to the five points of a detector, `(5, 2)` float64 in pixel indices: an eye is the
    middle of its corners, and the subject's right is on the image's left.
    """
    at = dict(zip(LANDMARK_NAMES, landmarks.astype(np.float64) - 0.5))
    right, left = ((at[f"eye_inner_{side}"] + at[f"eye_outer_{side}"]) / 2 for side in ("right", "left"))
    return np.stack([right, left, at["nose_tip"], at["mouth_corner_right"], at["mouth_corner_left"]])


def embed(picture: np.ndarray, background: np.ndarray, transform: np.ndarray) -> np.ndarray:
    """
    Args:
        picture: `(h, w, 3)` uint8.
        background: `(H, W, 3)` uint8.
        transform: `(2, 3)`, from pixels of the picture to those of the background.

    Returns:
        The background with the picture over it, `(H, W, 3)` uint8.
    """
    scale = np.hypot(transform[0, 0], transform[1, 0])
    if scale < 1:
        picture = cv2.GaussianBlur(picture, (0, 0), 0.5 * np.sqrt(scale**-2 - 1) + 1e-3)
    return cv2.warpAffine(
        picture,
        transform,
        background.shape[1::-1],
        dst=background.copy(),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_TRANSPARENT,
    )


def placement(points: np.ndarray, eye_distance: float, roll: float, centre: tuple[float, float]) -> np.ndarray:
    """
    Args:
        points: `(5, 2)` of a face.
        eye_distance: in pixels; roll: in degrees, positive turns it counterclockwise; centre: (x, y) of the middle of
            its points. All of the result.

    Returns:
        The `(2, 3)` similarity that takes the face there.
    """
    middle = points.mean(0)
    transform = cv2.getRotationMatrix2D(middle, roll, eye_distance / np.linalg.norm(points[1] - points[0]))
    transform[:, 2] += centre - middle
    return transform


def scenes() -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Frames `(480, 640, 3)` with one face each, and its true points `(5, 2)`."""
    random = np.random.default_rng(SEED)
    rows = generate_micro_expressions(
        NUM_SUBJECTS, 1, image_size=RENDERED_SIZE, difficulty=DIFFICULTY, seed=SEED, classes=("happiness",)
    )
    for row in rows:
        points = true_points(row["landmarks_onset"])
        centre = random.uniform((0.35 * FRAME_WIDTH, 0.4 * FRAME_HEIGHT), (0.65 * FRAME_WIDTH, 0.6 * FRAME_HEIGHT))
        transform = placement(points, random.uniform(*EYE_DISTANCE), random.uniform(-MAX_ROLL, MAX_ROLL), centre)
        background = random.normal(random.uniform(40, 200, 3), 12, (FRAME_HEIGHT, FRAME_WIDTH, 3))
        frame = embed(row["onset"], background.clip(0, 255).astype(np.uint8), transform)
        yield frame, move_points(points, transform)


def measure_alignment() -> dict:
    """Of single frames: recall, errors, times."""
    detector = load_detector(DETECTOR)
    aligner = FaceAligner(detector, ALIGNED_SIZE)
    best_points = template_points(ALIGNED_SIZE)
    eye_errors, aligned_errors, rotation_errors = [], [], []
    times: dict[str, list[float]] = {"detection": [], "warp": [], "stabilized_frame": []}
    num_found = num_false = 0
    for frame, points in scenes():
        num_false += len(_timed(times["detection"], detector, frame))
        alignment = aligner.find(frame)
        if alignment.face is None:
            continue
        error = np.linalg.norm(alignment.face.points - points, axis=1)[:2] / np.linalg.norm(points[1] - points[0])
        if error.max() > FOUND_WITHIN:
            continue
        num_found += 1
        num_false -= 1
        best = similarity_transform(points, best_points)
        off = np.linalg.norm(move_points(points, alignment.transform) - move_points(points, best), axis=1)
        eye_errors += list(100 * error)
        aligned_errors += list(100 * off / (EYE_DISTANCE_SHARE * ALIGNED_SIZE))
        rotation_errors.append(abs(_degrees(alignment.transform) - _degrees(best)))
        _timed(times["warp"], aligner.warp, frame, alignment)
        _timed(times["stabilized_frame"], Stabilizer(aligner, alignment, frame).stabilize, frame)
    return {
        "num_frames": NUM_SUBJECTS,
        "recall": num_found / NUM_SUBJECTS,
        "num_false_faces": num_false,
        "eye_error_percent": _summary(eye_errors),
        "aligned_error_percent": _summary(aligned_errors),
        "rotation_error_degrees": _summary(rotation_errors),
        **{f"{name}_ms": 1000 * statistics.median(seconds) for name, seconds in times.items()},
    }


def measure_jitter() -> list[dict]:
    """
    How far the root of the nose moves in the aligned picture, from frame to frame and since the onset: with one
    transform for the clip (what is left is the head's own movement), with the drift taken back, and with the face
    found anew in each frame.
    """
    aligner = FaceAligner(load_detector(DETECTOR), ALIGNED_SIZE)
    root = LANDMARK_NAMES.index("nasion")
    steps: dict[str, list[float]] = {"one transform": [], "one transform, stabilised": [], "found anew": []}
    since: dict[str, list[float]] = {name: [] for name in steps}
    clips = generate_unlabelled_clips(NUM_CLIPS, SECONDS, FPS, image_size=CLIP_SIZE, difficulty=DIFFICULTY, seed=SEED)
    for clip in clips:
        frames, places = clip["frames"], clip["landmarks"][:, root].astype(np.float64) - 0.5
        alignment = aligner.find(frames[0])
        stabilizer = Stabilizer(aligner, alignment, frames[0])
        transforms = {
            "one transform": [alignment.transform] * len(frames),
            "one transform, stabilised": [_stabilised(stabilizer, alignment, frame) for frame in frames],
            "found anew": [aligner.find(frame).transform for frame in frames],
        }
        for name, of_frames in transforms.items():
            path = np.concatenate([move_points(place[None], transform) for place, transform in zip(places, of_frames)])
            steps[name] += list(np.linalg.norm(np.diff(path, axis=0), axis=1))
            since[name] += list(np.linalg.norm(path[1:] - path[0], axis=1))
    return [
        {"way": name, "step_pixels": _summary(steps[name]), "since_onset_pixels": _summary(since[name])}
        for name in steps
    ]


def _stabilised(stabilizer: Stabilizer, alignment: FaceAlignment, frame: np.ndarray) -> np.ndarray:
    return chain_transforms(alignment.transform, invert_transform(stabilizer.stabilize(frame)[1].transform))


def _degrees(transform: np.ndarray) -> float:
    return float(np.degrees(np.arctan2(transform[1, 0], transform[0, 0])))


def _summary(values: list[float]) -> dict[str, float]:
    return {"median": float(np.median(values)), "p95": float(np.percentile(values, 95))}


def _timed(seconds: list[float], function: Callable, *arguments):
    start = time.perf_counter()
    result = function(*arguments)
    seconds.append(time.perf_counter() - start)
    return result


def main() -> None:
    cv2.setNumThreads(1)
    results = {
        **run_provenance(),
        "opencv": cv2.__version__,
        "seed": SEED,
        "difficulty": DIFFICULTY,
        "detector": DETECTOR,
        "image_size": ALIGNED_SIZE,
        "frame_size": [FRAME_HEIGHT, FRAME_WIDTH],
        "max_roll_degrees": MAX_ROLL,
        "eye_distance_pixels": list(EYE_DISTANCE),
        "alignment": measure_alignment(),
        "clips": {"num_clips": NUM_CLIPS, "seconds": SECONDS, "fps": FPS, "image_size": CLIP_SIZE},
        "jitter": measure_jitter(),
    }
    (RESULTS / "faces.json").write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
