//! Random numbers that are the same for ever.

/// SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014). It is written out here
/// because a seed that somebody noted must give the same text with every later version; libraries change theirs.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Random {
        Random(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 to 1, without 1: the upper 53 bits of the next 64.
    pub(super) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The published vectors of the reference implementation.
    #[test]
    fn published_numbers() {
        let first = |seed| {
            let mut random = Random::new(seed);
            [(); 5].map(|()| random.next())
        };
        assert_eq!(
            first(1_234_567),
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423,
                4_593_380_528_125_082_431,
                16_408_922_859_458_223_821
            ]
        );
        assert_eq!(first(0)[..3], [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4, 0x06c4_5d18_8009_454f]);
    }

    #[test]
    fn units_stay_below_one() {
        assert_eq!((u64::MAX >> 11) as f64 / (1u64 << 53) as f64, 1.0 - f64::EPSILON / 2.0);
        let mut random = Random::new(3);
        let sum: f64 = (0..10_000).map(|_| random.unit()).sum();
        assert!((sum / 10_000.0 - 0.5).abs() < 0.01, "{sum}");
    }
}
