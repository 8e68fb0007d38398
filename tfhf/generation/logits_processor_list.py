"""Several processors in a row, and those that a GenerationConfig asks for."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import tensorflow as tf
from transformers import GenerationConfig

from tfhf.generation import logits_processors as processors
from tfhf.generation import logits_warpers as warpers
from tfhf.generation import sequence_processors as sequences

logger = logging.getLogger(__name__)

Processor = Callable[[tf.Tensor, tf.Tensor, Any], tf.Tensor]


class TFLogitsProcessorList(list[Processor]):
    """A list of processors, itself a processor: applies them in order.

    Example:
        >>> halve = warpers.TFTemperatureLogitsWarper(2.0)
        >>> both = TFLogitsProcessorList([halve, lambda input_ids, scores, cur_len: scores + 1])
        >>> both(tf.constant([[5]]), tf.constant([[2.0, 4.0]]), 1).numpy()
        array([[2., 3.]], dtype=float32)
    """

    def __call__(self, input_ids: tf.Tensor, scores: tf.Tensor, cur_len: Any) -> tf.Tensor:
        """As TFLogitsProcessor's.

        Raises:
            ValueError: a processor returned something other than changed scores.
        """
        for processor in self:
            processed = processor(input_ids, scores, cur_len)
            given = getattr(processed, "shape", None), getattr(processed, "dtype", None)
            if not (scores.shape.is_compatible_with(given[0]) and scores.dtype == given[1]):
                raise ValueError(
                    f"the logits processor {processor} must return scores of shape {scores.shape} "
                    f"and type {scores.dtype.name}, but returned {processed!r}"
                )
            scores = processed
        return scores


def make_logits_processors(
    generation_config: GenerationConfig,
    *,
    prompt_length: Any,
    max_length: Any,
    num_beams: int = 1,
    attention_mask: tf.Tensor | None = None,
    encoder_input_ids: tf.Tensor | None = None,
    prefix_allowed_tokens_fn: Callable[[int, np.ndarray], Iterable[int]] | None = None,
    custom: Iterable[Processor] = (),
) -> TFLogitsProcessorList:
    """The processors that a GenerationConfig asks for, in the order of Transformers 5's PyTorch.

    Settings that are ``None`` are off. Those of sampling count only with ``do_sample``.

    Args:
        generation_config: the settings. ``eos_token_id`` may be one token or several.
        prompt_length: columns of the prompt, an int or a scalar tensor.
        max_length: the length at which generation ends, an int or a scalar tensor.
        num_beams: beams per row of the batch.
        attention_mask: int [rows, prompt_length], 0 for padding at the left, which the repetition
            penalty leaves out.
        encoder_input_ids: int [batch, length], the encoder's text, or the prompt of a decoder; what
            the ``encoder_...`` settings refer to. -1 where there is no token.
        prefix_allowed_tokens_fn: see TFPrefixConstrainedLogitsProcessor.
        custom: the user's own. One of a type that the settings ask for too takes its place; the
            others come after all but those of sampling.

    Raises:
        ValueError: a setting is outside its range.

    Example:
        >>> settings = GenerationConfig(do_sample=True, top_k=5, no_repeat_ngram_size=2)
        >>> made = make_logits_processors(settings, prompt_length=1, max_length=9)
        >>> [type(processor).__name__ for processor in made]
        ['TFNoRepeatNGramLogitsProcessor', 'TFTopKLogitsWarper']
    """
    config = generation_config
    made = TFLogitsProcessorList(
        [
            *_sequence_processors(config, attention_mask, encoder_input_ids),
            *_token_processors(
                config, prompt_length, max_length, num_beams, prefix_allowed_tokens_fn
            ),
        ]
    )
    made = _merge(made, custom)
    if config.do_sample:
        ends = 1 if config.eos_token_id is None else np.size(config.eos_token_id)
        # Beams need one token more than can end them.
        made += _warpers(config, min_tokens_to_keep=1 + int(ends) if num_beams > 1 else 1)
    if config.renormalize_logits:
        made.append(processors.TFLogitNormalization())
    return made


def _sequence_processors(
    config: GenerationConfig, attention_mask: Any, encoder_input_ids: Any
) -> Iterable[Processor]:
    if config.sequence_bias is not None:
        yield sequences.TFSequenceBiasLogitsProcessor(config.sequence_bias)
    if config.encoder_repetition_penalty not in (None, 1.0):
        if encoder_input_ids is None:
            logger.warning("encoder_repetition_penalty is ignored: there are no input_ids")
        else:
            yield sequences.TFEncoderRepetitionPenaltyLogitsProcessor(
                config.encoder_repetition_penalty, encoder_input_ids
            )
    if config.repetition_penalty not in (None, 1.0):
        padding = None
        if attention_mask is not None:
            padding = tf.argmax(tf.cast(attention_mask != 0, tf.int32), axis=1)
        yield sequences.TFRepetitionPenaltyLogitsProcessor(config.repetition_penalty, padding)
    if config.no_repeat_ngram_size:
        yield sequences.TFNoRepeatNGramLogitsProcessor(config.no_repeat_ngram_size)
    if config.encoder_no_repeat_ngram_size:
        if encoder_input_ids is None:
            logger.warning("encoder_no_repeat_ngram_size is ignored: there are no input_ids")
        else:
            yield sequences.TFEncoderNoRepeatNGramLogitsProcessor(
                config.encoder_no_repeat_ngram_size, encoder_input_ids
            )
    if config.bad_words_ids is not None:
        yield sequences.TFNoBadWordsLogitsProcessor(config.bad_words_ids, config.eos_token_id)


def _token_processors(
    config: GenerationConfig,
    prompt_length: Any,
    max_length: Any,
    num_beams: int,
    prefix_allowed_tokens_fn: Any,
) -> Iterable[Processor]:
    eos = config.eos_token_id
    if config.min_length and eos is not None:
        yield processors.TFMinLengthLogitsProcessor(config.min_length, eos)
    if config.min_new_tokens and eos is not None:
        yield processors.TFMinNewTokensLengthLogitsProcessor(
            prompt_length, config.min_new_tokens, eos
        )
    if prefix_allowed_tokens_fn is not None:
        yield sequences.TFPrefixConstrainedLogitsProcessor(prefix_allowed_tokens_fn, num_beams)
    if config.forced_bos_token_id is not None:
        yield processors.TFForcedBOSTokenLogitsProcessor(config.forced_bos_token_id)
    if config.forced_eos_token_id is not None:
        yield processors.TFForcedEOSTokenLogitsProcessor(max_length, config.forced_eos_token_id)
    if config.remove_invalid_values:
        yield processors.TFInfNanRemoveLogitsProcessor()
    if config.exponential_decay_length_penalty is not None:
        yield processors.TFExponentialDecayLengthPenalty(
            config.exponential_decay_length_penalty, eos, prompt_length
        )
    if config.suppress_tokens is not None:
        yield processors.TFSuppressTokensLogitsProcessor(config.suppress_tokens)
    # A setting of Transformers 4, which older Whisper checkpoints hold.
    forced = getattr(config, "forced_decoder_ids", None)
    if config.begin_suppress_tokens is not None:
        begin = prompt_length
        if config.forced_bos_token_id is not None:
            begin += tf.cast(tf.equal(prompt_length, 1), tf.int32)
        if forced:
            begin += forced[-1][0]
        yield processors.TFSuppressTokensAtBeginLogitsProcessor(config.begin_suppress_tokens, begin)
    if forced:
        yield processors.TFForceTokensLogitsProcessor(forced)


def _warpers(config: GenerationConfig, min_tokens_to_keep: int) -> Iterable[Processor]:
    keep = {"min_tokens_to_keep": min_tokens_to_keep}
    if config.temperature not in (None, 1.0):
        yield warpers.TFTemperatureLogitsWarper(config.temperature)
    if config.top_h is not None:
        yield warpers.TFTopHLogitsWarper(config.top_h)
    if config.top_k:
        yield warpers.TFTopKLogitsWarper(config.top_k, **keep)
    if config.top_p is not None and config.top_p < 1:
        yield warpers.TFTopPLogitsWarper(config.top_p, **keep)
    if config.min_p is not None:
        yield warpers.TFMinPLogitsWarper(config.min_p, **keep)
    if config.typical_p is not None and config.typical_p < 1:
        yield warpers.TFTypicalLogitsWarper(config.typical_p, **keep)
    if config.epsilon_cutoff is not None and 0 < config.epsilon_cutoff < 1:
        yield warpers.TFEpsilonLogitsWarper(config.epsilon_cutoff, **keep)
    if config.eta_cutoff is not None and 0 < config.eta_cutoff < 1:
        yield warpers.TFEtaLogitsWarper(config.eta_cutoff, **keep)


def _merge(made: TFLogitsProcessorList, custom: Iterable[Processor]) -> TFLogitsProcessorList:
    """``made`` with the user's own, in the place of those of the same type, or behind."""
    custom = list(custom)
    merged = TFLogitsProcessorList()
    for default in made:
        own = next((one for one in custom if type(one) is type(default)), None)
        if own is not None:
            logger.warning(
                "the generation settings ask for a %s, but yours takes its place",
                type(own).__name__,
            )
        merged.append(default if own is None else own)
    return TFLogitsProcessorList([*merged, *(one for one in custom if one not in merged)])
