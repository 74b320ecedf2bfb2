//! Keys from a CSV file: what is taken is a key or a digest in its form and a name that makes sense, each key
//! once; a fault names its line and never the key.
#![no_main]

use std::collections::HashSet;

use keyward::app::import::fuzzing::read;
use keyward_core::key::ApiKey;
use keyward_core::permission::PermissionSet;
use keyward_core::time::UnixMillis;
use libfuzzer_sys::fuzz_target;

const NOW: UnixMillis = UnixMillis(1_704_067_200_000);

fuzz_target!(|data: &[u8]| {
    let keys: Vec<&[u8]> =
        data.windows(36).filter(|window| ApiKey::parse(window).is_ok()).take(64).collect();
    let shows = |text: &str| {
        keys.iter().any(|key| text.as_bytes().windows(36).any(|window| window == *key))
    };
    let (rows, faults) = match read(data, NOW) {
        Ok(read) => read,
        Err(error) => {
            assert!(!shows(&format!("{error} {error:?}")));
            return;
        }
    };
    let n_lines = data.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count() + 1;
    let mut seen = HashSet::new();
    for row in &rows {
        assert!(seen.insert(*row.digest.as_bytes()), "a key came twice");
        assert!((1..=100).contains(&row.name.chars().count()));
        assert!(!row.name.chars().any(char::is_control) && row.name == row.name.trim());
        assert!(row.account.chars().count() <= 100);
        assert!(row.permissions.is_within(PermissionSet::ALL));
        assert!(row.expires_at.is_none_or(|at| at > NOW));
        assert!(usize::try_from(row.line).is_ok_and(|line| (2..=n_lines).contains(&line)));
    }
    for fault in &faults {
        assert!(usize::try_from(fault.line).is_ok_and(|line| line <= n_lines));
        assert!(!shows(&fault.reason), "{}", fault.reason);
        assert!(fault.reason.chars().count() < 600);
    }
    assert!(rows.len() + faults.len() <= n_lines);
});
