"""Compares fathom-gguf with the PyPI package gguf, both ways.

Files written by the package must read here as what was put in, and write back to the very same bytes; files
written here must read there as what was put in. Run through run.sh, which builds the two example programs.

A metadata value is passed around as gguf_json prints it: ["u8", 7], ["array", "u8", [7, 8]], nested arrays as
["array", "array", [["array", "u8", [7]], ...]], floats as the integer of their bits.
"""

import json
import random
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFEndian, GGUFReader, GGUFValueType, GGUFWriter
from gguf.quants import quantize

GGUF_JSON, GGUF_WRITE, SCRATCH = sys.argv[1], sys.argv[2], Path(sys.argv[3])

TYPES = {
    "u8": GGUFValueType.UINT8,
    "i8": GGUFValueType.INT8,
    "u16": GGUFValueType.UINT16,
    "i16": GGUFValueType.INT16,
    "u32": GGUFValueType.UINT32,
    "i32": GGUFValueType.INT32,
    "f32": GGUFValueType.FLOAT32,
    "bool": GGUFValueType.BOOL,
    "str": GGUFValueType.STRING,
    "array": GGUFValueType.ARRAY,
    "u64": GGUFValueType.UINT64,
    "i64": GGUFValueType.INT64,
    "f64": GGUFValueType.FLOAT64,
}
FLOATS = {"f32": ("<f", "<I"), "f64": ("<d", "<Q")}

# ggml's struct has had 36 bytes since its two scales became f16; the package still counts them as f32.
SIZES_THAT_DIFFER = {"q8_1": (36, 40)}
# ggml has them, this version of the package does not yet.
NOT_IN_THE_PACKAGE = {"q2_0"}

n_checks = 0


def same(what, found, expected):
    """Counts the check; ends the run with both sides when they differ."""
    global n_checks
    n_checks += 1
    if found != expected:
        sys.exit(f"MISMATCH {what}:\n  expected {expected!r:.2000}\n  found    {found!r:.2000}")


def dump(*paths):
    """What gguf_json prints; its error message if it refuses."""
    out = subprocess.run([GGUF_JSON, *map(str, paths)], capture_output=True, text=True, encoding="utf-8")
    return json.loads(out.stdout) if out.returncode == 0 else out.stderr


# ---- samples


def to_bits(name, value):
    if name not in FLOATS:
        return value
    as_float, as_int = FLOATS[name]
    return struct.unpack(as_int, struct.pack(as_float, value))[0]


def from_bits(name, value):
    if name not in FLOATS:
        return value
    as_float, as_int = FLOATS[name]
    return struct.unpack(as_float, struct.pack(as_int, value))[0]


def one(name, value):
    return [name, to_bits(name, value)]


def array(item, values):
    return ["array", item, [to_bits(item, value) for value in values]]


SAMPLES = {
    "u8": [0, 200, 255],
    "i8": [-128, 0, 127],
    "u16": [0, 65535],
    "i16": [-32768, 32767],
    "u32": [0, 2**32 - 1],
    "i32": [-(2**31), 2**31 - 1],
    "f32": [0.0, -0.0, 1.5, 3.4028234663852886e38, 1e-45, float("inf"), float("-inf"), float("nan")],
    "bool": [True, False],
    "str": ["text", "\u6df1\u5ea6 \u00e9 \U0001f30a", 'with "quotes"\nand\tcontrols\x01'],
    "u64": [0, 2**64 - 1],
    "i64": [-(2**63), 2**63 - 1],
    "f64": [0.1, -1e300, 5e-324, float("inf"), float("nan")],
}


def metadata():
    """Everything the package can write: it has no empty strings and arrays."""
    entries = {"general.architecture": one("str", "deepseek2")}
    for name, values in SAMPLES.items():
        entries.update({f"one.{name}.{i}": one(name, value) for i, value in enumerate(values)})
        entries[f"array.{name}"] = array(name, values)
    entries["nested.u32"] = array("array", [array("u32", [1, 2, 3]), array("u32", [4])])
    entries["nested.mixed"] = array("array", [array("str", ["a", "\u00e9"]), array("bool", [True]), array("i8", [-1])])
    deep = array("array", [array("f32", [0.5]), array("f64", [1.5, 2.5])])
    entries["nested.deep"] = array("array", [deep, array("array", [array("u16", [7])])])
    entries["tokens"] = array("str", [f"token {i}" for i in range(129280)])
    return entries


def empty_metadata():
    """What only this side writes."""
    return {
        "empty.text": one("str", ""),
        "empty.u32s": array("u32", []),
        "empty.texts": array("str", []),
        "empty.arrays": array("array", []),
    }


