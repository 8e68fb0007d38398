"""Transformer-XL against what Transformers 4 computed (tools/transfo_xl_fixtures)."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from parity import TOLERANCE
from safetensors.numpy import load_file, save_file
from transformers import AutoConfig

import tfhf

FIXTURES = Path(__file__).parents[1] / "fixtures"
SEGMENTS = FIXTURES / "transfo_xl"
CONFIGS = ("plain", "one_table", "one_size", "untied", "no_clusters")
TINY = {
    "vocab_size": 19,
    "cutoffs": [5, 11],
    "d_model": 8,
    "d_embed": 8,
    "n_head": 2,
    "d_head": 3,
    "d_inner": 7,
    "div_val": 2,
    "n_layer": 2,
    "mem_len": 4,
    "pad_token_id": 0,
}
every_config = pytest.mark.parametrize("name", CONFIGS)
#: the same, where compiling with XLA takes so long that only some run with the fast tests
XLA = [
    pytest.param(name, "xla", marks=[] if name in ("plain", "untied") else pytest.mark.slow)
    for name in CONFIGS
]


def load(name, **kwargs):
    model, info = tfhf.TFTransfoXLLMHeadModel.from_pretrained(
        SEGMENTS / name, output_loading_info=True, **kwargs
    )
    assert not any(info.values()), info
    return model, load_file(SEGMENTS / name / "golden.safetensors")


def memory_arguments(mems):
    """The arguments that hand a memory on; without mem_len there is none."""
    return {} if mems is None else {"mems": mems}


def close(got, expected, tolerance=TOLERANCE, name=""):
    np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance, err_msg=name)


@pytest.mark.parametrize(
    ("name", "how"), [(name, how) for name in CONFIGS for how in ("eager", "graph")] + XLA
)
def test_three_segments(name, how):
    model, golden = load(name)
    call = model
    if how != "eager":
        call = tf.function(lambda ids, **mems: model(ids, **mems), jit_compile=how == "xla")
    mems = None
    for i, ids in enumerate(golden["input_ids"]):
        outputs = call(tf.constant(ids), **memory_arguments(mems))
        close(outputs.prediction_scores, golden[f"prediction_scores/{i}"], name=str(i))
        assert outputs.logits is outputs.prediction_scores
        mems = outputs.mems
    memories = [key for key in golden if key.startswith("mems/")]
    assert len(memories) == len(mems or ()) == (model.config.n_layer if model.config.mem_len else 0)
    for key in memories:
        close(mems[int(key[5:])], golden[key], name=key)


@pytest.mark.parametrize(("name", "how"), [(name, "graph") for name in CONFIGS] + XLA)
def test_loss_and_gradients(name, how):
    model, golden = load(name)
    mems = None
    for ids in golden["input_ids"][:-1]:
        mems = model(ids, **memory_arguments(mems)).mems
    ids = tf.constant(golden["input_ids"][-1])
    weights = [weight for weight in model.weights if weight.trainable]

    @tf.function(jit_compile=how == "xla")
    def gradients(ids, **mems):
        with tf.GradientTape() as tape:
            outputs = model(ids, labels=ids, **mems)
        gradients = tape.gradient(outputs.loss, [weight.value for weight in weights])
        zeros = [tf.zeros(weight.shape) for weight in weights]
        gradients = [z if g is None else tf.convert_to_tensor(g) for g, z in zip(gradients, zeros)]
        return outputs.loss, outputs.losses, gradients

    loss, losses, values = gradients(ids, **memory_arguments(mems))
    close(loss, golden["loss"])
    close(losses, golden["losses"])
    by_id = {id(weight): value.numpy() for weight, value in zip(weights, values)}
    compared = set()
    for binding in model.weight_table.bind(model):
        if binding.variable.trainable:
            arrays = binding.split(by_id[id(binding.variable)])
            for key, array in zip(binding.names, arrays, strict=True):
                if f"gradients/{key}" in golden:  # the first name of what PyTorch shares
                    close(array, golden[f"gradients/{key}"], name=key)
                    compared.add(f"gradients/{key}")
    assert compared == {key for key in golden if key.startswith("gradients/")}


@every_config
def test_losses_are_the_scores_of_the_labels(name):
    model, golden = load(name)
    ids = golden["input_ids"][0]
    labels = np.where(ids == ids[0, 1], -100, ids)
    outputs = model(ids, labels=labels)
    scores = outputs.prediction_scores.numpy()[:, :-1]
    close(np.exp(scores).sum(-1), 1.0)
    chosen = np.take_along_axis(scores, ids[:, 1:, None], -1)[..., 0]
    counted = labels[:, 1:] != -100
    close(outputs.losses, np.where(counted, -chosen, 0))
    close(outputs.loss, -chosen[counted].mean())


def test_no_labels_that_count():
    model, golden = load("plain")
    ids = golden["input_ids"][0]
    assert float(model(ids, labels=np.full_like(ids, -100)).loss) == 0
    outputs = model(ids[:, :1], labels=ids[:, :1])
    assert float(outputs.loss) == 0 and outputs.losses.shape == (2, 0)


@pytest.mark.parametrize(("name", "how"), [(name, "graph") for name in CONFIGS] + XLA)
def test_generate(name, how):
    model, golden = load(name)
    ids = golden["input_ids"][0]
    settings = {"max_new_tokens": 7, "jit_compile": how == "xla"}
    if not model.config.mem_len:
        with pytest.raises(ValueError, match="config.mem_len of at least 1, but it is 0"):
            model.generate(ids, **settings)
        return
    close(model.generate(ids, **settings), golden["generated/greedy"], 0)
    beams = {"num_beams": 3, "num_return_sequences": 2, "eos_token_id": 3, "pad_token_id": 0}
    close(model.generate(ids, **settings, **beams), golden["generated/beams"], 0)


def test_generate_from_padding():
    model, _ = load("plain")
    with pytest.raises(tf.errors.InvalidArgumentError, match="attention_mask has padding"):
        model.generate([[0, 5, 6], [7, 8, 9]], pad_token_id=0, eos_token_id=3, max_new_tokens=1)


@every_config
def test_a_text_in_pieces_is_the_text_whole(name):
    """With room for all and every token seeing what is before it, cuts make no difference."""
    model, golden = load(name, mem_len=9, same_length=False, clamp_len=-1)
    ids = np.concatenate(golden["input_ids"], axis=1)
    empty = np.zeros((model.config.n_layer, 0, len(ids), model.config.d_model), np.float32)
    whole = model(ids, mems=empty)
    mems, scores = empty, []
    for start, stop in ((0, 1), (1, 6), (6, 8), (8, 9)):
        piece = model(ids[:, start:stop], mems=mems)
        mems = piece.mems
        scores.append(piece.prediction_scores)
    close(tf.concat(scores, axis=1), whole.prediction_scores)
    for got, expected in zip(mems, whole.mems, strict=True):
        assert got.shape[0] == 9
        close(got, expected)


def test_memory_in_a_loop_has_a_static_shape():
    """As generation needs it: tf.while_loop, one token at a time, compiled."""
    model, golden = load("plain")
    ids = tf.constant(golden["input_ids"][0])

    @tf.function(jit_compile=True)
    def step_by_step(ids, mems):
        scores = tf.TensorArray(tf.float32, 3)
        for i in tf.range(3):
            outputs = model(tf.gather(ids, [i], axis=1), mems=mems)
            mems = tf.stack(outputs.mems)
            scores = scores.write(i, outputs.logits[:, 0])
        return tf.transpose(scores.stack(), [1, 0, 2]), mems

    mems = model.transformer.init_mems(2)
    scores, mems = step_by_step(ids, mems)
    expected = None
    for i in range(3):
        arguments = memory_arguments(expected and expected.mems)
        expected = model(ids[:, i : i + 1], **arguments)
        close(scores[:, i], expected.logits[:, 0])
    for got, memory in zip(tf.unstack(mems), expected.mems, strict=True):
        close(got, memory)


def test_unknown_length_keeps_the_memory_static():
    model, _ = load("plain")
    spec = tf.TensorSpec([None, None], tf.int32)
    function = tf.function(lambda ids: model(ids).mems).get_concrete_function(spec)
    assert function.structured_outputs[0].shape.as_list() == [4, None, 8]


@every_config
def test_files_both_ways(name, tmp_path):
    """What is saved has Transformers' names, but for the copies that it makes when it loads."""
    model, golden = load(name)
    model.save_pretrained(tmp_path)
    again, info = type(model).from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values())
    ids = golden["input_ids"][0]
    np.testing.assert_array_equal(again(ids).logits, model(ids).logits)
    saved = load_file(tmp_path / "model.safetensors")
    names = {key[10:] for key in golden if key.startswith("gradients/")}
    names.add("transformer.pos_emb.inv_freq")
    if not model.config.untie_r:
        names |= {f"transformer.layers.{i}.dec_attn.r_{r}_bias" for i in (0, 1) for r in "rw"}
    assert set(saved) == names
    if name != "untied":
        for key, value in load_file(SEGMENTS / name / "model.safetensors").items():
            if key in saved:
                np.testing.assert_array_equal(saved[key], value, err_msg=key)
    config = json.loads((tmp_path / "config.json").read_text())
    before = json.loads((SEGMENTS / name / "config.json").read_text())
    assert config["architectures"] == ["TransfoXLLMHeadModel"]
    for key in ("cutoffs", "div_val", "mem_len", "model_type", "tie_projs", "untie_r"):
        assert config[key] == before[key]


