//! Keys in fields and bodies that are right but for that.

use super::{Life, OWNER};

const WEBHOOK: [(&str, &str); 5] = [
    ("environment", "test"),
    ("event", "contact"),
    ("retries", "3"),
    ("timeout", "30"),
    ("name", "CRM"),
];

/// A key where no key belongs, in forms that are refused for it or for something else.
pub(super) fn misplaced(life: &mut Life, key: &str) {
    for value in [key, &key.replace('-', ""), &key.to_uppercase()] {
        let usual = [("environment", "test"), ("access", "read"), ("expiry", "90")];
        let networks = format!("192.0.2.0/24 {value}");
        let url = format!("https://crm.example/hook?key={value}");
        for (path, fields) in [
            ("/keys", vec![("name", value), ("access", "read"), ("expiry", "90")]),
            ("/keys", [&usual[..], &[("name", "n"), ("networks", &networks)]].concat()),
            (
                "/keys",
                [&usual[..2], &[("name", value), ("expiry", "date"), ("date", value)]].concat(),
            ),
            ("/webhooks", [&WEBHOOK[1..4], &[("name", value), ("url", &url)]].concat()),
            ("/webhooks", [&WEBHOOK[..], &[("url", value)]].concat()),
            (
                "/webhooks",
                [&WEBHOOK[..], &[("url", "https://crm.example/"), ("event", value)]].concat(),
            ),
            #[cfg(feature = "passkeys")]
            ("/profile/passkeys", vec![("name", value), ("challenge", "x"), ("credential", "x")]),
        ] {
            let refused = life.post(path, &fields, &[]);
            assert!((400..500).contains(&refused.status), "{path} {fields:?} {refused:?}");
        }
        // Signed out, a place is not led back to that has a key in it, however it is written.
        let signed_in = std::mem::take(&mut life.cookie);
        let hidden = value.replace('-', "%2D");
        for place in [value, &hidden, &hidden.replace('%', "%25"), &value.replacen('8', "%38", 1)] {
            let asked = life.get(&format!("/keys?q={place}"), &[]);
            assert_eq!((asked.status, asked.header("location")), (303, Some("/login")), "{place}");
            let next = format!("/keys?q={place}").replace('%', "%25");
            let page = life.get(&format!("/login?next={next}"), &[]);
            assert!(page.status == 200 && !page.body.contains("/keys?q="), "{place} {page:?}");
        }
        life.cookie = signed_in;
    }
}

/// A key of this server as a name, which nothing else is wrong with.
pub(super) fn named(life: &mut Life, key: &str, password: &str) {
    let id = "01900000-0000-7000-8000-000000000000";
    for value in [key, &key.replace('-', ""), &key.to_uppercase()] {
        let usual = [("environment", "test"), ("access", "read"), ("expiry", "90")];
        let url = format!("https://crm.example/{}", value.replace('-', "%2D"));
        for (path, fields) in [
            ("/keys", [&usual[..], &[("name", value)]].concat()),
            (
                "/webhooks",
                [&WEBHOOK[..4], &[("name", value), ("url", "https://crm.example/")]].concat(),
            ),
            ("/webhooks", [&WEBHOOK[..], &[("url", &url)]].concat()),
            ("/profile/name", vec![("name", value)]),
        ] {
            let refused = life.post(path, &fields, &[]);
            assert_eq!(refused.status, 422, "{path} {fields:?} {refused:?}");
        }
        for is_sandbox in ["true", "false"] {
            let email = format!("{value}@example.com");
            for (line, body) in [
                (
                    String::from("POST /v3/users"),
                    format!(r#"{{"name":"{value}","email":"bob@example.com","role":"billing""#),
                ),
                (
                    String::from("POST /v3/users"),
                    format!(r#"{{"name":"Bob","email":"{email}","role":"billing""#),
                ),
                (format!("PATCH /v3/api-keys/{id}"), format!(r#"{{"name":"{value}""#)),
                (
                    String::from("POST /v3/api-keys"),
                    format!(r#"{{"name":"{value}","permissions":["contacts:read"]"#),
                ),
            ] {
                let refused =
                    life.api(key, &line, &format!(r#"{body},"sandbox":{is_sandbox}}}"#), &[]);
                assert_eq!(refused.status, 400, "{line} {body} {refused:?}");
            }
        }
        for field in ["--name", "--email", "--description"] {
            let email = format!("{value}@example.com");
            let mut asked = vec!["accounts", "create"];
            if field != "--name" {
                asked.extend(["--name", "Another"]);
            }
            asked.extend([field, if field == "--email" { &email } else { value }]);
            assert_eq!(life.command(&asked, b"", &[]).code, 2, "{asked:?}");
        }
    }
    let apart = key.replace('-', "\t");
    let headers = [
        ("user-agent", apart.as_str()),
        ("origin", "http://localhost"),
        ("content-type", "application/x-www-form-urlencoded"),
    ];
    let body = format!("email={OWNER}&password={}", password.replace(' ', "+"));
    let begun = life.send("POST /login", &headers, &body, &[]);
    assert_eq!(begun.status, 303, "{begun:?}");
}
