"""Writes what transformers renders of every combination of a prompt and its completions. Takes no arguments.

Written with transformers 5.23.0 on a CPU. Each row says in turns what its prompt and its answers are (or that it has to be
refused); the texts are those of `apply_chat_template`. The tokenizer beside `../chat` only carries the templates.
"""

import json
import os
import pathlib

os.environ["HF_HUB_OFFLINE"] = "1"
import transformers  # noqa: E402
from transformers import AutoTokenizer  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
TEMPLATES = {
    "chatml": "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + (m['content'] or '') + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    "bare": "{% for m in messages %}{% if m['role'] == 'system' %}{{ '[SYS] ' + m['content'] + ' ' }}{% elif m['role'] == 'user' %}"
    "{{ '[INST] ' + m['content'] + ' [/INST]' }}{% else %}{{ ' ' + m['content'] + ' </s>' }}{% endif %}{% endfor %}",
}
S, S2 = ({"role": "system", "content": c} for c in ("Be short", "Be long"))
U, U2, OTHER = ({"role": "user", "content": c} for c in ("Say hi", "And now?", "What else?"))
A0 = {"role": "assistant", "content": "Hi"}
TEXT = "Say hi"
A = "the answer"  # stands for the assistant's turn
# prompt, completion before its answer (None: a text), turns of the prompt (None: refused)
CASES = [
    # A text as prompt.
    (TEXT, [], [U]), (TEXT, [U], [U]), (TEXT, [S, U], [S, U]), (TEXT, [S], [S, U]), (TEXT, [OTHER], None), (TEXT, [S, OTHER], None),
    (TEXT, [U2, A0, U], [U2, A0, U]), (TEXT, [S, U2, A0, U], [S, U2, A0, U]), ("", [U], [U]), ("", [], None),
    # A list.
    ([U], None, [U]), ([U], [], [U]), ([U], [U], [U]), ([U], [S, U], [S, U]), ([U], [S], [S, U]), ([U], [OTHER], None), ([U], [S, OTHER], None),
    ([U], [U, OTHER], [U, OTHER]),
    # A list with a system turn.
    ([S, U], None, [S, U]), ([S, U], [], [S, U]), ([S, U], [U], [S, U]), ([S, U], [S, U], [S, U]), ([S, U], [S], [S, U]),
    ([S, U], [S2, U], None), ([S, U], [S2], None), ([S, U], [OTHER], None), ([S, U], [S, OTHER], None),
    # A system turn alone.
    ([S], [U], [S, U]), ([S], [S, U], [S, U]), ([S], [S2, U], None), ([S], [], [S]), ([S], None, [S]),
    # Several turns.
    ([U, A0, U2], None, [U, A0, U2]), ([U, A0, U2], [], [U, A0, U2]), ([U, A0, U2], [U, A0, U2], [U, A0, U2]), ([U, A0, U2], [U2], [U, A0, U2]),
    ([U, A0, U2], [S, U, A0, U2], [S, U, A0, U2]), ([U, A0, U2], [S, U2], [S, U, A0, U2]), ([U, A0, U2], [OTHER], None),
    ([S, U, A0, U2], [U2], [S, U, A0, U2]), ([S, U, A0, U2], [U, A0, U2], [S, U, A0, U2]), ([S, U, A0, U2], [S2, U2], None),
    # A prompt that ends in the assistant's turn.
    ([U, A0], [], None), ([U, A0], [U2], [U, A0, U2]), ([U, A0], [U, A0, U2], [U, A0, U2]), ([S, U, A0], [U2], [S, U, A0, U2]),
    # No prompt.
    (None, [U], [U]), (None, [S, U], [S, U]), (None, [U, A0, U2], [U, A0, U2]), (None, [], None),
]


def turn(text):
    return {"role": "assistant", "content": text}


def main():
    tok = AutoTokenizer.from_pretrained(HERE.parent / "chat")
    out = []
    for prompt, before, turns in CASES:
        row = {} if prompt is None else {"prompt": prompt}
        for name, said in (("chosen", "Ho"), ("rejected", "Hum")):
            row[name] = said if before is None else [*before, turn(said)]
        case = {"row": row, "right": None}
        if turns is not None:
            case["right"] = {}
            for name, template in TEMPLATES.items():
                text = lambda m, **k: tok.apply_chat_template(m, chat_template=template, tokenize=False, **k)
                case["right"][name] = {
                    "prompt": text(turns, add_generation_prompt=True),
                    "chosen": text([*turns, turn("Ho")]), "rejected": text([*turns, turn("Hum")]),
                }
        out.append(case)
    # A text goes on with the assistant's turn.
    goes_on = {"row": {"prompt": [U, A0], "chosen": " there", "rejected": " you"}, "right": {}}
    for name, template in TEMPLATES.items():
        text = lambda m, **k: tok.apply_chat_template(m, chat_template=template, tokenize=False, **k)
        goes_on["right"][name] = {
            "prompt": text([U, A0], continue_final_message=True),
            "chosen": text([U, turn("Hi there")]), "rejected": text([U, turn("Hi you")]),
        }
    out.append(goes_on)
    file = {"versions": {"transformers": transformers.__version__}, "templates": TEMPLATES, "cases": out}
    (HERE / "cases.json").write_text(json.dumps(file, indent=1) + "\n")


main()
