"""Sentence embeddings: against single unpadded sentences, PyTorch, and what the library gave."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from safetensors.numpy import load_file, save_file
from transformers import BertTokenizer

import tfhf
from tfhf.checkpoints.checkpoint import CorruptCheckpointError, UnsafeCheckpointError
from tfhf.sentence_encoder import POOLINGS

FIXTURES = Path(__file__).parent / "fixtures"
SIZE, LIMIT = 12, 11  # of the states and of the sentences of fixtures/BertModel
WORDS = ["cat", "dog", "Cat", "a", "sleeps", "on", "the", "roof", "query", ":"]
TEXTS = ["a cat", "a cat sleeps on the roof", "", "dog", "the Cat sleeps"]
MODULE = "sentence_transformers.models."


def write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def write_modules(folder, *modules):
    """Write modules.json and, of modules (name, config), the folders of those after the first."""
    rows = [{"idx": 0, "name": "0", "path": "", "type": MODULE + "Transformer"}]
    for i, (name, config) in enumerate(modules, 1):
        rows.append({"idx": i, "name": str(i), "path": f"{i}_{name}", "type": MODULE + name})
        if config is not None:
            write_json(folder / f"{i}_{name}/config.json", config)
    write_json(folder / "modules.json", rows)


def flags(*modes):
    """Return a pooling configuration as the library wrote it until version 5."""
    old = {
        "cls": "pooling_mode_cls_token",
        "max": "pooling_mode_max_tokens",
        "mean": "pooling_mode_mean_tokens",
        "mean_sqrt_len_tokens": "pooling_mode_mean_sqrt_len_tokens",
        "weightedmean": "pooling_mode_weightedmean_tokens",
        "lasttoken": "pooling_mode_lasttoken",
    }
    config = {flag: mode in modes for mode, flag in old.items()}
    return {"word_embedding_dimension": SIZE, **config}


def write_dense(folder, weight, bias, activation="torch.nn.modules.activation.Tanh"):
    out_features, in_features = weight.shape
    config = {
        "in_features": in_features,
        "out_features": out_features,
        "bias": bias is not None,
        "activation_function": activation,
    }
    write_json(folder / "config.json", config)
    tensors = {"linear.weight": weight} | ({} if bias is None else {"linear.bias": bias})
    save_file(tensors, folder / "model.safetensors")


@pytest.fixture
def folder(tmp_path):
    """A tiny checkpoint with a tokenizer, without modules.json."""
    for name in ("config.json", "model.safetensors"):
        shutil.copy(FIXTURES / "BertModel" / name, tmp_path / name)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocab = {token: i for i, token in enumerate([*special, *WORDS])}
    BertTokenizer(vocab=vocab, do_lower_case=False, model_max_length=LIMIT).save_pretrained(
        tmp_path
    )
    return tmp_path


@pytest.fixture
def encoder(folder):
    return tfhf.SentenceEncoder.from_pretrained(folder)


def pool(mode, states):
    """Pool the states [length, size] of one sentence without padding."""
    length = len(states)
    places = np.arange(1, length + 1)[:, None]
    return {
        "cls": states[0],
        "max": states.max(0),
        "mean": states.sum(0) / length,
        "mean_sqrt_len_tokens": states.sum(0) / np.sqrt(length),
        "weightedmean": (states * places).sum(0) / places.sum(),
        "lasttoken": states[-1],
    }[mode]


def states_alone(encoder, text):
    tokens = encoder.tokenizer(text, truncation=True, max_length=LIMIT, return_tensors="tf")
    return encoder.model(**tokens).last_hidden_state[0].numpy().astype(np.float64)


@pytest.mark.parametrize("mode", POOLINGS)
@pytest.mark.parametrize("side", ["right", "left"])
def test_poolings_pass_over_padding(mode, side):
    rng = np.random.default_rng(0)
    lengths = [1, 5, 7, 2]
    states = rng.normal(-1, 1, (4, 7, 3)).astype(np.float32)  # 0 in place of padding would be seen
    seen = np.arange(7) < np.array(lengths)[:, None]
    seen = seen if side == "right" else seen[:, ::-1]
    got = POOLINGS[mode](tf.constant(states), tf.constant(seen.astype(np.float32)))
    expected = [pool(mode, row[mask].astype(float)) for row, mask in zip(states, seen)]
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("config", [flags(*POOLINGS), {"pooling_mode": list(POOLINGS)}])
def test_several_poolings_are_joined(folder, config):
    write_modules(folder, ("Pooling", config))
    encoder = tfhf.SentenceEncoder.from_pretrained(folder)
    assert encoder.vector_size == 6 * SIZE
    got = encoder.encode(TEXTS, batch_size=2)
    states = [states_alone(encoder, text) for text in TEXTS]
    expected = [np.concatenate([pool(mode, row) for mode in POOLINGS]) for row in states]
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5)


@pytest.mark.oracle
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("activation", ["Tanh", "GELU", "Identity"])
def test_modules_equal_pytorch(folder, activation, bias):
    import torch
    from transformers import BertModel

    rng = np.random.default_rng(0)
    weight = rng.normal(size=(5, 2 * SIZE)).astype(np.float32)
    offset = rng.normal(size=5).astype(np.float32) if bias else None
    module = getattr(torch.nn, activation)
    write_modules(folder, ("Pooling", flags("cls", "mean")), ("Dense", None), ("Normalize", None))
    write_dense(folder / "2_Dense", weight, offset, f"{module.__module__}.{activation}")
    encoder = tfhf.SentenceEncoder.from_pretrained(folder)
    model = BertModel.from_pretrained(folder, attn_implementation="eager").eval()
    tokens = encoder.tokenizer(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        states = model(**tokens).last_hidden_state
        mask = tokens["attention_mask"][:, :, None]
        mean = (states * mask).sum(1) / mask.sum(1)
        vectors = torch.cat([states[:, 0], mean], dim=1)
        offset = None if offset is None else torch.from_numpy(offset)
        vectors = module()(torch.nn.functional.linear(vectors, torch.from_numpy(weight), offset))
        expected = torch.nn.functional.normalize(vectors, dim=1)
    assert encoder.vector_size == 5
    np.testing.assert_allclose(encoder.encode(TEXTS), expected, rtol=0, atol=1e-5)


@pytest.fixture(scope="module")
def golden():
    """Numbers that sentence-transformers gave: tools/parity_fixtures --sentences."""
    return load_file(FIXTURES / "sentence_encoder/all-MiniLM-L6-v2.safetensors")


@pytest.fixture(scope="module")
def sentences(golden):
    return json.loads(golden["sentences"].tobytes())


class TestTheLibrary:
    def test_the_folder_as_it_is(self, minilm_folder, golden, sentences):
        encoder = tfhf.SentenceEncoder.from_pretrained(minilm_folder)
        assert encoder.max_length == 256
        got = encoder.encode(sentences, batch_size=4)
        np.testing.assert_allclose(got, golden["vectors"], rtol=0, atol=1e-5)

    @pytest.mark.parametrize("modules", ["pooled", "dense"])
    def test_other_modules(self, minilm_folder, golden, sentences, modules, tmp_path):
        for path in minilm_folder.iterdir():
            if path.is_file():
                (tmp_path / path.name).symlink_to(path)
        (tmp_path / "modules.json").unlink()
        if modules == "pooled":
            write_modules(tmp_path, ("Pooling", flags(*POOLINGS)))
        else:
            write_modules(tmp_path, ("Pooling", flags("mean")), ("Dense", None))
            write_dense(
                tmp_path / "2_Dense",
                golden["linear.weight"],
                golden["linear.bias"],
                "torch.nn.modules.activation.GELU",
            )
        got = tfhf.SentenceEncoder.from_pretrained(tmp_path).encode(sentences)
        np.testing.assert_allclose(got, golden[modules], rtol=0, atol=1e-5)


class TestEncode:
    def test_without_modules_states_are_averaged(self, encoder):
        expected = [states_alone(encoder, text).mean(0) for text in TEXTS]
        np.testing.assert_allclose(encoder.encode(TEXTS), expected, rtol=0, atol=1e-5)

    def test_order_and_batches_do_not_matter(self, encoder):
        expected = encoder.encode(TEXTS)
        for batch_size in (1, 3):
            got = encoder.encode(TEXTS[::-1], batch_size=batch_size)
            np.testing.assert_allclose(got[::-1], expected, rtol=0, atol=1e-6)

    def test_one_string_gives_one_vector(self, encoder):
        vector = encoder.encode("a cat")
        assert vector.shape == (SIZE,) and vector.dtype == np.float32
        np.testing.assert_allclose(vector, encoder.encode(TEXTS)[0], rtol=0, atol=1e-6)

    def test_no_sentences(self, encoder):
        assert encoder.encode([]).shape == (0, SIZE)
        assert encoder.encode([], normalize_embeddings=True).shape == (0, SIZE)

    def test_tensors_and_lengths(self, encoder, capsys):
        got = encoder.encode(TEXTS, 2, True, convert_to_numpy=False, show_progress_bar=True)
        assert isinstance(got, tf.Tensor)
        np.testing.assert_allclose(np.linalg.norm(got, axis=1), 1, atol=1e-6)
        raw = encoder.encode(TEXTS)
        np.testing.assert_allclose(got, raw / np.linalg.norm(raw, axis=1)[:, None], atol=1e-6)
        assert "5/5" in capsys.readouterr().out

    def test_the_graph_is_traced_once(self, encoder):
        for count, words in [(1, 1), (3, 4), (2, 7)]:
            encoder.encode(["cat " * words] * count, batch_size=2)
        assert encoder._vectors.experimental_get_tracing_count() == 1

    def test_long_sentences_are_cut(self, folder, encoder):
        long = "cat " * 50
        np.testing.assert_allclose(
            encoder.encode(long), states_alone(encoder, long).mean(0), atol=1e-5
        )
        write_json(folder / "sentence_bert_config.json", {"max_seq_length": 4})
        shorter = tfhf.SentenceEncoder.from_pretrained(folder)
        assert shorter.max_length == 4
        np.testing.assert_allclose(
            shorter.encode(long), encoder.encode("cat cat"), rtol=0, atol=1e-6
        )

    def test_no_limit(self, encoder, monkeypatch):
        """Neither the model nor the tokenizer knows one."""
        monkeypatch.setattr(type(encoder.model), "max_length", None)
        encoder.tokenizer.model_max_length = int(1e30)
        free = tfhf.SentenceEncoder(encoder.model, encoder.tokenizer)
        assert free.max_length is None
        np.testing.assert_allclose(free.encode("cat"), encoder.encode("cat"), rtol=0, atol=1e-6)

    def test_lower_case(self, folder, encoder):
        assert np.abs(encoder.encode("Cat") - encoder.encode("cat")).max() > 1e-3
        write_json(folder / "sentence_bert_config.json", {"do_lower_case": True})
        lower = tfhf.SentenceEncoder.from_pretrained(folder)
        np.testing.assert_allclose(lower.encode("Cat"), encoder.encode("cat"), atol=1e-6)

    def test_prompts(self, folder, encoder):
        settings = {"prompts": {"query": "query: ", "none": ""}, "default_prompt_name": "query"}
        write_json(folder / "config_sentence_transformers.json", settings)
        prompted = tfhf.SentenceEncoder.from_pretrained(folder)
        with_prompt, without = encoder.encode(["query: a cat", "a cat"])
        np.testing.assert_allclose(prompted.encode("a cat"), with_prompt, atol=1e-6)
        got = prompted.encode("a cat", prompt_name="none")
        np.testing.assert_allclose(got, without, atol=1e-6)
        with pytest.raises(ValueError, match="prompt_name must be one of query, none, not 'x'"):
            prompted.encode("a cat", prompt_name="x")

    def test_bad_input(self, encoder):
        with pytest.raises(TypeError, match=r"sentences\[1\] must be a string, not int"):
            encoder.encode(["a", 1])
        with pytest.raises(ValueError, match="batch_size must be at least 1, not 0"):
            encoder.encode("a", batch_size=0)


@pytest.mark.parametrize("name", ["cosine", "dot", "euclidean", "manhattan"])
def test_similarity(folder, name):
    settings = {"similarity_fn_name": None if name == "cosine" else name}
    write_json(folder / "config_sentence_transformers.json", settings)
    encoder = tfhf.SentenceEncoder.from_pretrained(folder)
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(3, 5)), rng.normal(size=(2, 5))
    measure = {
        "cosine": lambda x, y: x @ y / np.sqrt((x @ x) * (y @ y)),
        "dot": lambda x, y: x @ y,
        "euclidean": lambda x, y: -np.sqrt(((x - y) ** 2).sum()),
        "manhattan": lambda x, y: -np.abs(x - y).sum(),
    }[name]
    expected = [[measure(x, y) for y in b] for x in a]
    got = encoder.similarity(a, b)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        encoder.similarity(tf.constant(a[0]), b), expected[:1], rtol=1e-5, atol=1e-6
    )
    assert encoder.similarity(a[:0], b).shape == (0, 2)


class TestFoldersThatAreRefused:
    def load(self, folder):
        return tfhf.SentenceEncoder.from_pretrained(folder)

    def test_code_of_its_own(self, folder):
        write_json(folder / "modules.json", [{"path": "", "type": "custom.Transformer"}])
        with pytest.raises(ValueError, match=r"'custom.Transformer' has code of its own"):
            self.load(folder)

    @pytest.mark.parametrize("path", ["../other", "/etc"])
    def test_folders_elsewhere(self, folder, path):
        write_modules(folder, ("Pooling", flags("mean")))
        modules = json.loads((folder / "modules.json").read_text())
        modules[1]["path"] = path
        write_json(folder / "modules.json", modules)
        with pytest.raises(UnsafeCheckpointError, match=f"names a folder elsewhere: {path}"):
            self.load(folder)

    def test_unknown_modules(self, folder):
        write_modules(folder, ("Pooling", flags("mean")), ("WeightedLayerPooling", None))
        with pytest.raises(ValueError, match="lists WeightedLayerPooling, which is not supported"):
            self.load(folder)
        write_modules(folder, ("Dense", None))
        with pytest.raises(ValueError, match=r"\['Transformer', 'Dense'\]: not a Transformer and"):
            self.load(folder)

    def test_unknown_options(self, folder):
        write_modules(folder, ("Pooling", {"pooling_mode": "median"}))
        with pytest.raises(ValueError, match="pooling must be one of cls, .*, not 'median'"):
            self.load(folder)
        write_modules(folder, ("Pooling", flags("mean") | {"include_prompt": False}))
        with pytest.raises(ValueError, match="include_prompt=False is not supported"):
            self.load(folder)
        write_json(folder / "config_sentence_transformers.json", {"similarity_fn_name": "x"})
        write_modules(folder, ("Pooling", flags("mean")))
        with pytest.raises(ValueError, match="similarity must be one of cosine, .*, not 'x'"):
            self.load(folder)

    def test_dense_modules(self, folder):
        weight = np.zeros((5, SIZE), np.float32)
        write_modules(folder, ("Pooling", flags("mean")), ("Dense", None))
        write_dense(folder / "2_Dense", weight, None, "torch.nn.modules.activation.Softmax")
        with pytest.raises(ValueError, match="activation_function must be .*, not 'Softmax'"):
            self.load(folder)
        write_dense(folder / "2_Dense", weight, np.zeros(5, np.float32))
        save_file({"linear.weight": weight}, folder / "2_Dense/model.safetensors")
        with pytest.raises(CorruptCheckpointError, match="has no tensor 'linear.bias'"):
            self.load(folder)
        config = json.loads((folder / "2_Dense/config.json").read_text())
        write_json(folder / "2_Dense/config.json", config | {"use_residual": True})
        with pytest.raises(ValueError, match="use_residual=True is not supported"):
            self.load(folder)

    def test_broken_json(self, folder):
        (folder / "modules.json").write_text("[{")
        with pytest.raises(CorruptCheckpointError, match=r"modules\.json is no JSON"):
            self.load(folder)
