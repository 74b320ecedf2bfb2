//! The values of all settings, lists of networks among them: what is taken keeps its bounds, what is printed
//! is read back as the same, and what is refused shows no password.
#![no_main]

use keyward::config::{self, Flags, SETTINGS, Settings, SmtpUrl};
use keyward_fuzz_door::pieces::Pieces;
use libfuzzer_sys::fuzz_target;

fn check(settings: &Settings) {
    assert!((1024..=64 << 20).contains(&settings.max_body_bytes));
    assert!(settings.threads <= 1024);
    for limit in [
        settings.rate_limit_standard,
        settings.rate_limit_sensitive,
        settings.rate_limit_webhook_test,
        settings.rate_limit_unauthenticated,
    ] {
        assert!((1..=1_000_000).contains(&limit));
    }
    for network in settings.trusted_proxies.iter().chain(&settings.webhook_networks) {
        assert_eq!(config::network(&network.to_string()), Ok(*network));
        assert_eq!(network.trunc(), *network);
    }
    for url in settings.public_url.iter().chain([&settings.docs_url]) {
        assert!(url.starts_with("http://") || url.starts_with("https://"));
        assert!(!url.ends_with('/') && url.bytes().all(|byte| byte.is_ascii_graphic()));
        assert!(!url.contains(['"', '<', '>', '\\']));
    }
    assert!((0..=3650).contains(&settings.request_days));
    assert!((0..=720).contains(&settings.webhook_secret_grace_hours));
}

fuzz_target!(|data: &[u8]| {
    let mut pieces = Pieces::of(data);
    let setting = &SETTINGS[usize::from(pieces.byte()) % SETTINGS.len()];
    let Ok(text) = str::from_utf8(pieces.rest()) else { return };
    let flags = Flags::from([(setting.name, text.to_owned())]);
    match config::load(&flags, |_| None, None) {
        Ok((settings, explained)) => {
            check(&settings);
            assert_eq!(explained.len(), SETTINGS.len());
        }
        Err(error) => {
            let told = error.to_string();
            if setting.name == "smtp_url" {
                assert!(told.contains("\"***\"") || text.is_empty(), "{told}");
            }
        }
    }
    if let Ok(list) = config::networks(text) {
        let again: Vec<String> = list.iter().map(ToString::to_string).collect();
        assert_eq!(config::networks(&again.join(",")), Ok(list));
    }
    if let Ok(url) = SmtpUrl::parse(text) {
        let shown = format!("{url:?}");
        if let Some(password) = &url.password {
            assert!(url.user.is_some() && shown.contains(":***@"), "{shown}");
            // One that is long enough not to stand there by chance.
            let password = password.expose();
            let mut without = url::Url::parse(text).expect("it was read as one");
            let _ = without.set_password(Some("***"));
            let elsewhere = without.as_str().contains(password.as_str())
                || url.user.as_ref().is_some_and(|user| user.contains(password.as_str()))
                || "smtps://***tls=required".contains(password.as_str());
            assert!(password.len() < 4 || elsewhere || !shown.contains(password.as_str()));
        }
        for part in [Some(&url.host), url.user.as_ref()].into_iter().flatten() {
            assert!(!part.chars().any(char::is_control));
        }
    }
});