def test_body_of_a_language_model():
    folder = SEGMENTS / "plain"
    body, info = tfhf.TFTransfoXLModel.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"] and all(k.startswith("crit.") for k in info["unexpected_keys"])
    model, golden = load("plain")
    ids = golden["input_ids"][0]
    close(body(ids).last_hidden_state, model.transformer(ids).last_hidden_state, 0)


def test_frequencies_that_a_file_lacks_are_computed(tmp_path):
    model, golden = load("plain")
    model.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["transformer.pos_emb.inv_freq"]
    save_file(tensors, tmp_path / "model.safetensors")
    again = type(model).from_pretrained(tmp_path)
    ids = golden["input_ids"][0]
    close(again(ids).logits, model(ids).logits)


class TestAutoClasses:
    def test_from_pretrained(self):
        folder = FIXTURES / "TransfoXLForSequenceClassification"
        for auto, name in {
            "TFAutoModel": "Model",
            "TFAutoModelForCausalLM": "LMHeadModel",
            "TFAutoModelForPreTraining": "LMHeadModel",
            "TFAutoModelForSequenceClassification": "ForSequenceClassification",
        }.items():
            model = getattr(tfhf, auto).from_pretrained(folder)
            assert type(model) is getattr(tfhf, f"TFTransfoXL{name}")
        assert type(AutoConfig.from_pretrained(folder)) is tfhf.TransfoXLConfig

    def test_no_head_for_tokens(self):
        with pytest.raises(ValueError, match="no class for TransfoXLConfig"):
            tfhf.TFAutoModelForTokenClassification.from_config(tfhf.TransfoXLConfig(**TINY))


