//! The header of a safetensors file, read with distrust.
//!
//! The format: eight bytes of length, a JSON object, then the data. The `safetensors` crate would do, except that it
//! refuses the whole file without naming the tensor when a type is new to it; a converter owes its user the list.

use super::{Dtype, Stored};
use fathom_files::json;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use std::collections::HashSet;
use std::fmt;

/// The format's own limit on the JSON part; it keeps a damaged length from asking for all memory.
const MAX_HEADER_BYTES: u64 = 100_000_000;

/// One array of a file.
#[derive(Debug, PartialEq)]
pub(super) struct Entry {
    pub name: String,
    pub stored: Stored,
    /// Absolute offset of its first byte.
    pub offset: u64,
}

#[derive(Deserialize)]
struct Json {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: (u64, u64),
}

/// The object's members in order, twins included: a map would hide a name that is used twice.
struct Members(Vec<(String, Json)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with one member per tensor")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        map.next_value::<IgnoredAny>()?;
                    } else {
                        members.push((name, map.next_value()?));
                    }
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

/// Length of the JSON part, from the first eight bytes and the size of the file.
pub(super) fn json_bytes(first: [u8; 8], file_bytes: u64) -> Result<usize, String> {
    let found = u64::from_le_bytes(first);
    let limit = file_bytes.saturating_sub(8).min(MAX_HEADER_BYTES);
    if found > limit {
        return Err(format!("header: expected at most {limit} bytes, found a length of {found}"));
    }
    usize::try_from(found).map_err(|_| format!("header: {found} bytes do not fit into memory"))
}

/// Every array of the file, in the order of the data.
pub(super) fn parse(bytes: &[u8], file_bytes: u64) -> Result<Vec<Entry>, String> {
    let Members(members) =
        json::read(bytes).map_err(|found| format!("header: expected JSON, found {found}"))?;
    let data_start = 8 + bytes.len() as u64;
    let data_bytes = file_bytes - data_start;
    let mut names = HashSet::new();
    let mut entries = Vec::with_capacity(members.len());
    for (name, Json { dtype, shape, data_offsets: (start, end) }) in members {
        if !names.insert(name.clone()) {
            return Err(format!("tensor {name}: named twice in the header"));
        }
        let stored = Stored { dtype: Dtype::from_name(&dtype), shape };
        if start > end {
            return Err(format!("tensor {name}: expected rising data_offsets, found {start}..{end}"));
        }
        if end > data_bytes {
            return Err(format!(
                "tensor {name}: its data ends at byte {end} and the file has {data_bytes} bytes of data: the file is \
                 truncated"
            ));
        }
        if let Some(size) = stored.dtype.size() {
            let expected = stored.shape.iter().try_fold(size as u64, |n, &d| n.checked_mul(d as u64));
            if expected != Some(end - start) {
                return Err(format!(
                    "tensor {name}: expected {} bytes for {} {:?}, found {}",
                    expected.map_or("too many".to_owned(), |n| n.to_string()),
                    stored.dtype,
                    stored.shape,
                    end - start
                ));
            }
        }
        entries.push((end, Entry { name, stored, offset: data_start + start }));
    }
    entries.sort_by_key(|(end, entry)| (entry.offset, *end));
    let mut covered = data_start;
    for (end, entry) in &entries {
        if entry.offset != covered {
            return Err(format!(
                "tensor {}: expected its data at byte {covered} of the file, found {}: arrays overlap or leave a hole",
                entry.name, entry.offset
            ));
        }
        covered = data_start + end;
    }
    Ok(entries.into_iter().map(|(_, entry)| entry).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(json: &str, data_bytes: u64) -> Result<Vec<Entry>, String> {
        parse(json.as_bytes(), 8 + json.len() as u64 + data_bytes)
    }

    #[test]
    fn entries_come_in_the_order_of_the_data() {
        let json = r#"{"__metadata__":{"format":"pt"},
            "b":{"dtype":"BF16","shape":[2,3],"data_offsets":[4,16]},
            "a":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}"#;
        let entries = parsed(json, 12 + 4).unwrap();
        assert_eq!(entries[0].name, "a");
        assert_eq!(entries[0].offset, 8 + json.len() as u64);
        assert_eq!(entries[1].stored, Stored { dtype: Dtype::BF16, shape: vec![2, 3] });
        assert_eq!(entries[1].offset, entries[0].offset + 4);
    }

    #[test]
    fn foreign_types_are_kept_by_name() {
        let entries = parsed(r#"{"a":{"dtype":"I4","shape":[8],"data_offsets":[0,4]}}"#, 4).unwrap();
        assert_eq!(entries[0].stored.dtype, Dtype::Other("I4".to_owned()));
    }

    #[test]
    fn damage_is_named() {
        let one = |dtype: &str, shape: &str, offsets: &str| {
            format!(r#"{{"a":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#)
        };
        for (json, data, says) in [
            (one("F32", "[2]", "[0,8]"), 4, "truncated"),
            (one("F32", "[2]", "[0,4]"), 4, "expected 8 bytes for F32 [2], found 4"),
            (one("F32", "[2]", "[8,0]"), 8, "rising"),
            (one("F32", "[4294967296,4294967296,2]", "[0,8]"), 8, "too many"),
            (one("F32", "[1]", "[4,8]"), 8, "hole"),
            (
                one("F32", "[1]", "[0,4]")
                    .replace("}}", r#"},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#),
                8,
                "twice",
            ),
            (
                "[]".to_owned(),
                0,
                "header: expected JSON, found JSON of another form: line 1, column 0: invalid type",
            ),
        ] {
            let error = parsed(&json, data).unwrap_err();
            assert!(error.contains(says), "{json}: {error}");
        }
        assert!(json_bytes(u64::MAX.to_le_bytes(), 100).unwrap_err().contains("at most 92 bytes"));
        assert!(json_bytes([1; 8], 4).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_give_an_answer(json in proptest::collection::vec(any::<u8>(), 0..200), extra in 0u64..50) {
            let _ = parse(&json, 8 + json.len() as u64 + extra);
        }

        #[test]
        fn any_numbers_give_an_answer(dim in any::<u64>(), start in any::<u64>(), end in any::<u64>(), extra in 0u64..50) {
            let json = format!(r#"{{"a":{{"dtype":"F8_E4M3","shape":[{dim},{dim}],"data_offsets":[{start},{end}]}}}}"#);
            let _ = parsed(&json, extra);
        }
    }
}
