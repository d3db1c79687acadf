use super::*;
use crate::writing::{Fault, Faults};
use std::sync::Barrier;

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn place() -> (tempfile::TempDir, Target) {
    let temp = tempfile::tempdir().unwrap();
    let target = Target::new(temp.path().join("a.gguf"));
    (temp, target)
}

fn replacing(target: &Target) -> Target {
    Target { replace: true, ..target.clone() }
}

#[test]
fn the_name_appears_when_the_file_is_whole() {
    let (temp, target) = place();
    let output = PartFile::create(&target, 6).unwrap();
    output.write_at(b"def", 3).unwrap();
    output.write_at(b"abc", 0).unwrap();
    let [part] = &names(temp.path())[..] else { panic!("{:?}", names(temp.path())) };
    assert!(part.starts_with("a.gguf.part-"), "{part}");
    output.finish(|| false).unwrap();
    assert_eq!(names(temp.path()), ["a.gguf"]);
    assert_eq!(fs::read(&target.path).unwrap(), b"abcdef");
}

#[test]
fn what_is_not_finished_is_removed() {
    let (temp, target) = place();
    drop(PartFile::create(&target, 6).unwrap());
    assert!(names(temp.path()).is_empty());
    let interrupted = PartFile::create(&target, 6).unwrap().finish(|| true).unwrap_err();
    assert!(matches!(interrupted, WriteError::Interrupted));
    assert!(names(temp.path()).is_empty());
}

#[test]
fn an_existing_file_is_replaced_only_on_request() {
    let (_temp, target) = place();
    fs::write(&target.path, "old").unwrap();
    assert!(matches!(PartFile::create(&target, 3), Err(WriteError::Exists(_))));
    let output = PartFile::create(&replacing(&target), 3).unwrap();
    output.write_at(b"new", 0).unwrap();
    assert_eq!(fs::read(&target.path).unwrap(), b"old");
    output.finish(|| false).unwrap();
    assert_eq!(fs::read(&target.path).unwrap(), b"new");
}

#[test]
fn a_name_that_is_taken_meanwhile_is_not_written_over_and_the_work_is_kept() {
    let (temp, target) = place();
    let output = PartFile::create(&target, 3).unwrap();
    output.write_at(b"new", 0).unwrap();
    fs::write(&target.path, "theirs").unwrap();
    let Err(WriteError::Taken { kept, .. }) = output.finish(|| false) else { panic!("it was written over") };
    assert_eq!(fs::read(&target.path).unwrap(), b"theirs");
    assert_eq!(fs::read(kept).unwrap(), b"new");
    assert_eq!(names(temp.path()), ["a.gguf", "a.gguf.new-1"]);
}

#[test]
fn a_name_that_no_file_can_have_is_refused_before_anything_is_written() {
    let temp = tempfile::tempdir().unwrap();
    for name in ["a".repeat(251) + ".gguf", "b".repeat(300)] {
        let target = Target::new(temp.path().join(&name));
        for target in [replacing(&target), target] {
            let error = PartFile::create(&target, 3).unwrap_err();
            assert!(matches!(error, WriteError::NoSuchName { .. }), "{error}");
        }
    }
    let error = Target::new("-".into()).check().unwrap_err();
    assert!(matches!(error, WriteError::StandardOutput), "{error}");
    assert!(names(temp.path()).is_empty());
}

#[test]
fn a_folder_is_no_name_of_a_file_and_one_is_given() {
    let temp = tempfile::tempdir().unwrap();
    let there = temp.path().to_str().unwrap();
    for (name, example) in [
        (".", "./NAME)"),
        ("..", "../NAME)"),
        ("/", "/NAME)"),
        ("not/there/", "not/there/NAME)"),
        (there, "/NAME)"),
        ("", "it is empty"),
    ] {
        let target = Target::new(name.into());
        for target in [replacing(&target), target] {
            let error = target.check().unwrap_err();
            assert!(matches!(error, WriteError::NoSuchName { .. }), "{error}");
            let told = error.to_string();
            assert!(told.starts_with(name) && told.contains(example), "{told}");
            assert!(told.ends_with("give another name"), "{told}");
            assert_eq!(told.contains("it is a folder"), !name.is_empty(), "{told}");
        }
    }
}

#[test]
fn a_finished_file_outlives_a_name_that_it_cannot_have() {
    let temp = tempfile::tempdir().unwrap();
    // The longest name: there is no room for an ending.
    for name in ["a.gguf".to_owned(), "a".repeat(250) + ".ggu"] {
        let target = replacing(&Target::new(temp.path().join(name)));
        let output = PartFile::create(&target, 3).unwrap();
        output.write_at(b"new", 0).unwrap();
        // A folder does not give way to a file.
        fs::create_dir(&target.path).unwrap();
        let error = output.finish(|| false).unwrap_err();
        let message = error.to_string();
        let WriteError::NotRenamed { kept, .. } = error else { panic!("{message}") };
        assert_eq!(fs::read(&kept).unwrap(), b"new");
        assert!(message.contains(&kept.display().to_string()), "{message}");
        fs::remove_dir(&target.path).unwrap();
        drop(PartFile::create(&target, 3).unwrap());
        assert!(kept.exists(), "the next run took it for remains: {message}");
    }
}

