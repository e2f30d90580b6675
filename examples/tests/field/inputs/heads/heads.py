"""Writes heads.json: the perplexity that transformers gives to ../files/02/tokens.jsonl with models made
from ../00_base by changing what is tied and what the file holds. null: it leaves weights at random.

    HF_HUB_OFFLINE=1 python heads.py
"""
import json
import math
import os
import shutil
import tempfile

import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

transformers.logging.set_verbosity_error()
HERE = os.path.dirname(os.path.abspath(__file__))
BASE = os.path.join(HERE, "..", "00_base")
ROWS = [json.loads(line)["tokens"] for line in open(os.path.join(HERE, "..", "files", "02", "tokens.jsonl"))]
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"


def file(weights, head):
    if head == "other":
        weights[HEAD] = weights[EMBEDDING] * 2 + 1
    if head == "same":
        weights[HEAD] = weights[EMBEDDING].clone()
    if head == "alone":
        weights[HEAD] = weights.pop(EMBEDDING)
    if head == "none":
        del weights[HEAD]
    return weights


def perplexity(tied, head):
    with tempfile.TemporaryDirectory() as folder:
        config = json.load(open(os.path.join(BASE, "config.json")))
        config["tie_word_embeddings"] = tied
        if tied is None:
            del config["tie_word_embeddings"]
        json.dump(config, open(os.path.join(folder, "config.json"), "w"))
        weights = load_file(os.path.join(BASE, "model.safetensors"))
        save_file(file(weights, head), os.path.join(folder, "model.safetensors"), metadata={"format": "pt"})
        model, info = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    if info["missing_keys"]:
        return None
    loss, count = 0.0, 0
    for row in ROWS:
        ids = torch.tensor([row])
        with torch.no_grad():
            logprobs = model(ids).logits.double().log_softmax(-1)[0, :-1]
        loss -= logprobs.gather(1, ids[0, 1:, None]).sum().item()
        count += len(row) - 1
    return math.exp(loss / count)


cases = [dict(tied=tied, head=head, perplexity=perplexity(tied, head))
         for tied in (True, False, None) for head in ("kept", "other", "same", "alone", "none")]
json.dump({"transformers": transformers.__version__, "torch": torch.__version__, "cases": cases},
          open(os.path.join(HERE, "heads.json"), "w"), indent=1)
