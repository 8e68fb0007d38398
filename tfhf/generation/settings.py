"""What to generate: the model's settings, the caller's, and the defaults of Transformers 4.57."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

import numpy as np
from transformers import GenerationConfig

from tfhf.generation.logits_processors import require_token_ids

logger = logging.getLogger(__name__)

#: Transformers 5 leaves what nobody set at ``None``.
DEFAULTS = {
    "assistant_confidence_threshold": 0.4,
    "do_sample": False,
    "early_stopping": False,
    "length_penalty": 1.0,
    "max_length": 20,
    "num_assistant_tokens": 20,
    "num_beams": 1,
    "num_return_sequences": 1,
    "output_scores": False,
    "return_dict_in_generate": False,
    "top_k": 50,
}
#: Settings by type; ``None`` is none of them, and asks for nothing.
TYPES: dict[str, tuple[type, tuple[str, ...]]] = {
    "an integer": (
        Integral,
        (
            "encoder_no_repeat_ngram_size",
            "forced_bos_token_id",
            "max_length",
            "max_new_tokens",
            "min_length",
            "min_new_tokens",
            "no_repeat_ngram_size",
            "num_assistant_tokens",
            "num_beams",
            "num_return_sequences",
            "pad_token_id",
            "top_k",
        ),
    ),
    "a number": (
        Real,
        (
            "assistant_confidence_threshold",
            "encoder_repetition_penalty",
            "epsilon_cutoff",
            "eta_cutoff",
            "length_penalty",
            "min_p",
            "penalty_alpha",
            "repetition_penalty",
            "temperature",
            "top_h",
            "top_p",
            "typical_p",
        ),
    ),
}
#: Settings that tfhf does not have, and the values that ask for nothing.
UNSUPPORTED: dict[str, tuple[Any, ...]] = {
    "constraints": (None,),
    "diversity_penalty": (None, 0.0),
    "dola_layers": (None,),
    "force_words_ids": (None,),
    "guidance_scale": (None, 1, 1.0),
    "max_time": (None,),
    "num_beam_groups": (None, 1),
    "output_logits": (None, False),
    "prompt_lookup_num_tokens": (None,),
    "token_healing": (None, False),
    "watermarking_config": (None,),
}


def settle(
    own: GenerationConfig, given: GenerationConfig | None, kwargs: dict[str, Any]
) -> tuple[GenerationConfig, dict[str, Any]]:
    """Return the settings of one call, and those of ``kwargs`` that are no settings.

    Args:
        own: the model's.
        given: the caller's, which count before the model's.
        kwargs: the caller's by name, which count before all others.

    Raises:
        ValueError: a setting is impossible, or none that tfhf has.
    """
    settings = copy.deepcopy(own)
    # These may come from the model's configuration, and are about its calls.
    settings.output_attentions = settings.output_hidden_states = None
    given_values = {} if given is None else given.to_dict()
    known = {*vars(settings), "forced_decoder_ids"}  # that one is Transformers 4's
    named = {name: kwargs.pop(name) for name in list(kwargs) if name in known}
    for name, value in (given_values | named).items():
        if value is not None or name in named:
            setattr(settings, name, value)
    if settings.max_length is None and settings.max_new_tokens is None:
        # As Transformers does: so many new tokens, where nobody says how long the whole may be.
        settings.max_new_tokens = DEFAULTS["max_length"]
    elif named.get("max_length") is not None and named.get("max_new_tokens") is not None:
        logger.warning(
            "both max_new_tokens=%s and max_length=%s are set; max_new_tokens counts",
            settings.max_new_tokens,
            settings.max_length,
        )
    if settings.min_new_tokens is not None and settings.min_length:
        logger.warning(
            "both min_new_tokens=%s and min_length=%s are set; min_new_tokens counts",
            settings.min_new_tokens,
            settings.min_length,
        )
        settings.min_length = None
    for name, value in DEFAULTS.items():
        asks_for_all_tokens = name == "top_k" and name in named
        if getattr(settings, name, None) is None and not asks_for_all_tokens:
            setattr(settings, name, value)
    if isinstance(settings.sequence_bias, Mapping):  # whose keys JSON cannot have
        settings.sequence_bias = [[[*ids], bias] for ids, bias in settings.sequence_bias.items()]
    _check(settings)
    if settings.pad_token_id is None and settings.eos_token_id is not None:
        settings.pad_token_id = int(np.ravel(settings.eos_token_id)[0])
    return settings, kwargs


def is_contrastive(settings: GenerationConfig) -> bool:
    """Whether contrastive search is asked for."""
    alpha, greedy = settings.penalty_alpha, settings.num_beams == 1 and not settings.do_sample
    return greedy and bool(alpha) and alpha > 0 and (settings.top_k or 0) > 1


def _check(settings: GenerationConfig) -> None:
    for name, off in UNSUPPORTED.items():
        if getattr(settings, name, None) not in off:
            raise ValueError(f"{name} is not supported, but is {getattr(settings, name)!r}")
    for name in ("output_attentions", "output_hidden_states"):
        if getattr(settings, name):
            raise ValueError(
                f"{name} is not supported by generate, whose steps keep nothing of the layers but "
                f"keys and values: call the model with {name}=True on the sequences it returned"
            )
    for type_name, (expected, names) in TYPES.items():
        for name in names:
            value = getattr(settings, name, None)
            if value is not None and not isinstance(value, expected):
                raise ValueError(f"{name} must be {type_name}, but is {value!r}")
    if settings.eos_token_id is not None:
        require_token_ids(settings.eos_token_id, "eos_token_id")
    for name in ("max_new_tokens", "num_assistant_tokens", "num_beams", "num_return_sequences"):
        value = getattr(settings, name)
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1, but is {value}")
    if settings.early_stopping not in (True, False, "never"):
        raise ValueError(
            f'early_stopping must be True, False or "never", but is {settings.early_stopping!r}'
        )
    for name in ("forced_bos_token_id", "forced_eos_token_id"):
        forced = getattr(settings, name)
        if forced is not None and {*np.ravel(forced)} <= {*(settings.suppress_tokens or ())}:
            raise ValueError(f"{name} must not be among suppress_tokens, but is {forced!r}")
    several = settings.num_return_sequences > 1
    if several and settings.num_beams == 1 and not settings.do_sample:
        raise ValueError(
            "Greedy methods without beam search do not support num_return_sequences different "
            f"than 1, but it is {settings.num_return_sequences}: set do_sample=True or num_beams"
        )
    if settings.num_beams > 1 and settings.num_return_sequences > settings.num_beams:
        raise ValueError(
            f"num_return_sequences ({settings.num_return_sequences}) has to be smaller or equal "
            f"to num_beams ({settings.num_beams})"
        )


def token_limit(
    settings: GenerationConfig, prompt_length: int, positions: int | None, *, argument: str
) -> int:
    """Return the length at which generation ends, the prompt included.

    Args:
        settings: of :func:`settle`.
        prompt_length: number of tokens there are.
        positions: the most that the model can take; ``None``: any number.
        argument: the name of the prompt in messages.

    Raises:
        ValueError: there is no room for a token, or not for the least number asked for.
    """
    limit = settings.max_length
    if settings.max_new_tokens is not None:
        limit = prompt_length + settings.max_new_tokens
    if prompt_length >= limit:
        raise ValueError(
            f"Input length of {argument} is {prompt_length}, but `max_length` is set to {limit}. "
            "You should consider increasing `max_length` or, better yet, setting `max_new_tokens`."
        )
    if positions is not None and prompt_length > positions:
        raise ValueError(
            f"{argument} has {prompt_length} tokens, but the model has positions for {positions}: "
            "cut the prompt"
        )
    least = settings.min_length or 0
    if settings.min_new_tokens is not None:
        least = prompt_length + settings.min_new_tokens
    if least > limit:
        logger.warning(
            "Unfeasible length constraints: the minimum length (%s) is larger than the maximum "
            "length (%s), at which generation stops",
            least,
            limit,
        )
    most = limit if positions is None else positions + 1  # the last token is never read
    if limit > most:
        logger.warning(
            "the model has positions for %s tokens: generation stops at %s, not at %s",
            positions,
            most,
            limit,
        )
    return min(limit, most)
