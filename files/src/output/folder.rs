//! A folder that exists under its name only when it is whole.

use super::WriteError;
use crate::part::{self, Part};
use crate::writing::Disk;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A folder on its way, removed unless it is finished.
#[derive(Debug)]
pub struct PartFolder {
    part: Part,
    /// Where it goes.
    place: PathBuf,
    disk: Disk,
}

impl PartFolder {
    /// Begins with an empty folder.
    ///
    /// # Errors
    /// If the name is in use, or another process writes the same folder.
    pub fn create(target: &Path, disk: Disk) -> Result<PartFolder, WriteError> {
        let in_use = match fs::read_dir(target) {
            Ok(mut entries) => entries.next().is_some(),
            Err(_) => fs::symlink_metadata(target).is_ok(),
        };
        if in_use || target.file_name().is_none() {
            return Err(WriteError::FolderInUse(target.to_owned()));
        }
        // Through a link, and whatever ends the name.
        let place = target.canonicalize().unwrap_or_else(|_| target.components().collect());
        Ok(PartFolder { part: Part::folder(&place)?, place, disk })
    }

    /// Where it is while it is written.
    pub fn path(&self) -> &Path {
        self.part.path()
    }

    /// Makes it durable and gives it its name.
    ///
    /// # Errors
    /// If the disk fails, or the name was taken meanwhile: then it is whole, and has another one.
    pub fn finish(mut self) -> Result<(), WriteError> {
        let rename = WriteError::io("rename the finished folder to", &self.place);
        self.disk.sync_folder(self.path()).map_err(WriteError::io("write", &self.place))?;
        // An empty folder gives way to another by itself, but not on every system.
        #[cfg(not(unix))]
        let _ = fs::remove_dir(&self.place);
        match self.disk.rename(self.path(), &self.place) {
            Ok(()) => self.part.keep(),
            Err(error) if is_taken(&error) => {
                let kept = self.part.keep_beside(&self.place, self.disk);
                return Err(WriteError::Taken { path: self.place.clone(), kept });
            }
            Err(error) => return Err(rename(error)),
        }
        self.disk
            .sync_folder(part::folder(&self.place))
            .map_err(|source| WriteError::NotDurable { path: self.place.clone(), source })
    }
}

/// Whether a folder did not get a name because something else has it.
fn is_taken(error: &io::Error) -> bool {
    use io::ErrorKind::{AlreadyExists, DirectoryNotEmpty, NotADirectory};
    [AlreadyExists, DirectoryNotEmpty, NotADirectory].contains(&error.kind())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_writers_of_a_folder_do_not_meet_and_remains_are_removed() {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path().join("model");
        let first = PartFolder::create(&folder, Disk::SYSTEM).unwrap();
        assert!(matches!(PartFolder::create(&folder, Disk::SYSTEM), Err(WriteError::Busy(_))));
        let dead = first.path().to_owned();
        drop(first);
        fs::create_dir(&dead).unwrap();
        fs::write(dead.join("model-00001-of-000001.safetensors"), "remains").unwrap();
        let unrelated = temp.path().join("model.part");
        fs::create_dir(&unrelated).unwrap();
        PartFolder::create(&folder, Disk::SYSTEM).unwrap().finish().unwrap();
        assert!(!dead.exists() && unrelated.exists() && folder.exists());
    }
}
