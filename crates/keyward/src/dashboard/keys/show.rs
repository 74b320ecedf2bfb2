//! A key's page: settings, usage, recent requests, its audit trail.

use askama::Template;
use http::StatusCode;
use keyward_core::account::Environment;
use keyward_core::id::KeyId;
use keyward_core::permission::Permission;
use keyward_core::record::KeyRecord;
use keyward_core::role::Role;
use keyward_core::time::UnixMillis;
use keyward_store::audit::{self, AuditFilter};
use keyward_store::key_list::{ListStatus, Listed};
use keyward_store::requests::{self, RequestFilter, Whose};
use keyward_store::{keys, usage};

use super::{Names, find, predecessor};
use crate::app::AppError;
use crate::app::audit::key_target;
use crate::dashboard::chart::{self, Span, Split};
use crate::dashboard::layout::Shell;
use crate::dashboard::trail::{RequestLine, TrailLine, request_line, trail_line};
use crate::dashboard::{Page, Request, html, show};

/// A line of the table under a chart.
pub(in crate::dashboard) struct Line {
    pub(in crate::dashboard) label: String,
    pub(in crate::dashboard) split: Split,
}

/// A chart with its numbers.
pub(in crate::dashboard) struct Usage {
    pub(in crate::dashboard) svg: String,
    pub(in crate::dashboard) lines: Vec<Line>,
}

impl Usage {
    pub(in crate::dashboard) fn new(span: Span, sums: &[usage::HourSum], now: UnixMillis) -> Self {
        let bars = span.bars_of(sums, now);
        let svg = chart::bars(span, &bars);
        let line = |bar: chart::Bar| Line { label: span.label(bar.from), split: bar.split };
        let lines = bars.into_iter().filter(|bar| bar.split.total() > 0).map(line).collect();
        Self { svg, lines }
    }
}

/// The other key of a rotation.
struct Pair {
    id: KeyId,
    text: String,
    link: &'static str,
    /// The old key is still in use although the new one is there.
    is_used: bool,
}

