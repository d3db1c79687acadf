//! Q4_K: blocks of 256 weights, 144 bytes, in eight sub-blocks of 32: `d` and `dmin` (f16), eight 6-bit scales and
//! minimums in 12 bytes, then 128 bytes of two quants each; weight = d * sc * q - dmin * m, q in 0..=15. 4.5 bits a
//! weight.
//!
//! ```text
//! byte   0   1    2      3   4              15   16                     143
//!      [  d (f16) | dmin (f16) | scales (packed) | qs, 32 for each 64 weights ]
//!
//! qs[32 c + j]: low half weight 64 c + j, high half weight 64 c + 32 + j
//! scales, bits 76 543210:   byte 0..4   sc4..7 bits 54 | sc0..3
//!                           byte 4..8    m4..7 bits 54 |  m0..3
//!          bits 7654 3210:  byte 8..12   m4..7 bits 3210 | sc4..7 bits 3210
//! ```
//!
//! ggml's `block_q4_K`.

use bytemuck::{Pod, Zeroable};

use super::quants::{QuantFormat, RowParts, Tile, and_bytes, byte, eights, fours, high_f16, low_f16};
use super::{Format, f16};
use crate::isa::{Isa, TILE_ROWS};

pub(crate) struct Q4K;

/// One block as it lies in the file; any address will do.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Block {
    head: Head,
    qs: [u8; 128],
}

const _: () = assert!(size_of::<Block>() == 144);

/// The first 16 bytes, which Q5_K has too.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Head {
    d: [u8; 2],
    dmin: [u8; 2],
    scales: [u8; 12],
}

impl Head {
    /// d * sc and dmin * m of sub-block j.
    pub(super) fn scale_and_min(&self, j: usize) -> (f32, f32) {
        let [d, dmin] = [self.d, self.dmin].map(|half| f16::decode(u16::from_le_bytes(half)));
        let s = &self.scales;
        let (sc, m) = if j < 4 {
            (s[j] & 63, s[j + 4] & 63)
        } else {
            (s[j + 4] & 15 | s[j - 4] >> 6 << 4, s[j + 4] >> 4 | s[j] >> 6 << 4)
        };
        (d * f32::from(sc), dmin * f32::from(m))
    }

    /// The eight scales and the eight minimums, a byte each, the first one lowest.
    #[inline(always)]
    fn bytes(&self) -> (u64, u64) {
        let [s0, s1, s2] = bytemuck::pod_read_unaligned::<[u32; 3]>(&self.scales).map(u32::from_le);
        let (six, four, two) = (0x3f3f_3f3f, 0x0f0f_0f0f, 0x3030_3030);
        let (scales, mins) = (s2 & four | s0 >> 2 & two, s2 >> 4 & four | s1 >> 2 & two);
        let join = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
        (join(s0 & six, scales), join(s1 & six, mins))
    }
}

/// The scales and minimums of 16 rows, from their first 16 bytes.
#[inline(always)]
pub(super) fn put_scales<I: Isa>(isa: I, [d, s0, s1, s2]: [I::I32; 4], tiles: &mut [Tile; 8]) {
    let (d, dmin) = (low_f16(isa, d), high_f16(isa, d));
    let scales =
        [and_bytes(isa, s0, 63), isa.or(and_bytes(isa, s2, 15), and_bytes(isa, isa.shr::<2>(s0), 0x30))];
    let mins = [
        and_bytes(isa, s1, 63),
        isa.or(and_bytes(isa, isa.shr::<4>(s2), 15), and_bytes(isa, isa.shr::<2>(s1), 0x30)),
    ];
    for (j, tile) in tiles.iter_mut().enumerate() {
        isa.store(isa.mul(d, byte(isa, scales[j / 4], j % 4)), &mut tile.scale[0]);
        isa.store(isa.mul(dmin, byte(isa, mins[j / 4], j % 4)), &mut tile.min[0]);
    }
}

/// The bytes of each 128 weights.
#[inline(always)]
pub(super) fn sixty_fours(qs: &[u8; 128]) -> [&[u8; 64]; 2] {
    let [first, second] = qs.as_chunks().0 else { unreachable!("128 bytes are twice 64") };
    [first, second]
}

