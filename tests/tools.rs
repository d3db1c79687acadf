//! `fathom inspect` and `fathom doctor`, on every layout of the family and on files of other models.

mod common;

use common::convert;
use common::forge::{Forged, Tensor};
use fathom_gguf::{OwnedArray, OwnedValue, TensorType};
use serde_json::Value as Json;
use std::path::{Path, PathBuf};
use std::process::Output;

fn fathom(args: &[&str], model: &Path) -> Output {
    common::fathom().args(args).arg(model).output().unwrap()
}

fn json(args: &[&str], model: &Path) -> (i32, Json) {
    let done = fathom(args, model);
    let stderr = String::from_utf8_lossy(&done.stderr);
    let object = serde_json::from_slice(&done.stdout).unwrap_or_else(|e| panic!("{args:?}: {e}: {stderr}"));
    (done.status.code().unwrap(), object)
}

fn inspect(model: &Path) -> Json {
    let (code, object) = json(&["inspect", "--json", "--tensors"], model);
    assert_eq!(code, 0);
    object
}

/// The model written to a folder of its own.
fn written(model: &Forged) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    model.write(&path);
    (folder, path)
}

fn base() -> Forged {
    Forged::read(&convert("base", "f32").path)
}

/// The V3 sibling with kv_b in one matrix, as converters wrote it before llama.cpp took it apart.
fn legacy() -> Forged {
    let mut model = Forged::read(&convert("dense", "f32").path);
    let (heads, nope, v, rank) = (4, 16, 24, 32);
    for layer in 0..3 {
        let name = |what: &str| format!("blk.{layer}.attn_{what}.weight");
        let k = model.tensor(&name("k_b")).clone();
        let v_b = model.tensor(&name("v_b")).clone();
        assert_eq!((k.shape, v_b.shape), (vec![heads, rank, nope], vec![heads, v, rank]));
        let mut bytes = Vec::new();
        for head in 0..heads {
            for d in 0..nope {
                for c in 0..rank {
                    bytes.extend(&k.bytes[((head * rank + c) * nope + d) * 4..][..4]);
                }
            }
            bytes.extend(&v_b.bytes[head * v * rank * 4..][..v * rank * 4]);
        }
        model.tensors.retain(|tensor| tensor.name != name("k_b") && tensor.name != name("v_b"));
        let shape = vec![heads * (nope + v), rank];
        model.tensors.push(Tensor { name: name("kv_b"), ty: TensorType::F32, shape, bytes });
    }
    model
}

/// The V3 sibling with the halves of kv_b flat, as ik_llama.cpp writes them.
fn flat() -> Forged {
    let mut model = Forged::read(&convert("dense", "f32").path);
    for tensor in &mut model.tensors {
        if tensor.name.ends_with("k_b.weight") || tensor.name.ends_with("v_b.weight") {
            tensor.shape = vec![tensor.shape[0] * tensor.shape[1], tensor.shape[2]];
        }
    }
    model
}

#[test]
fn inspect_tells_numbers_roles_and_places() {
    let model = convert("base", "q8_0");
    let told = inspect(&model.path);
    let size = std::fs::metadata(&model.path).unwrap().len();
    assert_eq!(told["file_bytes"], size);
    assert_eq!((&told["architecture"], &told["layout"]), (&"deepseek32".into(), &"deepseek32".into()));
    assert_eq!(
        (&told["runs"], &told["indexer"], &told["mtp"]["layer"]),
        (&true.into(), &true.into(), &3.into())
    );
    let config = std::fs::read(common::reference_folder("base").join("config.json")).unwrap();
    let config: Json = serde_json::from_slice(&config).unwrap();
    for name in ["vocab_size", "n_routed_experts", "topk_group", "index_topk", "rms_norm_eps", "rope_theta"] {
        assert_eq!(told["config"][name].as_f64(), config[name].as_f64(), "{name}");
    }
    assert_eq!(told["config"]["rope_scaling"]["factor"], config["rope_scaling"]["factor"].as_f64().unwrap());
    assert_eq!(told["tokenizer"]["tokens"], 320);

    // The same bytes counted three ways.
    let sum =
        |list: &str| told[list].as_array().unwrap().iter().map(|x| x["bytes"].as_u64().unwrap()).sum::<u64>();
    let total = told["total"]["bytes"].as_u64().unwrap();
    assert_eq!((sum("roles"), sum("types"), sum("tensors")), (total, total, total));
    let tensors = told["tensors"].as_array().unwrap();
    let experts = tensors.iter().find(|t| t["name"] == "blk.1.ffn_gate_exps.weight").unwrap();
    assert_eq!(experts["shape"], serde_json::json!([16, 8, 64]));
    assert!(experts["offset"].as_u64().unwrap() + experts["bytes"].as_u64().unwrap() <= size);
}

