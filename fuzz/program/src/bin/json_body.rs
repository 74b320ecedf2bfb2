//! The JSON bodies of contacts, users, webhooks and keys: what is taken keeps its bounds, and what is refused
//! is a 400 with sentences that do not repeat the whole of what was sent.
#![no_main]

use keyward::app::contacts::Channel;
use keyward::app::webhooks::fuzzing::check;
use keyward::v3::fuzzing::{
    contact, event_type, grace_seconds, invitation, is_active, key, key_name, object, role, webhook,
};
use keyward_core::permission::PermissionSet;
use keyward_core::role::Role;
use keyward_tower::ApiError;
use libfuzzer_sys::fuzz_target;

fn is_told(error: &ApiError) {
    assert_eq!(error.code().status().as_u16(), 400);
    assert!(!error.details().is_empty());
    for sentence in error.details().values().flatten() {
        assert!(!sentence.is_empty() && sentence.chars().count() < 400, "{sentence}");
    }
}

/// What was taken; of what was not, it is told why.
fn read<T>(result: Result<T, ApiError>) -> Option<T> {
    result.inspect_err(is_told).ok()
}

fuzz_target!(|data: &[u8]| {
    let value = serde_json::from_slice::<serde_json::Value>(data);
    let body = match object(data) {
        Ok(body) => body,
        Err(error) => {
            is_told(&error);
            // Refused is what is no JSON, no object, or names a member twice, which only we look for.
            if let Ok(value) = value {
                let twice = error.details()["body"][0].contains("twice");
                assert!(!value.is_object() || twice, "{error:?}");
            }
            return;
        }
    };
    let value = value.expect("an object is JSON");
    match contact(&body) {
        Ok(change) => {
            let said = value["default_channel"].as_str();
            assert_eq!(change.default_channel.map(Channel::as_str), said);
            assert_eq!(change.opt_out, value["opt_out"].as_bool());
        }
        Err(error) => is_told(&error),
    }
    match invitation(&body) {
        Ok((name, email, role)) => {
            assert!((1..=200).contains(&name.chars().count()) && name == name.trim());
            assert!(!name.chars().any(char::is_control));
            assert!(email.contains('@') && !email.chars().any(|c| c.is_control() || c == ' '));
            assert_ne!(role, Role::Owner);
        }
        Err(error) => is_told(&error),
    }
    if let Some(role) = read(role(&body)) {
        let role = role.expect("one that is missing is told of");
        assert!(role != Role::Owner && value["role"] == role.as_str());
    }
    if let Some(name) = read(key_name(&body)) {
        assert_eq!(name.as_deref(), value["name"].as_str().map(str::trim));
        let name = name.as_deref().unwrap_or("none");
        assert!((1..=100).contains(&name.chars().count()) && !name.chars().any(char::is_control));
    }
    if let Some(seconds) = read(grace_seconds(&body)) {
        let said = &value["grace_seconds"];
        assert!(said.is_null() || said.as_u64() == Some(seconds.into()));
        assert!(seconds <= 365 * 86_400);
    }
    if let Some(is_active) = read(is_active(&body)) {
        assert_eq!(value["is_active"].as_bool(), Some(is_active));
    }
    if let Some(name) = read(event_type(&body)) {
        let name = name.expect("one that is missing is told of");
        assert_eq!(value["event_type"], name.as_str());
    }
    match webhook(&body) {
        Ok(mut edit) => {
            let was = edit.event_types.clone();
            let faults = check(&mut edit);
            if faults.is_empty()
                && let (Some(before), Some(after)) = (was, edit.event_types)
            {
                assert!(!after.is_empty() && after.iter().all(|family| before.contains(family)));
            }
            for sentence in faults.values().flatten() {
                assert!(sentence.chars().count() < 800, "{sentence}");
            }
        }
        Err(error) => is_told(&error),
    }
    match key(&body) {
        Ok(read) => {
            if let Some(set) = read.permissions {
                assert!(set.is_within(PermissionSet::ALL));
                let names = value["permissions"].as_array().expect("a list");
                let name = |permission: &str| names.iter().any(|name| name == permission);
                assert!(set.iter().all(|permission| name(permission.as_str())));
            }
            for network in read.networks.iter().flatten() {
                assert_eq!(network.trunc(), *network);
            }
        }
        Err(error) => {
            assert_eq!(error.code().status().as_u16(), 400);
        }
    }
});
