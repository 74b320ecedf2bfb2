//! Why a request was let in or refused, in words, from what is remembered of it.

use keyward_core::address;
use keyward_core::permission::Permission;
use keyward_core::record::{KeyRecord, Mark};
use keyward_store::requests::{FROM_BROWSER, OVER_PLAIN_HTTP, RequestRow};
use keyward_store::users::Named;
use keyward_tower::Code;

const PRESENT: &str = "key present";
const GOOD: &str = "key good";
const USABLE: &str = "account usable";
const LIMIT: &str = "rate limit";
const PROFILE: &str = "x-profile-id";
const ROUTE: &str = "route and method";
const PERMISSION: &str = "permission";
const BODY: &str = "size, type, JSON";
const IDEMPOTENCY: &str = "Idempotency-Key";
const VALIDATION: &str = "validation";
const RESOURCE: &str = "resource";
const ANSWER: &str = "answer";
const PASSED: &str = "all passed";

/// All checks, in their order. Contract 2.
pub const CHECKS: [&str; 13] = [
    PRESENT,
    GOOD,
    USABLE,
    LIMIT,
    PROFILE,
    ROUTE,
    PERMISSION,
    BODY,
    IDEMPOTENCY,
    VALIDATION,
    RESOURCE,
    ANSWER,
    PASSED,
];

/// What a story is told from.
pub(super) struct Told {
    pub(super) row: RequestRow,
    pub(super) key: Option<KeyRecord>,
    pub(super) successor: Option<KeyRecord>,
    pub(super) names: Vec<Named>,
}

