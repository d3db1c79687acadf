//! The byte alphabet of GPT-2: every byte has a printable character, so that a vocabulary of byte strings can be
//! written as text. Printable Latin-1 stands for itself, the 68 other bytes for U+0100 and what follows, in order.

/// The characters by byte.
const CHARS: [char; 256] = {
    let mut chars = ['\0'; 256];
    let (mut byte, mut n_moved) = (0u8, 0u8);
    loop {
        chars[byte as usize] = if is_itself(byte) {
            byte as char
        } else {
            n_moved += 1;
            match char::from_u32(0xff + n_moved as u32) {
                Some(c) => c,
                None => unreachable!(),
            }
        };
        if byte == 255 {
            break;
        }
        byte += 1;
    }
    chars
};

/// The bytes by character, from U+0100 on.
const MOVED: [u8; 68] = {
    let mut moved = [0; 68];
    let mut byte = 0;
    while byte < 256 {
        let c = CHARS[byte] as usize;
        if c >= 0x100 {
            moved[c - 0x100] = byte as u8;
        }
        byte += 1;
    }
    moved
};

const fn is_itself(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff)
}

/// The character that stands for a byte.
pub(super) fn to_char(byte: u8) -> char {
    CHARS[usize::from(byte)]
}

/// The byte that a character stands for, if it stands for one.
pub(super) fn from_char(c: char) -> Option<u8> {
    match u8::try_from(u32::from(c)) {
        Ok(byte) => is_itself(byte).then_some(byte),
        Err(_) => MOVED.get((u32::from(c) - 0x100) as usize).copied(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_a_character_and_no_other_character_a_byte() {
        let all: std::collections::HashSet<char> = (0..=255).map(to_char).collect();
        assert_eq!(all.len(), 256);
        for c in (0..0x300).filter_map(char::from_u32) {
            assert_eq!(from_char(c).map(to_char), all.contains(&c).then_some(c), "{c:?}");
        }
        assert_eq!((to_char(b' '), to_char(b'\n'), to_char(0), to_char(0xad)), ('Ġ', 'Ċ', 'Ā', 'Ń'));
    }
}
