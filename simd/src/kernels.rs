//! The kernel tables: one static table per level, made by one macro from the list of ops and the list of formats.
//!
//! Each entry is an op monomorphised for the level inside a `#[target_feature]` function. A `&'static Kernels` is
//! only handed out on a machine that has the level's instructions, so holding one is the proof that every entry may
//! be called; that is the whole safety argument of this file.

use crate::fit::{Lanes, Lines, NearestLine, NearestScale, Range, Residuals, Totals};
use crate::format::{BlockFormat, Format, per_format};
use crate::level::{Level, LevelError};
use crate::op;
use crate::view::{Acts, Attend, IndexScores, Pick, Q8IndexScores, Q8Keys, Q8Row, Rows};

/// Names every op twice, with its arguments and its generic function, and hands the list to another macro: ops that
/// read a format (`F`), and the others. An op has kernels on every level as soon as it stands here.
macro_rules! with_ops {
    ($then:ident! { $($head:tt)* }) => {
        $then! { $($head)*
            formats {
                product(w: Rows<'_>, x: Acts<'_>, pick: Pick<'_>, out: &mut [f32]) = F::product;
                encode_row(x: &[f32], out: &mut [u8]) = F::encode_row;
                decode_row(row: &[u8], out: &mut [f32]) = F::decode_row;
                index_scores(s: IndexScores<'_>, out: &mut [f32]) = F::index_scores;
                attend(a: Attend<'_>, segment: usize, scratch: &mut [f32], part: &mut [f32]) = F::attend;
            }
            ops {
                encode_q8(x: &[f32], values: &mut [i8], scales: &mut [f32], sums: &mut [[i16; 2]]) = op::encode_q8;
                rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) = op::rms_norm;
                layer_norm(x: &[f32], affine: (&[f32], &[f32]), eps: f32, out: &mut [f32]) = op::layer_norm;
                softmax(x: &mut [f32]) = op::softmax;
                sigmoid(x: &mut [f32]) = op::sigmoid;
                swiglu(gate: &[f32], up: &[f32], out: &mut [f32]) = op::swiglu;
                add(x: &mut [f32], y: &[f32]) = op::add;
                axpy(a: f32, x: &[f32], y: &mut [f32]) = op::axpy;
                rope_pairs(x: &mut [f32], cos: &[f32], sin: &[f32]) = op::rope_pairs;
                rope_halves(x: &mut [f32], cos: &[f32], sin: &[f32]) = op::rope_halves;
                hadamard(x: &mut [f32]) = op::hadamard;
                index_query(x: &[f32], values: &mut [i8], row: &mut Q8Row) = op::index_query;
                store_index_key(x: &[f32], lane: usize, block: &mut [u8]) = op::store_index_key;
                index_scores_q8(s: Q8IndexScores<'_>, out: &mut [f32]) = op::index_scores_q8;
                attend_fold(v_dim: usize, part: &[f32], total: &mut [f32]) = op::attend_fold;
                attend_end(v_dim: usize, total: &[f32], out: &mut [f32]) = op::attend_end;
                int_peak(rounds: usize, out: &mut [i32; 16]) = op::int_peak;
                decode_e4m3(codes: &[u8], scale: f32, out: &mut [f32]) = op::decode_e4m3;
                to_lanes(values: &[f32], out: &mut [[f32; 16]]) = op::to_lanes;
                fit_totals(v: Lanes<'_>, out: &mut Totals) = op::fit_totals;
                fit_scale(v: Lanes<'_>, range: Range, reaches: &[f32], out: &mut [f32; 16]) = op::fit_scale;
                fit_line(v: Lanes<'_>, form: (f32, bool), reaches: &[f32], out: &mut Lines) = op::fit_line;
                fit_error(v: Lanes<'_>, lines: &Lines, range: Range, out: &mut Residuals) = op::fit_error;
                fit_quants(v: Lanes<'_>, lines: &Lines, range: Range, out: &mut [i8]) = op::fit_quants;
                nearest_scale(
                    v: Lanes<'_>, near: NearestScale<'_>, scale: &mut [f32; 16], out: &mut Residuals
                ) = op::nearest_scale;
                nearest_line(
                    v: Lanes<'_>, near: NearestLine<'_>, pairs: &mut Lines, out: &mut Residuals
                ) = op::nearest_line;
            }
        }
    };
}

macro_rules! define_tables {
    (
        formats { $($f_op:ident($($f_arg:ident: $f_type:ty),*) = $f_call:expr;)* }
        ops { $($op:ident($($arg:ident: $type:ty),*) = $call:expr;)* }
    ) => {
        /// The kernels of one format on one level. A pointer may be called where the level's instructions exist.
        struct FormatKernels {
            format: Format,
            $($f_op: unsafe fn($($f_type),*),)*
        }

        /// The kernels of one level.
        struct Table {
            formats: [FormatKernels; Format::ALL.len()],
            $($op: unsafe fn($($type),*),)*
        }

        /// Names of the ops that read a format, and of those that do not.
        const FORMAT_OPS: [&str; [$(stringify!($f_op)),*].len()] = [$(stringify!($f_op)),*];
        const OPS: &[&str] = &[$(stringify!($op)),*];
    };
}
with_ops!(define_tables! {});

/// The ops that formats of weights only have; their other entries panic.
const WEIGHTS_OPS: [&str; 2] = ["product", "decode_row"];

/// The table of one level: `level! { Name module, isa value, [attribute of every entry], detection }`.
macro_rules! level {
    (
        { $level:ident $module:ident, $isa:expr, $attribute:tt, $detected:expr }
        formats { $($f_op:ident($($f_arg:ident: $f_type:ty),*) = $f_call:expr;)* }
        ops { $($op:ident($($arg:ident: $type:ty),*) = $call:expr;)* }
    ) => {
        mod $module {
            use super::*;

            $(
                #$attribute
                fn $f_op<F: BlockFormat>($($f_arg: $f_type),*) {
                    $f_call($isa, $($f_arg),*);
                }
            )*

            $(
                #$attribute
                fn $op($($arg: $type),*) {
                    $call($isa, $($arg),*);
                }
            )*

            const fn format<F: BlockFormat>() -> FormatKernels {
                FormatKernels { format: F::FORMAT, $($f_op: $f_op::<F>,)* }
            }

            static KERNELS: Kernels = Kernels {
                level: Level::$level,
                table: Table { formats: per_format!(format), $($op,)* },
            };

            /// The table, if this machine has the instructions.
            pub(super) fn kernels() -> Option<&'static Kernels> {
                $detected.then_some(&KERNELS)
            }
        }
    };
}

/// A level of a kind of machine: the features stand once as the attribute wants them and once as the detection does, and
/// the build fails if the two differ.
#[cfg(all(any(target_arch = "aarch64", target_arch = "x86_64"), not(test)))]
macro_rules! machine_level {
    ($machine:ident $detected:ident $level:ident $module:ident, $features:tt, [$($feature:tt),*]) => {
        const _: () = assert!(same($features, concat!("" $(, $feature, ",")*)), "two feature lists of one level");
        with_ops!(level! { {
            $level $module, crate::isa::$machine::$level::here(), [target_feature(enable = $features)],
            ($(std::arch::$detected!($feature))&&*)
        } });
    };
}

/// Whether the first list with a comma behind it is the second.
#[cfg(all(any(target_arch = "aarch64", target_arch = "x86_64"), not(test)))]
const fn same(list: &str, with_comma: &str) -> bool {
    let (list, with_comma) = (list.as_bytes(), with_comma.as_bytes());
    let mut at = 0;
    while at < list.len() && at < with_comma.len() && list[at] == with_comma[at] {
        at += 1;
    }
    at == list.len() && at + 1 == with_comma.len() && with_comma[at] == b','
}

with_ops!(level! { { Scalar scalar, crate::isa::Scalar, [inline(never)], true } });
#[cfg(all(target_arch = "aarch64", not(test)))]
machine_level!(arm is_aarch64_feature_detected Neon neon, "neon,dotprod", ["neon", "dotprod"]);
#[cfg(all(target_arch = "aarch64", not(test)))]
machine_level!(
    arm is_aarch64_feature_detected NeonI8mm neon_i8mm,
    "neon,dotprod,i8mm",
    ["neon", "dotprod", "i8mm"]
);
#[cfg(all(target_arch = "x86_64", not(test)))]
machine_level!(x86 is_x86_feature_detected Avx2 avx2, "avx2,fma,f16c", ["avx2", "fma", "f16c"]);
#[cfg(all(target_arch = "x86_64", not(test)))]
machine_level!(
    x86 is_x86_feature_detected AvxVnni avxvnni,
    "avx2,fma,f16c,avxvnni",
    ["avx2", "fma", "f16c", "avxvnni"]
);
#[cfg(all(target_arch = "x86_64", not(test)))]
machine_level!(
    x86 is_x86_feature_detected Avx512 avx512,
    "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vbmi",
    ["avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512vnni", "avx512vbmi"]
);

/// One instruction-set level's kernels. Every method checks its lengths once, with a panic that names the numbers (a
/// length that disagrees is the caller's bug), and then makes one indirect call.
///
/// On one level a value depends on its own inputs alone: not on how many rows, tokens, heads or keys one call
/// covers, nor on how a caller splits them over threads. Today all levels even agree bit for bit (NaN payloads
/// apart, and subnormal numbers in attention over BF16 rows); the promise across levels is only the bounds in the
/// ops' files.
pub struct Kernels {
    level: Level,
    table: Table,
}

impl std::fmt::Debug for Kernels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Kernels({})", self.level)
    }
}

/// Which kernels there are.
impl Kernels {
    /// The kernels of a level; `None` when this machine or this build lacks it.
    pub fn at(level: Level) -> Option<&'static Self> {
        match level {
            Level::Scalar => scalar::kernels(),
            #[cfg(all(target_arch = "aarch64", not(test)))]
            Level::Neon => neon::kernels(),
            #[cfg(all(target_arch = "aarch64", not(test)))]
            Level::NeonI8mm => neon_i8mm::kernels(),
            #[cfg(all(target_arch = "x86_64", not(test)))]
            Level::Avx2 => avx2::kernels(),
            #[cfg(all(target_arch = "x86_64", not(test)))]
            Level::AvxVnni => avxvnni::kernels(),
            #[cfg(all(target_arch = "x86_64", not(test)))]
            Level::Avx512 => avx512::kernels(),
            _ => None,
        }
    }

    /// Every level that can be used here, lowest first.
    pub fn available() -> impl Iterator<Item = &'static Self> {
        Level::ALL.into_iter().filter_map(Self::at)
    }

    /// The highest level that can be used here.
    pub fn best() -> &'static Self {
        Self::capped(Level::Avx512)
    }

    /// The highest level that can be used here and is not above the cap (see [`Level`] for the order).
    pub fn capped(cap: Level) -> &'static Self {
        let allowed = Level::ALL.into_iter().rev().filter(|&level| level <= cap);
        allowed.filter_map(Self::at).next().expect("the scalar level is on every machine and below every cap")
    }

    /// The highest level that can be used here, capped by the environment variable `FATHOM_SIMD` if it is set and
    /// not empty. It never raises the level.
    pub fn from_env() -> Result<&'static Self, LevelError> {
        Self::capped_by_word(&std::env::var_os("FATHOM_SIMD").unwrap_or_default().to_string_lossy())
    }

    fn capped_by_word(word: &str) -> Result<&'static Self, LevelError> {
        if word.is_empty() { Ok(Self::best()) } else { Ok(Self::capped(word.parse()?)) }
    }

    /// The level of these kernels.
    pub fn level(&self) -> Level {
        self.level
    }

    /// `{op}-{format}-{level}`, or `{op}-{level}` for an op that reads no format, for every kernel of the table.
    pub fn ids(&self) -> impl Iterator<Item = String> {
        let pairs = self.table.formats.iter().flat_map(|kernels| FORMAT_OPS.map(|op| (op, kernels.format)));
        let there = |(op, format): &(&str, Format)| !format.weights_only() || WEIGHTS_OPS.contains(op);
        let per_format = pairs.filter(there).map(|(op, format)| format!("{op}-{}", format.name()));
        let plain = OPS.iter().map(|op| (*op).to_owned());
        per_format.chain(plain).map(|id| format!("{id}-{}", self.level))
    }

    fn format(&self, format: Format) -> &FormatKernels {
        let kernels = &self.table.formats[format as usize];
        debug_assert_eq!(kernels.format, format);
        kernels
    }
}

