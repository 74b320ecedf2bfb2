//! The same call for curl and in four languages, made from what the description says of it.
//!
//! Python and TypeScript use the vendor's official clients, Go its standard library, Rust `ureq`.

use std::fmt::Write as _;

use serde_json::Value;

/// A piece of a program.
pub struct Sample {
    pub title: &'static str,
    pub text: String,
}

/// A call to be shown.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    pub method: &'a str,
    /// With nothing left to fill in.
    pub path: &'a str,
    /// What the official clients call it: `contacts.create`; empty for a call that needs no key.
    pub name: &'a str,
    /// Whether the official clients have it.
    pub is_official: bool,
    /// What stands in the path, for the official clients.
    pub id: Option<&'a str>,
    pub body: Option<&'a Value>,
}

/// What the TypeScript client does not have under a name.
const NOT_IN_TYPESCRIPT: [&str; 1] = ["contacts.retrieve_message_summary"];

impl<'a> Call<'a> {
    #[must_use]
    pub const fn get(path: &'a str) -> Self {
        Call { method: "GET", path, name: "", is_official: true, id: None, body: None }
    }

    /// A body that says something.
    fn body(&self) -> Option<&'a Value> {
        self.body.filter(|body| body.as_object().is_some_and(|members| !members.is_empty()))
    }

    fn members(&self) -> impl Iterator<Item = (&'a String, &'a Value)> {
        self.body().and_then(Value::as_object).into_iter().flatten()
    }
}

/// The call in every language.
#[must_use]
pub fn of(call: &Call<'_>, base: &str) -> Vec<Sample> {
    let mut samples = vec![Sample { title: "curl", text: curl(call, base) }];
    if !call.name.is_empty() {
        if call.is_official {
            samples.push(Sample { title: "Python", text: python(call, base) });
            samples.push(Sample { title: "TypeScript", text: typescript(call, base) });
        }
        samples.push(Sample { title: "Go", text: go(call, base) });
        samples.push(Sample { title: "Rust", text: rust(call, base) });
    }
    samples
}

fn curl(call: &Call<'_>, base: &str) -> String {
    let mut text = String::from("curl -i");
    // Why: curl chooses POST by itself when there is a body.
    if !(call.method == "GET" || call.method == "POST" && call.body().is_some()) {
        let _ = write!(text, " -X {}", call.method);
    }
    let _ = write!(text, " {base}{}", call.path);
    if !call.name.is_empty() {
        text.push_str(" \\\n    -H \"x-api-key: $SENT_API_KEY\"");
    }
    if let Some(body) = call.body() {
        let _ = write!(text, " \\\n    -H 'content-type: application/json' \\\n    -d '{body}'");
    }
    text
}

fn python(call: &Call<'_>, base: &str) -> String {
    let literal = |value: &Value| match value {
        Value::Bool(true) => String::from("True"),
        Value::Bool(false) => String::from("False"),
        Value::Null => String::from("None"),
        other => other.to_string(),
    };
    let id = call.id.map(|id| format!("\"{id}\""));
    let members = call.members().map(|(name, value)| format!("{name}={}", literal(value)));
    let arguments: Vec<String> = id.into_iter().chain(members).collect();
    format!(
        "# pip install sentdm\nimport os\nfrom sent_dm import Sent\n\n\
         client = Sent(\n    api_key=os.environ[\"SENT_API_KEY\"],\n    base_url=\"{base}\",\n)\n\
         print(client.{}({}))",
        call.name,
        arguments.join(", "),
    )
}

/// `webhooks.rotateSecret` of `webhooks.rotate_secret`.
fn camel_case(name: &str) -> String {
    let mut parts = name.split('_');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |name, part| {
        let (head, rest) = part.split_at(part.len().min(1));
        name + &head.to_uppercase() + rest
    })
}

fn typescript(call: &Call<'_>, base: &str) -> String {
    let literal = |value: &Value| value.to_string().replace('"', "'");
    let members = call.members().map(|(name, value)| format!("{name}: {}", literal(value)));
    let members = members.collect::<Vec<_>>().join(", ");
    let object = match (call.name, call.method) {
        // The client asks for these two, and for something where there is a body.
        ("contacts.list" | "webhooks.list" | "webhooks.list_events", _) => {
            String::from("{ page: 1, page_size: 20 }")
        }
        _ if !members.is_empty() => format!("{{ {members} }}"),
        (_, "GET") => String::new(),
        _ => String::from("{}"),
    };
    let id = call.id.map(|id| format!("'{id}'"));
    let arguments = id.into_iter().chain(Some(object).filter(|text| !text.is_empty()));
    let arguments = arguments.collect::<Vec<_>>().join(", ");
    let done = if NOT_IN_TYPESCRIPT.contains(&call.name) {
        format!("client.get('{}')", call.path)
    } else {
        format!("client.{}({arguments})", camel_case(call.name))
    };
    format!(
        "// npm install @sentdm/sentdm\nimport Sent from '@sentdm/sentdm';\n\n\
         const client = new Sent({{\n  apiKey: process.env.SENT_API_KEY,\n  baseURL: '{base}',\n}});\n\
         console.log(await {done});"
    )
}