#[test]
fn the_text_has_what_the_json_has() {
    let model = convert("base", "q8_0");
    let done = fathom(&["inspect", "--tensors"], &model.path);
    let text = String::from_utf8(done.stdout).unwrap();
    for words in [
        "Fathom runs it             yes",
        "index_topk",
        "experts gate/up",
        "320 elements: ",
        "blk.3.nextn.eh_proj.weight",
        "[16, 8, 64]",
    ] {
        assert!(text.contains(words), "{words} is missing in\n{text}");
    }
    assert!(!text.contains("no kernels"));
}

#[test]
fn every_layout_is_named_and_runs() {
    let mtp_absent = Forged::read(&convert("base/bf16", "f32").path);
    for (model, layout, mtp) in [
        (base(), "deepseek32", true),
        (mtp_absent, "deepseek32", false),
        (Forged::read(&convert("dense", "f32").path), "deepseek2 split", false),
        (legacy(), "deepseek2 legacy kv_b", false),
        (flat(), "deepseek2 ik", false),
    ] {
        let (_folder, path) = written(&model);
        let told = inspect(&path);
        assert_eq!(told["layout"], layout);
        // Those without a tokenizer run on ids alone, and nothing else is wrong with them.
        let mut problems =
            told["problems"].as_array().unwrap().iter().map(|problem| problem.as_str().unwrap());
        assert!(
            problems.all(|problem| problem.contains("tokenizer.ggml.model")),
            "{layout}: {}",
            told["problems"]
        );
        assert_eq!(told["runs"], layout == "deepseek32" && mtp, "{layout}: {}", told["problems"]);
        assert_eq!((told["mtp"].is_object(), told["indexer"] == true), (mtp, layout == "deepseek32"));
        let (code, told) = json(&["doctor", "--json"], &path);
        assert_eq!((code, &told["model"]["fits"]), (0, &true.into()), "{layout}");
    }
}

#[test]
fn all_layouts_of_one_model_have_the_same_logits() {
    let folder = tempfile::tempdir().unwrap();
    let logits = |model: &Forged| {
        let (path, out) = (folder.path().join("model.gguf"), folder.path().join("logits"));
        model.write(&path);
        let args = ["logits", "--tokens", "0,7,300,5", "--force", "-o", out.to_str().unwrap()];
        let done = fathom(&args, &path);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        std::fs::read(out).unwrap()
    };
    let split = logits(&Forged::read(&convert("dense", "f32").path));
    assert!(split == logits(&legacy()), "one kv_b");
    assert!(split == logits(&flat()), "flat halves");
}

#[test]
fn shards_are_one_model() {
    let folder = tempfile::tempdir().unwrap();
    let shards = base().shards(3);
    for (no, shard) in shards.iter().enumerate() {
        shard.write(&folder.path().join(fathom_gguf::split::shard_name("abyss", no, 3)));
    }
    let whole = inspect(folder.path());
    let last = inspect(&folder.path().join("abyss-00003-of-00003.gguf"));
    for told in [&whole, &last] {
        assert_eq!(told["runs"], true, "{}", told["problems"]);
        assert_eq!(told["shards"].as_array().unwrap().len(), 3);
        assert_eq!(told["tensors"].as_array().unwrap().last().unwrap()["shard"], 2);
    }
}

