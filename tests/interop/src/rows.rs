//! Logits as both programs write them: rows of little-endian f32, one row a token.

use std::io;
use std::path::Path;

/// A table of logits, one row per token.
#[derive(Clone, Debug, PartialEq)]
pub struct Rows {
    /// Row after row.
    pub values: Vec<f32>,
    /// Values in a row: the vocabulary.
    pub width: usize,
}

impl Rows {
    /// An empty table that takes `n_rows` rows without growing.
    pub fn with_capacity(width: usize, n_rows: usize) -> Self {
        Self { values: Vec::with_capacity(width * n_rows), width }
    }

    /// The rows in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.values.chunks_exact(self.width)
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.values.len() / self.width
    }

    /// True without a single row.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Reads a file of f32 rows.
    ///
    /// # Errors
    /// A file that cannot be read, or one whose size is no whole number of rows.
    pub fn read(path: &Path, width: usize) -> io::Result<Self> {
        let bytes = std::fs::read(path)?;
        if width == 0 || bytes.len() % (4 * width) != 0 {
            let what = format!("{}: {} bytes are no rows of {width} f32", path.display(), bytes.len());
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        let values = bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        Ok(Self { values, width })
    }

    /// Writes the rows as `read` takes them.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let bytes: Vec<u8> = self.values.iter().flat_map(|v| v.to_le_bytes()).collect();
        std::fs::write(path, bytes)
    }
}
