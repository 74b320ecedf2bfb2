//! `keyward keys explain`: the guide's debugging steps as one command.

use std::io::Read as _;

use keyward_core::account::{Account, AccountState};
use keyward_core::record::{KeyRecord, KeyStatus, LastUse};
use keyward_core::time::UnixMillis;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{Context, Failure, keys, output};
use crate::app::App;
use crate::app::explain::{self, Explanation, KnownKey};
use crate::when;

/// More than this is no key.
const LONGEST: u64 = 4096;

pub(super) async fn explain(context: &Context, app: &App) -> Result<(), Failure> {
    let mut text = Zeroizing::new(Vec::with_capacity(LONGEST as usize));
    std::io::stdin().lock().take(LONGEST).read_to_end(&mut text)?;
    // The end of a line belongs to the terminal, not to the key.
    let key = text.strip_suffix(b"\n").unwrap_or(&text);
    let key = key.strip_suffix(b"\r").unwrap_or(key);
    if key.is_empty() {
        return Err(Failure::Usage(String::from(
            "nothing came on stdin: printf %s \"$SENT_API_KEY\" | keyward keys explain --key-stdin",
        )));
    }
    let explanation = explain::explain(app, key).await?;
    drop(text);
    let is_usable = usable(&explanation);
    if context.is_json {
        output::json(&view(&explanation))?;
    } else {
        output::data(&told(&explanation).join("\n"))?;
    }
    if is_usable {
        Ok(())
    } else {
        Err(Failure::Refused(String::from("requests with this key are refused, see above")))
    }
}

fn usable(explanation: &Explanation) -> bool {
    matches!(explanation, Explanation::Known(known)
        if known.status.is_usable() && known.account.state == AccountState::Active)
}

fn told(explanation: &Explanation) -> Vec<String> {
    match explanation {
        Explanation::Malformed(error) => vec![
            format!("format        wrong: {error}"),
            String::from("expected      xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx, x one of 0-9 a-f"),
            String::from("answer        401 AUTH_002"),
            String::from("what to do    copy the key again, whole and with nothing around it"),
        ],
        Explanation::Unknown { uuid_version, is_placeholder } => {
            let mut lines = vec![
                format!("format        right (a UUID of version {uuid_version})"),
                String::from("known         no: this data folder never had this key"),
                String::from("answer        401 AUTH_002"),
            ];
            if *is_placeholder {
                lines.push(String::from("note          this is a placeholder, not a key"));
            }
            lines.push(String::from(
                "what to do    check which server the key belongs to, or issue one: keyward keys create",
            ));
            lines
        }
        Explanation::Known(known) => told_known(known),
    }
}

fn told_known(known: &KnownKey) -> Vec<String> {
    let KnownKey { key, account, status, at, last_use, predecessor, left } = known;
    let mut all = vec![String::from("format        right"), String::from("known         yes")];
    all.extend(lines(key, account, *at, last_use.as_ref()));
    if let Some(predecessor) = predecessor {
        all.push(format!("replaces      {} (…{})", predecessor.id, predecessor.hint.as_str()));
    }
    match left {
        Some(left) => {
            for window in left {
                all.push(format!(
                    "limit         {}: {} of {} left, all keys of the account together; resets in {} s",
                    window.class(),
                    window.remaining,
                    window.limit,
                    window.resets_in_millis.div_ceil(1000)
                ));
            }
        }
        None => all.push(String::from("limit         unknown: no server runs on this data folder")),
    }
    let (answer, remedy) = advice(key, account, *status);
    all.push(format!("answer        {answer}"));
    if let Some(remedy) = remedy {
        all.push(format!("what to do    {remedy}"));
    }
    all
}

/// What a request with this key is answered, and what to do about it.
fn advice(key: &KeyRecord, account: &Account, status: KeyStatus) -> (&'static str, Option<String>) {
    let refused = "401 AUTH_002";
    let issue = "issue a new key: keyward keys create";
    match status {
        KeyStatus::Revoked { .. } => (refused, Some(format!("revoking cannot be undone; {issue}"))),
        KeyStatus::Disabled { .. } => {
            (refused, Some(format!("switch it on again: keyward keys enable {}", key.id)))
        }
        KeyStatus::Expired { .. } => (refused, Some(issue.to_owned())),
        KeyStatus::Rotated { .. } => (refused, Some(String::from("use its successor"))),
        _ if account.state != AccountState::Active => {
            let code = match account.state {
                AccountState::VerificationPending => "403 AUTH_006",
                AccountState::ChannelPending => "403 AUTH_007",
                AccountState::Suspended | AccountState::Active => "403 AUTH_005",
            };
            (code, Some(format!("activate the account: keyward accounts activate {}", account.id)))
        }
        KeyStatus::Rotating { until } => {
            ("let in", Some(format!("use its successor before {}", when(until))))
        }
        KeyStatus::Active if key.networks.is_empty() => ("let in", None),
        KeyStatus::Active => ("let in from the allowed networks, elsewhere 401 AUTH_002", None),
    }
}