#[test]
fn any_gguf_can_be_looked_at() {
    // Another architecture, hostile text, a type without kernels, tensors without a role.
    let mut other = Forged { metadata: Vec::new(), tensors: Vec::new() };
    other.set("general.architecture", "squid\u{1b}[31m");
    other.set("squid.legs", vec![1u32, 2, 3, 4, 5, 6, 7, 8]);
    other.tensors.push(Tensor {
        name: "tentacle".to_owned(),
        ty: TensorType::IQ4XS,
        shape: vec![256],
        bytes: vec![0; 136],
    });
    let (_folder, path) = written(&other);
    let told = inspect(&path);
    assert_eq!((&told["runs"], &told["config"], &told["layout"]), (&false.into(), &Json::Null, &Json::Null));
    assert!(told["problems"][0].as_str().unwrap().contains("deepseek32"), "{}", told["problems"]);
    assert_eq!(told["roles"][0]["role"], "other");
    assert_eq!(told["types"][0]["supported"], false);
    let text = String::from_utf8(fathom(&["inspect"], &path).stdout).unwrap();
    assert!(text.contains("Fathom runs it             no:") && text.contains("no kernels"), "{text}");
    assert!(!text.contains('\u{1b}'), "a file gets no hold of the terminal");
    assert!(text.contains("8 elements: 1, 2, 3, 4, 5, 6, ..."), "{text}");

    // An empty file of no tensors and no metadata is a valid GGUF file.
    let (_folder, path) = written(&Forged { metadata: Vec::new(), tensors: Vec::new() });
    assert_eq!(inspect(&path)["architecture"], Json::Null);
}

