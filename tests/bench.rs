//! `fathom bench` and its measuring room: names and columns of llama-bench, honest counts, errors with their codes.

mod common;

use common::{Converted, convert, with_model};
use fathom_arch::config::{Config, Overrides};
use fathom_engine::cache::{CacheTypes, IndexType};
use fathom_engine::fit::WeightBytes;
use fathom_engine::mmap::Mapping;
use fathom_engine::timeline::FILLED;
use fathom_engine::weights::{Ffn, Matrix, Stack, Weights};
use fathom_engine::{Model, Session, SessionError, SessionOptions, Wanted};
use fathom_gguf::Gguf;
use fathom_measure::bench::{Fill, Kind, Room, RoomOptions, Test, Work};
use fathom_simd::{ActKind, Format, Kernels};
use serde_json::Value as Json;
use std::process::Output;
use std::sync::Arc;

const CACHE: CacheTypes = CacheTypes { latent: Format::BF16, index: IndexType::Q8 };

fn bench(model: &Converted, args: &[&str]) -> Output {
    let mut command = common::fathom();
    command.arg("bench").arg(&model.path).args(args).output().unwrap()
}

fn answer(model: &Converted, args: &[&str]) -> String {
    let done = bench(model, args);
    assert!(done.status.success(), "{args:?}: {}", String::from_utf8_lossy(&done.stderr));
    assert!(done.stderr.is_empty(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

fn refused(model: &Converted, args: &[&str], code: i32) -> String {
    let done = bench(model, args);
    let told = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(code), "{args:?}: {told}");
    assert!(done.stdout.is_empty());
    told
}

fn cells(line: &str) -> Vec<&str> {
    line.trim_matches('|').split('|').map(str::trim).collect()
}

#[test]
fn the_table_begins_with_the_columns_of_llama_bench() {
    let model = convert("base", "f32");
    let text = answer(&model, &["-p", "8,3", "-n", "2", "-d", "0,20", "-t", "1,2", "-r", "1", "-o", "md"]);
    let lines: Vec<&str> = text.lines().collect();
    // As llama-bench prints them, so that tables can be pasted under each other.
    let header = "| model                          |       size |     params | backend    | threads |            test |                  t/s |";
    assert!(lines[0].starts_with(header), "{}", lines[0]);
    assert!(
        lines[1].starts_with(
            "| ------------------------------ | ---------: | ---------: | ---------- | ------: |"
        )
    );
    let own = ["GB/s", "bandwidth", "int peak", "rows", "resident"];
    assert_eq!(cells(lines[0])[7..], own);
    let names: Vec<(&str, &str)> = lines[2..].iter().map(|line| (cells(line)[4], cells(line)[5])).collect();
    let of_threads = |t| ["pp8", "pp3", "tg2", "pp8 @ d20", "pp3 @ d20", "tg2 @ d20"].map(|name| (t, name));
    assert_eq!(names, [of_threads("1"), of_threads("2")].concat());
    for line in &lines[2..] {
        let cells = cells(line);
        assert_eq!((cells.len(), cells[0], cells[3]), (12, "deepseek32 F32", "CPU"), "{line}");
        let (rate, spread) = cells[6].split_once(" ± ").unwrap();
        assert!(rate.parse::<f64>().unwrap() > 0.0, "{line}");
        assert_eq!(spread.parse::<f64>().unwrap(), 0.0, "one run has no spread");
    }
}

#[test]
fn the_table_for_people_fits_into_110_columns() {
    let model = convert("base", "f32");
    let text = answer(&model, &["-p", "8", "-n", "2", "-d", "0,20", "-r", "1"]);
    assert!(text.lines().all(|line| line.chars().count() <= 110), "{text}");
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("deepseek32 F32, ") && lines[0].contains(" parameters"), "{text}");
    let names: Vec<&str> = lines[2].split("  ").map(str::trim).filter(|name| !name.is_empty()).collect();
    assert_eq!(names, ["threads", "test", "t/s", "GB/s", "bandwidth", "int peak", "rows", "resident"]);
    let tests = ["pp8 ", "tg2 ", "pp8 @ d20", "tg2 @ d20"];
    assert_eq!(lines[3..].len(), tests.len(), "{text}");
    for (line, test) in lines[3..].iter().zip(tests) {
        assert!(line.contains(test) && line.contains(" ± ") && line.contains(" %"), "{line}");
    }
}

/// The fields that tools which read llama-bench's answers look for.
const FIELDS: [&str; 16] = [
    "cpu_info",
    "backends",
    "model_filename",
    "model_type",
    "model_size",
    "model_n_params",
    "n_batch",
    "n_ubatch",
    "n_threads",
    "n_prompt",
    "n_gen",
    "n_depth",
    "test_time",
    "avg_ns",
    "avg_ts",
    "stddev_ts",
];

#[test]
fn json_jsonl_and_csv_hold_the_same_fields() {
    let model = convert("base", "f32");
    let args = |format| ["-p", "4", "-n", "3", "-d", "16", "-r", "2", "-o", format];
    let list: Json = serde_json::from_str(&answer(&model, &args("json"))).unwrap();
    let lines: Vec<Json> =
        answer(&model, &args("jsonl")).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let list = list.as_array().unwrap();
    assert_eq!((list.len(), lines.len()), (2, 2));
    for rows in [list, &lines] {
        for (row, (test, n_prompt, n_gen)) in rows.iter().zip([("pp4 @ d16", 4, 0), ("tg3 @ d16", 0, 3)]) {
            assert!(FIELDS.iter().all(|field| row.get(field).is_some()), "{row}");
            let told = (&row["test"], &row["n_prompt"], &row["n_gen"], &row["n_depth"]);
            assert_eq!(told, (&test.into(), &n_prompt.into(), &n_gen.into(), &16.into()));
            let samples = row["samples_ts"].as_array().unwrap();
            let mean = samples.iter().map(|ts| ts.as_f64().unwrap()).sum::<f64>() / 2.0;
            assert_eq!(samples.len(), 2);
            assert!((row["avg_ts"].as_f64().unwrap() / mean - 1.0).abs() < 1e-9, "{row}");
            assert_eq!(row["logits"], if n_gen == 0 { "all" } else { "last" });
            for limit in ["read_bandwidth", "int_peak_macs_per_second", "resident_bytes"] {
                assert!(row[limit].as_f64().unwrap() > 0.0, "{limit}: {row}");
            }
        }
    }
    let csv = answer(&model, &args("csv"));
    let keys: Vec<&str> = list[0].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(csv.lines().next().unwrap().split(',').collect::<Vec<_>>(), keys);
    assert_eq!(csv.lines().count(), 3);
}

#[test]
fn a_sweep_walks_upwards_and_reads_what_single_depths_read() {
    let model = convert("base", "f32");
    let row = |line: &str| -> (String, String, String) {
        let row: Json = serde_json::from_str(line).unwrap();
        let told = |field: &str| row[field].to_string();
        (told("test"), told("latent_rows_per_token"), told("cache_bytes_per_token"))
    };
    let read = |args: &[&str]| -> Vec<_> {
        let common = ["-p", "5", "-n", "2", "-r", "1", "-o", "jsonl"];
        answer(&model, &[&common[..], args].concat()).lines().map(row).collect()
    };
    let swept = read(&["--sweep", "-d", "40,0,12"]);
    assert_eq!(swept, read(&["-d", "0,12,40"]));
    let names: Vec<&str> = swept.iter().map(|(name, ..)| name.as_str()).collect();
    let expected = ["pp5", "tg2", "pp5 @ d12", "tg2 @ d12", "pp5 @ d40", "tg2 @ d40"];
    assert_eq!(names, expected.map(|name| format!("\"{name}\"")));
    // How many rows a token reads does not depend on what they hold; which ones a prompt's tokens share does.
    let rows = |found: &[(String, String, String)]| -> Vec<_> {
        found.iter().map(|(test, rows, _)| (test.clone(), rows.clone())).collect()
    };
    assert_eq!(rows(&swept), rows(&read(&["--sweep", "-d", "0,12,40", "--fill", "text"])));
}

#[test]
fn mistakes_are_told_with_their_code() {
    let model = convert("base", "f32");
    assert!(refused(&model, &["-p", "0", "-n", "0"], 2).contains("-p 0 and -n 0"));
    assert!(refused(&model, &["-p", "8,x"], 2).contains("expected a whole number from 0"));
    assert!(refused(&model, &["-t", "0"], 2).contains("expected a whole number from 1"));
    assert!(refused(&model, &["-r", "0"], 2).contains("0 is not in"));
    assert!(refused(&model, &["-o", "xml"], 2).contains("jsonl"));
    assert!(refused(&model, &["--cache-type", "q4_0"], 2).contains("possible values: f32, bf16, f16, q8_0"));
    // Latent rows of 144 values; blocks are of 32.
    assert!(refused(&model, &["--cache-type", "q8_0"], 2).contains("multiple of 32"));
    let huge = ["-d", "16777216", "-p", "16777216", "-b", "16777216"];
    assert!(refused(&model, &huge, 4).contains("measure a smaller depth"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("text.gguf");
    std::fs::write(&path, "no model").unwrap();
    let done = common::fathom().arg("bench").arg(&path).output().unwrap();
    assert_eq!(done.status.code(), Some(3));
}

#[cfg(unix)]
#[test]
fn who_stops_it_is_told_whether_anything_was_measured() {
    use std::io::{BufRead, BufReader};
    let model = convert("base", "f32");
    // Small tests, so that the first row is soon there, and then one that nobody waits for.
    for (n_rows, tests) in [(0, ["-p", "512", "-n", "0"]), (1, ["-p", "1,512", "-n", "0"])] {
        let mut command = common::fathom();
        command.arg("bench").arg(&model.path).args(tests).args(["-r", "1000", "-t", "1", "-o", "md"]);
        let mut child = command
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        (0..2 + n_rows).for_each(|_| drop(lines.next().unwrap().unwrap()));
        let id = child.id().to_string();
        assert!(std::process::Command::new("kill").args(["-s", "INT", &id]).status().unwrap().success());
        let told = String::from_utf8(child.wait_with_output().unwrap().stderr).unwrap();
        let expected = match n_rows {
            0 => "stopped before the end of the first test: nothing was measured",
            _ => "stopped; what is above was measured before",
        };
        assert!(told.contains(expected), "{told}");
    }
}

#[test]
fn a_reader_that_has_seen_enough_ends_it() {
    let model = convert("base", "f32");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    // A hundred runs of this would take minutes.
    let done = common::fathom()
        .arg("bench")
        .arg(&model.path)
        .args(["-p", "4096", "-r", "1000"])
        .stdout(writer)
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

// ---- the room

fn with_room(model: &Converted, last_logits: bool, f: impl FnOnce(&Room<'_>, &Arc<Model>, WeightBytes)) {
    with_model(&model.path, Kernels::best(), 2, |engine| {
        let mapping = Mapping::open(&model.path).unwrap();
        let gguf = Gguf::from_shards(mapping.shards()).unwrap();
        let config = Config::from_gguf(gguf.metadata(), &Overrides::default()).unwrap();
        let weights = WeightBytes::of(&gguf, &config).unwrap();
        let options = RoomOptions { batch: 16, cache: CACHE, last_logits, fill: Fill::Random, seed: 3 };
        f(&Room::new(engine, [], options), engine, weights);
    });
}

fn work(room: &Room<'_>, kind: Kind, n: usize, depth: usize) -> Work {
    let mut session = room.session(depth + n).unwrap();
    room.fill(&mut session, depth).unwrap();
    room.warm_up(&mut session, Test { kind, n, depth }).unwrap()
}

/// Bytes of the vectors of the main model: norms, biases of the router.
fn vectors(weights: &Weights<'_>) -> u64 {
    let of_layer = |layer: &fathom_engine::weights::Layer<'_>| {
        let attn = &layer.attn;
        let index = layer.indexer.as_ref().map_or(0, |i| i.k_norm.len() + i.k_norm_bias.len());
        let bias = match &layer.ffn {
            Ffn::Dense(_) => 0,
            Ffn::Moe(moe) => moe.exp_probs_b.len(),
        };
        let norms = [&layer.attn_norm, &layer.ffn_norm, &attn.attn_q_a_norm, &attn.attn_kv_a_norm];
        norms.map(Vec::len).iter().sum::<usize>() + index + bias
    };
    4 * (weights.layers.iter().map(of_layer).sum::<usize>() + weights.output_norm.len()) as u64
}

#[test]
fn a_decoded_token_touches_what_the_header_says() {
    for ty in ["f32", "q8_0"] {
        let model = convert("base", ty);
        with_room(&model, false, |room, engine, weights| {
            let topk = engine.config.index().topk;
            let matrices = weights.per_token - vectors(engine.weights());
            let one = work(room, Kind::Generation, 1, 2 * topk);
            assert_eq!(one.weight_bytes, matrices, "{ty}");
            // Every layer reads the selected rows, and the index keys of all positions.
            let (latent, index) = CACHE.row_bytes(&engine.config);
            let n_layers = engine.config.num_hidden_layers;
            assert_eq!(one.latent_rows, topk as f64);
            assert_eq!(one.cache_bytes as usize, n_layers * (topk * latent + (2 * topk + 1) * index));
            // Without a selection the queries of the indexer are not computed, and no key is read.
            let early = work(room, Kind::Generation, 1, 2);
            let queries = engine.weights().layers.iter().map(|layer| {
                let indexer = layer.indexer.as_ref().unwrap();
                let bytes = |m: &Matrix<'_>| m.n_rows() * m.format().row_bytes(m.n_cols());
                bytes(&indexer.attn_q_b) + bytes(&indexer.proj)
            });
            assert_eq!(early.weight_bytes, matrices - queries.sum::<usize>() as u64);
            assert_eq!((early.latent_rows, early.cache_bytes as usize), (3.0, n_layers * 3 * latent));
            assert_eq!(early.int_macs > 0, ty == "q8_0");
            assert_eq!(work(room, Kind::Generation, 5, 2 * topk).weight_bytes, 5 * matrices);
        });
    }
}

#[test]
fn a_prompt_shares_weights_in_a_call_and_can_leave_logits_out() {
    let model = convert("base", "q8_0");
    let mut all = None;
    with_room(&model, false, |room, engine, _| {
        let one = work(room, Kind::Generation, 1, 0);
        let prompt = work(room, Kind::Prompt, 32, 0);
        assert_eq!(prompt.n_tokens, 32);
        // Two calls of 16 tokens: less than 32 times the weights, but the products of 32 tokens.
        assert!(prompt.weight_bytes < 32 * one.weight_bytes && prompt.weight_bytes > 2 * one.weight_bytes);
        assert!(prompt.int_macs >= 32 * one.int_macs, "a selection adds the indexer's queries");
        let topk = engine.config.index().topk;
        let rows: usize = (1..=32).map(|seen: usize| seen.min(topk)).sum();
        assert_eq!(prompt.latent_rows, rows as f64 / 32.0);
        all = Some(prompt);
    });
    with_room(&model, true, |room, engine, _| {
        let last = work(room, Kind::Prompt, 32, 0);
        let all = all.unwrap();
        let head = engine.weights().head();
        // All tokens but one leave the last layer when their cache rows are written.
        let layer = engine.weights().layers.last().unwrap();
        let (attn, indexer) = (&layer.attn, layer.indexer.as_ref().unwrap());
        let Ffn::Moe(moe) = &layer.ffn else { panic!("the last layer has experts") };
        let shared = moe.shared.as_ref().unwrap();
        let matrices =
            [&attn.attn_q_a, &attn.attn_q_b, &attn.attn_output, &shared.gate, &shared.up, &shared.down];
        let stacks = [&moe.ffn_gate_exps, &moe.ffn_up_exps, &moe.ffn_down_exps];
        let heads = engine.config.num_attention_heads as u64;
        let of_token = matrices.map(macs).iter().sum::<u64>()
            + heads * [&attn.attn_k_b, &attn.attn_v_b].map(macs_of_one).iter().sum::<u64>()
            + engine.config.num_experts_per_tok as u64 * stacks.map(macs_of_one).iter().sum::<u64>();
        // The first call selects if it goes beyond index_topk; of the second, one token still does.
        let queries = 15 + 16 * u64::from(engine.config.index().topk < 16);
        let of_queries = macs(&indexer.attn_q_b) + macs(&indexer.proj);
        assert_eq!(all.int_macs - last.int_macs, 31 * (macs(head) + of_token) + queries * of_queries);
        let bytes = |m: &Matrix<'_>| (m.n_rows() * m.format().row_bytes(m.n_cols())) as u64;
        assert!(
            all.weight_bytes - last.weight_bytes >= bytes(head) + matrices.map(bytes).iter().sum::<u64>()
        );
        assert!(last.latent_rows < all.latent_rows);
    });
}

/// Multiplications of 8-bit values for one token.
fn macs(m: &Matrix<'_>) -> u64 {
    if m.format().acts() == ActKind::Q8 { (m.n_rows() * m.n_cols()) as u64 } else { 0 }
}

fn macs_of_one(stack: &Stack<'_>) -> u64 {
    if stack.format().acts() == ActKind::Q8 { (stack.n_rows() * stack.n_cols()) as u64 } else { 0 }
}

// ---- filling

#[test]
fn a_filled_session_never_passes_for_a_computed_one() {
    let model = convert("base", "f32");
    with_model(&model.path, Kernels::best(), 2, |engine| {
        let options = SessionOptions { n_ctx: 64, ..SessionOptions::default() };
        let tokens = [3, 1, 4, 1, 5];
        let expected = Session::new(engine, options).unwrap().sync(&tokens).unwrap().to_vec();
        let mut session = Session::new(engine, options).unwrap();
        session.fill_random(30, 1).unwrap();
        assert_eq!(session.tokens(), [FILLED; 30]);
        common::assert_same_bits(session.sync(&tokens).unwrap(), &expected, "after random rows");
        let full = session.fill_random(60, 1);
        assert!(matches!(full, Err(SessionError::ContextFull { n_ctx: 64, wanted: 65 })), "{full:?}");
        assert_eq!(session.tokens(), tokens);
    });
}

#[test]
fn rows_depend_on_seed_layer_and_position_alone() {
    let model = convert("base", "f32");
    with_model(&model.path, Kernels::best(), 2, |engine| {
        let logits = |steps: &[usize], seed| {
            let options = SessionOptions { n_ctx: 64, ..SessionOptions::default() };
            let mut session = Session::new(engine, options).unwrap();
            for n in steps {
                session.fill_random(*n, seed).unwrap();
            }
            common::extend(&mut session, &[7, 8], Wanted::All)
        };
        let expected = logits(&[40], 1);
        assert!(expected.iter().all(|value| value.is_finite()));
        common::assert_same_bits(&logits(&[15, 24, 1], 1), &expected, "in steps");
        assert_ne!(logits(&[40], 2), expected);
    });
}
