"""What all contestants are given: checkpoints with random weights, batches, tables of rows.

    python -m benchmarks.material FOLDER CONFIGURATION

writes one checkpoint; TensorFlow stays out of the process that keeps the time.
"""

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.environments import CACHE

FIRST_ID = 5  # smaller ids are special tokens
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")

MODELS = {
    "DistilBERT-base": {"model_type": "distilbert"},
    "BERT-base": {"model_type": "bert"},
    "BERT-tiny": {
        "model_type": "bert",
        "num_hidden_layers": 2,
        "hidden_size": 128,
        "num_attention_heads": 2,
        "intermediate_size": 512,
    },
    "long BERT": {
        "model_type": "bert",
        "num_hidden_layers": 2,
        "hidden_size": 256,
        "num_attention_heads": 4,
        "intermediate_size": 1024,
        "max_position_embeddings": 4096,
    },
    "Longformer": {
        "model_type": "longformer",
        "num_hidden_layers": 2,
        "hidden_size": 256,
        "num_attention_heads": 4,
        "intermediate_size": 1024,
        "max_position_embeddings": 16_384 + 8,
        "attention_window": 512,
    },
    "GPT-2": {"model_type": "gpt2"},
    "Qwen3-0.6B": {
        "model_type": "qwen3",
        "dtype": "bfloat16",
        "vocab_size": 151_936,
        "hidden_size": 1024,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "intermediate_size": 3072,
        "tie_word_embeddings": True,
    },
    "T5-small": {"model_type": "t5", "decoder_start_token_id": 0},
    "Marian-base": {
        "model_type": "marian",
        "vocab_size": 58_101,
        "d_model": 512,
        "encoder_layers": 6,
        "encoder_attention_heads": 8,
        "encoder_ffn_dim": 2048,
        "decoder_layers": 6,
        "decoder_attention_heads": 8,
        "decoder_ffn_dim": 2048,
        "activation_function": "swish",
        "scale_embedding": True,
        "pad_token_id": 58_100,
        "decoder_start_token_id": 58_100,
        "max_position_embeddings": 512,
    },
}
SMALL_BERT = {
    "model_type": "bert",
    "vocab_size": 100,
    "num_hidden_layers": 1,
    "hidden_size": 32,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 256,
}
SMALL_MODELS = {
    "DistilBERT-base": {
        "model_type": "distilbert",
        "vocab_size": 100,
        "n_layers": 1,
        "dim": 32,
        "n_heads": 2,
        "hidden_dim": 64,
    },
    "BERT-base": SMALL_BERT,
    "BERT-tiny": SMALL_BERT,
    "long BERT": SMALL_BERT,
    "Longformer": SMALL_BERT
    | {
        "model_type": "longformer",
        "max_position_embeddings": 264,
        "attention_window": 16,
    },
    "GPT-2": {
        "model_type": "gpt2",
        "vocab_size": 300,
        "n_layer": 1,
        "n_embd": 32,
        "n_head": 2,
        "n_positions": 64,
        "bos_token_id": 1,
        "eos_token_id": 1,
    },
    "Qwen3-0.6B": {
        "model_type": "qwen3",
        "dtype": "bfloat16",
        "vocab_size": 100,
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "intermediate_size": 64,
        "tie_word_embeddings": True,
    },
    "T5-small": {
        "model_type": "t5",
        "vocab_size": 100,
        "d_model": 32,
        "d_kv": 16,
        "d_ff": 64,
        "num_layers": 1,
        "num_heads": 2,
        "decoder_start_token_id": 0,
    },
    "Marian-base": {
        "model_type": "marian",
        "vocab_size": 101,
        "d_model": 32,
        "encoder_layers": 1,
        "encoder_attention_heads": 2,
        "encoder_ffn_dim": 64,
        "decoder_layers": 1,
        "decoder_attention_heads": 2,
        "decoder_ffn_dim": 64,
        "pad_token_id": 100,
        "decoder_start_token_id": 100,
        "max_position_embeddings": 64,
    },
}


@dataclass(frozen=True)
class Model:
    """A checkpoint on disk, and its sizes."""

    folder: str
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    layers: int
    dtype: str = "float32"

    def matrix_flop(self, batch: int, length: int, *, training: bool) -> float:
        """Floating point operations of the matrix products of one step of a classifier.

        A layer has the products of query, key and value, of the scores and of the mixing, of the
        output and of the two feed-forward layers. In the last layer, what follows queries, keys
        and values is needed for the first token alone. Gradients take twice as many again.
        """
        size = self.hidden_size
        projection = 3 * size * size
        rest = 2 * length * size + size * size + 2 * size * self.intermediate_size
        needed = self.layers * length * (projection + rest) - (length - 1) * rest
        return 2 * batch * needed * (3 if training else 1)

    @property
    def parameters(self) -> int:
        """Number of values in the file, its header of a few kB counted along."""
        size = 2 if self.dtype == "bfloat16" else 4
        return Path(self.folder, "model.safetensors").stat().st_size // size


def model(name: str, *, small: bool) -> Model:
    """Return the model; its checkpoint is written if it is not in the cache yet."""
    settings = (SMALL_MODELS if small else MODELS)[name]
    key = hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:12]
    folder = CACHE / "checkpoints" / f"{name.lower().replace(' ', '-')}-{key}"
    if not folder.exists():
        command = [sys.executable, "-m", "benchmarks.material", folder, json.dumps(settings)]
        ran = subprocess.run(command, capture_output=True, text=True)
        if ran.returncode:
            sys.exit(f"{name} could not be written: {ran.stderr}")
    config = json.loads((folder / "config.json").read_text())
    get = lambda *names: next(config[name] for name in names if name in config)  # noqa: E731
    hidden_size = get("dim", "n_embd", "d_model", "hidden_size")
    return Model(
        folder=str(folder),
        vocab_size=config["vocab_size"],
        hidden_size=hidden_size,
        # DistilBERT's hidden_dim is what others call intermediate_size.
        intermediate_size=get(
            "hidden_dim", "n_inner", "d_ff", "encoder_ffn_dim", "intermediate_size"
        )
        or 4 * hidden_size,
        layers=get("n_layers", "n_layer", "num_layers", "encoder_layers", "num_hidden_layers"),
        dtype=config.get("dtype", "float32"),
    )


