"""Writes the checkpoints of this folder, and what transformers and peft compute with them. Takes no arguments.

Written with torch 2.13.0, transformers 5.23.0, peft 0.21.2 and safetensors 0.8.0 on a CPU, in float32, with one thread.
"""

import json
import os
import pathlib
import shutil

os.environ.update(OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1", CUDA_VISIBLE_DEVICES="")
import peft  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402
from peft import LoraConfig, get_peft_model  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification  # noqa: E402

torch.set_num_threads(1)
HERE = pathlib.Path(__file__).resolve().parent
VOCAB = 384
COMMON = dict(vocab_size=VOCAB, bos_token_id=1, eos_token_id=2, pad_token_id=0)
SHAPE = dict(
    hidden_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, intermediate_size=160,
    max_position_embeddings=256, rms_norm_eps=1e-5,
)
PLAIN = dict(tie_word_embeddings=False, rope_theta=10000.0)
LLAMA_31 = dict(tie_word_embeddings=True, rope_parameters=dict(
    rope_type="llama3", rope_theta=500000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
    original_max_position_embeddings=64,
))
PROMPTS = [
    [56, 76, 73, 315, 305, 317, 333, 225, 371, 292, 88, 281, 293],
    [52, 360, 273, 346, 333],
    [56, 76, 273, 347, 371, 350, 333, 291, 272, 73, 288, 377, 88, 91, 69, 272, 31, 318, 276, 292, 316, 72, 273, 363, 73, 352],
]
IDS = torch.randint(5, VOCAB, (2, 24), generator=torch.Generator().manual_seed(7))  # [rows, tokens], no padding


def padded(side):
    width = max(map(len, PROMPTS))
    rows, masks = [], []
    for p in PROMPTS:
        pad = [0] * (width - len(p))
        ones = [1] * len(p)
        rows.append(pad + p if side == "left" else p + pad)
        masks.append(pad + ones if side == "left" else ones + pad)
    return torch.tensor(rows), torch.tensor(masks)


def config(**more):
    c = LlamaConfig(**COMMON, **SHAPE, **more)
    c._attn_implementation = "eager"
    return c


def jitter(model, seed):
    """Moves the norms away from one, so that a wrongly mapped tensor shows, and sharpens the logits."""
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _, p in model.named_parameters():
            if p.ndim == 1:
                p.add_(0.1 * torch.randn(p.shape, generator=rng))
            else:
                p.mul_(2.5)


def save_tensors(path, tensors):
    save_file({k: v.detach().clone().contiguous() for k, v in tensors.items()}, path)


def older_spelling(folder):
    """The same config as transformers 4 writes it: `torch_dtype`, `rope_theta` and `rope_scaling`."""
    c = json.loads((folder / "config.json").read_text())
    c["torch_dtype"], c["transformers_version"] = c.pop("dtype"), "4.46.0"
    rope = c.pop("rope_parameters")
    c["rope_theta"] = rope.pop("rope_theta")
    if rope["rope_type"] != "default":
        c["rope_scaling"] = rope
    (folder / "config_v4.json").write_text(json.dumps(c, indent=2))


def mean_loss(model):
    """Mean over rows and positions of −log p(next token): transformers' own loss."""
    return model(input_ids=IDS, labels=IDS, use_cache=False).loss


def decoder(name, **more):
    folder = HERE / name
    torch.manual_seed(1234)
    model = LlamaForCausalLM(config(**more)).eval()
    jitter(model, 99)
    model.generation_config.eos_token_id = None
    ids, mask = padded("left")
    kw = dict(input_ids=ids, attention_mask=mask, do_sample=False, max_new_tokens=24, pad_token_id=0)
    with torch.no_grad():
        full = model(input_ids=IDS, use_cache=False, output_hidden_states=True)
        position_ids = (mask.cumsum(-1) - 1).clamp(min=0)
        last = model(input_ids=ids, attention_mask=mask, position_ids=position_ids, use_cache=False).logits[:, -1]
        logprobs = torch.log_softmax(full.logits[:, :-1], -1).gather(-1, IDS[:, 1:, None])[..., 0]
        greedy = model.generate(**kw, use_cache=True, output_logits=True, return_dict_in_generate=True)
        assert torch.equal(greedy.sequences, model.generate(**kw, use_cache=False))
        best = torch.stack(greedy.logits, 1).topk(2, -1).values
    loss = mean_loss(model)
    loss.backward()
    gradients = {n: p.grad for n, p in model.named_parameters()}
    model.save_pretrained(folder)
    older_spelling(folder)
    (folder / "generation_config.json").unlink()
    save_tensors(folder / "reference.safetensors", dict(
        input_ids=IDS, logits=full.logits, logprobs=logprobs, last_hidden=full.hidden_states[-1], pad_ids=ids, pad_mask=mask,
        pad_last_logits=last, greedy=greedy.sequences, greedy_step_logits0=greedy.logits[0],
    ))
    norm = torch.sqrt(sum((g.double() ** 2).sum() for g in gradients.values())).item()
    summary = dict(
        parameters=model.num_parameters(), loss=loss.item(), gradient_norm=norm,
        greedy_least_margin=(best[..., 0] - best[..., 1]).min().item(), logprob_sums=logprobs.sum(-1).tolist(),
    )
    return gradients, summary


def adapter(name, seed, rng, **more):
    folder = HERE / name
    torch.manual_seed(seed)
    base = LlamaForCausalLM.from_pretrained(HERE / "llama", attn_implementation="eager").eval()
    model = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", lora_dropout=0.0, **more)).eval()
    with torch.no_grad():
        for n, p in model.named_parameters():
            if "lora_B" in n:
                p.copy_(0.2 * torch.randn(p.shape, generator=rng))
        on = model(input_ids=IDS, use_cache=False).logits
    loss = mean_loss(model)
    loss.backward()
    gradients = {n.replace(".default", ""): p.grad for n, p in model.named_parameters() if p.requires_grad}
    assert gradients and all("lora_" in n for n in gradients)
    model.save_pretrained(folder)
    (folder / "README.md").unlink()
    path = folder / "adapter_config.json"
    c = json.loads(path.read_text())
    c["base_model_name_or_path"], c["target_modules"] = "llama", sorted(c["target_modules"])
    path.write_text(json.dumps(c, indent=2))
    with torch.no_grad():
        merged = model.merge_and_unload()(input_ids=IDS, use_cache=False).logits
    save_tensors(folder / "reference.safetensors", dict(input_ids=IDS, logits_on=on))
    save_tensors(folder / "gradients.safetensors", gradients)
    return dict(loss=loss.item(), largest_difference_when_merged=(on - merged).abs().max().item())


def reward_model():
    folder = HERE / "llama_rm"
    torch.manual_seed(8)
    c = config(**PLAIN)
    c.num_labels = 1
    model = LlamaForSequenceClassification(c).eval()
    jitter(model, 3)
    model.save_pretrained(folder)
    older_spelling(folder)
    ids, mask = padded("right")
    with torch.no_grad():
        scores = model(input_ids=ids, attention_mask=mask).logits
        values = model.score(model.model(input_ids=ids, attention_mask=mask).last_hidden_state)
    save_tensors(folder / "reference.safetensors", dict(input_ids=ids, attention_mask=mask, scores=scores, token_values=values))
    return model


def bfloat16():
    folder = HERE / "llama_bf16"
    model = LlamaForCausalLM.from_pretrained(HERE / "llama", dtype=torch.bfloat16, attn_implementation="eager").eval()
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink()
    wide = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    with torch.no_grad():
        save_tensors(folder / "reference.safetensors", dict(input_ids=IDS, logits_f32_from_bf16_weights=wide(input_ids=IDS).logits))


def shard_index():
    """The index only: a test cuts `llama/model.safetensors` by it."""
    folder = HERE / "llama_sharded"
    LlamaForCausalLM.from_pretrained(HERE / "llama").save_pretrained(folder, max_shard_size="150KB")
    for f in folder.iterdir():
        if f.name != "model.safetensors.index.json":
            f.unlink()


def main():
    for old in HERE.glob("llama*"):
        shutil.rmtree(old)
    summary = dict(versions={m.__name__: m.__version__.split("+")[0] for m in (torch, transformers, peft)})
    gradients, summary["llama"] = decoder("llama", **PLAIN)
    save_tensors(HERE / "llama" / "gradients.safetensors", gradients)
    gradients, summary["llama31_rope"] = decoder("llama31_rope", **LLAMA_31)
    rng = torch.Generator().manual_seed(11)
    summary["llama_lora"] = adapter("llama_lora", 5, rng, r=4, lora_alpha=8, target_modules="all-linear")
    more = dict(r=8, lora_alpha=16, use_rslora=True, target_modules=["q_proj", "v_proj"])
    summary["llama_rslora_qv"] = adapter("llama_rslora_qv", 6, rng, **more)
    reward_model()
    bfloat16()
    shard_index()
    (HERE / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")


main()
