"""Small folders of Hugging Face, as transformers' own save_pretrained writes them."""

import json

WORDS = [
    *("the", "a", "good", "bad", "great", "awful", "film", "book"),
    *("play", "was", "is", "loved", "hated", "seen", "long", "short"),
]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "</s>"]


def tokenizer_of(folder, *, segments=True):
    """A tokenizer of whole words, as the package tokenizers writes it: filled up to a length."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    vocabulary = {word: place for place, word in enumerate([*SPECIAL, *WORDS])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    if segments:
        made.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    made.enable_padding(length=16)  # what sentence-transformers saves, and nobody wants here
    folder.mkdir(parents=True, exist_ok=True)
    made.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 12}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return len(vocabulary)


def classifier(folder, **sizes):
    """BERT that tells two classes of texts apart."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    names = {0: "NEGATIVE", 1: "POSITIVE"}
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = BertConfig(
        vocab_size=tokenizer_of(folder),
        intermediate_size=32,
        max_position_embeddings=16,
        id2label=names,
        label2id={name: place for place, name in names.items()},
        **{**small, **sizes},
    )
    model = BertForSequenceClassification(config).eval()
    model.save_pretrained(folder)
    return model


def decoder(folder):
    """GPT-2 of one layer."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=tokenizer_of(folder, segments=False),
        n_positions=32,
        n_embd=16,
        n_layer=1,
        n_head=2,
        bos_token_id=4,
        eos_token_id=4,
    )
    model = GPT2LMHeadModel(config).eval()
    model.save_pretrained(folder)
    return model


def translator(folder):
    """T5 of one layer a side."""
    import torch
    from transformers import T5Config, T5ForConditionalGeneration

    torch.manual_seed(0)
    config = T5Config(
        vocab_size=tokenizer_of(folder, segments=False),
        d_model=16,
        d_kv=8,
        d_ff=32,
        num_layers=1,
        num_heads=2,
        decoder_start_token_id=0,
        pad_token_id=0,
        eos_token_id=4,
    )
    model = T5ForConditionalGeneration(config).eval()
    model.save_pretrained(folder)
    return model
