//! Files of any state, disks that fail, chats beside each other.

use super::*;
use fathom_files::writing::{Fault, Faults};

fn empty() -> FileHistory {
    FileHistory::with_config(&rustyline::Config::builder().max_history_size(MOST).unwrap().build())
}

fn lines(path: &Path) -> Result<Vec<String>, String> {
    let mut lines = empty();
    load(&mut lines, path)?;
    Ok(lines.iter().cloned().collect())
}

/// The editor's own reading, which knows the form.
fn read_by_the_editor(path: &Path) -> Vec<String> {
    let mut lines = empty();
    lines.load(path).unwrap();
    lines.iter().cloned().collect()
}

#[test]
fn a_damaged_file_is_mended_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("history");
    assert_eq!(lines(&path), Ok(vec![]), "none yet");
    for (damaged, mended) in [
        (&b"#V2\none\ntw\xffo\nthree\n"[..], "#V2\none\ntw\u{fffd}o\nthree\n"),
        (b"\xf0\x9f\x98\nx\n", "#V2\n\u{fffd}\nx\n"),
    ] {
        std::fs::write(&path, damaged).unwrap();
        let read = lines(&path).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), mended);
        assert_eq!(read, mended.lines().filter(|line| *line != FORM).collect::<Vec<_>>());
        append(Disk::SYSTEM, &path, "four").unwrap();
        assert_eq!(lines(&path).unwrap().last().map(String::as_str), Some("four"));
    }
}

#[cfg(unix)]
#[test]
fn what_is_no_file_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("history");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    assert_eq!(lines(&pipe), Err("expected a file, found a pipe".to_owned()));
    assert_eq!(lines(folder.path()), Err("expected a file, found a folder".to_owned()));
    assert_eq!(lines(Path::new("/dev/zero")), Err("expected a file, found a device".to_owned()));
}

#[test]
fn what_is_added_is_what_the_editor_reads() {
    let folder = tempfile::tempdir().unwrap();
    // The folder is made, also again.
    let path = folder.path().join("fathom/history");
    let typed = ["one", "a\nb\\", "\\n", "é #V2"];
    typed.iter().for_each(|line| append(Disk::SYSTEM, &path, line).unwrap());
    assert_eq!(lines(&path).unwrap(), typed);
    assert_eq!(read_by_the_editor(&path), typed);
    // A line that is not escaped as it should be.
    std::fs::write(&path, "#V2\na\\tb\\n\n\nc\\\n").unwrap();
    assert_eq!(lines(&path).unwrap(), ["a\\tb\\n", "c\\"]);
    assert_eq!(read_by_the_editor(&path), lines(&path).unwrap());
    std::fs::remove_dir_all(folder.path().join("fathom")).unwrap();
    append(Disk::SYSTEM, &path, "again").unwrap();
    assert_eq!(lines(&path).unwrap(), ["again"]);
    // A writer that was killed leaves a half line, which stays one.
    std::fs::write(&path, "#V2\none\ntw").unwrap();
    append(Disk::SYSTEM, &path, "three").unwrap();
    assert_eq!(lines(&path).unwrap(), ["one", "tw", "three"]);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::remove_file(&path).unwrap();
        append(Disk::SYSTEM, &path, "x").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn a_long_file_and_one_of_the_first_form_are_brought_into_shape() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("history");
    std::fs::write(&path, "a\\n\nb\n").unwrap();
    assert_eq!(lines(&path).unwrap(), ["a\\n", "b"]);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "#V2\na\\\\n\nb\n");
    let all: Vec<String> = (0..=2 * MOST).map(|n| n.to_string()).collect();
    std::fs::write(&path, format!("#V2\n{}\n", all.join("\n"))).unwrap();
    lines(&path).unwrap();
    let last = format!("#V2\n{}\n", all[MOST + 1..].join("\n"));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), last);
}

#[test]
fn whichever_step_fails_no_line_is_lost() {
    for fault in [Fault::Full, Fault::Damaged, Fault::Short] {
        for at in 0.. {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("history");
            let faults = Faults::at(at, fault);
            let disk = Disk::failing(faults);
            std::fs::write(&path, "one\ntwo\n").unwrap();
            let is_tidied = tidy(disk, &path).is_ok();
            assert_eq!(is_tidied, !faults.happened(), "step {at}, {fault:?}");
            let before = if is_tidied { "#V2\none\ntwo\n" } else { "one\ntwo\n" };
            assert_eq!(std::fs::read_to_string(&path).unwrap(), before);
            let is_added = append(disk, &path, "three").is_ok();
            let after = if is_added { "three\n" } else { "" };
            assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{before}{after}"));
            assert_eq!(is_tidied && is_added, !faults.happened(), "step {at}, {fault:?}");
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no part is left");
            if !faults.happened() {
                assert!(at > 4, "not all steps go through the disk: {at}");
                break;
            }
        }
    }
}

#[test]
fn of_many_who_write_at_once_each_finds_all_it_wrote() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("history");
    std::fs::write(&path, "old\n").unwrap();
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let path = &path;
            scope.spawn(move || {
                for round in 0..50 {
                    append(Disk::SYSTEM, path, &format!("{writer} {round}")).unwrap();
                    // Others bring it into shape meanwhile.
                    tidy(Disk::SYSTEM, path).unwrap();
                }
            });
        }
    });
    let found = lines(&path).unwrap();
    assert_eq!((found.len(), found[0].as_str()), (201, "old"));
    for writer in 0..4 {
        let start = format!("{writer} ");
        let own: Vec<&str> = found.iter().filter_map(|line| line.strip_prefix(&start)).collect();
        assert_eq!(own, (0..50).map(|round| round.to_string()).collect::<Vec<_>>());
    }
}

/// Whoever brings it into shape, root too, leaves it to its owner.
#[cfg(unix)]
#[test]
fn the_file_stays_its_owners() {
    use std::os::unix::fs::{MetadataExt, chown};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("history");
    std::fs::write(&path, "one\n").unwrap();
    // Only root may give it away.
    let _ = chown(&path, Some(12345), Some(12346));
    let owner = || std::fs::metadata(&path).map(|about| (about.uid(), about.gid())).unwrap();
    let before = owner();
    tidy(Disk::SYSTEM, &path).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "#V2\none\n");
    assert_eq!(owner(), before);
}

/// A program that keeps the file locked holds nobody up.
#[test]
fn a_lock_is_not_waited_for_without_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("history");
    std::fs::write(&path, "#V2\none\n").unwrap();
    let theirs = File::open(&path).unwrap();
    theirs.lock().unwrap();
    assert_eq!(lines(&path).unwrap(), ["one"], "what is there can be read");
    let error = append(Disk::SYSTEM, &path, "two").unwrap_err();
    assert!(error.to_string().contains("another program keeps it locked"), "{error}");
    theirs.unlock().unwrap();
    append(Disk::SYSTEM, &path, "two").unwrap();
    assert_eq!(lines(&path).unwrap(), ["one", "two"]);
}
