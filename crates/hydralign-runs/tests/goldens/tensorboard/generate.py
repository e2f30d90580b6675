"""Writes `events.bin` with TensorBoard's own writer: the lines of the test in `src/tensorboard.rs`.

    pip install tensorboard==2.21.0
    python generate.py
"""

import pathlib

import tensorboard
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

BEGAN = 1_700_000_000.0
LINES = [
    ("dpo", 1, 0.5, {"loss": 0.6931, "margin": 0.0}),
    ("dpo", 300, 12.25, {"loss": float("nan"), "margin": float("-inf")}),
    ("ppo", 70_000, 1e6, {"gewinn_größe": -1.5e-7}),
]


def events():
    yield Event(wall_time=BEGAN, file_version="brain.Event:2")
    yield Event(wall_time=BEGAN, session_log=SessionLog(status=SessionLog.START))
    for stage, step, seconds, values in LINES:
        tagged = [Summary.Value(tag=f"{stage}/{n}", simple_value=v) for n, v in values.items()]
        yield Event(wall_time=BEGAN + seconds, step=step, summary=Summary(value=tagged))


assert tensorboard.__version__ == "2.21.0", tensorboard.__version__
with open(pathlib.Path(__file__).parent / "events.bin", "wb") as file:
    writer = RecordWriter(file)
    for event in events():
        writer.write(event.SerializeToString())
