//! llama.cpp's saved cache of a sequence, and one like it that holds rows of ours.
//!
//! The layout is that of the pinned llama.cpp: a head, then for each of its caches (latent rows, index keys) the cells'
//! positions and, layer by layer, a row for each cell. It is read from a real saved cache of one cell and refused if
//! anything is not as known, so that a newer llama.cpp cannot be filled wrongly unnoticed.

/// One of the caches of a context.
#[derive(Clone, Debug, PartialEq)]
pub struct Cache {
    /// Values lie transposed where there are values; copied as it is.
    v_trans: u32,
    /// Sizes of rotations of quantised caches; copied as they are.
    rotations: [u32; 2],
    /// ggml's type and the bytes of a row, for each layer.
    pub layers: Vec<(i32, usize)>,
}

/// What a saved cache looks like.
#[derive(Clone, Debug, PartialEq)]
pub struct Layout {
    magic: u32,
    /// In llama.cpp's order.
    pub caches: Vec<Cache>,
}

/// One sequence.
const SEQUENCE: i32 = 0;

impl Layout {
    /// Reads a saved cache of one cell.
    ///
    /// # Errors
    /// Says what is not as known.
    pub fn parse(state: &[u8]) -> Result<Layout, String> {
        let mut from = Reader { bytes: state, at: 0 };
        let magic = from.u32()?;
        from.expect("sequence", SEQUENCE as u32)?;
        let mut caches = Vec::new();
        while from.at < state.len() {
            from.expect("number of streams", 1)?;
            from.expect("number of cells", 1)?;
            from.expect("position of the cell", 0)?;
            from.expect("number of sequences of the cell", 1)?;
            from.expect("sequence of the cell", SEQUENCE as u32)?;
            let v_trans = from.u32()?;
            let n_layers = from.u32()?;
            let rotations = [from.u32()?, from.u32()?];
            let mut layers = Vec::new();
            for _ in 0..n_layers {
                let ty = from.u32()?.cast_signed();
                let row_bytes = usize::try_from(from.u64()?).map_err(|e| e.to_string())?;
                from.take(row_bytes)?;
                layers.push((ty, row_bytes));
            }
            caches.push(Cache { v_trans, rotations, layers });
        }
        Ok(Layout { magic, caches })
    }

    /// A saved cache with cells at positions `0..n_cells`. `row(cache, layer, position, bytes)` writes each row.
    pub fn filled(&self, n_cells: usize, mut row: impl FnMut(usize, usize, usize, &mut [u8])) -> Vec<u8> {
        let mut state = Vec::new();
        let mut put = |value: u32| state.extend_from_slice(&value.to_le_bytes());
        put(self.magic);
        put(SEQUENCE as u32);
        for (index, cache) in self.caches.iter().enumerate() {
            let mut put = |value: u32| state.extend_from_slice(&value.to_le_bytes());
            put(1);
            put(n_cells as u32);
            for position in 0..n_cells {
                put(position as u32);
                put(1);
                put(SEQUENCE as u32);
            }
            put(cache.v_trans);
            put(cache.layers.len() as u32);
            put(cache.rotations[0]);
            put(cache.rotations[1]);
            for (layer, (ty, row_bytes)) in cache.layers.iter().enumerate() {
                state.extend_from_slice(&ty.to_le_bytes());
                state.extend_from_slice(&(*row_bytes as u64).to_le_bytes());
                let start = state.len();
                state.resize(start + n_cells * row_bytes, 0);
                for (position, bytes) in state[start..].chunks_exact_mut(*row_bytes).enumerate() {
                    row(index, layer, position, bytes);
                }
            }
        }
        state
    }
}

struct Reader<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl<'b> Reader<'b> {
    fn take(&mut self, n: usize) -> Result<&'b [u8], String> {
        let end = self.at.checked_add(n).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or_else(|| {
            format!("byte {}: expected {n} more, found {}", self.at, self.bytes.len() - self.at)
        })?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn u32(&mut self) -> Result<u32, String> {
        let bytes = self.take(4)?;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    fn u64(&mut self) -> Result<u64, String> {
        let (low, high) = (self.u32()?, self.u32()?);
        Ok(u64::from(high) << 32 | u64::from(low))
    }

    fn expect(&mut self, what: &str, expected: u32) -> Result<(), String> {
        let at = self.at;
        let found = self.u32()?;
        if found == expected {
            Ok(())
        } else {
            Err(format!("byte {at}: expected {expected} as {what}, found {found}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout() -> Layout {
        let cache = |row_bytes| Cache { v_trans: 1, rotations: [0, 3], layers: vec![(1, row_bytes), (0, 4)] };
        Layout { magic: 77, caches: vec![cache(6), cache(2)] }
    }

    #[test]
    fn one_cell_reads_back_as_the_layout_it_was_made_of() {
        let state = layout().filled(1, |_, _, _, bytes| bytes.fill(9));
        assert_eq!(Layout::parse(&state), Ok(layout()));
        for end in [0, 5, 9, state.len() - 1] {
            assert!(Layout::parse(&state[..end]).is_err(), "{end}");
        }
        let two = layout().filled(2, |_, _, _, _| {});
        assert_eq!(Layout::parse(&two), Err("byte 12: expected 1 as number of cells, found 2".to_owned()));
    }

    #[test]
    fn every_row_is_asked_for_once_in_its_place() {
        let mut asked = Vec::new();
        let state = layout().filled(2, |cache, layer, position, bytes| {
            asked.push((cache, layer, position, bytes.len()));
            bytes.fill(1);
        });
        let expected: Vec<_> = [(0, 0, 6), (0, 1, 4), (1, 0, 2), (1, 1, 4)]
            .into_iter()
            .flat_map(|(cache, layer, len)| [0, 1].map(|position| (cache, layer, position, len)))
            .collect();
        assert_eq!(asked, expected);
        // Head, and for each cache: counts, cells, four numbers, two layers' heads and rows.
        assert_eq!(state.len(), 8 + 2 * (8 + 2 * 12 + 16 + 2 * 12) + 2 * (6 + 4 + 2 + 4));
    }
}
