//! Files that are no files, and files that change while they are in use.

use super::{put, run};
use crate::common::{convert, program};
use std::process::Command;
#[cfg(target_os = "linux")]
use std::time::{Duration, Instant};

#[test]
fn a_pipe_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    for verb in ["inspect", "doctor", "logits"] {
        let done = run(verb, &path);
        let message = String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.code(), Some(3), "{verb}: {message}");
        assert!(message.contains("expected a file on a disk, found a pipe"), "{verb}: {message}");
    }
}

#[test]
fn a_file_that_may_not_be_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = put(folder.path(), b"GGUF");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).unwrap();
    // The superuser may read everything, until the capabilities for that are gone.
    let reads_everything = std::fs::File::open(&path).is_ok();
    let done = if reads_everything {
        let without = "-dac_override,-dac_read_search";
        let mut command = program::without_settings(Command::new("setpriv"));
        command.arg(format!("--bounding-set={without}")).arg(format!("--inh-caps={without}"));
        command.arg(env!("CARGO_BIN_EXE_fathom")).arg("inspect").arg(&path).output().unwrap()
    } else {
        run("inspect", &path)
    };
    let message = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(3), "{message}");
    assert!(message.contains("Permission denied") && message.contains("check"), "{message}");
}

/// How far the program has come when its model loses its weights.
#[cfg(target_os = "linux")]
#[derive(Clone, Copy, Debug)]
enum When {
    /// The file is mapped, perhaps not yet read.
    Mapped,
    /// The model is loaded: the second thread of the team has started.
    Loaded,
}

#[cfg(target_os = "linux")]
impl When {
    fn has_come(self, process: u32) -> bool {
        match self {
            When::Mapped => std::fs::read_to_string(format!("/proc/{process}/maps"))
                .is_ok_and(|maps| maps.contains("model.gguf")),
            When::Loaded => std::fs::read_dir(format!("/proc/{process}/task")).is_ok_and(|tasks| {
                // Other threads warm weights up or wait for signals.
                let name = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("comm"));
                tasks.flatten().any(|task| name(task).is_ok_and(|name| name.trim_end() == "fathom-1"))
            }),
        }
    }
}

/// The program waits at its output, a pipe that is full, after its first token; then the model loses its weights; then somebody
/// reads, and the program goes on into pages that are gone.
#[cfg(target_os = "linux")]
#[test]
fn a_file_shortened_while_mapped_is_named() {
    use std::io::{Read, Write};
    use std::os::unix::fs::OpenOptionsExt;
    for when in [When::Mapped, When::Loaded] {
        let good = convert("base", "f32");
        let folder = good.path.parent().unwrap();
        let output = folder.join("logits.bin");
        assert!(Command::new("mkfifo").arg(&output).status().unwrap().success());
        let mut options = std::fs::OpenOptions::new();
        let mut pipe = options.read(true).write(true).custom_flags(libc::O_NONBLOCK).open(&output).unwrap();
        while pipe.write(&[0; 4096]).is_ok() {}
        let mut child = crate::common::fathom()
            .args(["logits", "--tokens", "0,5,300", "--threads", "2", "-b", "1", "-o"])
            .args([&output, &good.path])
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(180);
        while !when.has_come(child.id()) {
            assert_eq!(child.try_wait().unwrap(), None, "{when:?}: it ended before");
            assert!(Instant::now() < deadline, "{when:?}: it does not come so far");
            std::thread::yield_now();
        }
        let model = std::fs::OpenOptions::new().write(true).open(&good.path).unwrap();
        model.set_len(4096).unwrap();
        while child.try_wait().unwrap().is_none() {
            let _ = pipe.read(&mut [0; 4096]);
        }
        let done = child.wait_with_output().unwrap();
        let message = String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.code(), Some(3), "{when:?}: {:?}: {message}", done.status);
        for words in [
            "error: ",
            "model.gguf: byte ",
            "expected the file's contents, found nothing",
            "Restore the file",
        ] {
            assert!(message.contains(words), "{when:?}: {words:?} is missing in: {message}");
        }
    }
}
