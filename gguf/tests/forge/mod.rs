//! Files put together byte by byte, so that tests can get every single field wrong.

/// The bytes of a file under construction.
#[derive(Clone, Default)]
pub struct Forge(pub Vec<u8>);

impl Forge {
    /// Magic, version and counts.
    pub fn start(version: u32, n_tensors: u64, n_keys: u64) -> Self {
        Forge(b"GGUF".to_vec()).u32(version).u64(n_tensors).u64(n_keys)
    }

    /// Version 3 with these counts.
    pub fn v3(n_tensors: u64, n_keys: u64) -> Self {
        Self::start(3, n_tensors, n_keys)
    }

    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    pub fn u32(self, n: u32) -> Self {
        self.raw(&n.to_le_bytes())
    }

    pub fn u64(self, n: u64) -> Self {
        self.raw(&n.to_le_bytes())
    }

    pub fn str(self, text: &str) -> Self {
        self.u64(text.len() as u64).raw(text.as_bytes())
    }

    /// A key and the id of its value's type; the value is the caller's.
    pub fn key(self, key: &str, type_id: u32) -> Self {
        self.str(key).u32(type_id)
    }

    /// The start of an array: element type and length.
    pub fn array(self, item_id: u32, len: u64) -> Self {
        self.u32(item_id).u64(len)
    }

    /// A tensor's header entry, dimensions innermost first as in the file.
    pub fn tensor(self, name: &str, ne: &[u64], type_id: u32, offset: u64) -> Self {
        let with_dims = ne.iter().fold(self.str(name).u32(ne.len() as u32), |forge, &dim| forge.u64(dim));
        with_dims.u32(type_id).u64(offset)
    }

    /// Pads to `alignment` and appends `bytes` zeros of data.
    pub fn data(mut self, alignment: usize, bytes: usize) -> Self {
        let start = self.0.len().next_multiple_of(alignment);
        self.0.resize(start + bytes, 0);
        self
    }
}
