//! Where settings come from: flags, `KEYWARD_` variables, `keyward.toml`, defaults; and who won.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::{SETTINGS, Setting, Settings};

/// The file that is read when none is named and it is there.
pub const DEFAULT_FILE: &str = "keyward.toml";

/// Flags by the name of their setting.
pub type Flags = BTreeMap<&'static str, String>;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    Flag(String),
    Variable(String),
    File { path: PathBuf, line: usize },
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => write!(f, "flag {flag}"),
            Self::Variable(variable) => write!(f, "variable {variable}"),
            Self::File { path, line } => write!(f, "{}, line {line}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// A setting in force and who said so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explained {
    pub name: &'static str,
    /// As it may be printed ([`Setting::shown`]).
    pub value: String,
    pub source: Source,
}

/// A setting that cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("{place}: {problem}")]
    File { place: String, problem: String },
    #[error("{origin}: {name} = {value:?}: {problem}")]
    Value { origin: Source, name: &'static str, value: String, problem: String },
}

/// Puts the settings together.
///
/// `file` is the file that was named; without it `keyward.toml` of the working folder is read if it
/// is there. `variable` looks up an environment variable.
///
/// # Errors
/// If the file cannot be read, names a setting that does not exist, or a value makes no sense.
pub fn load(
    flags: &Flags,
    variable: impl Fn(&str) -> Option<String>,
    file: Option<&Path>,
) -> Result<(Settings, Vec<Explained>), ConfigError> {
    let from_file = match file {
        Some(path) => read(path)?,
        None if Path::new(DEFAULT_FILE).exists() => read(Path::new(DEFAULT_FILE))?,
        None => BTreeMap::new(),
    };
    let mut settings = Settings::default();
    let mut explained = Vec::with_capacity(SETTINGS.len());
    for setting in SETTINGS {
        let name = setting.name;
        let (value, source) = if let Some(value) = flags.get(name) {
            (value.clone(), Source::Flag(setting.flag()))
        } else if let Some(value) = variable(&setting.variable()) {
            (value, Source::Variable(setting.variable()))
        } else if let Some((value, source)) = from_file.get(name) {
            (value.clone(), source.clone())
        } else {
            (setting.default.to_owned(), Source::Default)
        };
        (setting.apply)(&mut settings, &value).map_err(|problem| ConfigError::Value {
            origin: source.clone(),
            name,
            value: setting.shown(&value),
            problem,
        })?;
        explained.push(Explained { name, value: setting.shown(&value), source });
    }
    Ok((settings, explained))
}

type FromFile = BTreeMap<&'static str, (String, Source)>;

fn read(path: &Path) -> Result<FromFile, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|error| ConfigError::File {
        place: path.display().to_string(),
        problem: format!("cannot be read: {error}"),
    })?;
    parse(path, &text)
}

fn parse(path: &Path, text: &str) -> Result<FromFile, ConfigError> {
    let line_of = |at: usize| text[..at.min(text.len())].matches('\n').count() + 1;
    let fault = |at: usize, problem: String| ConfigError::File {
        place: format!("{}, line {}", path.display(), line_of(at)),
        problem,
    };
    let table = DeTable::parse(text).map_err(|error| {
        fault(error.span().map_or(0, |span| span.start), error.message().to_owned())
    })?;
    let mut values = BTreeMap::new();
    for (name, value) in table.get_ref() {
        let at = name.span().start;
        let Some(setting) = SETTINGS.iter().find(|setting| setting.name == name.get_ref().as_ref())
        else {
            let problem = format!("unknown setting '{}'{}", name.get_ref(), meant(name.get_ref()));
            return Err(fault(at, problem));
        };
        let Some(value) = plain(value.get_ref()) else {
            let problem = format!("{}: expected a text, a number or a list of texts", setting.name);
            return Err(fault(at, problem));
        };
        let source = Source::File { path: path.to_owned(), line: line_of(at) };
        values.insert(setting.name, (value, source));
    }
    Ok(values)
}

/// A value as it would stand in a variable.
fn plain(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => Some(number.to_string().replace('_', "")),
        DeValue::Boolean(is_on) => Some(is_on.to_string()),
        DeValue::Array(items) => {
            let items: Option<Vec<_>> = items.iter().map(|item| plain(item.get_ref())).collect();
            Some(items?.join(","))
        }
        DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Table(_) => None,
    }
}