/// Calls an entry of the table.
macro_rules! call {
    ($entry:expr, $($arg:expr),*) => {
        // SAFETY: the entry needs the instructions of its level and nothing else. `Kernels` cannot be made outside
        // this file, and `at` hands out a level's table only after that level's detection has said yes.
        unsafe { ($entry)($($arg),*) }
    };
}

/// Products.
impl Kernels {
    /// `out[t * w.n_rows + r] = sum_k w[r][k] * x[t'][k]`, t' the t-th token of the pick.
    ///
    /// F32, F16 and BF16 weights take [`Acts::F32`], all others [`Acts::Q8`] ([`Format::acts`]). A value does not
    /// depend on the other rows and tokens of the call. Definitions and bounds: `op/float.rs`, `op/q8.rs`,
    /// `op/blocks.rs`.
    pub fn product(&self, w: Rows<'_>, x: Acts<'_>, pick: Pick<'_>, out: &mut [f32]) {
        w.check();
        let n_tokens = pick.len();
        assert_eq!(out.len(), n_tokens * w.n_rows, "outputs of {n_tokens} tokens and {} rows", w.n_rows);
        let Some(last) = pick.max() else { return };
        if w.n_rows == 0 {
            return;
        }
        assert_eq!(x.kind(), w.format.acts(), "activations for {} weights", w.format.name());
        x.check(last, w.n_cols);
        call!(self.format(w.format).product, w, x, pick, out);
    }

