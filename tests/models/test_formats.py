"""One model from every file format: the values are those of the safetensors file, bit by bit."""

import shutil
from pathlib import Path

import numpy as np
import pytest

import tfhf

FIXTURES = Path(__file__).parents[1] / "fixtures"
WRITTEN_BY_TRANSFORMERS_4 = sorted(path.name for path in (FIXTURES / "h5").iterdir())


def load(name, folder):
    model, info = getattr(tfhf, f"TF{name}").from_pretrained(folder, output_loading_info=True)
    assert not any(info.values()), info
    return model


def assert_same_weights(model, expected):
    pairs = list(zip(model.weights, expected.weights, strict=True))
    assert len(pairs) > 10
    for a, b in pairs:
        np.testing.assert_array_equal(a, b, err_msg=a.path)


@pytest.mark.parametrize("name", WRITTEN_BY_TRANSFORMERS_4)
def test_tf_model_h5(name):
    assert_same_weights(load(name, FIXTURES / "h5" / name), load(name, FIXTURES / name))


@pytest.mark.oracle
@pytest.mark.parametrize("new_format", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("name", ["BertForPreTraining", "DistilBertForMaskedLM", "BertModel"])
def test_pytorch_model_bin(name, new_format, tmp_path):
    import torch
    import transformers

    model = getattr(transformers, name).from_pretrained(FIXTURES / name)
    shutil.copy(FIXTURES / name / "config.json", tmp_path)
    torch.save(
        model.state_dict(),
        tmp_path / "pytorch_model.bin",
        _use_new_zipfile_serialization=new_format,
    )
    assert_same_weights(load(name, tmp_path), load(name, FIXTURES / name))


@pytest.mark.parametrize("name", ["BertForMaskedLM", "DistilBertModel"])
def test_sharded_safetensors(name, tmp_path):
    model = load(name, FIXTURES / name)
    model.save_pretrained(tmp_path, max_shard_size="3KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 2
    assert_same_weights(load(name, tmp_path), model)
    model.save_pretrained(tmp_path)  # one file again, and no shard is left behind
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".safetensors"]
    assert_same_weights(load(name, tmp_path), model)


def test_new_head_on_an_old_body_is_named(caplog):
    model, info = tfhf.TFBertForTokenClassification.from_pretrained(
        FIXTURES / "BertForMaskedLM", num_labels=7, output_loading_info=True
    )
    assert info["missing_keys"] == ["classifier.weight", "classifier.bias"]
    assert all(name.startswith("cls.predictions") for name in info["unexpected_keys"])
    assert "classifier.weight" in caplog.text and "Train the model" in caplog.text
    assert np.std(model.classifier.out.kernel) > 0 and not np.any(model.classifier.out.bias)


def test_another_number_of_labels():
    folder = FIXTURES / "BertForTokenClassification"
    with pytest.raises(ValueError, match=r"classifier.weight: \(2, 12\) in the file, \(5, 12\)"):
        tfhf.TFBertForTokenClassification.from_pretrained(folder, num_labels=5)
    model, info = tfhf.TFBertForTokenClassification.from_pretrained(
        folder, num_labels=5, ignore_mismatched_sizes=True, output_loading_info=True
    )
    assert [name for name, _, _ in info["mismatched_keys"]] == [
        "classifier.weight",
        "classifier.bias",
    ]
    assert model.classifier.out.kernel.shape == (12, 5)
    assert np.std(model.classifier.out.kernel) > 0


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_dtype_auto_is_that_of_the_file(dtype, tmp_path):
    model = tfhf.TFBertModel.from_pretrained(FIXTURES / "BertModel", dtype=dtype)
    model.save_pretrained(tmp_path)
    again = tfhf.TFBertModel.from_pretrained(tmp_path, dtype="auto")
    assert again.dtype_policy.name == dtype
    assert_same_weights(again, model)
