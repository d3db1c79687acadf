//! Names for models: what may stand for a MODEL besides a path.

use super::said::{Alias, did_you_mean};
use clap::builder::{PathBufValueParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::{Arg, Command};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// The name of the model inside the program.
pub(crate) const BUILT_IN: &str = "builtin";

/// Whether this names the built-in model; a file of that name is meant first.
pub(crate) fn is_builtin(path: &Path) -> bool {
    path == Path::new(BUILT_IN) && !path.exists()
}

/// Whether a text can only be a name: no folder before it, nothing after it.
pub(super) fn is_name(text: &str) -> bool {
    !text.contains(['/', '\\'])
        && !text.ends_with(".gguf")
        && !text.starts_with('.')
        && !text.starts_with('~')
}

/// The model that is meant, if a text is a name and no file.
///
/// # Errors
/// What the names are, if it is close to none of them.
pub(super) fn resolve(text: &Path, aliases: &[Alias]) -> Result<PathBuf, String> {
    let name = text.to_str().filter(|name| is_name(name) && !text.exists());
    let Some(name) = name else { return Ok(text.to_owned()) };
    if let Some(alias) = aliases.iter().find(|alias| alias.name == name) {
        return Ok(alias.target.clone());
    }
    let names: Vec<_> = aliases.iter().map(|alias| alias.name.as_str()).chain([BUILT_IN]).collect();
    let meant = did_you_mean(name, &names);
    if name == BUILT_IN || (aliases.is_empty() && meant.is_empty()) {
        return Ok(text.to_owned());
    }
    Err(format!("expected a file, a folder or an alias ({}), found `{name}`{meant}", names.join(", ")))
}

/// Takes a MODEL: a path, or a name.
#[derive(Clone, Debug)]
pub(super) struct ModelParser {
    pub aliases: Vec<Alias>,
}

impl TypedValueParser for ModelParser {
    type Value = PathBuf;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<PathBuf, clap::Error> {
        // What is wrong with every path, an empty one, is said in the parser's own words.
        let path = PathBufValueParser::new().parse_ref(command, arg, value)?;
        resolve(&path, &self.aliases).map_err(|why| {
            clap::Error::raw(ErrorKind::ValueValidation, format!("MODEL: {why}\n")).with_cmd(command)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::said::Origin;
    use super::*;

    #[test]
    fn paths_go_before_names_and_names_before_mistakes() {
        let alias = |name: &str| Alias {
            name: name.to_owned(),
            target: format!("/models/{name}.gguf").into(),
            origin: Origin::BuiltIn,
        };
        let aliases = [alias("large"), alias("src")];
        let found = |text: &str| resolve(Path::new(text), &aliases);
        assert_eq!(found("large"), Ok("/models/large.gguf".into()));
        assert_eq!(found("src"), Ok("src".into()), "a folder of this package");
        assert_eq!(found("builtin"), Ok("builtin".into()));
        for path in ["./large", "a/large", "large.gguf", "nowhere.gguf", ".."] {
            assert_eq!(found(path), Ok(path.into()));
        }
        let told = found("larg").unwrap_err();
        assert!(told.contains("did you mean `large`?"), "{told}");
        assert!(found("zzz").unwrap_err().contains("(large, src, builtin)"));
        assert_eq!(
            resolve(Path::new("zzz"), &[]),
            Ok("zzz".into()),
            "the verb tells that there is no such file"
        );
    }
}
