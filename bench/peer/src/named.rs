//! Tests by name: `pp512`, `tg32@4096`.

use std::str::FromStr;

use fathom_measure::bench::{Kind, Test};

/// A test as the command line names it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Named(pub Test);

/// llama.cpp counts positions in 32 bits; no context comes near.
const MOST: usize = 1 << 24;

impl FromStr for Named {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("expected ppN, tgN, ppN@DEPTH or tgN@DEPTH, found {text:?}");
        let (name, depth) = text.split_once('@').unwrap_or((text, "0"));
        let (kind, n) = match (name.strip_prefix("pp"), name.strip_prefix("tg")) {
            (Some(n), _) => (Kind::Prompt, n),
            (_, Some(n)) => (Kind::Generation, n),
            _ => return Err(wrong()),
        };
        let number = |text: &str| text.parse().ok().filter(|n| *n <= MOST).ok_or_else(wrong);
        let test = Test { kind, n: number(n)?, depth: number(depth)? };
        if test.n == 0 { Err(wrong()) } else { Ok(Named(test)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_tests() {
        let test = |text: &str| text.parse::<Named>().map(|named| named.0);
        assert_eq!(test("pp512"), Ok(Test { kind: Kind::Prompt, n: 512, depth: 0 }));
        assert_eq!(test("tg16@32768"), Ok(Test { kind: Kind::Generation, n: 16, depth: 32768 }));
        for text in ["", "pp", "pp0", "512", "tg1@", "tg-1", "pp1@99999999", "xx3"] {
            assert!(test(text).is_err(), "{text}");
        }
    }
}
