"""Writes warpers.json: what transformers does to rows of logits before it samples.

The chain and its order come from transformers itself (`_get_logits_processor`), so that the
file pins the order of temperature, top-k, top-p, min-p and the suppression of stop tokens too.

    python generate.py
"""

import json
import pathlib

import torch
import transformers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

VOCAB = 24
STOPS = [3, 17]

CHAINS = {
    "plain": {},
    "cold": {"temperature": 0.5},
    "hot": {"temperature": 1.7},
    "top_k_1": {"top_k": 1},
    "top_k_5": {"top_k": 5},
    "top_p_tiny": {"top_p": 0.01},
    "top_p_half": {"top_p": 0.5},
    "top_p_95": {"top_p": 0.95},
    "min_p_10": {"min_p": 0.1},
    "min_p_1": {"min_p": 1.0},
    "top_k_top_p": {"top_k": 10, "top_p": 0.7},
    "cold_top_p": {"temperature": 0.6, "top_p": 0.8},
    "all": {"temperature": 1.3, "top_k": 12, "top_p": 0.9, "min_p": 0.08},
    "suppressed": {"min_new_tokens": 1},
    "suppressed_all": {
        "min_new_tokens": 1,
        "temperature": 0.8,
        "top_k": 9,
        "top_p": 0.85,
        "min_p": 0.05,
    },
}


def rows():
    generator = torch.Generator().manual_seed(17)
    for scale in (0.3, 2.0, 6.0):
        yield f"normal_{scale}", torch.randn(VOCAB, generator=generator) * scale
    # A stop token that dominates, tokens that cannot occur, and ties.
    row = torch.randn(VOCAB, generator=generator)
    row[STOPS[0]] = 9.0
    row[5:8] = -float("inf")
    yield "dominant_stop", row
    yield "ties", torch.tensor([float(i % 4) for i in range(VOCAB)])
    yield "flat", torch.zeros(VOCAB)


def model():
    config = LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
    )
    return LlamaForCausalLM(config)


def chain(llama, settings):
    settings = {"top_k": 0, "top_p": 1.0, "temperature": 1.0, **settings}
    config = GenerationConfig(do_sample=True, eos_token_id=STOPS, **settings)
    llama._prepare_special_tokens(config, device="cpu")
    return llama._get_logits_processor(config, input_ids_seq_length=1, device="cpu")


def finite(values):
    """JSON has no infinity."""
    return [None if x == -float("inf") else float(f"{x:.9g}") for x in values.tolist()]


def main():
    llama = model()
    prompt = torch.zeros(1, 1, dtype=torch.long)
    groups = []
    for row_name, logits in rows():
        logits = torch.round(logits, decimals=4)
        cases = []
        for name, settings in CHAINS.items():
            processors = chain(llama, settings)
            scores = processors(prompt, logits.clone().unsqueeze(0))
            cases.append(
                {
                    "name": name,
                    "chain": [type(p).__name__ for p in processors],
                    "sampler": {k: v for k, v in settings.items() if k != "min_new_tokens"},
                    "suppressed": STOPS if "min_new_tokens" in settings else [],
                    "probs": finite(scores.double().softmax(-1).squeeze(0)),
                }
            )
        groups.append(
            {
                "name": row_name,
                "logits": finite(logits),
                "policy_logprobs": finite(logits.double().log_softmax(-1)),
                "cases": cases,
            }
        )
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    golden = {"versions": versions, "rows": groups}
    path = pathlib.Path(__file__).with_name("warpers.json")
    path.write_text(json.dumps(golden, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
