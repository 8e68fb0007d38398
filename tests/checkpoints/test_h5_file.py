"""Reading tf_model.h5: files in the layouts that Keras 2 and Transformers 4 wrote, made by hand."""

import json
import os
import random

import h5py
import numpy as np
import pytest

from tfhf.checkpoints.checkpoint import CorruptCheckpointError
from tfhf.checkpoints.h5_file import open_h5
from tfhf.checkpoints.reader import open_checkpoint


def write_h5(path, layers, top_level=None):
    """Keras 2's `save_weights`: {layer: {full name of the variable: array}}."""
    with h5py.File(path, "w") as file:
        file.attrs["backend"] = b"tensorflow"
        file.attrs["keras_version"] = b"2.11.0"
        file.attrs["layer_names"] = [name.encode() for name in layers]
        for layer, variables in [*layers.items(), ("top_level_model_weights", top_level or {})]:
            group = file.create_group(layer)
            group.attrs["weight_names"] = np.array([name.encode() for name in variables], "S")
            for name, array in variables.items():
                group.create_dataset(name, data=array)
    return str(path)


def write_shard(path, variables):
    """Transformers 4's shards: no groups, and the model's scope stripped from most names."""
    with h5py.File(path, "w") as file:
        stored = {
            name if "model." in name or "/" not in name else name.partition("/")[2]: array
            for name, array in variables.items()
        }
        for name, array in stored.items():
            file.create_dataset(name, data=array)
        file.attrs["layer_names"] = [name.encode() for name in stored]


def array(*shape):
    return np.random.randn(*shape).astype("float32")


KERNEL = np.arange(6, dtype="float32").reshape(2, 3)
HEAD = "tf_bert_for_sequence_classification"


def test_a_bert_classifier(tmp_path):
    word, position, norm, bias = array(5, 2), array(4, 2), array(2), array(3)
    bert = f"{HEAD}/bert"
    path = write_h5(
        tmp_path / "tf_model.h5",
        {
            "bert": {
                f"{bert}/embeddings/word_embeddings/weight:0": word,
                f"{bert}/embeddings/position_embeddings/embeddings:0": position,
                f"{bert}/embeddings/LayerNorm/gamma:0": norm,
                f"{bert}/embeddings/LayerNorm/beta:0": norm + 1,
                f"{bert}/encoder/layer_._11/attention/self/query/kernel:0": KERNEL,
            },
            "dropout_37": {},
            "classifier": {
                f"{HEAD}/classifier/kernel:0": KERNEL,
                f"{HEAD}/classifier/bias:0": bias,
            },
        },
    )
    expected = {
        "bert.embeddings.word_embeddings.weight": word,
        "bert.embeddings.position_embeddings.weight": position,
        "bert.embeddings.LayerNorm.weight": norm,
        "bert.embeddings.LayerNorm.bias": norm + 1,
        "bert.encoder.layer.11.attention.self.query.weight": KERNEL.T,
        "classifier.weight": KERNEL.T,
        "classifier.bias": bias,
    }
    with open_checkpoint(path) as checkpoint:
        assert set(checkpoint) == set(expected)
        for name, value in expected.items():
            assert checkpoint.shape(name) == value.shape
            assert checkpoint.dtype(name) == value.dtype
            np.testing.assert_array_equal(checkpoint[name], value)


def test_a_weight_that_two_layers_share_is_one(tmp_path):
    weight, bias = array(5, 2), array(5)
    shared = {"tf_bert_for_masked_lm/bert/embeddings/word_embeddings/weight:0": weight}
    own = {"tf_bert_for_masked_lm/mlm___cls/predictions/bias:0": bias}
    path = write_h5(tmp_path / "tf_model.h5", {"bert": shared, "mlm___cls": shared | own})
    with open_h5(path) as checkpoint:
        assert list(checkpoint) == [
            "bert.embeddings.word_embeddings.weight",
            "cls.predictions.bias",
        ]
        np.testing.assert_array_equal(checkpoint["cls.predictions.bias"], bias)


def test_weights_of_the_model_itself(tmp_path):
    bias = array(1, 4)
    path = write_h5(
        tmp_path / "tf_model.h5",
        {"model": {"tf_bart/model/encoder/layers.0/fc1/kernel:0": KERNEL}},
        top_level={"final_logits_bias:0": bias},
    )
    with open_h5(path) as checkpoint:
        assert set(checkpoint) == {"model.encoder.layers.0.fc1.weight", "final_logits_bias"}
        np.testing.assert_array_equal(checkpoint["final_logits_bias"], bias)


def test_names_too_many_for_one_attribute(tmp_path):
    path = tmp_path / "tf_model.h5"
    names = [f"model/layer_._{i}/kernel:0" for i in range(30)]
    write_h5(path, {"body": {name: KERNEL + i for i, name in enumerate(names)}, "other": {}})
    with h5py.File(path, "a") as file:
        for node, attribute in [(file, "layer_names"), (file["body"], "weight_names")]:
            values = np.asarray(node.attrs[attribute], "S")
            del node.attrs[attribute]
            node.attrs[f"{attribute}0"], node.attrs[f"{attribute}1"] = np.array_split(values, 2)
    with open_h5(str(path)) as checkpoint:
        assert len(checkpoint) == 30
        for i in range(30):
            np.testing.assert_array_equal(checkpoint[f"layer.{i}.weight"], KERNEL.T + i)


