//! Forms of the dashboard: fields are read as the browser meant them, at most 500, and what a form asks for
//! keeps its bounds.
#![no_main]

use keyward::dashboard::fuzzing::{asked, fields};
use keyward_core::permission::PermissionSet;
use keyward_core::time::UnixMillis;
use libfuzzer_sys::fuzz_target;

const NOW: UnixMillis = UnixMillis(1_704_067_200_000);

fuzz_target!(|data: &[u8]| {
    let pairs: Vec<(String, String)> = form_urlencoded::parse(data).into_owned().collect();
    let name = pairs.last().map_or("none", |(name, _)| name.as_str());
    let (n_fields, text, secret, all, has) = fields(data, name);
    assert_eq!(n_fields, pairs.len().min(500));
    if pairs.len() <= 500 {
        let same: Vec<&String> =
            pairs.iter().filter(|(other, _)| other == name).map(|(_, value)| value).collect();
        assert_eq!(has, !same.is_empty());
        assert_eq!(secret, same.first().map_or("", |value| value.as_str()));
        assert_eq!(text, secret.trim());
        assert_eq!(all, same.iter().map(|value| value.trim()).collect::<Vec<_>>());
    }
    let (key, faults, webhook) = asked(data, NOW);
    assert!(key.permissions.is_within(PermissionSet::ALL));
    if let Some(Some(at)) = key.expires_at {
        assert!(at > NOW);
    }
    assert!(key.networks.iter().all(|network| network.trunc() == *network));
    let names = ["permissions", "expires_at", "networks"];
    assert!(faults.keys().all(|name| names.contains(&name.as_str())));
    for family in webhook.event_filters.flatten().unwrap_or_default().keys() {
        assert!(webhook.event_types.iter().flatten().any(|ticked| ticked == family));
    }
});
