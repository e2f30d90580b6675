"""Compares what TensorBoard reads in `tensorboard/` of a run folder with `metrics.jsonl`.

    python check_events.py FOLDER
"""

import json
import math
import pathlib
import struct
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

folder = pathlib.Path(sys.argv[1])
said = {}
for text in (folder / "metrics.jsonl").read_text().splitlines():
    line = json.loads(text)
    lost = dict(line.get("non_finite", []))
    for name, value in line["values"].items():
        value = float(lost[name]) if value is None else value
        said.setdefault(f"{line['stage']}/{name}", []).append((line["step"], value, line["seconds"]))

# A size of 0 keeps every event.
found = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0})
found.Reload()
assert sorted(found.Tags()["scalars"]) == sorted(said), (found.Tags(), sorted(said))
began = found.FirstEventTimestamp()
for tag, points in said.items():
    events = found.Scalars(tag)
    assert [e.step for e in events] == [step for step, *_ in points], tag
    for event, (step, value, seconds) in zip(events, points):
        single = struct.unpack("<f", struct.pack("<f", value))[0]
        same = event.value == single or (math.isnan(event.value) and math.isnan(single))
        assert same, (tag, step, event.value, value)
        assert abs(event.wall_time - began - seconds) < 1e-6, (tag, step)
print(f"{len(said)} tags, {sum(map(len, said.values()))} values alike")
