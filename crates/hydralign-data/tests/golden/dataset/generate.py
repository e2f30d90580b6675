"""Writes small Parquet files and what TRL makes of rows. Needs pyarrow and TRL's `data_utils.py`; takes the path of the latter.

Written with pyarrow 21.0.0 and the functions `extract_prompt` and `is_conversational` of TRL 1.12.0, which need no other package
and are run from the file as it is.
"""

import ast
import json
import pathlib
import sys
from typing import Any, Sequence  # noqa: F401

import pyarrow as pa
import pyarrow.parquet as pq

HERE = pathlib.Path(__file__).resolve().parent
ROWS = [
    dict(
        prompt=f"Question {i}: \u00e4\u2603\U0001f642?", chosen=[dict(role="user", content=f"Q{i}"), dict(role="assistant", content="yes " * i)],
        rejected=[dict(role="user", content=f"Q{i}"), dict(role="assistant", content="no" if i % 3 else None)], score_chosen=1.5 * i,
        label=i % 2 == 0, n=None if i % 4 == 0 else i, tags=["a"] * (i % 3), text="same for all")
    for i in range(40)
]
FILES = dict(
    plain=dict(compression="none", use_dictionary=False),
    snappy=dict(compression="snappy"),
    zstd=dict(compression="zstd", data_page_version="2.0"),
    gzip=dict(compression="gzip", use_dictionary=False, data_page_version="2.0"),
    lz4=dict(compression="lz4"),
    groups=dict(compression="snappy", row_group_size=7),
)
TEXTS = [
    ("The sky is blue.", "The sky is green."), ("a", "b"), ("The sky", "The ski"), ("same start", "same"), ("\u00e4 \u00f6", "\u00e4 \u00fc"),
    ("one two", "one three"), (" x", " y"),
]
TURNS = [
    ([("user", "Hi"), ("assistant", "Ho")], [("user", "Hi"), ("assistant", "He")]),
    ([("system", "S"), ("user", "A"), ("assistant", "B"), ("user", "C"), ("assistant", "D")],
     [("system", "S"), ("user", "A"), ("assistant", "B"), ("user", "C"), ("assistant", "E")]),
]


def functions(path):
    names = ("extract_prompt", "is_conversational")
    tree = ast.parse(pathlib.Path(path).read_text())
    found = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name in names]
    space = dict(Sequence=Sequence, Any=Any)
    exec(compile(ast.Module(found, []), path, "exec"), space)  # noqa: S102
    return [space[n] for n in names]


def main():
    extract_prompt, is_conversational = functions(sys.argv[1])
    for name, settings in FILES.items():
        pq.write_table(pa.Table.from_pylist(ROWS), HERE / f"{name}.parquet", **settings)
    large = pa.schema([("prompt", pa.large_string()), ("completion", pa.large_string())])
    pq.write_table(pa.Table.from_pylist([dict(prompt="p", completion=" c")], large), HERE / "large.parquet")
    (HERE / "rows.json").write_text(json.dumps(ROWS, ensure_ascii=False) + "\n")
    turns = lambda pairs: [dict(role=r, content=c) for r, c in pairs]  # noqa: E731
    pairs = [dict(chosen=c, rejected=r) for c, r in TEXTS] + [dict(chosen=turns(c), rejected=turns(r)) for c, r in TURNS]
    cases = [dict(row=p, conversational=is_conversational(p), extracted=extract_prompt(p)) for p in pairs]
    (HERE / "trl.json").write_text(json.dumps(cases, ensure_ascii=False, indent=0) + "\n")


main()
