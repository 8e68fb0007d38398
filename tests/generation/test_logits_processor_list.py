"""The processors that a GenerationConfig asks for, against what PyTorch's generate makes of it."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from transformers import GenerationConfig

from tfhf.generation.logits_processor_list import TFLogitsProcessorList, make_logits_processors
from tfhf.generation.logits_warpers import TFTopKLogitsWarper
from tfhf.generation.sequence_processors import TFNoRepeatNGramLogitsProcessor

INF = float("inf")
ROWS, VOCAB_SIZE = 6, 40

SETTINGS = {
    "sequence_bias": [{(1, 2): 1.5}, [[[3], -2.0]]],
    "encoder_repetition_penalty": [1.0, 1.3],
    "repetition_penalty": [1.0, 1.3],
    "no_repeat_ngram_size": [0, 2],
    "encoder_no_repeat_ngram_size": [0, 2],
    "bad_words_ids": [[[1], [2, 3]]],
    "min_length": [0, 9],
    "min_new_tokens": [0, 2],
    "forced_bos_token_id": [3],
    "forced_eos_token_id": [3, [2, 3]],
    "remove_invalid_values": [False, True],
    "exponential_decay_length_penalty": [(2, 1.2)],
    "suppress_tokens": [[], [4]],
    "begin_suppress_tokens": [[5]],
    "temperature": [1.0, 0.7],
    "top_k": [0, 7],
    "top_p": [1.0, 0.9],
    "min_p": [0.01],
    "top_h": [0.9],
    "typical_p": [1.0, 0.9],
    "epsilon_cutoff": [0.0, 0.01],
    "eta_cutoff": [0.0, 0.01],
    "renormalize_logits": [False, True],
    "eos_token_id": [0, [0, 4]],
    "num_beams": [1, 3],
    "do_sample": [False, True, True],
}


def pytorch_list(config, prompt, mask, custom):
    """What PyTorch's generate makes of a configuration."""
    import torch
    from transformers.generation import GenerationMixin

    eos = config.eos_token_id
    config._eos_token_tensor = None if eos is None else torch.tensor(np.atleast_1d(eos))
    model = SimpleNamespace(
        config=SimpleNamespace(is_encoder_decoder=False),
        _merge_criteria_processor_list=lambda *lists: (
            GenerationMixin._merge_criteria_processor_list(None, *lists)
        ),
    )
    made = GenerationMixin._get_logits_processor(
        model,
        config,
        input_ids_seq_length=prompt.shape[1],
        encoder_input_ids=torch.tensor(prompt, dtype=torch.int64),
        logits_processor=custom,
        device="cpu",
        model_kwargs={"attention_mask": torch.tensor(mask)},
    )
    del config._eos_token_tensor
    return made


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore")
def test_list_equals_pytorch():
    import torch
    from transformers.generation import logits_process

    rng = np.random.default_rng(0)
    most = 0
    for case in range(120):
        chosen = {key: values for key, values in SETTINGS.items() if rng.random() < 0.4}
        settings = {key: values[rng.integers(len(values))] for key, values in chosen.items()}
        if "exponential_decay_length_penalty" in settings:
            settings.setdefault("eos_token_id", 1)
            settings.pop("remove_invalid_values", None)  # the largest number does not grow
        if settings.get("remove_invalid_values"):
            settings.pop("do_sample", None)  # many equal ones, of which PyTorch drops any
        config = GenerationConfig(max_length=10, **settings)
        padding = rng.integers(0, 3, (ROWS, 1))
        prompt_length = [1, 4][case % 2]
        mask = (np.arange(prompt_length) >= np.minimum(padding, prompt_length - 1)).astype(np.int32)
        ids = rng.integers(0, 12, (ROWS, 9)).astype(np.int32)
        prompt = ids[:, :prompt_length]
        custom, theirs_custom = [], []
        if case % 3 == 0:
            custom = [TFTopKLogitsWarper(11), TFNoRepeatNGramLogitsProcessor(3)]
            theirs_custom = logits_process.LogitsProcessorList(
                [
                    logits_process.TopKLogitsWarper(11),
                    logits_process.NoRepeatNGramLogitsProcessor(3),
                ]
            )
        theirs = pytorch_list(config, prompt, mask, theirs_custom)
        made = make_logits_processors(
            config,
            prompt_length=prompt_length,
            max_length=config.max_length,
            num_beams=config.num_beams or 1,
            attention_mask=tf.constant(mask),
            encoder_input_ids=tf.constant(prompt),
            custom=custom,
        )
        assert [type(one).__name__ for one in made] == [f"TF{type(one).__name__}" for one in theirs]
        most = max(most, len(made))
        for cur_len in (prompt_length, prompt_length + 1, 9):
            scores = rng.normal(0, 2, (ROWS, VOCAB_SIZE)).astype(np.float32)
            tokens = torch.tensor(ids[:, :cur_len], dtype=torch.int64)
            expected = theirs(tokens, torch.tensor(scores)).numpy()
            got = made(tf.constant(ids), tf.constant(scores), cur_len)
            np.testing.assert_array_equal(np.isneginf(got), np.isneginf(expected))
            np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6)
    assert most > 12