/// A key and its account, a line a fact.
pub(super) fn lines(
    key: &KeyRecord,
    account: &Account,
    now: UnixMillis,
    last_use: Option<&LastUse>,
) -> Vec<String> {
    let ago = |at: UnixMillis| format!("{} ({})", when(at), output::relative(at, now));
    let status = match key.status(now) {
        KeyStatus::Active => String::from("active"),
        KeyStatus::Rotating { until } => format!("rotating: works until {}", ago(until)),
        KeyStatus::Rotated { since } => format!("rotated: stopped working {}", ago(since)),
        KeyStatus::Expired { since } => format!("expired {}", ago(since)),
        KeyStatus::Disabled { since } => format!(
            "disabled {} by {}",
            ago(since),
            key.disabled.as_ref().map_or("somebody", |mark| &mark.by)
        ),
        KeyStatus::Revoked { since } => format!(
            "revoked {} by {}",
            ago(since),
            key.revoked.as_ref().map_or("somebody", |mark| &mark.by)
        ),
    };
    let mut lines = vec![
        format!("id            {}", key.id),
        format!("name          {}", key.name),
        format!("key           …{}", key.hint.as_str()),
        format!("account       {} ({}, {})", account.name, account.id, account.state),
        format!("environment   {}", key.environment),
        format!("status        {status}"),
        format!("expires       {}", key.expires_at.map_or_else(|| String::from("never"), ago)),
        format!("may           {}", keys::permissions_text(key)),
        format!("created       {} by {}", ago(key.created.at), key.created.by),
    ];
    if let Some(rotation) = &key.rotated {
        lines.push(format!("successor     {}, made {}", rotation.successor, ago(rotation.mark.at)));
    }
    if !key.networks.is_empty() {
        let networks: Vec<_> = key.networks.iter().map(ToString::to_string).collect();
        lines.push(format!("allowed from  {}", networks.join(" ")));
    }
    lines.push(match last_use {
        Some(last) => {
            let by = if last.client.is_empty() { "an unnamed client" } else { &last.client };
            format!("last used     {} from {} by {by}", ago(last.at), last.address)
        }
        None => String::from("last used     never"),
    });
    lines
}

fn view(explanation: &Explanation) -> Value {
    match explanation {
        Explanation::Malformed(error) => {
            json!({"format": "wrong", "fault": error.to_string(), "known": false})
        }
        Explanation::Unknown { uuid_version, is_placeholder } => json!({
            "format": "right", "known": false, "uuid_version": uuid_version,
            "is_placeholder": is_placeholder,
        }),
        Explanation::Known(known) => {
            let KnownKey { key, account, status, last_use, predecessor, left, .. } = &**known;
            let (answer, remedy) = advice(key, account, *status);
            let window = |left: &explain::Left| {
                json!({
                    "class": left.class().as_str(), "limit": left.limit,
                    "remaining": left.remaining, "resets_in_millis": left.resets_in_millis,
                })
            };
            let since = match *status {
                KeyStatus::Active => None,
                KeyStatus::Rotating { until: at }
                | KeyStatus::Rotated { since: at }
                | KeyStatus::Expired { since: at }
                | KeyStatus::Disabled { since: at }
                | KeyStatus::Revoked { since: at } => Some(when(at)),
            };
            json!({
                "format": "right",
                "known": true,
                "id": key.id.to_string(),
                "name": key.name,
                "hint": key.hint.as_str(),
                "account": {
                    "id": account.id.to_string(), "name": account.name,
                    "state": account.state.as_str(),
                },
                "environment": key.environment.as_str(),
                "status": status.as_str(),
                "status_at": since,
                "expires_at": key.expires_at.map(when),
                "permissions": key.permissions.iter().map(|p| p.as_str()).collect::<Vec<_>>(),
                "allowed_networks":
                    key.networks.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "successor_id": key.rotated.as_ref().map(|r| r.successor.to_string()),
                "predecessor_id": predecessor.as_ref().map(|key| key.id.to_string()),
                "last_used_at": last_use.as_ref().map(|last| when(last.at)),
                "last_used_from": last_use.as_ref().map(|last| last.address.to_string()),
                "last_used_by": last_use.as_ref().map(|last| &last.client),
                "limits": left.as_ref().map(|left| left.iter().map(window).collect::<Vec<_>>()),
                "answer": answer,
                "what_to_do": remedy,
            })
        }
    }
}
