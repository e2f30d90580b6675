"""Writes which template transformers chooses in folders that hold several. Takes no arguments.

Written with transformers 5.23.0; the tokenizer is that of this folder.
"""

import json
import os
import pathlib
import shutil
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"
import transformers  # noqa: E402
from transformers import AutoTokenizer  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
TOOLS = [{"type": "function", "function": {"name": "f", "description": "", "parameters": {"type": "object", "properties": {}}}}]
JINJA, MORE = "chat_template.jinja", "additional_chat_templates/"


def named(*names):
    return [dict(name=name, template="list " + name) for name in names]


CASES = [
    dict(config="config"),
    dict(config="config", files={JINJA: "own"}),
    dict(config="config", files={"chat_template.json": '{"chat_template": "json"}'}),
    dict(config=named("default", "rag")),
    dict(config=named("rag", "tool_use")),
    dict(config=named("rag", "tool_use"), tools=TOOLS),
    dict(config=named("default", "tool_use")),
    dict(config=named("default", "tool_use"), tools=TOOLS),
    dict(config={"default": "object", "x": "y"}),
    dict(config={"x": "y"}),
    dict(config=[]),
    dict(config="config", files={MORE + "rag.jinja": "more rag"}),
    dict(config="config", files={JINJA: "own", MORE + "tool_use.jinja": "more tools"}),
    dict(config="config", files={JINJA: "own", MORE + "tool_use.jinja": "more tools"}, tools=TOOLS),
    dict(files={JINJA: "own", MORE + "default.jinja": "more default"}),
    dict(config=""),
    dict(config="config", files={JINJA: ""}),
    dict(config=None),
    dict(),
    dict(config="{% if %}"),
    dict(config="{{ bos_token }}|{{ eos_token }}|{{ pad_token }}|{{ unk_token }}"),
]


def answer(case):
    with tempfile.TemporaryDirectory() as where:
        where = pathlib.Path(where)
        shutil.copyfile(HERE / "tokenizer.json", where / "tokenizer.json")
        config = json.loads((HERE / "tokenizer_config.json").read_text())
        if "config" in case:
            config["chat_template"] = case["config"]
        files = {"tokenizer_config.json": json.dumps(config), "config.json": "{}"} | case.get("files", {})
        for name, text in files.items():
            (where / name).parent.mkdir(exist_ok=True)
            (where / name).write_text(text)
        t = AutoTokenizer.from_pretrained(where)
        return t.apply_chat_template([dict(role="user", content="x")], tokenize=False, tools=case.get("tools"))


def main():
    out = []
    for case in CASES:
        try:
            out.append(case | dict(answer=answer(case)))
        except Exception:  # what matters is that there is no text
            out.append(case | dict(answer=None))
    (HERE / "choice.json").write_text(json.dumps(dict(transformers=transformers.__version__, cases=out), indent=0) + "\n")


main()
