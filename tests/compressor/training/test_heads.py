"""Heads of exits learn what the whole graph answers."""

import numpy as np

from compressor.recipe.training import TrainOptions
from compressor.training.heads import Lesson, train_head

RNG = np.random.default_rng(0)
TRUE = RNG.standard_normal((6, 3)).astype(np.float32)


def lesson(count: int) -> Lesson:
    features = (5 + 3 * RNG.standard_normal((count, 6))).astype(np.float32)
    return Lesson(features, features @ TRUE)


def test_a_head_learns_linear_answers_and_the_same_again() -> None:
    seen, held = lesson(256), lesson(64)
    head = train_head(seen, held, TrainOptions(), 0, is_share=False)
    agrees = head.scores(held.features).argmax(-1) == held.answers.argmax(-1)
    assert agrees.mean() > 0.9
    again = train_head(seen, held, TrainOptions(), 0, is_share=False)
    assert head.weight.tobytes() == again.weight.tobytes()
