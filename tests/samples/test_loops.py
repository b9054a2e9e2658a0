"""The samples' own loops on their own networks, which are small and untrained here."""

import runpy
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="the samples are torch modules")

import torch
from tokenizers import ByteLevelBPETokenizer

from compressor.capture.eager import runs_as_it_is
from compressor.checkpoint import source_of
from compressor.pipelines.calls import GraphCall, Graphs
from compressor.system.userfile import load_object
from exporters.base import find_target

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "samples"
NAMES = ("gan", "vae", "diffusion", "language", "encoder")

Own = dict[str, Any]


def loop_of(sample: str, **constants: object) -> Callable[..., dict[str, Any]]:
    """The sample's `generate`, with some constants of its file replaced."""
    generate = load_object(f"{SAMPLES / sample / 'sample.py'}:generate", "pipeline")
    assert callable(generate)
    generate.__globals__.update(constants)
    return generate


def graphs(sample: str, **factories: Mapping[str, Any]) -> Graphs:
    """Graph → the module of its factory, small, as the loop calls it."""
    torch.manual_seed(0)
    found = {}
    for name, (factory, arguments) in factories.items():
        build = load_object(f"{SAMPLES / sample / 'model.py'}:{factory}", "model factory")
        runner = runs_as_it_is(source_of(build(**arguments).eval()), find_target("ort"))
        found[name] = GraphCall(name, (), runner.run)
    return Graphs(found)


