"""Tiny random models to generate with, decoders and encoder-decoders, and the same in PyTorch."""

from __future__ import annotations

import functools
import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import transformers

import tfhf
from tfhf.checkpoints.pretrained import tensor_entries
from tfhf.models.names import MODELS

POSITIONS = 32


def decoders() -> list[str]:
    """Return the classes of `tfhf` that continue text, one of each family."""
    classes = [
        getattr(tfhf, name)
        for names in MODELS.values()
        for name in names
        if name.endswith(("ForCausalLM", "LMHeadModel"))
    ]
    return [each.__name__ for each in classes if "past_key_values" in each.input_names]


def encoder_decoders() -> list[str]:
    """Return the classes of `tfhf` that write a target to a source, one of each family."""
    endings = ("ForConditionalGeneration", "MTModel")
    return [name for names in MODELS.values() for name in names if name.endswith(endings)]


def config_of(class_name: str, **changes: Any) -> Any:
    """Return the plain configuration of the family's parity tests, with room for more tokens."""
    file = next(file for file, names in MODELS.items() if class_name in names)
    module = importlib.import_module(f"test_{file}")
    tests = next(value for value in vars(module).values() if hasattr(value, "configs"))
    plain = tests.configs["plain"].to_dict()
    names = ("max_position_embeddings", "n_positions", "n_ctx")
    names += ("max_encoder_position_embeddings", "max_decoder_position_embeddings")
    sizes: dict[str, Any] = {name: POSITIONS for name in names}
    sizes["final_logit_softcapping"] = 30.0  # a low one makes the highest scores equal
    sizes["is_decoder"] = True  # of encoders
    sizes = {name: value for name, value in sizes.items() if name in plain}
    # What ends a sequence is told to generate().
    ends = {"eos_token_id": None, "bos_token_id": 1, "pad_token_id": 0}
    if plain["is_encoder_decoder"]:
        sizes.pop("is_decoder", None)
        ends |= {"forced_eos_token_id": None, "decoder_start_token_id": 2}
    return type(tests.configs["plain"]).from_dict(plain | sizes | ends | changes)


@functools.cache
def decoder(class_name: str, **changes: Any) -> Any:
    """Return a model; the same one for all tests of a worker, with what it has compiled."""
    return getattr(tfhf, class_name)(config_of(class_name, **changes))


def randomize(model: Any, seed: int) -> None:
    """Give a model weights under which its choices depend on all that it read."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        noise = rng.normal(size=weight.shape)
        if len(weight.shape) > 1:
            weight.assign(0.4 * noise)
        else:
            weight.assign((weight.name != "bias") + 0.2 * noise)


def in_torch(model: Any) -> Any:
    """Return PyTorch's model with the same weights."""
    import torch

    tensors = {entry.name: torch.from_numpy(entry.read()) for entry in tensor_entries(model)}
    theirs, info = getattr(transformers, type(model).__name__.removeprefix("TF")).from_pretrained(
        None,
        config=model.config,
        state_dict=tensors,
        attn_implementation="eager",
        output_loading_info=True,
    )
    assert not info["missing_keys"] and not info["unexpected_keys"], info
    return theirs.eval()


def prompts(seed: int, rows: int = 4, longest: int = 7) -> dict[str, np.ndarray]:
    """Return texts of unequal lengths, padded at the left; no token is padding or an end."""
    rng = np.random.default_rng(seed)
    lengths = [longest, *rng.integers(1, longest + 1, rows - 1)]
    mask = (np.arange(longest) >= longest - np.array(lengths)[:, None]).astype(np.int64)
    return {"input_ids": rng.integers(12, 28, mask.shape) * mask, "attention_mask": mask}


def torch_prompt(model: Any, inputs: dict[str, np.ndarray]) -> dict[str, Any]:
    """Return a prompt for the ``generate`` of PyTorch's model."""
    if model.first_position:  # that PyTorch forgets: it counts from 0, in all architectures
        positions = np.maximum(np.cumsum(inputs["attention_mask"], axis=1) - 1, 0)
        inputs = inputs | {"position_ids": positions + model.first_position}
    return to_torch(inputs)


def to_torch(inputs: dict[str, np.ndarray]) -> dict[str, Any]:
    """Return the same inputs as PyTorch tensors."""
    import torch

    return {name: torch.from_numpy(value) for name, value in inputs.items()}


def to_tf(inputs: dict[str, np.ndarray]) -> dict[str, tf.Tensor]:
    """Return the same inputs as TensorFlow's tensors."""
    return {name: tf.constant(value, tf.int32) for name, value in inputs.items()}


def answers_without_tfhf(
    model: Any, ways: dict[str, Any], inputs: dict[str, tf.Tensor], folder: Path
) -> dict[str, Any]:
    """Return what a SavedModel generates, 6 tokens in each way, for a Python without tfhf."""
    spec = tf.TensorSpec([None, None], tf.int32)

    def signature(settings):
        @tf.function
        def serve(input_ids, attention_mask):
            ids = model.generate(
                input_ids, attention_mask=attention_mask, max_new_tokens=6, **settings
            )
            return {"ids": ids}

        return serve.get_concrete_function(input_ids=spec, attention_mask=spec)

    served = tf.Module()
    served.model = model
    functions = {way: signature(settings) for way, settings in ways.items()}
    tf.saved_model.save(served, folder, functions)
    program = (
        "import json, sys, tensorflow as tf; loaded = tf.saved_model.load(sys.argv[1]);"
        "inputs = {k: tf.constant(v) for k, v in json.loads(sys.argv[2]).items()};"
        "answers = {k: f(**inputs)['ids'].numpy().tolist() for k, f in loaded.signatures.items()};"
        "assert 'tfhf' not in sys.modules and 'transformers' not in sys.modules;"
        "print(json.dumps(answers))"
    )
    listed = json.dumps({name: value.numpy().tolist() for name, value in inputs.items()})
    command = [sys.executable, "-c", program, str(folder), listed]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