/// `; did you mean 'listen'?` for a name that begins or ends like one that exists.
fn meant(name: &str) -> String {
    let shared = |setting: &Setting| {
        let front = setting.name.bytes().zip(name.bytes()).take_while(|(a, b)| a == b).count();
        let back =
            setting.name.bytes().rev().zip(name.bytes().rev()).take_while(|(a, b)| a == b).count();
        (front + back).min(setting.name.len())
    };
    let nearest = SETTINGS.iter().max_by_key(|setting| shared(setting));
    match nearest.filter(|setting| shared(setting) * 2 > setting.name.len()) {
        Some(setting) => format!("; did you mean '{}'?", setting.name),
        None => format!(
            "; there are: {}",
            SETTINGS.iter().map(|setting| setting.name).collect::<Vec<_>>().join(", ")
        ),
    }
}

/// For the fuzz targets alone.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing {
    use super::{ConfigError, Path};

    /// The names and values of a file.
    ///
    /// # Errors
    /// As for an operator.
    pub fn parse(text: &str) -> Result<Vec<(&'static str, String)>, ConfigError> {
        let values = super::parse(Path::new("keyward.toml"), text)?;
        Ok(values.into_iter().map(|(name, (value, _))| (name, value)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(text: &str) -> String {
        parse(Path::new("keyward.toml"), text).expect_err(text).to_string()
    }

    #[test]
    fn an_unknown_setting_is_refused_with_its_line() {
        assert_eq!(
            problem("# ours\nlisten = \"127.0.0.1:1\"\n\nlistn = 1\n"),
            "keyward.toml, line 4: unknown setting 'listn'; did you mean 'listen'?"
        );
        assert!(
            problem("[server]\nlisten = 1").starts_with("keyward.toml, line 1: unknown setting")
        );
        assert!(problem("listen = \n").starts_with("keyward.toml, line 1: "));
        assert!(problem("threads = 1.5").contains("threads: expected"));
    }

    #[test]
    fn a_flag_beats_a_variable_beats_the_file_beats_the_default() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("k.toml");
        let text = "threads = 2\nrate_limit_standard = 1_000\nrate_limit_sensitive = 20\n\
                    trusted_proxies = [\"10.0.0.0/8\", \"192.0.2.1\"]\n";
        std::fs::write(&path, text).expect("the folder is ours");
        let flags = Flags::from([("threads", String::from("4"))]);
        let variable = |name: &str| {
            let value = match name {
                "KEYWARD_THREADS" => "3",
                "KEYWARD_RATE_LIMIT_STANDARD" => "900",
                _ => return None,
            };
            Some(value.to_owned())
        };
        let (settings, explained) = load(&flags, variable, Some(&path)).expect("all is right");
        assert_eq!((settings.threads, settings.rate_limit_standard), (4, 900));
        assert_eq!((settings.rate_limit_sensitive, settings.rate_limit_webhook_test), (20, 60));
        assert_eq!(settings.trusted_proxies.len(), 2);
        let source =
            |name: &str| explained.iter().find(|e| e.name == name).expect(name).source.to_string();
        assert_eq!(source("threads"), "flag --threads");
        assert_eq!(source("rate_limit_standard"), "variable KEYWARD_RATE_LIMIT_STANDARD");
        assert!(source("rate_limit_sensitive").ends_with("k.toml, line 3"));
        assert_eq!(source("listen"), "default");
    }

    #[test]
    fn a_bad_value_is_refused_with_its_source() {
        let variable = |name: &str| (name == "KEYWARD_THREADS").then(|| String::from("many"));
        let error = load(&Flags::new(), variable, None).expect_err("many is no number").to_string();
        assert_eq!(
            error,
            "variable KEYWARD_THREADS: threads = \"many\": expected a number from 0 to 1024"
        );
    }

    #[test]
    fn a_file_that_was_named_must_be_there() {
        let error = load(&Flags::new(), |_| None, Some(Path::new("no/such.toml")));
        assert!(error.expect_err("there is none").to_string().contains("cannot be read"));
    }
}
