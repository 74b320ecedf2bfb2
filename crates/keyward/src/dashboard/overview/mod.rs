//! The overview: what came in, who is busy, what was refused and why, what needs a look.

use askama::Template;
use http::StatusCode;
use keyward_core::account::Environment;
use keyward_core::role::Role;
use keyward_core::time::{DAY_MILLIS, UnixMillis};
use keyward_core::usage::Outcome;
use keyward_store::key_list::{self, Concern, SOON_DAYS};
use keyward_store::usage::{Busy, HourSum, is_refusal};
use keyward_store::{Tx, requests, usage};

use super::chart::{Span, Split};
use super::keys::Usage;
use super::layout::Shell;
use super::{Page, Request, html, show};
use crate::app::AppError;
use crate::app::actor::Person;

/// A key is old when it was not replaced for so many days: the guide advises to rotate it then.
const OLD_DAYS: i64 = 90;
const UNUSED_DAYS: i64 = 30;
const EXPOSED_DAYS: i64 = 7;
const MOST: u32 = 3;

/// Something to look at, with what mends it.
struct Todo {
    text: String,
    href: String,
    button: &'static str,
}

struct Reason {
    name: &'static str,
    requests: u64,
    remedy: &'static str,
}

#[derive(Template)]
#[template(path = "dashboard/overview/overview.html")]
struct OverviewPage {
    shell: Shell,
    span: Span,
    tabs: [Span; 3],
    total: Split,
    usage: Usage,
    busiest: Vec<Busy>,
    reasons: Vec<Reason>,
    todos: Vec<Todo>,
    has_keys: bool,
    may_make: bool,
}

const fn reason(outcome: Outcome) -> (&'static str, &'static str) {
    match outcome {
        Outcome::Expired => ("Key expired", "Rotate keys before they expire."),
        Outcome::Disabled => ("Key disabled", "Enable it, or give its users another one."),
        Outcome::Revoked => ("Key revoked", "Somebody still uses it: give them another one."),
        Outcome::Rotated => ("Key rotated away", "Put the new key in place where the old one is."),
        Outcome::Address => ("Address not allowed", "Check the key's allowed addresses."),
        Outcome::Forbidden => {
            ("Permission missing", "Give the key the permission, or another key.")
        }
        Outcome::Limited => {
            ("Rate limit reached", "Spread the requests, or ask for a higher limit.")
        }
        Outcome::Missing => ("No key sent", "Send it as x-api-key."),
        Outcome::Malformed => ("Not the form of a key", "Check how the key is read and sent."),
        Outcome::Unknown => ("Unknown key", "Check that the key is one of this server's."),
        Outcome::Ok | Outcome::Invalid | Outcome::Failed => ("Answered", ""),
    }
}

fn reasons(sums: &[HourSum]) -> Vec<Reason> {
    let mut reasons: Vec<Reason> = Outcome::ALL
        .iter()
        .filter(|outcome| is_refusal(**outcome))
        .map(|outcome| {
            let (name, remedy) = reason(*outcome);
            let of_it = sums.iter().filter(|sum| sum.outcome == *outcome);
            Reason { name, requests: of_it.map(|sum| sum.requests).sum(), remedy }
        })
        .filter(|reason| reason.requests > 0)
        .collect();
    reasons.sort_by_key(|reason| std::cmp::Reverse(reason.requests));
    reasons
}

/// Keys that give rise to a concern: the first few each for itself, the rest as a number.
fn concerned(
    tx: &mut Tx<'_>,
    person: Person,
    concern: Concern,
    before: UnixMillis,
    now: UnixMillis,
    todos: &mut Vec<Todo>,
) -> Result<(), AppError> {
    let only = person.role == Role::Developer;
    let (keys, total) = key_list::concerned(tx, person.account, concern, before, now, only, MOST)?;
    let n_shown = u64::try_from(keys.len()).unwrap_or(0);
    for key in keys {
        let days = show::days(key.at, now);
        let (text, part, button) = match concern {
            Concern::Old => (format!("is {days} days old"), "/rotate", "Rotate"),
            Concern::Expiring => {
                let left = show::days(now, key.at);
                let left = show::count(left.unsigned_abs(), "day", "days");
                (format!("expires in {left}"), "/rotate", "Rotate")
            }
            Concern::Unused => (format!("was not used for {days} days"), "/revoke", "Revoke"),
            Concern::Orphaned => (
                String::from("was made by somebody who is no longer a member"),
                "/rotate",
                "Rotate",
            ),
        };
        let may = person.role.manages_keys_of(key.environment);
        todos.push(Todo {
            text: format!("“{}” (…{}, {}) {text}.", key.name, key.hint, key.environment),
            href: format!("/keys/{}{}", key.key, if may { part } else { "" }),
            button: if may { button } else { "Look" },
        });
    }
    if total > n_shown {
        let (status, text) = match concern {
            Concern::Old => ("sort=-created", "are older than 90 days"),
            Concern::Expiring => ("status=expiring&sort=expires", "expire within 14 days"),
            Concern::Unused => ("sort=-used", "were not used for 30 days"),
            Concern::Orphaned => ("", "were made by former members"),
        };
        let more = show::count(total - n_shown, "more key", "more keys");
        let text = format!("{more} {text}.");
        todos.push(Todo { text, href: format!("/keys?{status}"), button: "Show" });
    }
    Ok(())
}