#[test]
fn a_part_that_somebody_took_away_is_an_error() {
    let (temp, target) = place();
    let output = PartFile::create(&target, 3).unwrap();
    let part = temp.path().join(&names(temp.path())[0]);
    fs::remove_file(&part).unwrap();
    fs::write(&part, "theirs").unwrap();
    let message = output.finish(|| false).unwrap_err().to_string();
    assert!(message.contains("removed or replaced"), "{message}");
    assert!(!target.path.exists());
}

#[test]
fn whatever_others_keep_beside_it_is_left_alone() {
    let (temp, target) = place();
    // As browsers, `split` and earlier versions name things.
    let theirs =
        ["a.gguf.part", "a.gguf.part-aa", "a.gguf.part-000000", "a.gguf.part-0123456789abcdef", "b.gguf"];
    for name in theirs {
        fs::write(temp.path().join(name), name).unwrap();
    }
    let output = PartFile::create(&target, 3).unwrap();
    output.finish(|| false).unwrap();
    for name in theirs {
        assert_eq!(fs::read_to_string(temp.path().join(name)).unwrap(), name);
    }
    assert_eq!(names(temp.path()).len(), theirs.len() + 1);
}

#[test]
fn two_writers_do_not_meet_and_a_dead_ones_remains_are_removed() {
    let (temp, target) = place();
    let first = PartFile::create(&target, 3).unwrap();
    let dead = temp.path().join(&names(temp.path())[0]);
    assert!(matches!(PartFile::create(&target, 3), Err(WriteError::Busy(_))));
    assert!(matches!(PartFile::create(&replacing(&target), 3), Err(WriteError::Busy(_))));
    assert_eq!(names(temp.path()).len(), 1);
    // A killed one holds no lock.
    drop(first);
    fs::write(&dead, "remains").unwrap();
    let second = PartFile::create(&target, 3).unwrap();
    assert!(!dead.exists());
    second.write_at(b"abc", 0).unwrap();
    second.finish(|| false).unwrap();
    assert_eq!(fs::read(&target.path).unwrap(), b"abc");
    assert_eq!(names(temp.path()), ["a.gguf"]);
}

#[test]
fn of_many_that_begin_at_once_one_writes() {
    for round in 0..20 {
        let (temp, target) = place();
        let (start, end) = (Barrier::new(8), Barrier::new(8));
        let n_finished: usize = std::thread::scope(|scope| {
            let writer = |_| {
                scope.spawn(|| {
                    start.wait();
                    let output = PartFile::create(&target, 4);
                    // Nobody is through before all have tried.
                    end.wait();
                    match output {
                        Ok(output) => {
                            output.write_at(b"mine", 0).unwrap();
                            output.finish(|| false).unwrap();
                            1
                        }
                        Err(WriteError::Busy(_)) => 0,
                        Err(other) => panic!("{other}"),
                    }
                })
            };
            let writers: Vec<_> = (0..8).map(writer).collect();
            writers.into_iter().map(|writer| writer.join().unwrap()).sum()
        });
        assert_eq!((n_finished, &names(temp.path())[..]), (1, &["a.gguf".to_owned()][..]), "round {round}");
    }
}

#[test]
fn an_input_is_never_an_output() {
    let (temp, target) = place();
    let input = temp.path().join("in");
    fs::write(&input, "precious").unwrap();
    let mut others = vec![input.clone(), temp.path().join("./in")];
    fs::hard_link(&input, temp.path().join("hard")).unwrap();
    others.push(temp.path().join("hard"));
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("in", temp.path().join("link")).unwrap();
        others.push(temp.path().join("link"));
    }
    for path in others {
        let target = Target { path, inputs: vec![input.clone()], ..replacing(&target) };
        assert!(
            matches!(PartFile::create(&target, 3), Err(WriteError::IsInput { .. })),
            "{}",
            target.path.display()
        );
    }
    assert_eq!(fs::read(&input).unwrap(), b"precious");
}