    /// `scores[j] = sum_h weights[h] * max(q[h] . keys[j], 0)`, heads in ascending order. A key's score does not
    /// depend on the other keys of the call. Definition and bound: `op/index_scores.rs`.
    pub fn index_scores(&self, s: IndexScores<'_>, out: &mut [f32]) {
        s.keys.check();
        assert_eq!(out.len(), s.keys.n_rows, "scores of {} keys", s.keys.n_rows);
        let expected = s.weights.len() * s.keys.n_cols;
        assert_eq!(s.q.len(), expected, "queries of {} heads by {}", s.weights.len(), s.keys.n_cols);
        call!(self.format(s.keys.format).index_scores, s, out);
    }

    /// `scores[j] = scale[j] * sum_h weights[h] * max(q[h] . keys[j], 0)`, keys and queries of 8 bits, heads in ascending
    /// order. A key's score does not depend on the other keys of the call. Definition and bound: `op/index_q8.rs`.
    pub fn index_scores_q8(&self, s: Q8IndexScores<'_>, out: &mut [f32]) {
        s.keys.check();
        assert_eq!(out.len(), s.keys.n_keys, "scores of {} keys", s.keys.n_keys);
        let (n_heads, dim) = (s.weights.len(), s.keys.dim.next_multiple_of(4));
        assert_eq!(s.q.len(), n_heads * dim, "queries of {n_heads} heads by {dim}");
        assert_eq!(s.sums.len(), n_heads, "sums of {n_heads} queries");
        call!(self.table.index_scores_q8, s, out);
    }

