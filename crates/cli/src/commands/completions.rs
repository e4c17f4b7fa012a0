//! `skein completions`.

use crate::args::Cli;
use crate::context::Context;
use crate::failure::Failure;
use clap::{Args, CommandFactory as _};
use clap_complete::Shell;
use serde_json::json;
use std::io::Write as _;

/// Prints what a shell needs to complete commands.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  skein completions bash > ~/.local/share/bash-completion/completions/skein
  skein completions fish > ~/.config/fish/completions/skein.fish
  skein completions zsh > ~/.zfunc/_skein        (with ~/.zfunc in your fpath)")]
pub struct CompletionsArgs {
    /// Your shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints them.
///
/// # Errors
/// The output cannot be written.
pub fn run(context: &Context, args: CompletionsArgs) -> Result<(), Failure> {
    // Into memory first: the generator panics when its output is closed.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "skein", &mut script);
    if context.ui.json {
        let shell = args.shell.to_string();
        let script = String::from_utf8_lossy(&script);
        return context.ui.value(&json!({ "shell": shell, "script": script }));
    }
    Ok(std::io::stdout().lock().write_all(&script)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_gets_a_script_that_knows_the_commands() {
        for shell in <Shell as clap::ValueEnum>::value_variants() {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "skein", &mut script);
            let script = String::from_utf8_lossy(&script);
            assert!(script.contains("login-server"), "{shell}");
        }
    }
}
