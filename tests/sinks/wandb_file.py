"""Reads what Weights & Biases writes offline: a LevelDB log of protocol buffers behind a header."""

import json
import struct
from pathlib import Path

HEADER, BLOCK = 7, 32 * 1024


def records(path):
    """The bytes of every record: those of its parts (whole, first, middle, last) joined."""
    data, at, parts = path.read_bytes(), HEADER, b""
    assert data[:4] == b":W&B"
    while at + 7 <= len(data):
        if (room := BLOCK - at % BLOCK) < 7:  # the block's end is left empty
            at += room
            continue
        _, size, kind = struct.unpack("<IHB", data[at : at + 7])
        parts += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):
            yield parts
            parts = b""


def history(path):
    """The rows of a run: (internal step, values by name); the config and summary are left out."""
    from wandb.proto import wandb_internal_pb2

    rows = []
    for data in records(Path(path)):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        if record.WhichOneof("record_type") == "history":
            items = {i.key or "/".join(i.nested_key): i.value_json for i in record.history.item}
            values = {k: json.loads(v) for k, v in items.items() if not k.startswith("_")}
            rows.append((record.history.step.num, values))
    return rows


def written():
    """Wait until what has finished is written: `finish` does not (wandb 0.31.0)."""
    import wandb

    wandb.teardown()


def offline(folder):
    """(id, rows) of every offline run in a run folder, in the order written."""
    written()
    found = sorted(
        Path(folder).glob("wandb/offline-run-*/*.wandb"), key=lambda p: p.stat().st_mtime
    )
    return [(path.stem.removeprefix("run-"), history(path)) for path in found]
