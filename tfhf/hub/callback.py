"""PushToHubCallback: share a model while it trains."""

from __future__ import annotations

import inspect
import logging
import os
import shutil
import tempfile
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import keras

from tfhf.hub.model_card import by_name, create_model_card, save_model_card
from tfhf.hub.push import push_folder

logger = logging.getLogger(__name__)

STRATEGIES = ("epoch", "steps", "no")


class PushToHubCallback(keras.callbacks.Callback):
    """Save a model in training, with its tokenizer and a card, and upload it in the background.

    Training never waits: while one upload is under way, others are left out. The finished model is
    uploaded at the end of ``fit``, which waits for it. An upload that fails does not stop training;
    it is told at the end, and the folder has the model in any case. It uploads to the main branch;
    :func:`tfhf.push_folder` knows others, and pull requests.

    Args:
        output_dir: the folder to save to, and to upload.
        save_strategy: when, beside the end: after each "epoch", after "steps", or "no".
        save_steps: how many batches, with "steps".
        tokenizer: saved beside the model.
        hub_model_id: ``name`` or ``organisation/name``; default: the name of `output_dir`.
        hub_token: a Hub token; default: the one that ``hf auth login`` kept.
        hub_private_repo: whether a new repository is private.
        **model_card_args: those of :func:`tfhf.hub.create_model_card`.

    Attributes:
        errors: what went wrong with uploads.

    Raises:
        TypeError: an unknown argument.
        ValueError: an unknown strategy, or "steps" without their number.

    Example:
        >>> PushToHubCallback("moods", hub_model_id="ada/moods", license="mit").hub_model_id
        'ada/moods'
    """

    def __init__(
        self,
        output_dir: str | os.PathLike,
        save_strategy: str = "epoch",
        save_steps: int | None = None,
        tokenizer: Any = None,
        hub_model_id: str | None = None,
        hub_token: str | None = None,
        hub_private_repo: bool | None = None,
        **model_card_args: Any,
    ) -> None:
        super().__init__()
        if save_strategy not in STRATEGIES:
            raise ValueError(f"save_strategy must be one of {STRATEGIES}, not {save_strategy!r}")
        if save_strategy == "steps" and not (save_steps and save_steps > 0):
            raise ValueError(f"save_steps must be a number above 0 with 'steps', not {save_steps}")
        known = [*inspect.signature(create_model_card).parameters][2:]  # the callback gives two
        for name in model_card_args:
            if name not in known:
                raise TypeError(
                    f"PushToHubCallback has no argument {name!r}; of create_model_card it takes "
                    + ", ".join(known)
                )
        self.output_dir = Path(output_dir)
        self.save_strategy = save_strategy
        self.save_steps = save_steps
        self.tokenizer = tokenizer
        self.hub_model_id = hub_model_id or self.output_dir.resolve().name
        self.hub_token = hub_token
        self.hub_private_repo = hub_private_repo
        self.model_card_args = model_card_args
        self.errors: list[BaseException] = []
        self._epochs: list[dict[str, Any]] = []
        self._upload: Future | None = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Get ready for uploads, one at a time."""
        self._steps = 0
        self._uploads = ThreadPoolExecutor(1, thread_name_prefix="push_to_hub")

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Remember where the epoch begins."""
        self._before = self._steps

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Share the model after so many batches, of which Keras may have run several at a time."""
        seen = self._steps
        self._steps = self._before + min(batch + 1, self.params.get("steps") or batch + 1)
        every = self.save_steps if self.save_strategy == "steps" else None
        if every and self._steps // every > seen // every:
            self._share(f"Training in progress, step {self._steps}")

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Share the model after an epoch."""
        self._epochs.append(dict(logs or {}))
        if self.save_strategy == "epoch":
            self._share(f"Training in progress, epoch {epoch + 1}")

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Share the finished model, wait until it is there, and tell what went wrong."""
        self._settle()
        self._share("End of training")
        self._settle()
        self._uploads.shutdown()
        if self.errors:
            logger.error(
                "%d uploads to %s failed, the last with: %s. The model is in %s; "
                "tfhf.hub.push_folder uploads it.",
                len(self.errors),
                self.hub_model_id,
                self.errors[-1],
                self.output_dir,
            )

    def _share(self, message: str) -> None:
        if self._upload is not None and not self._upload.done():
            return
        self._settle()
        self.model.save_pretrained(self.output_dir)
        if self.tokenizer is not None:
            self.tokenizer.save_pretrained(self.output_dir)
        args = {"history": by_name(self._epochs)} | self.model_card_args
        card = create_model_card(self.model, self.hub_model_id, **args)
        save_model_card(card, self.output_dir, args["history"])
        # The next save must not change what is being uploaded.
        frozen = tempfile.mkdtemp(prefix=".upload", dir=self.output_dir.resolve().parent)
        shutil.copytree(
            self.output_dir,
            frozen,
            ignore=shutil.ignore_patterns("checkpoint-*"),
            copy_function=_link,
            dirs_exist_ok=True,
        )
        self._upload = self._uploads.submit(self._push, frozen, message)

    def _push(self, folder: str, message: str) -> None:
        try:
            push_folder(
                folder,
                repo_id=self.hub_model_id,
                commit_message=message,
                private=self.hub_private_repo,
                token=self.hub_token,
            )
        finally:
            shutil.rmtree(folder)

    def _settle(self) -> None:
        """Wait for the upload under way, and keep its error."""
        if self._upload is not None:
            if error := self._upload.exception():
                self.errors.append(error)
            self._upload = None


def _link(source: str, target: str) -> None:
    """Copy a file; one that is never changed but replaced gets a second name."""
    try:
        if source.endswith(".safetensors"):
            os.link(source, target)
            return
    except OSError:  # a file system without links
        pass
    shutil.copy2(source, target)