/// Low halves of bytes are even parts, high halves odd ones; 64 bytes are two of each.
pub(super) const NIBBLE_ORDER: [[usize; 4]; 4] =
    [[0, 2, 4, 6], [1, 3, 5, 7], [8, 10, 12, 14], [9, 11, 13, 15]];

/// The scales and minimums of two blocks of a row.
#[inline(always)]
pub(super) fn row_scales<I: Isa>(isa: I, heads: [&Head; 2], parts: &mut RowParts<I>) {
    let ((scales, mins), (more_scales, more_mins)) = (heads[0].bytes(), heads[1].bytes());
    let d = isa.splat_f16_halves(heads[0].d, heads[1].d);
    let dmin = isa.splat_f16_halves(heads[0].dmin, heads[1].dmin);
    parts.scale[0] = isa.mul(d, isa.to_f32(isa.widen_bytes(scales, more_scales)));
    parts.min[0] = isa.mul(dmin, isa.to_f32(isa.widen_bytes(mins, more_mins)));
}

impl QuantFormat for Q4K {
    const FORMAT: Format = Format::Q4K;
    const NAME: &'static str = "q4_k";
    const LEN: usize = 256;
    const HALVES: bool = false;
    const MINS: bool = true;
    const OFFSET: i32 = 0;
    const LARGEST: usize = 15;
    const ORDER: [[usize; 4]; 4] = NIBBLE_ORDER;
    type Block = Block;

    fn decode(block: &Block, out: &mut [f32]) {
        for (j, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            let (scale, min) = block.head.scale_and_min(j);
            for (out, qs) in out.iter_mut().zip(&block.qs[j / 2 * 32..]) {
                let q = if j % 2 == 0 { qs & 15 } else { qs >> 4 };
                *out = scale * f32::from(q) - min;
            }
        }
    }

    #[inline(always)]
    fn tiles<I: Isa>(isa: I, rows: &[&Block; TILE_ROWS], tiles: &mut [Tile]) {
        let tiles: &mut [Tile; 8] = tiles.first_chunk_mut().expect("eight tiles");
        put_scales(isa, fours::<_, _, 0>(isa, rows), tiles);
        put_nibbles::<_, _, 16>(isa, rows, &mut tiles[0..2]);
        put_nibbles::<_, _, 48>(isa, rows, &mut tiles[2..4]);
        put_nibbles::<_, _, 80>(isa, rows, &mut tiles[4..6]);
        put_nibbles::<_, _, 112>(isa, rows, &mut tiles[6..8]);
    }

    #[inline(always)]
    fn row_parts<I: Isa>(isa: I, blocks: [&Block; 2], parts: &mut RowParts<I>) {
        row_scales(isa, blocks.map(|block| &block.head), parts);
        row_quants(isa, blocks, parts);
    }
}

/// The quants of two blocks.
#[inline(always)]
fn row_quants<I: Isa>(isa: I, blocks: [&Block; 2], parts: &mut RowParts<I>) {
    for (at, block) in blocks.into_iter().enumerate() {
        let [first, second] = sixty_fours(&block.qs);
        let [x, y] = isa.split(first, second);
        parts.put::<Q4K>(isa, 2 * at, and_bytes(isa, x, 15), and_bytes(isa, y, 15));
        let (x, y) = (isa.shr::<4>(x), isa.shr::<4>(y));
        parts.put::<Q4K>(isa, 2 * at + 1, and_bytes(isa, x, 15), and_bytes(isa, y, 15));
    }
}

/// 32 bytes to two tiles.
#[inline(always)]
fn put_nibbles<I: Isa, B: Pod, const AT: usize>(isa: I, rows: &[&B; TILE_ROWS], tiles: &mut [Tile]) {
    for (k, qs) in eights::<_, _, AT>(isa, rows).into_iter().enumerate() {
        tiles[0].put(isa, k, and_bytes(isa, qs, 15));
        tiles[1].put(isa, k, and_bytes(isa, isa.shr::<4>(qs), 15));
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn tiles_say_what_decode_says() {
        super::super::quants::tests::tiles_say_what_decode_says::<super::Q4K>();
    }
}
