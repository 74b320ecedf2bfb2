//! Every way in which a secret is made, shown, sent, sent to the wrong place and refused.

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::process::{Resource, Rlimit, prlimit};
use totp_rs::{Algorithm, Builder, Secret as TotpSecret};

use super::{Life, NO_HTTP, OWNER, STRANGE, id_of, last_part, shown, text_of};
use crate::dashboard::between;
use crate::search::Secret;

/// The first account, by the link, and keys by every way in which one is made.
pub(super) fn begin(life: &mut Life) {
    life.start();
    life.log.wait_for("the link works once");
    let log = life.log.text();
    let token = between(&log, "/setup/", " ").to_owned();
    life.token("the setup link", &token);
    life.get(&format!("/setup/{token}"), &["the setup link"]);
    let misplaced = [("account", STRANGE), ("owner_name", STRANGE), ("owner_email", STRANGE)];
    let refused = life.post(&format!("/setup/{token}"), &misplaced, &["the setup link"]);
    assert_eq!(refused.status, 422, "{refused:?}");
    let password = life.password("the owner's password", "correct horse battery staple");
    let fields = [
        ("account", "Acme"),
        ("owner_name", "Ada"),
        ("owner_email", OWNER),
        ("password", password),
    ];
    let made = life.post(&format!("/setup/{token}"), &fields, &["the first session"]);
    assert_eq!(made.status, 303, "{made:?}");
    life.begun("the first session");
}

fn custom<'a>(name: &'a str, environment: &'a str) -> Vec<(&'a str, &'a str)> {
    let mut fields = vec![
        ("name", name),
        ("environment", environment),
        ("access", "custom"),
        ("expiry", "90"),
        ("networks", ""),
    ];
    for permission in keyward_core::permission::Permission::ALL {
        fields.push(("permission", permission.as_str()));
    }
    fields
}

pub(super) struct Keys {
    pub(super) production: String,
    test: String,
}

pub(super) fn keys(life: &mut Life) -> Keys {
    let mut of_page = |name: &str, environment: &str| {
        let reply = life.post("/keys", &custom("job", environment), &[name]);
        let key = shown(&reply, "id=\"key\" data-secret>");
        life.key(name, &key);
        let id = between(&reply.body, "data-once=\"/keys/", "\"").to_owned();
        (key, id)
    };
    let (production, _) = of_page("a key of a page", "production");
    let (test, _) = of_page("a test key", "test");
    let (_, rotated) = of_page("a key that is rotated", "production");
    let path = format!("/keys/{rotated}/rotate");
    let reply = life.post(&path, &[("grace", "1h")], &["its successor"]);
    life.key("its successor", &shown(&reply, "id=\"key\" data-secret>"));
    // On the command line.
    let create = ["keys", "create", "--name", "ci", "--environment", "production"];
    let made = life.command(&create, b"", &["a key of the command line"]);
    life.key("a key of the command line", made.out.trim());
    let explain = ["keys", "explain", "--key-stdin"];
    life.command(&explain, made.out.as_bytes(), &[]);
    life.command(&explain, b"let me in", &[]);
    let id = made.err.split("id ").nth(1).and_then(|rest| rest.split(')').next());
    let id = id.expect("it tells the id").to_owned();
    let made = life.command(&["keys", "rotate", &id], b"", &["a successor there"]);
    life.key("a successor there", made.out.trim());
    let imported = "7c9e6679-7425-40de-944b-e07fc1f90ae7";
    life.key("a key that was imported", imported);
    let file = life.temporary.path().join("keys.csv");
    std::fs::write(&file, format!("key,name,environment\n{imported},old,production\n"))
        .expect("there is room");
    let name = file.to_str().expect("a plain name").to_owned();
    let ended = life.command(&["keys", "import", &name], b"", &[]);
    assert_eq!(ended.code, 0, "{ended:?}");
    // A second time it is refused, and told where.
    assert_ne!(life.command(&["keys", "import", &name], b"", &[]).code, 0);
    std::fs::remove_file(file).expect("it is there");
    let reply = life.api(imported, "GET /v3/me", "", &[]);
    assert_eq!(reply.status, 200, "{reply:?}");
    // Over the API, once more under the same Idempotency-Key.
    let body = r#"{"name":"child","permissions":["contacts:read"]}"#;
    let headers = [
        ("x-api-key", production.as_str()),
        ("content-type", "application/json"),
        ("idempotency-key", "twice"),
    ];
    let made = life.send("POST /v3/api-keys", &headers, body, &["a key of the API"]);
    life.key("a key of the API", &text_of(&made, "key"));
    let again = life.send("POST /v3/api-keys", &headers, body, &["a key of the API"]);
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    life.secrets.push(Secret {
        name: String::from("what seals"),
        forms: vec![std::fs::read(life.shell.data_dir.join("keyward.key")).expect("it is made")],
    });
    let line = format!("POST /v3/api-keys/{}/rotate", id_of(&made));
    let rotated = life.api(&production, &line, "{}", &["a successor of the API"]);
    life.key("a successor of the API", &text_of(&rotated, "key"));
    Keys { production, test }
}

