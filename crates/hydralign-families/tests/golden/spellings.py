"""Writes spellings.json: which keys the configuration classes of the nine families have, and what models
made from configurations with unusual spellings compute.

    HF_HUB_OFFLINE=1 python spellings.py

keys: for each family the keys of its own class, and those of the class that all have.
cases: `config` and `like` compute the same logits (verified here, where `changes` also that a plain
configuration does not), or `config` is refused (`refused`).
"""
import copy
import dataclasses
import json
import os

import torch
import transformers
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PreTrainedConfig

transformers.logging.set_verbosity_error()
HERE = os.path.dirname(os.path.abspath(__file__))
LLAMA = dict(vocab_size=40, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=64, head_dim=8, pad_token_id=0, bos_token_id=1,
             eos_token_id=2)
GPT2 = dict(vocab_size=40, n_embd=32, n_head=4, n_layer=2, n_positions=64, bos_token_id=1, eos_token_id=2)
NEOX = {k: v for k, v in LLAMA.items() if k not in ("num_key_value_heads", "head_dim")}
OPT = dict(vocab_size=40, hidden_size=32, ffn_dim=48, num_hidden_layers=2, num_attention_heads=4,
           max_position_embeddings=64, pad_token_id=0, bos_token_id=1, eos_token_id=2)
SIZES = dict(llama=LLAMA, mistral=LLAMA, qwen2=LLAMA, qwen3=LLAMA, gemma2=LLAMA, gemma3_text=LLAMA, gpt2=GPT2,
             gpt_neox=NEOX, opt=OPT)
IDS = torch.arange(3, 35)[None]


def config(family, edit):
    out = dict(copy.deepcopy(SIZES[family]), model_type=family, **copy.deepcopy(
        {k: v for k, v in edit.items() if k not in SIZES[family]}))
    out.update({k: copy.deepcopy(v) for k, v in edit.items() if k in SIZES[family]})
    return {k: v for k, v in out.items() if v != "absent"}


def logits(values):
    values = copy.deepcopy(values)
    kind = values.pop("model_type")
    # As AutoConfig reads a file: a mistral with a list of layers is Ministral.
    if kind == "mistral" and "layer_types" in values:
        kind = "ministral"
    made = CONFIG_MAPPING[kind].from_dict(values)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(made, dtype=torch.float32).eval()
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.3)
    with torch.no_grad():
        return model(IDS).logits


YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}
LINEAR = {"rope_type": "linear", "factor": 4.0}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
DEFAULT = {"rope_type": "default", "rope_theta": 10000.0}


def lin(theta=10000.0):
    return {"rope_parameters": dict(LINEAR, rope_theta=theta)}


