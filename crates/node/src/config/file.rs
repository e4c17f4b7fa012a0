//! The configuration file: TOML with one key for each setting.

use super::settings::{KEYS, Settings};
use std::fmt;
use std::fs;
use std::io;
use std::path::Path;
use toml::de::{DeTable, DeValue};

/// How alike two names must be (Jaro-Winkler) for one to be offered in place of the other; the
/// bound that clap uses for the names of flags.
const ALIKE: f64 = 0.7;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The daemon does not start with it.
    Error,
    /// It is allowed, but hardly meant.
    Warning,
}

/// Something that is to be said of a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The line, counted from 1, if it is about a line.
    pub line: Option<usize>,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl Finding {
    fn error(line: Option<usize>, message: String) -> Self {
        Self { severity: Severity::Error, line, message }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

/// Reads what is right in a file, and says what is not.
pub(super) fn parse(text: &str, base: &Path) -> (Settings, Vec<Finding>) {
    let mut settings = Settings::default();
    let mut findings = Vec::new();
    let line_of = |at: usize| text.get(..at).map(|before| before.matches('\n').count() + 1);

    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let line = error.span().and_then(|span| line_of(span.start));
        let named = error.span().and_then(|span| text.get(span));
        let message = match (error.message(), named) {
            ("duplicate key", Some(key)) => format!("{} is set twice", key.trim()),
            (message, _) => message.to_owned(),
        };
        findings.push(Finding::error(line, message));
    }
    for (key, value) in table.get_ref() {
        let line = line_of(key.span().start);
        let name: &str = key.get_ref();
        if !KEYS.contains(&name) {
            findings.push(Finding::error(line, unknown(name)));
            continue;
        }
        let result = match as_text(value.get_ref()) {
            Some(text) => settings.set(name, &text, base),
            None => Err("a number, a text in quotes, true or false is needed".to_owned()),
        };
        if let Err(why) = result {
            findings.push(Finding::error(line, format!("{name}: {why}")));
        }
    }
    findings.sort_by_key(|finding| finding.line);
    (settings, findings)
}

/// What the file holds, or why it cannot be read.
pub(super) fn read(path: &Path) -> io::Result<(Settings, Vec<Finding>)> {
    let text = fs::read_to_string(path)?;
    let base = path.parent().unwrap_or(Path::new(""));
    Ok(parse(&text, base))
}

pub(super) fn check(path: &Path) -> Vec<Finding> {
    let (settings, mut findings) = match read(path) {
        Ok(read) => read,
        Err(error) => {
            let message = format!("cannot read {}: {error}", path.display());
            return vec![Finding::error(None, message)];
        }
    };
    for (key, dir) in [("data_dir", &settings.data_dir), ("download_dir", &settings.download_dir)] {
        if let Some(dir) = dir.as_ref().filter(|dir| dir.exists() && !dir.is_dir()) {
            let message = format!("{key}: {} is there, but is no folder", dir.display());
            findings.push(Finding::error(None, message));
        }
    }
    if let (Some(data), Some(downloads)) = (&settings.data_dir, &settings.download_dir)
        && downloads.starts_with(data)
    {
        findings.push(Finding {
            severity: Severity::Warning,
            line: None,
            message: format!(
                "download_dir: {} lies inside the data folder, where one would hardly look",
                downloads.display()
            ),
        });
    }
    findings
}

/// What is to be said of the names of environment variables.
pub(super) fn check_variables(names: impl IntoIterator<Item = String>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for name in names {
        let Some(key) = name.strip_prefix("SKEIN_").map(str::to_lowercase) else { continue };
        // The names of variables are upper case: what is written otherwise is not read.
        if KEYS.contains(&key.as_str()) && name == variable(&key) {
            continue;
        }
        let hint = match nearest(&key) {
            Some(key) => format!("; did you mean {}?", variable(key)),
            None => String::new(),
        };
        let message = format!("the environment variable {name}: there is no such setting{hint}");
        findings.push(Finding { severity: Severity::Warning, line: None, message });
    }
    findings.sort_by(|a, b| a.message.cmp(&b.message));
    findings
}

/// The environment variable of a setting.
pub(super) fn variable(key: &str) -> String {
    format!("SKEIN_{}", key.to_uppercase())
}

fn as_text(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(integer) => i128::from_str_radix(integer.as_str(), integer.radix())
            .ok()
            .map(|number| number.to_string()),
        DeValue::Boolean(on) => Some(on.to_string()),
        _ => None,
    }
}

