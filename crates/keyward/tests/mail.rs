//! Mail, as a mail server sees it: a real one on a free port, which takes, refuses or falls silent.

#[path = "support/smtp.rs"]
mod smtp;

use std::process::Command;

use keyward::config::{Flags, Settings, load};
use keyward::mail::{MailError, Mailer, Message};
use smtp::{Rules, Session, SmtpServer};

/// Settings by name, the rest as usual.
fn settings(of: &[(&'static str, &str)]) -> Settings {
    let flags: Flags = of.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let none = folder.path().join("none.toml");
    std::fs::write(&none, "").expect("the folder is ours");
    load(&flags, |_| None, Some(&none)).expect("they make sense").0
}

fn mailer(url: &str) -> Mailer {
    let settings = settings(&[("smtp_url", url), ("smtp_from", "Keyward <keyward@example.com>")]);
    Mailer::from_settings(&settings).expect("they fit together").expect("there is a server")
}

fn mailer_to(server: &SmtpServer) -> Mailer {
    mailer(&format!("smtp://ada:sesame@{}", server.address))
}

fn message(text: &str) -> Message {
    Message { to: "bob@example.com".into(), subject: "Greetings".into(), text: text.into() }
}

/// The headers that are not ours to hold, with their values replaced.
fn held(mail: &str) -> String {
    let hold = |line: &str| match line.split_once(": ") {
        Some((name @ ("Message-ID" | "Date"), _)) => format!("{name}: ...\n"),
        _ => format!("{line}\n"),
    };
    mail.lines().map(hold).collect()
}

#[tokio::test]
async fn a_message_arrives_as_it_was_written() {
    let mut server = SmtpServer::start(Rules::default()).await;
    let mut written = message("Dear Bob,\n\n.\nZoë has 5 = 2 + 3 keys.\n");
    written.subject = String::from("Schlüssel");
    let mailer = mailer_to(&server);
    // In a task of its own, for callers do the same.
    let sent = tokio::spawn(async move { mailer.send(written).await });
    assert_eq!(sent.await.expect("no panic"), Ok(()));
    let Session { said, mails } = server.session().await;
    assert_eq!(
        said,
        [
            "EHLO",
            "AUTH PLAIN AGFkYQBzZXNhbWU=",
            "MAIL FROM:<keyward@example.com>",
            "RCPT TO:<bob@example.com>",
            "DATA",
            "QUIT"
        ]
    );
    let mails: Vec<String> = mails.iter().map(|mail| held(mail)).collect();
    assert_eq!(
        mails,
        ["From: Keyward <keyward@example.com>
To: bob@example.com
Subject: =?utf-8?b?U2NobMO8c3NlbA==?=
Message-ID: ...
Auto-Submitted: auto-generated
MIME-Version: 1.0
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: quoted-printable
Date: ...

Dear Bob,

.
Zo=C3=AB has 5 =3D 2 + 3 keys.
"]
    );
}

#[tokio::test]
async fn it_signs_in_by_what_the_server_offers_and_not_at_all_without_a_user() {
    let check = async |offers: &'static [&'static str], user: &str, expected: &[&str]| {
        let mut server = SmtpServer::start(Rules { offers, ..Rules::default() }).await;
        let mailer = mailer(&format!("smtp://{user}{}", server.address));
        assert_eq!(mailer.send(message("Hello.\n")).await, Ok(()));
        let said = server.session().await.said;
        let end = said.iter().position(|line| line.starts_with("MAIL")).expect("there is mail");
        assert_eq!(said[1..end], *expected);
    };
    check(&["8BITMIME", "AUTH LOGIN"], "ada:sesame@", &["AUTH LOGIN", "YWRh", "c2VzYW1l"]).await;
    check(&["AUTH PLAIN"], "ada%40b.co:%C3%A4@", &["AUTH PLAIN AGFkYUBiLmNvAMOk"]).await;
    check(&[], "", &[]).await;
}

#[tokio::test]
async fn a_refusal_carries_the_servers_code_and_words() {
    let check = async |place: &'static str, answer: &'static str, code: u16, text: &str| {
        let answers = Box::leak(Box::new([(place, answer)]));
        let mut server = SmtpServer::start(Rules { answers, ..Rules::default() }).await;
        let refused = mailer_to(&server).send(message("Hello.\n")).await;
        assert_eq!(refused, Err(MailError::Refused { code, text: text.to_owned() }));
        let taken = server.session().await.mails.len();
        assert_eq!(taken, usize::from(place == "message"), "{place}");
    };
    check("greeting", "421 too busy", 421, "too busy").await;
    check("MAIL", "550 5.7.1 not you", 550, "5.7.1 not you").await;
    check("RCPT", "550-nobody\r\n550 by that name", 550, "nobody by that name").await;
    check("message", "452 no room \u{1b}[2J", 452, "no room  [2J").await;
    // The server may repeat what it was given to sign in.
    let words = "it does not take the user of smtp_url with this password";
    check("AUTH", "535 not AGFkYQBzZXNhbWU=, which is sesame", 535, words).await;
}

#[tokio::test]
async fn a_server_that_falls_silent_is_left_when_it_is_too_late() {
    let in_time = String::from("it did not answer in time");
    for place in ["greeting", "EHLO", "AUTH", "MAIL", "RCPT", "DATA", "message", "QUIT"] {
        let rules = Rules { hangs_at: Some(place), ..Rules::default() };
        let mut server = SmtpServer::start(rules).await;
        let sent = mailer_to(&server).send_until(message("Hello.\n"), server.silence()).await;
        // Once it is taken, nothing makes it untaken.
        let expected = match place {
            "QUIT" => Ok(()),
            _ => Err(MailError::Unreachable(in_time.clone())),
        };
        assert_eq!(sent, expected, "{place}");
        // The connection is closed, or this would hang.
        server.session().await;
    }
}

#[tokio::test]
async fn no_text_makes_a_header_a_recipient_or_a_command() {
    let mut server = SmtpServer::start(Rules::default()).await;
    let mailer = mailer_to(&server);
    for to in ["bob@example.com\r\nBcc: eve@example.com", "bob@example.com>\r\nRCPT TO:<eve@b.co"] {
        let message = Message { to: to.to_owned(), ..message("Hello.\n") };
        assert_eq!(mailer.send(message).await, Err(MailError::BadAddress));
    }
    let mut sly = message("Hello.\r\n.\r\nMAIL FROM:<eve@example.com>\r\n\r.\r\u{0}end\n.\n");
    sly.subject = String::from("Hi\r\nBcc: eve@example.com\r\n\r\nread this");
    assert_eq!(mailer.send(sly).await, Ok(()));
    // The first session: those refused never got as far as the server.
    let Session { said, mails } = server.session().await;
    let verbs: Vec<&str> = said.iter().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(verbs, ["EHLO", "AUTH", "MAIL", "RCPT", "DATA", "QUIT"]);
    assert_eq!(said[3], "RCPT TO:<bob@example.com>");
    let mails: Vec<String> = mails.iter().map(|mail| held(mail)).collect();
    assert_eq!(
        mails,
        ["From: Keyward <keyward@example.com>
To: bob@example.com
Subject: Hi  Bcc: eve@example.com    read this
Message-ID: ...
Auto-Submitted: auto-generated
MIME-Version: 1.0
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: 7bit
Date: ...

Hello.
.
MAIL FROM:<eve@example.com>
 .  end
.
"]
    );
}

#[tokio::test]
async fn an_address_that_the_server_cannot_write_is_a_bad_one() {
    let to_zoe = || Message { to: "zoë@example.com".to_owned(), ..message("Hello.\n") };
    let mut server = SmtpServer::start(Rules::default()).await;
    assert_eq!(mailer_to(&server).send(to_zoe()).await, Err(MailError::BadAddress));
    assert_eq!(server.session().await.said.len(), 2);

    let offers = &["AUTH PLAIN", "SMTPUTF8", "8BITMIME"];
    let mut server = SmtpServer::start(Rules { offers, ..Rules::default() }).await;
    assert_eq!(mailer_to(&server).send(to_zoe()).await, Ok(()));
    assert_eq!(server.session().await.said[3], "RCPT TO:<zoë@example.com>");
}

#[tokio::test]
async fn nothing_is_sent_in_clear_where_tls_is_asked_for() {
    let mut server = SmtpServer::start(Rules::default()).await;
    let url = format!("smtp://ada:sesame@{}?tls=required", server.address);
    let sent = mailer(&url).send(message("Hello.\n")).await;
    let reason = "STARTTLS is not supported on this server";
    assert_eq!(sent, Err(MailError::Unreachable(reason.to_owned())));
    assert_eq!(server.session().await.said, ["EHLO"]);

    let url = format!("smtps://ada:sesame@{}", server.address);
    let sent = mailer(&url).send(message("Hello.\n")).await;
    assert!(matches!(sent, Err(MailError::Unreachable(_))), "{sent:?}");
    assert_eq!(server.session().await.said, ["(TLS)"]);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unreachable() {
    let server = SmtpServer::start(Rules::default()).await;
    let mailer = mailer_to(&server);
    server.stop().await;
    let sent = mailer.send(message("Hello.\n")).await;
    assert!(matches!(sent, Err(MailError::Unreachable(_))), "{sent:?}");
}

#[test]
fn without_a_server_there_is_no_mailer_and_half_a_setting_is_an_error() {
    let none = Mailer::from_settings(&Settings::default()).expect("no mail is no error");
    assert!(none.is_none());

    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("the folder is ours");
        path.to_str().expect("a plain path").to_owned()
    };
    let from = ("smtp_from", "keyward@example.com");
    let check = |of: &[(&'static str, &str)], expected: &str| {
        let error = Mailer::from_settings(&settings(of)).expect_err(expected);
        let error = format!("{error:#} {error:?}");
        assert!(error.contains(expected), "{error}");
        assert!(!error.contains("sesame"), "{error}");
    };
    let user = ("smtp_url", "smtp://ada@localhost");
    let both = ("smtp_url", "smtp://ada:sesame@localhost");
    let password = file("password", "open sesame\n");
    check(&[user], "smtp_from is not");
    check(&[user, from], "names a user without a password");
    check(&[both, from, ("smtp_password_file", &password)], "leave one");
    check(
        &[("smtp_url", "smtp://localhost"), from, ("smtp_password_file", &password)],
        "names no user",
    );
    check(&[user, from, ("smtp_password_file", &file("empty", "\n"))], "is empty");
    check(&[user, from, ("smtp_password_file", &file("long", "sesame\nsesame\n"))], "one line");
    check(&[user, from, ("smtp_password_file", "no/such/file")], "cannot be read");
}

#[tokio::test]
async fn a_password_comes_from_a_file_and_is_in_nothing_that_prints() {
    let mut server = SmtpServer::start(Rules::default()).await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("password");
    std::fs::write(&path, "sesame\n").expect("the folder is ours");
    let settings = settings(&[
        ("smtp_url", &format!("smtp://ada@{}", server.address)),
        ("smtp_from", "keyward@example.com"),
        ("smtp_password_file", path.to_str().expect("a plain path")),
    ]);
    let mailer = Mailer::from_settings(&settings).expect("they fit").expect("there is a server");
    assert_eq!(mailer.send(message("Hello.\n")).await, Ok(()));
    assert_eq!(server.session().await.said[1], "AUTH PLAIN AGFkYQBzZXNhbWU=");
    assert_eq!(format!("{mailer:?}"), format!("Mailer({})", server.address));

    let with_url = self::settings(&[("smtp_url", "smtps://ada:sesame@mail.example.com")]);
    let printed = format!("{with_url:?}");
    assert!(printed.contains("smtps://ada:***@mail.example.com"), "{printed}");
    assert!(!printed.contains("sesame"), "{printed}");
}

#[test]
fn the_command_line_never_shows_the_password() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let run = |arguments: &[&str], url: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keyward"));
        // No setting of whoever runs the tests must reach them.
        command.env_clear().env("KEYWARD_SMTP_URL", url).current_dir(folder.path());
        let ended = command.args(arguments).output().expect("the program is built");
        let text = [ended.stdout, ended.stderr].concat();
        String::from_utf8(text).expect("it writes text")
    };
    let url = "smtps://ada:sesame@mail.example.com";
    for arguments in [&["config"][..], &["config", "--json"]] {
        let told = run(arguments, url);
        assert!(told.contains("smtps://ada:***@mail.example.com"), "{told}");
        assert!(!told.contains("sesame"), "{told}");
    }
    let told = run(&["config"], "ada:sesame@mail.example.com");
    assert!(told.contains("variable KEYWARD_SMTP_URL: smtp_url = \"***\": "), "{told}");
    assert!(told.contains("expected a URL") && !told.contains("sesame"), "{told}");
    let told = run(&["config", "--smtp-url", "smtp://ada:sesame"], "");
    assert!(told.contains("flag --smtp-url") && !told.contains("sesame"), "{told}");
}
