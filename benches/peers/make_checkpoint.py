"""Writes a Llama checkpoint of random weights in Hugging Face layout, for measuring how it is loaded. Needs no package.

usage: make_checkpoint.py FOLDER [--bytes 1000000000] [--dtype f32|bf16|f16] [--shards 1] [--seed 0]
"""

import argparse
import array
import json
import pathlib
import random
import struct

SIZES = dict(f32=4, bf16=2, f16=2)
NAMES = dict(f32=("F32", "float32"), bf16=("BF16", "bfloat16"), f16=("F16", "float16"))
VOCAB, HIDDEN, INNER, HEADS, KV_HEADS = 32000, 1024, 2816, 16, 4


def shapes(layers):
    width, kv = HIDDEN, HIDDEN // HEADS * KV_HEADS
    yield "model.embed_tokens.weight", [VOCAB, width]
    for i in range(layers):
        at = f"model.layers.{i}."
        yield at + "input_layernorm.weight", [width]
        yield at + "post_attention_layernorm.weight", [width]
        for name, out in ("q", width), ("k", kv), ("v", kv), ("o", width):
            yield f"{at}self_attn.{name}_proj.weight", [out, width]
        yield at + "mlp.gate_proj.weight", [INNER, width]
        yield at + "mlp.up_proj.weight", [INNER, width]
        yield at + "mlp.down_proj.weight", [width, INNER]
    yield "model.norm.weight", [width]
    yield "lm_head.weight", [VOCAB, width]


def count(shape):
    n = 1
    for d in shape:
        n *= d
    return n


def layers_for(numbers):
    fixed = sum(count(s) for _, s in shapes(0))
    each = sum(count(s) for _, s in shapes(1)) - fixed
    return max(1, round((numbers - fixed) / each))


def block(dtype, seed):
    """A million small random numbers, of which every tensor takes pieces."""
    rng = random.Random(seed)
    values = array.array("f", (rng.gauss(0, 0.02) for _ in range(1 << 20)))
    if dtype == "f32":
        return values.tobytes()
    if dtype == "bf16":
        return b"".join(struct.pack("<f", v)[2:] for v in values)
    return struct.pack(f"<{len(values)}e", *values)


def write(path, tensors, dtype, numbers):
    size, at, header = SIZES[dtype], 0, {}
    for name, shape in tensors:
        end = at + count(shape) * size
        header[name] = dict(dtype=NAMES[dtype][0], shape=shape, data_offsets=[at, end])
        at = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        left = at
        while left:
            left -= f.write(numbers[: min(left, len(numbers))])
    return at


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--bytes", type=int, default=1_000_000_000)
    parser.add_argument("--dtype", choices=SIZES, default="f32")
    parser.add_argument("--shards", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.folder.mkdir(parents=True)
    layers = layers_for(args.bytes // SIZES[args.dtype])
    tensors, numbers = list(shapes(layers)), block(args.dtype, args.seed)
    if args.shards == 1:
        total = write(args.folder / "model.safetensors", tensors, args.dtype, numbers)
    else:
        total, owner, each = 0, {}, -(-len(tensors) // args.shards)
        for i in range(args.shards):
            name, part = f"model-{i + 1:05}-of-{args.shards:05}.safetensors", tensors[i * each : (i + 1) * each]
            total += write(args.folder / name, part, args.dtype, numbers)
            owner |= {t: name for t, _ in part}
        index = dict(metadata=dict(total_size=total), weight_map=owner)
        (args.folder / "model.safetensors.index.json").write_text(json.dumps(index))
    config = dict(
        architectures=["LlamaForCausalLM"], model_type="llama", vocab_size=VOCAB, hidden_size=HIDDEN, intermediate_size=INNER,
        num_hidden_layers=layers, num_attention_heads=HEADS, num_key_value_heads=KV_HEADS, max_position_embeddings=2048,
        rms_norm_eps=1e-5, rope_theta=10000.0, hidden_act="silu", tie_word_embeddings=False, torch_dtype=NAMES[args.dtype][1], eos_token_id=2)
    (args.folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    print(f"{layers} layers, {total} bytes of tensors")


main()
