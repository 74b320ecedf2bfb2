//! The header `x-api-key`, and other texts of fixed form: each is read exactly when a second reading,
//! written differently, says so, and what is printed is read back as itself.
#![no_main]

use keyward_core::digest::KeyDigest;
use keyward_core::id::{AccountId, KeyId};
use keyward_core::key::{ApiKey, KeyHint, ParseKeyError};
use keyward_core::permission::{Permission, PermissionSet};
use keyward_core::role::Role;
use libfuzzer_sys::fuzz_target;
use uuid::Uuid;

fn is_key(text: &[u8]) -> bool {
    let groups: Vec<&[u8]> = text.split(|byte| *byte == b'-').collect();
    let lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
    lengths == [8, 4, 4, 4, 12] && groups.iter().all(|g| g.iter().all(u8::is_ascii_hexdigit))
}

fn check_key(data: &[u8]) {
    match ApiKey::parse(data) {
        Ok(key) => {
            assert!(is_key(data) && data.len() == 36);
            let text = str::from_utf8(data).expect("it is hexadecimal").to_ascii_lowercase();
            assert_eq!(*key.reveal(), text);
            assert_eq!(key.hint().as_str(), &text[32..]);
            assert_eq!(KeyHint::from_text(&text[32..]), Some(key.hint()));
            let bytes = Uuid::parse_str(&text).expect("it is a UUID").into_bytes();
            assert_eq!(key.digest(), KeyDigest::of(&bytes));
            assert_eq!(key.is_placeholder(), bytes == [0; 16] || bytes == [255; 16]);
            assert!(!format!("{key:?}").contains(&text[..8]));
        }
        Err(error) => {
            assert!(!is_key(data));
            match error {
                ParseKeyError::Length { found, surrounded } => {
                    assert!(found == data.len() && found != 36 && (found > 36 || !surrounded));
                }
                ParseKeyError::Hyphen { position } => {
                    assert!([9, 14, 19, 24].contains(&position) && data[position - 1] != b'-');
                }
                ParseKeyError::Character { position } => {
                    assert!(![9, 14, 19, 24].contains(&position));
                    assert!(!data[position - 1].is_ascii_hexdigit());
                }
            }
            let told = error.to_string();
            assert!(told.len() < 120 && told.is_ascii());
        }
    }
}

fn check_texts(text: &str) {
    let id = text.parse::<KeyId>();
    assert_eq!(id.is_ok(), is_key(text.as_bytes()));
    if let Ok(id) = id {
        assert_eq!(id.to_string(), text.to_ascii_lowercase());
        assert_eq!(id.to_text(), *id.to_string().as_bytes());
        assert_eq!(id.to_string().parse(), Ok(id));
        let account = text.parse::<AccountId>().expect("one form for all");
        assert_eq!(account.as_bytes(), id.as_bytes());
    }
    let is_digest = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let digest = KeyDigest::from_hex(text);
    assert_eq!(digest.is_some(), is_digest);
    if let Some(digest) = digest {
        let hex: String = digest.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, text.to_ascii_lowercase());
    }
    match text.parse::<Permission>() {
        Ok(permission) => {
            assert_eq!(permission.as_str(), text);
            assert!(PermissionSet::ALL.contains(permission));
        }
        Err(unknown) => assert!(unknown.to_string().len() < 1024),
    }
    if let Some(role) = Role::from_text(text) {
        assert_eq!(role.as_str(), text);
    }
    if let Some(hint) = KeyHint::from_text(text) {
        assert_eq!(hint.as_str(), text);
    }
}

fuzz_target!(|data: &[u8]| {
    check_key(data);
    if let Ok(text) = str::from_utf8(data) {
        check_texts(text);
    }
});
