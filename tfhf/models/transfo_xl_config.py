"""Transformer-XL's configuration, which Transformers 5 no longer has."""

from __future__ import annotations

from typing import Any, ClassVar

from transformers import AutoConfig, PretrainedConfig


class TransfoXLConfig(PretrainedConfig):
    """The sizes and options of a Transformer-XL; the defaults are those of ``transfo-xl-wt103``.

    Args:
        vocab_size: number of tokens, the most frequent first.
        cutoffs: where, in the vocabulary, one cluster of tokens ends and the next one starts.
        d_model: size of the hidden states.
        d_embed: size of the vectors of the first cluster's tokens.
        div_val: each cluster's vectors are this many times smaller than the one's before.
        n_head: attention heads, each of size ``d_head``.
        d_head: see ``n_head``.
        d_inner: size within the feed-forward networks.
        n_layer: number of layers.
        mem_len: how many positions of earlier segments are remembered.
        clamp_len: distances beyond it count as it; 0 or less: none do.
        same_length: let every token see ``mem_len`` tokens, not those nearer the end more.
        pre_lnorm: normalise what goes into attention and feed-forward, not what comes out.
        untie_r: let every layer have query biases of its own.
        tie_word_embeddings: score tokens with their embeddings; ``tie_weight`` in old files.
        proj_share_all_but_first: ``tie_projs`` for all clusters but the first.
        tie_projs: for each cluster, whether states are projected for its scores by the matrix that
            projects its embeddings; default: see ``proj_share_all_but_first``.
        attn_type: 0 is the only kind of attention that there is.
        sample_softmax: not above 0: there is no sampled softmax.
        adaptive: unused, as it ever was.
        dropout: rate for all that is not attention weights.
        dropatt: rate for attention weights.
        init: "normal" or "uniform", the distribution of first values.
        init_std: standard deviation of the normal one.
        init_range: limit of the uniform one.
        proj_init_std: standard deviation of the projections' first values.
        layer_norm_epsilon: added to variances.
        eos_token_id: ends texts.
        bos_token_id: starts texts.
        pad_token_id: fills rows up, for `TFTransfoXLForSequenceClassification`.
        **kwargs: those of every configuration.

    Raises:
        ValueError: ``tie_projs`` is not one value for each cluster.

    Example:
        >>> config = TransfoXLConfig(cutoffs=[10, 20], vocab_size=50)
        >>> config.hidden_size, config.tie_projs
        (1024, [False, True, True])
    """

    model_type = "transfo-xl"
    keys_to_ignore_at_inference: ClassVar[list[str]] = ["mems"]
    attribute_map: ClassVar[dict[str, str]] = {
        "n_token": "vocab_size",
        "hidden_size": "d_model",
        "num_attention_heads": "n_head",
        "num_hidden_layers": "n_layer",
        "tie_weight": "tie_word_embeddings",
    }

    vocab_size: int = 267735
    cutoffs: list[int] | tuple[int, ...] = (20000, 40000, 200000)
    d_model: int = 1024
    d_embed: int = 1024
    n_head: int = 16
    d_head: int = 64
    d_inner: int = 4096
    div_val: int = 4
    pre_lnorm: bool = False
    n_layer: int = 18
    mem_len: int = 1600
    clamp_len: int = 1000
    same_length: bool = True
    proj_share_all_but_first: bool = True
    tie_projs: list[bool] | tuple[bool, ...] = ()
    attn_type: int = 0
    sample_softmax: int = -1
    adaptive: bool = True
    dropout: float = 0.1
    dropatt: float = 0.0
    untie_r: bool = True
    init: str = "normal"
    init_range: float = 0.01
    proj_init_std: float = 0.01
    init_std: float = 0.02
    layer_norm_epsilon: float = 1e-5
    tie_word_embeddings: bool = True
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = 0
    pad_token_id: int | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        self.cutoffs = list(self.cutoffs)
        shared = self.proj_share_all_but_first
        self.tie_projs = list(self.tie_projs) or [False] + [shared] * len(self.cutoffs)
        if len(self.tie_projs) != len(self.cutoffs) + 1:
            raise ValueError(
                f"tie_projs must have one value for each of the {len(self.cutoffs) + 1} clusters "
                f"that the cutoffs make, but it is {self.tie_projs}"
            )
        super().__post_init__(**kwargs)


AutoConfig.register(TransfoXLConfig.model_type, TransfoXLConfig, exist_ok=True)
