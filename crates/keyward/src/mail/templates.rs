//! What our mails say: what happened, why one gets this mail, and what to do if it is unexpected.
//!
//! Names are written by strangers, so they are cut to one line of 80 characters without anything
//! that is not seen. Plain text only: nothing is fetched by reading it.
//!
//! Bound: 20 lines of 200 characters in an alert.

use keyward_core::time::UnixMillis;

use super::Message;

/// A subject and a text, to nobody yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    pub subject: String,
    pub text: String,
}

impl Letter {
    #[must_use]
    pub fn to(self, address: impl Into<String>) -> Message {
        Message { to: address.into(), subject: self.subject, text: self.text }
    }
}

/// A link that works once, and not for ever.
#[derive(Clone, Copy, Debug)]
pub struct Link<'a> {
    pub url: &'a str,
    pub ends_at: UnixMillis,
}

const MOST_OF_A_NAME: usize = 80;
const MOST_LINES: usize = 20;
const MOST_OF_A_LINE: usize = 200;

/// Somebody may become a member of an account.
#[must_use]
pub fn invitation(account: &str, inviter: &str, link: Link<'_>) -> Letter {
    let (account, inviter) = (name(account), name(inviter));
    Letter {
        subject: format!("Invitation to {account}"),
        text: format!(
            "{inviter} invites you to {account} on Keyward, where its API keys are looked after.\n\
             \n\
             To accept, open this link:\n\
             \n\
             {}\n\
             \n\
             It works once, until {}.\n\
             \n\
             You get this mail because {inviter} entered your address. If you did not expect it, \
             leave it: without the link nothing happens.\n",
            one_line(link.url),
            ends(link.ends_at)
        ),
    }
}

/// Somebody, who may be anybody, asked for a new password.
#[must_use]
pub fn password_reset(account: &str, link: Link<'_>) -> Letter {
    let account = name(account);
    Letter {
        subject: format!("Choose a new password for {account}"),
        text: format!(
            "A new password was asked for, for your sign-in to {account} on Keyward.\n\
             \n\
             To choose one, open this link:\n\
             \n\
             {}\n\
             \n\
             It works once, until {}. Do not hand it on: whoever has it can sign in as you.\n\
             \n\
             You get this mail because somebody entered your address where one signs in. If that \
             was not you, leave it: your password stays as it is.\n",
            one_line(link.url),
            ends(link.ends_at)
        ),
    }
}

/// Something that an account wants to be told of has happened.
#[must_use]
pub fn alert(account: &str, title: &str, lines: &[String], url: &str) -> Letter {
    let (account, title) = (name(account), name(title));
    let mut told = String::new();
    for line in lines.iter().take(MOST_LINES) {
        told.push_str(&cut(line, MOST_OF_A_LINE));
        told.push('\n');
    }
    if lines.len() > MOST_LINES {
        told.push_str(&format!("and {} more\n", lines.len() - MOST_LINES));
    }
    Letter {
        subject: format!("{account}: {title}"),
        text: format!(
            "{title}\n\
             \n\
             {told}\n\
             More about it, after signing in (this link does not end):\n\
             \n\
             {}\n\
             \n\
             You get this mail because alerts of {account} on Keyward go to this address. If you \
             did not expect it, ask whoever looks after the account to take your address off.\n",
            one_line(url)
        ),
    }
}

fn name(text: &str) -> String {
    cut(text, MOST_OF_A_NAME)
}

/// `1 January 2024, 00:00 UTC`.
fn ends(at: UnixMillis) -> String {
    match jiff::Timestamp::from_millisecond(at.0) {
        Ok(at) => at.strftime("%-d %B %Y, %H:%M UTC").to_string(),
        Err(_) => crate::when(at),
    }
}

/// One line of at most so many characters.
pub(super) fn cut(text: &str, most: usize) -> String {
    let line = one_line(text);
    if line.chars().count() <= most {
        return line;
    }
    line.chars().take(most - 1).chain(['…']).collect()
}