def check(generate: Callable[..., dict[str, Any]], models: Graphs, name: str) -> Any:
    """What three units are; the seed alone decides."""
    first, again, other = (generate(models, seed, 3)[name] for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert len(first) == 3
    return first


def test_the_gan_makes_images() -> None:
    images = check(loop_of("gan"), graphs("gan", generator=("build", {"width": 4})), "image")
    assert images.shape[1:] == (1, 32, 32)
    assert 0 <= images.min() < images.max() <= 1


def test_the_autoencoder_reconstructs_what_the_loop_reads(tmp_path: Path) -> None:
    known = np.random.default_rng(0).random((5, 1, 32, 32)).astype(np.float32)
    np.savez(tmp_path / "images.npz", image=known)
    generate = loop_of("vae", IMAGES=tmp_path / "images.npz")
    small = {"width": 4}
    models = graphs("vae", encoder=("encoder", small), decoder=("decoder", small))
    assert check(generate, models, "reconstruction").shape[1:] == (1, 32, 32)
    assert check(generate, models, "drawn").shape[1:] == (1, 32, 32)
    assert all(image in known for image in generate(models, 1, 3)["target"])
    assert {name: one.calls for name, one in models.items()} == {"encoder": 7, "decoder": 14}


def test_the_diffusion_loop_ends_in_images() -> None:
    models = graphs("diffusion", unet=("build", {"width": 8}))
    images = check(loop_of("diffusion"), models, "image")
    assert images.shape[1:] == (1, 32, 32)
    assert -0.5 <= images.min() < images.max() <= 1.5
    assert models["unet"].calls == 3 * 20


def test_ddim_finds_the_image_again_if_the_noise_is_known() -> None:
    generate = loop_of("diffusion")
    alphas = generate.__globals__["ALPHAS"]
    clean = np.random.default_rng(0).uniform(-1, 1, (2, 1, 32, 32)).astype(np.float32)

    def unet(x: Any, t: Any) -> dict[str, Any]:
        left = alphas[t][:, None, None, None]
        return {"eps": (x - np.sqrt(left) * clean) / np.sqrt(1 - left)}

    images = generate({"unet": unet}, 0, 2)["image"]
    assert np.abs(images - (clean + 1) / 2).max() < 1e-4


TINY = {"width": 16, "layers": 2, "heads": 2}


def test_the_language_loop_continues_prompts(tmp_path: Path) -> None:
    prompts = np.random.default_rng(0).integers(0, 1024, (7, 16))
    np.savez(tmp_path / "prompts.npz", input_ids=prompts)
    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(["a word"], vocab_size=1024)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    generate = loop_of(
        "language", PROMPTS=tmp_path / "prompts.npz", LAYERS=2, HEADS=2, SIZE=8, NEW=6
    )
    tokens = check(generate, graphs("language", model=("build", TINY)), "tokens")
    assert tokens.shape == (3, 16 + 6)
    assert tokens.dtype == np.int64
    assert all(row[:16].tolist() in prompts.tolist() for row in tokens)


def test_a_prompt_at_once_is_a_prompt_token_by_token() -> None:
    build = load_object(f"{SAMPLES / 'language' / 'model.py'}:build", "model factory")
    torch.manual_seed(0)
    network, tokens = build(**TINY).eval(), torch.arange(10)[None] * 7
    empty = torch.zeros(1, 2, 0, 8)
    past = {f"past_key_values.{n}.{part}": empty for n in range(2) for part in ("key", "value")}
    with torch.inference_mode():
        whole = network(tokens, **past)["logits"]
        steps = []
        for position in range(10):
            made = network(tokens[:, position : position + 1], **past)
            past = {name: made[name.replace("past_key_values", "present")] for name in past}
            steps.append(made["logits"])
    assert torch.allclose(torch.cat(steps, 1), whole, atol=1e-5)


def test_the_encoder_loop_classifies_what_it_reads(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    tokens, labels = rng.integers(1, 2048, (9, 48)), rng.integers(0, 8, 9)
    np.savez(tmp_path / "eval.npz", input_ids=tokens, label=labels)
    generate = loop_of("encoder", TEXTS=tmp_path / "eval.npz")
    models = graphs("encoder", model=("build", {"width": 16, "layers": 1}))
    assert check(generate, models, "logits").shape == (3, 8)
    made = generate(models, 1, 3)
    assert np.array_equal(made["label"], labels[made["index"]])


def test_filling_does_not_change_what_a_text_is_taken_for() -> None:
    build = load_object(f"{SAMPLES / 'encoder' / 'model.py'}:build", "model factory")
    torch.manual_seed(0)
    network, tokens = build(width=16, layers=1).eval(), torch.zeros(1, 48, dtype=torch.long)
    tokens[:, :5] = torch.arange(3, 8)
    with torch.inference_mode():
        before = network(tokens)
        network.embedding.weight[0] += 1.0
        assert torch.allclose(network(tokens), before, atol=1e-6)


@pytest.mark.parametrize("sample", NAMES)
def test_a_recipe_names_what_train_writes_and_what_is_there(sample: str) -> None:
    recipe = tomllib.loads((SAMPLES / sample / "recipe.toml").read_text(encoding="utf-8"))
    graphs = recipe.get("graphs", {"model": recipe.get("model")})
    factories = [graph["factory"] for graph in graphs.values()]
    for spec in [*factories, recipe.get("pipeline", {}).get("loop", factories[0])]:
        path, _, name = spec.partition(":")
        assert name in runpy.run_path(str(ROOT / path)), spec
    files = {graph.get("model", f"out/{sample}/model.pt") for graph in graphs.values()}
    assert files == {f"out/{sample}/model.pt"}


def test_features_are_what_the_last_layer_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(SAMPLES / "digits")
    own = load_object(f"{SAMPLES / 'digits' / 'features.py'}:Features", "features")
    build = load_object(f"{SAMPLES / 'digits' / 'model.py'}:build", "model factory")
    network, images = build(width=4).eval(), torch.rand(2, 1, 32, 32)
    with torch.inference_mode():
        features = own(network)(images)
        assert features.shape == (2, 8)
        assert torch.allclose(network.head(features), network(images), atol=1e-6)


SOURCE = '"""{0} is what this module tells, in more than forty letters."""\n'


def test_docstrings_come_in_the_order_of_files_and_are_divided_by_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("b", "a", "c", "test/d", "e"):
        path = tmp_path / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(SOURCE.format(name.upper()) if name != "e" else "def broken(:")
    own = load_object(f"{SAMPLES / 'language' / 'text.py'}:docstrings", "text")
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    assert [text[0] for _, text in own()] == ["A", "B", "C"]
    divided = load_object(f"{SAMPLES / 'language' / 'text.py'}:divided", "text")
    seen, held_out = divided()
    assert ([text[0] for text in held_out], [text[0] for text in seen]) == (["A"], ["B", "C"])


def test_families_are_those_with_the_most_docstrings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(9):
        path = tmp_path / f"m{number}.py"
        functions = "\n".join(
            f"def f{i}():\n    {SOURCE.format(f'm{number} {i}')}" for i in range(number)
        )
        path.write_text(functions)
    labelled = load_object(f"{SAMPLES / 'encoder' / 'text.py'}:labelled", "text")
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    texts, labels, names = labelled()
    assert names == [f"m{number}" for number in range(8, 0, -1)]
    assert len(texts) == len(labels) == 36
    assert all(text.startswith(names[label]) for text, label in zip(texts, labels, strict=True))
