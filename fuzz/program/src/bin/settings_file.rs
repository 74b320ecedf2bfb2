//! `keyward.toml`: what is read are settings that exist, and what is wrong is told with its line.
#![no_main]

use keyward::config::sources::fuzzing::parse;
use keyward::config::{ConfigError, SETTINGS};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match parse(text) {
        Ok(values) => {
            for (name, _) in &values {
                assert!(SETTINGS.iter().any(|setting| setting.name == *name));
                assert!(text.contains(name) || text.contains('\\'), "{name}");
            }
        }
        Err(ConfigError::File { place, .. }) => {
            let line = place.strip_prefix("keyward.toml, line ").expect("the place is told");
            let line: usize = line.parse().expect("a number");
            assert!((1..=text.matches('\n').count() + 1).contains(&line));
        }
        Err(other) => panic!("{other}"),
    }
});
