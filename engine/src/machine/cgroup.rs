//! The control groups this process is in, in either of the two layouts that Linux has had.

use std::fs::read_to_string;
use std::path::{Path, PathBuf};

/// Which layout a group belongs to: the names of its files differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// One tree for each controller.
    V1,
    /// One tree for all.
    V2,
}

impl Version {
    /// 1 or 2.
    pub fn number(self) -> u8 {
        match self {
            Version::V1 => 1,
            Version::V2 => 2,
        }
    }
}

/// One group: a folder with one file for each setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its layout.
    pub version: Version,
    folder: PathBuf,
}

impl Group {
    /// A file of the group, in one line.
    pub fn text(&self, file: &str) -> Option<String> {
        read_to_string(self.folder.join(file)).ok().map(|text| text.trim().to_owned())
    }

    /// A number; `max` and the like are none.
    pub fn number(&self, file: &str) -> Option<u64> {
        self.text(file)?.parse().ok()
    }

    /// The sum of some lines of a file of `name number` lines.
    pub fn sum(&self, file: &str, names: &[&str]) -> Option<u64> {
        let text = self.text(file)?;
        let values = text.lines().filter_map(|line| {
            let (name, value) = line.split_once(' ')?;
            names.contains(&name).then(|| value.trim().parse::<u64>().ok())?
        });
        Some(values.sum())
    }
}

/// The groups whose limits hold for this process, of one controller: its own and all above it. `root` is `/`, but in
/// tests.
///
/// Inside a container the path in `/proc/self/cgroup` may be the host's and not exist here; the tree's top is then
/// the container's own group.
pub fn groups(root: &Path, controller: &str) -> Vec<Group> {
    let tree = root.join("sys/fs/cgroup");
    let own = read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let mut groups = Vec::new();
    for line in own.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let (version, tops) = if controllers.is_empty() {
            (Version::V2, vec![tree.join("unified"), tree.clone()])
        } else if controllers.split(',').any(|c| c == controller) {
            (Version::V1, vec![tree.join(controllers), tree.join(controller)])
        } else {
            continue;
        };
        let Some(top) = tops.into_iter().find(|top| top.is_dir()) else { continue };
        let inner = path.trim_start_matches('/');
        let inner = if inner.split('/').any(|part| part == "..") { "" } else { inner };
        let folders: Vec<PathBuf> = top.join(inner).ancestors().map(Path::to_owned).collect();
        let inside = folders.into_iter().filter(|folder| folder.starts_with(&top) && folder.is_dir());
        groups.extend(inside.map(|folder| Group { version, folder }));
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{create_dir_all, write};

    #[test]
    fn own_groups_and_those_above_are_found_in_both_layouts() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        create_dir_all(at("proc/self")).unwrap();
        create_dir_all(at("sys/fs/cgroup/a/b")).unwrap();
        create_dir_all(at("sys/fs/cgroup/memory/m")).unwrap();
        write(at("proc/self/cgroup"), "4:memory:/m\n3:cpu:/host/path\n0::/a/b\n").unwrap();
        let folders = |controller| -> Vec<(u8, PathBuf)> {
            let found = groups(root.path(), controller);
            found.into_iter().map(|group| (group.version.number(), group.folder)).collect()
        };
        let v2 = ["a/b", "a", ""].map(|path| (2, at("sys/fs/cgroup").join(path)));
        let v1 = ["memory/m", "memory"].map(|path| (1, at("sys/fs/cgroup").join(path)));
        assert_eq!(folders("memory"), [&v1[..], &v2[..]].concat());
        assert_eq!(folders("cpu"), v2, "no tree is mounted for version 1's cpu");

        create_dir_all(at("sys/fs/cgroup/cpu")).unwrap();
        assert_eq!(folders("cpu")[0], (1, at("sys/fs/cgroup/cpu")), "a path of the host: the top counts");
        write(at("proc/self/cgroup"), "0::/../../x\n").unwrap();
        assert_eq!(folders("memory"), [(2, at("sys/fs/cgroup"))]);
    }

    #[test]
    fn files_are_read_as_text_numbers_and_sums() {
        let root = tempfile::tempdir().unwrap();
        let group = Group { version: Version::V2, folder: root.path().to_owned() };
        write(root.path().join("memory.max"), "max\n").unwrap();
        write(root.path().join("memory.current"), "42\n").unwrap();
        write(root.path().join("memory.stat"), "anon 1\nactive_file 2\ninactive_file 3\nodd\n").unwrap();
        assert_eq!(group.number("memory.max"), None);
        assert_eq!(group.number("memory.current"), Some(42));
        assert_eq!(group.sum("memory.stat", &["active_file", "inactive_file"]), Some(5));
        assert_eq!(group.number("missing"), None);
    }
}
