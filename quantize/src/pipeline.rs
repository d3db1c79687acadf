//! From a source to a finished GGUF file.
//!
//! Everything about the file is known before a weight is read: the plan gives shapes, the recipe gives types, the
//! container gives every tensor's place. The work is then cut into slabs of whole rows, and threads take the next
//! slab in file order: read it, widen it to f32, encode it, write it where it belongs. A row is encoded by itself, so
//! the file does not depend on the number of threads or the size of slabs. Memory is a few buffers of one slab per thread.

use crate::dequant::{Buffers, read_rows};
use crate::encode::Encoding;
use crate::error::Error;
use crate::importance::Importance;
use crate::slabs;
use crate::source::{Found, Source, problems, scale_name};
use fathom_arch::plan::{KvHalf, Origin, TensorPlan};
use fathom_arch::role::{LARGEST_OF_VECTORS, Role};
use fathom_files::output::{PartFile, Target};
use fathom_gguf::{Layout, OwnedValue, Writer};
use fathom_simd::Kernels;
use std::collections::{BTreeMap, BTreeSet};

pub use crate::slabs::Watch;

/// Values in a slab, as far as whole rows allow. It does not depend on the machine, so that a slab means the same wherever a
/// file is made; larger ones are no faster. The three buffers take up to 12 bytes for a value: 6 MiB for each thread.
const SLAB_VALUES: usize = 1 << 19;

/// A GGUF file that could be written.
pub struct Job<'a> {
    source: &'a dyn Source,
    plan: &'a [TensorPlan],
    encodings: &'a [Encoding],
    importance: Option<&'a Importance>,
    layout: Layout,
}

/// One line of a dry run: what a role costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleSize {
    /// The role.
    pub role: Role,
    /// Types in use, largest first.
    pub encodings: BTreeSet<Encoding>,
    /// Number of tensors.
    pub n_tensors: usize,
    /// Number of values.
    pub n_elems: u64,
    /// Bytes in the file, without padding.
    pub bytes: u64,
}

/// Rows (whole heads for a half of `kv_b_proj`) of one tensor that a thread handles at once.
struct Slab {
    tensor: usize,
    first: usize,
    n: usize,
}

/// What one thread reuses from slab to slab.
#[derive(Default)]
struct Workspace {
    buffers: Buffers,
    values: Vec<f32>,
    head: Vec<f32>,
    encoded: Vec<u8>,
    /// The same of one matrix.
    part: Vec<u8>,
}

