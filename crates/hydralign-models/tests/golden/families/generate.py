"""Writes one tiny checkpoint per family and variant, and what transformers computes with it. Takes no arguments.

Written with torch 2.13.0, transformers 5.23.0 and safetensors 0.8.0 on a CPU, in float32, with one thread.
"""

import json
import os
import pathlib
import shutil

os.environ.update(OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1", CUDA_VISIBLE_DEVICES="")
import torch  # noqa: E402
import transformers as tf  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

torch.set_num_threads(1)
HERE = pathlib.Path(__file__).resolve().parent
VOCAB = 80
PROMPT_LENGTHS = (7, 3, 11)
NEW_TOKENS = 12
LEAST_MARGIN = 2e-3  # a greedy choice closer than this says nothing about an implementation

TOKENS = dict(vocab_size=VOCAB, bos_token_id=1, eos_token_id=2, pad_token_id=0)
SIZES = dict(hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=56, max_position_embeddings=64)
LLAMA = dict(**TOKENS, **SIZES, num_key_value_heads=2)
ROPE = dict(rope_parameters=dict(rope_type="default", rope_theta=10000.0))
GPT2 = dict(**TOKENS, n_embd=32, n_layer=3, n_head=4, n_positions=64)
OPT = dict(**TOKENS, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, ffn_dim=56, max_position_embeddings=64)
GEMMA = dict(**LLAMA, head_dim=12, sliding_window=6, query_pre_attn_scalar=20)
PARTIAL = lambda share: dict(rope_type="default", rope_theta=10000.0, partial_rotary_factor=share)  # noqa: E731

# name: (configuration class, its arguments)
VARIANTS = {
    "llama_bias": ("LlamaConfig", dict(LLAMA, **ROPE, attention_bias=True, mlp_bias=True)),
    "llama_linear_rope": ("LlamaConfig", dict(LLAMA, rope_parameters=dict(rope_type="linear", factor=4.0, rope_theta=5000.0))),
    "mistral": ("MistralConfig", dict(LLAMA, **ROPE, head_dim=12, sliding_window=6)),
    "mistral_full": ("MistralConfig", dict(LLAMA, **ROPE, sliding_window=None)),
    "qwen2": ("Qwen2Config", dict(LLAMA, rope_parameters=dict(rope_type="default", rope_theta=1e6), tie_word_embeddings=True)),
    "qwen2_sliding": ("Qwen2Config", dict(LLAMA, **ROPE, use_sliding_window=True, sliding_window=6, max_window_layers=1)),
    "qwen3": ("Qwen3Config", dict(LLAMA, **ROPE, head_dim=16, tie_word_embeddings=True)),
    "qwen3_bias": ("Qwen3Config", dict(LLAMA, **ROPE, head_dim=8, attention_bias=True)),
    "gemma2": ("Gemma2Config", dict(GEMMA, **ROPE, attn_logit_softcapping=5.0, final_logit_softcapping=8.0)),
    "gemma2_no_caps": ("Gemma2Config", dict(GEMMA, **ROPE, attn_logit_softcapping=None, final_logit_softcapping=None, attention_bias=True)),
    "gemma3": ("Gemma3TextConfig", dict(GEMMA, num_hidden_layers=4, sliding_window_pattern=3, rope_parameters=dict(
        full_attention=dict(rope_type="linear", factor=8.0, rope_theta=50000.0),
        sliding_attention=dict(rope_type="default", rope_theta=1000.0)))),
    "gpt2": ("GPT2Config", dict(GPT2)),
    "gpt2_inner": ("GPT2Config", dict(GPT2, n_inner=40, activation_function="gelu", scale_attn_by_inverse_layer_idx=True)),
    "gptneox": ("GPTNeoXConfig", dict(TOKENS, **SIZES, rope_parameters=PARTIAL(0.25), hidden_act="gelu")),
    "gptneox_sequential": ("GPTNeoXConfig", dict(
        TOKENS, **SIZES, rope_parameters=PARTIAL(0.5), use_parallel_residual=False, hidden_act="relu", tie_word_embeddings=True)),
    "opt": ("OPTConfig", dict(OPT, word_embed_proj_dim=32)),
    "opt_postnorm": ("OPTConfig", dict(OPT, do_layer_norm_before=False, word_embed_proj_dim=20)),
    "opt_nobias": ("OPTConfig", dict(OPT, word_embed_proj_dim=32, enable_bias=False)),
}
REWARD_MODELS = ("qwen2", "gpt2", "gptneox", "opt_postnorm", "gemma2")


def rows(lengths, seed):
    rng = torch.Generator().manual_seed(seed)
    return [torch.randint(3, VOCAB, (n,), generator=rng) for n in lengths]


def padded(prompts, side):
    width = max(len(p) for p in prompts)
    ids = torch.zeros(len(prompts), width, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for i, p in enumerate(prompts):
        place = slice(width - len(p), None) if side == "left" else slice(None, len(p))
        ids[i, place], mask[i, place] = p, 1
    return ids, mask


INPUT = torch.stack(rows((20, 20), 7))


def shake(model, seed):
    """Moves norms and biases away from where they start, so that a tensor in the wrong place shows, and sharpens the logits."""
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            if p.ndim == 1:
                p.add_(0.2 * torch.randn(p.shape, generator=rng))
            else:
                p.copy_(0.25 * torch.randn(p.shape, generator=rng))


def build(auto, name, seed, **more):
    kind, arguments = VARIANTS[name]
    config = getattr(tf, kind)(**arguments, **more)
    config._attn_implementation = "eager"
    torch.manual_seed(seed)
    model = auto.from_config(config, attn_implementation="eager", dtype=torch.float32).eval()
    shake(model, seed)
    return model


def positions(mask):
    return (mask.cumsum(-1) - 1).clamp(min=0)


def greedy(model, ids, mask):
    model.generation_config.eos_token_id = None
    settings = dict(input_ids=ids, attention_mask=mask, do_sample=False, max_new_tokens=NEW_TOKENS, pad_token_id=0)
    cached = model.generate(**settings, use_cache=True, output_logits=True, return_dict_in_generate=True)
    plain = model.generate(**settings, use_cache=False)
    best = torch.stack(cached.logits, 1).topk(2, -1).values
    return cached.sequences, torch.equal(cached.sequences, plain), (best[..., 0] - best[..., 1]).min().item()


def causal(name):
    """The first seed for which no greedy choice is a close one and the cache changes none."""
    ids, mask = padded(rows(PROMPT_LENGTHS, 11), "left")
    for seed in range(100):
        model = build(tf.AutoModelForCausalLM, name, seed)
        with torch.no_grad():
            chosen, same, margin = greedy(model, ids, mask)
        if same and margin > LEAST_MARGIN:
            return model, ids, mask, chosen, margin
    raise SystemExit(f"{name}: no seed with clear greedy choices")


def save_tensors(path, tensors):
    save_file({k: v.detach().clone().contiguous() for k, v in tensors.items()}, path)
    path.chmod(0o644)


def save_model(model, folder):
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    (folder / "model.safetensors").chmod(0o644)
    older_spelling(folder)


def older_spelling(folder):
    """The same configuration as transformers 4 spells it; checked below to describe the same model."""
    c = json.loads((folder / "config.json").read_text())
    c["torch_dtype"], c["transformers_version"] = c.pop("dtype"), "4.46.0"
    c.pop("layer_types", None)
    rope = c.pop("rope_parameters", None)
    if c["model_type"] == "gemma3_text":
        full = rope["full_attention"]
        c["rope_theta"], c["rope_local_base_freq"] = full.pop("rope_theta"), rope["sliding_attention"]["rope_theta"]
        c["rope_scaling"] = full
        c["sliding_window_pattern"] = 3
    elif rope is not None:
        share = rope.pop("partial_rotary_factor", None)
        base = rope.pop("rope_theta")
        if c["model_type"] == "gpt_neox":
            c["rotary_pct"], c["rotary_emb_base"] = share, base
        else:
            c["rope_theta"] = base
        c["rope_scaling"] = None if rope["rope_type"] == "default" else dict(type=rope["rope_type"], factor=rope["factor"])
    (folder / "config_v4.json").write_text(json.dumps(c, indent=1) + "\n")


def same_in_both_spellings(folder, auto, expected):
    for spelling in ("config.json", "config_v4.json"):
        config = tf.AutoConfig.from_pretrained(folder / spelling)
        model = auto.from_pretrained(folder, config=config, attn_implementation="eager", dtype=torch.float32).eval()
        with torch.no_grad():
            got = model(input_ids=INPUT, use_cache=False).logits
        assert torch.equal(got, expected), f"{folder.name}: {spelling} describes another model, by {(got - expected).abs().max()}"


def decoder(name, summary):
    folder = HERE / name
    model, ids, mask, chosen, margin = causal(name)
    with torch.no_grad():
        logits = model(input_ids=INPUT, use_cache=False).logits
        last = model(input_ids=ids, attention_mask=mask, position_ids=positions(mask), use_cache=False).logits[:, -1]
    logprobs = torch.log_softmax(logits[:, :-1], -1).gather(-1, INPUT[:, 1:, None])[..., 0]
    loss = model(input_ids=INPUT, labels=INPUT, use_cache=False).loss
    loss.backward()
    norm = torch.sqrt(sum((p.grad.double() ** 2).sum() for p in model.parameters())).item()
    save_model(model, folder)
    same_in_both_spellings(folder, tf.AutoModelForCausalLM, logits)
    save_tensors(folder / "reference.safetensors", dict(
        input_ids=INPUT, logits=logits, logprobs=logprobs, pad_ids=ids, pad_mask=mask, pad_last_logits=last, greedy=chosen))
    summary[name] = dict(parameters=model.num_parameters(), loss=loss.item(), gradient_norm=norm, greedy_least_margin=margin)


def reward_model(name, summary):
    folder = HERE / f"{name}_rm"
    model = build(tf.AutoModelForSequenceClassification, name, 5, num_labels=1)
    ids, mask = padded(rows(PROMPT_LENGTHS, 13), "right")
    with torch.no_grad():
        scores = model(input_ids=ids, attention_mask=mask).logits
        values = model.score(model.base_model(input_ids=ids, attention_mask=mask)[0])
    save_model(model, folder)
    save_tensors(folder / "reference.safetensors", dict(input_ids=ids, attention_mask=mask, scores=scores, token_values=values))
    summary[f"{name}_rm"] = dict(parameters=model.num_parameters())


def respelt(name, source, keep, rename, buffers):
    """The weights of a variant as an older file spells them; its reference is that of the source."""
    folder = HERE / name
    folder.mkdir()
    tensors = {rename(k): v for k, v in load_file(HERE / source / "model.safetensors").items() if keep(k)}
    save_tensors(folder / "model.safetensors", {**tensors, **buffers})
    shutil.copy(HERE / source / "config_v4.json", folder / "config.json")


def narrow(name, source, dtype):
    """A variant stored in 16 bits; the reference is computed in 32 bits from the widened weights."""
    folder = HERE / name
    model = tf.AutoModelForCausalLM.from_pretrained(HERE / source, dtype=dtype)
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    (folder / "model.safetensors").chmod(0o644)
    wide = tf.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    with torch.no_grad():
        save_tensors(folder / "reference.safetensors", dict(input_ids=INPUT, logits=wide(input_ids=INPUT, use_cache=False).logits))


def main():
    for old in HERE.iterdir():
        if old.is_dir():
            shutil.rmtree(old)
    summary = dict(versions={m.__name__: m.__version__.split("+")[0] for m in (torch, tf)})
    for name in VARIANTS:
        decoder(name, summary)
        print(name, summary[name])
    for name in REWARD_MODELS:
        reward_model(name, summary)
    bare = lambda k: k.removeprefix("transformer.")  # noqa: E731
    triangle = torch.tril(torch.ones(64, 64)).view(1, 1, 64, 64)
    respelt("gpt2_hub", "gpt2", lambda k: k != "lm_head.weight", bare, {f"h.{i}.attn.bias": triangle for i in range(3)})
    old = {}
    for i in range(3):
        at = f"gpt_neox.layers.{i}.attention"
        old |= {f"{at}.bias": triangle.bool(), f"{at}.masked_bias": torch.tensor(-1e9), f"{at}.rotary_emb.inv_freq": torch.ones(1)}
    respelt("gptneox_hub", "gptneox", lambda k: True, lambda k: k, old)
    narrow("qwen2_bf16", "qwen2", torch.bfloat16)
    narrow("gptneox_f16", "gptneox", torch.float16)
    (HERE / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")


main()