def cases():
    for f in ("llama", "qwen2", "gpt_neox", "gemma2"):
        neox = f == "gpt_neox"
        theta = "rotary_emb_base" if neox else "rope_theta"
        yield f, {"rope_scaling": LINEAR, "rope_parameters": DEFAULT}, lin()
        yield f, {"rope_scaling": DEFAULT, "rope_parameters": LINEAR}, {}
        yield f, {"rope_scaling": {}, "rope_parameters": LINEAR}, lin()
        yield f, {"rope_scaling": None, "rope_parameters": LINEAR, theta: 500.0}, lin(500.0)
        yield f, {"rope_scaling": {"type": "linear", "factor": 4.0}}, lin()
        yield f, {"rope_scaling": {"type": "yarn", "rope_type": "linear", "factor": 4.0}}, lin()
        yield f, {"rope_scaling": {"type": "linear", "rope_type": "default", "factor": 4.0}}, {}
        yield f, {"rope_scaling": YARN, "rope_parameters": DEFAULT}, "unsupported"
        yield f, {"rope_scaling": dict(YARN, type="default")}, "unsupported"
        yield f, {"rope_scaling": {"type": "yarn", "factor": 4.0}}, "unsupported"
        yield f, {"rope_parameters": {"rope_theta": 500.0, "rope_type": "default"}, theta: 7.0}, {theta: 500.0}
        yield f, {"rope_parameters": {"factor": 4.0}}, {}
        yield f, {"rope_parameters": {"full_attention": YARN}}, "unsupported"
        yield f, {"rope_scaling": LLAMA3}, {"rope_parameters": dict(LLAMA3, original_max_position_embeddings=64)}
        yield f, {"rope_scaling": dict(LLAMA3, original_max_position_embeddings=16),
                  "original_max_position_embeddings": 32}, "unsupported"
        yield f, {"rope_theta": 500.0, "rotary_emb_base": 300.0}, {theta: 300.0 if neox else 500.0}
    yield "gpt_neox", {"rotary_pct": 0.5, "partial_rotary_factor": 0.75}, {"rotary_pct": 0.5}
    yield "gpt_neox", {"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 1.0}, "rotary_pct": 0.5}, {"rotary_pct": 1.0}
    yield "gpt_neox", {"rope_scaling": {"rope_type": "linear", "factor": 4.0, "partial_rotary_factor": 0.5}}, dict(lin(), rotary_pct=0.5)
    yield "gpt_neox", {"rope_scaling": LINEAR, "rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}}, dict(lin(), rotary_pct=0.25)
    yield "gpt_neox", {"head_dim": 16}, "unsupported"
    yield "llama", {"partial_rotary_factor": 0.5}, {}
    g = "gemma3_text"
    full = {"rope_parameters": {"full_attention": dict(LINEAR, rope_theta=1e6), "sliding_attention": DEFAULT},
            "sliding_window_pattern": 2}
    w = {"sliding_window_pattern": 2}
    yield g, dict(w, rope_scaling=LINEAR), full
    yield g, dict(w, rope_scaling=LINEAR, rope_parameters={"full_attention": {"rope_type": "default", "rope_theta": 1e6}, "sliding_attention": DEFAULT}), full
    yield g, dict(w, rope_scaling=dict(LINEAR, rope_theta=500.0), rope_theta=300.0), {**w, "rope_parameters": {"full_attention": dict(LINEAR, rope_theta=500.0), "sliding_attention": DEFAULT}}
    yield g, dict(w, rope_scaling={"type": "linear", "factor": 4.0}, rope_parameters={"full_attention": {"rope_type": "default"}}), w
    yield g, dict(w, rope_parameters=LINEAR), "unsupported"
    yield g, dict(w, rope_scaling=YARN), "unsupported"
    yield g, {"layer_types": ["full_attention", "sliding_attention"], "sliding_window_pattern": 2, "sliding_window": 4}, {"layer_types": ["full_attention", "sliding_attention"], "sliding_window": 4}
    yield g, {"sliding_window": 4, "sliding_window_pattern": 2}, {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 4}
    yield g, {"sliding_window": 4}, {"layer_types": ["sliding_attention", "sliding_attention"], "sliding_window": 4}
    yield g, {"use_bidirectional_attention": True}, "unsupported"
    yield "gemma2", {"use_bidirectional_attention": True}, "unsupported"
    yield "gemma2", {"use_bidirectional_attention": None}, {}
    yield "gemma2", {"sliding_window": 4, "sliding_window_pattern": 1}, {"sliding_window": 4}
    yield "gemma2", {"hidden_act": "relu"}, {}
    yield "gemma2", {"hidden_activation": "relu", "hidden_act": "gelu"}, {"hidden_activation": "relu"}
    yield g, {"hidden_act": "relu"}, {}
    yield "qwen2", {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 4}, "unsupported"
    yield "qwen2", {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 4, "use_sliding_window": True, "max_window_layers": 1}, {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 4, "use_sliding_window": True}
    yield "qwen2", {"sliding_window": 4, "max_window_layers": 0}, {}
    yield "mistral", {"sliding_window": 4, "layer_types": ["full_attention", "full_attention"]}, {"sliding_window": None}
    yield "llama", {"sliding_window": 4}, {}
    yield "llama", {"sliding_window": 4, "use_sliding_window": True, "layer_types": ["sliding_attention", "sliding_attention"]}, {}
    for f in SIZES:
        yield f, {"is_causal": False}, "unsupported"
        yield f, {"unsloth_version": "2025.1", "_name_or_path": "x", "dpo": {"beta": 1}, "pretraining_tp": 2,
                  "auto_map": {"AutoModelForCausalLM": "modeling.Model"}, "temperature": 0.6}, {}
        yield f, {"dtype": None, "torch_dtype": None}, {}
        yield f, {"dtype": "float32", "torch_dtype": "bfloat16"}, {}
        yield f, {"tie_word_embeddings": None}, "refused"
        yield f, {"vocab_size": 40.0}, "refused"
        yield f, {"model_max_length": 1e30}, {}
    for f in ("mistral", "qwen2", "qwen3", "gemma2", "gemma3_text"):
        yield f, {"num_key_value_heads": "absent", "num_attention_heads": 32, "hidden_size": 64, "head_dim": 4}, {"num_key_value_heads": {"mistral": 8, "gemma2": 4, "gemma3_text": 4}.get(f, 32), "num_attention_heads": 32, "hidden_size": 64, "head_dim": 4}
        yield f, {"head_dim": "absent"}, {"head_dim": {"qwen3": 128, "gemma2": 256, "gemma3_text": 256}.get(f, 8)}
        yield f, {"head_dim": None}, {"head_dim": 8} if f == "mistral" else "refused"
    for f in ("gemma2", "gemma3_text"):
        yield f, {"num_key_value_heads": None}, "refused"
        yield f, {"sliding_window": None}, "unsupported"
    yield "llama", {"num_key_value_heads": "absent"}, {"num_key_value_heads": 4}
    yield "llama", {"num_key_value_heads": None, "head_dim": None}, {"num_key_value_heads": 4, "head_dim": 8}
    for key, bad in (("attention_bias", None), ("mlp_bias", None), ("rms_norm_eps", None), ("hidden_act", None), ("rms_norm_eps", "1e-6"), ("attention_bias", 1), ("hidden_size", 32.0), ("max_position_embeddings", 64.0)):
        yield "llama", {key: bad}, "refused"
    yield "llama", {"rope_theta": 500}, {"rope_theta": 500.0}
    yield "llama", {"rope_scaling": {"type": "linear", "factor": 4}}, lin()
    yield "gpt2", {"n_embd": 16, "hidden_size": 32}, {}
    yield "gpt2", {"n_layer": 1, "num_hidden_layers": 2}, {}
    yield "gpt2", {"n_embd": "absent", "hidden_size": 32, "n_head": "absent", "num_attention_heads": 4, "n_layer": "absent", "num_hidden_layers": 2, "n_positions": "absent", "max_position_embeddings": 64}, {}
    yield "gpt2", {"reorder_and_upcast_attn": True}, {}
    yield "gpt2", {"n_ctx": 7, "intermediate_size": 7}, {}
    yield "gpt2", {"activation_function": "gelu_fast"}, {}
    yield "llama", {"hidden_act": "quick_gelu"}, "unsupported"
    yield "llama", {"final_logit_softcapping": 1.0, "logit_scale": 3.0, "scale_embedding": True, "qk_norm": True}, {}


def classify(f, edit, like):
    case = {"config": config(f, edit)}
    try:
        got = logits(case["config"])
    except Exception as error:
        assert like in ("refused", "unsupported"), (f, edit, repr(error)[:300])
        return dict(case, refused=type(error).__name__)
    if like == "unsupported":
        return dict(case, refused="not supported here")
    assert like != "refused", (f, edit)
    case["like"] = config(f, like)
    want = logits(case["like"])
    if not torch.allclose(got, want, atol=1e-4):
        print("DIFFERS", f, edit, like, (got - want).abs().max())
    case["changes"] = bool(not torch.allclose(want, logits(config(f, {})), atol=1e-4)) if want.shape == got.shape else True
    return case


def keys(of):
    return sorted(f.name for f in dataclasses.fields(of))


base = keys(PreTrainedConfig)
out = {"transformers": transformers.__version__, "torch": torch.__version__, "general": base,
       "keys": {f: [k for k in keys(CONFIG_MAPPING[f]) if k not in base] for f in SIZES}, "cases": []}
for f, edit, like in cases():
    try:
        out["cases"].append(classify(f, edit, like))
    except AssertionError as error:
        print("CASE", error)
json.dump(out, open(os.path.join(HERE, "spellings.json"), "w"), indent=1)
