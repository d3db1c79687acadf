"""Safetensors files and the three storage forms of a weight, in numpy alone.

The writer is our own so that a file is a pure function of its tensors: wide types first so that everything is
aligned, then by name; metadata in a fixed order.
"""

import json
import struct

import numpy as np

SIZES = {"F32": 4, "I32": 4, "BF16": 2, "F8_E4M3": 1, "BOOL": 1}
NUMPY = {"F32": np.float32, "I32": np.int32, "BF16": np.uint16, "F8_E4M3": np.uint8, "BOOL": np.bool_}


class Stored:
    """A tensor as it lies in a file: dtype tag, shape, and the array of its storage type."""

    def __init__(self, tag, array):
        self.tag, self.array = tag, np.ascontiguousarray(array, dtype=NUMPY[tag])


def as_stored(value):
    if isinstance(value, Stored):
        return value
    tags = {"float32": "F32", "int32": "I32", "bool": "BOOL"}
    return Stored(tags[value.dtype.name], value)


def write(path, tensors, metadata=None):
    header, chunks, offset = {}, [], 0
    if metadata:
        header["__metadata__"] = dict(sorted(metadata.items()))
    stored_tensors = {name: as_stored(value) for name, value in tensors.items()}
    for name, stored in sorted(stored_tensors.items(), key=lambda item: (-SIZES[item[1].tag], item[0])):
        data = stored.array.tobytes()
        header[name] = {
            "dtype": stored.tag,
            "shape": list(stored.array.shape),
            "data_offsets": [offset, offset + len(data)],
        }
        offset += len(data)
        chunks.append(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(chunks))


def read(path):
    raw = open(path, "rb").read()
    (length,) = struct.unpack_from("<Q", raw)
    header = json.loads(raw[8 : 8 + length])
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        array = np.frombuffer(raw[8 + length + begin : 8 + length + end], dtype=NUMPY[entry["dtype"]])
        tensors[name] = Stored(entry["dtype"], array.reshape(entry["shape"]))
    return tensors


# --- BF16: the upper half of an f32 -------------------------------------------------------------------------


def to_bf16(x):
    bits = np.ascontiguousarray(x, dtype=np.float32).view(np.uint32)
    return Stored("BF16", ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16))


def from_bf16(bits):
    return (bits.astype(np.uint32) << 16).view(np.float32)


# --- FP8 e4m3fn with one scale per 128 x 128 block ----------------------------------------------------------

BLOCK = 128


def e4m3_table():
    """The value of every byte: sign, 4 exponent bits with bias 7, 3 mantissa bits; 0x7f and 0xff are NaN."""
    table = np.empty(256, dtype=np.float32)
    for byte in range(256):
        exponent, mantissa = (byte >> 3) & 15, byte & 7
        if exponent == 15 and mantissa == 7:
            value = np.nan
        elif exponent == 0:
            value = mantissa * 2.0**-9
        else:
            value = (8 + mantissa) * 2.0 ** (exponent - 10)
        table[byte] = -value if byte & 0x80 else value
    return table


E4M3 = e4m3_table()


def to_e4m3(x):
    """Nearest representable value, ties to the even mantissa; |x| must be <= 448."""
    positive = E4M3[:127].astype(np.float64)
    magnitude = np.abs(np.asarray(x, dtype=np.float64))
    assert magnitude.max(initial=0.0) <= 448.0
    upper = np.clip(np.searchsorted(positive, magnitude), 1, 126)
    lower = upper - 1
    below, above = magnitude - positive[lower], positive[upper] - magnitude
    take_upper = (above < below) | ((above == below) & (upper % 2 == 0))
    code = np.where(take_upper, upper, lower).astype(np.uint8)
    return code | (np.signbit(x).astype(np.uint8) << 7)


def blocks(shape):
    for row in range(0, shape[0], BLOCK):
        for column in range(0, shape[1], BLOCK):
            yield (slice(row, row + BLOCK), slice(column, column + BLOCK)), (row // BLOCK, column // BLOCK)


def to_fp8(weight):
    """(codes, scales): scale = 2^ceil(log2(amax / 448)), value = e4m3(w / scale)."""
    rows, columns = weight.shape
    codes = np.empty((rows, columns), dtype=np.uint8)
    scales = np.empty((-(-rows // BLOCK), -(-columns // BLOCK)), dtype=np.float32)
    for part, block in blocks(weight.shape):
        scale = 2.0 ** np.ceil(np.log2(np.abs(weight[part]).max() / 448.0))
        scales[block] = scale
        codes[part] = to_e4m3(weight[part] / np.float32(scale))
    return Stored("F8_E4M3", codes), scales


def from_fp8(codes, scales):
    out = np.empty(codes.shape, dtype=np.float32)
    for part, block in blocks(codes.shape):
        out[part] = E4M3[codes[part]] * scales[block]
    return out


def plain(tensors):
    """Every weight of a checkpoint as f32, scales applied and gone."""
    out = {}
    for name, stored in tensors.items():
        if name.endswith("_scale_inv"):
            continue
        if stored.tag == "BF16":
            out[name] = from_bf16(stored.array)
        elif stored.tag == "F8_E4M3":
            out[name] = from_fp8(stored.array, tensors[name + "_scale_inv"].array)
        else:
            out[name] = stored.array
    return out