def tensors():
    """(name, numpy array as the package takes it, raw type or None, type name, shape outermost first)."""
    rng, out = random.Random(1), []
    floats = np.random.default_rng(1).standard_normal((2, 3, 5, 32)).astype(np.float32)
    for dtype, name in [(np.float32, "f32"), (np.float16, "f16"), (np.float64, "f64")]:
        for n_dims in range(1, 5):
            data = floats.reshape([-1, *floats.shape[5 - n_dims :]]).astype(dtype)
            out.append((f"{name}.{n_dims}d", data, None, name, list(data.shape)))
    for dtype, name in [(np.int8, "i8"), (np.int16, "i16"), (np.int32, "i32"), (np.int64, "i64")]:
        out.append((name, np.arange(-7, 8).astype(dtype), None, name, [15]))
    for qtype in [GGMLQuantizationType.Q8_0, GGMLQuantizationType.Q4_0, GGMLQuantizationType.BF16]:
        name = qtype.name.lower()
        out.append((f"{name}.quantized", quantize(floats, qtype), qtype, name, list(floats.shape)))
    for qtype, (block_len, block_bytes) in GGML_QUANT_SIZES.items():
        name = qtype.name.lower()
        if block_len > 1 and name not in SIZES_THAT_DIFFER:
            blocks = np.frombuffer(rng.randbytes(3 * 2 * block_bytes), np.uint8).reshape(3, 2 * block_bytes)
            out.append((f"{name}.raw", blocks, qtype, name, [3, 2 * block_len]))
    return out


def described(samples):
    """Tensors as gguf_json prints them, but for their places."""
    return [{"name": n, "type": ty, "shape": shape, "data": data.tobytes().hex()} for n, data, _, ty, shape in samples]


# ---- the package writes


class Elements(list):
    """A nested array for the package's writer, which would otherwise guess the type of the elements."""

    def __init__(self, item, values):
        super().__init__(values)
        self.item = TYPES[item]


class TypedWriter(GGUFWriter):
    def _pack_val(self, val, vtype, add_vtype, sub_type=None):
        if sub_type is None and isinstance(val, Elements):
            sub_type = val.item
        return super()._pack_val(val, vtype, add_vtype, sub_type)


def for_package(typed):
    if typed[0] != "array":
        return from_bits(*typed)
    item, values = typed[1], typed[2]
    return Elements(item, [for_package(value) if item == "array" else from_bits(item, value) for value in values])


def write_with_package(path, entries, samples, alignment=None, **options):
    writer = TypedWriter(path, "deepseek2", **options)
    for key, typed in entries.items():
        item = TYPES[typed[1]] if typed[0] == "array" else None
        writer.kv_data[0].pop(key, None)
        writer.add_key_value(key, for_package(typed), TYPES[typed[0]], item)
    if alignment is not None:
        writer.add_custom_alignment(alignment)
        entries["general.alignment"] = one("u32", alignment)
    for name, data, qtype, _, _ in samples:
        writer.add_tensor(name, data, raw_dtype=qtype)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def check_read_here(what, path, shard, entries, samples, alignment):
    same(f"{what}: version", shard["version"], 3)
    same(f"{what}: alignment", shard["alignment"], alignment)
    same(f"{what}: keys", [key for key, _ in shard["metadata"]], list(entries))
    for key, found in shard["metadata"]:
        same(f"{what}: {key}", found, entries[key])
    found = [{key: value for key, value in tensor.items() if key != "offset"} for tensor in shard["tensors"]]
    same(f"{what}: number of tensors", len(found), len(samples))
    for one_found, expected in zip(found, described(samples)):
        same(f"{what}: tensor {expected['name']}", one_found, expected)
    for tensor, place in zip(shard["tensors"], GGUFReader(path).tensors):
        same(f"{what}: offset of {tensor['name']}", tensor["offset"], place.data_offset)
    spec, again = path.with_suffix(".json"), path.with_suffix(".again.gguf")
    spec.write_text(json.dumps(shard), encoding="utf-8")
    subprocess.run([GGUF_WRITE, spec, again], check=True)
    same(f"{what}: bytes when written again", again.read_bytes(), path.read_bytes())


def package_to_here():
    for alignment in [None, 8, 64]:
        what, path = f"package -> here, alignment {alignment}", SCRATCH / f"package-{alignment}.gguf"
        entries, samples = metadata(), tensors()
        write_with_package(path, entries, samples, alignment)
        model = dump(path)
        if isinstance(model, str):
            sys.exit(f"MISMATCH {what}: refused: {model}")
        check_read_here(what, path, model["shards"][0], entries, samples, alignment or 32)


def package_splits_to_here():
    entries = {"general.architecture": one("str", "deepseek2"), "answer": one("u32", 42)}
    samples = tensors()[:7]
    write_with_package(SCRATCH / "split.gguf", dict(entries), samples, split_max_tensors=3)
    paths = sorted(SCRATCH.glob("split-*.gguf"))
    same("split: names", [path.name for path in paths], [f"split-0000{i}-of-00003.gguf" for i in (1, 2, 3)])
    for order in [paths, paths[::-1]]:
        model = dump(*order)
        same("split: shards in order", [shard["name"] for shard in model["shards"]], list(map(str, paths)))
        same("split: tensors", model["n_tensors"], 7)
        for no, shard in enumerate(model["shards"]):
            keys = {"split.no": one("u16", no), "split.count": one("u16", 3), "split.tensors.count": one("i32", 7)}
            expected = {**(entries if no == 0 else {}), **keys}
            check_read_here(f"split {no}", paths[no], shard, expected, samples[3 * no : 3 * no + 3], 32)
    refusal = dump(paths[0], paths[2])
    same(f"split: the missing shard is named in {refusal!r}", paths[1].name in refusal, True)


