//! Where the dashboard asks for the password once more: every form is sent in a session that gave none
//! for eleven minutes, and what becomes of it is what its row in the table of routes says. Contract 10.

use keyward::app::webhooks::{self, WebhookEdit};
use keyward::app::{Actor, keys, people};
use keyward::dashboard::{Confirms, Entry};
use keyward::server::routes::{ENDPOINTS, Endpoint, Handler};
use keyward_core::account::Environment;
use keyward_core::id::{PasskeyId, UserId, WebhookId};
use keyward_core::role::Role;
use keyward_store::contacts::Scope;
use keyward_store::passkeys::{self, StoredPasskey};

use crate::dashboard::{Browser, PASSWORD, member, member_of};
use crate::support::{BEGIN, KeyOf, Reply, TestServer};

/// One more than a password counts for.
const ELEVEN_MINUTES: u64 = 11 * 60_000;

/// An identifier that is nobody's.
const NOBODY: &str = "01900000-0000-7000-8000-000000000000";

/// A form as it would be sent from its page, about something that is there.
struct Sent {
    path: String,
    fields: Vec<(&'static str, String)>,
}

struct World {
    server: TestServer,
    owner: UserId,
    made: u8,
}

impl World {
    async fn webhook(&self, environment: Environment) -> WebhookId {
        let scope = Scope { account: self.server.account.id, environment };
        let url = match environment {
            Environment::Production => "https://crm.example/hook",
            Environment::Test => "http://127.0.0.1:9/",
        };
        let edit = WebhookEdit {
            display_name: Some(String::from("CRM")),
            endpoint_url: Some(url.to_owned()),
            event_types: Some(vec![String::from("contact")]),
            ..WebhookEdit::default()
        };
        let finish = |_: &mut keyward_store::Tx<'_>, made: webhooks::Made| Ok(made.webhook.id);
        let made = webhooks::create(self.server.app(), &Actor::Operator, scope, edit, finish).await;
        made.expect("it is right")
    }

    async fn key(&self, environment: Environment) -> keyward_core::id::KeyId {
        self.server.issue(KeyOf { environment, ..self.server.usual() }).await.id
    }

    async fn passkey(&mut self) -> PasskeyId {
        self.made += 1;
        let row = StoredPasskey {
            id: PasskeyId::from_bytes([self.made; 16]),
            user: self.owner,
            credential: vec![self.made],
            host: String::from("localhost"),
            name: String::from("Laptop"),
            public_key: String::from("{}"),
            added_at: BEGIN,
            used_at: None,
        };
        let (id, app) = (row.id, self.server.app());
        app.store.write(move |tx| passkeys::insert(tx, &row)).await.expect("there is room");
        id
    }

    async fn somebody(&mut self) -> (UserId, String) {
        self.made += 1;
        let email = format!("member-{}@example.com", self.made);
        let account = self.server.account.id;
        (member_of(&self.server, account, &email, Role::Developer).await, email)
    }

    async fn n_changes(&self) -> i64 {
        let rows = self
            .server
            .app()
            .store
            .read(|tx| tx.query_one("SELECT count(*) FROM audit", &[], |row| row.int(0)));
        rows.await.expect("the store answers").expect("a count")
    }

