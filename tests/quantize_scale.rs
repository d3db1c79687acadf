//! Layers of true size: what only shows when files have gigabytes.

#[path = "common/program.rs"]
mod program;

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

fn fathom() -> Command {
    program::fathom()
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Whether a file on its way has its header, behind which its contents are written.
fn has_header(path: &Path) -> bool {
    let mut start = [0; 4];
    fs::File::open(path).and_then(|mut file| file.read_exact(&mut start)).is_ok() && &start == b"GGUF"
}

/// Starts a run that takes seconds, sends it `signal` when its unfinished output shows, expects the signal's exit code and nothing left.
#[cfg(unix)]
fn stopped_by((signal, code): (&str, impl Into<Option<i32>>), output: &str, arguments: &[&str]) {
    let temp = tempfile::tempdir().unwrap();
    let mut child = fathom()
        .current_dir(temp.path())
        .args(["synth", "--preset", "v3.2-slice:1+0"])
        .args(arguments)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let unfinished = format!("{output}.part-");
    let start = Instant::now();
    let is_begun = |name: &String| {
        name.starts_with(&unfinished) && (signal != "-QUIT" || has_header(&temp.path().join(name)))
    };
    while !names(temp.path()).first().is_some_and(is_begun) {
        assert!(start.elapsed() < Duration::from_secs(60), "found {:?}", names(temp.path()));
        sleep(Duration::from_millis(2));
    }
    let kill = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
    assert_eq!(child.wait().unwrap().code(), code.into(), "{signal} {output}");
    let mut left = names(temp.path());
    // What the system may write about a program that it ends.
    left.retain(|name| !name.starts_with("core"));
    assert!(left.is_empty(), "{signal} {output}: {left:?}");
}

#[cfg(unix)]
#[test]
fn a_signal_ends_the_work_and_leaves_no_file() {
    stopped_by(("-INT", 130), "model.gguf", &["--type", "q8_0", "-o", "model.gguf"]);
    stopped_by(("-TERM", 143), "model.gguf", &["--type", "q8_0", "-o", "model.gguf"]);
    stopped_by(("-HUP", 129), "model.gguf", &["--type", "q8_0", "-o", "model.gguf"]);
    // The system's own end, and no flag that somebody looks at.
    stopped_by(("-QUIT", None), "model.gguf", &["--type", "q8_0", "-o", "model.gguf"]);
    stopped_by(("-INT", 130), "folder", &["--checkpoint", "folder"]);
}

/// The system kills a program that writes beyond its limit, unless it catches the signal: then the write fails.
#[cfg(unix)]
#[test]
fn a_file_that_outgrows_its_limit_is_an_error() {
    let temp = tempfile::tempdir().unwrap();
    let done = program::without_settings(Command::new("sh"))
        .current_dir(temp.path())
        .args(["-c", "ulimit -f 1000; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_fathom")])
        .args(["synth", "--preset", "v3.2-slice:1+0", "--type", "q8_0", "-o", "model.gguf"])
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(1), "{:?} {message}", done.status);
    assert!(message.contains("is too large for this disk or its limit"), "{message}");
    assert!(!temp.path().join("model.gguf").exists());
}

#[test]
fn the_whole_models_layout_is_known_in_seconds() {
    let temp = tempfile::tempdir().unwrap();
    let folder = temp.path().join("whole");
    let made = fathom()
        .args(["synth", "--preset", "v3.2", "--zeros", "--checkpoint"])
        .arg(&folder)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    assert_eq!(names(&folder).len(), 163 + 2);
    assert!(folder.join("model-00163-of-000163.safetensors").exists());
    let start = Instant::now();
    let run = fathom()
        .arg("quantize")
        .arg(&folder)
        .args(["--type", "q8_0", "--dry-run", "--json"])
        .output()
        .unwrap();
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
    let report: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
    // 642.12 GiB of FP8 become 678.56 GiB.
    assert_eq!(report["source_bytes"], 689_471_107_200u64);
    assert_eq!(report["tensor_bytes"], 728_594_777_088u64);
    assert_eq!(report["roles"][8]["role"], "experts down");
    assert_eq!(report["roles"][8]["bytes"], 235_585_667_072u64);
}
