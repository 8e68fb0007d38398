"""From rows to batches, from files to models, and imports."""

import numpy as np

from benchmarks.areas.setting import PLAIN, Setting
from benchmarks.contest import Contestant, Row


def inputs(setting: Setting) -> list[Row]:
    """Every path from rows to batches, over rows of 8 to 128 tokens."""
    count = setting.size(20_000, 200)
    model = setting.model("BERT-tiny")
    lengths = np.random.default_rng(0).integers(8, 129, count)
    paths = [
        ("tfhf", "grouped by length"),
        ("tfhf", "shuffled"),
        ("tfhf", "in order"),
        ("tfhf", "collator"),
        ("tfhf", "to_tf_dataset"),
        ("torch", "DataLoader"),
        ("torch", "DataLoader, grouped"),
        ("transformers4", "prepare_tf_dataset"),
        ("keras_hub", "one length"),
    ]
    names = {c.environment: c.name for c in PLAIN}
    contestants = [
        Contestant(f"{names[environment]}: {path}", environment, {"path": path})
        for environment, path in paths
    ]
    return [
        Row(
            area="input",
            name=f"{count:,} rows of 8 to 128 tokens, batch 32",
            kind="input",
            contestants=setting.taking_part(*contestants),
            work={
                "folder": model.folder,
                "table": setting.table(model.vocab_size, lengths),
                "batch_size": 32,
            },
            amounts={"rows": count},
            steps=1,
        )
    ]


def load(setting: Setting) -> list[Row]:
    """``from_pretrained`` of BERT-base, and imports, each in a new Python."""
    model = setting.model("BERT-base")
    rows = [
        Row(
            area="load",
            name=f"load BERT-base from safetensors, {temperature}",
            kind="load",
            contestants=setting.taking_part(*PLAIN),
            work={"cold": temperature == "cold"},
            rehearsal={"folder": setting.model("BERT-tiny").folder},
            turn={"folder": model.folder},
            amounts={"MB": 4e-6 * model.parameters},
            steps=1,
        )
        for temperature in ("cold", "warm")
    ]
    imports = (
        ("tfhf", "tfhf", "import tfhf"),
        ("Python alone", "tfhf", "pass"),
        ("tfhf", "tfhf", "from tfhf import TFBertModel"),
        ("PyTorch", "torch", "from transformers import BertModel"),
        ("Transformers 4 TF", "transformers4", "from transformers import TFBertModel"),
        ("KerasHub", "keras_hub", "from keras_hub.models import BertBackbone"),
    )
    contestants = [
        Contestant(f"{name}: {statement}", environment, {"statement": statement})
        for name, environment, statement in imports
    ]
    rows.append(
        Row(
            area="load",
            name="start Python and import",
            kind="import",
            contestants=setting.taking_part(*contestants),
            steps=1,
        )
    )
    return rows
