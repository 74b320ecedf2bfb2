//! The audit log, and lines of it and of requests for other pages.

use askama::Template;
use bytes::Bytes;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use http_body_util::Full;
use keyward_core::chain::Entry;
use keyward_core::time::{DAY_MILLIS, UnixMillis};
use keyward_store::audit::AuditFilter;
use keyward_store::requests::{FROM_BROWSER, OVER_PLAIN_HTTP, RequestRow};
use serde_json::Value;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::layout::Shell;
use super::{Page, Request, Stop, html, show};
use crate::app::{audit, people};

const ROWS: u32 = 50;

/// A line of the audit trail.
pub(super) struct TrailLine {
    pub(super) number: i64,
    pub(super) at: String,
    pub(super) name: String,
    pub(super) address: String,
    pub(super) action: String,
    pub(super) label: String,
    /// Where the target's page is.
    pub(super) href: Option<String>,
    pub(super) details: String,
}

/// A request in a table.
pub(super) struct RequestLine {
    pub(super) request_id: String,
    pub(super) at: String,
    pub(super) method: String,
    pub(super) route: String,
    pub(super) status: u16,
    pub(super) tone: &'static str,
    pub(super) reason: Option<String>,
    pub(super) key: Option<(String, String)>,
    pub(super) address: String,
    pub(super) marks: Vec<&'static str>,
}

pub(super) fn request_line(row: &RequestRow, now: UnixMillis) -> RequestLine {
    let mut marks = vec![];
    if row.flags & FROM_BROWSER != 0 {
        marks.push("from a browser");
    }
    if row.flags & OVER_PLAIN_HTTP != 0 {
        marks.push("over plain HTTP");
    }
    let key = row.key.map(|key| (key.to_string(), row.key_name.clone().unwrap_or_default()));
    RequestLine {
        request_id: row.request_id.clone(),
        at: if row.at.0 + DAY_MILLIS > now.0 { show::ago(row.at, now) } else { show::time(row.at) },
        method: row.method.clone(),
        route: row.route.clone(),
        status: row.status,
        tone: tone(row.status),
        reason: row.reason.as_deref().map(|reason| reason.replace('_', " ")),
        key,
        address: row.address.clone(),
        marks,
    }
}

pub(super) const fn tone(status: u16) -> &'static str {
    match status {
        0..400 => "good",
        401 | 403 | 429 => "bad",
        400..500 => "warn",
        _ => "bad",
    }
}

/// What was done, in words.
fn words(action: &str) -> String {
    let words = match action {
        "account.set_up" => "set up the account",
        "account.created" => "made the account",
        "account.state_changed" => "changed the account's state",
        "account.limit_changed" => "changed a rate limit",
        "key.created" => "generated the key",
        "key.imported" => "imported keys",
        "key.changed" => "changed the key",
        "key.rotated" => "rotated the key",
        "key.disabled" => "disabled the key",
        "key.enabled" => "enabled the key",
        "key.revoked" => "revoked the key",
        "key.shared" => "shared the key with developers",
        "key.unshared" => "hid the key from developers",
        "user.invited" => "invited",
        "user.joined" => "joined the account",
        "user.role_changed" => "changed the role",
        "user.suspended" => "suspended",
        "user.resumed" => "let in again",
        "user.removed" => "removed",
        "user.renamed" => "changed the own name",
        "user.password_changed" => "changed the own password",
        "user.password_reset" => "set a new password by a link",
        "user.reset_requested" => "made a link to set a password",
        "user.second_factor_on" => "switched the second factor on",
        "user.second_factor_off" => "switched the second factor off",
        "user.recovery_codes_renewed" => "made new recovery codes",
        "user.passkey_added" => "added a passkey",
        "user.passkey_renamed" => "renamed a passkey",
        "user.passkey_removed" => "removed a passkey",
        "user.passkey_refused" => "was refused with a passkey that may be a copy",
        "session.started" => "signed in",
        "session.ended" => "ended a session",
        "session.others_ended" => "ended all other sessions",
        "webhook.created" => "added the webhook",
        "webhook.changed" => "changed the webhook",
        "webhook.switched_on" => "switched the webhook on",
        "webhook.switched_off" => "switched the webhook off",
        "webhook.turned_off" => "switched the webhook off after failures",
        "webhook.secret_rotated" => "rotated the signing secret",
        "webhook.event_sent_again" => "sent an event again",
        "webhook.deleted" => "deleted the webhook",
        "database.backed_up" => "made a backup",
        "database.restored" => "restored a backup",
        "alert.rule_changed" => "changed an alert rule",
        "alert.snoozed" => "snoozed an alert",
        "alert.dismissed" => "dismissed an alert",
        other => other,
    };
    words.to_owned()
}