fn go(call: &Call<'_>, base: &str) -> String {
    let body = call.body().map(|body| format!("strings.NewReader(`{body}`)"));
    let import = if body.is_some() { "\t\"strings\"\n" } else { "" };
    let mut headers =
        String::from("\trequest.Header.Set(\"x-api-key\", os.Getenv(\"SENT_API_KEY\"))\n");
    if body.is_some() {
        headers.push_str("\trequest.Header.Set(\"content-type\", \"application/json\")\n");
    }
    format!(
        "package main\n\nimport (\n\t\"fmt\"\n\t\"io\"\n\t\"log\"\n\t\"net/http\"\n\t\"os\"\n{import})\n\n\
         func main() {{\n\
         \trequest, err := http.NewRequest(\"{}\", \"{base}{}\", {})\n\
         \tif err != nil {{\n\t\tlog.Fatal(err)\n\t}}\n{headers}\
         \tanswer, err := http.DefaultClient.Do(request)\n\
         \tif err != nil {{\n\t\tlog.Fatal(err)\n\t}}\n\
         \tdefer answer.Body.Close()\n\
         \tbody, err := io.ReadAll(answer.Body)\n\
         \tif err != nil {{\n\t\tlog.Fatal(err)\n\t}}\n\
         \tfmt.Println(answer.Status, string(body))\n}}",
        call.method,
        call.path,
        body.as_deref().unwrap_or("nil"),
    )
}

fn rust(call: &Call<'_>, base: &str) -> String {
    let method = call.method.to_lowercase();
    let (header, send) = match call.body() {
        Some(body) => (
            "\n        .header(\"content-type\", \"application/json\")",
            format!("send(r#\"{body}\"#)"),
        ),
        None => ("", String::from("call()")),
    };
    format!(
        "// cargo add ureq\nfn main() -> Result<(), Box<dyn std::error::Error>> {{\n    \
         let key = std::env::var(\"SENT_API_KEY\")?;\n    \
         let mut answer = ureq::{method}(\"{base}{}\")\n        \
         .config().http_status_as_error(false).build()\n        \
         .header(\"x-api-key\", &key){header}\n        .{send}?;\n    \
         println!(\"{{}}\\n{{}}\", answer.status(), answer.body_mut().read_to_string()?);\n    \
         Ok(())\n}}",
        call.path,
    )
}

/// Waiting as long as a 429 says, in two languages.
#[must_use]
pub fn waiting(base: &str) -> Vec<Sample> {
    [("Python", WAIT_IN_PYTHON), ("TypeScript", WAIT_IN_TYPESCRIPT)]
        .into_iter()
        .map(|(title, text)| Sample { title, text: text.replace("{base}", base) })
        .collect()
}

const WAIT_IN_PYTHON: &str = r#"import os, random, time, urllib.error, urllib.request

def call(path, attempts=5):
    request = urllib.request.Request("{base}" + path)
    request.add_header("x-api-key", os.environ["SENT_API_KEY"])
    for attempt in range(attempts):
        try:
            with urllib.request.urlopen(request) as answer:
                return answer.read()
        except urllib.error.HTTPError as error:
            if error.code != 429 and error.code < 500 or attempt == attempts - 1:
                raise
            # What the server says; for its own faults 1, 2, 4 s and so on.
            said = error.headers.get("Retry-After")
            pause = float(said) if said else min(2**attempt, 30)
            # A little more, so that not all programs come back at once.
            time.sleep(pause + random.random())

print(call("/v3/me"))"#;

const WAIT_IN_TYPESCRIPT: &str = r"async function call(path: string, attempts = 5): Promise<Response> {
  for (let attempt = 1; ; attempt++) {
    const answer = await fetch('{base}' + path, {
      headers: { 'x-api-key': process.env.SENT_API_KEY ?? '' },
    });
    const mayPass = answer.status === 429 || answer.status >= 500;
    if (!mayPass || attempt === attempts) return answer;
    // What the server says; for its own faults 1, 2, 4 s and so on.
    const said = Number(answer.headers.get('retry-after'));
    const pause = said || Math.min(2 ** (attempt - 1), 30);
    // A little more, so that not all programs come back at once.
    await new Promise((done) => setTimeout(done, (pause + Math.random()) * 1000));
  }
}

console.log(await (await call('/v3/me')).json());";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_call_is_the_same_in_every_language() {
        let body = json!({"opt_out": true});
        let path = "/v3/contacts/7";
        let call = Call {
            method: "PATCH",
            name: "contacts.update",
            id: Some("7"),
            body: Some(&body),
            ..Call::get(path)
        };
        let samples = of(&call, "http://a");
        let check = |title: &str, expected: &str| {
            let sample = samples.iter().find(|sample| sample.title == title).expect(title);
            assert!(sample.text.contains(expected), "{}", sample.text);
            assert!(sample.text.contains("SENT_API_KEY"), "{}", sample.text);
            assert!(sample.text.contains("http://a"), "{}", sample.text);
        };
        check("curl", "-X PATCH http://a/v3/contacts/7");
        check("curl", "-d '{\"opt_out\":true}'");
        check("Python", "client.contacts.update(\"7\", opt_out=True)");
        check("TypeScript", "client.contacts.update('7', { opt_out: true })");
        check("Go", "http.NewRequest(\"PATCH\", \"http://a/v3/contacts/7\", strings.NewReader(");
        check("Rust", "ureq::patch(\"http://a/v3/contacts/7\")");
        assert_eq!(of(&Call::get("/healthcheck"), "http://a").len(), 1);
    }
}