    /// One query token's heads over the picked rows: `out[h] = sum_j p_j * row_j[..v_dim]` with
    /// `p = softmax(scale * q[h] . row_j)`. `out`: [n_heads, v_dim]; `scratch`: at least
    /// [`Attend::scratch_len`] floats, whatever their contents. A head's value does not depend on the other heads of
    /// the call. Panics if nothing is picked. Definition and bound: `op/attend/mod.rs`.
    pub fn attend(&self, a: Attend<'_>, scratch: &mut [f32], out: &mut [f32]) {
        let n_heads = a.check();
        assert_eq!(out.len(), n_heads * a.v_dim, "outputs of {n_heads} heads by {}", a.v_dim);
        let (needed, parts) =
            (Attend::scratch_len(n_heads, a.rows.n_cols), n_heads * Attend::part_len(a.v_dim));
        assert!(scratch.len() >= needed, "scratch of {}, {needed} needed", scratch.len());
        let skip = op::to_line(scratch);
        let (total, scratch) = scratch[skip..].split_at_mut(parts);
        let (part, scratch) = scratch.split_at_mut(parts);
        self.attend_segment(a, 0, scratch, total);
        for segment in 1..a.n_segments() {
            self.attend_segment(a, segment, scratch, part);
            self.attend_fold(a.v_dim, part, total);
        }
        self.attend_end(a.v_dim, total, out);
    }

