//! `fathom models`: what is found, told and left alone.

mod common;

use common::forge::Forged;
use common::program;
use fathom_gguf::{TensorType, Writer};
use serde_json::Value as Json;
use std::fs::{create_dir_all, write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

fn builtin_file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/builtin/builtin.gguf")
}

/// A folder where a user could live.
struct Home {
    folder: tempfile::TempDir,
}

impl Home {
    fn new(settings: &str) -> Home {
        let home = Home { folder: tempfile::tempdir().unwrap() };
        create_dir_all(home.at("here")).unwrap();
        write(home.at("settings.toml"), settings).unwrap();
        home
    }

    fn at(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = program::fathom();
        for other in [
            "LLAMA_CACHE",
            "HF_HUB_CACHE",
            "HUGGINGFACE_HUB_CACHE",
            "HF_HOME",
            "XDG_CACHE_HOME",
            "XDG_DATA_HOME",
        ] {
            command.env_remove(other);
        }
        command.env("HOME", self.folder.path()).env("FATHOM_CONFIG", self.at("settings.toml"));
        command.current_dir(self.at("here")).arg("models").args(args);
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    fn json(&self, args: &[&str]) -> Json {
        let done = self.run(&[args, &["--json"]].concat());
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        serde_json::from_slice(&done.stdout).unwrap()
    }

    /// Names of the models, in order.
    fn names(&self, args: &[&str]) -> Vec<String> {
        let models = self.json(args)["models"].clone();
        models.as_array().unwrap().iter().map(|model| model["name"].as_str().unwrap().to_owned()).collect()
    }

    /// Puts the built-in model's file somewhere.
    fn model(&self, path: &str) -> PathBuf {
        let path = self.at(path);
        create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::copy(builtin_file(), &path).unwrap();
        path
    }
}

fn row<'j>(list: &'j Json, name: &str) -> &'j Json {
    let models = list["models"].as_array().unwrap();
    models.iter().find(|model| model["name"] == name).unwrap_or_else(|| panic!("no {name} in {list}"))
}

/// A valid file of another architecture.
fn llama() -> Vec<u8> {
    let mut writer = Writer::new();
    writer.metadata("general.architecture", "llama").unwrap();
    writer.tensor("token_embd.weight", TensorType::F32, &[4, 32]).unwrap();
    let layout = writer.layout().unwrap();
    let mut bytes = layout.header;
    bytes.resize(layout.file_bytes as usize, 0);
    bytes
}

#[test]
fn each_kind_of_file_is_a_row() {
    let home = Home::new("");
    let whole = home.model("m/whole.gguf");
    for (no, shard) in Forged::read(&whole).shards(3).iter().enumerate() {
        for (name, keep) in [("split", true), ("part", no != 1)] {
            if keep {
                shard.write(&home.at(&format!("m/{}", fathom_gguf::split::shard_name(name, no, 3))));
            }
        }
    }
    let bytes = std::fs::read(&whole).unwrap();
    write(home.at("m/short.gguf"), &bytes[..bytes.len() / 2]).unwrap();
    write(home.at("m/empty.gguf"), "").unwrap();
    write(home.at("m/other.gguf"), llama()).unwrap();
    write(home.at("m/readme.txt"), "no model").unwrap();
    let folder = home.at("m");
    let list = home.json(&[folder.to_str().unwrap()]);
    assert_eq!(list["models"].as_array().unwrap().len(), 6, "{list}");

    let whole = row(&list, "whole");
    assert_eq!(
        (&whole["verdict"], &whole["fits"], &whole["problem"]),
        (&"fits".into(), &true.into(), &Json::Null)
    );
    assert_eq!((&whole["architecture"], &whole["bytes"]), (&"deepseek32".into(), &bytes.len().into()));
    assert!(whole["types"][0]["bytes"].as_u64() > whole["types"][1]["bytes"].as_u64());
    assert!(whole["needed_bytes"].as_u64().unwrap() > bytes.len() as u64);
    let split = row(&list, "split");
    assert_eq!((&split["verdict"], &split["types"]), (&"fits".into(), &whole["types"]));
    assert!(split["path"].as_str().unwrap().ends_with("split-00001-of-00003.gguf"));
    let part = row(&list, "part");
    assert_eq!(
        (&part["verdict"], &part["runs"], &part["fits"]),
        (&"incomplete".into(), &false.into(), &Json::Null)
    );
    let why = part["problem"].as_str().unwrap();
    assert_eq!(why, "2 of 3 shards are there; missing: part-00002-of-00003.gguf");
    assert!(part["bytes"].as_u64().unwrap() < split["bytes"].as_u64().unwrap());
    for damaged in ["short", "empty"] {
        assert_eq!(row(&list, damaged)["verdict"], "damaged");
    }
    let other = row(&list, "other");
    assert_eq!((&other["verdict"], &other["architecture"]), (&"cannot run".into(), &"llama".into()));
    assert!(other["problem"].as_str().unwrap().contains("`llama`"));

    let done = home.run(&[folder.to_str().unwrap()]);
    assert!(done.status.success());
    let table = String::from_utf8(done.stdout).unwrap();
    assert!(
        table.contains("2 of 3 shards are there") && table.contains("another architecture: `llama`"),
        "{table}"
    );
    let told = String::from_utf8(done.stderr).unwrap();
    assert!(told.contains("fathom chat ") && told.contains("starts it"), "{told}");
}

