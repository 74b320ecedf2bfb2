//! Alerts: what is open, what was, and the rules.

use askama::Template;
use http::StatusCode;
use keyward_core::id::AlertId;
use keyward_store::alerts::{Alert, AlertKind, Rule};

use super::layout::Shell;
use super::{Page, Request, Stop, html, show};
use crate::app::{AppError, alerts};

struct Line {
    id: AlertId,
    kind: &'static str,
    text: String,
    at: String,
    /// Snoozed until, ended at.
    state: String,
    mail: String,
    /// Where it can be looked at, and what to call that.
    href: Option<(String, &'static str)>,
    is_open: bool,
    is_event: bool,
}

struct RuleLine {
    rule: Rule,
    name: &'static str,
    meaning: &'static str,
    unit: &'static str,
}

#[derive(Template)]
#[template(path = "dashboard/alerts.html")]
struct AlertsPage {
    shell: Shell,
    lines: Vec<Line>,
    is_history: bool,
    rules: Vec<RuleLine>,
    may_change: bool,
    sends_mail: bool,
}

/// A rule's name, what it watches, and what its number means; nothing where it has none.
const fn words(kind: AlertKind) -> (&'static str, &'static str, &'static str) {
    match kind {
        AlertKind::RotationDue => ("Rotation due", "A key is older than so many days.", "days"),
        AlertKind::Expiring => ("Expiring", "A key expires within so many days.", "days"),
        AlertKind::Expired => ("Expired", "A key that was in use has expired.", ""),
        AlertKind::NewNetwork => {
            ("New network", "A key is used from a network it was never used from before.", "")
        }
        AlertKind::RefusalsRise => {
            ("Rise in refusals", "An hour has so many times the usual refusals.", "times")
        }
        AlertKind::RequestsRise => {
            ("Rise in requests", "An hour has so many times the usual requests.", "times")
        }
        AlertKind::FromBrowser => {
            ("Used from a browser", "A key is used from web pages, where anybody can read it.", "")
        }
        AlertKind::WebhookOff => {
            ("Webhook switched off", "Ten events in a row could not be delivered to it.", "")
        }
        AlertKind::SelfRevoked => {
            ("Revoked by its holder", "Whoever held a key ended it, as a finder would.", "")
        }
        AlertKind::PlainHttp => {
            ("Plain HTTP", "A key is sent without encryption from another machine.", "")
        }
    }
}

fn line(alert: Alert, request: &Request) -> Line {
    let now = request.at;
    let snoozed = alert.snoozed_until.filter(|until| *until > now && alert.ended_at.is_none());
    let state = match (alert.ended_at, snoozed) {
        (Some(at), _) => format!("ended {}", show::ago(at, now)),
        (None, Some(until)) => format!("snoozed, back {}", show::ago(until, now)),
        (None, None) => String::new(),
    };
    let mail = match (&alert.mail_fault, alert.mailed_at) {
        (Some(fault), _) => format!("mail failed: {fault}"),
        (None, Some(_)) => String::from("mailed"),
        (None, None) => String::new(),
    };
    Line {
        id: alert.id,
        kind: words(alert.kind).0,
        at: show::ago(alert.raised_at, now),
        state,
        mail,
        href: match alert.kind {
            AlertKind::WebhookOff if alert.subject != "more" => {
                Some((format!("/webhooks/{}", alert.subject), "Look at the webhook"))
            }
            _ => alert.key.map(|key| (format!("/keys/{key}"), "Look at the key")),
        },
        is_open: alert.ended_at.is_none(),
        is_event: alerts::is_event(alert.kind),
        text: alert.text,
    }
}

/// `GET /alerts`
///
/// # Errors
/// If the store does not answer.
pub async fn list(request: Request) -> Page {
    let person = request.person()?;
    let is_history = request.query("show").as_deref() == Some("all");
    let found = alerts::list(&request.app, &person, (!is_history).then_some(true)).await?;
    let rules = alerts::rules(&request.app, person.account).await?;
    let rule_line = |rule: Rule| {
        let (name, meaning, unit) = words(rule.kind);
        RuleLine { rule, name, meaning, unit }
    };
    let page = AlertsPage {
        shell: Shell::new(&request, "Alerts", "/alerts"),
        lines: found.into_iter().map(|alert| line(alert, &request)).collect(),
        is_history,
        rules: rules.into_iter().map(rule_line).collect(),
        may_change: person.role.is_in_charge(),
        sends_mail: request.app.mailer.is_some(),
    };
    Ok(html(StatusCode::OK, page.render()?))
}

/// `POST /alerts/{id}/snooze`
///
/// # Errors
/// 404, 403.
pub async fn snooze(mut request: Request) -> Page {
    let form = request.form().await?;
    let days = match form.text("days") {
        "1" => 1,
        "30" => 30,
        _ => 7,
    };
    let (actor, account, id) = (request.actor()?, request.person()?.account, request.id()?);
    alerts::snooze(&request.app, &actor, account, id, days).await?;
    Err(Stop::To(String::from("/alerts?done=snoozed")))
}

/// `POST /alerts/{id}/dismiss`
///
/// # Errors
/// 404, 403, 409 for what ends only when its cause does.
pub async fn dismiss(request: Request) -> Page {
    let (actor, account, id) = (request.actor()?, request.person()?.account, request.id()?);
    alerts::dismiss(&request.app, &actor, account, id).await?;
    Err(Stop::To(String::from("/alerts?done=dismissed")))
}

/// `POST /alerts/rules`
///
/// # Errors
/// 403, 422 for a number that makes no sense.
pub async fn save_rules(mut request: Request) -> Page {
    let form = request.form().await?;
    let (actor, account) = (request.actor()?, request.person()?.account);
    for before in alerts::rules(&request.app, account).await? {
        let word = before.kind.as_str();
        let threshold = form.text(&format!("{word}-threshold"));
        let threshold = if threshold.is_empty() {
            before.threshold
        } else {
            let number = threshold.parse();
            number.map_err(|_| AppError::invalid("threshold", "must be a whole number"))?
        };
        let rule = Rule {
            kind: before.kind,
            is_on: form.has(&format!("{word}-on")),
            is_mailed: form.has(&format!("{word}-mailed")),
            threshold,
        };
        if rule != before {
            alerts::set_rule(&request.app, &actor, account, rule).await?;
        }
    }
    Err(Stop::To(String::from("/alerts?done=rules")))
}
