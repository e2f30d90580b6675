"""Writes hidden_states.safetensors: what transformers' `output_hidden_states` gives for checkpoints of this folder. Takes
no arguments.

Written with torch 2.13.0 and transformers 5.23.0 on a CPU, in float32, with one thread.
"""

import os
import pathlib

os.environ.update(OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1", CUDA_VISIBLE_DEVICES="")
import torch  # noqa: E402
import transformers  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

assert (torch.__version__.split("+")[0], transformers.__version__) == ("2.13.0", "5.23.0")
torch.set_num_threads(1)
HERE = pathlib.Path(__file__).resolve().parent
FOLDERS = ["llama", "families/gemma2", "families/gpt2", "families/gptneox", "families/opt", "families/opt_postnorm",
           "families/qwen3"]
IDS = torch.tensor([[5, 9, 13, 8, 6, 7]])  # [rows, tokens]

found = {"input_ids": IDS}
for folder in FOLDERS:
    model = transformers.AutoModelForCausalLM.from_pretrained(
        HERE / folder, dtype=torch.float32, attn_implementation="eager")
    with torch.no_grad():
        states = model(input_ids=IDS, output_hidden_states=True).hidden_states
    for layer, state in enumerate(states):
        found[f"{folder}/{layer}"] = state[0].contiguous()  # [tokens, hidden]
save_file(found, HERE / "hidden_states.safetensors", metadata={"torch": "2.13.0", "transformers": "5.23.0"})