def package_big_endian_is_refused():
    path = SCRATCH / "big-endian.gguf"
    write_with_package(path, {"answer": one("u32", 42)}, tensors()[:1], endianess=GGUFEndian.BIG)
    refusal = dump(path)
    same(f"big-endian is named in {refusal!r}", "big-endian" in refusal, True)


# ---- the package reads


def flat(typed):
    """The elements of all nested arrays in a row: all that the package's reader keeps of them."""
    if typed[1] != "array":
        return typed[2]
    return [element for inner in typed[2] for element in flat(inner)]


def innermost(typed):
    """The types the package's reader reports: the array's, then its first element's, down to the bottom."""
    if typed[0] != "array":
        return [TYPES[typed[0]]]
    if not typed[2]:
        return [TYPES["array"]]
    return [TYPES["array"], *(innermost(typed[2][0]) if typed[1] == "array" else [TYPES[typed[1]]])]


def elements_of(field, typed):
    """The field's elements as bits, in the order of `flat`, read past `contents`, which knows one type per array."""
    parts = [field.parts[index] for index in field.data]
    found = []
    for part in parts:
        if part.dtype.kind == "f":
            found.append(int(part.view(f"<u{part.dtype.itemsize}")[0]))
        elif part.dtype == np.uint8 and isinstance(flat(typed)[len(found)], str):
            found.append(part.tobytes().decode("utf-8"))
        else:
            found.append(part.tolist()[0])
    return found


def check_read_there(what, path, entries, samples):
    reader = GGUFReader(path)
    own = ["GGUF.version", "GGUF.tensor_count", "GGUF.kv_count"]
    same(f"{what}: version", int(reader.fields["GGUF.version"].parts[0][0]), 3)
    same(f"{what}: keys", list(reader.fields), own + list(entries))
    for key, typed in entries.items():
        field = reader.fields[key]
        same(f"{what}: type of {key}", field.types, innermost(typed))
        expected = typed if typed[0] == "array" else ["array", typed[0], [typed[1]]]
        same(f"{what}: {key}", elements_of(field, expected), flat(expected))
    same(f"{what}: number of tensors", len(reader.tensors), len(samples))
    for tensor, expected in zip(reader.tensors, described(samples)):
        shape = [int(dim) for dim in reversed(tensor.shape)]
        found = {"name": tensor.name, "type": tensor.tensor_type.name.lower(), "shape": shape}
        same(f"{what}: tensor {tensor.name}", {**found, "data": tensor.data.tobytes().hex()}, expected)
        same(f"{what}: alignment of {tensor.name}", tensor.data_offset % int(reader.alignment), 0)


def write_here(path, entries, samples):
    spec = path.with_suffix(".json")
    spec.write_text(json.dumps({"metadata": list(entries.items()), "tensors": described(samples)}), encoding="utf-8")
    subprocess.run([GGUF_WRITE, spec, path], check=True)


def here_to_package():
    for alignment in [None, 16, 64, 4096]:
        path, entries, samples = SCRATCH / f"here-{alignment}.gguf", {**metadata(), **empty_metadata()}, tensors()
        if alignment is not None:
            entries["general.alignment"] = one("u32", alignment)
        write_here(path, entries, samples)
        check_read_there(f"here -> package, alignment {alignment}", path, entries, samples)
    for no in range(2):
        path, samples = SCRATCH / f"here-0000{no + 1}-of-00002.gguf", tensors()[no * 2 : no * 2 + 2]
        entries = {"split.no": one("u16", no), "split.count": one("u16", 2), "split.tensors.count": one("i32", 4)}
        write_here(path, entries, samples)
        check_read_there(f"here -> package, shard {no}", path, entries, samples)


def tables_agree():
    here = {name: (type_id, block_len, size) for type_id, name, block_len, size in dump("--types")}
    there = {qtype.name.lower(): (qtype.value, *GGML_QUANT_SIZES[qtype]) for qtype in GGMLQuantizationType}
    same("type names", set(here) - NOT_IN_THE_PACKAGE, set(there))
    for name, (ours, theirs) in SIZES_THAT_DIFFER.items():
        same(f"size of {name}", (here[name][2], there[name][2]), (ours, theirs))
        there[name] = here[name]
    for name, row in there.items():
        same(f"table row of {name}", here[name], row)


tables_agree()
package_to_here()
package_splits_to_here()
package_big_endian_is_refused()
here_to_package()
print(f"{n_checks} comparisons with the package gguf agree")
