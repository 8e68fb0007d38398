"""What is measured: an area is a function from the setting to its rows."""

from collections.abc import Callable

from benchmarks.areas.classification import (
    fit,
    latency,
    lora,
    pipeline,
    predict,
    step_overhead,
)
from benchmarks.areas.data import inputs, load
from benchmarks.areas.generation import generate
from benchmarks.areas.long_inputs import attention_memory, longformer
from benchmarks.areas.machine import limits, optimizer
from benchmarks.areas.pipelines import pipelines
from benchmarks.areas.serving import serve
from benchmarks.areas.setting import Setting
from benchmarks.areas.translation import translate
from benchmarks.contest import Row

AREAS: dict[str, Callable[[Setting], list[Row]]] = {
    "limits": limits,
    "fit": fit,
    "lora": lora,
    "pipeline": pipeline,
    "predict": predict,
    "latency": latency,
    "input": inputs,
    "load": load,
    "step_overhead": step_overhead,
    "optimizer": optimizer,
    "attention_memory": attention_memory,
    "longformer": longformer,
    "generate": generate,
    "translate": translate,
    "pipelines": pipelines,
    "serve": serve,
}