#[derive(Template)]
#[template(path = "dashboard/keys/show.html")]
struct ShowPage {
    shell: Shell,
    id: KeyId,
    name: String,
    hint: String,
    environment: Environment,
    status: ListStatus,
    permissions: String,
    permission_list: Vec<Permission>,
    expires: String,
    networks: Vec<String>,
    made_at: String,
    made_by: String,
    is_orphan: bool,
    marks: Vec<(&'static str, String)>,
    used: String,
    used_networks: Vec<(String, String)>,
    pair: Option<Pair>,
    concerns: Vec<String>,
    may_change: bool,
    may_rotate: bool,
    may_share: bool,
    is_shared: bool,
    is_disabled: bool,
    is_revoked: bool,
    span: Span,
    tabs: [Span; 3],
    usage: Usage,
    may_see_requests: bool,
    requests: Vec<RequestLine>,
    trail: Vec<TrailLine>,
}

/// `GET /keys/{id}`
///
/// # Errors
/// 404 for a key that is none of this account's, or that this member may not see.
pub async fn show(request: Request) -> Page {
    let (listed, names) = find(&request).await?;
    let (person, now) = (request.person()?, request.at);
    let span = request.query("span").and_then(|t| Span::from_text(&t)).unwrap_or(Span::Day);
    let (id, from_hour) = (listed.record.id, span.first_hour(now));
    let successor = listed.record.rotated.as_ref().map(|rotation| rotation.successor);
    let may_see_requests = person.role != Role::Billing;
    let (sums, found, trail, networks, successor, old) = request
        .app
        .read_for(person.account, move |tx| {
            let filter = RequestFilter { most: 10, ..RequestFilter::default() };
            let found = requests::list(tx, Whose::Key(id), &filter)?;
            let filter = AuditFilter {
                account: Some(person.account),
                target: Some(key_target(id)),
                most: 50,
                ..AuditFilter::default()
            };
            let successor = match successor {
                Some(id) => keys::find(tx, id)?,
                None => None,
            };
            Ok::<_, AppError>((
                usage::hours_of_key(tx, id, from_hour)?,
                found.rows,
                audit::list(tx, &filter)?,
                requests::networks_of(tx, id)?,
                successor,
                predecessor(tx, id)?,
            ))
        })
        .await?;
    let Listed { record, status, is_shared } = listed;
    let pair = pair(&record, successor.as_ref(), old.as_ref(), now);
    let (made_by, is_orphan) = names.of(&record.created.by);
    let is_alive = matches!(status, ListStatus::Active | ListStatus::Expiring);
    let used = match &record.last_used {
        Some(used) => format!(
            "{} from <code>{}</code>{}",
            show::time(used.at),
            used.address,
            client(&used.client)
        ),
        None => String::from("Never"),
    };
    let page = ShowPage {
        shell: Shell::new(&request, &record.name, "/keys"),
        id,
        hint: record.hint.as_str().to_owned(),
        environment: record.environment,
        status,
        permissions: show::permissions(record.permissions),
        permission_list: record.permissions.iter().collect(),
        expires: match record.expires_at {
            Some(at) => format!("{} ({})", show::time(at), show::ago(at, now)),
            None => String::from("Never"),
        },
        networks: record.networks.iter().map(ToString::to_string).collect(),
        made_at: show::time(record.created.at),
        made_by,
        is_orphan: is_orphan && status != ListStatus::Revoked,
        marks: marks(&record, &names),
        used,
        used_networks: networks
            .into_iter()
            .map(|(text, _, last)| (text, show::ago(last, now)))
            .collect(),
        pair,
        concerns: concerns(&record, is_alive, is_orphan, now),
        may_change: person.role.manages_keys_of(record.environment),
        may_rotate: is_alive && record.permissions.is_within(person.role.grants()),
        may_share: person.role.is_in_charge() && record.environment == Environment::Production,
        is_shared,
        is_disabled: record.disabled.is_some() && record.revoked.is_none(),
        is_revoked: record.revoked.is_some(),
        span,
        tabs: Span::ALL,
        usage: Usage::new(span, &sums, now),
        may_see_requests,
        requests: if may_see_requests {
            found.iter().map(|row| request_line(row, now)).collect()
        } else {
            vec![]
        },
        trail: trail.iter().map(trail_line).collect(),
        name: record.name,
    };
    Ok(html(StatusCode::OK, page.render()?))
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// What the client calls itself: it can call itself anything.
fn client(name: &str) -> String {
    if name.is_empty() { String::new() } else { format!(" by <bdi>{}</bdi>", escape(name)) }
}

fn marks(record: &KeyRecord, names: &Names) -> Vec<(&'static str, String)> {
    let line = |mark: &keyward_core::record::Mark| {
        format!("{} by <bdi>{}</bdi>", show::time(mark.at), escape(&names.of(&mark.by).0))
    };
    let mut lines = vec![];
    if let Some(rotation) = &record.rotated {
        lines.push(("Rotated", line(&rotation.mark)));
        lines.push(("Works until", show::time(rotation.until)));
    }
    if let Some(mark) = &record.disabled {
        lines.push(("Disabled", line(mark)));
    }
    if let Some(mark) = &record.revoked {
        lines.push(("Revoked", line(mark)));
    }
    lines
}

fn concerns(record: &KeyRecord, is_alive: bool, is_orphan: bool, now: UnixMillis) -> Vec<String> {
    let mut concerns = vec![];
    if !is_alive {
        return concerns;
    }
    let age = show::days(record.created.at, now);
    if age >= 90 {
        concerns.push(format!(
            "This key is {age} days old. Rotate it: the guide advises every 90 days."
        ));
    }
    if let Some(at) = record.expires_at
        && show::days(now, at) < 14
    {
        concerns.push(String::from(
            "This key expires soon. Rotate it before it does, so that nobody is refused.",
        ));
    }
    if is_orphan {
        concerns.push(String::from(
            "Whoever made this key is no longer a member and may still have it. Rotate it.",
        ));
    }
    concerns
}

/// What a rotation says on the pages of both its keys.
fn pair(
    record: &KeyRecord,
    successor: Option<&KeyRecord>,
    old: Option<&KeyRecord>,
    now: UnixMillis,
) -> Option<Pair> {
    let used = |key: &KeyRecord, since: UnixMillis| {
        key.last_used.as_ref().filter(|used| used.at > since).map(|used| used.at)
    };
    if let (Some(rotation), Some(successor)) = (&record.rotated, successor) {
        let until = show::time(rotation.until);
        let (text, is_used) = match used(record, rotation.mark.at) {
            _ if now >= rotation.until => {
                (format!("This key was rotated and stopped working at {until}."), false)
            }
            Some(at) => (
                format!(
                    "This key was rotated and works until {until}. <strong>It is still being \
                     used</strong>, last {}: put the new key in place there.",
                    show::ago(at, now)
                ),
                true,
            ),
            None => (
                format!(
                    "This key was rotated and works until {until}. It has not been used since: it \
                     can be revoked."
                ),
                false,
            ),
        };
        return Some(Pair { id: successor.id, text, link: "Its successor", is_used });
    }
    let old = old?;
    let rotation = old.rotated.as_ref()?;
    if now >= rotation.until || old.revoked.is_some() {
        return None;
    }
    let until = show::time(rotation.until);
    let hint = old.hint.as_str();
    let (text, is_used) = match used(old, rotation.mark.at) {
        Some(at) => (
            format!(
                "The old key <span class=\"mono\">…{hint}</span> works until {until} and <strong>is \
                 still being used</strong>, last {}.",
                show::ago(at, now)
            ),
            true,
        ),
        None => (
            format!(
                "The old key <span class=\"mono\">…{hint}</span> works until {until}. It has not been \
                 used since the rotation."
            ),
            false,
        ),
    };
    Some(Pair { id: old.id, text, link: "See the old key", is_used })
}
