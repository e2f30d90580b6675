"""Renders the templates of this folder and a corpus of expressions as transformers does. Takes no arguments.

Written with transformers 5.23.0, jinja2 3.1.6 and tokenizers on a CPU. The templates are this project's own, in the
dialects that well-known models use. The tokenizer is trained here, on the templates themselves.
"""

import datetime
import json
import os
import pathlib

os.environ["HF_HUB_OFFLINE"] = "1"
import jinja2  # noqa: E402
import tokenizers  # noqa: E402
import transformers  # noqa: E402
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers  # noqa: E402
from transformers import PreTrainedTokenizerFast  # noqa: E402
from transformers.utils import chat_template_utils as utils  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
NOW = datetime.datetime(2025, 3, 7, 9, 5, 1)


class Frozen(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return NOW


utils.datetime = Frozen

SPECIALS = ["<pad>", "<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|eot_id|>", "<end_of_turn>"]


def tokenizer():
    """A byte-level BPE whose pad is its end of text, so that no mask can go by token id."""
    t = Tokenizer(models.BPE(byte_fallback=False))
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420, special_tokens=SPECIALS, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    t.train_from_iterator([p.read_text() for p in sorted(HERE.glob("templates/*.jinja"))], trainer)
    t.save(str(HERE / "tokenizer.json"))
    config = dict(bos_token="<s>", eos_token="</s>", pad_token="</s>")
    (HERE / "tokenizer_config.json").write_text(json.dumps(config) + "\n")
    return PreTrainedTokenizerFast(tokenizer_object=t, **config)


def turn(role, content, **more):
    return dict(role=role, content=content, **more)


TOOLS = [
    dict(type="function", function=dict(
        name="weather", description="Looks up\nthe weather <today> & tomorrow",
        parameters=dict(type="object", properties=dict(
            place=dict(type="string", description="\u00fcber \"all\""), days=dict(type="array", items=dict(type="integer"))), required=["place"]))),
    dict(type="function", function=dict(name="dice", description="Rolls", parameters=dict(type="object", properties={}, required=[]), zeta=1, alpha=2.5)),
]
CALL = dict(id="abcdefghi", type="function", function=dict(name="weather", arguments=dict(place="Ulm", days=[1, 2], exact=True, note=None, share=0.1)))
CONVERSATIONS = dict(
    one=[turn("user", "Hello there")],
    system=[turn("system", "Be brief."), turn("user", "Why is the sky blue?")],
    answered=[turn("user", "2 + 2?"), turn("assistant", "4")],
    long=[turn("system", "  Talk.  "), turn("user", "First\n"), turn("assistant", " An answer.\n"), turn("user", "<b>\"Second\"</b> & 'more'"),
          turn("assistant", "Yes: \u2603 \u65e5\u672c \U0001f642 caf\u00e9"), turn("user", "")],
    thinking=[turn("user", "Count"), turn("assistant", "<think>\nhm\n</think>\n\n1 2 3"), turn("user", "On"), turn("assistant", "<think>\nagain\n</think>\n\n4 5 6")],
    reasoning=[turn("user", "Count"), turn("assistant", "1 2 3", reasoning_content="slowly\n")],
    two_users=[turn("user", "A"), turn("user", "B")],
    odd_role=[turn("critic", "Hm")],
    tools=[turn("user", "Weather?"), turn("assistant", None, tool_calls=[CALL]), turn("tool", '{"sun": true}', tool_call_id="abcdefghi", name="weather"),
           turn("assistant", "Sunny.")],
    parts=[turn("user", [dict(type="text", text=" What is this? "), dict(type="image")])],
    special=[turn("user", "a </s> <|im_end|> b"), turn("assistant", "</s>")],
)
SETTINGS = [
    dict(), dict(add_generation_prompt=True), dict(tools=TOOLS, add_generation_prompt=True), dict(continue_final_message=True),
    dict(add_generation_prompt=True, enable_thinking=False, date_string="1 Jan 2024"),
]


def attempt(function):
    try:
        return dict(ok=function())
    except Exception as e:  # a template may fail in any way; what matters is that both fail, and why if it says so itself
        raised = type(e) is jinja2.exceptions.TemplateError  # what `raise_exception` raises
        return dict(error=str(e) if raised else None)


def cases(t):
    out = []
    for path in sorted(HERE.glob("templates/*.jinja")):
        template = path.read_text()
        for name, messages in CONVERSATIONS.items():
            for index, settings in enumerate(SETTINGS):
                case = dict(template=path.stem, conversation=name, settings=index)
                case |= attempt(lambda: t.apply_chat_template(messages, chat_template=template, tokenize=False, **settings))
                if "ok" in case:
                    case["tokens"] = t(case["ok"], add_special_tokens=False)["input_ids"]
                if "ok" in case and "generation" in path.stem and "continue_final_message" not in settings:
                    case["assistant"] = t.apply_chat_template(
                        messages, chat_template=template, tokenize=True, return_dict=True, return_assistant_tokens_mask=True, **settings
                    )["assistant_masks"]
                out.append(case)
    return out


VALUES = dict(
    s="Hello World", e="", n=None, t=True, f=False, i=7, neg=-7, x=2.5, big=10**15, tiny=1e-7, whole=3.0, l=[3, 1, 2], names=["b", "a"], m=dict(b=1, a=[1, "x", None, True]),
    nested=[dict(role="user", k=1), dict(role="bot", k=2)], u="na\u00efve \u2603", ml="one\ntwo\n\nthree", html="<a href='x'>&\"</a>", sp="  pad  ",
)
EXPRESSIONS = (HERE / "expressions.txt").read_text().split("\n===\n")


def expressions():
    out = []
    for source in EXPRESSIONS:
        out.append(dict(source=source) | attempt(lambda: utils._compile_jinja_template(source).render(**VALUES)))
    return out


def main():
    t = tokenizer()
    versions = dict(transformers=transformers.__version__, jinja2=jinja2.__version__, tokenizers=tokenizers.__version__)
    (HERE / "cases.json").write_text(json.dumps(dict(versions=versions, now=NOW.isoformat(), conversations=CONVERSATIONS, settings=SETTINGS, cases=cases(t)), ensure_ascii=False, separators=(",", ":")) + "\n")
    (HERE / "expressions.json").write_text(json.dumps(dict(versions=versions, values=VALUES, cases=expressions()), ensure_ascii=False, indent=0) + "\n")


main()
