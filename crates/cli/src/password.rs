//! Where a password comes from: a file, the environment, or whoever sits at the terminal. Never
//! an argument, since every user of the machine can read those.

use crate::failure::Failure;
use clap::Args;
use skein_proto::login::Password;
use std::io::{self, BufRead as _, IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// The environment variable for scripts.
pub const VARIABLE: &str = "SKEIN_PASSWORD";

/// More than any password: what is longer is not a password file.
const MAX_FILE_BYTES: u64 = 4096;

/// How the password is given.
#[derive(Clone, Debug, Default, Args)]
pub struct PasswordArgs {
    /// Read the password from the first line of this file; `-` is standard input. Without it,
    /// SKEIN_PASSWORD is used if set; else you are asked
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
}

impl PasswordArgs {
    /// A password for a new account: typed twice, and long enough.
    ///
    /// # Errors
    /// It cannot be had, is too short, or was typed differently the second time.
    pub fn for_new_account(&self) -> Result<Password, Failure> {
        let password = match self.given()? {
            Some(password) => password,
            None => {
                let first =
                    ask(&format!("New password (at least {} characters): ", Password::MIN_CHARS))?;
                // Said before it has to be typed again.
                check_length(&first)?;
                if ask("The same again: ")? != first {
                    return Err(Failure::input("the two passwords differ: try again"));
                }
                first
            }
        };
        check_length(&password)?;
        Ok(password)
    }

    /// The password of an account that exists.
    ///
    /// # Errors
    /// It cannot be had.
    pub fn for_existing_account(&self) -> Result<Password, Failure> {
        match self.given()? {
            Some(password) => Ok(password),
            None => ask("Password: "),
        }
    }

    fn given(&self) -> Result<Option<Password>, Failure> {
        if let Some(path) = &self.password_file {
            let text =
                if path == Path::new("-") { first_line_of_stdin()? } else { first_line(path)? };
            return accept(&text).map(Some);
        }
        match std::env::var(VARIABLE) {
            Ok(text) => accept(&Zeroizing::new(text)).map(Some),
            Err(std::env::VarError::NotPresent) => Ok(None),
            Err(std::env::VarError::NotUnicode(_)) => {
                Err(Failure::input(format!("{VARIABLE} is not valid UTF-8")))
            }
        }
    }
}

fn check_length(password: &Password) -> Result<(), Failure> {
    if password.is_long_enough() {
        Ok(())
    } else {
        let least = Password::MIN_CHARS;
        Err(Failure::input(format!(
            "a password has at least {least} characters: choose a longer one"
        )))
    }
}

fn ask(prompt: &str) -> Result<Password, Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::input(format!(
            "there is no terminal to ask for the password: use --password-file FILE (or `-`), or \
             set {VARIABLE}"
        )));
    }
    let typed = rpassword::prompt_password(prompt).map(Zeroizing::new).map_err(|error| {
        if error.kind() == io::ErrorKind::Interrupted {
            Failure::interrupted()
        } else if error.kind() == io::ErrorKind::UnexpectedEof {
            Failure::input("no password was typed: nothing is done")
        } else {
            Failure::failed(format!("cannot read the password from the terminal: {error}"))
        }
    })?;
    accept(&typed)
}

fn accept(text: &str) -> Result<Password, Failure> {
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        return Err(Failure::input("the password is empty: type one, or give another file"));
    }
    Password::new(text).map_err(|_| Failure::input("a password has at most 256 bytes"))
}

fn first_line(path: &Path) -> Result<Zeroizing<String>, Failure> {
    let unreadable = |error: io::Error| {
        Failure::input(Failure::file("read the password file", path, &error).to_string())
    };
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut line = Zeroizing::new(String::new());
    io::BufReader::new(file.take(MAX_FILE_BYTES)).read_line(&mut line).map_err(unreadable)?;
    Ok(line)
}

fn first_line_of_stdin() -> Result<Zeroizing<String>, Failure> {
    let mut line = Zeroizing::new(String::new());
    let stdin = io::stdin().lock();
    stdin.take(MAX_FILE_BYTES).read_line(&mut line).map_err(|error| {
        Failure::input(format!("cannot read the password from standard input: {error}"))
    })?;
    Ok(line)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn from_file(content: &str) -> PasswordArgs {
        let dir = tempfile::tempdir().unwrap().keep();
        let path = dir.join("password");
        std::fs::write(&path, content).unwrap();
        PasswordArgs { password_file: Some(path) }
    }

    fn clean_up(args: &PasswordArgs) {
        let dir = args.password_file.as_deref().and_then(Path::parent).unwrap();
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_file_gives_its_first_line_without_the_line_end() {
        let args = from_file("correct horse\r\nsecond line\n");
        assert_eq!(args.for_new_account().unwrap().as_bytes(), b"correct horse");
        clean_up(&args);
    }

    #[test]
    fn a_short_password_is_refused_for_a_new_account_only() {
        let args = from_file("short\n");
        assert_eq!(args.for_new_account().unwrap_err().exit_code(), 2);
        assert_eq!(args.for_existing_account().unwrap().as_bytes(), b"short");
        clean_up(&args);
    }

    #[test]
    fn an_empty_or_missing_file_is_wrong_input() {
        let args = from_file("\n");
        assert_eq!(args.for_existing_account().unwrap_err().exit_code(), 2);
        clean_up(&args);
        assert_eq!(args.for_existing_account().unwrap_err().exit_code(), 2);
    }
}