impl<'a> Job<'a> {
    /// Lays the file out. `encodings` has one entry for each tensor of `plan`; `place` names the source in messages.
    ///
    /// # Errors
    /// Everything that the source lacks, at once; or whatever the container refuses.
    pub fn new(
        source: &'a dyn Source,
        place: &str,
        plan: &'a [TensorPlan],
        encodings: &'a [Encoding],
        metadata: Vec<(String, OwnedValue)>,
    ) -> Result<Job<'a>, Error> {
        assert_eq!(plan.len(), encodings.len(), "one encoding for each tensor");
        let problems = problems(source, plan);
        if !problems.is_empty() {
            return Err(Error::Incomplete { place: place.to_owned(), problems });
        }
        let mut writer = Writer::new();
        for (key, value) in metadata {
            writer.metadata(&key, value)?;
        }
        for (tensor, encoding) in plan.iter().zip(encodings) {
            writer.tensor(&tensor.name, encoding.tensor_type(), &tensor.shape)?;
        }
        Ok(Job { source, plan, encodings, importance: None, layout: writer.layout()? })
    }

    /// The same, fitted to what errors cost.
    ///
    /// # Errors
    /// Weights that belong to no tensor of the plan.
    pub fn with_importance(self, importance: &'a Importance) -> Result<Job<'a>, Error> {
        importance.check(self.plan)?;
        Ok(Job { importance: Some(importance), ..self })
    }

    /// Size of the whole file.
    pub fn file_bytes(&self) -> u64 {
        self.layout.file_bytes
    }

    /// Size of everything before the first tensor.
    pub fn header_bytes(&self) -> u64 {
        self.layout.header.len() as u64
    }

    /// Bytes that have to be read from the source, each array once (`kv_b_proj` holds two tensors).
    pub fn source_bytes(&self) -> u64 {
        let names: BTreeSet<&str> =
            self.plan.iter().flat_map(|t| t.origin.sources(&t.shape)).map(|(name, _)| name).collect();
        let bytes = |name: &str| match self.source.find(name) {
            Found::Here(stored) => stored.row_bytes().map_or(0, |row| (row * stored.n_rows()) as u64),
            Found::Lost(_) | Found::Absent => 0,
        };
        names.into_iter().map(|name| bytes(name) + bytes(&scale_name(name))).sum()
    }

    /// What each role costs, in the order of [`Role::ALL`], without roles that do not occur.
    pub fn by_role(&self) -> Vec<RoleSize> {
        let mut sizes: BTreeMap<Role, RoleSize> = BTreeMap::new();
        for ((tensor, encoding), placed) in self.plan.iter().zip(self.encodings).zip(&self.layout.tensors) {
            let size = sizes.entry(tensor.role).or_insert_with(|| RoleSize {
                role: tensor.role,
                encodings: BTreeSet::new(),
                n_tensors: 0,
                n_elems: 0,
                bytes: 0,
            });
            size.encodings.insert(*encoding);
            size.n_tensors += 1;
            size.n_elems += tensor.n_elems();
            size.bytes += placed.bytes;
        }
        sizes.into_values().collect()
    }

    /// Writes the file with the threads of the current rayon pool. The bytes do not depend on the kernels' level.
    ///
    /// # Errors
    /// If the source or the disk fails, a weight is not finite or does not fit its type, a norm or a bias is beyond what any program
    /// runs with, or `watch` says stop. The unfinished file is gone then.
    pub fn write(&self, kernels: &Kernels, target: &Target, watch: Watch<'_>) -> Result<(), Error> {
        self.write_to(kernels, self.create(target)?, watch)
    }

    /// Creates the file that [`Job::write_to`] writes, with all the room it needs: who may end the program meanwhile knows by it
    /// what to remove.
    ///
    /// # Errors
    /// As [`PartFile::create`].
    pub fn create(&self, target: &Target) -> Result<PartFile, Error> {
        Ok(PartFile::create(target, self.file_bytes())?)
    }

    /// As [`Job::write`], to a file of [`Job::create`].
    ///
    /// # Errors
    /// As it has.
    pub fn write_to(&self, kernels: &Kernels, output: PartFile, watch: Watch<'_>) -> Result<(), Error> {
        self.check_vectors(kernels)?;
        output.write_at(&self.layout.header, 0)?;
        (watch.progress)(self.header_bytes());
        let slabs = self.slabs(SLAB_VALUES);
        slabs::run(&slabs, watch, |slab, workspace| self.write_slab(kernels, slab, &output, workspace))?;
        Ok(output.finish(|| watch.stopped())?)
    }

    /// Lays the file out on disk with every weight zero, as a hole: a test aid for sizes no disk here holds.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn write_zeros(&self, target: &Target) -> Result<(), Error> {
        let output = PartFile::create_sparse(target, self.file_bytes())?;
        output.write_at(&self.layout.header, 0)?;
        Ok(output.finish(|| false)?)
    }

    /// Norms and biases, a few megabytes, are looked through before hours are spent on the rest.
    fn check_vectors(&self, kernels: &Kernels) -> Result<(), Error> {
        let mut buffers = Buffers::default();
        let mut values = Vec::new();
        for tensor in self.plan.iter().filter(|tensor| tensor.shape.len() == 1) {
            let Origin::Tensor(name) = &tensor.origin else { continue };
            values.resize(tensor.n_cols(), 0.0);
            read_rows(kernels, self.source, name, 0..1, &mut buffers, &mut values)?;
            if let Some(index) = values.iter().position(|value| value.abs() > LARGEST_OF_VECTORS) {
                return Err(Error::OutOfRange { tensor: name.clone(), index, value: values[index] });
            }
        }
        Ok(())
    }

    fn slabs(&self, values: usize) -> Vec<Slab> {
        let mut slabs = Vec::new();
        for (index, tensor) in self.plan.iter().enumerate() {
            // Work may be cut between units, and must be cut at multiples of `part` units.
            let (unit_values, n_units, part) = match &tensor.origin {
                Origin::Tensor(_) => {
                    let rows = n_rows(tensor);
                    (tensor.n_cols(), rows, rows)
                }
                Origin::Stack(names) => (tensor.n_cols(), n_rows(tensor), n_rows(tensor) / names.len()),
                Origin::KvB { n_heads, .. } => (tensor.shape[1..].iter().product(), *n_heads, *n_heads),
            };
            let step = (values / unit_values.max(1)).max(1);
            for start in (0..n_units).step_by(part.max(1)) {
                let end = (start + part).min(n_units);
                slabs.extend((start..end).step_by(step).map(|first| Slab {
                    tensor: index,
                    first,
                    n: step.min(end - first),
                }));
            }
        }
        slabs
    }

    /// Returns the number of bytes written.
    fn write_slab(
        &self,
        kernels: &Kernels,
        slab: &Slab,
        output: &PartFile,
        workspace: &mut Workspace,
    ) -> Result<u64, Error> {
        let tensor = &self.plan[slab.tensor];
        let encoding = self.encodings[slab.tensor];
        let first_row = self.fill(kernels, tensor, slab, workspace)?;
        let Workspace { values, encoded, part, .. } = workspace;
        encoded.clear();
        // Rows of several matrices have several importances.
        for (matrix, values) in matrices(tensor, slab, values) {
            let importance = self.importance.and_then(|importance| importance.of(tensor, matrix));
            encoding.encode_rows(kernels, values, importance, part).map_err(|value| Error::TooLarge {
                tensor: tensor.name.clone(),
                value,
                ty: encoding.name(),
            })?;
            if encoded.is_empty() {
                std::mem::swap(encoded, part);
            } else {
                encoded.extend_from_slice(part);
            }
        }
        let row_bytes = encoding.row_bytes(tensor.n_cols()).expect("the layout has accepted this type");
        output.write_at(encoded, self.layout.tensors[slab.tensor].offset + first_row as u64 * row_bytes)?;
        Ok(encoded.len() as u64)
    }

    /// Puts the slab's values into `workspace.values`; returns the number of the tensor's row that they begin with.
    fn fill(
        &self,
        kernels: &Kernels,
        tensor: &TensorPlan,
        slab: &Slab,
        workspace: &mut Workspace,
    ) -> Result<usize, Error> {
        let read = |name: &str, rows, buffers: &mut Buffers, out: &mut [f32]| {
            read_rows(kernels, self.source, name, rows, buffers, out)
        };
        let Workspace { buffers, values, head, .. } = workspace;
        let rows = slab.first..slab.first + slab.n;
        match &tensor.origin {
            Origin::Tensor(name) => {
                values.resize(slab.n * tensor.n_cols(), 0.0);
                read(name, rows, buffers, values)?;
                Ok(slab.first)
            }
            Origin::Stack(names) => {
                let per_expert = n_rows(tensor) / names.len();
                let (expert, first) = (slab.first / per_expert, slab.first % per_expert);
                values.resize(slab.n * tensor.n_cols(), 0.0);
                read(&names[expert], first..first + slab.n, buffers, values)?;
                Ok(slab.first)
            }
            Origin::KvB { name, half, qk_nope_head_dim, v_head_dim, .. } => {
                let (n, m) = (tensor.shape[1], tensor.shape[2]);
                let (skip, take) = match half {
                    KvHalf::K => (0, *qk_nope_head_dim),
                    KvHalf::V => (*qk_nope_head_dim, *v_head_dim),
                };
                values.resize(slab.n * n * m, 0.0);
                for (index, out) in rows.zip(values.chunks_mut(n * m)) {
                    let start = index * (qk_nope_head_dim + v_head_dim) + skip;
                    match half {
                        KvHalf::V => read(name, start..start + take, buffers, out)?,
                        KvHalf::K => {
                            head.resize(n * m, 0.0);
                            read(name, start..start + take, buffers, head)?;
                            transpose(head, n, out);
                        }
                    }
                }
                Ok(slab.first * n)
            }
        }
    }
}

