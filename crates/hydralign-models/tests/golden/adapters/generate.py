"""Writes PEFT adapters for the checkpoints of `../families`, and what peft computes with them. Takes no arguments.

Written with torch 2.13.0, transformers 5.23.0, peft 0.21.2 and safetensors 0.8.0 on a CPU, in float32, with one thread.
"""

import json
import os
import pathlib
import shutil

os.environ.update(OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1", CUDA_VISIBLE_DEVICES="")
import peft  # noqa: E402
import torch  # noqa: E402
import transformers as tf  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

torch.set_num_threads(1)
HERE = pathlib.Path(__file__).resolve().parent
FAMILIES = HERE.parent / "families"

# name: (base, arguments of LoraConfig)
ADAPTERS = {
    "gpt2_fused": ("gpt2", dict(r=4, lora_alpha=8, target_modules=["c_attn", "c_proj", "c_fc"], fan_in_fan_out=True)),
    "gpt2_output_only": ("gpt2", dict(r=3, lora_alpha=7, target_modules=["attn.c_proj"], fan_in_fan_out=True)),
    "gptneox_fused": ("gptneox", dict(r=4, lora_alpha=8, target_modules=["query_key_value", "dense"])),
    "qwen2_patterns": ("qwen2", dict(
        r=4, lora_alpha=8, target_modules="all-linear", rank_pattern={"layers.1.self_attn.q_proj": 5, "q_proj": 2, "layers.1.mlp.up_proj": 6, r".*\.down_proj": 3},
        alpha_pattern={"model.layers.0.self_attn.v_proj": 32, "gate_proj": 5})),
    "mistral_regex": ("mistral", dict(r=4, lora_alpha=8, target_modules=r".*\.layers\.(0|2)\.self_attn\.(q|v)_proj")),
    "mistral_layers": ("mistral", dict(r=4, lora_alpha=8, target_modules=["q_proj", "up_proj"], layers_to_transform=[1, 2])),
    "mistral_exclude": ("mistral", dict(r=4, lora_alpha=8, target_modules="all-linear", exclude_modules=["o_proj", "model.layers.1.mlp.gate_proj"])),
    "opt_rslora": ("opt_postnorm", dict(r=9, lora_alpha=6, target_modules=["q_proj", "v_proj"], use_rslora=True)),
    "qwen2_classifier": ("qwen2_rm", dict(r=4, lora_alpha=8, target_modules=["q_proj", "down_proj"], modules_to_save=["score"])),
}


def save_tensors(path, tensors):
    save_file({k: v.detach().clone().contiguous() for k, v in tensors.items()}, path)
    path.chmod(0o644)


def adapter(name, seed, summary):
    base_name, arguments = ADAPTERS[name]
    folder, base_folder = HERE / name, FAMILIES / base_name
    scalar = base_name.endswith("_rm")
    auto, task = (tf.AutoModelForSequenceClassification, "SEQ_CLS") if scalar else (tf.AutoModelForCausalLM, "CAUSAL_LM")
    reference = load_file(base_folder / "reference.safetensors")
    inputs = {k: reference[k] for k in ("input_ids", "attention_mask") if k in reference}
    base = auto.from_pretrained(base_folder, attn_implementation="eager", dtype=torch.float32).eval()
    torch.manual_seed(seed)
    model = peft.get_peft_model(base, peft.LoraConfig(task_type=task, **arguments)).eval()
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for n, p in model.named_parameters():
            if "lora_B" in n:
                p.copy_(0.2 * torch.randn(p.shape, generator=rng))
            if "modules_to_save" in n:
                p.add_(0.3 * torch.randn(p.shape, generator=rng))
    with torch.no_grad():
        on = model(**inputs).logits
        with model.disable_adapter():
            off = model(**inputs).logits
    model.save_pretrained(folder)
    (folder / "README.md").unlink()
    (folder / "adapter_model.safetensors").chmod(0o644)
    path = folder / "adapter_config.json"
    c = json.loads(path.read_text())
    c["base_model_name_or_path"] = base_name
    if isinstance(c["target_modules"], list):
        c["target_modules"] = sorted(c["target_modules"])
    path.write_text(json.dumps(c, indent=1) + "\n")
    trainable = model.get_nb_trainable_parameters()[0]
    with torch.no_grad():
        merged = model.merge_and_unload()(**inputs).logits
    save_tensors(folder / "reference.safetensors", dict(inputs, on=on, off=off, merged=merged))
    summary[name] = dict(
        base=base_name, trainable_parameters=trainable,
        on_against_off=(on - off).abs().max().item(), on_against_merged=(on - merged).abs().max().item())


def main():
    for old in HERE.iterdir():
        if old.is_dir():
            shutil.rmtree(old)
    summary = dict(versions={m.__name__: m.__version__.split("+")[0] for m in (torch, tf, peft)})
    for seed, name in enumerate(ADAPTERS):
        adapter(name, seed, summary)
        print(name, summary[name])
    (HERE / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")


main()
