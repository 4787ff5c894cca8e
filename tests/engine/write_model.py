"""Writes a language model that says nothing of use: `python write_model.py FILE`, in the engine's environment.

It has the form of a Llama (two layers, 32 dimensions, 355 tokens) and random weights, always the same ones: 180 KB.
Its words are single characters, and bytes for all others, so any text can be its prompt. Rows of the output matrix of
tokens that are no printable character are zero, so that what it says is text.
"""

from __future__ import annotations

import sys

import gguf
import numpy as np

LAYERS, WIDTH, HEADS, INNER, CONTEXT = 2, 32, 4, 64, 4096
LETTERS = [chr(code) for code in range(0x21, 0x7F)]
#: token, score, kind: as a tokenizer of SentencePiece's kind has them.
TOKENS = [
    ("<unk>", 0.0, gguf.TokenType.UNKNOWN),
    ("<s>", 0.0, gguf.TokenType.CONTROL),
    ("</s>", 0.0, gguf.TokenType.CONTROL),
    *((f"<0x{byte:02X}>", 0.0, gguf.TokenType.BYTE) for byte in range(256)),
    *((letter, -float(place), gguf.TokenType.NORMAL) for place, letter in enumerate(["\u2581", *LETTERS])),
]
FIRST_LETTER = len(TOKENS) - len(LETTERS) - 1


def write(path: str) -> None:
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("babbler")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_vocab_size(len(TOKENS))
    writer.add_tokenizer_model("llama")
    writer.add_token_list([token for token, _, _ in TOKENS])
    writer.add_token_scores([score for _, score, _ in TOKENS])
    writer.add_token_types([kind for _, _, kind in TOKENS])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    _add_weights(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_weights(writer: gguf.GGUFWriter) -> None:
    dice = np.random.default_rng(20260101)

    def matrix(name: str, rows: int, columns: int) -> None:
        values = dice.standard_normal((rows, columns)) / np.sqrt(columns)
        if name == "output":
            values[:FIRST_LETTER] = 0.0
            values *= 8.0
        writer.add_tensor(f"{name}.weight", values.astype(np.float32))

    def ones(name: str) -> None:
        writer.add_tensor(f"{name}.weight", np.ones(WIDTH, dtype=np.float32))

    matrix("token_embd", len(TOKENS), WIDTH)
    ones("output_norm")
    matrix("output", len(TOKENS), WIDTH)
    for layer in range(LAYERS):
        place = f"blk.{layer}"
        ones(f"{place}.attn_norm")
        ones(f"{place}.ffn_norm")
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            matrix(f"{place}.{name}", WIDTH, WIDTH)
        matrix(f"{place}.ffn_gate", INNER, WIDTH)
        matrix(f"{place}.ffn_up", INNER, WIDTH)
        matrix(f"{place}.ffn_down", WIDTH, INNER)


if __name__ == "__main__":
    write(sys.argv[1])
