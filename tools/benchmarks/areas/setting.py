"""How a run was asked for, and who can take part in its rows."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import material
from benchmarks.contest import Contestant

TFHF = Contestant("tfhf", "tfhf")
TFHF_XLA = Contestant("tfhf, XLA", "tfhf", {"xla": True})
TFHF_LORA = Contestant("tfhf, LoRA of rank 8", "tfhf", {"lora": 8})
TORCH = Contestant("PyTorch", "torch")
TORCH_COMPILE = Contestant("PyTorch, compiled", "torch", {"compile": True})
TORCH_LORA = Contestant("PyTorch, LoRA of rank 8 by peft", "torch", {"lora": 8})
TRANSFORMERS4 = Contestant("Transformers 4 TF", "transformers4")
TRANSFORMERS4_XLA = Contestant("Transformers 4 TF, XLA", "transformers4", {"xla": True})
KERAS_HUB = Contestant("KerasHub", "keras_hub")
KERAS_HUB_XLA = Contestant("KerasHub, XLA", "keras_hub", {"xla": True})
PLAIN = (TFHF, TORCH, TRANSFORMERS4, KERAS_HUB)
ALL = (TFHF, TFHF_XLA, TORCH, TORCH_COMPILE, TRANSFORMERS4, KERAS_HUB, KERAS_HUB_XLA)

# Of the largest output: what another order of the same sums, and another GELU, change
# in 12 layers (2e-4 in KerasHub), with room to spare. One wrong weight changes far more.
TOLERANCES = {"float32": 1e-3, "bfloat16": 1e-1}
SHORT_ROWS = np.array([7, 12, 9, 3])


@dataclass(frozen=True)
class Setting:
    """How a run was asked for."""

    peers: bool
    small: bool
    folder: Path

    def model(self, name: str) -> material.Model:
        return material.model(name, small=self.small)

    def size(self, full: int, small: int) -> int:
        return small if self.small else full

    def some(self, *choices: str) -> tuple[str, ...]:
        return choices[:1] if self.small else choices

    def taking_part(self, *contestants: Contestant) -> tuple[Contestant, ...]:
        ours = ("tfhf", "machine")
        return tuple(c for c in contestants if self.peers or c.environment in ours)

    def batches(
        self,
        vocab_size: int,
        batches: dict[str, list[np.ndarray]],
        check: np.ndarray = SHORT_ROWS,
    ) -> str:
        """Write batches, and one with padding that is only checked."""
        return material.write_batches(
            self._new("batches"), vocab_size, {"check": [check]} | batches
        )

    def table(self, vocab_size: int, lengths: np.ndarray) -> str:
        return material.write_table(self._new("table"), vocab_size, lengths)

    def sentences(self, vocab_size: int, lengths: np.ndarray, **options: int) -> str:
        path = self._new("sentences", ".json")
        return material.write_sentences(path, vocab_size, lengths, **options)

    def byte_level_tokenizer(self, vocab_size: int) -> str:
        folder = Path(tempfile.mkdtemp("tokenizer", dir=self.folder))
        return material.write_byte_level_tokenizer(folder, vocab_size)

    def _new(self, name: str, suffix: str = ".npz") -> Path:
        return Path(tempfile.mkstemp(suffix, name, self.folder)[1])