    /// [`Self::attend`] of one of the [`Attend::n_segments`]: what all heads have of it, [n_heads, [`Attend::part_len`]].
    /// Starting from the first segment's, [`Self::attend_fold`] adds the others' in order, for any heads at a time, and
    /// [`Self::attend_end`] gives the values; they have the bits of `attend`. `scratch`: at least
    /// [`Attend::segment_scratch_len`] floats.
    pub fn attend_segment(&self, a: Attend<'_>, segment: usize, scratch: &mut [f32], part: &mut [f32]) {
        let n_heads = a.check();
        assert!(segment < a.n_segments(), "segment {segment} of {}", a.n_segments());
        assert_eq!(
            part.len(),
            n_heads * Attend::part_len(a.v_dim),
            "parts of {n_heads} heads by {}",
            a.v_dim
        );
        let needed = Attend::segment_scratch_len(n_heads, a.rows.n_cols);
        assert!(scratch.len() >= needed, "scratch of {}, {needed} needed", scratch.len());
        call!(self.format(a.rows.format).attend, a, segment, scratch, part);
    }

    /// Adds what some heads have of the next segment, [n_heads, part_len], to what they have of those before.
    pub fn attend_fold(&self, v_dim: usize, part: &[f32], total: &mut [f32]) {
        assert_eq!(part.len(), total.len(), "parts of as many heads");
        assert!(
            part.len().is_multiple_of(Attend::part_len(v_dim)),
            "{} floats of parts by {v_dim}",
            part.len()
        );
        call!(self.table.attend_fold, v_dim, part, total);
    }

    /// The values of some heads, [n_heads, v_dim], when all segments are in `total`, [n_heads, part_len].
    pub fn attend_end(&self, v_dim: usize, total: &[f32], out: &mut [f32]) {
        assert!(
            total.len().is_multiple_of(Attend::part_len(v_dim)),
            "{} floats of parts by {v_dim}",
            total.len()
        );
        let n_heads = total.len() / Attend::part_len(v_dim);
        assert_eq!(out.len(), n_heads * v_dim, "outputs of {n_heads} heads by {v_dim}");
        call!(self.table.attend_end, v_dim, total, out);
    }
}

/// Conversions.
impl Kernels {
    /// Activations to 8-bit blocks of 32: `scale = amax / 127`, quants rounded to nearest even, never -128, and the
    /// sums of the two halves of each block's quants. A value is off by at most amax / 254 (and roundings; see
    /// `op/q8.rs`). A block whose amax is below 2^-120 becomes zero; one with an infinity or NaN gets scale NaN. The
    /// length is a multiple of 32.
    pub fn encode_q8(&self, x: &[f32], values: &mut [i8], scales: &mut [f32], sums: &mut [[i16; 2]]) {
        assert!(x.len().is_multiple_of(32), "{} activations are no multiple of 32", x.len());
        assert_eq!(values.len(), x.len(), "quants of as many activations");
        assert_eq!(scales.len(), x.len() / 32, "scales of {} activations", x.len());
        assert_eq!(sums.len(), x.len() / 32, "sums of {} activations", x.len());
        call!(self.table.encode_q8, x, values, scales, sums);
    }

    /// One row of floats to a format's bytes; not for formats of weights only ([`Format::weights_only`]). F16 and BF16 round to nearest even (too large becomes infinity, NaN
    /// stays NaN); Q8_0 rounds as ggml's reference encoder does and gives the same bytes.
    pub fn encode_row(&self, format: Format, x: &[f32], out: &mut [u8]) {
        assert_eq!(out.len(), format.row_bytes(x.len()), "{} bytes of {} values", format.name(), x.len());
        call!(self.format(format).encode_row, x, out);
    }

    /// [`Self::encode_row`] for rows of a cache: F32, F16, BF16 or Q8_0, what [`Self::attend`] reads.
    pub fn encode_cache(&self, format: Format, x: &[f32], out: &mut [u8]) {
        assert!(!format.weights_only(), "a cache of {}", format.name());
        self.encode_row(format, x, out);
    }

    /// An index query of 8 bits for [`Self::index_scores_q8`]: -127..=127 with one scale, zeros behind the last value up to a
    /// multiple of four. A value is off by at most amax / 254 (and roundings; see `op/index_q8.rs`).
    pub fn index_query(&self, x: &[f32], values: &mut [i8]) -> Q8Row {
        assert_eq!(values.len(), x.len().next_multiple_of(4), "integers of {} values", x.len());
        let mut row = Q8Row::default();
        call!(self.table.index_query, x, values, &mut row);
        row
    }

