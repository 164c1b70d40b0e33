"""Simple methods beside which a result stands: what can be had without it, and what remains to be had.

| name | sees | learns with |
|---|---|---|
| `majority` | nothing | counting: the most frequent training class, the first of several |
| `onset_appearance` | the onset frame alone | SVM |
| `frame_difference` | absolute difference of the frames, mean grey aligned | logistic regression |
| `dis_flow` | DIS optical flow (Kroeger et al., ECCV 2016), onset to apex | SVM |
| `dis_flow_mirrored` | the same | SVM, on every training pair and its mirror image |
| `true_flow` | the exact motion, which synthetic sets have | SVM |
| `ststnet` | DIS flow and its strain | a small convolutional network |

`onset_appearance` above chance means that classes leak through the still face; `true_flow` is what the flow methods
would have of a perfect flow.

All look at the face box of the row, or at the whole frame if there is none; flow is computed on the whole frame first,
so that what enters the box is seen, and taken relative to its median in the box, which removes most of the head's
movement. Vectors are means over a 10 x 10 grid of the box.

Scores are probabilities where a method has them. An SVM has none: its scores are the softmax of its one-versus-rest
decision values, good for ranking and not calibrated, and their largest is always the class that it predicts.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import cv2
import numpy as np
import sklearn
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from torch import nn

from ..data import SeenPeople
from ..torch_threads import one_torch_thread
from .methods import Method, Predictor, TrainingPairs


# Cells of the grid to a side, and the SVM's C: ours, from the sketch that came before this package.
GRID = 10
SVM_C = 3.0
# Regularised more than by default: 100 features of 480 samples. Ours, not tuned.
LOGISTIC_C = 0.1
# By how much an SVM's answer leads where another class has the larger decision value. Ours.
_LEAD = 1e-6


class _ReferenceMethod:
    """They start from nothing, so that they have seen nobody and can answer for any label set."""

    # Whether rows must have the exact motion, and whether chance takes part in training.
    needs_motion = False
    uses_seed = False

    def seen_people(self) -> SeenPeople:
        return SeenPeople()

    def check(self, label_names: tuple[str, ...]) -> None:
        pass


class _SvmOnGrid(_ReferenceMethod):
    def identity(self, label_names: tuple[str, ...]) -> dict[str, Any]:
        return {"grid": GRID, "svm_c": SVM_C, "class_weight": "balanced", "versions": _versions()}

    def fit(self, train: TrainingPairs, seed: int) -> Predictor:
        return _fit_svm(train.inputs, train.labels, len(train.label_names))


class MajorityClass(_ReferenceMethod):
    """Scores are the shares of the training classes, the same for every pair."""

    name = "Majority class"

    def identity(self, label_names: tuple[str, ...]) -> dict[str, Any]:
        return {}

    def prepare(self, row: Mapping[str, Any]) -> np.ndarray:
        """`(0,)` float32."""
        return np.empty(0, np.float32)

    def fit(self, train: TrainingPairs, seed: int) -> Predictor:
        return _always(train.labels, len(train.label_names))


class OnsetAppearance(_SvmOnGrid):
    name = "Onset frame + SVM"

    def prepare(self, row: Mapping[str, Any]) -> np.ndarray:
        """`(100,)` float32 in [0, 255]: grey of the onset frame."""
        return _on_grid(_in_box(_grey(row["onset"]), row).astype(np.float32))


class FrameDifference(_ReferenceMethod):
    name = "Frame difference + logistic regression"

    def identity(self, label_names: tuple[str, ...]) -> dict[str, Any]:
        return {"grid": GRID, "logistic_c": LOGISTIC_C, "class_weight": "balanced", "versions": _versions()}

    def prepare(self, row: Mapping[str, Any]) -> np.ndarray:
        """`(100,)` float32, at least 0: how far grey levels differ, after both frames' mean was taken away."""
        before, after = (_in_box(_grey(row[name]), row).astype(np.float32) for name in ("onset", "apex"))
        return _on_grid(np.abs((after - after.mean()) - (before - before.mean())))

    def fit(self, train: TrainingPairs, seed: int) -> Predictor:
        num_labels = len(train.label_names)
        if len(np.unique(train.labels)) == 1:
            return _always(train.labels, num_labels)
        regression = LogisticRegression(C=LOGISTIC_C, class_weight="balanced", max_iter=1000)
        fitted = make_pipeline(StandardScaler(), regression).fit(train.inputs, train.labels)
        return lambda inputs: _spread(fitted.predict_proba(inputs), fitted.classes_, num_labels)


class DisFlow(_SvmOnGrid):
    name = "DIS flow + SVM"

    def prepare(self, row: Mapping[str, Any]) -> np.ndarray:
        """`(200,)` float32 in pixels: rows, columns and (x, y) of the grid, flattened in this order."""
        return _on_grid(_relative(_in_box(_dis_flow(row), row)))