def test_list_without_settings():
    settings = GenerationConfig(temperature=0.5, top_k=3)  # no sampling
    assert make_logits_processors(settings, prompt_length=1, max_length=20) == []


def test_list_of_old_whisper_settings():
    settings = GenerationConfig(begin_suppress_tokens=[4])
    settings.forced_decoder_ids = [[1, 2], [2, 3]]
    made = make_logits_processors(settings, prompt_length=1, max_length=20)
    first = [
        np.argmax(made(tf.zeros((1, 9), tf.int32), tf.range(5.0)[None], n)) for n in range(1, 5)
    ]
    assert first == [2, 3, 3, 4]


def test_prefix_function_in_the_list():
    settings = GenerationConfig(num_beams=2)
    made = make_logits_processors(
        settings,
        prompt_length=1,
        max_length=20,
        num_beams=2,
        prefix_allowed_tokens_fn=lambda batch, ids: [batch],
    )
    got = made(tf.zeros((4, 9), tf.int32), tf.zeros((4, 3)), 1)
    assert np.isfinite(got).argmax(-1).tolist() == [0, 0, 1, 1]


def test_encoder_settings_without_ids(caplog):
    settings = GenerationConfig(encoder_repetition_penalty=1.5, encoder_no_repeat_ngram_size=2)
    assert make_logits_processors(settings, prompt_length=1, max_length=20) == []
    for setting in ("encoder_repetition_penalty", "encoder_no_repeat_ngram_size"):
        assert f"{setting} is ignored" in caplog.text


def test_own_processor_takes_the_place(caplog):
    settings = GenerationConfig(no_repeat_ngram_size=2)
    own = TFNoRepeatNGramLogitsProcessor(3)
    made = make_logits_processors(settings, prompt_length=1, max_length=20, custom=[own])
    assert made == [own]
    assert "yours takes its place" in caplog.text


def test_lengths_as_tensors():
    """Of a prompt that a graph does not know when it is traced."""

    @tf.function
    def process(prompt_length, cur_len):
        config = GenerationConfig(
            eos_token_id=[0, 1],
            min_new_tokens=2,
            begin_suppress_tokens=[2],
            forced_eos_token_id=1,
            exponential_decay_length_penalty=(1, 2.0),
        )
        made = make_logits_processors(
            config, prompt_length=prompt_length, max_length=prompt_length + 5
        )
        return made(tf.zeros((1, 9), tf.int32), tf.ones((1, 4)), cur_len)

    results = [process(tf.constant(3), tf.constant(cur_len))[0] for cur_len in range(3, 8)]
    assert results[0].numpy().tolist() == [-INF, -INF, -INF, 1]
    assert results[1].numpy().tolist() == [-INF, -INF, 1, 1]
    assert results[2].numpy().tolist() == [2, 2, 1, 1]
    assert results[3].numpy().tolist() == [4, 4, 1, 1]
    # The penalty comes behind what is forced, of which it leaves 0 as it is.
    assert results[4].numpy().tolist() == [-INF, 0, -INF, -INF]


@pytest.mark.parametrize("result", [None, tf.zeros((1, 4)), tf.zeros((1, 5), tf.int32)])
def test_wrong_processor(result):
    with pytest.raises(ValueError, match=r"lambda.*must return scores of shape \(1, 5\)"):
        processor = TFLogitsProcessorList([lambda input_ids, scores, cur_len: result])
        processor(tf.zeros((1, 4), tf.int32), tf.zeros((1, 5)), 1)