    /// Writes an index key into lane `lane` of a block of [`Q8Keys`], rounded in the same way.
    pub fn store_index_key(&self, x: &[f32], lane: usize, block: &mut [u8]) {
        assert!(lane < Q8Keys::PER_BLOCK, "lane {lane} of a block");
        assert_eq!(block.len(), Q8Keys::block_bytes(x.len()), "a block of keys of {}", x.len());
        call!(self.table.store_index_key, x, lane, block);
    }

    /// FP8 codes ([`crate::fp8_e4m3`]) of one scale block to floats: each value times `scale`, rounded once.
    pub fn decode_e4m3(&self, codes: &[u8], scale: f32, out: &mut [f32]) {
        assert_eq!(out.len(), codes.len(), "values of as many codes");
        call!(self.table.decode_e4m3, codes, scale, out);
    }

    /// One row of a format's bytes to floats: [`Format::decode`], faster.
    pub fn decode_row(&self, format: Format, row: &[u8], out: &mut [f32]) {
        assert_eq!(row.len(), format.row_bytes(out.len()), "{} bytes of {} values", format.name(), out.len());
        call!(self.format(format).decode_row, row, out);
    }
}

/// The encoders' searches, 16 sub-blocks at a time; the same bits on every level. Definitions: `op/fit.rs`.
impl Kernels {
    /// Turns 16 sub-blocks of `out.len()` values round: `out[k][sub] = values[sub * out.len() + k]`.
    pub fn to_lanes(&self, values: &[f32], out: &mut [[f32; 16]]) {
        assert!(out.len().is_multiple_of(16), "{} vectors are no multiple of 16", out.len());
        assert_eq!(values.len(), 16 * out.len(), "values of 16 sub-blocks of {}", out.len());
        call!(self.table.to_lanes, values, out);
    }

    /// Sums that do not depend on any integers.
    pub fn fit_totals(&self, v: Lanes<'_>, out: &mut Totals) {
        v.check();
        call!(self.table.fit_totals, v, out);
    }

    /// The scale with which integers of the range come nearest to each sub-block. It may be negative. `reaches` are
    /// the integers, perhaps fractions, that the value of largest magnitude is tried at.
    pub fn fit_scale(&self, v: Lanes<'_>, range: Range, reaches: &[f32], out: &mut [f32; 16]) {
        v.check();
        call!(self.table.fit_scale, v, range, reaches, out);
    }

    /// The scale, not negative, and the offset with which integers in `0..=top` come nearest to each sub-block; no
    /// offset is positive if `pinned`. `reaches` are the integers that the span of the values is tried at.
    pub fn fit_line(&self, v: Lanes<'_>, top: f32, pinned: bool, reaches: &[f32], out: &mut Lines) {
        v.check();
        call!(self.table.fit_line, v, (top, pinned), reaches, out);
    }

    /// What lines miss with the nearest integers of the range.
    pub fn fit_error(&self, v: Lanes<'_>, lines: &Lines, range: Range, out: &mut Residuals) {
        v.check();
        call!(self.table.fit_error, v, lines, range, out);
    }

    /// Those integers, in the order in which the values were before [`Self::to_lanes`].
    pub fn fit_quants(&self, v: Lanes<'_>, lines: &Lines, range: Range, out: &mut [i8]) {
        v.check();
        assert_eq!(out.len(), 16 * v.x.len(), "quants of 16 sub-blocks of {}", v.x.len());
        call!(self.table.fit_quants, v, lines, range, out);
    }

    /// For each sub-block the integer `scale`, next to `ideal / unit`, with which `unit * scale` misses least.
    pub fn nearest_scale(
        &self,
        v: Lanes<'_>,
        near: NearestScale<'_>,
        scale: &mut [f32; 16],
        out: &mut Residuals,
    ) {
        v.check();
        call!(self.table.nearest_scale, v, near, scale, out);
    }

    /// For each sub-block the integers, next to the ideal line, with which `unit.scale * scale * l - unit.offset *
    /// offset` misses least; `pairs.offset` is a minimum, to be subtracted.
    pub fn nearest_line(&self, v: Lanes<'_>, near: NearestLine<'_>, pairs: &mut Lines, out: &mut Residuals) {
        v.check();
        call!(self.table.nearest_line, v, near, pairs, out);
    }
}

