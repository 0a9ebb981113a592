"""Logs of inspect_ai, .json and .eval, read without it: a sample and its epoch are a run.

A log's `samples` have `input`, `target`, `messages`, `scores` by scorer, `metadata`, `error`. The
values C, P, I and N of scores are 1, 0.5, 0 and 0, yes and no 1 and 0, as its own metrics have
them. An .eval file is a ZIP archive of the same, by Zstandard since 2026; contents that stand once
(`attachment://...`) are put back. Left out: events.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from hornbeam.errors import DataError
from hornbeam.files.json_text import parse_foreign
from hornbeam.formats.messages import Conversation, needs_said
from hornbeam.formats.recorded_run import Format, ImportedRun, Options, Records, held, number_of

VALUES = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0, "yes": 1.0, "true": 1.0, "no": 0.0, "false": 0.0}
ATTACHED = "attachment://"
HEADER = "log"  # where a sample finds what its log says of all
ZSTANDARD = 93  # the number of that method in ZIP archives


def fits(record: Any) -> bool:
    """Whether a record is a sample of a log."""
    return isinstance(record, Mapping) and {"id", "epoch", "messages", "scores"} <= set(record)


def is_log(data: Any) -> bool:
    """Whether JSON data is a whole log."""
    return isinstance(data, Mapping) and isinstance(data.get("eval"), Mapping) and "status" in data


def samples(log: Mapping[str, Any], name: str) -> Records:
    """The samples of a log that is one JSON object."""
    for number, sample in enumerate(log.get("samples") or (), 1):
        where = f"{name}, sample {number}"
        if isinstance(sample, Mapping):
            yield where, {**sample, HEADER: log["eval"]}
        else:
            yield where, DataError("a sample is an object")


def archived(path: Path) -> Iterator[tuple[str, Any]]:
    """The samples of an .eval file. Raises `DataError` where it cannot be read."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if "header.json" not in names:
                raise DataError(f"{path}: the log is not whole: the run was still going on")
            head = parse_foreign(_member(archive, "header.json"))
            for name in sorted((n for n in names if n.startswith("samples/")), key=_natural):
                where = f"{path}, {name}"
                try:
                    sample = parse_foreign(_member(archive, name))
                except ValueError as error:
                    yield where, DataError(f"not JSON: {error}")
                    continue
                yield where, {**sample, HEADER: head.get("eval") or {}}
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except (OSError, zipfile.BadZipFile, ValueError) as error:
        raise DataError(f"{path}: cannot be read as an .eval log: {error}") from error


def _natural(name: str) -> list[Any]:
    """For sorting: numbers in a name as numbers."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    """The bytes of a file of an archive, by Zstandard too, which Python reads from 3.14 on."""
    info = archive.getinfo(name)
    if info.compress_type != ZSTANDARD:
        return archive.read(name)
    import pyarrow

    stream = archive.fp
    assert stream is not None
    stream.seek(info.header_offset)
    local = stream.read(30)  # its name and extra field may differ from the directory's
    skip = int.from_bytes(local[26:28], "little") + int.from_bytes(local[28:30], "little")
    stream.seek(info.header_offset + 30 + skip)
    packed = stream.read(info.compress_size)
    codec = pyarrow.Codec("zstd")
    out = bytes(codec.decompress(packed, decompressed_size=info.file_size, asbytes=True))
    if zlib.crc32(out) != info.CRC:
        raise zipfile.BadZipFile(f"{name} is damaged")
    return out


# --- samples -------------------------------------------------------------------------------------


def read(sample: Mapping[str, Any], options: Options) -> Iterable[ImportedRun]:
    """The run of one sample."""
    log = held(sample, HEADER)
    error = str(held(sample, "error").get("message", ""))
    talk = Conversation()
    attached = held(sample, "attachments")
    messages = sample.get("messages")
    if not isinstance(messages, list):
        raise DataError("'messages' is no list")
    for message in messages:
        message = _resolved(message, attached)
        own = not (isinstance(message, Mapping) and message.get("source") == "input")
        talk.add(message, own)
    if error and not talk.said:
        raise DataError(f"the sample failed before anything was said: {error!r:.200}")
    needs_said(talk)
    scores = _scores(held(sample, "scores"))
    reward = next(iter(scores.values()), None)
    if options.reward:
        if options.reward not in scores:
            known = ", ".join(scores) or "none"
            raise DataError(f"no number of scorer {options.reward!r}, which was to be the reward"
                            f" (there is {known})")  # fmt: skip
        reward = scores[options.reward]
    choices = held(sample, "output").get("choices") or [{}]
    stopped = choices[0].get("stop_reason")
    kept = {"model": log.get("model"), "task": log.get("task"), "epoch": sample.get("epoch")}
    kept |= {"metadata": sample.get("metadata"), "scores": sample.get("scores")}
    kept |= {"limit": sample.get("limit"), "uuid": sample.get("uuid")}
    yield ImportedRun(
        talk.messages,
        talk.said,
        key=f"{log.get('task_id', '')} {sample['id']}",
        id=sample["id"],
        answer=sample.get("target"),
        reward=reward,
        scores=scores,
        data={k: v for k, v in kept.items() if v},
        error=error,
        finish="length" if stopped in ("max_tokens", "model_length") else "",
        tools=_tools(sample),
    )


def _tools(sample: Mapping[str, Any]) -> list[Any]:
    """The tools of the last model call that had some."""
    for event in reversed(sample.get("events") or []):
        if isinstance(event, Mapping) and event.get("event") == "model" and event.get("tools"):
            keys = ("name", "description", "parameters")
            return [
                {"type": "function", "function": {k: each[k] for k in keys if k in each}}
                for each in event["tools"]
                if isinstance(each, Mapping)
            ]
    return []


def _scores(given: Mapping[str, Any]) -> dict[str, float]:
    """Numbers by scorer; of a scorer with several, by scorer and name."""
    out: dict[str, float] = {}
    for name, score in given.items():
        value = score.get("value") if isinstance(score, Mapping) else score
        pairs = value.items() if isinstance(value, Mapping) else [("", value)]
        for part, each in pairs:
            found = _value(each)
            if found is not None:
                out[f"{name}_{part}" if part else str(name)] = found
    return out


def _value(given: Any) -> float | None:
    if isinstance(given, str):
        if given in VALUES or given.lower() in VALUES:
            return VALUES[given if given in VALUES else given.lower()]
        try:
            return number_of(float(given))
        except ValueError:
            return None
    return number_of(given)


def _resolved(value: Any, attached: Mapping[str, Any]) -> Any:
    """The value with its attachments put back."""
    if isinstance(value, str) and value.startswith(ATTACHED):
        name = value.removeprefix(ATTACHED)
        if name not in attached:
            raise DataError(f"attachment {name!r} is not in the sample")
        return attached[name]
    if isinstance(value, Mapping):
        return {k: _resolved(v, attached) for k, v in value.items()}
    return [_resolved(v, attached) for v in value] if isinstance(value, list) else value


INSPECT = Format("inspect", fits, read)
