//! F32: 32-bit IEEE floats, little-endian. Norm weights, router gates and biases come like this.

use super::table::{ActKind, BlockFormat, Format};
use crate::isa::Isa;
use crate::op::float::{self, FloatFormat};
use crate::view::{Acts, Pick, Rows};

pub(crate) struct F32;

impl BlockFormat for F32 {
    const FORMAT: Format = Format::F32;
    const NAME: &'static str = "f32";
    const LEN: usize = 1;
    const BYTES: usize = 4;
    const ACTS: ActKind = ActKind::F32;

    fn decode(bytes: &[u8], out: &mut [f32]) {
        for (value, out) in bytes.as_chunks().0.iter().zip(out) {
            *out = f32::from_le_bytes(*value);
        }
    }

    #[inline(always)]
    fn decode_row<I: Isa>(isa: I, row: &[u8], out: &mut [f32]) {
        float::decode_row::<Self, I>(isa, row, out);
    }

    #[inline(always)]
    fn encode_row<I: Isa>(isa: I, x: &[f32], out: &mut [u8]) {
        float::encode_row::<Self, I>(isa, x, out);
    }

    #[inline(always)]
    fn product<I: Isa>(isa: I, w: Rows<'_>, x: Acts<'_>, pick: Pick<'_>, out: &mut [f32]) {
        float::product::<Self, I>(isa, w, x, pick, out);
    }
}

impl FloatFormat for F32 {
    type Chunk = [u8; 64];

    #[inline(always)]
    fn load<I: Isa>(isa: I, chunk: &[u8; 64]) -> I::F32 {
        isa.load_bytes(chunk)
    }

    #[inline(always)]
    fn store<I: Isa>(isa: I, x: I::F32, chunk: &mut [u8; 64]) {
        isa.store_bytes(x, chunk);
    }
}