def test_shards_and_their_index(tmp_path):
    shards = {
        "tf_model-00001-of-00002.h5": {
            "tf_bart/model/encoder/layers.0/fc1/kernel:0": KERNEL,
            "model.shared/model.shared/embeddings:0": array(3, 2),
        },
        "tf_model-00002-of-00002.h5": {
            "tf_bart/model/decoder/layers.0/fc1/kernel:0": KERNEL + 1,
            "final_logits_bias:0": array(1, 3),
        },
    }
    for file, variables in shards.items():
        write_shard(tmp_path / file, variables)
    weight_map = {name: file for file, variables in shards.items() for name in variables}
    index = tmp_path / "tf_model.h5.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 84}, "weight_map": weight_map}))
    with open_checkpoint(index) as checkpoint:
        assert set(checkpoint) == {
            "model.encoder.layers.0.fc1.weight",
            "model.shared.weight",
            "model.decoder.layers.0.fc1.weight",
            "final_logits_bias",
        }
        np.testing.assert_array_equal(checkpoint["model.decoder.layers.0.fc1.weight"], KERNEL.T + 1)


@pytest.mark.parametrize("value", [np.float32(3), np.zeros((0, 4), "float16"), np.arange(3)])
def test_scalars_empty_arrays_and_other_dtypes(tmp_path, value):
    path = write_h5(tmp_path / "tf_model.h5", {"clip": {"tf_clip_model/clip/logit_scale:0": value}})
    with open_h5(path) as checkpoint:
        assert checkpoint["clip.logit_scale"].dtype == value.dtype
        np.testing.assert_array_equal(checkpoint["clip.logit_scale"], value)


def test_arrays_outlive_the_file(tmp_path):
    path = write_h5(tmp_path / "tf_model.h5", {"a": {"m/a/kernel:0": KERNEL}})
    with open_h5(path) as checkpoint:
        value = checkpoint["a.weight"]
    os.unlink(path)
    np.testing.assert_array_equal(value, KERNEL.T)
    with pytest.raises(ValueError, match="is closed"):
        checkpoint["a.weight"]


def compressed(file):
    file["a"].create_dataset("m/b:0", data=np.zeros(10**6), compression="gzip")


def hole(file):
    file["a"].create_dataset("m/b:0", (1 << 40,), "float32")


def text(file):
    file["a"].create_dataset("m/b:0", data="text")


def external_storage(file):
    file["a"].create_dataset("m/b:0", (4,), "uint8", external=[("/etc/hostname", 0, 4)])


def virtual(file):
    layout = h5py.VirtualLayout((2, 3), "float32")
    layout[:] = h5py.VirtualSource(".", "a/m/kernel:0", (2, 3))
    file["a"].create_virtual_dataset("m/b:0", layout)


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (compressed, "compressed"),
        (hole, "takes 0 bytes"),
        (text, "no array of numbers"),
        (external_storage, "in another file"),
        (virtual, "in another file"),
    ],
)
def test_a_weight_without_plain_numbers_in_the_file_is_refused(tmp_path, damage, fault):
    path = write_h5(tmp_path / "tf_model.h5", {"a": {"m/kernel:0": KERNEL}})
    with h5py.File(path, "a") as file:
        damage(file)
    with pytest.raises(CorruptCheckpointError, match=fault) as caught:
        open_h5(path)
    assert path in str(caught.value)


def test_links_lead_nowhere(tmp_path):
    path = write_h5(tmp_path / "tf_model.h5", {"a": {"m/kernel:0": KERNEL}})
    other = write_h5(tmp_path / "other.h5", {"a": {"m/kernel:0": KERNEL}})
    with h5py.File(path, "a") as file:
        file["a/m/b:0"] = h5py.SoftLink("/a/m/kernel:0")
        file["a/m/c:0"] = h5py.ExternalLink(other, "/a/m/kernel:0")
    with open_h5(path) as checkpoint:
        assert list(checkpoint) == ["weight"]


def test_two_weights_of_one_name_but_different_shapes(tmp_path):
    path = write_h5(
        tmp_path / "tf_model.h5", {"a": {"m/c/kernel:0": KERNEL}, "b": {"m/c/kernel:0": KERNEL.T}}
    )
    with pytest.raises(CorruptCheckpointError, match=r"two shapes for 'c\.weight'"):
        open_h5(path)


def test_what_is_no_keras_file(tmp_path):
    path = tmp_path / "tf_model.h5"
    with pytest.raises(FileNotFoundError):
        open_h5(str(path))
    with h5py.File(path, "w") as file:
        file["x"] = KERNEL
    with pytest.raises(CorruptCheckpointError, match="layer_names"):
        open_h5(str(path))
    for content in (b"", b"hello", b"\x89HDF\r\n\x1a\n"):
        path.write_bytes(content)
        with pytest.raises(CorruptCheckpointError, match="no whole HDF5 file"):
            open_h5(str(path))


def test_a_file_cut_anywhere_is_corrupt(tmp_path):
    path = tmp_path / "tf_model.h5"
    write_h5(path, {"a": {"m/a/kernel:0": array(40, 50), "m/a/bias:0": array(50)}})
    content = path.read_bytes()
    for length in [len(content) - 1, *random.sample(range(len(content)), 60)]:
        path.write_bytes(content[:length])
        with pytest.raises(CorruptCheckpointError):
            open_h5(str(path))
