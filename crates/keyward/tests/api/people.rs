//! `keyward users`: what an operator does when nobody can sign in, and what no file may hold then.

use keyward::app::actor::Person;
use keyward::app::keys::{self, NewKey};
use keyward::app::{Actor, AppError, alerts, people};
use keyward_core::account::{AccountKind, Environment};
use keyward_core::id::UserId;
use keyward_core::permission::PermissionSet;
use keyward_core::role::Role;
use keyward_store::alerts::{AlertKind, Rule};
use keyward_store::users;
use zeroize::Zeroizing;

use crate::dashboard::{Browser, PASSWORD, member, member_of};
use crate::program::{Ended, Shell};
use crate::support::{KeyOf, TestServer};

/// The link that stands alone on stdout.
fn link(ended: &Ended) -> &str {
    assert_eq!(ended.code, 0, "{ended:?}");
    let link = ended.out.strip_suffix('\n').expect("one line");
    assert!(link.starts_with("http://") && !link.contains(char::is_whitespace), "{link}");
    link
}

/// What follows the host.
fn path(link: &str) -> &str {
    let rest = link.split_once("://").expect("a URL").1;
    &rest[rest.find('/').expect("a path")..]
}

#[tokio::test]
async fn members_are_managed_on_the_command_line_and_at_once() {
    let server = TestServer::start().await;
    member(&server, Role::Owner).await;
    let shell = Shell::on(server.data_dir());
    let grace = ["--email", "grace@example.com"];
    let invite = ["users", "invite", "--name", "Grace Hopper", "--email", "grace@example.com"];
    let ended = shell.run(&[&invite[..], &["--role", "developer"]].concat());
    assert!(ended.err.contains("works once"), "{ended:?}");
    let first = path(link(&ended)).to_owned();
    // Invited again: another link, and the first one is dead.
    let ended = shell.run(&[&invite[..], &["--role", "developer"]].concat());
    let second = path(link(&ended)).to_owned();
    let mut browser = Browser::new(&server);
    assert_eq!(browser.get(&first).await.status, 404);
    let joined = browser.post(&second, &[("password", PASSWORD)]).await;
    assert_eq!(joined.status, 303, "{joined:?}");
    assert_eq!(browser.get("/keys").await.status, 200);
    let again = shell.run(&[&invite[..], &["--role", "admin"]].concat());
    assert!(again.code == 1 && again.err.contains("member already"), "{again:?}");

    let run = |command: &str, more: &[&str]| {
        let ended = shell.run(&[&["users", command], &grace[..], more].concat());
        assert_eq!(ended.code, 0, "{command}: {ended:?}");
        ended
    };
    assert_eq!(browser.get("/audit").await.status, 403, "not for developers");
    run("set-role", &["--role", "admin"]);
    assert_eq!(browser.get("/audit").await.status, 200);
    run("suspend", &[]);
    assert_eq!(browser.get("/keys").await.status, 303, "signed out");
    assert_eq!(browser.sign_in("grace@example.com", PASSWORD).await.status, 403);
    run("resume", &[]);
    assert_eq!(browser.sign_in("grace@example.com", PASSWORD).await.status, 303);
    run("reset-second-factor", &[]);
    assert_eq!(browser.get("/keys").await.status, 303, "all sessions end");

    let reset = path(link(&run("reset-password", &[]))).to_owned();
    let fields = [("password", "another long passphrase")];
    assert_eq!(browser.post(&reset, &fields).await.status, 303);
    let used = browser.post(&reset, &fields).await;
    assert_eq!(used.status, 404, "it works once");
    assert_eq!(browser.sign_in("grace@example.com", PASSWORD).await.status, 403);
    assert_eq!(browser.sign_in("grace@example.com", fields[0].1).await.status, 303);

    let listed = shell.json(&["users", "list"]);
    let listed = listed.as_array().expect("a list");
    assert_eq!(listed.len(), 2);
    let grace_as_listed = listed.iter().find(|member| member["email"] == "grace@example.com");
    let member = grace_as_listed.expect("she is listed");
    for (field, value) in [("name", "Grace Hopper"), ("role", "admin"), ("status", "active")] {
        assert_eq!(member[field], value, "{member}");
    }
    let owner = shell.run(&["users", "remove", "--email", "owner@example.com", "--yes"]);
    assert_eq!(owner.code, 1, "the owner stays: {owner:?}");
    let asked = shell.run(&[&["users", "remove"], &grace[..]].concat());
    assert!(asked.code == 2 && asked.err.contains("--yes"), "{asked:?}");
    assert_eq!(browser.get("/keys").await.status, 200, "nothing was done");
    run("remove", &["--yes"]);
    assert_eq!(browser.get("/keys").await.status, 303);
    let gone = shell.run(&[&["users", "resume"], &grace[..]].concat());
    assert!(gone.code == 1 && gone.err.contains("there is no such member"), "{gone:?}");
    assert_eq!(shell.json(&["users", "list"]).as_array().map(Vec::len), Some(1));
    assert_eq!(shell.run(&["audit", "verify"]).code, 0);
}