class DisFlowMirrored(DisFlow):
    """The stronger of the two: a face and its mirror image show the same expression, so there is twice as much to see.

    The flow is mirrored, not the frames; the two are nearly the same.
    """

    name = "DIS flow + SVM, mirrored pairs too"

    def identity(self, label_names: tuple[str, ...]) -> dict[str, Any]:
        return {**super().identity(label_names), "mirrored_training_pairs": True}

    def fit(self, train: TrainingPairs, seed: int) -> Predictor:
        inputs = np.concatenate([train.inputs, mirror_flow(train.inputs)])
        return _fit_svm(inputs, np.tile(train.labels, 2), len(train.label_names))


class TrueFlow(_SvmOnGrid):
    name = "True flow + SVM"
    needs_motion = True

    def prepare(self, row: Mapping[str, Any]) -> np.ndarray:
        """`(200,)` float32: as [`DisFlow`], from the row's exact `motion`."""
        return _on_grid(_relative(_in_box(row["motion"].astype(np.float32), row)))


class StstNet(_ReferenceMethod):
    """
    After STSTNet (Liong et al., FG 2019, arXiv 1902.03634): flow of onset to apex and its strain as a picture of three
    channels, three parallel convolutions, one linear layer.

    As there (`main.py` of github.com/christy1206/STSTNet at 220f3de): pictures of 28 x 28, convolutions of 3, 5 and 8
    filters of 3 x 3 with padding 2, ReLU, batch normalisation, maximum over 3 x 3, dropout 0.5, mean over 2 x 2, Adam.
    Streams that see the same picture and treat every channel alone are one convolution of 16 filters, and are written
    so. Other than there:

    * DIS flow instead of TV-L1, relative to its median and in widths of the face box;
    * channels divided by their standard deviation over the training pairs, so that no motion stays 0 and a large one
      stays large, instead of 8-bit pictures;
    * training pairs in a new order each epoch; classes weighted inversely to their frequency, as for the SVMs;
    * another batch size, learning rate and number of epochs (there 256, 5e-5 and 800). Nothing is chosen in a fold:
      these and the scaling were chosen on other people, see the constants.

    Training is on the CPU, on one thread: so small a network gains nothing from more, and the number of threads cannot
    change the outcome.
    """

    name = "STSTNet-like flow CNN"
    uses_seed = True

    SIZE = 28
    NUM_FILTERS = 3 + 5 + 8
    DROPOUT = 0.5
    # Ours. UF1 in 5 folds of 60 people made for this choice (480 clips, difficulty 0.7, seed 930001), one seed: 0.788,
    # 0.799, 0.803 and 0.792 after 30, 40, 60 and 80 epochs; 0.778 to 0.790 after 20 to 80 at a rate of 1e-2; after 100
    # at 1e-3 0.789, and 0.728 if every channel of a picture is stretched to 0..255 instead of scaled.
    BATCH_SIZE = 64
    LEARNING_RATE = 3e-3
    NUM_EPOCHS = 60

    def identity(self, label_names: tuple[str, ...]) -> dict[str, Any]:
        return {
            "size": self.SIZE,
            "num_filters": self.NUM_FILTERS,
            "dropout": self.DROPOUT,
            "batch_size": self.BATCH_SIZE,
            "learning_rate": self.LEARNING_RATE,
            "num_epochs": self.NUM_EPOCHS,
            "class_weight": "balanced",
            "versions": {**_versions(), "torch": torch.__version__},
        }

    def prepare(self, row: Mapping[str, Any]) -> np.ndarray:
        """`(3, 28, 28)` float32: x and y part of the flow in widths of the face box, and the optical strain."""
        flow = _relative(_in_box(_dis_flow(row), row))
        channels = np.dstack([flow / flow.shape[1], optical_strain(flow)])
        return cv2.resize(channels, (self.SIZE, self.SIZE), interpolation=cv2.INTER_AREA).transpose(2, 0, 1)

    def fit(self, train: TrainingPairs, seed: int) -> Predictor:
        inputs, labels = torch.from_numpy(train.inputs), torch.from_numpy(train.labels)
        counts = torch.bincount(labels, minlength=len(train.label_names))
        # a class without training pairs has no weight, and nothing asks for it
        class_weights = len(labels) / (counts.clamp(min=1) * (counts > 0).sum())
        scale = inputs.std(dim=(0, 2, 3), keepdim=True).clamp(min=torch.finfo(inputs.dtype).tiny)
        with _alone_with_seed(seed):
            network = self.network(len(train.label_names)).train()
            optimizer = torch.optim.Adam(network.parameters(), lr=self.LEARNING_RATE)
            for _ in range(self.NUM_EPOCHS):
                for batch in torch.randperm(len(labels)).split(self.BATCH_SIZE):
                    logits = network(inputs[batch] / scale)
                    loss = nn.functional.cross_entropy(logits, labels[batch], weight=class_weights)
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
        network.eval()

        @torch.inference_mode()
        def predict(pairs: np.ndarray) -> np.ndarray:
            with one_torch_thread():
                return network(torch.from_numpy(pairs) / scale).double().softmax(dim=1).numpy()

        return predict

    def network(self, num_labels: int) -> nn.Sequential:
        """`(B, 3, 28, 28)` to logits `(B, num_labels)`: 28 + 2 = 30 pixels, 10 after the maximum, 5 after the mean."""
        return nn.Sequential(
            nn.Conv2d(3, self.NUM_FILTERS, kernel_size=3, padding=2),
            nn.ReLU(),
            nn.BatchNorm2d(self.NUM_FILTERS),
            nn.MaxPool2d(kernel_size=3, stride=3, padding=1),
            nn.Dropout(self.DROPOUT),
            nn.AvgPool2d(kernel_size=2),
            nn.Flatten(),
            nn.Linear(5 * 5 * self.NUM_FILTERS, num_labels),
        )