#[test]
fn the_preset_is_what_was_asked_for_or_the_types_are_shown() {
    let home = Home::new("");
    let mut model = Forged::read(&home.model("m/made.gguf"));
    // Most weights of a small model are of another type.
    model.set("general.file_type", 17u32);
    model.set("general.quantized_by", "Fathom 0.1.0");
    model.unset("fathom.preset");
    model.write(&home.at("m/before.gguf"));
    model.set("fathom.preset", "q4_k_m");
    model.write(&home.at("m/made.gguf"));
    model.set("fathom.preset", "q9_z");
    model.write(&home.at("m/later.gguf"));
    model.unset("fathom.preset");
    model.unset("general.quantized_by");
    model.write(&home.at("m/others.gguf"));
    let folder = home.at("m");
    let list = home.json(&[folder.to_str().unwrap()]);
    for (name, preset) in [
        ("before", Json::Null),
        ("made", "q4_k_m".into()),
        ("later", Json::Null),
        ("others", "q5_k_m".into()),
    ] {
        assert_eq!(row(&list, name)["preset"], preset, "{name}");
    }
}

#[test]
fn every_known_folder_is_looked_through_and_each_file_is_told_once() {
    let home = Home::new(
        "[aliases]\nmine = 'elsewhere/x.gguf'\ngone = 'nowhere.gguf'\n[models]\nfolders = ['models']\n",
    );
    home.model("elsewhere/x.gguf");
    home.model("models/below/configured.gguf");
    home.model("here/current.gguf");
    home.model("here/one/down.gguf");
    home.model("here/one/two/too-far.gguf");
    home.model("here/.hidden/hidden.gguf");
    home.model(".local/share/fathom/models/data.gguf");
    home.model(".cache/llama.cpp/llama.gguf");
    let blob = home.model(".cache/huggingface/hub/models--a--b/blobs/0123");
    for snapshot in ["s1", "s2"] {
        let folder = home.at(&format!(".cache/huggingface/hub/models--a--b/snapshots/{snapshot}"));
        create_dir_all(&folder).unwrap();
        std::os::unix::fs::symlink(&blob, folder.join("hub.gguf")).unwrap();
        // Round and round.
        std::os::unix::fs::symlink(home.at(".cache/huggingface/hub"), folder.join("loop")).unwrap();
    }
    let mut names = home.names(&[]);
    let built_in = fathom::builtin::file().map(|_| "builtin");
    assert_eq!(names.first().map(String::as_str), built_in.or(Some("gone")), "{names:?}");
    names.sort();
    let mut expected = vec!["configured", "current", "data", "down", "gone", "hub", "llama", "mine"];
    expected.extend(built_in);
    expected.sort_unstable();
    assert_eq!(names, expected);
    let list = home.json(&[]);
    assert_eq!((&row(&list, "mine")["alias"], &row(&list, "mine")["fits"]), (&"mine".into(), &true.into()));
    assert_eq!(row(&list, "gone")["verdict"], "damaged");
    let told = String::from_utf8(home.run(&[]).stderr).unwrap();
    assert!(told.contains("fathom chat mine starts it"), "{told}");

    let moved = home.command(&["--json"]).env("LLAMA_CACHE", home.at("elsewhere")).output().unwrap();
    let list: Json = serde_json::from_slice(&moved.stdout).unwrap();
    assert!(!list.to_string().contains("llama.gguf"), "{list}");
    assert_eq!(home.names(&["../elsewhere"]), ["x"], "only what was named");
}

#[test]
fn where_nothing_is_that_is_told() {
    let home = Home::new("");
    let done = home.run(&[]);
    assert!(done.status.success());
    let told = String::from_utf8(done.stderr).unwrap();
    assert!(told.contains("no model that fits was found in ., "), "{told}");
    assert_eq!(home.run(&["/nowhere/at/all"]).status.code(), Some(3));
    let missing = Home::new("[models]\nfolders = ['/nowhere/at/all']");
    let done = missing.run(&[]);
    assert!(
        done.status.success() && String::from_utf8(done.stderr).unwrap().contains("note: /nowhere/at/all")
    );
}

#[test]
fn names_of_files_cannot_write_to_the_terminal() {
    let home = Home::new("");
    write(home.at("here/\u{1b}[31mred\n.gguf"), llama()).unwrap();
    let done = home.run(&["."]);
    assert!(done.status.success());
    let table = String::from_utf8(done.stdout).unwrap();
    assert!(!table.contains('\u{1b}') && table.lines().count() == 3, "{table}");
}

#[test]
fn hundreds_of_files_take_no_time() {
    let home = Home::new("");
    let file = llama();
    for n in 0..400 {
        write(home.at(&format!("here/{n}.gguf")), &file).unwrap();
    }
    let start = Instant::now();
    assert_eq!(home.names(&["."]).len(), 400);
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
}
