"""One number for what data is."""

import numpy as np

from calibration.dataset import open_dataset
from calibration.preprocess import Preprocess


def numbered_samples(n: int) -> dict[str, np.ndarray]:
    images = np.arange(n * 6, dtype=np.float32).reshape(n, 2, 3)
    return {"image": images, "label": np.arange(n)}


def test_fingerprint_follows_data_order_labels_and_preprocessing():
    arrays = numbered_samples(9)
    other = {**arrays, "image": arrays["image"] + 1}
    reverse = {name: array[::-1] for name, array in arrays.items()}
    relabelled = {**arrays, "label": arrays["label"] * 2}
    renamed = {"picture": arrays["image"], "label": arrays["label"]}
    reshaped = {**arrays, "image": arrays["image"].reshape(9, 3, 2)}
    prints = {open_dataset(a).fingerprint() for a in (arrays, other, reverse, relabelled)}
    prints |= {open_dataset(a).fingerprint() for a in (renamed, reshaped)}
    prints.add(open_dataset(arrays, preprocess=Preprocess(scale=2)).fingerprint())
    prints.add(open_dataset(arrays).take(8).fingerprint())
    assert len(prints) == 8


def test_fingerprint_comes_with_the_first_whole_pass():
    passes = []

    def counted():
        passes.append(1)
        return [numbered_samples(4)]

    data = open_dataset(counted)
    list(data.batches(3))
    before = len(passes)
    assert data.fingerprint() == open_dataset(numbered_samples(4)).fingerprint()
    assert len(data) == 4 and len(passes) == before