/// What was decided when the request came is decided once more when it is written: of a change of role
/// and a write at once, none is done on the strength of a role that is gone.
#[tokio::test]
async fn who_lost_the_role_or_the_key_in_the_meantime_changes_nothing() {
    let server = TestServer::start().await;
    let (app, account) = (server.app(), server.account.id);
    let owner = member(&server, Role::Owner).await;
    member(&server, Role::Admin).await;
    let found = people::find_by_email(app, "admin@example.com", None).await.expect("it is there");
    // A session that was good when the request came.
    let address = "192.0.2.1".parse().expect("an address");
    let actor = Actor::Person(Person { user: found.id, account, role: Role::Admin, address });
    let invite = async |email: &str| {
        people::invite(app, &actor, account, "Eve", email, Role::Admin)
            .await
            .map(|linked| linked.user.id)
    };
    let issue = async || {
        let new = NewKey {
            account,
            name: String::from("late"),
            environment: Environment::Production,
            permissions: PermissionSet::READ_ONLY,
            networks: vec![],
            expires_at: None,
        };
        keys::issue(app, &actor, new).await.map(|issued| issued.record)
    };
    let invited = invite("first@example.com").await.expect("it is an admin");
    let key = issue().await.expect("it is an admin");
    let off = Rule { is_on: false, ..alerts::default_rule(AlertKind::Expiring) };
    let operator = &Actor::Operator;
    people::change_role(app, operator, account, found.id, Role::Developer).await.expect("allowed");
    for refused in [
        invite("second@example.com").await.map(|_| ()),
        issue().await.map(|_| ()),
        people::remove(app, &actor, account, invited).await.map(|_| ()),
        keys::revoke(app, &actor, key.id).await.map(|_| ()),
        keys::rotate(app, &actor, key.id, 0).await.map(|_| ()),
        people::reset_link(app, &actor, owner).await.map(|_| ()),
        alerts::set_rule(app, &actor, account, off).await,
    ] {
        assert!(
            matches!(refused, Err(AppError::NotAllowed | AppError::NotFound(_))),
            "{refused:?}"
        );
    }
    people::suspend(app, operator, account, found.id).await.expect("allowed");
    assert!(matches!(invite("third@example.com").await, Err(AppError::NotAllowed)));
    let members = people::list(app, account).await.expect("the store answers");
    assert_eq!(members.len(), 3);
    assert_eq!(keys::find(app, key.id).await.expect("it is there").revoked, None);
}

/// The salts of the hashes that are kept for an address, in the order of their members.
async fn salts(server: &TestServer, email: &str) -> Vec<String> {
    let email = email.to_owned();
    let found = server.app().store.read(move |tx| users::with_email(tx, &email)).await;
    let hashes = found.expect("the store answers").into_iter().filter_map(|u| u.password_hash);
    hashes.map(|hash| hash.split('$').nth(4).expect("a salt").to_owned()).collect()
}

/// Gives a member a password behind everybody's back, with a salt of its own.
async fn give_password(server: &TestServer, id: UserId, password: &str) {
    let hash = server.app().passwords.hash("password", Zeroizing::new(password.to_owned()), None);
    let hash = hash.await.expect("it is long enough");
    let put = server.app().store.write(move |tx| {
        let mut user = users::find(tx, id)?.expect("it is there");
        user.password_hash = Some(hash);
        users::put(tx, &user)
    });
    put.await.expect("the store takes it");
}

