"""AdamWeightDecay in ``fit``: graphs and XLA, saving and resuming, low precision, PyTorch."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfhf.training import AdamWeightDecay, create_optimizer

WORDS, LABELS = 11, 3


def make_model():
    keras.utils.set_random_seed(1)
    return keras.Sequential(
        [
            keras.layers.Input((6,), dtype="int32"),
            keras.layers.Embedding(WORDS, 8, name="token"),
            keras.layers.LayerNormalization(name="norm"),
            keras.layers.Flatten(),
            keras.layers.Dense(LABELS, name="classifier", dtype="float32"),
        ]
    )


def make_data(rows=32):
    ids = np.random.default_rng(3).integers(0, WORDS, (rows, 6))
    return ids, ids.sum(1) % LABELS


def compile_model(model, **kwargs):
    optimizer, _ = create_optimizer(0.01, 64, 4, weight_decay_rate=0.1, adam_global_clipnorm=1.0)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, metrics=["accuracy"], **kwargs)


def fit(model, epochs=2, **kwargs):
    return model.fit(*make_data(), batch_size=8, epochs=epochs, shuffle=False, verbose=0, **kwargs)


def assert_same_weights(a, b, atol=1e-6):
    for one, other in zip(a.get_weights(), b.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=atol)


def test_fit_is_the_same_eagerly_in_a_graph_and_with_xla():
    models = []
    for kwargs in ({"run_eagerly": True}, {"jit_compile": False}, {"jit_compile": True}):
        models.append(make_model())
        compile_model(models[-1], **kwargs)
        fit(models[-1])
    assert_same_weights(models[0], models[1], atol=1e-5)
    assert_same_weights(models[0], models[2], atol=1e-5)


def test_training_goes_on_from_a_saved_model(tmp_path):
    whole, first = make_model(), make_model()
    compile_model(whole, jit_compile=False)
    compile_model(first, jit_compile=False)
    fit(whole, epochs=4)
    fit(first, epochs=2)
    first.save(tmp_path / "model.keras")
    second = keras.models.load_model(tmp_path / "model.keras")
    assert isinstance(second.optimizer, AdamWeightDecay)
    assert second.optimizer.get_config() == first.optimizer.get_config()
    assert int(second.optimizer.iterations) == 8
    fit(second, epochs=2)
    assert_same_weights(whole, second)


def test_backup_and_restore_resumes_an_interrupted_fit(tmp_path):
    class Interrupt(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    whole, broken, resumed = make_model(), make_model(), make_model()
    for model in (whole, broken, resumed):
        compile_model(model, jit_compile=False)
    fit(whole, epochs=4)
    backup = keras.callbacks.BackupAndRestore(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        fit(broken, epochs=4, callbacks=[backup, Interrupt()])
    fit(resumed, epochs=4, callbacks=[keras.callbacks.BackupAndRestore(tmp_path)])
    assert int(resumed.optimizer.iterations) == 16
    assert_same_weights(whole, resumed)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "bfloat16"])
def test_fit_with_low_precision_learns(policy):
    keras.config.set_dtype_policy(policy)
    try:
        model = make_model()
    finally:
        keras.config.set_dtype_policy("float32")
    compile_model(model, jit_compile=False)
    losses = fit(model, epochs=12).history["loss"]
    assert losses[-1] < 0.7 * losses[0]
    if policy == "mixed_float16":
        assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)


def test_overflow_under_loss_scaling_skips_the_step():
    variable = keras.Variable([1.0, 2.0])
    optimizer = keras.optimizers.LossScaleOptimizer(AdamWeightDecay(0.1, weight_decay_rate=0.5))
    optimizer.build([variable])
    scale = float(optimizer.dynamic_scale)
    optimizer.apply([tf.constant([np.inf, 1.0])], [variable])
    np.testing.assert_array_equal(variable.numpy(), [1.0, 2.0])
    assert int(optimizer.iterations) == 0
    assert float(optimizer.dynamic_scale) == scale / 2
    optimizer.apply([tf.constant([scale, scale])], [variable])
    np.testing.assert_allclose(variable.numpy(), [0.95 - 0.1, 1.9 - 0.1], atol=1e-6)


@pytest.mark.parametrize("policy", ["float32", "bfloat16"])
def test_averaged_weights(policy):
    keras.config.set_dtype_policy(policy)
    try:
        model = make_model()
    finally:
        keras.config.set_dtype_policy("float32")
    optimizer = AdamWeightDecay(0.01, use_ema=True, ema_momentum=0.5, ema_overwrite_frequency=4)
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    assert np.isfinite(fit(model).history["loss"]).all()
    average = [np.float32(v) for v in optimizer._model_variables_moving_average]
    for weight, mean in zip(model.get_weights(), average, strict=True):
        np.testing.assert_array_equal(np.float32(weight), mean)


@pytest.mark.oracle
def test_fit_of_an_embedding_equals_pytorch():
    import torch

    model = make_model()
    compile_model(model, jit_compile=False)
    table, gamma, beta, kernel, bias = (
        torch.nn.Parameter(torch.tensor(w)) for w in model.get_weights()
    )
    _, schedule = create_optimizer(0.01, 64, 4)
    adamw = torch.optim.AdamW(
        [
            {"params": [table, kernel], "weight_decay": 0.1},
            {"params": [gamma, beta, bias], "weight_decay": 0.0},
        ],
        lr=0.01,
        eps=1e-8,
    )
    scheduler = torch.optim.lr_scheduler.LambdaLR(adamw, lambda step: float(schedule(step)) / 0.01)
    ids, labels = (torch.tensor(array) for array in make_data())
    for _ in range(12):
        for rows in range(0, 32, 8):
            x = torch.nn.functional.embedding(ids[rows : rows + 8], table)
            x = torch.nn.functional.layer_norm(x, (8,), gamma, beta, eps=1e-3).flatten(1)
            loss = torch.nn.functional.cross_entropy(x @ kernel + bias, labels[rows : rows + 8])
            loss.backward()
            torch.nn.utils.clip_grad_norm_([table, gamma, beta, kernel, bias], 1.0)
            adamw.step()
            scheduler.step()
            adamw.zero_grad()
    fit(model, epochs=12)
    for actual, expected in zip(
        model.get_weights(), (table, gamma, beta, kernel, bias), strict=True
    ):
        np.testing.assert_allclose(actual, expected.detach().numpy(), rtol=0, atol=1e-5)
