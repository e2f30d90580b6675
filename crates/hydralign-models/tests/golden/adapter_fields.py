"""Writes adapter_fields.json: the fields of peft's LoraConfig with their defaults, and which starts
(init_lora_weights) leave the function of a loaded adapter as that of a plain one.

    HF_HUB_OFFLINE=1 python adapter_fields.py

`plain` true: the loaded model computes the same as with a plain adapter of the same weights.
"""
import dataclasses
import json
import os
import tempfile

import peft
import torch
import transformers
from transformers import LlamaConfig, LlamaForCausalLM

HERE = os.path.dirname(os.path.abspath(__file__))
SIZES = dict(vocab_size=32, hidden_size=16, intermediate_size=24, num_hidden_layers=1,
             num_attention_heads=2, max_position_embeddings=32)
STARTS = ["gaussian", "Gaussian", "eva", "orthogonal", "pissa", "pissa_niter_4", "olora", "OLoRA", "corda",
          "loftq", "lora_ga", "mica", "unknown"]


def model():
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**SIZES)).eval()


def logits(folder):
    with torch.no_grad():
        return peft.PeftModel.from_pretrained(model(), folder).eval()(torch.arange(12)[None]).logits


def same(folder, start, plain):
    path = os.path.join(folder, "adapter_config.json")
    config = json.load(open(path))
    config["init_lora_weights"] = start
    json.dump(config, open(path, "w"))
    try:
        return torch.allclose(logits(folder), plain, atol=1e-5)
    except Exception as error:  # what peft itself refuses
        return type(error).__name__


def default(field):
    if field.default is not dataclasses.MISSING:
        return field.default
    return {} if field.default_factory is dict or field.name.endswith("config") else None


with tempfile.TemporaryDirectory() as folder:
    adapter = peft.get_peft_model(model(), peft.LoraConfig(r=4, target_modules=["q_proj"]))
    torch.manual_seed(1)
    for name, weight in adapter.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(weight, std=0.5)
    adapter.save_pretrained(folder)
    plain = logits(folder)
    starts = {start: same(folder, start, plain) for start in STARTS}

out = {"peft": peft.__version__, "transformers": transformers.__version__, "torch": torch.__version__,
       "fields": {f.name: default(f) for f in dataclasses.fields(peft.LoraConfig)}, "starts": starts}
json.dump(out, open(os.path.join(HERE, "adapter_fields.json"), "w"), indent=1)