type Tale = (&'static str, String, Vec<String>);

fn tale(check: &'static str, why: impl Into<String>, remedy: &[&str]) -> Tale {
    (check, why.into(), remedy.iter().map(|line| (*line).to_owned()).collect())
}

impl Told {
    fn by(&self, mark: &Mark) -> String {
        let named = self.names.iter().find(|named| format!("user {}", named.id) == mark.by);
        let name = match named {
            Some(named) if named.is_former => format!("{}, who is no member any more,", named.name),
            Some(named) => named.name.clone(),
            None if mark.by == "operator" => String::from("somebody at the command line"),
            None if mark.by == "system" => String::from("Keyward by itself"),
            None => String::from("somebody"),
        };
        format!("by {name} on {}", crate::when(mark.at))
    }

    fn key_name(&self) -> String {
        match &self.key {
            Some(key) => format!("“{}” (…{})", key.name, key.hint.as_str()),
            None => String::from("The key"),
        }
    }
}

/// At which check it was decided, why, and what to do. `asked` is the permission that the route asks
/// for.
pub(super) fn tell(told: &Told, asked: Option<Permission>) -> Tale {
    let (check, why, mut remedy) = match told.row.reason.as_deref() {
        Some(reason) => refused(told, reason),
        None => answered(told, asked),
    };
    remedy.extend(exposures(&told.row));
    (check, why, remedy)
}

fn refused(told: &Told, reason: &str) -> Tale {
    let key = told.key_name();
    match reason {
        "key_missing" => tale(
            PRESENT,
            "No key was sent, or a blank one.",
            &[
                "Send the key as the header x-api-key. It is not read from the query, the body or \
                 Authorization.",
                "Check that the variable which holds it is set where the program runs.",
            ],
        ),
        "key_repeated" => tale(
            GOOD,
            "More than one x-api-key header was sent.",
            &["Send one. A proxy on the way may add another."],
        ),
        "key_malformed" => tale(
            GOOD,
            "What was sent has not the form of a key: 36 characters, five groups of hexadecimal \
             digits with hyphens.",
            &[
                "Look for quotation marks, spaces or a line break around the key.",
                "Check that it is a key and not its identifier, its hint or another secret.",
            ],
        ),
        "key_unknown" => tale(
            GOOD,
            "The key is not one of this server's, though it has the form of one.",
            &[
                "Check that the key was made here and not on another server.",
                "If it was lost, generate a new one.",
            ],
        ),
        "key_expired" | "key_rotated" | "key_disabled" | "key_revoked" => ended(told, reason, &key),
        "address_not_allowed" => {
            let networks = told.key.as_ref().map_or(&[][..], |key| &key.networks);
            let allowed: Vec<String> = networks.iter().map(ToString::to_string).collect();
            let address = told.row.address.parse().ok();
            let is_allowed = |address| address::is_allowed(networks, address);
            let now = match address {
                Some(_) if networks.is_empty() => String::from("By now it may, from anywhere."),
                Some(address) if is_allowed(address) => {
                    format!("By now it may: allowed are {}.", allowed.join(", "))
                }
                _ => format!("Allowed are {}.", allowed.join(", ")),
            };
            let why = format!("{key} may not be used from {}. {now}", told.row.address);
            tale(
                GOOD,
                why,
                &[
                    "Add the address to the key's allowed addresses, if it is yours.",
                    "If it is not, somebody else has the key: rotate it.",
                ],
            )
        }
        "account_suspended" | "account_verification_pending" | "account_channel_pending" => tale(
            USABLE,
            format!("{key} is good, but its account may not be used: {}.", words(reason)),
            &["Whoever runs the server can say why, and change it."],
        ),
        "rate_limited" => {
            let limit = told.row.limited_to.map_or_else(String::new, |n| format!(" of {n}"));
            let until = told.row.resets_at.map_or_else(String::new, |at| {
                format!(" The window resets at {}.", crate::when(at))
            });
            tale(
                LIMIT,
                format!("The limit{limit} requests a minute was reached.{until}"),
                &[
                    "Wait as long as Retry-After says, then go on.",
                    "All keys of an account and environment share one limit: look which are busy.",
                ],
            )
        }
        "guesses_limited" => {
            let limit =
                told.row.limited_to.map_or_else(String::new, |n| format!(": more than {n}"));
            let ended = told.key.as_ref().filter(|key| !key.status(told.row.at).is_usable());
            let ended = ended.map_or_else(String::new, |record| {
                format!(" The key of this one, {key}, is {}.", record.status(told.row.at).as_str())
            });
            tale(
                LIMIT,
                format!(
                    "Too many requests without a good key came from {} within a minute{limit}.{ended}",
                    told.row.address
                ),
                &[
                    "Find the program there that sends a wrong key or none, and stop it.",
                    "Requests with a good key go on passing, also from there.",
                ],
            )
        }
        "profile_malformed" => tale(
            PROFILE,
            "x-profile-id is no UUID, or was sent twice.",
            &["Send the identifier of a profile of the organization, once."],
        ),
        "profile_forbidden" => tale(
            PROFILE,
            "Only an organization's key may act for a profile.",
            &["Leave x-profile-id away, or use a key of the organization."],
        ),
        "profile_unknown" => tale(
            PROFILE,
            "x-profile-id names no profile of this organization.",
            &["Check the identifier with GET /v3/me, which lists the profiles."],
        ),
        "client_gone" => tale(
            ANSWER,
            "The client closed the connection before it was answered.",
            &["Check the client's timeout; what it asked for may have been done."],
        ),
        other => tale(GOOD, format!("It was refused: {}.", words(other)), &[]),
    }
}

fn words(reason: &str) -> String {
    reason.replace('_', " ")
}

/// A key that no longer works.
fn ended(told: &Told, reason: &str, name: &str) -> Tale {
    let key = told.key.as_ref();
    match reason {
        "key_expired" => {
            let why = match key.and_then(|key| key.expires_at) {
                Some(at) if at <= told.row.at => format!("{name} expired on {}.", crate::when(at)),
                Some(at) => format!(
                    "{name} had expired. It has been changed since: it is good until {}.",
                    crate::when(at)
                ),
                None => format!("{name} had expired. It has been changed since: it never does."),
            };
            tale(
                GOOD,
                why,
                &["Generate a new key, or change the expiry of this one, which works again then."],
            )
        }
        "key_rotated" => {
            let by = key.and_then(|key| key.rotated.as_ref());
            let by = by.map_or_else(String::new, |rotation| {
                format!(
                    " {}, and worked until {}",
                    told.by(&rotation.mark),
                    crate::when(rotation.until)
                )
            });
            let next = told.successor.as_ref().map_or_else(String::new, |next| {
                format!(" Its successor is “{}” (…{}).", next.name, next.hint.as_str())
            });
            tale(
                GOOD,
                format!("{name} was rotated{by}.{next}"),
                &["Put the successor in place where the old key is still used."],
            )
        }
        "key_disabled" => {
            let by = key.and_then(|key| key.disabled.as_ref());
            let by = by.map(|mark| format!("{name} was disabled {}.", told.by(mark)));
            let is_ended = key.is_some_and(|key| key.revoked.is_some());
            match by {
                Some(why) if is_ended => tale(
                    GOOD,
                    why + " It has been revoked since, which cannot be undone.",
                    &["Give whoever still uses it another key."],
                ),
                Some(why) => tale(GOOD, why, &["Enable it on its page, if it should work."]),
                None => tale(
                    GOOD,
                    format!("{name} was disabled at that time. It has been enabled since."),
                    &["Send the request again."],
                ),
            }
        }
        _ => {
            let by = key.and_then(|key| key.revoked.as_ref());
            let by = by.map_or_else(String::new, |mark| format!(" {}", told.by(mark)));
            tale(
                GOOD,
                format!("{name} was revoked{by}. That cannot be undone."),
                &["Give whoever still uses it another key."],
            )
        }
    }
}

/// A request that passed the door.
fn answered(told: &Told, asked: Option<Permission>) -> Tale {
    let (row, key) = (&told.row, told.key_name());
    let Some(code) = row.code.as_deref().and_then(Code::from_text) else {
        return if row.status < 400 {
            tale(
                PASSED,
                format!("It was let in: {key} is good, and nothing stood against it."),
                &[],
            )
        } else {
            tale(ANSWER, format!("{key} is good; the request was answered with an error."), &[])
        };
    };
    let good = format!("{key} is good. ");
    match check_of(code) {
        PERMISSION => lacking(told, asked),
        ROUTE if code == Code::MethodNotAllowed => {
            tale(ROUTE, format!("{good}The route does not take {}.", row.method), code.remedy())
        }
        ANSWER => tale(
            ANSWER,
            "The request was fine, and something went wrong inside the server.",
            &[
                "Look for the request's identifier in the server's log: the cause stands there.",
                "Try again a little later; the official clients do so by themselves.",
            ],
        ),
        check => tale(check, good + code.meaning(), code.remedy()),
    }
}

/// The key may not do what was asked for.
fn lacking(told: &Told, asked: Option<Permission>) -> Tale {
    let key = told.key_name();
    let Some(asked) = asked else {
        let why = format!("{key} is good, but lacks a permission that the route asks for.");
        return tale(PERMISSION, why, Code::PermissionMissing.remedy());
    };
    if told.key.as_ref().is_some_and(|key| key.permissions.contains(asked)) {
        return tale(
            PERMISSION,
            format!("{key} is good, but lacked {asked} at that time. It has been given it since."),
            &["Send the request again."],
        );
    }
    let give = format!("Give the key {asked}, or use one that has it.");
    tale(PERMISSION, format!("{key} is good, but lacks {asked}."), &[&give])
}

/// At which check a code behind the door is decided.
fn check_of(code: Code) -> &'static str {
    match code.as_str() {
        "AUTH_001" => PRESENT,
        "AUTH_002" => GOOD,
        "AUTH_004" => PERMISSION,
        "REQUEST_001" | "REQUEST_002" => ROUTE,
        "VALIDATION_007" => IDEMPOTENCY,
        text => match text.split_once('_').map_or(text, |(family, _)| family) {
            "AUTH" => USABLE,
            "REQUEST" => BODY,
            "VALIDATION" => VALIDATION,
            "RESOURCE" | "BUSINESS" | "CONFLICT" => RESOURCE,
            _ => ANSWER,
        },
    }
}

/// What else is to be said of how the request came.
fn exposures(row: &RequestRow) -> Vec<String> {
    let mut lines = vec![];
    if row.key.is_some() && row.flags & FROM_BROWSER != 0 {
        lines.push(String::from(
            "It came from a web page, where everybody can read its key: call from a server of yours \
             instead, and rotate the key.",
        ));
    }
    if row.key.is_some() && row.flags & OVER_PLAIN_HTTP != 0 {
        lines.push(String::from(
            "Its key travelled over plain HTTP, where it can be read on the way: use HTTPS, and \
             rotate the key.",
        ));
    }
    lines
}

#[cfg(test)]
mod tests;
