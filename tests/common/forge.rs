//! GGUF files taken apart, changed and put together again, as valid or as wrong as a test wants them.

use fathom_gguf::{Gguf, OwnedValue, TensorType, Writer};
use std::path::Path;

/// A tensor and its bytes.
#[derive(Clone)]
pub struct Tensor {
    pub name: String,
    pub ty: TensorType,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

/// A whole file.
#[derive(Clone)]
pub struct Model {
    pub metadata: Vec<(String, OwnedValue)>,
    pub tensors: Vec<Tensor>,
}

impl Model {
    /// Takes the file at `path` apart.
    pub fn read(path: &Path) -> Model {
        let bytes = std::fs::read(path).unwrap();
        let gguf = Gguf::from_shards(vec![("model.gguf".to_owned(), &bytes)]).unwrap();
        let metadata = gguf.metadata().iter().map(|(key, value)| (key.to_owned(), (*value).into())).collect();
        let tensor = |tensor: &fathom_gguf::TensorInfo<'_>| Tensor {
            name: tensor.name.to_owned(),
            ty: tensor.ty,
            shape: tensor.shape.dims().to_vec(),
            bytes: tensor.data().to_vec(),
        };
        Model { metadata, tensors: gguf.tensors().map(|(_, info)| tensor(info)).collect() }
    }

    /// Sets a key, or adds it.
    pub fn set(&mut self, key: &str, value: impl Into<OwnedValue>) {
        let value = value.into();
        match self.metadata.iter_mut().find(|(known, _)| known == key) {
            Some((_, old)) => *old = value,
            None => self.metadata.push((key.to_owned(), value)),
        }
    }

    /// Takes a key out.
    pub fn unset(&mut self, key: &str) {
        self.metadata.retain(|(known, _)| known != key);
    }

    /// The tensor of this name.
    pub fn tensor(&mut self, name: &str) -> &mut Tensor {
        let found = self.tensors.iter_mut().find(|tensor| tensor.name == name);
        found.unwrap_or_else(|| panic!("no tensor {name}"))
    }

    /// The file's bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        for (key, value) in &self.metadata {
            writer.metadata(key, value.clone()).unwrap();
        }
        for tensor in &self.tensors {
            writer.tensor(&tensor.name, tensor.ty, &tensor.shape).unwrap();
        }
        let layout = writer.layout().unwrap();
        let mut bytes = layout.header;
        for (tensor, place) in self.tensors.iter().zip(&layout.tensors) {
            assert_eq!(tensor.bytes.len() as u64, place.bytes, "{}", tensor.name);
            bytes.resize(place.offset as usize, 0);
            bytes.extend(&tensor.bytes);
        }
        bytes.resize(layout.file_bytes as usize, 0);
        bytes
    }

    /// Writes the file.
    pub fn write(&self, path: &Path) {
        std::fs::write(path, self.bytes()).unwrap();
    }

    /// The model as `count` shards, with the keys that make them so.
    pub fn shards(&self, count: usize) -> Vec<Model> {
        let n_tensors = self.tensors.len();
        let each = n_tensors.div_ceil(count);
        let shard = |(no, tensors): (usize, &[Tensor])| {
            let metadata = if no == 0 { self.metadata.clone() } else { Vec::new() };
            let mut shard = Model { metadata, tensors: tensors.to_vec() };
            for (key, value) in fathom_gguf::split::keys(no as u16, count as u16, n_tensors as i32) {
                shard.set(key, value);
            }
            shard
        };
        self.tensors.chunks(each).enumerate().map(shard).collect()
    }
}
