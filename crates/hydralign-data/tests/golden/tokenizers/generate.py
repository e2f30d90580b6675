"""Trains one tiny tokenizer of each kind and writes what transformers makes of texts with it. Takes no arguments.

Written with transformers 5.23.0 and tokenizers on a CPU; the training text is in this file.
"""

import json
import os
import pathlib
import shutil

os.environ["HF_HUB_OFFLINE"] = "1"
import tokenizers  # noqa: E402
import transformers  # noqa: E402
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers  # noqa: E402
from transformers import PreTrainedTokenizerFast  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
CORPUS = ["the cat sat on the mat", "a dog ran after the cat", "cats and dogs run and sit", "the mat is on the floor", "caf\u00e9 na\u00efve"] * 20
TEXTS = [
    "the cat", " the cat", "the  cat ", "\tThe Cat\n", "", " ", "dogs run.", "caf\u00e9 \u2603 \u65e5\u672c \U0001f642", "<s>the cat</s>", "x <mark> y<mark>z",
    "a<end> b <end>c", "12,345", "the\u00a0cat", "\u0000 zero",
]
SPECIALS = ["<unk>", "<s>", "</s>"]


def metaspace():
    t = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    t.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    t.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    alphabet = [f"<0x{i:02X}>" for i in range(256)]
    t.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=340, special_tokens=SPECIALS + alphabet, show_progress=False))
    bos(t)
    return t


def unigram():
    t = Tokenizer(models.Unigram())
    t.normalizer = normalizers.NFKC()
    t.pre_tokenizer = pre_tokenizers.Metaspace(replacement="\u2581", prepend_scheme="first")
    t.decoder = decoders.Metaspace(replacement="\u2581", prepend_scheme="first")
    t.train_from_iterator(CORPUS, trainers.UnigramTrainer(vocab_size=60, special_tokens=SPECIALS, unk_token="<unk>", show_progress=False))
    bos(t)
    return t


def wordpiece():
    t = Tokenizer(models.WordPiece(unk_token="<unk>"))
    t.normalizer = normalizers.BertNormalizer(lowercase=True)
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    t.decoder = decoders.WordPiece()
    t.train_from_iterator(CORPUS, trainers.WordPieceTrainer(vocab_size=80, special_tokens=SPECIALS, show_progress=False))
    return t


def byte_level():
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(CORPUS, trainers.BpeTrainer(
        vocab_size=300, special_tokens=SPECIALS, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    t.add_tokens([AddedToken("<mark>", lstrip=True, rstrip=True)])
    t.add_special_tokens([AddedToken("<end>", single_word=False, rstrip=True)])
    return t


def bos(t):
    t.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", t.token_to_id("<s>"))])


def main():
    versions = dict(transformers=transformers.__version__, tokenizers=tokenizers.__version__)
    for make in (metaspace, unigram, wordpiece, byte_level):
        folder = HERE / make.__name__
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        t = make()
        t.save(str(folder / "tokenizer.json"))
        config = dict(bos_token="<s>", eos_token="</s>", unk_token="<unk>")
        (folder / "tokenizer_config.json").write_text(json.dumps(config) + "\n")
        f = PreTrainedTokenizerFast(tokenizer_object=t, clean_up_tokenization_spaces=False, **config)
        cases = []
        for text in TEXTS:
            ids = f(text, add_special_tokens=False)["input_ids"]
            cases.append(dict(
                text=text, ids=ids, with_special=f(text)["input_ids"], decoded=f.decode(ids), without=f.decode(ids, skip_special_tokens=True)))
        (folder / "cases.json").write_text(json.dumps(dict(versions=versions, cases=cases), ensure_ascii=False, indent=0) + "\n")


main()
