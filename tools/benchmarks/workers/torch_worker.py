"""PyTorch 2.13 with Transformers 5, eager or by torch.compile."""

import contextlib
from functools import partial
from itertools import islice

import torch
from torch.utils.data import DataLoader
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    pipeline,
)
from transformers.trainer_pt_utils import LengthGroupedSampler

from benchmarks.workers.onnx_runtime import onnx_label_server
from benchmarks.workers.protocol import Work, serve
from benchmarks.workers.rows_on_disk import read_batches, read_table
from benchmarks.workers.shared_work import (
    Classify,
    Generate,
    Import,
    Input,
    Load,
    ServeLabels,
    ServeTexts,
    Translate,
)


class Library:
    """Transformers as its course tells to use it with PyTorch."""

    def __init__(self) -> None:
        self.paths = {
            "DataLoader": partial(self._loaded, grouped=False),
            "DataLoader, grouped": partial(self._loaded, grouped=True),
        }

    def load(self, folder, precision):
        return AutoModelForSequenceClassification.from_pretrained(folder)

    def adapt(self, model, rank):
        import peft  # here, since all others shall be measured without it

        config = peft.LoraConfig(r=rank, target_modules=["q_lin", "v_lin"], task_type="SEQ_CLS")
        return peft.get_peft_model(model, config)

    def generator(self, folder, precision, static_cache=False):
        dtype = getattr(torch, precision)
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()
        options = {"cache_implementation": "static"} if static_cache else {}

        @torch.inference_mode()
        def logits(ids):
            return model(torch.tensor(ids)).logits[:, -1].float()

        def generate(ids, new_tokens):
            return model.generate(
                torch.tensor(ids),
                attention_mask=torch.ones(ids.shape, dtype=torch.long),
                max_new_tokens=new_tokens,
                min_new_tokens=new_tokens,
                do_sample=False,
                pad_token_id=0,
                **options,
            )

        return logits, generate

    def translator(self, folder, generation):
        model = AutoModelForSeq2SeqLM.from_pretrained(folder).eval()

        def translate(ids, mask):
            return model.generate(
                torch.tensor(ids), attention_mask=torch.tensor(mask), **generation
            )

        return translate

    def classifier(self, folder):
        pipe = pipeline("sentiment-analysis", folder)
        return lambda texts, batch_size, **options: pipe(texts, batch_size=batch_size, **options)

    def label_server(self, folder, onnx=False):
        if onnx:
            return onnx_label_server(folder)
        pipe = pipeline("text-classification", folder)

        def label(texts):
            found = pipe(texts, batch_size=len(texts))
            return [each["label"] for each in found], [each["score"] for each in found]

        return label

    def text_server(self, folder, tokenizer, generation):
        pipe = pipeline("text-generation", folder, tokenizer=tokenizer)
        return lambda texts: [
            found[0]["generated_text"] for found in pipe(texts, batch_size=len(texts), **generation)
        ]

    def loader(self, folder, rows, batch_size, grouped=False):
        """Return the DataLoader that Trainer makes, with and without ``group_by_length``."""
        tokenizer = AutoTokenizer.from_pretrained(folder)
        lengths = [len(row) for row in rows["input_ids"]] if grouped else None
        sampler = LengthGroupedSampler(batch_size, lengths=lengths) if grouped else None
        return DataLoader(
            rows,
            batch_size=batch_size,
            shuffle=not grouped,
            sampler=sampler,
            collate_fn=DataCollatorWithPadding(tokenizer),
        )

    def _loaded(self, folder, rows, batch_size, grouped):
        loader = self.loader(folder, rows, batch_size, grouped)
        return lambda: [batch["attention_mask"] for batch in loader]


library = Library()


def _sums(model):
    return [float(parameter.detach().sum()) for parameter in model.parameters()]


def _optimizer(model):
    return torch.optim.AdamW(model.parameters(), lr=5e-5, weight_decay=0.01, fused=True)


