//! What the command line says itself, and neither a settings file nor a default.

use clap::ArgMatches;
use clap::parser::ValueSource;
use std::collections::BTreeSet;

/// The parser's names of flags that were given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named(BTreeSet<String>);

/// What stands before the name of a flag that takes another one back.
const OPPOSITE: &str = "not ";

/// Takes from `$said` those fields of `$args` that the command line named. The fields behind the semicolon are left to the caller;
/// together they are all that the struct has.
macro_rules! take_named {
    ($args:ident: $type:ident, $said:ident, $named:ident, [$($field:ident),+; $($other:ident),*]) => {
        let $type { $($field,)+ $($other,)* } = $said;
        $($named.put(stringify!($field), &mut $args.$field, $field);)+
    };
}
pub(super) use take_named;

impl Named {
    /// Those of one verb.
    pub(super) fn of(matches: &ArgMatches) -> Named {
        let given = |id: &&clap::Id| matches.value_source(id.as_str()) == Some(ValueSource::CommandLine);
        let name = |id: &clap::Id| id.as_str().trim_start_matches(OPPOSITE).to_owned();
        Named(matches.ids().filter(given).map(name).collect())
    }

    /// Whether a flag was given, or what takes it back.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains(name)
    }

    /// Takes `from` if the flag was given.
    pub(crate) fn put<T: Clone>(&self, name: &str, to: &mut T, from: &T) {
        if self.has(name) {
            to.clone_from(from);
        }
    }
}