#[cfg(unix)]
#[test]
fn links_are_written_through_and_only_files_are_replaced() {
    use std::os::unix::fs::symlink;
    let (temp, target) = place();
    let real = temp.path().join("real");
    fs::write(&real, "old").unwrap();
    symlink("real", &target.path).unwrap();
    assert!(matches!(PartFile::create(&target, 3), Err(WriteError::Exists(_))));
    let output = PartFile::create(&replacing(&target), 3).unwrap();
    output.write_at(b"new", 0).unwrap();
    output.finish(|| false).unwrap();
    assert!(target.path.is_symlink());
    assert_eq!(fs::read(&real).unwrap(), b"new");
    // A link to nothing is somebody's, too.
    fs::remove_file(&real).unwrap();
    assert!(matches!(PartFile::create(&target, 3), Err(WriteError::Exists(_))));
    for path in ["/dev/null", "/dev/stdout"].map(PathBuf::from) {
        if fs::metadata(&path).is_ok_and(|about| !about.is_file()) {
            let target = Target { path, ..replacing(&target) };
            assert!(matches!(target.check(), Err(WriteError::NotAFile(_))));
        }
    }
    for path in [temp.path().join("new/"), PathBuf::from("/"), PathBuf::from("..")] {
        let target = Target { path, ..replacing(&target) };
        assert!(matches!(target.check(), Err(WriteError::NoSuchName { .. })), "{}", target.path.display());
    }
}

#[test]
fn too_large_a_file_is_refused_with_both_numbers() {
    let (temp, target) = place();
    let needed = u64::MAX / 2;
    let error = PartFile::create(&target, needed).unwrap_err();
    assert!(names(temp.path()).is_empty());
    match error {
        WriteError::DiskFull { needed: found, available, .. } => {
            assert!(found == needed && available < needed)
        }
        // Where nobody can say how much room there is.
        WriteError::Io { .. } if !cfg!(unix) => {}
        other => panic!("{other}"),
    }
}

/// Lets every step of `write` fail, one after the other, until a run comes to its end.
fn every_step_fails(before: Option<&str>, write: impl Fn(&Target) -> Result<(), WriteError>) {
    for fault in [Fault::Full, Fault::Damaged, Fault::Short] {
        for at in 0.. {
            let temp = quick_folder();
            let target = Target::new(temp.path().join("a.gguf"));
            let beside = temp.path().join("a.gguf.part");
            fs::write(&beside, "another's").unwrap();
            if let Some(old) = before {
                fs::write(&target.path, old).unwrap();
            }
            let faults = Faults::at(at, fault);
            let target = Target { replace: before.is_some(), disk: Disk::failing(faults), ..target };
            let done = write(&target);
            let case = format!("step {at}, {fault:?}: {done:?}");
            assert_eq!(fs::read_to_string(&beside).unwrap(), "another's", "{case}");
            match &done {
                Ok(()) => {
                    assert!(!faults.happened(), "{case}: a fault that nobody heard of");
                    assert_eq!(names(temp.path()), ["a.gguf", "a.gguf.part"]);
                    assert!(at > 4, "{case}: not all steps go through the disk");
                    break;
                }
                // The work is done, and only its name is not what it was to be.
                Err(WriteError::NotRenamed { kept, .. }) => {
                    let n_bytes = fs::metadata(kept).unwrap().len();
                    write(&Target {
                        disk: Disk::SYSTEM,
                        replace: true,
                        path: temp.path().join("whole"),
                        ..target.clone()
                    })
                    .unwrap();
                    assert_eq!(n_bytes, fs::metadata(temp.path().join("whole")).unwrap().len(), "{case}");
                    fs::remove_file(temp.path().join("whole")).unwrap();
                    fs::remove_file(kept).unwrap();
                    assert_eq!(fs::read_to_string(&target.path).ok().as_deref(), before, "{case}");
                }
                Err(error) => {
                    assert!(error.to_string().contains("a.gguf"), "{case}");
                    if matches!(error, WriteError::NotDurable { .. }) {
                        assert_ne!(
                            fs::read(&target.path).ok(),
                            before.map(|old| old.as_bytes().to_vec()),
                            "{case}"
                        );
                    } else {
                        assert_eq!(fs::read_to_string(&target.path).ok().as_deref(), before, "{case}");
                    }
                }
            }
            let n_files = 1 + usize::from(target.path.exists());
            assert_eq!(names(temp.path()).len(), n_files, "{case}: {:?}", names(temp.path()));
            // Nothing is in the way of the next run.
            write(&Target { disk: Disk::SYSTEM, replace: true, ..target }).unwrap();
            assert_eq!(names(temp.path()), ["a.gguf", "a.gguf.part"], "{case}");
        }
    }
}

/// In memory where there is such a place: hundreds of files do not wait for a disk.
fn quick_folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

#[test]
fn whichever_step_fails_nothing_is_lost_and_nothing_is_left() {
    for before in [None, Some("old")] {
        every_step_fails(before, |target| {
            let output = PartFile::create(target, 3000)?;
            [2000, 0, 1000].into_iter().try_for_each(|at| output.write_at(&[7; 1000], at))?;
            output.finish(|| false)
        });
        every_step_fails(before, |target| {
            let mut output = Appending::create(target, 3 << 20)?;
            (0..3).try_for_each(|_| output.write(&[7; 1 << 20]))?;
            output.finish(|| false)
        });
    }
}
