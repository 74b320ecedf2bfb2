//! Why a request was let in or refused, in words, from what is remembered of it.

use keyward_core::record::{KeyRecord, Mark};
use keyward_store::requests::RequestRow;
use keyward_store::users::Named;

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
            Some(named) => named.name.as_str(),
            None if mark.by == "operator" => "somebody at the command line",
            None => "somebody",
        };
        format!("by {name} at {}", crate::when(mark.at))
    }

    fn key_name(&self) -> String {
        match &self.key {
            Some(key) => format!("“{}” (…{})", key.name, key.hint.as_str()),
            None => String::from("The key"),
        }
    }
}

/// At which check it was decided, why, and what to do.
pub(super) fn tell(told: &Told, lacking: Option<&str>) -> Tale {
    match told.row.reason.as_deref() {
        Some(reason) => refused(told, reason),
        None => answered(told, lacking),
    }
}

const PRESENT: &str = "key present";
const GOOD: &str = "key good";
const USABLE: &str = "account usable";
const LIMIT: &str = "rate limit";
const PROFILE: &str = "x-profile-id";

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
            "The key has the right form, and is not one of this server's.",
            &[
                "Check that the key was made here and not on another server.",
                "If it was lost, generate a new one.",
            ],
        ),
        "key_expired" | "key_rotated" | "key_disabled" | "key_revoked" => ended(told, reason, &key),
        "address_not_allowed" => {
            let allowed = told.key.as_ref().map(|key| {
                key.networks.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
            });
            let allowed = allowed.filter(|text| !text.is_empty());
            let now = allowed.map_or_else(
                || String::from("It may be used from anywhere by now."),
                |allowed| format!("Allowed are {allowed}."),
            );
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
        "guesses_limited" => tale(
            LIMIT,
            format!("Too many requests without a good key came from {}.", told.row.address),
            &["Find the program there that sends a wrong key, and stop it."],
        ),
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
            "answer",
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
            let when = key.and_then(|key| key.expires_at).filter(|at| *at <= told.row.at);
            let when = when.map_or_else(String::new, |at| format!(" on {}", crate::when(at)));
            tale(
                GOOD,
                format!("{name} expired{when}."),
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
            let by = by.map_or_else(
                || String::from(" at that time; it is not any more"),
                |mark| format!(" {}", told.by(mark)),
            );
            tale(
                GOOD,
                format!("{name} was disabled{by}."),
                &["Enable it on its page, if it should work."],
            )
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
fn answered(told: &Told, lacking: Option<&str>) -> Tale {
    let key = told.key_name();
    match told.row.status {
        0..400 => tale("all passed", format!("It was let in: {key} is good."), &[]),
        403 if told.row.code.as_deref() == Some("AUTH_004") => {
            let lacking = lacking.unwrap_or("the permission that the route asks for");
            tale(
                "permission",
                format!("{key} is good, but lacks {lacking}."),
                &["Give the key the permission, or use one that has it."],
            )
        }
        404 if told.row.route == "-" => tale(
            "route and method",
            format!("{key} is good. There is no such route."),
            &["Check the path: the API reference lists all of them."],
        ),
        404 => tale(
            "resource",
            format!("{key} is good. What the path names is not there."),
            &["It may be in the other environment: test and production keys see their own data."],
        ),
        405 => tale(
            "route and method",
            format!("{key} is good. The route does not take {}.", told.row.method),
            &["The Allow header of the answer names the methods."],
        ),
        409 => tale(
            "resource",
            format!("{key} is good. What was asked for conflicts with what is there."),
            &["The answer's error says with what."],
        ),
        413 | 415 => tale(
            "size, type, JSON",
            format!("{key} is good. The body is too large, or not JSON."),
            &["Send application/json within the size limit."],
        ),
        400 | 422 => tale(
            "validation",
            format!("{key} is good. Something in the request makes no sense."),
            &["The answer's details name the fields; its code has a page that says more."],
        ),
        500.. => tale(
            "answer",
            "Something went wrong inside the server.",
            &["Look for the request's identifier in the server's log: the cause stands there."],
        ),
        _ => tale("answer", format!("{key} is good; the request was answered with an error."), &[]),
    }
}
