//! Chats on disks that fail, and folders that go away.

use super::super::command::Form;
use super::super::export;
use super::super::saved::tests::saved;
use super::*;
use fathom_files::writing::{Disk, Fault, Faults};
use fathom_text::chat::Assistant;
use std::collections::BTreeMap;

/// A chat on a disk that fails, and what the person may count on.
struct Chat {
    folder: tempfile::TempDir,
    disk: Disk,
    kept: Kept,
    /// Every file that was written, and what it holds.
    files: BTreeMap<PathBuf, String>,
    n_told: usize,
}

impl Chat {
    fn new(disk: Disk) -> Chat {
        // In memory where there is such a folder: nobody waits for a disk that is written hundreds of times.
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let shelf = Shelf::new(folder.path().join("sessions")).unwrap();
        drop(shelf.add("first", "of another day".into()).unwrap());
        let files = BTreeMap::from([(shelf.path("first"), "of another day".to_owned())]);
        let kept = Kept { remembers: true, shelf: Ok(shelf.on(disk)), ..Kept::new(false) };
        Chat { folder, disk, kept, files, n_told: 0 }
    }

    /// What comes of a step: told if it went wrong, and on the disk if it went well.
    fn after<T>(&mut self, done: Result<T, String>, path: &Path, text: &str) {
        match done {
            Ok(_) => drop(self.files.insert(path.to_owned(), text.to_owned())),
            Err(why) => {
                assert!(why.contains(self.folder.path().to_str().unwrap()), "{why}");
                self.n_told += 1;
                // Only its name is not sure yet.
                if std::fs::read_to_string(path).is_ok_and(|there| there == text) {
                    self.files.insert(path.to_owned(), text.to_owned());
                }
            }
        }
        self.check();
    }

    /// All that was written is there, whole, and nothing else.
    fn check(&self) {
        let shelf = self.folder.path().join("sessions");
        let files = [self.folder.path(), &shelf].map(|folder| std::fs::read_dir(folder).unwrap());
        let files = files.into_iter().flatten().map(|file| file.unwrap().path());
        let found: BTreeMap<PathBuf, String> = files
            .filter(|path| path.is_file())
            .map(|path| (path.clone(), std::fs::read_to_string(path).unwrap()))
            .collect();
        assert_eq!(found, self.files);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.kept.shelf().unwrap().path(name)
    }

    fn keep(&mut self, text: &str) {
        let done = self.kept.keep("A talk", text.to_owned());
        let path = self.path(self.kept.name().unwrap_or("a-talk"));
        self.after(done, &path, text);
    }

    /// A part of an answer, which nobody waits for; whether it was written.
    fn keep_beside(&mut self) -> bool {
        let unfinished = || Unfinished {
            before: Arc::new(saved()),
            answer: Assistant { content: "so".into(), ..Assistant::default() },
        };
        let Some(name) = self.kept.name().map(str::to_owned) else { return true };
        self.kept.keep_beside(unfinished());
        self.kept.settle();
        let (path, text) = (self.path(&name), unfinished().text().unwrap());
        let is_written = std::fs::read_to_string(&path).unwrap() == text;
        if is_written {
            self.files.insert(path, text);
        }
        self.check();
        is_written && self.kept.open.as_ref().is_some_and(|open| open.unsure().is_none())
    }

    fn rename(&mut self, name: &str) {
        let shelf = self.kept.shelf().unwrap().clone();
        let Some(open) = &mut self.kept.open else { return };
        let from = shelf.path(&open.name);
        let done = shelf.rename(open, name);
        let text = self.files[&from].clone();
        if !from.exists() {
            self.files.remove(&from);
        }
        self.after(done, &shelf.path(name), &text);
    }

    /// `/save` and `/export`, each to a file of its own.
    fn write(&mut self, again: bool) {
        let path = self.folder.path().join("talk.json");
        let ours = if again { Stamp::of(&path) } else { None };
        let done = saved().write_on(self.disk, &path, ours);
        self.after(done, &path, &saved().text().unwrap());
        let path = self.folder.path().join(format!("talk-{again}.md"));
        let conversation = Conversation { messages: vec![Message::user("so")], thinking: false };
        let done = export::write_on(self.disk, &conversation, "a model", Form::Markdown, &path);
        self.after(done, &path, "# A conversation with a model\n\n## You\n\nso\n");
    }
}

#[test]
fn whichever_step_fails_nothing_said_before_is_lost_and_the_chat_goes_on() {
    for fault in [Fault::Full, Fault::Damaged, Fault::Short] {
        for at in 0.. {
            let faults = Faults::at(at, fault);
            let mut chat = Chat::new(Disk::failing(faults));
            chat.keep("1");
            chat.keep("1 2");
            let is_written = chat.keep_beside();
            chat.keep("1 2 3");
            chat.rename("b");
            chat.keep("1 2 3 4");
            chat.write(false);
            chat.write(true);
            assert_eq!(chat.n_told > 0 || !is_written, faults.happened(), "step {at}, {fault:?}");
            // The disk is as good as before, and has room again.
            chat.kept.shelf = chat.kept.shelf.map(|shelf| shelf.on(Disk::SYSTEM));
            let n_told = chat.n_told;
            chat.keep("1 2 3 4 5");
            assert_eq!(chat.n_told, n_told, "step {at}, {fault:?}");
            if !faults.happened() {
                assert!(at > 25, "not all steps go through the disk: {at}");
                break;
            }
        }
    }
}

#[test]
fn ages_have_one_unit() {
    let told = |seconds: u64| since(Duration::from_secs(seconds));
    assert_eq!(told(59), "just now");
    assert_eq!(told(150), "2 min ago");
    assert_eq!(told(7300), "2 h ago");
    assert_eq!(told(100_000), "1 day ago");
    assert_eq!(told(1_000_000), "11 days ago");
}

/// Whatever the open conversation was doing when its folder went: all of it is written there again.
#[test]
fn a_folder_that_was_removed_is_made_again_and_the_conversation_is_kept() {
    let mut chat = Chat::new(Disk::SYSTEM);
    let gone = |chat: &mut Chat| {
        std::fs::remove_dir_all(chat.folder.path().join("sessions")).unwrap();
        chat.files.clear();
    };
    gone(&mut chat);
    chat.keep("1");
    gone(&mut chat);
    chat.keep("1 2");
    gone(&mut chat);
    // What did not change is written, too: it is nowhere else.
    chat.keep("1 2");
    assert_eq!((chat.n_told, chat.files.len(), chat.kept.name()), (0, 1, Some("a-talk")));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let about = std::fs::metadata(chat.folder.path().join("sessions")).unwrap();
        assert_eq!(about.permissions().mode() & 0o777, 0o700);
    }
}
