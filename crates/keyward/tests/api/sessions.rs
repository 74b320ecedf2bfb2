//! What somebody who has a password, a session or an address of another can do with what is slow or held back:
//! nothing after it was taken away. Contract 10.

use keyward::app::sessions::Visitor;
use keyward::app::{people, sessions};
use keyward::config::SmtpUrl;
use keyward_core::role::Role;
use keyward_store::{sessions as rows, users};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use zeroize::Zeroizing;

use crate::dashboard::{Browser, PASSWORD, form, member};
use crate::smtp::{Rules, SmtpServer};
use crate::support::{Reply, TestServer};
use crate::who::with_second_factor;

const OWNER: &str = "owner@example.com";
const ANOTHER: &str = "another horse, another battery";

async fn mailing(smtp: &SmtpServer, public_url: Option<&str>) -> TestServer {
    let url = format!("smtp://{}", smtp.address);
    TestServer::start_with(|settings| {
        settings.smtp_url = Some(SmtpUrl::parse(&url).expect("it is one"));
        settings.smtp_from = Some("Keyward <keyward@example.com>".parse().expect("it is one"));
        settings.public_url = public_url.map(Into::into);
    })
    .await
}

#[tokio::test]
async fn a_link_for_a_new_password_leads_where_the_operator_says_and_nowhere_else() {
    let mut smtp = SmtpServer::start(Rules::default()).await;
    let forgot = async |server: &TestServer, origin: &str| {
        let body = format!("email={}", OWNER.replace('@', "%40"));
        let head = format!(
            "POST /forgot HTTP/1.1\r\nhost: evil.example\r\norigin: {origin}\r\nconnection: close\r\n\
             content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        server.raw(head.as_bytes()).await
    };
    let server = mailing(&smtp, None).await;
    member(&server, Role::Owner).await;
    let told = forgot(&server, "http://evil.example").await;
    assert_eq!(told.status, 200, "{told:?}");
    assert!(told.body.contains("sends no mail for this"), "{told:?}");
    let server = mailing(&smtp, Some("https://keys.example.com")).await;
    member(&server, Role::Owner).await;
    let refused = forgot(&server, "https://evil.example").await;
    assert_eq!(refused.status, 403, "{refused:?}");
    let sent = forgot(&server, "https://keys.example.com").await;
    assert!(sent.body.contains("is on its way"), "{sent:?}");
    // The first that is sent by either.
    let mail = smtp.session().await.mails.concat();
    assert!(mail.contains("https://keys.example.com/reset/") && !mail.contains("evil"), "{mail}");
}

#[tokio::test]
async fn a_sign_in_that_was_under_way_ends_with_the_password_that_it_was_for() {
    let server = TestServer::start().await;
    let id = member(&server, Role::Owner).await;
    let app = server.app();
    let visitor = Visitor { address: [127, 0, 0, 1].into(), agent: String::from("test") };
    let hash_of = async || {
        let found = app.store.read(move |tx| Ok::<_, keyward::app::AppError>(users::find(tx, id)?));
        found.await.expect("it answers").expect("it is there").password_hash
    };
    let first = hash_of().await;
    let (mut n_refused, mut n_ended) = (0, 0);
    for _ in 0..4 {
        server.advance(16 * 60_000);
        let n_asked = app.store.work().statements();
        let password = Zeroizing::new(PASSWORD.to_owned());
        let under_way = sessions::sign_in(app, OWNER, password, &visitor);
        // As a change of the password does it, once it has a hash.
        let change = app.store.write(move |tx| {
            let mut user = users::find(tx, id)?.expect("it is there");
            user.password_hash = Some(String::from("$argon2id$another"));
            users::put(tx, &user)?;
            rows::end_all(tx, id, None)?;
            Ok::<_, keyward::app::AppError>(())
        });
        let change = async {
            // The sign-in has read the hash once it has asked the store, and is slow to check it.
            while app.store.work().statements() < n_asked + 9 {
                tokio::task::yield_now().await;
            }
            change.await
        };
        let (signed_in, changed) = tokio::join!(under_way, change);
        changed.expect("it works");
        match signed_in {
            Err(_) => n_refused += 1,
            Ok(signed_in) => {
                let token = signed_in.token.reveal();
                let entered = sessions::enter(app, token, visitor.address).await;
                assert!(
                    entered.expect("it answers").is_none(),
                    "the session outlived the password"
                );
                n_ended += 1;
            }
        }
        let hash = first.clone();
        let restored = app.store.write(move |tx| {
            let mut user = users::find(tx, id)?.expect("it is there");
            user.password_hash = hash;
            Ok::<_, keyward::app::AppError>(users::put(tx, &user)?)
        });
        restored.await.expect("it works");
    }
    assert!(n_refused > 0, "{n_refused} refused, {n_ended} ended");
}

#[tokio::test]
async fn a_form_that_was_held_back_does_nothing_for_a_session_that_ended_meanwhile() {
    let server = TestServer::start().await;
    member(&server, Role::Owner).await;
    let thief = Browser::signed_in(&server, Role::Owner).await;
    let body =
        form(&[("current_password", PASSWORD), ("new_password", "the thief's very own one")]);
    let mut held = TcpStream::connect(server.address()).await.expect("it listens");
    let head = format!(
        "POST /profile/password HTTP/1.1\r\nhost: localhost\r\norigin: http://localhost\r\n\
         connection: close\r\ncontent-type: application/x-www-form-urlencoded\r\ncookie: {}\r\n\
         content-length: {}\r\n\r\n",
        thief.cookie,
        body.len()
    );
    held.write_all(head.as_bytes()).await.expect("it reads");
    // So that it has been let in: what comes after on the same thread is answered later.
    assert_eq!(Browser::with_cookie(&server, &thief.cookie).get("/profile").await.status, 200);
    let mut owner = Browser::signed_in(&server, Role::Owner).await;
    let fields = [("current_password", PASSWORD), ("new_password", ANOTHER)];
    assert_eq!(owner.post("/profile/password", &fields).await.status, 303);
    held.write_all(body.as_bytes()).await.expect("it reads");
    let mut answer = vec![];
    held.read_to_end(&mut answer).await.expect("it answers");
    let answer = Reply::parse(&answer);
    assert_eq!(answer.header("location"), Some("/login?done=expired"), "{answer:?}");
    assert_eq!(owner.get("/profile").await.status, 200, "the owner's session goes on");
    assert_eq!(Browser::new(&server).sign_in(OWNER, ANOTHER).await.status, 303);
}

#[tokio::test]
async fn a_password_that_was_changed_meanwhile_is_not_changed_by_whoever_knew_it_before() {
    let server = TestServer::start().await;
    member(&server, Role::Owner).await;
    let browser = Browser::signed_in(&server, Role::Owner).await;
    let token = browser.cookie.split_once('=').expect("a cookie").1;
    let enter = async || {
        let entered = sessions::enter(server.app(), token, [127, 0, 0, 1].into()).await;
        entered.expect("it answers").expect("it is good")
    };
    // Two requests of one session that have both been let in.
    let (first, second) = (enter().await, enter().await);
    let change = async |entered: &sessions::Entered, to: &str| {
        let (old, new) = (PASSWORD.to_owned(), to.to_owned());
        people::change_password(server.app(), entered, Zeroizing::new(old), Zeroizing::new(new))
            .await
    };
    change(&first, ANOTHER).await.expect("it is right");
    assert!(change(&second, "the thief's very own one").await.is_err());
    assert_eq!(Browser::new(&server).sign_in(OWNER, ANOTHER).await.status, 303);
}

#[tokio::test]
async fn who_knows_the_password_cannot_guess_the_code_from_many_addresses() {
    let server = TestServer::start_with(|settings| {
        settings.trusted_proxies = vec!["127.0.0.1/32".parse().expect("a network")];
    })
    .await;
    member(&server, Role::Owner).await;
    with_second_factor(&server, OWNER).await;
    let guess = async |address: &str| {
        let call = |path| {
            let call = server.call("POST", path).header("origin", "https://localhost");
            let call = call.header("content-type", "application/x-www-form-urlencoded");
            call.header("x-forwarded-for", address).header("x-forwarded-proto", "https")
        };
        let fields = form(&[("email", OWNER), ("password", PASSWORD)]);
        let half = call("/login").body(fields).send().await;
        assert_eq!(half.status, 303, "{half:?}");
        let cookie = half.header("set-cookie").expect("half a session");
        let cookie = cookie.split(';').next().expect("a value").to_owned();
        let call = call("/login/code");
        call.header("cookie", cookie).body(form(&[("code", "000000")])).send().await.status
    };
    let guesses: Vec<u16> = {
        let mut guesses = vec![];
        for number in 1..=20 {
            guesses.push(guess(&format!("198.51.100.{number}")).await);
        }
        guesses
    };
    assert_eq!(guesses[..5], [403; 5], "{guesses:?}");
    assert_eq!(guesses[5..], [429; 15], "{guesses:?}");
    // From where the member has signed in before nobody else's guesses count.
    assert_eq!(guess("127.0.0.1").await, 403);
}
