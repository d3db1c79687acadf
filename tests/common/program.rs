//! The program as tests start it: without the settings of whoever runs them.
#![allow(dead_code, reason = "each test program uses a part")]

use std::process::Command;

/// `fathom`, which reads no settings file and no variable of ours but the one that caps the processor's level.
pub fn fathom() -> Command {
    without_settings(Command::new(env!("CARGO_BIN_EXE_fathom")))
}

/// The same for a command that starts the program.
pub fn without_settings(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("FATHOM_") && name != "FATHOM_SIMD" {
            command.env_remove(name);
        }
    }
    command.env("FATHOM_SYSTEM_CONFIG", "/dev/null").env("FATHOM_CONFIG", "/dev/null");
    command
}
