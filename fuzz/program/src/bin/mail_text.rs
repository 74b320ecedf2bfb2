//! What mails say: no name, line or address adds a line to a letter, or hides what it says.
#![no_main]

use keyward::mail::{Link, alert, invitation, password_reset};
use keyward_core::time::UnixMillis;
use keyward_fuzz_door::pieces::Pieces;
use libfuzzer_sys::fuzz_target;

/// What is not seen, or ends a line.
fn is_unseen(c: char) -> bool {
    c.is_control()
        || ('\u{202a}'..='\u{202e}').contains(&c)
        || ('\u{2066}'..='\u{2069}').contains(&c)
        || ['\u{2028}', '\u{2029}'].contains(&c)
}

fuzz_target!(|data: &[u8]| {
    let mut pieces = Pieces::of(data);
    let ends_at = UnixMillis(pieces.number().cast_signed());
    let text = String::from_utf8_lossy(pieces.rest()).into_owned();
    // Cut by a sign of its own, so that a part may hold the end of a line.
    let mut parts = text.split('\u{1}');
    let mut part = || parts.next().unwrap_or_default();
    let (account, other, url) = (part(), part(), part());
    let lines: Vec<String> = text.split('\u{1}').skip(3).map(ToOwned::to_owned).collect();
    let link = Link { url, ends_at };
    let usual = Link { url: "u", ends_at };
    let letters = [
        (invitation(account, other, link), invitation("a", "b", usual)),
        (password_reset(account, link), password_reset("a", usual)),
        (alert(account, other, &[], url), alert("a", "b", &[], "u")),
    ];
    for (letter, usual) in letters {
        assert!(!letter.subject.chars().any(is_unseen));
        assert!(!letter.text.chars().any(|c| c != '\n' && is_unseen(c)));
        assert_eq!(letter.text.lines().count(), usual.text.lines().count());
        assert!(letter.subject.chars().count() <= 200);
    }
    let told = alert(account, other, &lines, url);
    let most = alert("a", "b", &[], "u").text.lines().count() + 21;
    assert!(told.text.lines().count() <= most);
    assert!(!told.text.chars().any(|c| c != '\n' && is_unseen(c)));
});