/// A JSON value in words: a list with commas, a change with an arrow.
fn value_words(value: &Value) -> String {
    match value {
        Value::Null => String::from("none"),
        Value::String(text) => text.clone(),
        Value::Array(values) if values.is_empty() => String::from("any"),
        Value::Array(values) => values.iter().map(value_words).collect::<Vec<_>>().join(", "),
        Value::Object(members) => match (members.get("from"), members.get("to")) {
            (Some(from), Some(to)) => format!("{} → {}", value_words(from), value_words(to)),
            _ => value.to_string(),
        },
        other => other.to_string(),
    }
}

pub(super) fn trail_line(entry: &Entry) -> TrailLine {
    let details = match serde_json::from_str::<Value>(&entry.details) {
        Ok(Value::Object(members)) => {
            let pair = |(name, value): (&String, &Value)| {
                format!("{}: {}", name.replace('_', " "), value_words(value))
            };
            members.iter().map(pair).collect::<Vec<_>>().join(" · ")
        }
        _ => String::new(),
    };
    let href = match entry.target.split_once(' ') {
        Some(("key", id)) => Some(format!("/keys/{id}")),
        Some(("webhook", id)) => Some(format!("/webhooks/{id}")),
        _ => None,
    };
    TrailLine {
        number: entry.number,
        at: show::time(entry.at),
        name: entry.name.clone(),
        address: entry.address.clone(),
        action: words(&entry.action),
        label: entry.label.clone(),
        href,
        details,
    }
}

struct Choice {
    value: String,
    name: String,
}

#[derive(Template)]
#[template(path = "dashboard/audit.html")]
struct AuditPage {
    shell: Shell,
    rows: Vec<TrailLine>,
    actors: Vec<Choice>,
    actor: String,
    action: String,
    since: String,
    until: String,
    export: String,
    next: Option<String>,
    is_filtered: bool,
}

/// The kinds of actions that the filter offers.
const KINDS: [(&str, &str); 6] = [
    ("key", "Keys"),
    ("user", "Members"),
    ("webhook", "Webhooks"),
    ("session", "Sessions"),
    ("account", "Account"),
    ("alert", "Alerts"),
];

/// The midnight, in UTC, at which a day begins.
fn midnight(date: &str) -> Option<UnixMillis> {
    let date: jiff::civil::Date = date.parse().ok()?;
    show::midnight(date)
}

/// What the address asks for; the query for the export and the next page beside it.
pub(super) fn filter(request: &Request) -> Result<(AuditFilter, String), Stop> {
    let since = request.query("since");
    let until = request.query("until");
    let mut query = form_urlencoded::Serializer::new(String::new());
    for name in ["actor", "action", "since", "until"] {
        if let Some(value) = request.query(name) {
            query.append_pair(name, &show::typed(&value));
        }
    }
    let filter = AuditFilter {
        account: Some(request.person()?.account),
        action: request.query("action"),
        actor: request.query("actor"),
        target: None,
        before: request.query("before").and_then(|text| text.parse().ok()),
        from_at: since.and_then(|date| midnight(&date)).map(|at| at.0),
        until_at: until.and_then(|date| midnight(&date)).map(|at| at.0 + DAY_MILLIS),
        most: ROWS,
    };
    Ok((filter, query.finish()))
}

