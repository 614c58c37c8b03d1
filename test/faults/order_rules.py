"""The order of a save, judged from the shim's log: data, fsync on every rank, seal, fsync, rename,
fsync of the folder, and only then the removal of what is no longer kept."""
import os
import re
from dataclasses import dataclass

SEAL = b"\nCUBOID-SEAL".hex()


@dataclass
class Call:
    begin: int
    end: int
    rank: int
    name: str
    result: int
    head: str
    path: str
    new_path: str

    @staticmethod
    def of(line):
        part = line.split("\t")
        return Call(begin=int(part[0]), end=int(part[1]), rank=int(part[2]), name=part[4],
                    result=int(part[7]), head=part[11], path=part[13], new_path=part[14])


WRITES = ("write", "pwrite", "ftruncate", "fallocate")
SYNCS = ("fsync", "fdatasync")


def judge(calls, keep_last=1):
    """Problems of all saves in the log, and the number of saves. A checkpoint may be removed only
    while `keep_last` newer ones of this log are on the disk."""
    calls = sorted(calls, key=lambda call: call.begin)
    finished = [call for call in calls if call.name == "rename" and call.result == 0
                and call.path.endswith(".partial")]
    # Reports, as step_times.json, are renamed as well, but are no saves.
    renames = [call for call in finished if not call.new_path.endswith(".json")]
    problems = []
    durable = {}  # step: when the folder's fsync after the rename was over
    begin = 0
    for rename in renames:
        problems += judge_save(calls, rename, begin)
        folder = os.path.dirname(rename.new_path)
        synced = [call.end for call in calls if rename.end <= call.begin and call.result >= 0
                  and call.name in SYNCS and call.path == folder]
        if synced:
            durable[step_of(rename.new_path)] = synced[0]
        else:
            problems.append(f"{rename.new_path}: no fsync of the folder after the rename")
        begin = rename.end
    finals = {call.new_path for call in finished}
    problems += [f"rank {call.rank} writes to {call.path}, not to its unfinished file"
                 for call in calls if call.name in WRITES and call.path in finals]
    for call in calls:
        step = step_of(call.path)
        if call.name != "unlink" or step is None:
            continue
        newer = sum(1 for other, end in durable.items() if other > step and end <= call.begin)
        if newer < keep_last:
            problems.append(f"{call.path} was removed while {newer} newer ones were on the disk")
    return problems, len(renames)


def step_of(path):
    match = re.search(r"/checkpoint-(\d+)\.h5$", path)
    return int(match[1]) if match else None


def judge_save(calls, rename, begin):
    """Problems of the save that this rename ends; it began after `begin`."""
    name = os.path.basename(rename.new_path)
    mine = [call for call in calls if begin <= call.begin < rename.begin and call.result >= 0
            and call.path == rename.path]
    writes = [call for call in mine if call.name in WRITES]
    seals = [call for call in writes if call.head == SEAL]
    if len(seals) != 1:
        return [f"{name}: {len(seals)} seals were written"]
    seal = seals[0]
    problems = []
    for rank in sorted({call.rank for call in writes if call is not seal}):
        data = [call for call in writes if call is not seal and call.rank == rank]
        last = max(call.end for call in data)
        if not any(call.name in SYNCS and call.rank == rank and last <= call.begin
                   and call.end <= seal.begin for call in mine):
            problems.append(f"{name}: rank {rank} has no fsync between its data and the seal")
    if not any(call.name in SYNCS and call.rank == seal.rank and seal.end <= call.begin
               and call.end <= rename.begin for call in mine):
        problems.append(f"{name}: no fsync between the seal and the rename")
    return problems
