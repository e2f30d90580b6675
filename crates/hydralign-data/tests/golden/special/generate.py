"""Writes what transformers makes of tokenizer folders with all sorts of configuration files. Takes no arguments.

Written with transformers 5.23.0 and tokenizers on a CPU, from the tokenizers of the neighbouring folders. transformers drops
`add_bos_token` and `add_eos_token` of a `tokenizer_config.json` beside a `tokenizer.json`, so they are given in the call here: that is
what it does with them where it takes them.
"""

import json
import os
import pathlib
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"
import tokenizers  # noqa: E402
import transformers  # noqa: E402
from transformers import AutoTokenizer, GenerationConfig  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
BASES = {"bytes": HERE.parent / "tokenizer", "spaces": HERE.parent / "tokenizers/metaspace", "words": HERE.parent / "tokenizers/wordpiece"}
TEXTS = ["free copy", "<|eos|>free <|im_end|>", "the  cat<s> sat", "a [PAD]b<new>c <other>", "The dogs , run ."]
START = "<s>"


def token(content, **more):
    return dict(content=content, lstrip=False, normalized=False, rstrip=False, single_word=False, special=True) | more


def template(bos, index, eos=None, last=None):
    special = {bos: dict(id=bos, ids=[index], tokens=[bos])}
    single = [{"SpecialToken": dict(id=bos, type_id=0)}, {"Sequence": dict(id="A", type_id=0)}]
    if eos:
        special[eos] = dict(id=eos, ids=[last], tokens=[eos])
        single.append({"SpecialToken": dict(id=eos, type_id=0)})
    pair = [{"Sequence": dict(id="A", type_id=0)}, {"Sequence": dict(id="B", type_id=0)}]
    return dict(type="TemplateProcessing", single=single, pair=pair, special_tokens=special)


BOS = template("<|bos|>", 1)
BOTH = template("<|bos|>", 1, "<|eos|>", 2)
BE = dict(bos_token="<|bos|>", eos_token="<|eos|>")
PAD = {"384": token("[PAD]")}
TYPED = {"__type": "AddedToken"}


