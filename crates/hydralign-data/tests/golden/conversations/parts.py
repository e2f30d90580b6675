"""Writes what transformers renders of conversations whose contents are lists of texts. Takes no arguments.

Written with transformers 5.23.0 on a CPU. `as_given` is the text of the conversation as it stands, `joined` that of the same
conversation with the texts of every list put one behind the other, `but_users_joined` where those of the user stay lists.
"""

import json
import os
import pathlib

os.environ["HF_HUB_OFFLINE"] = "1"
import transformers  # noqa: E402
from transformers import AutoTokenizer  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
TURN = "{{ '<|im_start|>' + m['role'] + '\n' }}"
END = "{{ '<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
TEMPLATES = {
    "writes the list": "{% for m in messages %}" + TURN + "{{ m['content'] }}" + END,
    "adds texts": "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + (m['content'] or '') }}" + END,
    "knows lists": "{% for m in messages %}" + TURN + "{% if m['content'] is string %}{{ m['content'] }}{% else %}{% for part in m['content'] %}"
    "{{ part['text'] | trim }}{% endfor %}{% endif %}" + END,
    "knows lists of users": "{% for m in messages %}" + TURN + "{% if m['role'] == 'user' and m['content'] is not string %}"
    "{% for part in m['content'] %}{{ '[' + part['text'] + ']' }}{% endfor %}{% else %}{{ m['content'] }}{% endif %}" + END,
}


def parts(role, *texts):
    return {"role": role, "content": [{"type": "text", "text": text} for text in texts]}


CASES = [
    [parts("user", "Say 'hi'"), parts("assistant", "Hi")],
    [parts("system", "Be", " short"), parts("user", "What ", "now?"), parts("assistant", " Go", "on")],
]


def main():
    tok = AutoTokenizer.from_pretrained(HERE.parent / "chat")
    out = []
    for name, source in TEMPLATES.items():
        for turns in CASES:
            joined = [{**turn, "content": "".join(part["text"] for part in turn["content"])} for turn in turns]
            # Turns of which the template writes no lists, joined alone.
            some = [joined[i] if turn["role"] != "user" else turn for i, turn in enumerate(turns)]
            texts = {}
            for key, given in (("as_given", turns), ("joined", joined), ("but_users_joined", some)):
                try:
                    texts[key] = tok.apply_chat_template(given, tokenize=False, chat_template=source)
                except TypeError as error:
                    texts[key] = None
                    texts[key + "_error"] = str(error)
            out.append({"template": name, "turns": turns, **texts})
    file = {"by": f"transformers {transformers.__version__}", "templates": TEMPLATES, "cases": out}
    (HERE / "parts.json").write_text(json.dumps(file, indent=1) + "\n")


if __name__ == "__main__":
    main()