/// Without anything that ends a line or is not seen.
pub(super) fn one_line(text: &str) -> String {
    let line: String = text.chars().map(|c| if is_unseen(c) { ' ' } else { c }).collect();
    line.trim().to_owned()
}

/// Only `\n` ends a line, nothing else is unseen, and the end of the last line is left to SMTP.
pub(super) fn lines(text: &str) -> String {
    let text = text.replace("\r\n", "\n");
    let text = text.trim_end();
    text.chars().map(|c| if c != '\n' && is_unseen(c) { ' ' } else { c }).collect()
}

/// Control characters, other ends of lines, and what turns the direction of writing.
fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: Link<'static> =
        Link { url: "https://keys.example.com/join/abc", ends_at: UnixMillis(1_704_067_200_000) };

    #[test]
    fn an_invitation_says_who_where_until_when_and_what_if_not() {
        let letter = invitation("Acme", "Ada Lovelace", LINK);
        assert_eq!(letter.subject, "Invitation to Acme");
        assert_eq!(
            letter.text,
            "Ada Lovelace invites you to Acme on Keyward, where its API keys are looked after.

To accept, open this link:

https://keys.example.com/join/abc

It works once, until 1 January 2024, 00:00 UTC.

You get this mail because Ada Lovelace entered your address. If you did not expect it, leave it: without the link nothing happens.
"
        );
    }

    #[test]
    fn a_reset_says_that_nothing_changes_by_itself() {
        let letter = password_reset("Acme", LINK);
        assert_eq!(letter.subject, "Choose a new password for Acme");
        assert_eq!(
            letter.text,
            "A new password was asked for, for your sign-in to Acme on Keyward.

To choose one, open this link:

https://keys.example.com/join/abc

It works once, until 1 January 2024, 00:00 UTC. Do not hand it on: whoever has it can sign in as you.

You get this mail because somebody entered your address where one signs in. If that was not you, leave it: your password stays as it is.
"
        );
    }

    #[test]
    fn an_alert_tells_its_lines_and_who_can_end_it() {
        let lines = ["412 of 500 requests failed".to_owned(), "Key 'billing job'".to_owned()];
        let letter = alert("Acme", "Many errors", &lines, "https://keys.example.com/alerts/7");
        assert_eq!(letter.subject, "Acme: Many errors");
        assert_eq!(
            letter.text,
            "Many errors

412 of 500 requests failed
Key 'billing job'

More about it, after signing in (this link does not end):

https://keys.example.com/alerts/7

You get this mail because alerts of Acme on Keyward go to this address. If you did not expect it, ask whoever looks after the account to take your address off.
"
        );
        let many = vec!["x".repeat(300); 23];
        let text = alert("Acme", "Many", &many, "https://keys.example.com").text;
        assert_eq!(text.lines().filter(|line| line.starts_with("xxx")).count(), 20);
        assert!(text.lines().all(|line| line.chars().count() <= 200));
        assert!(text.contains("and 3 more\n"));
    }

    #[test]
    fn a_name_is_one_short_line_in_which_all_is_seen() {
        let sly = "Acme\r\nBcc: all@example.com\n\n\u{202e}Visit\u{7} us\u{2028}";
        let letter = invitation(sly, &"A".repeat(200), LINK);
        assert_eq!(letter.subject, "Invitation to Acme  Bcc: all@example.com   Visit  us");
        let first = letter.text.lines().next().expect("it has a first line");
        let shown = format!("{}… invites you to Acme  Bcc: all@exam", "A".repeat(79));
        assert!(first.starts_with(&shown), "{first}");
        assert_eq!(letter.text.lines().count(), invitation("a", "b", LINK).text.lines().count());
    }

    #[test]
    fn a_letter_becomes_a_message_to_somebody() {
        let letter = Letter { subject: "s".to_owned(), text: "t".to_owned() };
        let message = Message { to: "a@b.co".into(), subject: "s".into(), text: "t".into() };
        assert_eq!(letter.to("a@b.co"), message);
    }
}
