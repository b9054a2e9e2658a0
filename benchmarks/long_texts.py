"""Documents of 1,024 tokens from Python's standard library, and an encoder that reads them."""

from pathlib import Path
from typing import Any

import numpy as np

from compressor.graph.tensors import Array
from sentences import divided_modules, sentences

TOKENS = 1024


def documents(
    folder: Path, first: int, second: int, seed: int = 0
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Two sets of documents of other modules each: token numbers and attention mask.

    Args:
        folder: Of the encoder, whose tokenizer is used.
        first: How many of one half of the modules, at most.
        second: How many of the other half, at most.
        seed: Of the division.
    """
    from transformers import AutoTokenizer  # noqa: PLC0415 - to skip needs none

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    halves = divided_modules(np.random.default_rng(seed))
    one, other = (
        _joined(tokenizer, files, count)
        for files, count in zip(halves, (first, second), strict=True)
    )
    return one, other


def long_encoder(folder: Path) -> Any:
    """The network with as many positions as tokens, interpolated between those that it has.

    It writes the means of the hidden states over the mask: (documents, width).
    """
    import torch  # noqa: PLC0415 - likewise
    from transformers import AutoModel  # noqa: PLC0415 - likewise

    network = AutoModel.from_pretrained(folder, local_files_only=True, attn_implementation="eager")
    table = network.embeddings.position_embeddings
    between = torch.nn.functional.interpolate(
        table.weight.detach().T[None], size=TOKENS, mode="linear", align_corners=True
    )[0].T
    longer = torch.nn.Embedding(TOKENS, table.embedding_dim)
    longer.weight.data = between.contiguous()
    network.embeddings.position_embeddings = longer
    network.embeddings.position_ids = torch.arange(TOKENS)[None]
    network.embeddings.token_type_ids = torch.zeros(1, TOKENS, dtype=torch.long)
    network.config.max_position_embeddings = TOKENS

    class Encoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            made = self.network(input_ids=input_ids, attention_mask=attention_mask)
            states: torch.Tensor = made.last_hidden_state
            mask = attention_mask.unsqueeze(-1).to(states.dtype)
            return (states * mask).sum(1) / mask.sum(1)

    return Encoder().eval()


def _joined(tokenizer: Any, files: list[Path], most: int) -> dict[str, Array]:
    """The sentences of modules, one behind the other until a document is full."""
    found: list[list[int]] = []
    body: list[int] = []
    for text in (text for path in files for text in sentences(path)):
        body += tokenizer(text, add_special_tokens=False)["input_ids"]
        if len(body) >= TOKENS - 2:
            found.append([tokenizer.cls_token_id, *body[: TOKENS - 2], tokenizer.sep_token_id])
            body = []
        if len(found) == most:
            break
    ids = np.array(found, np.int64)
    return {"input_ids": ids, "attention_mask": np.ones_like(ids)}