def _write_checkpoint(folder: Path, settings: dict) -> None:
    from tensorflow import random
    from transformers import AutoConfig

    import tfhf

    config = AutoConfig.for_model(**settings)
    kinds = {
        "gpt2": tfhf.TFAutoModelForCausalLM,
        "qwen3": tfhf.TFAutoModelForCausalLM,
        "t5": tfhf.TFAutoModelForSeq2SeqLM,
        "marian": tfhf.TFAutoModelForSeq2SeqLM,
    }
    kind = kinds.get(config.model_type, tfhf.TFAutoModelForSequenceClassification)
    model = kind.from_config(config, dtype=settings.get("dtype", "float32"))
    for i, variable in enumerate(model.weights):
        if len(variable.shape) == 1:  # biases and norms: one in the wrong place must show
            variable.assign_add(random.stateless_normal(variable.shape, [i, 0], stddev=0.02))
    unfinished = folder.with_name(f"{folder.name}.{os.getpid()}")
    model.save_pretrained(unfinished)
    words = [f"word{i}" for i in range(FIRST_ID, config.vocab_size)]
    (unfinished / "vocab.txt").write_text("\n".join((*SPECIAL_TOKENS, *words)) + "\n")
    tokenizer = {"tokenizer_class": "BertTokenizer", "do_lower_case": True}
    (unfinished / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    unfinished.replace(folder)


def mrpc_lengths(rows: int, seed: int = 0) -> np.ndarray:
    """Lengths like those of MRPC's sentence pairs in WordPieces of bert-base-uncased.

    Log-normal with mean 53 and standard deviation 14, clipped to 12 and 128. (The corpus itself
    cannot be had through a package registry.)
    """
    sigma = 0.27
    drawn = np.random.default_rng(seed).lognormal(np.log(53) - sigma**2 / 2, sigma, rows)
    return np.clip(np.round(drawn), 12, 128).astype(np.int64)


def review_lengths(rows: int, seed: int = 0) -> np.ndarray:
    """Lengths like those of the demo's film reviews in WordPieces, special tokens counted.

    Gamma with mean 27 and standard deviation 11, clipped to 4 and 79.
    """
    mean, deviation = 27, 11
    drawn = np.random.default_rng(seed).gamma((mean / deviation) ** 2, deviation**2 / mean, rows)
    return np.clip(np.round(drawn), 4, 79).astype(np.int64)


def write_batches(path: Path, vocab_size: int, batches: dict[str, list[np.ndarray]]) -> str:
    """Write padded batches for rows of the given lengths: a list of batches under each name.

    The file holds ``name|number|column`` for the columns input_ids, attention_mask, labels.
    """
    rng = np.random.default_rng(0)
    arrays = {}
    for name, lengths_of_batches in batches.items():
        for i, lengths in enumerate(lengths_of_batches):
            mask = (np.arange(lengths.max()) < lengths[:, None]).astype(np.int64)
            arrays[f"{name}|{i}|input_ids"] = rng.integers(FIRST_ID, vocab_size, mask.shape) * mask
            arrays[f"{name}|{i}|attention_mask"] = mask
            arrays[f"{name}|{i}|labels"] = rng.integers(0, 2, len(lengths))
    np.savez(path, **arrays)
    return str(path)


def write_table(path: Path, vocab_size: int, lengths: np.ndarray) -> str:
    """Write tokenized rows before they are batched: values end to end, lengths, labels."""
    rng = np.random.default_rng(0)
    np.savez(
        path,
        input_ids=rng.integers(FIRST_ID, vocab_size, lengths.sum()).astype(np.int32),
        lengths=lengths,
        labels=rng.integers(0, 2, len(lengths)),
    )
    return str(path)


def write_sentences(
    path: Path, vocab_size: int, lengths: np.ndarray, first_id: int = FIRST_ID
) -> str:
    """Write a list of texts; special tokens make them as long as that."""
    rng = np.random.default_rng(0)
    rows = (rng.integers(first_id, vocab_size, length - 2) for length in lengths)
    path.write_text(json.dumps([" ".join(f"word{i}" for i in row) for row in rows]))
    return str(path)


def write_byte_level_tokenizer(folder: Path, vocab_size: int) -> str:
    """Write GPT-2's tokenizer with another vocabulary: bytes, and pairs of pairs of letters."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    pairs = [(a, b) for a in letters for b in letters]
    quads = [("".join(a), "".join(b)) for a in pairs for b in pairs]
    np.random.default_rng(0).shuffle(quads)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    end = "<|endoftext|>"
    merges = [*pairs, *map(tuple, quads)][: vocab_size - len(alphabet) - 1]
    tokens = [*alphabet, *map("".join, merges), end]
    vocab = {token: i for i, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocab, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(folder / "tokenizer.json"))
    special = dict.fromkeys(("bos_token", "eos_token", "unk_token", "pad_token"), end)
    config = {"tokenizer_class": "GPT2Tokenizer", "padding_side": "left"} | special
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return str(folder)


if __name__ == "__main__":
    _write_checkpoint(Path(sys.argv[1]), json.loads(sys.argv[2]))