class TestConfig:
    def test_defaults_are_those_of_the_published_model(self):
        config = tfhf.TransfoXLConfig()
        assert (config.vocab_size, config.cutoffs) == (267735, [20000, 40000, 200000])
        assert config.tie_projs == [False, True, True, True]
        assert (config.num_hidden_layers, config.num_attention_heads) == (18, 16)

    def test_old_name_of_tied_embeddings(self):
        assert not tfhf.TransfoXLConfig(tie_weight=False).tie_word_embeddings

    def test_share_no_projections(self):
        config = tfhf.TransfoXLConfig(cutoffs=[3], proj_share_all_but_first=False)
        assert config.tie_projs == [False, False]

    def test_file_both_ways(self, tmp_path):
        config = tfhf.TransfoXLConfig(**TINY, tie_projs=[True, False, True], num_labels=5)
        config.save_pretrained(tmp_path)
        again = AutoConfig.from_pretrained(tmp_path)
        config.name_or_path = str(tmp_path)
        assert again.to_dict() == config.to_dict() and again.num_labels == 5

    @pytest.mark.parametrize(
        "options, message",
        [
            ({"tie_projs": [True]}, "tie_projs must have one value for each of the 3 clusters"),
            ({"cutoffs": [5, 5]}, "cutoffs must grow"),
            ({"cutoffs": [5, 19]}, "below vocab_size = 19"),
            ({"attn_type": 1}, "attn_type must be 0"),
            ({"sample_softmax": 3}, "sample_softmax"),
        ],
    )
    def test_impossible_options(self, options, message):
        with pytest.raises(ValueError, match=message):
            tfhf.TFTransfoXLLMHeadModel(tfhf.TransfoXLConfig(**TINY | options))