/// Vectors.
impl Kernels {
    /// out = weight * (x / sqrt(mean(x^2) + eps)).
    pub fn rms_norm(&self, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
        assert_eq!(
            (weight.len(), out.len()),
            (x.len(), x.len()),
            "weights and outputs of {} values",
            x.len()
        );
        call!(self.table.rms_norm, x, weight, eps, out);
    }

    /// out = (x - mean) / sqrt(variance + eps) * weight + bias.
    pub fn layer_norm(&self, x: &[f32], weight: &[f32], bias: &[f32], eps: f32, out: &mut [f32]) {
        let lens = [weight.len(), bias.len(), out.len()];
        assert_eq!(lens, [x.len(); 3], "weights, biases and outputs of {} values", x.len());
        call!(self.table.layer_norm, x, (weight, bias), eps, out);
    }

    /// x = e^(x - max) / sum. -inf becomes 0; a NaN, or nothing but -inf, makes everything NaN.
    pub fn softmax(&self, x: &mut [f32]) {
        call!(self.table.softmax, x);
    }

    /// x = 1 / (1 + e^-x).
    pub fn sigmoid(&self, x: &mut [f32]) {
        call!(self.table.sigmoid, x);
    }

    /// out = silu(gate) * up, silu(g) = g / (1 + e^-g).
    pub fn swiglu(&self, gate: &[f32], up: &[f32], out: &mut [f32]) {
        assert_eq!((up.len(), out.len()), (gate.len(), gate.len()), "{} gates", gate.len());
        call!(self.table.swiglu, gate, up, out);
    }

    /// x += y.
    pub fn add(&self, x: &mut [f32], y: &[f32]) {
        assert_eq!(x.len(), y.len(), "lengths of two summands");
        call!(self.table.add, x, y);
    }

    /// y += a * x, rounded once.
    pub fn axpy(&self, a: f32, x: &[f32], y: &mut [f32]) {
        assert_eq!(x.len(), y.len(), "lengths of x and y");
        call!(self.table.axpy, a, x, y);
    }

    /// Rotates the pairs `(x[2i], x[2i + 1])` by the angle whose cosine is `cos[i]`.
    pub fn rope_pairs(&self, x: &mut [f32], cos: &[f32], sin: &[f32]) {
        assert_eq!((2 * cos.len(), 2 * sin.len()), (x.len(), x.len()), "angles for {} values", x.len());
        call!(self.table.rope_pairs, x, cos, sin);
    }

    /// Rotates the pairs `(x[i], x[i + n/2])` by the angle whose cosine is `cos[i]`.
    pub fn rope_halves(&self, x: &mut [f32], cos: &[f32], sin: &[f32]) {
        assert_eq!((2 * cos.len(), 2 * sin.len()), (x.len(), x.len()), "angles for {} values", x.len());
        call!(self.table.rope_halves, x, cos, sin);
    }

    /// The Walsh-Hadamard transform in Sylvester's order times n^-1/2, on each block of n values, n the largest
    /// power of two that divides the length.
    pub fn hadamard(&self, x: &mut [f32]) {
        call!(self.table.hadamard, x);
    }
}

/// What kernels are measured by.
impl Kernels {
    /// Multiplications, each with its addition, in one round of [`Self::int_peak`].
    pub const INT_PEAK_MACS_PER_ROUND: usize = op::MACS_PER_ROUND;

    /// `rounds` rounds of 8-bit products between registers, as fast as this level can multiply; their sums, for
    /// nothing but to be used.
    pub fn int_peak(&self, rounds: usize, out: &mut [i32; 16]) {
        call!(self.table.int_peak, rounds, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_caps_and_an_unknown_one_is_an_error_that_lists_the_words() {
        let level = |word| Kernels::capped_by_word(word).map(Kernels::level);
        assert_eq!(level(""), Ok(Kernels::best().level()));
        assert_eq!(level("avx512"), Ok(Kernels::best().level()));
        assert_eq!(level("Scalar"), Ok(Level::Scalar));
        assert_eq!(level("avx2"), Ok(Kernels::capped(Level::Avx2).level()));
        let error = level("sse42").unwrap_err().to_string();
        for level in Level::ALL {
            assert!(error.contains(level.name()), "{error}");
        }
        assert!(error.contains("\"sse42\""), "{error}");
    }
}