def cases():
    yield "plain", dict(config=BE)
    for add in (True, False):
        for before in (None, BOS, BOTH):
            yield "add_bos", dict(config=BE | dict(add_bos_token=add), post=before)
    yield "add_bos null bos", dict(config=dict(eos_token="<|eos|>", bos_token=None, add_bos_token=True))
    yield "add_bos null bos, template", dict(config=dict(eos_token="<|eos|>", bos_token=None, add_bos_token=True), post=BOS)
    yield "add_bos no bos", dict(config=dict(eos_token="<|eos|>", add_bos_token=True))
    yield "add both", dict(config=BE | dict(add_bos_token=True, add_eos_token=True), post=BOS)
    yield "add_bos false, add_eos", dict(config=BE | dict(add_bos_token=False, add_eos_token=True), post=BOS)
    yield "no key", dict(config=BE, post=BOTH)
    for name in ("LlamaTokenizer", "LlamaTokenizerFast"):
        yield "class", dict(config=BE | dict(tokenizer_class=name, add_bos_token=True))
        yield "class without bos", dict(config=dict(eos_token="<|eos|>", tokenizer_class=name))
    yield "pad in decoder", dict(config=BE | dict(pad_token="[PAD]", added_tokens_decoder=PAD))
    yield "pad in decoder, other id", dict(config=BE | dict(pad_token="[PAD]", added_tokens_decoder={"390": token("[PAD]")}))
    yield "pad nowhere", dict(config=BE | dict(pad_token="[PAD]"))
    yield "pad and unk nowhere", dict(config=BE | dict(pad_token="[PAD]", unk_token="<new>", mask_token="[PAD]"))
    yield "ordinary token is special", dict(config=dict(bos_token="a", eos_token="<|eos|>"))
    yield "decoder changes a token", dict(config=BE | dict(added_tokens_decoder={"2": token("<|eos|>", lstrip=True, rstrip=True)}))
    yield "decoder, not special", dict(config=BE | dict(added_tokens_decoder={"384": token("<new>", special=False, normalized=True), "385": token("<other>", rstrip=True)}))
    yield "decoder, out of order", dict(config=BE | dict(added_tokens_decoder={"385": token("<other>"), "384": token("<new>")}))
    yield "decoder, eos new", dict(config=dict(bos_token="<|bos|>", eos_token="<new>", added_tokens_decoder={"384": token("<new>", special=False)}))
    yield "added tokens", dict(config=BE, added={"<new>": 384, "[PAD]": 385})
    yield "added tokens, special by name", dict(config=BE | dict(pad_token="[PAD]"), added={"[PAD]": 384, "<new>": 385})
    yield "map wins", dict(config=BE | dict(pad_token="<|pad|>"), map=dict(eos_token="<|im_end|>", pad_token=token("[PAD]")))
    yield "map is not read", dict(config=BE | dict(added_tokens_decoder=PAD), map=dict(eos_token="<|im_end|>"), added={"<new>": 385})
    yield "map alone", dict(map=dict(BE, unk_token="<new>"))
    yield "extra", dict(config=BE | dict(extra_special_tokens=["<new>", "<|im_end|>"]))
    yield "additional", dict(config=BE | dict(additional_special_tokens=["<new>", "<other>"]))
    yield "extra before additional", dict(config=BE | dict(extra_special_tokens=["<new>"], additional_special_tokens=["<other>"]))
    yield "empty extra", dict(config=BE | dict(extra_special_tokens=[], additional_special_tokens=["<other>"]))
    yield "extra by name", dict(config=BE | dict(extra_special_tokens=dict(image_token="<new>")))
    yield "own key", dict(config=BE | dict(image_token="<new>"))
    yield "typed", dict(config=dict(bos_token=token("<|bos|>", **TYPED), eos_token=token("<|eos|>", rstrip=True, **TYPED)))
    yield "split special", dict(config=BE | dict(split_special_tokens=True))
    yield "huge length", dict(config=BE | dict(model_max_length=1e30, padding_side="left", truncation_side="left"))
    yield "truncation", dict(config=BE, truncation=dict(direction="Right", max_length=4, strategy="LongestFirst", stride=0))
    yield "padding", dict(config=BE, padding=dict(strategy=dict(Fixed=16), direction="Left", pad_to_multiple_of=None, pad_id=0, pad_type_id=0, pad_token="<|pad|>"))
    for name in ("GPT2Tokenizer", "GPTNeoXTokenizerFast", "PreTrainedTokenizerFast", "TokenizersBackend", "NoSuchTokenizer", None):
        for space in (True, False, ...):
            config = BE | dict(tokenizer_class=name)
            if space is not ...:
                config["add_prefix_space"] = space
            yield "prefix space", dict(config=config)
            yield "prefix space, file has it", dict(config=config, space=True)
    yield "neox drops the template", dict(config=BE | dict(tokenizer_class="GPTNeoXTokenizer"), post=BOS)
    for model, name in [("gpt2", None), ("gpt_neox", None), ("mistral", "GPT2Tokenizer"), ("gpt2", "PreTrainedTokenizerFast"), ("llama", "GPT2Tokenizer")]:
        config = dict(eos_token="<|eos|>", add_prefix_space=True)
        if name:
            config["tokenizer_class"] = name
        yield "model type", dict(config=config, model=dict(model_type=model))
    yield "class of the model", dict(config=dict(eos_token="<|eos|>", add_prefix_space=True), model=dict(model_type="llama", tokenizer_class="GPT2Tokenizer"))
    spaces = dict(bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    yield "spaces", dict(base="spaces", config=spaces)
    for legacy in (True, False, ...):
        for space in (True, False, None, ...):
            config = spaces | dict(tokenizer_class="LlamaTokenizer")
            if legacy is not ...:
                config["legacy"] = legacy
            if space is not ...:
                config["add_prefix_space"] = space
            yield "llama", dict(base="spaces", config=config)
    yield "llama, general class", dict(base="spaces", config=spaces | dict(tokenizer_class="PreTrainedTokenizerFast", legacy=False, add_prefix_space=False))
    yield "llama of mistral", dict(base="spaces", config=spaces | dict(tokenizer_class="LlamaTokenizer", legacy=False), model=dict(model_type="mistral"))
    yield "llama, nothing named", dict(base="spaces", config=dict(tokenizer_class="LlamaTokenizer"))
    yield "llama, null bos", dict(base="spaces", config=dict(tokenizer_class="LlamaTokenizer", bos_token=None))
    for clean in (True, False):
        yield "clean up", dict(base="words", config=spaces | dict(clean_up_tokenization_spaces=clean))
        yield "clean up, bytes", dict(config=BE | dict(clean_up_tokenization_spaces=clean))


def folder(case, where):
    base = BASES[case.get("base", "bytes")]
    file = json.loads((base / "tokenizer.json").read_text())
    file["post_processor"] = case.get("post", file["post_processor"])
    for key in ("truncation", "padding"):
        file[key] = case.get(key)
    if case.get("space"):
        file["pre_tokenizer"]["add_prefix_space"] = True
    files = {"tokenizer.json": file, "tokenizer_config.json": case.get("config"), "special_tokens_map.json": case.get("map"),
             "added_tokens.json": case.get("added"), "config.json": case.get("model")}
    for name, value in files.items():
        if value is not None:
            (where / name).write_text(json.dumps(value))


def answer(case):
    with tempfile.TemporaryDirectory() as where:
        where = pathlib.Path(where)
        folder(case, where)
        if not (where / "config.json").exists():
            (where / "config.json").write_text("{}")
        given = {k: v for k, v in (case.get("config") or {}).items() if k in ("add_bos_token", "add_eos_token")}
        t = AutoTokenizer.from_pretrained(where, **given)
    texts = []
    for text in TEXTS:
        ids = t(text, add_special_tokens=False)["input_ids"]
        texts.append(dict(ids=ids, begun=t(text)["input_ids"], decoded=t.decode(ids), without=t.decode(ids, skip_special_tokens=True)))
    return dict(type=type(t).__name__, texts=texts, named=t.special_tokens_map, bos=t.bos_token_id, eos=t.eos_token_id, pad=t.pad_token_id, size=len(t))


def main():
    versions = dict(transformers=transformers.__version__, tokenizers=tokenizers.__version__)
    out = []
    for name, case in cases():
        try:
            got = answer(case)
        except Exception as e:
            got = dict(error=f"{type(e).__name__}: {e}"[:120])
        out.append(dict(name=name) | case | dict(answer=got))
    (HERE / "cases.json").write_text(json.dumps(dict(versions=versions, texts=TEXTS, cases=out), ensure_ascii=False, separators=(",", ":")).replace('{"name"', '\n{"name"') + "\n")


main()
