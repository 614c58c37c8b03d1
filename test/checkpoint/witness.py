"""An outside look at a checkpoint, by h5py and numpy alone: witness.py FILE RAW_FOLDER

RAW_FOLDER holds each tensor's bytes under its name with "/" as "_". Checks values, types, digests
(computed here from their definition in digest.hpp), attributes and the seal.
"""

import sys

import h5py
import numpy as np

MASK = (1 << 64) - 1
NUMPY_TYPES = {"fp32": "<f4", "fp64": "<f8", "bf16": "<u2", "int64": "<i8", "uint8": "|u1"}


def mix(x):
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def key(j):
    x = ((j + 1) * 0x1E3779B9) & 0x7FFFFFFF
    x = ((x ^ (x >> 15)) * 0x2C1B3C6D) & 0x7FFFFFFF
    x = ((x ^ (x >> 12)) * 0x297A2D39) & 0x7FFFFFFF
    return (x ^ (x >> 15)) << 1 | 1


KEYS = [key(j) for j in range(1024)]


def fnv(text):
    value = 0xCBF29CE484222325
    for c in text.encode():
        value = ((value ^ c) * 0x100000001B3) & MASK
    return value


def digest(values, dtype):
    flat = np.ascontiguousarray(values).reshape(-1)
    words = flat.view("<u4") if flat.itemsize >= 4 else flat
    total = 0
    for p, word in enumerate(words.tolist()):
        block = mix(((p // 1024 + 1) * 0x9E3779B97F4A7C15) & MASK) | 1
        total = (total + block * KEYS[p % 1024] * word) & MASK
    shape = "[" + ", ".join(str(n) for n in values.shape) + "]"
    return "%016x" % mix(total ^ fnv(dtype + " " + shape))


def main(path, raw):
    tensors = {}
    with h5py.File(path, "r") as file:
        file.visititems(
            lambda name, item: tensors.__setitem__(name, item) if "digest" in item.attrs else None)
        for name, item in tensors.items():
            dtype = item.attrs["dtype"]
            values = item[()]
            assert item.dtype == np.dtype(NUMPY_TYPES[dtype]), name
            assert item.chunks is None, name
            with open(raw + "/" + name.replace("/", "_"), "rb") as f:
                assert f.read() == values.tobytes(), name
            assert digest(values, dtype) == item.attrs["digest"], name
        assert file.attrs["format"] == "cuboid-checkpoint" and file.attrs["format_version"] == 1
        assert file.attrs["step"] == 120 and file.attrs["seed"] == 0xFEDCBA9876543210
        assert dict(file["options"].attrs) == {
            "hidden-size": "24", "learning-rate": "0.0003", "resume": ""}
        assert file["history/loss"][3] == 5.5 - 0.01 * 3 and len(file["history/step"]) == 120
        assert file["grid"].attrs["dp"] == 1 and len(file["grid/ranks"]) == 1
    with open(path, "rb") as file:
        assert b"\nCUBOID-SEAL 1\nfile_bytes " in file.read()[-4096:]
    print(len(tensors), "tensors agree")


main(*sys.argv[1:])