class Fit(Work):
    """The training loop of the course over given batches; a name picks which."""

    def __init__(self, folder: str, precision: str, batches: str, compile=False, lora=None) -> None:
        self._start(folder, precision, compile, lora)
        self.data = {
            name: [{column: torch.tensor(array) for column, array in b.items()} for b in found]
            for name, found in read_batches(batches).items()
        }
        self.position = 0

    def _start(self, folder: str, precision: str, compile: bool, lora: int | None = None) -> None:
        self.model = library.load(folder, "float32")
        if lora:
            self.model = library.adapt(self.model, rank=lora)
        self.optimizer = _optimizer(self.model)
        self.call = torch.compile(self.model, dynamic=True) if compile else self.model
        self.precision = (
            torch.autocast("cpu", torch.bfloat16)
            if precision == "bfloat16"
            else contextlib.nullcontext()
        )

    def outputs(self) -> dict:
        self.model.eval()
        with torch.inference_mode(), self.precision:
            outputs = self.model(**self.data["check"][0])
        return {"logits": outputs.logits.float(), "loss": outputs.loss.float()}

    def step(self, batch: dict) -> None:
        with self.precision:
            loss = self.call(**batch).loss
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()

    def turn(self, steps: int, batches: str):
        data = self.data[batches]
        chosen = [data[(self.position + i) % len(data)] for i in range(steps)]
        self.position += steps
        self.model.train()
        return lambda: [self.step(batch) for batch in chosen]


class FitPipeline(Fit):
    """The training loop over rows, by Trainer's DataLoader, from a new epoch each time."""

    def __init__(
        self,
        folder: str,
        precision: str,
        table: str,
        batch_size: int,
        compile=False,
        grouped=False,
    ) -> None:
        self._start(folder, precision, compile)
        self.loader = library.loader(folder, read_table(table), batch_size, grouped)

    def outputs(self) -> dict:
        return {}

    def turn(self, steps: int):
        self.model.train()
        # The sampler that groups by length puts the longest rows into the first batch.
        return lambda: [self.step(batch) for batch in islice(self.loader, 1, 1 + steps)]


class Predict(Fit):
    """The model in evaluation mode, without gradients, over given batches."""

    @torch.inference_mode()
    def outputs(self) -> dict:
        self.model.eval()
        with self.precision:
            outputs = self.call(**self.data["check"][0])
        return {"logits": outputs.logits.float(), "loss": outputs.loss.float()}

    def turn(self, steps: int, batches: str):
        data = [{k: v for k, v in batch.items() if k != "labels"} for batch in self.data[batches]]
        self.model.eval()

        def act():
            with torch.inference_mode(), self.precision:
                for i in range(steps):
                    self.call(**data[i % len(data)]).logits.float().numpy()

        return act


class Latency(Predict):
    """One request after the other."""

    def outputs(self) -> dict:
        return {"logits": super().outputs()["logits"]}


class Optimizer(Work):
    """One update of all parameters of a model, with gradients that are there already."""

    def __init__(self, folder: str) -> None:
        model = library.load(folder, "float32")
        for parameter in model.parameters():
            parameter.grad = torch.randn_like(parameter) * 1e-3
        self.optimizer = _optimizer(model)

    def turn(self, steps: int):
        return lambda: [self.optimizer.step() for _ in range(steps)]


class MatrixProduct(Work):
    """Products of [m, k] and [k, n]."""

    def __init__(self, precision: str) -> None:
        self.dtype = getattr(torch, precision)

    def turn(self, steps: int, shape: list[int]):
        m, k, n = shape
        a, b = torch.randn(m, k).to(self.dtype), torch.randn(k, n).to(self.dtype)
        out = torch.empty(m, n, dtype=self.dtype)

        def act():
            for _ in range(steps):
                torch.mm(a, b, out=out)

        return act


KINDS = {
    "fit": Fit,
    "fit pipeline": FitPipeline,
    "classify": partial(Classify, library),
    "generate": partial(Generate, library),
    "import": Import,
    "input": partial(Input, library),
    "latency": Latency,
    "load": partial(Load, library.load, _sums),
    "matrix product": MatrixProduct,
    "optimizer": Optimizer,
    "predict": Predict,
    "serve labels": partial(ServeLabels, library),
    "serve texts": partial(ServeTexts, library),
    "translate": partial(Translate, library),
}

if __name__ == "__main__":
    serve(KINDS)
