import ctypes
import gc
import json
import os
import signal
import subprocess
import sys
import textwrap

import numpy as np
import psutil
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from transformers import BertConfig, DistilBertConfig

import tfhf
from tfhf.serving import export_model, operations_of

TEXTS = ["a movingly beautiful film!", "", "電影 🎬 CAFÉ. zz\tunknown", "bad, " * 40]
ROWS = [[2, 5, 6, 7, 9, 3], [2, 3], [2, 20, 3, 4]]
HEADS = [
    "Model",
    "ForPreTraining",
    "LMHeadModel",
    "ForMaskedLM",
    "ForNextSentencePrediction",
    "ForSequenceClassification",
    "ForTokenClassification",
    "ForQuestionAnswering",
]


def batch_of(rows):
    """Padded ids, mask and type ids, as the C program makes them from rows."""
    length = max([1, *map(len, rows)])
    ids = np.zeros((len(rows), length), np.int32)
    mask = np.zeros_like(ids)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = row
        mask[i, : len(row)] = 1
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}


def logits_of(model, tokenizer, texts):
    """The logits in Python: Transformers' tokenizer, then the model, one text at a time."""
    limit = min(model.config.max_position_embeddings, tokenizer.model_max_length)
    tokens = [tokenizer([text], truncation=True, max_length=limit) for text in texts]
    names = model.input_signature
    return [
        model(**{name: tf.constant(one[name]) for name in names}).logits.numpy()[0]
        for one in tokens
    ]


def softmax(logits):
    powers = np.exp(logits - np.max(logits))
    return powers / powers.sum()


def saved_proto(version):
    with open(os.path.join(version, "saved_model.pb"), "rb") as file:
        return saved_model_pb2.SavedModel.FromString(file.read())


