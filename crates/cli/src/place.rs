//! Where the data folder is, for commands that need nothing else of the settings.

use crate::context::shell_quoted;
use crate::failure::Failure;
use skein_node::config::{Config, ConfigBuilder, ConfigError};
use std::path::{Path, PathBuf};

/// The environment variable that sets the data folder.
const VARIABLE: &str = "SKEIN_DATA_DIR";

/// A path as it was typed: a `~` that the shell left alone, as in `--data-dir='~/x'`, is the home
/// folder, as in the settings file.
pub fn typed(path: &Path) -> PathBuf {
    let (Ok(rest), Some(home)) = (path.strip_prefix("~"), std::env::home_dir()) else {
        return path.to_owned();
    };
    if rest.as_os_str().is_empty() { home } else { home.join(rest) }
}

/// Refuses a file where the data folder should be.
///
/// # Errors
/// It is a file.
pub fn folder(path: &Path) -> Result<(), Failure> {
    if path.is_file() {
        return Err(Failure::input(format!(
            "{} is a file: --data-dir takes a folder",
            path.display()
        )));
    }
    Ok(())
}

/// The data folder, though the settings are wrong: a node that runs has to be reachable until they
/// are mended. `None` if the settings file may set another data folder.
pub fn despite_mistakes(chosen_file: Option<&PathBuf>) -> Option<PathBuf> {
    let given = || std::env::vars_os().filter(|(name, _)| name == VARIABLE);
    let file = settings_file(chosen_file)?;
    // The mistake may be in a variable that does not matter here.
    let builder = match chosen_file {
        Some(file) => ConfigBuilder::new().file(file),
        None => ConfigBuilder::new(),
    };
    if let Ok(config) = builder.environment(given()).build() {
        return Some(config.data_dir().to_owned());
    }
    let is_given = given().any(|(_, value)| !value.is_empty());
    let is_usual = || std::fs::read_to_string(&file).is_ok_and(|text| !text.contains("data_dir"));
    if !is_given && !is_usual() {
        return None;
    }
    let config = ConfigBuilder::new().no_file().environment(given()).build().ok()?;
    Some(config.data_dir().to_owned())
}

/// What is wrong in the settings, and how all of it can be seen.
pub fn explained(error: &ConfigError) -> Failure {
    match error {
        ConfigError::File { path, .. } => {
            let file = shell_quoted(&path.display().to_string());
            Failure::input(format!("{error}; `skein config check {file}` shows all that is wrong"))
        }
        _ => Failure::input(error.to_string()),
    }
}

/// The settings file at the platform's place, unless another was chosen.
pub fn settings_file(chosen: Option<&PathBuf>) -> Option<PathBuf> {
    chosen.cloned().or_else(Config::default_file)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn wrong_file(text: &str) -> (tempfile::TempDir, PathBuf, ConfigError) {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("skein.toml");
        std::fs::write(&path, text).unwrap();
        let error = ConfigBuilder::new().file(&path).build().unwrap_err();
        (temp, path, error)
    }

    #[test]
    fn a_wrong_file_hides_no_node_at_the_usual_place() {
        let (_temp, path, error) = wrong_file("role = 3\n");
        assert!(despite_mistakes(Some(&path)).is_some());
        let check = format!("`skein config check {}`", path.display());
        assert!(explained(&error).to_string().contains(&check));
        let (_temp, path, _) = wrong_file("role = 3\ndata_dir = \"/elsewhere\"\n");
        assert_eq!(despite_mistakes(Some(&path)), None);
    }

    #[test]
    fn a_tilde_that_the_shell_left_alone_is_the_home_folder() {
        let home = std::env::home_dir().unwrap();
        assert_eq!(typed(Path::new("~/x")), home.join("x"));
        assert_eq!(typed(Path::new("~")), home);
        assert_eq!(typed(Path::new("/a/~")), Path::new("/a/~"));
        assert_eq!(typed(Path::new("~x")), Path::new("~x"));
    }

    #[test]
    fn a_file_is_no_data_folder() {
        let temp = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(folder(temp.path()).unwrap_err().exit_code(), 2);
        assert_eq!(folder(Path::new("/no/such/folder")), Ok(()));
    }
}