/// The setting that is most likely meant.
fn nearest(name: &str) -> Option<&'static str> {
    let spelt = name.replace('-', "_").to_lowercase();
    KEYS.into_iter()
        .map(|key| (strsim::jaro_winkler(&spelt, key), key))
        .filter(|(alike, _)| *alike > ALIKE)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, key)| key)
}

fn unknown(name: &str) -> String {
    match nearest(name) {
        Some(key) => format!("there is no setting {name:?}; did you mean {key:?}?"),
        None => format!("there is no setting {name:?}; there are: {}", KEYS.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn findings(text: &str) -> Vec<String> {
        parse(text, Path::new("/base")).1.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn settings_are_read() {
        let text = "# mine\nmax_children = 1_000\nrole = \"super\"\nscan_workers = 0x4\n";
        let (settings, findings) = parse(text, Path::new("/base"));
        assert_eq!(findings, []);
        assert_eq!(settings.max_children, Some(1_000));
        assert_eq!(settings.scan_workers, Some(4));
        assert_eq!(settings.role, Some(crate::api::types::RoleSetting::Super));
    }

    #[test]
    fn everything_that_is_wrong_is_said_with_its_line() {
        let text =
            "\nmax_childern = 3\nmax_children = 0\nrole = \"boss\"\nzzz = 1\nlisten = true\n";
        let found = findings(text);
        assert_eq!(found.len(), 5, "{found:?}");
        assert!(found[0].starts_with("line 2:") && found[0].contains("\"max_children\"?"));
        assert!(found[1].starts_with("line 3: max_children: 0 is not between 1 and 100000"));
        assert!(found[2].starts_with("line 4: role:"));
        assert!(found[3].starts_with("line 5:") && found[3].contains("there are: data_dir"));
        assert!(found[4].starts_with("line 6: listen:"));
    }

    #[test]
    fn one_setting_out_of_range_does_not_hide_another() {
        assert_eq!(findings("rescan_interval = \"1s\"\napi_listen = \"0.0.0.0:1\"").len(), 2);
    }

    #[test]
    fn a_hyphen_is_understood_as_a_slip() {
        assert!(findings("max-children = 3")[0].contains("\"max_children\"?"));
    }

    #[test]
    fn broken_toml_is_named_by_its_line() {
        let found = findings("role = \"super\"\nlisten = \n");
        assert!(found[0].starts_with("line 2:"), "{found:?}");
        let twice = findings("role = \"super\"\nrole = \"auto\"\n");
        assert_eq!(twice, ["line 2: role is set twice"]);
    }

    #[test]
    fn a_check_looks_at_the_folders_too() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("skein.toml");
        fs::write(temp.path().join("file"), "").unwrap();
        fs::write(&path, "data_dir = \"file\"\ndownload_dir = \"file/got\"\n").unwrap();
        let found = check(&path);
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(found[0].severity, Severity::Error);
        assert!(found[0].message.contains("no folder"));
        assert_eq!(found[1].severity, Severity::Warning);
        assert!(check(&temp.path().join("missing"))[0].message.contains("cannot read"));
    }

    #[test]
    fn variables_that_look_like_settings_and_are_none_are_named() {
        let names = ["SKEIN_MAX_CHILDRN", "SKEIN_ROLE", "SKEIN_role", "SKEIN_ZZZ", "HOME"];
        let found = check_variables(names.map(str::to_owned));
        assert!(found.iter().all(|finding| finding.severity == Severity::Warning));
        let said: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(
            said,
            [
                "the environment variable SKEIN_MAX_CHILDRN: there is no such setting; did you mean \
                 SKEIN_MAX_CHILDREN?",
                "the environment variable SKEIN_ZZZ: there is no such setting",
                "the environment variable SKEIN_role: there is no such setting; did you mean \
                 SKEIN_ROLE?",
            ]
        );
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "(role|listen)?( = )?\\PC{0,60}\\n?\\PC{0,60}") {
            let _ = parse(&text, Path::new("/base"));
        }
    }
}
