//! Opening costs the header, whatever the size of the file.

use std::time::Instant;

use fathom_gguf::{Error, GgufFile, Part, TensorType, ValueType, Writer};

/// A header like DeepSeek-V3.2's: its vocabulary, its merges, its tensors.
fn model_like_header() -> (Vec<u8>, u64) {
    let mut writer = Writer::new();
    writer.metadata("general.architecture", "deepseek2").unwrap();
    let tokens: Vec<String> = (0..129_280).map(|id| format!("token{id}")).collect();
    let merges: Vec<String> = (0..127_741).map(|id| format!("to ken{id}")).collect();
    writer.metadata("tokenizer.ggml.tokens", tokens).unwrap();
    writer.metadata("tokenizer.ggml.merges", merges).unwrap();
    writer.metadata("tokenizer.ggml.token_type", vec![1i32; 129_280]).unwrap();
    for layer in 0..64 {
        for part in 0..18 {
            writer
                .tensor(&format!("blk.{layer}.part_{part}.weight"), TensorType::Q8_0, &[512, 2048])
                .unwrap();
        }
    }
    let layout = writer.layout().unwrap();
    (layout.header, layout.file_bytes)
}

/// Resident pages of this process, in bytes; `None` where the system does not tell.
fn resident() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    text.split_whitespace().nth(1)?.parse::<u64>().ok().map(|pages| pages * 4096)
}

#[test]
fn parse_touches_only_the_header() {
    let (header, file_bytes) = model_like_header();
    assert!(file_bytes > 1 << 30);
    // A zeroed vector of this size is fresh memory that the system hands out page by page when touched.
    let mut file = vec![0u8; file_bytes as usize];
    file[..header.len()].copy_from_slice(&header);
    let before = resident();
    let start = Instant::now();
    let parsed = GgufFile::parse(&file).unwrap();
    let took = start.elapsed();
    println!("header of {} bytes in a file of {file_bytes} parsed in {took:?}", header.len());
    if let (Some(before), Some(after)) = (before, resident()) {
        println!("resident before {before}, after {after}");
        let touched = after.saturating_sub(before);
        assert!(touched < 64 << 20, "parsing touched {touched} bytes");
    }
    assert_eq!(parsed.tensors().len(), 64 * 18);
    let tokens = parsed.metadata().strings("tokenizer.ggml.tokens").unwrap().unwrap();
    assert_eq!(tokens.len(), 129_280);
    assert_eq!(tokens.last(), Some("token129279"));
    // Milliseconds on any machine; the limit only catches work that grows with the file.
    assert!(took.as_millis() < 1000, "{took:?}");
}

#[test]
fn a_header_longer_than_any_real_one_is_refused_without_reading_it() {
    let mut file = b"GGUF".to_vec();
    file.extend(3u32.to_le_bytes());
    file.extend(0u64.to_le_bytes());
    file.extend(1u64.to_le_bytes());
    file.extend(1u64.to_le_bytes());
    file.push(b'k');
    file.extend(ValueType::Str.id().to_le_bytes());
    file.extend((1u64 << 30).to_le_bytes());
    let offset = file.len() as u64;
    let mut whole = vec![0u8; (1 << 30) + 100];
    whole[..file.len()].copy_from_slice(&file);
    let cap = 1 << 30;
    let expected =
        Error::HeaderTooLong { part: Part::Value("k".into()), offset, needed: cap, left: cap - offset, cap };
    assert_eq!(GgufFile::parse(&whole).unwrap_err(), expected);
}
