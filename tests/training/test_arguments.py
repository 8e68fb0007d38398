"""TrainingArguments: defaults, checks, files and the command line."""

import dataclasses
import json

import pytest
import transformers
from transformers.trainer_utils import IntervalStrategy

from tfhf.training import Seq2SeqTrainingArguments, TrainingArguments

#: Where the defaults of Transformers 4.57 are not those of 5, and the two that name PyTorch.
CHANGED = {"output_dir", "optim", "report_to", "disable_tqdm", "eval_steps"}


def test_names_and_defaults_are_those_of_transformers():
    theirs = {
        field.name: field.default for field in dataclasses.fields(transformers.TrainingArguments)
    }
    ours = {field.name: field.default for field in dataclasses.fields(TrainingArguments)}
    shared = (ours.keys() & theirs.keys()) - CHANGED
    assert len(shared) > 35
    assert {name: ours[name] for name in shared} == {name: theirs[name] for name in shared}


def test_every_field_is_read_somewhere(pytestconfig):
    folder = pytestconfig.rootpath / "tfhf/training"
    code = "".join(path.read_text() for path in folder.glob("*.py"))
    for field in dataclasses.fields(Seq2SeqTrainingArguments):
        assert f"args.{field.name}" in code or f"self.{field.name}" in code, field.name
        assert field.metadata["help"]


@pytest.mark.parametrize("ending", [".json", ".yaml", ".yml"])
def test_files(tmp_path, ending):
    args = Seq2SeqTrainingArguments(
        "runs",
        learning_rate=3e-5,
        lr_scheduler_type="polynomial",
        lr_scheduler_kwargs={"power": 2.0},
        report_to="none",
        predict_with_generate=True,
        hub_token="secret",
    )
    path = tmp_path / f"args{ending}"
    args.to_file(path)
    assert "secret" not in path.read_text()
    assert Seq2SeqTrainingArguments.from_file(path, hub_token="secret") == args
    assert json.loads(args.to_json_string())["learning_rate"] == 3e-5


def test_a_file_that_a_person_wrote(tmp_path):
    path = tmp_path / "args.yaml"
    path.write_text("learning_rate: 5e-6\nnum_train_epochs: 2\nbf16: true\n")
    args = TrainingArguments.from_file(path)
    assert (args.learning_rate, args.num_train_epochs, args.bf16) == (5e-6, 2.0, True)
    path.write_text("- learning_rate\n")
    with pytest.raises(ValueError, match="must have names with values"):
        TrainingArguments.from_file(path)
    path.write_text("lerning_rate: 1\n")
    with pytest.raises(TypeError, match="lerning_rate"):
        TrainingArguments.from_file(path)
    path.write_text("a: [\n")
    with pytest.raises(ValueError, match="cannot be read"):
        TrainingArguments.from_file(path)
    with pytest.raises(ValueError, match="must end with"):
        TrainingArguments().to_file(tmp_path / "args.toml")


def test_the_command_line_comes_before_the_file_and_that_before_defaults(tmp_path):
    (tmp_path / "args.json").write_text('{"seed": 2, "data_seed": 3, "fp16": true}')
    line = f"--config {tmp_path}/args.json --seed 1 --weight-decay 0.01 --fp16 False --bf16"
    args = TrainingArguments.from_command_line(
        [*line.split(), "--lr_scheduler_kwargs", '{"num_cycles": 2}', "--report_to", "none"],
        seed=7,
        data_seed=8,
        warmup_steps=9,
        lr_scheduler_type="cosine",
    )
    assert (args.seed, args.data_seed, args.warmup_steps) == (1, 3, 9)
    assert (args.weight_decay, args.bf16, args.fp16) == (0.01, True, False)
    assert args.lr_scheduler_kwargs == {"num_cycles": 2}
    assert not args.reports


def test_the_command_line_helps_and_refuses(capsys):
    with pytest.raises(SystemExit):
        TrainingArguments.from_command_line(["--help"])
    shown = capsys.readouterr().out
    assert "--learning_rate FLOAT, --learning-rate FLOAT" in shown
    assert "(default: 5e-05)" in shown
    for line in (["--learning_rat", "1"], ["--bf16", "maybe"], ["--optim", "adam"]):
        with pytest.raises(SystemExit):
            TrainingArguments.from_command_line([*line, "--seed", "1", "--what"])


def test_enumerations_and_paths_are_texts(tmp_path):
    args = TrainingArguments(tmp_path, eval_strategy=IntervalStrategy.EPOCH, num_train_epochs=1)
    assert (args.output_dir, args.eval_strategy) == (str(tmp_path), "epoch")
    assert isinstance(args.num_train_epochs, float)


def test_warm_up():
    assert TrainingArguments(warmup_ratio=0.1).get_warmup_steps(25) == 3
    assert TrainingArguments(warmup_ratio=0.1, warmup_steps=7).get_warmup_steps(25) == 7


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ({"learning_rate": 0}, ValueError, "learning_rate must be above 0"),
        ({"learning_rate": float("nan")}, ValueError, "learning_rate must be above 0"),
        ({"learning_rate": "fast"}, TypeError, "learning_rate must be float, not 'fast'"),
        ({"adam_beta1": 1}, ValueError, "adam_beta1 must be below 1"),
        ({"warmup_ratio": 1.5}, ValueError, "warmup_ratio must be at most 1"),
        ({"seed": 1.5}, TypeError, "seed must be int"),
        ({"seed": True}, TypeError, "seed must be int"),
        ({"bf16": "yes"}, TypeError, "bf16 must be bool"),
        ({"max_steps": 0}, ValueError, "max_steps"),
        ({"per_device_train_batch_size": 0}, ValueError, "per_device_train_batch_size"),
        ({"eval_strategy": "epochs"}, ValueError, "eval_strategy must be one of 'no', 'steps'"),
        ({"optim": "adamax"}, ValueError, "optim must be one of"),
        ({"report_to": ["wandb"]}, ValueError, "wandb"),
        ({"bf16": True, "fp16": True}, ValueError, "bf16 and fp16"),
        ({"load_best_model_at_end": True}, ValueError, "eval_strategy is 'no'"),
        ({"save_strategy": "best"}, ValueError, "eval_strategy is 'no'"),
        (
            {"load_best_model_at_end": True, "eval_strategy": "epoch"},
            ValueError,
            "save_strategy must be 'epoch'",
        ),
        (
            {
                "load_best_model_at_end": True,
                "eval_strategy": "steps",
                "eval_steps": 40,
                "save_steps": 100,
            },
            ValueError,
            "save_steps to be a multiple of eval_steps = 40",
        ),
        ({"no_such_argument": 1}, TypeError, "no_such_argument"),
    ],
)
def test_wrong_values_are_named(values, error, message):
    with pytest.raises(error, match=message):
        TrainingArguments(**values)