pub(super) fn webhooks(life: &mut Life, keys: &Keys) {
    let url = life.receiver.clone();
    let body = format!(
        r#"{{"display_name":"CRM","endpoint_url":"{url}","event_types":["contact"],"retry_count":1}}"#
    );
    let headers = [
        ("x-api-key", keys.test.as_str()),
        ("content-type", "application/json"),
        ("idempotency-key", "hook"),
    ];
    let made = life.send("POST /v3/webhooks", &headers, &body, &["a signing secret"]);
    life.signing("a signing secret", &text_of(&made, "signing_secret"));
    life.send("POST /v3/webhooks", &headers, &body, &["a signing secret"]);
    let id = id_of(&made);
    let path = format!("/v3/webhooks/{id}");
    let line = format!("POST {path}/rotate-secret");
    let rotated = life.api(&keys.test, &line, "{}", &["a new signing secret"]);
    life.signing("a new signing secret", &text_of(&rotated, "signing_secret"));
    let fields = [
        ("name", "Desk"),
        ("environment", "test"),
        ("url", url.as_str()),
        ("event", "contact"),
        ("retries", "1"),
        ("timeout", "5"),
    ];
    let reply = life.post("/webhooks", &fields, &["a signing secret of a page"]);
    life.signing("a signing secret of a page", &shown(&reply, "id=\"key\" data-secret>"));
    let page = between(&reply.body, "data-once=\"/webhooks/", "\"").to_owned();
    let path_of_page = format!("/webhooks/{page}/rotate");
    let reply = life.post(&path_of_page, &[], &["a new one of a page"]);
    life.signing("a new one of a page", &shown(&reply, "id=\"key\" data-secret>"));
    for number in 0..4 {
        let contact = format!(r#"{{"phone_number":"+1415555010{number}"}}"#);
        life.api(&keys.test, "POST /v3/contacts", &contact, &[]);
    }
    life.api(&keys.test, &format!("POST {path}/test"), r#"{"event_type":"contact.created"}"#, &[]);
    for line in [format!("GET {path}"), format!("GET {path}/events"), "GET /v3/webhooks".into()] {
        life.api(&keys.test, &line, "", &[]);
    }
    for place in ["/webhooks".to_owned(), format!("/webhooks/{id}"), format!("/webhooks/{page}")] {
        assert_eq!(life.get(&place, &[]).status, 200);
    }
}

/// Invitations and resets, and what their links are used for.
pub(super) fn people(life: &mut Life) {
    let fields = [("name", "Grace"), ("email", "grace@example.com"), ("role", "developer")];
    let reply = life.post("/team", &fields, &["an invitation"]);
    let link = shown(&reply, "id=\"link\" data-secret>");
    let token = last_part(&link);
    life.token("an invitation", &token);
    let invite =
        ["users", "invite", "--name", "B", "--email", "bob@example.com", "--role", "billing"];
    let ended = life.command(&invite, b"", &["an invitation of the command line"]);
    life.token("an invitation of the command line", &last_part(&ended.out));
    let own = std::mem::take(&mut life.cookie);
    let path = format!("/invitations/{token}");
    life.get(&path, &["an invitation"]);
    let short = life.password("a password that is too short", "Tr0ub4dor&3");
    life.post(&path, &[("password", short)], &["an invitation"]);
    let password = life.password("a member's password", "hunter2 hunter2 hunter2");
    let joined = life.post(&path, &[("password", password)], &["a member's session"]);
    assert_eq!(joined.status, 303, "{joined:?}");
    life.begun("a member's session");
    life.post("/logout", &[], &[]);
    life.cookie = own;
    let team = life.get("/team", &[]).body;
    let rows = team.split("href=\"/team/").skip(1).map(|rest| rest.split('"').next());
    let ids: BTreeSet<String> =
        rows.flatten().filter(|id| id.len() == 36).map(Into::into).collect();
    for id in ids {
        let reply = life.post(&format!("/team/{id}/reset"), &[], &[]);
        if reply.status < 300 {
            let token = last_part(&shown(&reply, "id=\"link\" data-secret>"));
            life.left.last_mut().expect("it was kept").shows.push("a reset".into());
            life.token("a reset", &token);
        }
    }
    let reset = ["users", "reset-password", "--email", "grace@example.com"];
    let ended = life.command(&reset, b"", &["a reset of the command line"]);
    let token = last_part(&ended.out);
    life.token("a reset of the command line", &token);
    let own = std::mem::take(&mut life.cookie);
    let path = format!("/reset/{token}");
    life.get(&path, &["a reset of the command line"]);
    let password = life.password("a new password", "another long passphrase");
    let set = life.post(&path, &[("password", password)], &[]);
    assert_eq!(set.status, 303, "{set:?}");
    life.get(&path, &[]);
    // What is wrong, and what is nobody's.
    let wrong = life.password("a wrong password", "a password that is wrong");
    for email in [OWNER, "nobody@example.com"] {
        life.cookie.clear();
        let refused = life.post("/login", &[("email", email), ("password", wrong)], &[]);
        assert_eq!(refused.status, 403, "{refused:?}");
    }
    life.cookie = own;
}

/// What an authenticator app shows.
pub(crate) fn code_of(bytes: &[u8], email: &str, seconds: u64) -> String {
    let bytes: [u8; 20] = bytes.try_into().expect("20 bytes");
    let totp = Builder::new()
        .with_algorithm(Algorithm::SHA1)
        .with_digits(6)
        .with_step_duration(30)
        .with_secret(TotpSecret::new_stack(bytes))
        .with_account_name(email.to_owned())
        .with_issuer(Some("Keyward"))
        .build()
        .expect("it is right");
    totp.generate(seconds).to_string()
}

pub(crate) fn base32(text: &str) -> Vec<u8> {
    let (mut bytes, mut bits, mut n_bits) = (vec![], 0_u32, 0);
    for letter in text.bytes() {
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
        let value = alphabet.iter().position(|known| *known == letter).expect("base32");
        bits = bits << 5 | u32::try_from(value).expect("small");
        n_bits += 5;
        if n_bits >= 8 {
            n_bits -= 8;
            bytes.push((bits >> n_bits & 0xff) as u8);
        }
    }
    bytes
}

/// The codes of a page, which is there to show them.
fn recovery_codes(life: &mut Life, page: &str, what: &str) -> Vec<String> {
    let list = between(page, "id=\"codes\" data-secret>", "</ul>");
    let code = |rest: &str| rest.split('<').next().expect("a code").to_owned();
    let codes: Vec<String> = list.split("<li>").skip(1).map(code).collect();
    assert_eq!(codes.len(), 10);
    for (number, text) in codes.iter().enumerate() {
        let name = format!("{what} {number}");
        life.left.last_mut().expect("it was kept").shows.push(name.clone());
        life.secrets.push(Secret::text(&name, text));
    }
    codes
}

pub(super) fn second_factor(life: &mut Life, password: &str) {
    let reply = life.post("/profile/second-factor", &[], &["an authenticator's secret"]);
    let text = shown(&reply, "<code data-secret>");
    let bytes = base32(&text);
    life.secrets.push(Secret::of_bytes("an authenticator's secret", &text, &bytes));
    let sealed = between(&reply.body, "name=\"sealed\" value=\"", "\"").to_owned();
    let wrong = [("sealed", sealed.as_str()), ("code", "000000")];
    life.post("/profile/second-factor/on", &wrong, &["an authenticator's secret"]);
    #[expect(clippy::disallowed_methods, reason = "an authenticator app has a clock of its own")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs();
    let code = code_of(&bytes, OWNER, now);
    let fields = [("sealed", sealed.as_str()), ("code", code.as_str())];
    let reply = life.post("/profile/second-factor/on", &fields, &[]);
    assert_eq!(reply.status, 201, "{reply:?}");
    let recovery = recovery_codes(life, &reply.body, "recovery code");
    life.codes.push(code.clone());
    // Signing in with a password, a code that was used, and a recovery code.
    life.post("/logout", &[], &[]);
    life.cookie.clear();
    let half =
        life.post("/login", &[("email", OWNER), ("password", password)], &["half a session"]);
    assert_eq!(half.status, 303, "{half:?}");
    life.begun("half a session");
    let refused = life.post("/login/code", &[("code", &code)], &[]);
    assert_eq!(refused.status, 403, "{refused:?}");
    let entered = life.post("/login/code", &[("code", &recovery[0])], &["the second session"]);
    assert_eq!(entered.status, 303, "{entered:?}");
    life.begun("the second session");
    life.post("/profile/second-factor/codes", &[("confirmation", &recovery[1])], &[]);
    let page = String::from_utf8_lossy(&life.left.last().expect("it was kept").bytes).into_owned();
    recovery_codes(life, &page, "new recovery code");
}

/// The page that lets a passkey sign in, whose challenge and cookie are for one browser, and an answer that
/// is wrong.
#[cfg(feature = "passkeys")]
pub(super) fn passkey(life: &mut Life) {
    let own = std::mem::take(&mut life.cookie);
    let page = life.get("/login", &["a cookie for passkeys", "a challenge"]);
    life.begun("a cookie for passkeys");
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || "-_".contains(letter);
    let rest = page.body.split("data-options").nth(1).expect("it asks for a passkey");
    let runs = rest.split(|letter| !is_part(letter));
    let challenge = runs.clone().skip_while(|run| *run != "challenge").skip(1);
    let challenge =
        challenge.into_iter().find(|run| run.len() > 30).expect("there is one").to_owned();
    life.token("a challenge", &challenge);
    let answer = format!(
        "{{\"id\":\"AAAA\",\"rawId\":\"AAAA\",\"type\":\"public-key\",\"response\":{{\"clientDataJSON\":\
         \"{challenge}\",\"authenticatorData\":\"{challenge}\",\"signature\":\"AAAA\"}}}}"
    );
    let name = between(&page.body, "name=\"challenge\" value=\"", "\"").to_owned();
    for name in [name.as_str(), &challenge] {
        // The page that follows has another challenge, and the same cookie.
        let fields = [("challenge", name), ("credential", answer.as_str())];
        let refused = life.post("/login/passkey", &fields, &["a cookie for passkeys"]);
        assert_eq!(refused.status, 403, "{refused:?}");
    }
    life.cookie = own;
}

/// A key, good or unknown, wherever it does not belong.
pub(super) fn misplaced(life: &mut Life, key: &str) {
    let digits = key.replace('-', "");
    for value in [key, &digits, &key.to_uppercase()] {
        for line in [
            format!("GET /v3/me?x-api-key={value}"),
            format!("GET /v3/contacts?search={value}&page={value}"),
            format!("GET /v3/{value}"),
            format!("GET /v3/contacts/{value}"),
            format!("GET /v3/api-keys/{value}"),
            format!("GET /keys/{value}"),
            format!("GET /{value}?{value}"),
            format!("GET /invitations/{value}"),
            format!("GET /errors/{value}"),
            format!("GET /docs/reference/{value}"),
            format!("PUT /v3/me?key={value}"),
        ] {
            life.send(&line, &[], "", &[]);
            life.send(&line, &[("x-api-key", key), ("accept", "text/html")], "", &[]);
        }
        for place in [
            format!("/login/code?next=/{value}"),
            format!("/keys?q={value}&sort={value}&environment={value}&status={value}"),
            format!("/requests?id={value}"),
            format!("/requests?address={value}&status={value}&route={value}&whose={value}"),
            format!("/audit?actor={value}&action={value}&since={value}&until={value}"),
            format!("/webhooks/new?environment={value}"),
            format!("/overview?span={value}&done={value}"),
        ] {
            assert_eq!(life.get(&place, &[]).status, 200, "{place}");
        }
        life.post("/team", &[("name", value), ("email", value), ("role", "developer")], &[]);
        life.post("/team", &[("name", value), ("email", value), ("role", value)], &[]);
        let signed_in = life.cookie.clone();
        let next = format!("/keys?q={value}");
        life.get(&format!("/login?next={next}"), &[]);
        let refused =
            life.post("/login", &[("email", value), ("password", value), ("next", &next)], &[]);
        assert_eq!(refused.status, 403, "{refused:?}");
        life.cookie = signed_in;
        let bearer = format!("Bearer {value}");
        let basic = format!("Basic {}", STANDARD.encode(format!("{value}:")));
        let cookie = format!("keyward-over-http={value}; x-api-key={value}");
        let agent = format!("job/1.0 (x-api-key={value})");
        for headers in [
            [("authorization", bearer.as_str()), ("accept", "*/*")],
            [("authorization", basic.as_str()), ("accept", "*/*")],
            [("cookie", cookie.as_str()), ("x-api-key", key)],
            [("user-agent", agent.as_str()), ("x-api-key", key)],
            [("user-agent", value), ("x-api-key", key)],
            [("user-agent", agent.as_str()), ("accept", "*/*")],
            [("x-forwarded-for", value), ("x-api-key", key)],
            [("x-forwarded-proto", value), ("forwarded", value)],
            [("x-profile-id", value), ("x-api-key", key)],
            [("x-request-id", value), ("x-api-key", key)],
            [("origin", value), ("x-api-key", key)],
            [("referer", value), ("x-api-key", key)],
            [("idempotency-key", value), ("x-api-key", key)],
            [("x-api-key", bearer.as_str()), ("accept", "*/*")],
            [("x-api-key", value), ("x-api-key", value)],
            [(value, value), ("x-api-key", key)],
        ] {
            life.send("GET /v3/me", &headers, "", &[]);
            life.send("GET /v3/contacts", &headers, "", &[]);
            life.send("GET /login", &headers, "", &[]);
        }
        for page in ["/login", "/errors/AUTH_002", "/docs/rate-limits", "/openapi.json", "/nothing"]
        {
            let line = format!("GET {page}");
            let request =
                format!("{line} HTTP/1.1\r\nhost: {value}:80\r\nconnection: close\r\n\r\n");
            life.raw(&line, request.as_bytes(), &[]);
        }
        for body in [
            format!(r#"{{"x-api-key":"{value}"}}"#),
            format!(r#"{{"phone_number":"{value}"}}"#),
            format!(
                r#"{{"phone_number":"+14155550199","x-api-key":"{value}","sandbox":"{value}"}}"#
            ),
            format!(r#"{{"event_types":["{value}"],"permissions":["{value}"],"name":7}}"#),
            format!(r#"{{"{value}":"#),
            format!("x-api-key={value}"),
        ] {
            for line in ["POST /v3/contacts", "POST /v3/webhooks", "POST /v3/api-keys"] {
                life.api(key, line, &body, &[]);
                life.api(STRANGE, line, &body, &[]);
            }
        }
        for bytes in [
            format!("GET /v3/me HTTP/1.1\r\nhost: x\r\nx-api-key {value}\r\n\r\n"),
            format!("GET /v3/me HTTP/1.1\r\nhost: x\r\nx-api-key: {value}\0\r\n\r\n"),
            format!("GET /v3/me HTTP/1.1\r\nhost: {value}\r\nx-api-key: \u{7f}{value}\r\n\r\n"),
            format!("GET {value} HTTP/1.1\r\n\r\n"),
            format!("{value} /v3/me HTTP/1.1\r\nhost: x\r\n\r\n"),
            format!("x-api-key: {value}\r\n\r\n"),
            format!("GET /v3/me HTTP/1.1\r\nhost: x\r\nx: {}{value}\r\n\r\n", "a".repeat(70_000)),
            format!("POST /v3/contacts HTTP/1.1\r\nhost: x\r\ncontent-length: 90\r\n\r\n{value}"),
        ] {
            life.raw(NO_HTTP, bytes.as_bytes(), &[]);
        }
    }
}

/// The disk is full: changes that would show a secret are refused, and show none.
pub(super) fn without_room(life: &mut Life, keys: &Keys, password: &str) {
    let limit = |life: &Life, bytes: Option<u64>| {
        let limit = Rlimit { current: bytes, maximum: None };
        prlimit(Some(life.pid()), Resource::Fsize, limit).expect("it runs");
    };
    limit(life, Some(4096));
    let body = r#"{"name":"no","permissions":["contacts:read"]}"#;
    let refused = life.api(&keys.production, "POST /v3/api-keys", body, &[]);
    assert_eq!(refused.status, 503, "{refused:?}");
    let refused = life.post("/keys", &custom("no", "test"), &[]);
    assert_eq!(refused.status, 503, "{refused:?}");
    life.post("/team", &[("name", "N"), ("email", "n@example.com"), ("role", "admin")], &[]);
    life.post("/login", &[("email", "grace@example.com"), ("password", password)], &[]);
    limit(life, None);
    let reply = life.api(&keys.production, "GET /v3/api-keys", "", &[]);
    assert_eq!(reply.status, 200, "{reply:?}");
}

/// Every page and list that tells of keys, members, requests or what was done.
pub(super) fn look_everywhere(life: &mut Life, keys: &Keys) {
    for path in [
        "/overview",
        "/keys",
        "/team",
        "/profile",
        "/requests",
        "/alerts",
        "/audit",
        "/webhooks",
        "/audit/export.csv",
        "/audit/export.json",
        "/docs",
        "/openapi.json",
        "/metrics",
    ] {
        life.get(path, &[]);
    }
    for line in ["GET /v3/me", "GET /v3/api-keys", "GET /v3/users", "GET /v3/webhooks"] {
        life.api(&keys.production, line, "", &[]);
        life.api(&keys.test, line, "", &[]);
    }
    life.scrape();
    for arguments in [
        &["keys", "list"][..],
        &["keys", "list", "--json"],
        &["users", "list", "--json"],
        &["audit", "list", "--json"],
        &["audit", "verify"],
        &["audit", "export", "--format", "csv"],
        &["audit", "export", "--format", "json"],
        &["doctor"],
        &["doctor", "--json"],
        &["config"],
    ] {
        life.command(arguments, b"", &[]);
    }
}