# Key -> what makes the method, in the order of tables.
REFERENCE_METHODS: Mapping[str, Callable[[], Method]] = {
    "majority": MajorityClass,
    "onset_appearance": OnsetAppearance,
    "frame_difference": FrameDifference,
    "dis_flow": DisFlow,
    "dis_flow_mirrored": DisFlowMirrored,
    "true_flow": TrueFlow,
    "ststnet": StstNet,
}


def mirror_flow(vectors: np.ndarray) -> np.ndarray:
    """Vectors `(num_pairs, 200)` of [`DisFlow`] as they would be of faces seen in a mirror."""
    grid = vectors.reshape(-1, GRID, GRID, 2)
    return (grid[:, :, ::-1] * np.array([-1, 1], vectors.dtype)).reshape(vectors.shape)


def optical_strain(flow: np.ndarray) -> np.ndarray:
    """
    How far the skin is stretched or sheared: the norm of the symmetric part of the flow's gradient,
    `sqrt(u_x^2 + v_y^2 + (u_y + v_x)^2 / 2)`.

    Args:
        flow: `(H, W, 2)`, (x, y) in pixels.

    Returns:
        `(H, W)` of the same dtype, no unit, at least 0.
    """
    u_y, u_x = np.gradient(flow[..., 0])
    v_y, v_x = np.gradient(flow[..., 1])
    return np.sqrt(u_x**2 + v_y**2 + (u_y + v_x) ** 2 / 2)


# ----------------------------------------------------------------------------------------------------- what they see


def _grey(frame: np.ndarray) -> np.ndarray:
    """RGB `(H, W, 3)` uint8 to `(H, W)` uint8."""
    return cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY)


def _in_box(image: np.ndarray, row: Mapping[str, Any]) -> np.ndarray:
    if row["face_box"] is None:
        return image
    left, top, right, bottom = row["face_box"]
    return image[top:bottom, left:right]


def _dis_flow(row: Mapping[str, Any]) -> np.ndarray:
    """`(H, W, 2)` float32: where each pixel of the onset frame has gone at the apex, (x, y) in pixels."""
    flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    return flow.calc(_grey(row["onset"]), _grey(row["apex"]), None)


def _relative(flow: np.ndarray) -> np.ndarray:
    return flow - np.median(flow, axis=(0, 1))


def _on_grid(image: np.ndarray) -> np.ndarray:
    return cv2.resize(image, (GRID, GRID), interpolation=cv2.INTER_AREA).ravel()


def _versions() -> dict[str, str]:
    return {"numpy": np.__version__, "opencv": cv2.__version__, "scikit-learn": sklearn.__version__}


# --------------------------------------------------------------------------------------------------- what they learn


def _always(labels: np.ndarray, num_labels: int) -> Predictor:
    """The shares of the training classes, whatever is asked; of one class alone nothing else can be learnt."""
    shares = np.bincount(labels, minlength=num_labels) / len(labels)
    return lambda inputs: np.tile(shares, (len(inputs), 1))


def _fit_svm(inputs: np.ndarray, labels: np.ndarray, num_labels: int) -> Predictor:
    if len(np.unique(labels)) == 1:
        return _always(labels, num_labels)
    fitted = make_pipeline(StandardScaler(), SVC(C=SVM_C, class_weight="balanced")).fit(inputs, labels)

    def predict(pairs: np.ndarray) -> np.ndarray:
        decision = fitted.decision_function(pairs)
        if decision.ndim == 1:  # two classes: one value, positive for the second
            decision = np.stack([np.zeros_like(decision), decision], axis=1)
        # An SVM predicts the class with the most votes of pairs of classes, of several the first. The decision values
        # are votes and what their margins add to them, and may break such a tie otherwise.
        answers = np.searchsorted(fitted.classes_, fitted.predict(pairs))
        other = decision.argmax(axis=1) != answers
        decision[other, answers[other]] = decision[other].max(axis=1) + _LEAD
        weights = np.exp(decision - decision.max(axis=1, keepdims=True))
        return _spread(weights / weights.sum(axis=1, keepdims=True), fitted.classes_, num_labels)

    return predict


def _spread(scores: np.ndarray, classes: np.ndarray, num_labels: int) -> np.ndarray:
    """Scores of the classes that training pairs have, `(num_pairs, len(classes))`, among all; the others' are 0."""
    spread = np.zeros((len(scores), num_labels))
    spread[:, classes] = scores
    return spread


@contextlib.contextmanager
def _alone_with_seed(seed: int) -> Iterator[None]:
    """One thread, and torch's generator of the CPU seeded; both are put back. Dropout can be given no generator."""
    with one_torch_thread(), torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