@pytest.fixture(scope="module")
def classifier():
    return tfhf.TFTransfoXLForSequenceClassification(tfhf.TransfoXLConfig(**TINY))


class TestInputs:
    def test_vectors(self, classifier):
        ids = np.array([[3, 17, 8]])
        vectors = classifier.get_input_embeddings()(tf.constant(ids))
        close(classifier(inputs_embeds=vectors).logits, classifier(ids).logits)

    def test_memory_of_another_shape(self, classifier):
        with pytest.raises(ValueError, match=r"mems must be 2 tensors \[memory, batch, 8\]"):
            classifier([[1, 2]], mems=np.zeros((2, 4, 1, 7), np.float32))
        with pytest.raises(ValueError, match="mems must be 2 tensors"):
            classifier([[1, 2]], mems=np.zeros((4, 1, 8), np.float32))

    def test_id_outside_the_vocabulary(self, classifier):
        with pytest.raises(tf.errors.InvalidArgumentError, match="input_ids must be 0 to 18"):
            classifier([[1, 19]])

    def test_no_limit_of_length(self, classifier):
        assert classifier(np.ones((1, 50), np.int64)).logits.shape == (1, 2)

    def test_rows_without_padding_token(self):
        config = tfhf.TransfoXLConfig(**TINY | {"pad_token_id": None})
        model = tfhf.TFTransfoXLForSequenceClassification(config)
        assert model([[1, 2]]).logits.shape == (1, 2)
        with pytest.raises(ValueError, match="config.pad_token_id must be set"):
            model([[1, 2], [3, 4]])


class TestTraining:
    @pytest.mark.parametrize("jit_compile", [False, pytest.param(True, marks=pytest.mark.slow)])
    def test_fit(self, jit_compile):
        config = tfhf.TransfoXLConfig(**TINY, dropout=0.0)
        model = tfhf.TFTransfoXLLMHeadModel(config)
        ids = np.tile(np.arange(18), (8, 1))
        model.compile(keras.optimizers.Adam(0.02), jit_compile=jit_compile)
        history = model.fit({"input_ids": ids, "labels": ids}, epochs=12, batch_size=4, verbose=0)
        losses = history.history["loss"]
        assert losses[0] > 2.5 and losses[-1] < 0.6 * losses[0]

    def test_predict_has_no_memory(self):
        model, golden = load("plain")
        ids = np.concatenate(golden["input_ids"])
        outputs = model.predict(ids, batch_size=2, verbose=0)
        assert outputs.mems is None
        close(outputs.prediction_scores, np.concatenate([model(row[None])[0] for row in ids]))

    def test_bfloat16(self):
        model, golden = load("plain")
        half, _ = load("plain", dtype="bfloat16")
        mixed, _ = load("plain", dtype="mixed_bfloat16")
        ids = golden["input_ids"][0]
        for other in (half, mixed):
            scores = other(ids, labels=ids).logits
            assert scores.dtype == tf.float32
            close(scores, model(ids).logits, 0.25)

    def test_keras_file(self, tmp_path):
        model, golden = load("untied")
        model.save(tmp_path / "model.keras")
        again = keras.saving.load_model(tmp_path / "model.keras")
        ids = golden["input_ids"][0]
        np.testing.assert_array_equal(again(ids).logits, model(ids).logits)

    @pytest.mark.parametrize("size", [14, 25])
    @pytest.mark.parametrize("name", ["plain", "one_table", "untied"])
    def test_resize_token_embeddings(self, name, size):
        model, _ = load(name)
        ids = np.array([[3, 13, 8]])
        kept = model.get_input_embeddings()(tf.constant(ids)).numpy()
        model.resize_token_embeddings(size)
        outputs = model(ids, labels=ids)
        assert outputs.logits.shape == (1, 3, size) and model.config.vocab_size == size
        close(np.exp(outputs.logits).sum(-1), 1.0)
        np.testing.assert_array_equal(model.get_input_embeddings()(tf.constant(ids)), kept)
