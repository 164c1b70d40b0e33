"""What a frozen encoder knows of movement: a linear classifier on the drop of its diagonal attention.

    features = attention_drop_features(model.micron_bert, pairs)
    table = linear_probe(features, pairs, label_names)
    table.score()["uf1"]

For comparing encoders, say a pretrained one with random weights of the same architecture: nothing of the encoder is
trained, and everything else is equal.
"""

from collections.abc import Sequence

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tqdm.auto import tqdm

from ..data import FramePairs
from ..modeling_micron_bert import MicronBertModel, attention_drop
from .predictions import PredictionTable


# Inverse regularisation and folds: ours, chosen on validation subjects of another seed. Far fewer iterations suffice.
INVERSE_REGULARIZATION = 1e-3
NUM_FOLDS = 10
MAX_ITERATIONS = 1000


@torch.no_grad()
def attention_drop_features(
    model: MicronBertModel, pairs: FramePairs, batch_size: int = 32, progress: bool = True
) -> np.ndarray:
    """
    Where a face has changed, by the model's own measure: the drop of the logarithm of each patch's diagonal attention
    against that of frame 0 with itself, averaged over the heads.

    Args:
        model: an encoder in diagonal mode, on any device; its mode is put back.

    Returns:
        `(num_pairs, num_patches)` float32
    """
    was_training = model.training
    model.eval()
    features = []
    for start in tqdm(range(0, len(pairs), batch_size), desc="encode", unit="batch", disable=not progress, delay=1):
        pixel_values = pairs.pixel_values[start : start + batch_size].to(model.device)
        moved = model(pixel_values).diagonal_attention
        still = model(pixel_values[:, [0, 0]]).diagonal_attention
        features.append(attention_drop(moved, still).mean(1).float().cpu())
    model.train(was_training)
    return torch.cat(features).numpy()


def linear_probe(features: np.ndarray, pairs: FramePairs, label_names: Sequence[str]) -> PredictionTable:
    """
    Multinomial logistic regression in subject-disjoint folds; each pair is predicted once, by a classifier that has
    not seen its subject.

    Args:
        features (`np.ndarray` of shape `(num_pairs, num_features)`): standardised here, on each fold's training pairs
        pairs: labelled, of two subjects or more

    Returns:
        [`PredictionTable`], pooled over the folds.
    """
    if pairs.labels is None:
        raise ValueError("A linear probe needs labelled pairs; give `FramePairs` a `label2id`.")
    labels, subjects = pairs.labels.numpy(), np.array(pairs.subject_ids)
    num_folds = min(NUM_FOLDS, len(set(pairs.subject_ids)))
    if num_folds < 2:
        raise ValueError(f"A linear probe needs two subjects or more, got {len(set(pairs.subject_ids))}.")
    scores = np.zeros((len(labels), len(label_names)))
    for train, test in GroupKFold(num_folds).split(features, groups=subjects):
        regression = LogisticRegression(C=INVERSE_REGULARIZATION, max_iter=MAX_ITERATIONS)
        classifier = make_pipeline(StandardScaler(), regression).fit(features[train], labels[train])
        # a class that is absent from the training subjects has probability 0
        scores[np.ix_(test, classifier.classes_)] = classifier.predict_proba(features[test])
    table = PredictionTable(pairs.sample_ids, pairs.subject_ids, labels, scores, tuple(label_names))
    table.check_complete(pairs.sample_ids)
    return table
