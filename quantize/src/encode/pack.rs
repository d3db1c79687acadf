//! Bits into bytes, where several formats do it alike.

/// Low nibbles: the first 16 quants, high nibbles: the others; higher bits are left out.
pub(super) fn nibbles(quants: &[u8; 32]) -> [u8; 16] {
    std::array::from_fn(|j| (quants[j] & 15) | (quants[j + 16] & 15) << 4)
}

/// Bit 4 of each quant, as a little-endian u32.
pub(super) fn fifth_bits(quants: &[u8; 32]) -> [u8; 4] {
    let bits = quants.iter().enumerate().fold(0u32, |bits, (j, q)| bits | u32::from(q >> 4 & 1) << j);
    bits.to_le_bytes()
}

/// One bit of each quant, eight to a byte: bit k of byte j is that of weight `j + 32 k`.
pub(super) fn planes(quants: &[u8; 256], bit: u32) -> [u8; 32] {
    let mut out = [0; 32];
    for (k, quants) in quants.as_chunks::<32>().0.iter().enumerate() {
        for (out, quant) in out.iter_mut().zip(quants) {
            *out |= (quant >> bit & 1) << k;
        }
    }
    out
}

/// Two bits of each quant, four to a byte: byte `32 h + j` holds weights `128 h + j + 32 k` at bits `2 k`.
pub(super) fn pairs(quants: &[u8; 256]) -> [u8; 64] {
    let mut out = [0; 64];
    for (quants, out) in quants.as_chunks::<128>().0.iter().zip(out.as_chunks_mut::<32>().0) {
        for (k, quants) in quants.as_chunks::<32>().0.iter().enumerate() {
            for (out, quant) in out.iter_mut().zip(quants) {
                *out |= (quant & 3) << (2 * k);
            }
        }
    }
    out
}

/// Four bits of each quant: byte `N c + j` holds weights `2 N c + j` and `2 N c + j + N`.
pub(super) fn nibbles_of<const N: usize>(quants: &[u8; 256]) -> [u8; 128] {
    let mut out = [0; 128];
    for (quants, out) in quants.chunks_exact(2 * N).zip(out.as_chunks_mut::<N>().0) {
        let (low, high) = quants.split_at(N);
        for ((out, low), high) in out.iter_mut().zip(low).zip(high) {
            *out = (low & 15) | (high & 15) << 4;
        }
    }
    out
}

/// Eight scales and eight minima of six bits in twelve bytes, as `q4_k` and `q5_k` have them: bytes 0..4 and 4..8 are
/// the first four of each with two high bits free, which the other four's high bits fill; bytes 8..12 hold the others'
/// low nibbles.
pub(super) fn six_bit_pairs(scales: &[u8; 8], mins: &[u8; 8]) -> [u8; 12] {
    let mut out = [0; 12];
    for j in 0..4 {
        out[j] = scales[j] | scales[j + 4] >> 4 << 6;
        out[j + 4] = mins[j] | mins[j + 4] >> 4 << 6;
        out[j + 8] = (scales[j + 4] & 15) | (mins[j + 4] & 15) << 4;
    }
    out
}