fn n_rows(tensor: &TensorPlan) -> usize {
    tensor.shape.iter().rev().skip(1).product()
}

/// A slab's values by the matrix that they belong to: an expert, a head, or all there is.
fn matrices<'v>(
    tensor: &TensorPlan,
    slab: &Slab,
    values: &'v [f32],
) -> impl Iterator<Item = (usize, &'v [f32])> {
    let (first, n) = match &tensor.origin {
        Origin::Tensor(_) => (0, values.len()),
        // No slab has rows of two experts.
        Origin::Stack(names) => (slab.first / (n_rows(tensor) / names.len()), values.len()),
        Origin::KvB { .. } => (slab.first, values.len() / slab.n),
    };
    values.chunks(n.max(1)).enumerate().map(move |(index, values)| (first + index, values))
}

/// `out[col][row] = matrix[row][col]`, for a matrix of `n_cols` columns.
fn transpose(matrix: &[f32], n_cols: usize, out: &mut [f32]) {
    let n_rows = matrix.len() / n_cols;
    for (row, values) in matrix.chunks(n_cols).enumerate() {
        for (col, value) in values.iter().enumerate() {
            out[col * n_rows + row] = *value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stored;
    use crate::synth::Synthetic;
    use fathom_files::output::WriteError;
    use fathom_files::writing::{Disk, Fault, Faults};
    use std::sync::atomic::AtomicBool;

    #[test]
    fn transposing_swaps_rows_and_columns() {
        let mut out = [0.0; 6];
        transpose(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 3, &mut out);
        assert_eq!(out, [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    }

    /// Every matrix is fitted to its own weights, however the work is cut.
    #[test]
    fn importance_reaches_each_expert_and_each_head() {
        let (n_rows, n_cols) = (3, 256);
        let origin = Origin::Stack(["e0", "e1"].map(str::to_owned).into());
        let experts = TensorPlan { origin, ..stored("experts", Role::RoutedDown, &[2, n_rows, n_cols]) };
        let plan = [experts, stored("q", Role::Attention, &[n_rows, n_cols])];
        let model = Synthetic::new(&plan, 3);
        let encodings = [Encoding::Q2K; 2];
        let bytes = |importance: Option<&Importance>| {
            let job = Job::new(&model, "made up", &plan, &encodings, Vec::new()).unwrap();
            let job = match importance {
                Some(importance) => job.with_importance(importance).unwrap(),
                None => job,
            };
            let temp = tempfile::tempdir().unwrap();
            let path = temp.path().join("a.gguf");
            let watch = Watch { stop: &AtomicBool::new(false), progress: &|_| {} };
            job.write(Kernels::best(), &Target::new(path.clone()), watch).unwrap();
            let file = std::fs::read(path).unwrap();
            let at = |tensor: usize| job.layout.tensors[tensor];
            [0, 1].map(|tensor| file[at(tensor).offset as usize..][..at(tensor).bytes as usize].to_vec())
        };
        let weights = |seed: u64| {
            let mut random = fastrand::Rng::with_seed(seed);
            (0..n_cols).map(|_| random.f32()).collect::<Vec<_>>()
        };
        let mut importance = Importance::default();
        importance.insert("experts".to_owned(), [weights(1), weights(2)].concat());
        let [experts, q] = bytes(Some(&importance));
        let [plain_experts, plain_q] = bytes(None);
        assert_eq!(q, plain_q, "nothing is known of it");
        let mut values = vec![0.0; n_rows * n_cols];
        for (expert, found) in experts.chunks(experts.len() / 2).enumerate() {
            let name = format!("e{expert}");
            read_rows(Kernels::best(), &model, &name, 0..n_rows, &mut Buffers::default(), &mut values)
                .unwrap();
            let mut expected = Vec::new();
            let weights = weights(1 + expert as u64);
            Encoding::Q2K.encode_rows(Kernels::best(), &values, Some(&weights), &mut expected).unwrap();
            assert!(
                found == expected && found != &plain_experts[expert * expected.len()..][..expected.len()]
            );
        }
    }

    #[test]
    fn importance_of_something_else_is_refused() {
        let plan = [stored("q", Role::Attention, &[2, 256])];
        let told = |name: &str, weights: Vec<f32>| {
            let mut importance = Importance::default();
            importance.insert(name.to_owned(), weights);
            importance.check(&plan).unwrap_err().to_string()
        };
        assert!(told("k", vec![1.0; 256]).contains("k: no tensor has this name"));
        assert!(told("q", vec![1.0; 512]).contains("q: expected 256 weights, found 512"));
        let mut weights = vec![1.0; 256];
        weights[7] = -1.0;
        assert!(told("q", weights).contains("found -1 at index 7"));
    }

    #[test]
    fn whichever_step_fails_no_file_is_left() {
        let plan = [stored("embed", Role::Attention, &[40, 32]), stored("q", Role::Attention, &[30, 32])];
        let model = Synthetic::new(&plan, 3);
        let encodings = [Encoding::Q8_0, Encoding::F32];
        let job = Job::new(&model, "made up", &plan, &encodings, Vec::new()).unwrap();
        let watch = Watch { stop: &AtomicBool::new(false), progress: &|_| {} };
        for fault in [Fault::Full, Fault::Damaged, Fault::Short] {
            for at in 0.. {
                let temp = crate::quick_folder();
                let path = temp.path().join("a.gguf");
                let faults = Faults::at(at, fault);
                let target = Target { disk: Disk::failing(faults), ..Target::new(path.clone()) };
                let done = job.write(Kernels::best(), &target, watch);
                let n_left = std::fs::read_dir(temp.path()).unwrap().count();
                let case = format!("step {at}, {fault:?}: {done:?}");
                match done {
                    Ok(()) => {
                        assert!(!faults.happened() && at > 4, "{case}");
                        break;
                    }
                    // The work is done, and the file is there.
                    Err(Error::Output(WriteError::NotRenamed { .. } | WriteError::NotDurable { .. })) => {
                        assert_eq!(n_left, 1, "{case}");
                    }
                    Err(error) => {
                        assert!(error.to_string().contains("a.gguf"), "{case}");
                        assert_eq!(n_left, 0, "{case}");
                    }
                }
            }
        }
    }
}