/// What `run` refuses is not called fit to run, and one that only continues plain text is called that.
#[test]
fn what_loading_refuses_is_told_beforehand() {
    let good = Forged::read(&convert("base", "f32").path);
    let runs = |model: &Forged| {
        let (_folder, path) = written(model);
        let done =
            common::fathom().args(["run", "-n", "1", "--no-cache"]).arg(&path).arg("hi").output().unwrap();
        (inspect(&path), done.status.code(), String::from_utf8(done.stderr).unwrap())
    };
    let told = inspect(&convert("base", "f32").path);
    assert_eq!((&told["runs"], &told["chat"]), (&true.into(), &true.into()), "{}", told["problems"]);
    type Damage = (&'static str, fn(&mut Forged));
    let damages: [Damage; 5] = [
        ("tokenizer.ggml.pre", |model| model.set("tokenizer.ggml.pre", "llama-bpe")),
        ("tokenizer.ggml.model", |model| model.unset("tokenizer.ggml.model")),
        ("tokenizer.ggml.eos_token_id", |model| model.unset("tokenizer.ggml.eos_token_id")),
        ("blk.1.attn_norm.weight", |model| {
            model.tensor("blk.1.attn_norm.weight").bytes[..4].copy_from_slice(&f32::NAN.to_le_bytes());
        }),
        ("output_norm.weight", |model| {
            model.tensor("output_norm.weight").bytes[..4].copy_from_slice(&1e6f32.to_le_bytes());
        }),
    ];
    for (what, damage) in damages {
        let mut model = good.clone();
        damage(&mut model);
        let (told, code, message) = runs(&model);
        assert_eq!((code, &told["runs"], &told["chat"]), (Some(3), &false.into(), &false.into()), "{what}");
        assert!(
            told["problems"].to_string().contains(what) && message.contains(what),
            "{what}: {told}{message}"
        );
    }
    let mut plain = good.clone();
    plain.unset("tokenizer.chat_template");
    let tokens = plain.metadata.iter_mut().find(|(key, _)| key == "tokenizer.ggml.tokens");
    let Some((_, OwnedValue::Array(OwnedArray::Str(tokens)))) = tokens else { panic!("no tokens") };
    let marker = tokens.iter_mut().find(|token| *token == "｜DSML｜").unwrap();
    *marker = "｜XSML｜".to_owned();
    let (told, code, message) = runs(&plain);
    assert_eq!((&told["runs"], &told["chat"]), (&true.into(), &false.into()), "{}", told["problems"]);
    assert!(code == Some(3) && message.contains("--raw"), "{message}");
    let (_folder, path) = written(&plain);
    let text = String::from_utf8(fathom(&["inspect"], &path).stdout).unwrap();
    assert!(text.contains("Fathom runs it             as plain text only (fathom run --raw):"), "{text}");
}

#[test]
fn a_vocabulary_of_true_size_is_counted_not_read() {
    let mut model = base();
    model.set("tokenizer.ggml.tokens", (0..129_280).map(|n| format!("token{n}")).collect::<Vec<_>>());
    model.set("tokenizer.ggml.merges", (0..127_741).map(|n| format!("left{n} right{n}")).collect::<Vec<_>>());
    model.set("tokenizer.ggml.token_type", vec![1i32; 129_280]);
    model.set("tokenizer.chat_template", "{% for message in messages %}".repeat(300));
    let (_folder, path) = written(&model);
    let started = std::time::Instant::now();
    let told = inspect(&path);
    assert!(started.elapsed().as_secs_f64() < 2.0, "{:?}", started.elapsed());
    assert_eq!(
        (&told["tokenizer"]["tokens"], &told["tokenizer"]["merges"]),
        (&129_280.into(), &127_741.into())
    );
    let tokens =
        told["metadata"].as_array().unwrap().iter().find(|e| e["key"] == "tokenizer.ggml.tokens").unwrap();
    assert_eq!((&tokens["length"], tokens["value"].as_array().unwrap().len()), (&129_280.into(), 6));
    let text = fathom(&["inspect"], &path).stdout;
    assert!(text.len() < 20_000, "{} bytes", text.len());
}

#[test]
fn unsupported_types_and_missing_tensors_are_told_together() {
    let mut model = base();
    let gate = model.tensor("blk.0.ffn_gate.weight");
    (gate.ty, gate.bytes) = (TensorType::IQ4NL, vec![0; 144 * 2 * 18]);
    model.tensors.retain(|tensor| tensor.name != "blk.2.attn_q_a.weight");
    let (_folder, path) = written(&model);
    let problems = inspect(&path)["problems"].to_string();
    assert!(problems.contains("iq4_nl") && problems.contains("blk.2.attn_q_a.weight"), "{problems}");
    let done = fathom(&["doctor"], &path);
    assert_eq!(done.status.code(), Some(3));
    assert!(done.stdout.is_empty());
}

/// A reader that has seen enough, such as `head`, is no error.
#[test]
fn a_closed_pipe_ends_quietly() {
    let model = convert("base", "f32");
    let (model, checkpoint) =
        (model.path.display().to_string(), common::reference_folder("base").display().to_string());
    for args in [
        &["inspect", "--tensors", &model][..],
        &["doctor", &model],
        &["quantize", &checkpoint, "--type", "q8_0", "--dry-run"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let done = common::fathom().args(args).stdout(writer).output().unwrap();
        assert!(done.status.success(), "{args:?}: {}", String::from_utf8_lossy(&done.stderr));
    }
}

#[test]
fn doctor_without_a_model_tells_the_machine() {
    let done = common::fathom().args(["doctor", "--json"]).output().unwrap();
    assert!(done.status.success());
    let told: Json = serde_json::from_slice(&done.stdout).unwrap();
    assert!(told["machine"]["cores"]["default_threads"].as_u64().unwrap() >= 1);
    assert!(!told["simd"]["kernels"].as_array().unwrap().is_empty());
    assert!(told.get("model").is_none());
    // And what of the published model fits it: sizes are computed.
    let available = told["machine"]["memory"]["usable_bytes"].as_u64().unwrap();
    let types = told["deepseek_v3_2"]["types"].as_array().unwrap();
    assert!(types.len() >= 6);
    for row in types {
        let needed = row["needed_bytes"].as_u64().unwrap();
        assert!(needed > 200 << 30, "{row}");
        assert_eq!(row["fits"].as_bool(), Some(needed <= available), "{row}");
    }
    let done = common::fathom().arg("doctor").output().unwrap();
    let told = String::from_utf8(done.stdout).unwrap();
    let last: Vec<&str> = told.lines().rev().take(2).collect();
    assert!(last[1].starts_with("DeepSeek-V3.2 ") && last[1].contains("(computed)"), "{told}");
    assert!(last[0].contains("--type q") && last[0].contains(" GiB)") && last[0].contains(" fit"), "{told}");
}

#[test]
fn kernels_are_listed_where_they_are_asked_for() {
    let told = |args: &[&str]| {
        let done = common::fathom().arg("doctor").args(args).output().unwrap();
        assert!(done.status.success());
        String::from_utf8(done.stdout).unwrap()
    };
    let (short, long) = (told(&[]), told(&["--kernels"]));
    assert!(short.contains("instruction set") && !short.contains("\nkernels"), "{short}");
    assert!(long.contains("\nkernels") && long.lines().count() > short.lines().count() + 10, "{long}");
}

#[test]
fn the_level_is_what_the_variable_allows() {
    let run = |word: &str| {
        let mut command = common::fathom();
        command.args(["doctor", "--json"]).env("FATHOM_SIMD", word).output().unwrap()
    };
    let told: Json = serde_json::from_slice(&run("scalar").stdout).unwrap();
    assert_eq!(told["simd"]["in_use"], "scalar");
    let refused = run("sse9");
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("sse9"));
}

#[test]
fn doctor_counts_what_a_session_takes() {
    let model = convert("base", "f32");
    let (code, told) = json(&["doctor", "--json", "-c", "1000", "-b", "64", "-t", "3"], &model.path);
    assert_eq!(code, 0);
    let told = &told["model"];
    // Three layers, latent rows of 136 + 8 in bf16; index keys of 16 bytes and a scale, in whole blocks of 16.
    assert_eq!(told["cache_bytes"], 3 * (1000 * 2 * (136 + 8) + 1008 * (16 + 4)));
    assert_eq!(told["cache_bytes_per_1024_tokens"]["latent"]["f32"], 1024 * 3 * 4 * (136 + 8));
    assert_eq!(told["cache_bytes_per_1024_tokens"]["index"]["f16"], 1024 * 3 * 2 * 16);
    assert_eq!(told["cache_bytes_per_1024_tokens"]["index"]["q8"], 1024 * 3 * (16 + 4));
    let number = |at: &Json| at.as_u64().unwrap();
    let weights = &told["weights"];
    let routed = number(&weights["routed_bytes"]);
    // Two layers of 16 experts, three matrices of 8 x 64.
    assert_eq!(routed, 2 * 16 * 3 * 8 * 64 * 4);
    let embedding = 320 * 64 * 4;
    let per_token = number(&weights["non_routed_bytes"]) - embedding + 64 * 4 + routed * 4 / 16;
    assert_eq!(number(&weights["read_per_token_bytes"]), per_token);
    let own =
        number(&told["cache_bytes"]) + number(&told["scratch_bytes"]) + number(&weights["copied_bytes"]);
    assert_eq!(number(&told["own_bytes"]), own);
    assert_eq!(number(&told["needed_bytes"]), own + number(&weights["non_routed_bytes"]) + routed);
}

#[test]
fn what_does_not_fit_exits_with_4_and_says_what_would() {
    // A layer of true size, of which no machine has room for the longest context in one batch: its absorbed queries alone are
    // five terabytes.
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("slice.gguf");
    let made = ["synth", "--preset", "v3.2-slice:1+0", "--type", "q8_0", "--zeros", "-o"];
    let made = fathom(&made, &model);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let args = ["doctor", "-c", "16777216", "-b", "16777216", "--cache-type", "f32", "--index-cache", "f32"];
    let done = fathom(&args, &model);
    assert_eq!(done.status.code(), Some(4), "{}", String::from_utf8_lossy(&done.stdout));
    let text = String::from_utf8(done.stderr).unwrap();
    assert!(text.contains("does not fit") && text.contains("it fits with -"), "{text}");
    // What it says is true.
    let flags: Vec<&str> = text.trim_end().rsplit_once("it fits with ").unwrap().1.split(' ').collect();
    let value = |flag: &str, default: &'static str| {
        flags.iter().position(|f| *f == flag).map_or(default.to_owned(), |at| flags[at + 1].to_owned())
    };
    let (ctx, batch) = (value("-c", "16777216"), value("-b", "16777216"));
    let (latent, index) = (value("--cache-type", "f32"), value("--index-cache", "f32"));
    let args = ["doctor", "-c", &ctx, "-b", &batch, "--cache-type", &latent, "--index-cache", &index];
    let done = fathom(&args, &model);
    // Other processes may have taken memory in between: only the limit itself is at stake.
    assert!(matches!(done.status.code(), Some(0 | 4)), "{}", String::from_utf8_lossy(&done.stderr));
}
