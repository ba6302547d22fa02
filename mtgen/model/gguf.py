"""Converts a Llama GGUF file into a checkpoint folder, without losing a bit.

4-bit blocks stay 4-bit: a Q4_1 matrix of N rows and K columns becomes three tensors,

    NAME.q4     uint8   (N, K/32, 16)  byte j of a block: column j low, column j+16 high nibble
    NAME.scale  float16 (N, K/32)      weight = scale * nibble + min
    NAME.min    float16 (N, K/32)

and a Q8_0 matrix becomes NAME.q8 int8 (N, K) and NAME.scale float16 (N, K/32), with
weight = scale * q8. Everything else is stored as float32. Names and row order are those of
`transformers`' Llama; GGUF interleaves the rotary pairs of Q and K, which is undone.

Source of the block layouts: ggml's GGUF specification (ggml-org/ggml, docs/gguf.md).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from mtgen.errors import CorruptedFileError

BLOCK = 32

NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}

# llama.cpp's pre-tokenizer of that name: single digits, then GPT-2's pattern.
PRE_TOKENIZERS = {"smollm", "gpt-2"}


def hf_name(name: str) -> str:
    """`blk.3.attn_q.weight` -> `model.layers.3.self_attn.q_proj`."""
    parts = name.removesuffix(".weight").split(".")
    try:
        if parts[0] == "blk":
            return f"model.layers.{parts[1]}.{NAMES[parts[2]]}"
        return NAMES[parts[0]]
    except (KeyError, IndexError):
        raise CorruptedFileError(f"unknown tensor {name!r} in the GGUF file") from None


def halves_from_pairs(rows: np.ndarray, n_head: int) -> np.ndarray:
    """Row order of one head: (pair, 2) as in GGUF -> (2, pair) as in `transformers`."""
    n, *rest = rows.shape
    return rows.reshape(n_head, n // n_head // 2, 2, *rest).swapaxes(1, 2).reshape(n, *rest)


def split_q4_1(blocks: np.ndarray) -> dict[str, np.ndarray]:
    """uint8 (N, K/32 * 20) -> q4, scale, min."""
    n = blocks.shape[0]
    parts = np.ascontiguousarray(blocks).reshape(n, -1, 20)
    halves = np.ascontiguousarray(parts[..., :4]).view(np.float16)
    return {"q4": parts[..., 4:], "scale": halves[..., 0], "min": halves[..., 1]}


def split_q8_0(blocks: np.ndarray) -> dict[str, np.ndarray]:
    """uint8 (N, K/32 * 34) -> q8, scale."""
    n = blocks.shape[0]
    parts = np.ascontiguousarray(blocks).reshape(n, -1, 34)
    scale = np.ascontiguousarray(parts[..., :2]).view(np.float16)[..., 0]
    q8 = np.ascontiguousarray(parts[..., 2:]).view(np.int8).reshape(n, -1)
    return {"q8": q8, "scale": scale}


def convert(gguf_file: Path, folder: Path, *, name: str, progress: bool = True) -> None:
    """Writes config.json, tokenizer.json, tokenizer_config.json and model.safetensors.

    Args:
        gguf_file: A file of architecture `llama`.
        folder: An existing folder to write into.
        name: The model's name, kept in config.json.
        progress: Show a bar on standard error.

    Raises:
        CorruptedFileError: not a GGUF file of a Llama, or one with missing fields.
    """
    from gguf import GGMLQuantizationType, GGUFReader, dequantize
    from safetensors import SafetensorError
    from safetensors.numpy import save_file
    from tqdm import tqdm

    try:
        reader = GGUFReader(gguf_file)
    except (ValueError, IndexError, OSError, UnicodeDecodeError) as error:
        raise CorruptedFileError(f"{gguf_file} is not a readable GGUF file ({error})") from error

    def field(key: str, default: Any = None) -> Any:
        found = reader.fields.get(key)
        if found is None and default is None:
            raise CorruptedFileError(f"{gguf_file} lacks the field {key!r}")
        return default if found is None else found.contents()

    if field("general.architecture") != "llama":
        raise CorruptedFileError(
            f"{gguf_file} is of architecture {field('general.architecture')!r}; 'llama' is needed"
        )
    n_head = field("llama.attention.head_count")
    heads = {"attn_q": n_head, "attn_k": field("llama.attention.head_count_kv", n_head)}

    tensors: dict[str, np.ndarray] = {}
    bar = tqdm(
        reader.tensors,
        desc="converting the trunk, once",
        unit="tensor",
        disable=None if progress else True,
    )
    for tensor in bar:
        base = hf_name(tensor.name)
        if tensor.tensor_type == GGMLQuantizationType.Q4_1:
            parts = split_q4_1(tensor.data)
        elif tensor.tensor_type == GGMLQuantizationType.Q8_0:
            parts = split_q8_0(tensor.data)
        else:
            dense = dequantize(tensor.data, tensor.tensor_type)
            parts = {"weight": np.asarray(dense, np.float32)}
        rotary = heads.get(tensor.name.split(".")[-2])
        for suffix, part in parts.items():
            if rotary:
                part = halves_from_pairs(part, rotary)
            tensors[f"{base}.{suffix}"] = np.ascontiguousarray(part)
    try:
        save_file(tensors, folder / "model.safetensors", metadata={"format": "mtgen-gguf-1"})
    except SafetensorError as error:  # how a full disk shows here
        raise OSError(str(error)) from error

    config = {
        "_name_or_path": name,
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": field("llama.embedding_length"),
        "intermediate_size": field("llama.feed_forward_length"),
        "num_hidden_layers": field("llama.block_count"),
        "num_attention_heads": n_head,
        "num_key_value_heads": heads["attn_k"],
        "max_position_embeddings": field("llama.context_length"),
        "rms_norm_eps": field("llama.attention.layer_norm_rms_epsilon"),
        "rope_theta": field("llama.rope.freq_base", 10000.0),
        "vocab_size": len(field("tokenizer.ggml.tokens")),
        "tie_word_embeddings": "lm_head.weight" not in tensors and "lm_head.q8" not in tensors,
        "eos_token_id": field("tokenizer.ggml.eos_token_id"),
        "bos_token_id": field("tokenizer.ggml.bos_token_id"),
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", "utf-8")

    tokens = field("tokenizer.ggml.tokens")
    tokenizer = build_tokenizer(
        tokens,
        field("tokenizer.ggml.merges"),
        field("tokenizer.ggml.token_type"),
        field("tokenizer.ggml.pre", "gpt-2"),
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    tokenizer_config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": field("llama.context_length"),
        "bos_token": tokens[config["bos_token_id"]],
        "eos_token": tokens[config["eos_token_id"]],
        "chat_template": field("tokenizer.chat_template"),
    }
    text = json.dumps(tokenizer_config, indent=2) + "\n"
    (folder / "tokenizer_config.json").write_text(text, "utf-8")


def build_tokenizer(tokens: list[str], merges: list[str], types: list[int], pre: str):
    """A byte-level BPE `tokenizers.Tokenizer` from a GGUF file's lists.

    Args:
        tokens: The vocabulary by id.
        merges: `"left right"`, best first.
        types: Kind of each token; 3 marks special ones.
        pre: Name of the splitting rule.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    if pre not in PRE_TOKENIZERS:
        raise CorruptedFileError(
            f"the GGUF file splits words by {pre!r}; known: {', '.join(sorted(PRE_TOKENIZERS))}"
        )
    pairs = [(left, right) for left, _, right in (merge.partition(" ") for merge in merges)]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=pairs))
    steps: list[Any] = [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]
    if pre == "smollm":
        steps.insert(0, pre_tokenizers.Digits(individual_digits=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    tokenizer.decoder = decoders.ByteLevel()
    special = [token for token, kind in zip(tokens, types, strict=True) if kind == 3]
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in special])
    return tokenizer