    /// What the page of a row sends. A row without a form here fails the test.
    async fn form(&mut self, pattern: &str, environment: Environment) -> Sent {
        let field = |name, value: &str| (name, value.to_owned());
        let key = [field("name", "job"), field("access", "read"), field("networks", "")];
        let hook = [
            field("name", "CRM"),
            field("url", "http://127.0.0.1:9/"),
            field("event", "contact"),
            field("retries", "3"),
            field("timeout", "30"),
        ];
        let (id, fields): (String, Vec<_>) = match pattern {
            "/keys" => {
                let more = [field("environment", environment.as_str()), field("expiry", "90")];
                (String::new(), [&key[..], &more].concat())
            }
            "/keys/{id}/edit" => {
                let id = self.key(environment).await;
                (id.to_string(), [&key[..], &[field("expiry", "keep")]].concat())
            }
            "/keys/{id}/rotate" => {
                (self.key(environment).await.to_string(), vec![field("grace", "1h")])
            }
            "/keys/{id}/revoke" => {
                (self.key(environment).await.to_string(), vec![field("name", "billing job")])
            }
            "/keys/{id}/disable" | "/keys/{id}/share" | "/keys/{id}/unshare" => {
                (self.key(environment).await.to_string(), vec![])
            }
            "/keys/{id}/enable" => {
                let id = self.key(environment).await;
                keys::disable(self.server.app(), &Actor::Operator, id).await.expect("it works");
                (id.to_string(), vec![])
            }
            "/webhooks" => (String::new(), [&hook[..], &[field("environment", "test")]].concat()),
            "/webhooks/{id}/edit" => {
                (self.webhook(Environment::Test).await.to_string(), hook.into())
            }
            "/webhooks/{id}/delete" => {
                (self.webhook(environment).await.to_string(), vec![field("name", "CRM")])
            }
            "/webhooks/{id}/rotate" | "/webhooks/{id}/on" | "/webhooks/{id}/off" => {
                (self.webhook(environment).await.to_string(), vec![])
            }
            "/webhooks/{id}/test" => {
                let id = self.webhook(Environment::Test).await;
                (id.to_string(), vec![field("event", "contact.created")])
            }
            "/webhooks/{id}/again" => {
                (self.webhook(environment).await.to_string(), vec![field("event", NOBODY)])
            }
            "/alerts/rules" | "/profile/sessions/end-others" => (String::new(), vec![]),
            "/alerts/{id}/snooze" | "/alerts/{id}/dismiss" | "/profile/sessions/{id}/end" => {
                (NOBODY.to_owned(), vec![])
            }
            "/team" => {
                self.made += 1;
                let email = format!("new-{}@example.com", self.made);
                let fields = [field("name", "N"), field("email", &email), field("role", "admin")];
                (String::new(), fields.into())
            }
            "/team/{id}/role" => {
                (self.somebody().await.0.to_string(), vec![field("role", "billing")])
            }
            "/team/{id}/suspend" | "/team/{id}/reset" => {
                (self.somebody().await.0.to_string(), vec![])
            }
            "/team/{id}/resume" => {
                let (id, account) = (self.somebody().await.0, self.server.account.id);
                let suspended =
                    people::suspend(self.server.app(), &Actor::Operator, account, id).await;
                (suspended.expect("it is active").id.to_string(), vec![])
            }
            "/team/{id}/remove" => {
                let (id, email) = self.somebody().await;
                (id.to_string(), vec![field("email", &email)])
            }
            "/team/{id}/invite" => {
                let (app, account) = (self.server.app(), self.server.account.id);
                let email = format!("late-{}@example.com", self.made);
                let role = Role::Admin;
                let invited =
                    people::invite(app, &Actor::Operator, account, "Late", &email, role).await;
                (invited.expect("it is new").user.id.to_string(), vec![])
            }
            "/profile/name" => (String::new(), vec![field("name", "Ada")]),
            "/profile/password" => (String::new(), vec![field("new_password", PASSWORD)]),
            "/profile/second-factor"
            | "/profile/second-factor/on"
            | "/profile/second-factor/off"
            | "/profile/second-factor/codes"
            | "/profile/passkeys/new"
            | "/profile/passkeys" => (String::new(), vec![]),
            "/profile/passkeys/{id}/name" => {
                (self.passkey().await.to_string(), vec![field("name", "Desk")])
            }
            "/profile/passkeys/{id}/remove" => (self.passkey().await.to_string(), vec![]),
            other => panic!("{other} has no form here"),
        };
        Sent { path: pattern.replace("{id}", &id), fields }
    }
}

/// True for a page that says that the password or a code is missing or wrong.
fn asks(reply: &Reply) -> bool {
    let words = ["assword", "Confirm first", "Not confirmed"];
    reply.status == 403 && words.iter().any(|word| reply.body.contains(word))
}

async fn send(browser: &mut Browser<'_>, sent: &Sent, confirmation: Option<&str>) -> Reply {
    let name = if sent.path == "/profile/password" { "current_password" } else { "confirmation" };
    let more = confirmation.map(|text| (name, text));
    let fields = sent.fields.iter().map(|(name, value)| (*name, value.as_str())).chain(more);
    browser.post(&sent.path, &fields.collect::<Vec<_>>()).await
}

#[tokio::test]
async fn each_form_asks_for_the_password_again_where_its_row_says_so_and_nowhere_else() {
    let server = TestServer::start().await;
    let owner = member(&server, Role::Owner).await;
    let mut world = World { server, owner, made: 0 };
    let mut cookie = Browser::signed_in(&world.server, Role::Owner).await.cookie;
    let is_form = |endpoint: &&Endpoint| {
        endpoint.method == "POST" && matches!(endpoint.handler, Handler::Page(Entry::Members(_), _))
    };
    let mut n_asked = 0;
    for endpoint in ENDPOINTS.iter().filter(is_form) {
        let environments = match endpoint.confirms {
            Confirms::Production => vec![Environment::Production, Environment::Test],
            _ => vec![Environment::Production],
        };
        for environment in environments {
            world.server.advance(ELEVEN_MINUTES);
            let sent = world.form(endpoint.pattern, environment).await;
            let what = format!("{} of {environment}", sent.path);
            let before = world.n_changes().await;
            let mut browser = Browser::with_cookie(&world.server, &cookie);
            let bare = send(&mut browser, &sent, None).await;
            let is_asked = match endpoint.confirms {
                Confirms::Never => false,
                Confirms::Production => environment == Environment::Production,
                Confirms::Always => true,
            };
            assert_eq!(asks(&bare), is_asked, "{what}: {bare:?}");
            assert!(bare.status < 500, "{what}: {bare:?}");
            if is_asked {
                n_asked += 1;
                let wrong = send(&mut browser, &sent, Some("wrong wrong wrong")).await;
                assert!(asks(&wrong), "{what}: {wrong:?}");
                assert_eq!(world.n_changes().await, before, "{what}: nothing was done");
                let right = send(&mut browser, &sent, Some(PASSWORD)).await;
                assert!(!asks(&right) && right.status < 500, "{what}: {right:?}");
                // What there is nothing to do for is told once one may do it.
                let is_done = world.n_changes().await > before || right.status < 300;
                assert!(is_done || right.status == 409, "{what}: {right:?}");
            }
            cookie = browser.cookie;
        }
    }
    assert!(n_asked >= 11, "{n_asked}");
}