fn exposed(
    tx: &mut Tx<'_>,
    person: Person,
    now: UnixMillis,
    todos: &mut Vec<Todo>,
) -> Result<(), AppError> {
    let since = UnixMillis(now.0 - EXPOSED_DAYS * DAY_MILLIS);
    for exposure in requests::exposures_of(tx, person.account, since)?.into_iter().take(5) {
        let listed = key_list::find(tx, person.account, exposure.key, now)?;
        let sees =
            |l: &key_list::Listed| person.role.sees_keys_of(l.record.environment, l.is_shared);
        let Some(listed) = listed.filter(sees) else { continue };
        let text = match exposure.kind.as_str() {
            "browser" => format!(
                "“{}” is used from web pages, where anybody can read it. Call your API from a \
                 server, and rotate this key.",
                exposure.name
            ),
            _ => format!(
                "“{}” is sent over plain HTTP, where it can be read on the way. Use HTTPS, and \
                 rotate this key.",
                exposure.name
            ),
        };
        let may = person.role.manages_keys_of(listed.record.environment);
        todos.push(Todo {
            text,
            href: format!("/keys/{}{}", exposure.key, if may { "/rotate" } else { "" }),
            button: if may { "Rotate" } else { "Look" },
        });
    }
    Ok(())
}

/// A sharp rise in refusals: five times the usual hour of the week before, and not just a few.
fn rise(sums: &[HourSum], now: UnixMillis) -> Option<Todo> {
    let this_hour = now.hours();
    let refused = |from: i64, to: i64| -> u64 {
        let within = sums.iter().filter(|s| s.hour >= from && s.hour < to);
        within.filter(|s| is_refusal(s.outcome)).map(|s| s.requests).sum()
    };
    let recent = refused(this_hour - 1, this_hour + 1);
    let usual = refused(this_hour - 169, this_hour - 1) / 168;
    (recent >= 50 && recent >= 5 * usual.max(1)).then(|| Todo {
        text: format!(
            "{} refused in the last hour; {} are usual.",
            show::count(recent, "request was", "requests were"),
            show::number(usual)
        ),
        href: String::from("/requests?status=refused"),
        button: "Show",
    })
}

/// `GET /overview`
///
/// # Errors
/// If the store does not answer.
pub async fn show(request: Request) -> Page {
    let (person, now) = (request.person()?, request.at);
    let span = request.query("span").and_then(|t| Span::from_text(&t)).unwrap_or(Span::Day);
    let from_hour = span.first_hour(now).min(now.hours() - 169);
    let from_day = UnixMillis(span.first_hour(now) * 3_600_000).0.div_euclid(DAY_MILLIS);
    let only = person.role == Role::Developer;
    let (sums, busiest, todos, has_keys) = request
        .app
        .read_for(person.account, move |tx| {
            let sums = usage::hours_of_account(tx, Some(person.account), from_hour)?;
            let busiest = usage::busiest(tx, person.account, from_day, only, 5)?;
            let mut todos = vec![];
            todos.extend(rise(&sums, now));
            let before = |days: i64| UnixMillis(now.0 - days * DAY_MILLIS);
            let soon = UnixMillis(now.0 + SOON_DAYS * DAY_MILLIS);
            concerned(tx, person, Concern::Expiring, soon, now, &mut todos)?;
            exposed(tx, person, now, &mut todos)?;
            concerned(tx, person, Concern::Orphaned, now, now, &mut todos)?;
            concerned(tx, person, Concern::Old, before(OLD_DAYS), now, &mut todos)?;
            concerned(tx, person, Concern::Unused, before(UNUSED_DAYS), now, &mut todos)?;
            let has_keys = key_list::has_any(tx, person.account)?;
            Ok::<_, AppError>((sums, busiest, todos, has_keys))
        })
        .await?;
    let shown: Vec<HourSum> =
        sums.into_iter().filter(|sum| sum.hour >= span.first_hour(now)).collect();
    let mut total = Split::default();
    shown.iter().for_each(|sum| total.add(sum.outcome, sum.requests));
    let page = OverviewPage {
        shell: Shell::new(&request, "Overview", "/overview"),
        span,
        tabs: Span::ALL,
        total,
        usage: Usage::new(span, &shown, now),
        busiest,
        reasons: reasons(&shown),
        todos,
        has_keys,
        may_make: person.role.manages_keys_of(Environment::Test),
    };
    Ok(html(StatusCode::OK, page.render()?))
}