/// `GET /audit`
///
/// # Errors
/// If the store does not answer.
pub async fn audit(request: Request) -> Page {
    let (filter, query) = filter(&request)?;
    let is_filtered = !query.is_empty();
    let entries = audit::list(&request.app, filter).await?;
    let full = usize::try_from(ROWS).unwrap_or(usize::MAX);
    let next = (entries.len() == full)
        .then(|| entries.last())
        .flatten()
        .map(|last| format!("/audit?{query}&before={}", last.number));
    let named = people::names_of(&request.app, request.person()?.account).await?;
    let mut actors: Vec<Choice> = named
        .into_iter()
        .map(|named| Choice {
            value: format!("user {}", named.id),
            name: if named.is_former { format!("{} (former)", named.name) } else { named.name },
        })
        .collect();
    let fixed = [("operator", "Command line"), ("system", "Keyward itself")];
    actors.extend(fixed.map(|(value, name)| Choice { value: value.into(), name: name.into() }));
    let word = |name: &str| request.query(name).as_deref().map(show::typed).unwrap_or_default();
    let page = AuditPage {
        shell: Shell::new(&request, "Audit log", "/audit"),
        rows: entries.iter().map(trail_line).collect(),
        actors,
        actor: word("actor"),
        action: word("action"),
        since: word("since"),
        until: word("until"),
        export: query,
        next,
        is_filtered,
    };
    Ok(html(StatusCode::OK, page.render()?))
}

/// Rows that one download has at most: what is more is for the command line, which has no bound.
const MOST_EXPORTED: usize = 100_000;
const MOST_EXPORTED_BYTES: usize = 64 << 20;

/// Bound: two downloads at once, 64 MiB each, and twice that while they are made, until they are taken.
static EXPORTING: Semaphore = Semaphore::const_new(2);

/// A download, which makes room for another one when it is gone.
struct Export {
    text: String,
    _turn: SemaphorePermit<'static>,
}

impl AsRef<[u8]> for Export {
    fn as_ref(&self) -> &[u8] {
        self.text.as_bytes()
    }
}

async fn export(
    request: Request,
    head: &str,
    row: fn(&Entry) -> String,
    content_type: &'static str,
    name: &'static str,
) -> Page {
    let Ok(turn) = EXPORTING.try_acquire() else {
        let why = "Two downloads are being made at the moment. Try again a little later.";
        return Err(Stop::Bad(StatusCode::SERVICE_UNAVAILABLE, why));
    };
    let (mut filter, _) = filter(&request)?;
    filter.most = 1000;
    let mut text = head.to_owned();
    let mut n_rows = 0;
    while n_rows < MOST_EXPORTED && text.len() < MOST_EXPORTED_BYTES {
        let entries = audit::list(&request.app, filter.clone()).await?;
        let Some(last) = entries.last() else { break };
        filter.before = Some(last.number);
        n_rows += entries.len();
        entries.iter().for_each(|entry| text.push_str(&row(entry)));
    }
    let mut response = html(StatusCode::OK, String::new());
    *response.body_mut() = Full::new(Bytes::from_owner(Export { text, _turn: turn }));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    let disposition = HeaderValue::from_static(name);
    headers.insert(CONTENT_DISPOSITION, disposition);
    Ok(response)
}

/// `GET /audit/export.csv`: what the filter matches, newest first, 100,000 rows and about 64 MiB at most.
///
/// # Errors
/// If the store does not answer.
pub async fn export_csv(request: Request) -> Page {
    let name = "attachment; filename=\"audit.csv\"";
    export(request, audit::CSV_HEAD, audit::csv_row, "text/csv; charset=utf-8", name).await
}

/// `GET /audit/export.json`: the same, an object a line.
///
/// # Errors
/// If the store does not answer.
pub async fn export_json(request: Request) -> Page {
    let name = "attachment; filename=\"audit.json\"";
    export(request, "", audit::json_row, "application/x-ndjson; charset=utf-8", name).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_are_told_in_words() {
        let entry = Entry {
            number: 1,
            at: UnixMillis(0),
            account: None,
            actor: String::from("operator"),
            name: String::from("Ada"),
            action: String::from("key.changed"),
            target: String::from("key 0190"),
            label: String::from("x"),
            details: String::from(
                r#"{"name":{"from":"a","to":"b"},"networks":{"from":[],"to":["10.0.0.0/8"]}}"#,
            ),
            address: String::new(),
        };
        let line = trail_line(&entry);
        assert_eq!(line.details, "name: a → b · networks: any → 10.0.0.0/8");
        assert_eq!(line.action, "changed the key");
        assert_eq!(line.href.as_deref(), Some("/keys/0190"));
    }
}