/// Time must not tell of how many accounts somebody is a member: one hash answers for all of them.
#[tokio::test]
async fn a_member_of_several_accounts_has_one_salt_after_signing_in_at_the_latest() {
    const EMAIL: &str = "grace@example.com";
    const SECOND: &str = "of the second account";
    let server = TestServer::start().await;
    let other = server.new_account("Other", AccountKind::Organization).await;
    member_of(&server, server.account.id, EMAIL, Role::Admin).await;
    let id = member_of(&server, other.id, EMAIL, Role::Owner).await;
    let of_both = salts(&server, EMAIL).await;
    assert!(of_both.len() == 2 && of_both[0] == of_both[1], "{of_both:?}");
    // As it is after two invitations that are taken at once: salts of their own.
    let put = async |password: &str| {
        give_password(&server, id, password).await;
        let of_both = salts(&server, EMAIL).await;
        assert_ne!(of_both[0], of_both[1]);
    };
    // With the same password for both, the first is signed in to, and the second is hashed anew all the same.
    put(PASSWORD).await;
    let right = [("email", EMAIL), ("password", PASSWORD)];
    assert_eq!(Browser::new(&server).post("/login", &right).await.status, 303);
    let of_both = salts(&server, EMAIL).await;
    assert_eq!(of_both[0], of_both[1]);
    put(SECOND).await;
    for password in [SECOND, PASSWORD, SECOND] {
        let mut browser = Browser::new(&server);
        let fields = [("email", EMAIL), ("password", password)];
        assert_eq!(browser.post("/login", &fields).await.status, 303);
        let page = browser.get("/overview").await.body;
        assert_eq!(
            page.contains("Other"),
            password == SECOND,
            "of the account whose password it is"
        );
        let of_both = salts(&server, EMAIL).await;
        assert_eq!(of_both[0], of_both[1]);
    }
    let wrong = [("email", EMAIL), ("password", "wrong wrong wrong")];
    assert_eq!(Browser::new(&server).post("/login", &wrong).await.status, 403);
}

/// Somebody who is an admin of another account can make a member with anybody's address there, and knows its
/// password: that must not open a way to guess the one of the first account without a pause.
#[tokio::test]
async fn a_membership_that_somebody_else_made_opens_no_way_to_guess_without_a_pause() {
    const EMAIL: &str = "grace@example.com";
    const PLANTED: &str = "known to the guesser";
    let server = TestServer::start().await;
    let other = server.new_account("Other", AccountKind::Organization).await;
    member_of(&server, server.account.id, EMAIL, Role::Admin).await;
    let id = member_of(&server, other.id, EMAIL, Role::Owner).await;
    give_password(&server, id, PLANTED).await;
    let attempt = async |password: &str| {
        let fields = [("email", EMAIL), ("password", password)];
        Browser::new(&server).post("/login", &fields).await.status
    };
    // From an address where the planted member has signed in, now and between the guesses.
    let mut n_guesses = 0;
    for number in 0..60 {
        attempt(PLANTED).await;
        if attempt(&format!("a guess of many, {number}")).await == 403 {
            n_guesses += 1;
        }
    }
    assert_eq!(n_guesses, 10, "of a quarter of an hour, from one address");
    // Not even the right one is taken of whoever has guessed so often, where nobody but the planted member
    // has signed in.
    assert_eq!(attempt(PASSWORD).await, 429);
    server.advance(15 * 60_000);
    assert_eq!(attempt(PASSWORD).await, 303);
}

#[tokio::test]
async fn an_owner_who_was_invited_is_made_somebody_else_by_the_operator_alone() {
    let server = TestServer::start().await;
    let (app, account) = (server.app(), server.account.id);
    let invite = async |actor: &Actor, role: Role| {
        people::invite(app, actor, account, "Ada", "ada@example.com", role).await
    };
    let invited = invite(&Actor::Operator, Role::Owner).await.expect("there is none").user;
    let admin = member(&server, Role::Admin).await;
    let address = "192.0.2.1".parse().expect("an address");
    let admin = Actor::Person(Person { user: admin, account, role: Role::Admin, address });
    let refused = invite(&admin, Role::Admin).await.map(|linked| linked.user.role);
    assert!(matches!(refused, Err(AppError::Taken(_))), "{refused:?}");
    let key = server.issue(KeyOf { permissions: PermissionSet::ALL, ..server.usual() }).await;
    let body = r#"{"name":"Ada","email":"ada@example.com","role":"admin"}"#;
    let refused = server.post("/v3/users", body).key(&key).send().await;
    assert_eq!(refused.verdict(), "409 RESOURCE_007", "{refused:?}");
    let mut browser = Browser::signed_in(&server, Role::Admin).await;
    let fields = [("name", "Ada"), ("email", "ada@example.com"), ("role", "admin")];
    let refused = browser.post("/team", &fields).await;
    assert_eq!(refused.status, 422, "{refused:?}");
    assert!(refused.body.contains("is a member already"), "{refused:?}");
    let members = people::list(app, account).await.expect("the store answers");
    let found = members.iter().find(|member| member.user.id == invited.id).expect("it is there");
    assert_eq!(found.user.role, Role::Owner);
    let changed = invite(&Actor::Operator, Role::Admin).await.expect("the operator may").user;
    assert_eq!((changed.id, changed.role), (invited.id, Role::Admin));
}
