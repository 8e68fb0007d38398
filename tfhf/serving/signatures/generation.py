"""What signatures of models that write have in common: settings that are fixed at the export."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf
from transformers import GenerationConfig, PreTrainedTokenizerBase

from tfhf.generation.search import is_end
from tfhf.generation.settings import settle
from tfhf.modeling import TFPreTrainedModel
from tfhf.serving.signatures.signature import Signature, Tensors

#: The fact of a signature that answers the same request otherwise each time.
UNSEEDED = "samples_without_seed"


class Writer:
    """``model.generate`` with fixed settings, for a graph.

    Args:
        model: a model that generates.
        config: its settings for a task.
        given: settings by name, which count before those; and ``seed``.
        tokenizer: that of the model, which ``stop_strings`` need.

    Attributes:
        settings: all that is asked for.
        facts: what a client needs to know of it.

    Raises:
        TypeError: there is no such setting.
        ValueError: a setting is impossible.
    """

    def __init__(
        self,
        model: TFPreTrainedModel,
        config: GenerationConfig,
        given: Mapping[str, Any],
        tokenizer: PreTrainedTokenizerBase | None = None,
    ) -> None:
        given = {"output_attentions": False, "output_hidden_states": False} | dict(given)
        self._seed = given.pop("seed", None)
        self.settings, unknown = settle(model.generation_config, config, dict(given))
        if unknown:
            raise TypeError(f"generate has no setting {', '.join(unknown)}")
        written = self.settings.to_diff_dict()
        self.facts: dict[str, Any] = {
            "generation": {k: v for k, v in written.items() if not k.startswith("_")}
        }
        if self.settings.do_sample and self._seed is None:
            self.facts[UNSEEDED] = True
        self._model = model
        self._arguments = {"generation_config": config, **given}
        self._arguments |= {"return_dict_in_generate": False, "output_scores": False}
        if self.settings.stop_strings is not None:
            self._arguments["tokenizer"] = tokenizer

    def __call__(self, inputs: Tensors, **options: Any) -> tf.Tensor:
        """Return sequences, int32 [batch * sequences, length]; options count before settings."""
        if self._seed is not None:  # the same for each row, so that none depends on another
            rows = tf.shape(inputs["input_ids"])[0]
            options = {"seed": tf.tile([[self._seed, 0]], [rows, 1])} | options
        return self._model.generate(**inputs, **self._arguments | options)

    def until_end(self, tokens: tf.Tensor, most: tf.Tensor | None = None) -> tf.RaggedTensor:
        """Return rows of new tokens without what fills them up, up to ``most`` [rows] of each."""
        ends = tf.cast(is_end(tokens, self.settings), tf.int32)
        written = tf.cumsum(ends, axis=1, exclusive=True) == 0
        if most is not None:
            written &= tf.range(tf.shape(tokens)[1]) < most[:, None]
        return tf.ragged.boolean_mask(tokens, written)

    def by_prompt(self, results: tf.Tensor) -> tf.Tensor:
        """Return [batch * sequences, …] as [batch, …] or, of several, [batch, sequences, …].

        TF Serving joins and splits requests by the first axis.
        """
        count = self.settings.num_return_sequences
        if count == 1:
            return results
        size = tf.shape(results)
        return tf.reshape(results, tf.concat([[size[0] // count, count], size[1:]], axis=0))


def generate(model: TFPreTrainedModel, **settings: Any) -> Signature:
    """Make the signature that every model has that generates: ids in, ids out.

    int32 ``input_ids`` and ``attention_mask`` [batch, length], of a decoder padded at the left ->
    int32 ``sequences`` [batch, length], or [batch, sequences, length] with
    ``num_return_sequences``: what ``model.generate`` returns, by prompt.

    Args:
        model: a model that generates.
        **settings: those of ``model.generate``, beside ``model.generation_config``; and ``seed``.

    Raises:
        TypeError: there is no such setting.
        ValueError: a setting is impossible.
    """
    writer = Writer(model, model.generation_config, settings)

    @tf.function(autograph=False)
    def run(**inputs: tf.Tensor) -> Tensors:
        return {"sequences": writer.by_prompt(writer(inputs))}

    names = ("input_ids", "attention_mask")
    return Signature(
        run.get_concrete_function(**dict.fromkeys(names, tf.TensorSpec([None, None], tf.int32))),
        warmup=[dict.fromkeys(names, tf.ones([1, 2], tf.int32))],
        facts=writer.facts,
    )