def run_python(program, *arguments):
    """Run a program in a fresh interpreter that finds tfhf."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": os.path.dirname(os.path.dirname(tfhf.__file__))},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.parametrize("count", [0, 1, 4])
def test_c_program_answers_as_python(program, exported, count):
    version, model, tokenizer = exported
    answers = program.classify(version, TEXTS[:count])
    assert len(answers) == count
    for (label, score), logits in zip(answers, logits_of(model, tokenizer, TEXTS)):
        assert label == model.config.id2label[int(np.argmax(logits))]
        assert score == pytest.approx(softmax(logits).max(), abs=1e-6)


@pytest.mark.parametrize("count", [0, 1, 4])
def test_all_scores(exported, count):
    version, model, tokenizer = exported
    served = tf.saved_model.load(version).signatures["serving_default"]
    answer = served(text=tf.constant(TEXTS[:count], tf.string, shape=[count]))
    assert answer["scores"].dtype == tf.float32
    assert answer["scores"].shape == (count, 3)
    expected = np.stack([softmax(logits) for logits in logits_of(model, tokenizer, TEXTS)])
    np.testing.assert_allclose(answer["scores"], expected[:count], atol=1e-6)
    labels = [label.decode() for label in answer["label"].numpy()]
    assert labels == [model.config.id2label[i] for i in expected.argmax(-1)[:count]]


@pytest.mark.parametrize(
    ("problem_type", "num_labels", "scores_of"),
    [
        ("regression", 3, lambda logits: logits),
        ("multi_label_classification", 3, lambda logits: 1 / (1 + np.exp(-logits))),
        ("regression", 1, lambda logits: logits),
        (None, 1, lambda logits: 1 / (1 + np.exp(-logits))),
        (None, 2, softmax),
    ],
)
def test_scores_follow_the_problem_type(
    tmp_path, config, tokenizer, problem_type, num_labels, scores_of
):
    config.num_labels = num_labels
    config.problem_type = problem_type
    model = tfhf.TFBertForSequenceClassification(config)
    served = tf.saved_model.load(model.export(tmp_path, tokenizer)).signatures["serving_default"]
    answer = served(text=tf.constant(TEXTS))
    expected = [scores_of(logits) for logits in logits_of(model, tokenizer, TEXTS)]
    np.testing.assert_allclose(answer["scores"], expected, atol=1e-6)


def test_a_model_without_token_types(tmp_path, program, tokenizer):
    config = DistilBertConfig(
        vocab_size=len(tokenizer), dim=8, n_layers=1, n_heads=2, hidden_dim=12, num_labels=2
    )
    model = tfhf.TFDistilBertForSequenceClassification(config)
    version = model.export(tmp_path, tokenizer=tokenizer)
    answers = program.classify(version, TEXTS[:2])
    expected = [softmax(logits) for logits in logits_of(model, tokenizer, TEXTS[:2])]
    assert [score for _, score in answers] == pytest.approx(
        [max(row) for row in expected], abs=1e-6
    )
    tokens = saved_proto(version).meta_graphs[0].signature_def["tokens"]
    assert set(tokens.inputs) == {"input_ids", "attention_mask"}


def test_the_tokenizer_may_allow_less_than_the_model(tmp_path, classifier, tokenizer):
    text = "a a a film"
    (logits,) = logits_of(classifier, tokenizer, [text])
    tokenizer.model_max_length = 5
    (logits_of_five,) = logits_of(classifier, tokenizer, [text])
    served = tf.saved_model.load(classifier.export(tmp_path, tokenizer)).signatures
    scores = served["serving_default"](text=tf.constant([text]))["scores"][0]
    np.testing.assert_allclose(scores, softmax(logits_of_five), atol=1e-6)
    assert np.abs(scores - softmax(logits)).max() > 1e-3


@pytest.mark.parametrize("head", HEADS)
def test_tokens_of_every_head(tmp_path, program, config, head):
    config.is_decoder = head == "LMHeadModel"
    config.use_cache = False
    config.output_hidden_states = True
    if head == "ForQuestionAnswering":
        config.num_labels = 2
    model = getattr(tfhf, f"TFBert{head}")(config)
    version = model.export(tmp_path)
    for rows in (ROWS, ROWS[:1], []):
        expected = {}
        for name, value in model(batch_of(rows)).items():
            if isinstance(value, tuple):
                expected |= {f"{name}_{i}": part for i, part in enumerate(value)}
            else:
                expected[name] = value
        assert {"hidden_states_0", "hidden_states_1"} < set(expected)
        outputs = program.tokens(version, rows)
        assert set(outputs) == set(expected)
        for name, value in expected.items():
            assert outputs[name].shape == value.shape
            np.testing.assert_allclose(outputs[name], value, atol=5e-6, err_msg=name)


def test_multiple_choice_has_three_axes(tmp_path, config):
    model = tfhf.TFBertForMultipleChoice(config)
    version = model.export(tmp_path)
    inputs = {name: tf.constant([value]) for name, value in batch_of(ROWS).items()}
    served = tf.saved_model.load(version).signatures["serving_default"]
    np.testing.assert_allclose(served(**inputs)["logits"], model(inputs).logits, atol=1e-6)


def test_text_for_a_head_that_has_none(tmp_path, config, tokenizer, caplog):
    version = tfhf.TFBertForPreTraining(config).export(tmp_path, tokenizer=tokenizer)
    assert "TFBertForPreTraining has no signature for text" in caplog.text
    signatures = saved_proto(version).meta_graphs[0].signature_def
    assert "input_ids" in signatures["serving_default"].inputs


def test_return_dict_false_changes_nothing(tmp_path, classifier, tokenizer):
    classifier.config.return_dict = False
    version = classifier.export(tmp_path, tokenizer=tokenizer)
    assert "logits" in saved_proto(version).meta_graphs[0].signature_def["tokens"].outputs


def test_a_fresh_process_without_tfhf(exported):
    version, model, tokenizer = exported
    done = run_python(
        """
        import json, sys
        import tensorflow as tf, tensorflow_text
        served = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
        assert not {"tfhf", "transformers"} & set(sys.modules)
        print(json.dumps(served(text=tf.constant(json.loads(sys.argv[2])))["scores"].numpy().tolist()))
        """,
        version,
        json.dumps(TEXTS),
    )
    assert done.returncode == 0, done.stderr
    expected = [softmax(logits) for logits in logits_of(model, tokenizer, TEXTS)]
    np.testing.assert_allclose(json.loads(done.stdout.splitlines()[-1]), expected, atol=1e-6)


def test_versions_count_up(tmp_path, classifier):
    directory = tmp_path / "models" / "films"
    assert classifier.export(directory) == str(directory / "1")
    first = sorted((directory / "1").rglob("*")), (directory / "1/saved_model.pb").read_bytes()
    assert classifier.export(str(directory)) == str(directory / "2")
    (directory / "9").mkdir()
    (directory / "10-draft").mkdir()
    assert classifier.export(directory) == str(directory / "10")
    assert first == (
        sorted((directory / "1").rglob("*")),
        (directory / "1/saved_model.pb").read_bytes(),
    )
    assert {path.name for path in directory.iterdir()} == {"1", "2", "9", "10", "10-draft"}


def test_a_kill_leaves_no_half_version(tmp_path, classifier):
    done = run_python(
        """
        import os, signal, sys
        from transformers import BertConfig
        import tfhf, tfhf.serving.export as export

        def kill(*arguments):
            print(*os.listdir(sys.argv[1]), flush=True)
            os.kill(os.getpid(), signal.SIGKILL)

        export.write_warmup_requests = kill  # after the SavedModel is written
        config = BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2)
        tfhf.TFBertModel(config).export(sys.argv[1])
        """,
        tmp_path,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    (unfinished,) = done.stdout.split()
    assert not unfinished.isdigit()  # TF Serving reads integers only
    assert classifier.export(tmp_path) == str(tmp_path / "1")


def test_what_is_in_the_folder(tmp_path, tokenizer):
    """The weights once, no optimizer, no Keras, no trace of the machine it was made on."""
    config = BertConfig(
        vocab_size=1000, hidden_size=64, num_hidden_layers=2, num_attention_heads=2, num_labels=2
    )
    model = tfhf.TFBertForSequenceClassification(config)
    model.compile("adam")
    model.optimizer.build(model.trainable_variables)
    version = tmp_path / "1"
    assert model.export(tmp_path, tokenizer) == str(version)

    weights = sum(weight.numpy().nbytes for weight in model.weights)
    written = sum(file.stat().st_size for file in (version / "variables").iterdir())
    assert weights <= written < 1.05 * weights

    files = {str(file.relative_to(version)) for file in version.rglob("*") if file.is_file()}
    assert {"saved_model.pb", "assets.extra/tf_serving_warmup_requests"} < files
    listed = (version / "assets.extra/operations.txt").read_text().split()
    assert listed == operations_of(version)
    assert {"MatMul", "FastWordpieceTokenizeWithOffsets"} <= set(listed)

    machine = [str(tmp_path), os.getcwd(), sys.prefix, os.path.dirname(tfhf.__file__)]
    for file in files:
        content = (version / file).read_bytes()
        for path in machine:
            assert path.encode() not in content, (file, path)
        assert b"keras" not in content, file


@pytest.mark.parametrize(("dtype", "precision"), [(tf.bfloat16, 2**-8), (tf.float16, 2**-11)])
def test_mixed_precision(tmp_path, program, config, dtype, precision):
    """Computed as the model computes, answered in float32."""
    config.output_hidden_states = True
    model = tfhf.TFBertForSequenceClassification(config, dtype=f"mixed_{dtype.name}")
    version = model.export(tmp_path)
    library = saved_proto(version).meta_graphs[0].graph_def.library
    nodes = [node for function in library.function for node in function.node_def]
    assert {node.attr["T"].type for node in nodes if node.op == "MatMul"} == {
        dtype.as_datatype_enum
    }
    outputs, expected = program.tokens(version, ROWS), model(batch_of(ROWS))
    rounding = 8 * precision  # compiled graphs fuse operations, and round less often
    np.testing.assert_allclose(outputs["logits"], expected.logits, atol=rounding)
    assert outputs["hidden_states_1"].dtype == np.float32
    hidden_states = tf.cast(expected.hidden_states[1], tf.float32)
    np.testing.assert_allclose(outputs["hidden_states_1"], hidden_states, atol=rounding)


class CompiledPooling(tfhf.TFBertForSequenceClassification):
    """Runs a part of itself under XLA."""

    def pooled(self, body, inputs):
        return tf.function(lambda x: tf.sin(x) + 1, jit_compile=True)(super().pooled(body, inputs))


class PythonPooling(tfhf.TFBertForSequenceClassification):
    """Runs a part of itself in Python."""

    def pooled(self, body, inputs):
        pooled = super().pooled(body, inputs)
        return tf.ensure_shape(tf.numpy_function(np.sin, [pooled], tf.float32), pooled.shape)


def test_xla_is_left_out(tmp_path, program, config, tokenizer):
    model = CompiledPooling(config)
    model.compile("sgd", jit_compile=True)
    version = model.export(tmp_path, tokenizer=tokenizer)
    assert "_Xla" not in str(saved_proto(version))
    outputs = program.tokens(version, ROWS)
    np.testing.assert_allclose(outputs["logits"], model(batch_of(ROWS)).logits, atol=1e-5)


def test_python_inside_is_refused(tmp_path, config):
    with pytest.raises(ValueError, match="TF Serving does not have: PyFunc;"):
        PythonPooling(config).export(tmp_path / "films")
    assert list((tmp_path / "films").glob("*")) == []


def test_a_directory_that_is_a_file(tmp_path, classifier):
    (tmp_path / "films").write_text("")
    with pytest.raises(NotADirectoryError, match=r"directory: .*films' is a file"):
        classifier.export(tmp_path / "films")


def test_a_tokenizer_of_another_model(tmp_path, classifier, tokenizer):
    tokenizer.add_tokens(["new", "newer"])
    with pytest.raises(ValueError, match="tokenizer has 24 tokens, but the model knows only 22"):
        classifier.export(tmp_path / "films", tokenizer=tokenizer)
    assert not (tmp_path / "films").exists()


def test_a_tokenizer_that_is_none(tmp_path, classifier):
    with pytest.raises(
        TypeError, match="tokenizer must be a tokenizer of Transformers, but it is a str"
    ):
        classifier.export(tmp_path, tokenizer="bert-base-cased")


def test_unknown_arguments(tmp_path, classifier):
    with pytest.raises(TypeError, match="overwrite"):
        export_model(classifier, tmp_path, overwrite=True)


def test_memory_stays_flat(tmp_path, classifier, tokenizer):
    """An export that stays alive has 12 MB."""

    def resident_after(exports):
        for _ in range(exports):
            classifier.export(tmp_path, tokenizer=tokenizer)
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # what is freed, but not given back to the system
        return psutil.Process().memory_info().rss

    before = resident_after(2)
    assert resident_after(8) - before < 30 * 2**20


def test_a_model_under_a_strategy(tmp_path, program):
    """Mirrored variables become plain ones, on no device in particular."""
    done = run_python(
        """
        import sys
        import tensorflow as tf
        from transformers import BertConfig
        import tfhf

        two = [tf.config.LogicalDeviceConfiguration()] * 2
        tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], two)
        with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
            model = tfhf.TFBertForSequenceClassification(BertConfig(
                vocab_size=50, hidden_size=8, num_hidden_layers=1, num_attention_heads=2))
            model.export(sys.argv[1])
        mask = tf.constant([[1, 1, 1]])
        print(*model(tf.constant([[1, 2, 3]]), mask).logits.numpy()[0])
        """,
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    outputs = program.tokens(str(tmp_path / "1"), [[1, 2, 3]])
    expected = [float(logit) for logit in done.stdout.split()[-2:]]
    np.testing.assert_allclose(outputs["logits"], [expected], atol=1e-6)
    assert "CPU:1" not in str(saved_proto(tmp_path / "1"))
