//! Blocks of code in an answer.

use crate::cli::fence::Fence;

/// The text of each, in their order. One that is not closed ends with the answer.
pub(super) fn of(answer: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut open: Option<(Fence, String)> = None;
    for line in answer.lines() {
        open = match open {
            Some((fence, text)) if fence.is_left_by(line) => {
                blocks.push(text);
                Fence::opened_by(line).map(|fence| (fence, String::new()))
            }
            Some((fence, text)) if fence.is_closed_by(line) => {
                blocks.push(text);
                None
            }
            Some((fence, mut text)) => {
                text += fence.inside(line);
                text.push('\n');
                Some((fence, text))
            }
            None => Fence::opened_by(line).map(|fence| (fence, String::new())),
        };
    }
    blocks.extend(open.map(|(_, text)| text));
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_what_stands_between_fences() {
        let answer = "So:\n```rust\nfn a() {\n    b\n}\n```\nor ```c``` or\n- ~~~\n  *x*\n    y\n  ~~~\n> ```\n> q\nend\n````\n```\n";
        assert_eq!(of(answer), ["fn a() {\n    b\n}\n", "*x*\n  y\n", "q\n", "```\n"]);
        assert_eq!(of("no ``` code\n    here"), [""; 0]);
    }
}
