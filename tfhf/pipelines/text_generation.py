"""What follows a text, or the next message of a chat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tfhf.auto import TFAutoModelForCausalLM
from tfhf.pipelines.base import Example, Outputs, Row
from tfhf.pipelines.generation import GenerationPipeline

Message = Mapping[str, Any]


@dataclass
class Chat:
    """A conversation: messages with ``role`` and ``content``.

    Raises:
        ValueError: a message lacks one of these.
    """

    messages: Sequence[Message]

    def __post_init__(self) -> None:
        for message in self.messages:
            if not isinstance(message, Mapping) or not {"role", "content"} <= set(message):
                raise ValueError(
                    f"each message of a chat must have a 'role' and a 'content', not {message!r}"
                )

    def is_answered(self) -> bool:
        """Whether the last message is the model's own."""
        return self.messages[-1]["role"] == "assistant"


@dataclass(frozen=True)
class _Settings:
    tokenizer: dict[str, Any]
    generate: dict[str, Any]
    prefix: str
    leave_room: bool
    continue_final_message: bool | None
    returns: str
    skip_special_tokens: bool
    clean_up: bool


class TextGenerationPipeline(GenerationPipeline):
    """``"text-generation"``: the continuation of a text or a chat.

    An input is a text, or a list of messages ``{"role", "content"}``, for which the tokenizer must
    have a chat template. Its result is a list of ``{"generated_text"}``, one for each of
    ``num_return_sequences``: the text with what follows, or the messages with the answer.

    Options:
        return_full_text: whether the prompt is part of the result; default ``True``.
        return_tensors: return ``{"generated_token_ids"}`` instead.
        return_text: taken; texts are returned unless ``return_tensors``.
        clean_up_tokenization_spaces: take out spaces before punctuation; default ``True``.
        skip_special_tokens: leave special tokens out of texts; default ``True``.
        prefix: a text before every prompt, which the result does not show.
        handle_long_generation: ``"hole"``: cut a prompt at the left so that the model has positions
            for what is to follow.
        stop_sequence: a text whose tokens each end a sequence.
        continue_final_message: whether the model goes on with the last message; default: if that
            is the assistant's.
        add_special_tokens, truncation, max_length: for the tokenizer; ``max_length`` is also that
            of the whole sequence.
        tokenizer_encode_kwargs: other arguments for the tokenizer.
        All others go to ``model.generate``: ``max_new_tokens``, ``do_sample``, ``streamer``, ….

    Example:
        >>> import tfhf
        >>> generator = tfhf.pipeline("text-generation")  # doctest: +SKIP
        >>> generator("In this course,", max_new_tokens=3, do_sample=False)  # doctest: +SKIP
        [{'generated_text': 'In this course, you will learn'}]
    """

    auto_class = TFAutoModelForCausalLM
    # Settings such as max_length count a prompt's padding.
    pads = False

    def __call__(  # type: ignore[override]  # the argument's name is that of Transformers
        self, text_inputs: Any, **options: Any
    ) -> Any:
        """Continue one text or chat, a list, or what an iterable yields; see the class."""
        if isinstance(text_inputs, list | tuple) and isinstance((*text_inputs, "")[0], Mapping):
            text_inputs = Chat(text_inputs)
        return super().__call__(text_inputs, **options)

    def settle(
        self,
        *,
        return_full_text: bool | None = None,
        return_tensors: bool | None = None,
        return_text: bool | None = None,
        clean_up_tokenization_spaces: bool = True,
        skip_special_tokens: bool | None = None,
        prefix: str | None = None,
        handle_long_generation: str | None = None,
        stop_sequence: str | None = None,
        continue_final_message: bool | None = None,
        add_special_tokens: bool | None = None,
        truncation: bool | str | None = None,
        padding: bool | str | None = None,
        max_length: int | None = None,
        tokenizer_encode_kwargs: dict[str, Any] | None = None,
        **generate: Any,
    ) -> _Settings:
        """Check the options."""
        both = {
            "return_full_text": return_full_text,
            "return_text": return_text,
            "return_tensors": return_tensors,
        }
        given = [name for name, value in both.items() if value is not None]
        if len(given) > 1:
            raise ValueError(f"`{given[0]}` is mutually exclusive with `{given[1]}`")
        if handle_long_generation not in (None, "hole"):
            raise ValueError(
                f"handle_long_generation must be None or 'hole', not {handle_long_generation!r}"
            )
        tokenizer = {
            "add_special_tokens": add_special_tokens,
            "truncation": truncation,
            "max_length": max_length,
        }
        tokenizer = {name: value for name, value in tokenizer.items() if value is not None}
        prefix = self.prefix if prefix is None else prefix
        if max_length is not None:
            generate["max_length"] = max_length
        if prefix:
            generate |= self._longer(prefix, bool(add_special_tokens), generate)
        if stop_sequence is not None:
            generate["eos_token_id"] = self.tokenizer.encode(
                stop_sequence, add_special_tokens=False
            )
        returns = "new text" if return_full_text is False else "full text"
        return _Settings(
            tokenizer=tokenizer | (tokenizer_encode_kwargs or {}),
            generate=generate,
            prefix=prefix or "",
            leave_room=handle_long_generation == "hole",
            continue_final_message=continue_final_message,
            returns="tensors" if return_tensors is not None else returns,
            skip_special_tokens=skip_special_tokens is not False,
            clean_up=clean_up_tokenization_spaces,
        )

    def preprocess(self, inputs: Sequence[Any], settings: _Settings) -> list[Example]:
        """Tokenize texts, and what the chat template makes of chats."""
        examples = []
        for each in inputs:
            source = Chat(each) if isinstance(each, list | tuple) else each
            if isinstance(source, Chat):
                row = self._tokenize_chat(source, settings)
            elif isinstance(source, str):
                (row,) = self.tokenize([settings.prefix + source], **settings.tokenizer)
            else:
                raise ValueError(f"an input must be a text or a chat, but is {each!r}")
            if settings.leave_room:
                row = self._with_room(row, settings.generate)
            examples.append(Example([row], source))
        return examples

    def run(self, rows: Sequence[Row], settings: _Settings) -> list[Outputs]:
        """Continue a batch of prompts of one length."""
        if not rows[0]["input_ids"]:
            start = settings.generate.get("bos_token_id", self.generation_config.bos_token_id)
            if start is None:
                raise ValueError("the model has no token that begins a text: a prompt is needed")
            rows = [{"input_ids": [start], "attention_mask": [1]}] * len(rows)
        return self.generate(rows, settings.generate)

    def postprocess(self, example: Example, outputs: list[Outputs], settings: _Settings) -> Any:
        """Decode sequences."""
        sequences = outputs[0]["sequences"].tolist()
        if settings.returns == "tensors":
            return [{"generated_token_ids": sequence} for sequence in sequences]
        prompt = len(self._decode(example.rows[0]["input_ids"], settings))
        texts = [self._decode(sequence, settings)[prompt:] for sequence in sequences]
        if settings.returns == "full text":
            return [
                {"generated_text": self._whole(example.source, text, settings)} for text in texts
            ]
        return [{"generated_text": text} for text in texts]

    def _longer(self, prefix: str, special: bool, generate: dict[str, Any]) -> dict[str, Any]:
        """Return settings that make room for a prefix."""
        length = len(self.tokenizer(prefix, add_special_tokens=special)["input_ids"])
        given = generate.get("generation_config")
        longer = {}
        if not generate.get("max_new_tokens") and not (given and given.max_new_tokens):
            limit = generate.get("max_length") or self.generation_config.max_length
            longer["max_length"] = (20 if limit is None else limit) + length
        if "min_new_tokens" not in generate and "min_length" in generate:
            longer["min_length"] = generate["min_length"] + length
        return longer

    def _tokenize_chat(self, chat: Chat, settings: _Settings) -> Row:
        goes_on = settings.continue_final_message
        goes_on = chat.is_answered() if goes_on is None else goes_on
        options = {k: v for k, v in settings.tokenizer.items() if k != "add_special_tokens"}
        tokens = self.tokenizer.apply_chat_template(
            list(chat.messages),
            add_generation_prompt=not goes_on,
            continue_final_message=goes_on,
            return_dict=True,
            **options,
        )
        return {name: tokens[name] for name in self._signature if name in tokens}

    def _with_room(self, row: Row, generate: dict[str, Any]) -> Row:
        """Cut a prompt at the left, so that there are positions for what follows."""
        length, limit = len(row["input_ids"]), self.tokenizer.model_max_length
        new_tokens = generate.get("max_new_tokens")
        if new_tokens is None:
            new_tokens = (
                generate.get("max_length") or self.generation_config.max_length or 20
            ) - length
            if new_tokens < 0:
                raise ValueError("max_length is shorter than the prompt: pass max_new_tokens")
        if length + new_tokens <= limit:
            return row
        if new_tokens >= limit:
            raise ValueError(
                f"{new_tokens} new tokens are wanted, but the model has positions for {limit}"
            )
        return {name: values[new_tokens - limit :] for name, values in row.items()}

    def _decode(self, ids: list[int], settings: _Settings) -> str:
        text = self.tokenizer.decode(
            ids,
            skip_special_tokens=settings.skip_special_tokens,
            clean_up_tokenization_spaces=False,
        )
        # Transformers 5 cleans up behind no tokenizer with byte pairs; 4 did behind all.
        return self.tokenizer.clean_up_tokenization(text) if settings.clean_up else text

    def _whole(self, source: str | Chat, text: str, settings: _Settings) -> Any:
        """Return the prompt with what follows."""
        if isinstance(source, str):
            return source + text
        goes_on = settings.continue_final_message
        if source.is_answered() if goes_on is None else goes_on:
            *before, last = source.messages
            return [*before, {"role": last["role"], "content": last["content"] + text}]
        return [*source.messages, {"role": "assistant", "content": text}]
