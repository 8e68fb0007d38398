"""The names of tasks, and the classes that ``tfhf models`` lists for them."""

import tfhf
from tfhf.cli import tasks
from tfhf.models.names import MODELS
from tfhf.pipelines.pipeline import ALIASES, TASKS


def test_tasks_are_those_of_the_pipelines():
    assert set(tasks.TASKS) == set(TASKS) and tasks.ALIASES == ALIASES


def rows(done):
    """Return the classes of each architecture."""
    lines = (line.strip().split("  ") for line in done.stdout.splitlines()[1:])
    return {words[0]: words[-1].strip().split(", ") for words in lines}


def test_models(tfhf_command):
    found = rows(tfhf_command("models", width=400))
    assert len(found) == len(MODELS)
    assert found["BERT"] == list(MODELS["bert"]) and "DeBERTa v2 and v3" in found


def test_models_for_a_task(tfhf_command):
    ner = rows(tfhf_command("models", "--task", "ner"))
    assert ner["BERT"] == ["TFBertForTokenClassification"] and "GPT-J" not in ner
    translation = rows(tfhf_command("models", "--task=translation_en_to_fr"))
    assert translation["Marian"] == ["TFMarianMTModel"]
    assert ["TFEncoderDecoderModel"] in translation.values()
    assert rows(tfhf_command("models", "--task=fill-mask"))["BART"] == [
        "TFBartForConditionalGeneration"
    ]
    bodies = rows(tfhf_command("models", "--task=feature-extraction")).values()
    names = {name for names in bodies for name in names}
    assert names <= set(tfhf.__all__) and len(names) >= len(MODELS)
