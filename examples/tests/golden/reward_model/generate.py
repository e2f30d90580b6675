"""python generate.py BASE: scores of a reward model with a tokenizer and a template of its own.

The model is a sequence classifier over the weights of BASE whose words have other ids; the test makes
the same one. transformers renders, encodes and scores."""
import json, os, shutil, sys, tempfile
import numpy as np, tokenizers, torch, transformers
from safetensors.numpy import load_file, save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

TEMPLATE = ("{% for m in messages %}{% if m.role == 'user' %}Guest{% else %}Host{% endif %}: "
            "{{ m.content }}{% if m.role != 'user' %}<|end|>{% endif %}{{ '\\n' }}{% endfor %}"
            "{% if add_generation_prompt %}Host: {% endif %}")
PROMPT, RESPONSE = "Guest Mira is sad and asks for tea.\nReply:", " Here is your tea, take care!"
# A word that the prompt begins: the text is encoded whole.
SPLIT, REST = "Guest Mira is sad and asks for te", "a, take care!"
TURNS = [{"role": "user", "content": "Mira is sad and asks for tea."}]
BEGUN = TURNS + [{"role": "assistant", "content": "Here is"}]


def classifier(base, out, pad):
    shutil.copytree(base, out)
    tensors = load_file(f"{out}/model.safetensors")
    head = [((37 * i) % 101 - 50) / 100 for i in range(128)]
    tensors["score.weight"] = np.array([head], dtype=np.float32)
    save_file(tensors, f"{out}/model.safetensors", metadata={"format": "pt"})
    config = json.load(open(f"{out}/config.json"))
    config.update(architectures=["LlamaForSequenceClassification"], num_labels=1, pad_token_id=pad)
    json.dump(config, open(f"{out}/config.json", "w"))
    tokenizer = json.load(open(f"{out}/tokenizer.json"))
    vocab = tokenizer["model"]["vocab"]
    # In the order of their ids, so that the order of the file does not matter.
    words = sorted((w for w in vocab if w.startswith("Ġ") and len(w) > 3), key=vocab.get)
    ids = [vocab[w] for w in words]
    vocab.update(zip(words, ids[7:] + ids[:7]))
    json.dump(tokenizer, open(f"{out}/tokenizer.json", "w"), ensure_ascii=False)
    open(f"{out}/chat_template.jinja", "w").write(TEMPLATE)


def plain(tokenizer, text, eos):
    return tokenizer(text).input_ids + ([tokenizer.eos_token_id] if eos else [])


def chat(tokenizer, turns, **options):
    text = tokenizer.apply_chat_template(turns, tokenize=False, **options)
    return tokenizer(text, add_special_tokens=False).input_ids


def cases(tokenizer):
    said = TURNS + [{"role": "assistant", "content": RESPONSE.strip()}]
    begun = TURNS + [{"role": "assistant", "content": "Here is your tea, take care!"}]
    return {
        "plain": plain(tokenizer, PROMPT + RESPONSE, False),
        "plain, ended": plain(tokenizer, PROMPT + RESPONSE, True),
        "split word": plain(tokenizer, SPLIT + REST, False),
        "split word, ended": plain(tokenizer, SPLIT + REST, True),
        "turns": chat(tokenizer, said, continue_final_message=True),
        "turns, ended": chat(tokenizer, said),
        "begun turn": chat(tokenizer, begun, continue_final_message=True),
        "begun turn, ended": chat(tokenizer, begun),
    }


def scored(dir):
    tokenizer = AutoTokenizer.from_pretrained(dir)
    model = AutoModelForSequenceClassification.from_pretrained(dir, dtype=torch.float32).eval()
    out = {}
    for name, tokens in cases(tokenizer).items():
        with torch.no_grad():
            score = model(input_ids=torch.tensor([tokens])).logits.item()
        out[name] = {"tokens": tokens, "score": score}
    return out


def main(base):
    golden = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, pad in (("padding is another token", 0), ("padding is the end", 1)):
            dir = os.path.join(folder, str(pad))
            classifier(base, dir, pad)
            golden[name] = scored(dir)
    packages = (torch, transformers, tokenizers)
    versions = {p.__name__: p.__version__ for p in packages}
    inputs = {"template": TEMPLATE, "prompt": PROMPT, "response": RESPONSE,
              "split": SPLIT, "rest": REST, "turns": TURNS, "begun": BEGUN}
    here = os.path.join(os.path.dirname(os.path.abspath(__file__)), "golden.json")
    with open(here, "w") as file:
        json.dump({"versions": versions, **inputs, "scores": golden}, file, indent=1)
        file.write("\n")


main(sys.argv[1])
