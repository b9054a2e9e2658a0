"""A decoder of one layer in numpy, with the inputs and outputs that exports have: for loops.

Attention of grouped heads over a cache, with positions, masks, and keys of an encoder.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from compressor.graph.tensors import Array, Arrays, TensorSpec
from compressor.pipelines.calls import GraphCall, signature_of

VOCABULARY, WIDTH, HEADS, SIZE = 40, 16, 4, 4
INT, FLOAT = np.dtype(np.int64), np.dtype(np.float32)


@dataclass
class Attention:
    """The network itself: tokens so far → logits of the last ones.

    Attributes:
        kv_heads: Heads of the cache; one is multi-query attention.
        positions: Whether a position adds to a token.
    """

    kv_heads: int = HEADS
    positions: bool = True
    seed: int = 3
    weights: dict[str, Array] = field(init=False)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        kv = self.kv_heads * SIZE
        shapes = {"embed": (VOCABULARY, WIDTH), "place": (512, WIDTH), "q": (WIDTH, WIDTH)}
        shapes |= {"k": (WIDTH, kv), "v": (WIDTH, kv), "o": (WIDTH, WIDTH)}
        shapes |= {"ck": (WIDTH, kv), "cv": (WIDTH, kv), "head": (WIDTH, VOCABULARY)}
        self.weights = {n: rng.standard_normal(s).astype(np.float32) for n, s in shapes.items()}

    def split(self, x: Array, name: str) -> Array:
        made = x @ self.weights[name]
        return made.reshape(*x.shape[:2], -1, SIZE).transpose(0, 2, 1, 3)

    def attend(self, q: Array, k: Array, v: Array, allowed: Array) -> Array:
        repeat = HEADS // k.shape[1]
        k, v = np.repeat(k, repeat, 1), np.repeat(v, repeat, 1)
        scores = np.where(allowed, q @ k.transpose(0, 1, 3, 2), -np.inf)
        odds = np.exp(scores - scores.max(-1, keepdims=True))
        made = odds / odds.sum(-1, keepdims=True) @ v
        return made.transpose(0, 2, 1, 3).reshape(len(q), -1, WIDTH) @ self.weights["o"]

    def __call__(
        self,
        ids: Array,
        past: tuple[Array, Array],
        mask: Array | None = None,
        place: Array | None = None,
        cross: tuple[Array, Array] | None = None,
    ) -> tuple[Array, Array, Array]:
        """Logits (units, n, vocabulary), and keys and values with these tokens."""
        before, count = past[0].shape[2], ids.shape[1]
        x = self.weights["embed"][ids]
        if self.positions:
            place = np.arange(before, before + count)[np.newaxis] if place is None else place
            x = x + self.weights["place"][place]
        k = np.concatenate([past[0].astype(np.float32), self.split(x, "k")], 2)
        v = np.concatenate([past[1].astype(np.float32), self.split(x, "v")], 2)
        allowed = np.tril(np.ones((count, before + count), bool), before)
        if mask is not None:
            assert mask.shape == (len(ids), before + count)
            allowed = allowed & mask.astype(bool)[:, np.newaxis, np.newaxis]
        x = x + self.attend(self.split(x, "q"), k, v, allowed)
        if cross is not None:
            x = x + self.attend(self.split(x, "q"), *cross, np.ones((1, cross[0].shape[2]), bool))
        return x @ self.weights["head"], k, v

    def greedy(self, prompt: Array, count: int, cross: tuple[Array, Array] | None = None) -> Array:
        """The tokens after a prompt, each from all before it."""
        ids, nothing = list(prompt), np.zeros((1, self.kv_heads, 0, SIZE), np.float32)
        for _ in range(count):
            logits, *_ = self(np.array([ids]), (nothing, nothing), cross=cross)
            ids.append(int(logits[0, -1].argmax()))
        return np.array(ids[len(prompt) :])


def decoder(
    network: Attention,
    *,
    cached: bool = True,
    merged: bool = False,
    mask: bool = True,
    positions: bool = True,
    cache: np.dtype = FLOAT,
    ids: str = "input_ids",
    batch: object = "batch_size",
    length: object = "sequence_length",
    cross: str | None = None,
    past: bool = True,
    name: str = "model",
) -> GraphCall:
    """The network as a graph in some of the forms that exports have.

    Args:
        cached: Whether it returns a cache.
        merged: Whether `use_cache_branch` says if the cache is used.
        past: Whether it takes a cache, too.
        cross: "states", which it is given every time, or "cache", which the first call makes.
    """
    specs = [TensorSpec(ids, INT, (batch, length))]
    if mask:
        specs.append(TensorSpec("attention_mask", INT, (batch, "total" if cached else length)))
    if positions:
        specs.append(TensorSpec("position_ids", INT, (batch, length)))
    heads = network.kv_heads
    if cross and not (cross == "cache" and past and not merged):
        specs.append(TensorSpec("encoder_hidden_states", FLOAT, (batch, "encoder", WIDTH)))
    sides = ("decoder.", "encoder.") if cross == "cache" else ("decoder.",) if cross else ("",)
    if cached and past:
        for side in sides:
            shape = (batch, heads, f"past_{side}length", SIZE)
            specs += [
                TensorSpec(f"past_key_values.0.{side}{k}", cache, shape) for k in ("key", "value")
            ]
    if merged:
        specs.append(TensorSpec("use_cache_branch", np.dtype(bool), (1,)))

    def run(feeds: Arrays) -> dict[str, Array]:
        rows = len(feeds[ids])
        own = "decoder." if cross else ""
        nothing = np.zeros((rows, heads, 0, SIZE), cache)
        before = tuple(feeds.get(f"past_key_values.0.{own}{k}", nothing) for k in ("key", "value"))
        if merged and not feeds["use_cache_branch"][0]:
            before = (nothing, nothing)
        over, added = _crossed(network, feeds, merged=merged, kept=cross == "cache")
        given = {"mask": feeds.get("attention_mask"), "place": feeds.get("position_ids")}
        logits, k, v = network(feeds[ids], before, **given, cross=over)
        made = {"logits": logits}
        if cached:
            made |= {
                f"present.0.{own}key": k.astype(cache),
                f"present.0.{own}value": v.astype(cache),
            }
        return {**made, **added}

    outputs = [TensorSpec("logits", FLOAT, (batch, length, VOCABULARY))]
    return GraphCall(name, specs, run, signature_of(specs, outputs))


def _crossed(
    network: Attention, feeds: Arrays, *, merged: bool, kept: bool
) -> tuple[tuple[Array, Array] | None, dict[str, Array]]:
    """Keys and values of the encoder, and what is returned of them."""
    names = [f"past_key_values.0.encoder.{k}" for k in ("key", "value")]
    uses = bool(feeds["use_cache_branch"][0]) if merged else names[0] in feeds
    if kept and uses:
        stored = (feeds[names[0]], feeds[names[1]])
        empty = np.zeros((0, network.kv_heads, 1, SIZE), np.float32)
        again = {n.replace("past_key_values", "present"): empty for n in names} if merged else {}
        return stored, again
    if "encoder_hidden_states" not in feeds:
        return None, {}
    hidden = feeds["encoder_hidden_states"]
    made = network.split(hidden, "ck"), network.split(hidden, "cv")
    added = {n.replace("past_key_values", "present"): a for n, a in zip(names, made, strict=True)}
    return made, added if kept else {}


def encoder(network: Attention) -> GraphCall:
    """Embeddings of tokens, without those that are masked."""
    specs = [TensorSpec(n, INT, ("batch", "encoder")) for n in ("input_ids", "attention_mask")]

    def run(feeds: Mapping[str, Array]) -> dict[str, Array]:
        made = network.weights["embed"][feeds["input_ids"]]
        return {"last_hidden_state": made * feeds["attention_mask"][..., np.newaxis]}

    return GraphCall("encoder", specs, run)
