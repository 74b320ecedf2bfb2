//! What every page has around it.

use keyward_core::account::AccountState;
use keyward_core::role::Role;
use keyward_store::Trouble;

use super::Request;
use super::assets;
use crate::app::sessions::Entered;

/// A place in the menu.
pub(super) struct Place {
    pub(super) path: &'static str,
    pub(super) name: &'static str,
    pub(super) is_here: bool,
}

/// The frame of a page.
pub(super) struct Shell {
    pub(super) title: String,
    pub(super) places: Vec<Place>,
    /// The member and the account; nothing where nobody is signed in.
    pub(super) who: Option<Who>,
    /// What was just done, in one sentence.
    pub(super) notice: Option<&'static str>,
    /// What is wrong with the server or the account, one after another.
    pub(super) warnings: Vec<&'static str>,
    /// The version of style sheet and script, in their addresses.
    pub(super) version: &'static str,
}

pub(super) struct Who {
    pub(super) name: String,
    pub(super) account: String,
    pub(super) role: Role,
}

const PLACES: [(&str, &str, &[Role]); 7] = [
    ("/overview", "Overview", &[Role::Owner, Role::Admin, Role::Developer, Role::Billing]),
    ("/keys", "API Keys", &[Role::Owner, Role::Admin, Role::Developer, Role::Billing]),
    ("/webhooks", "Webhooks", &[Role::Owner, Role::Admin, Role::Developer]),
    ("/requests", "Requests", &[Role::Owner, Role::Admin, Role::Developer]),
    ("/alerts", "Alerts", &[Role::Owner, Role::Admin, Role::Developer]),
    ("/team", "Team", &[Role::Owner, Role::Admin, Role::Developer, Role::Billing]),
    ("/audit", "Audit log", &[Role::Owner, Role::Admin]),
];

impl Shell {
    /// For a page that somebody is signed in to. `here` is the place in the menu.
    pub(super) fn new(request: &Request, title: &str, here: &str) -> Self {
        let mut shell = Self::around(request.entered.as_ref(), title, here);
        shell.warn_of_server(request);
        shell.warnings.extend(request.entered.as_ref().and_then(|it| closed(it.account.state)));
        shell.notice = request.query("done").and_then(|word| notice(&word));
        shell
    }

    pub(super) fn around(entered: Option<&Entered>, title: &str, here: &str) -> Self {
        let role = entered.map(|entered| entered.user.role);
        let places = PLACES
            .iter()
            .filter(|(_, _, roles)| role.is_some_and(|role| roles.contains(&role)))
            .map(|(path, name, _)| Place { path, name, is_here: *path == here })
            .collect();
        Self {
            title: title.to_owned(),
            places,
            who: entered.map(|entered| Who {
                name: entered.user.name.clone(),
                account: entered.account.name.clone(),
                role: entered.user.role,
            }),
            notice: None,
            warnings: vec![],
            version: assets::version(),
        }
    }

    /// Tells what is wrong with the server.
    pub(super) fn warn_of_server(&mut self, request: &Request) {
        self.warnings.extend(request.app.store.trouble().map(troubled));
        self.warnings.extend(request.app.is_open_http.then_some(OPEN_HTTP));
    }
}

/// What members are told while their account's keys are refused.
const fn closed(state: AccountState) -> Option<&'static str> {
    match state {
        AccountState::Active => None,
        AccountState::Suspended => Some(
            "This account is suspended: requests with its keys are refused with AUTH_005. Ask whoever runs \
             this server.",
        ),
        AccountState::VerificationPending => Some(
            "This account is not verified yet: requests with its keys are refused with AUTH_006. Ask \
             whoever runs this server.",
        ),
        AccountState::ChannelPending => Some(
            "This account has no channel yet: requests with its keys are refused with AUTH_007. Ask whoever \
             runs this server.",
        ),
    }
}

/// What members are told while nothing can be changed.
const fn troubled(trouble: Trouble) -> &'static str {
    match trouble {
        Trouble::ReadOnly => {
            "Nothing can be changed: this server's data is read-only. Keys are checked as before. Its \
             operator finds the reason in the log."
        }
        Trouble::Full => {
            "Nothing can be changed: this server's disk is full. Keys are checked as before. Have its \
             operator make room."
        }
        Trouble::Failing => {
            "Nothing can be changed: this server's disk reports errors. Keys are checked as before. Its \
             operator finds the reason in the log."
        }
        Trouble::Slow => {
            "Nothing can be changed: this server's disk does not keep up. Keys are checked as before. \
             Have its operator look what else uses it."
        }
    }
}

const OPEN_HTTP: &str = "Other machines reach this server over plain HTTP: keys can be read on their way. \
                         Have its operator give it a certificate (--tls-cert, --tls-key, or --acme-domains).";

/// What is told after a change, by the word that the address carries: never the word itself.
fn notice(word: &str) -> Option<&'static str> {
    Some(match word {
        "expired" => "You were signed out after a while. Sign in again; nothing was changed.",
        "out" => "You are signed out.",
        "reset" => "Your password is set. Sign in with it.",
        "saved" => "Saved. It is in force now.",
        "disabled" => "The key is disabled. Requests with it are refused from now on.",
        "enabled" => "The key is enabled. It works again.",
        "revoked" => "The key is revoked. No request passes with it any more.",
        "shared" => "Developers can see this key now.",
        "unshared" => "Developers can no longer see this key.",
        "role" => "The role is changed. It holds from the next page on.",
        "suspended" => "The member is suspended and signed out everywhere.",
        "resumed" => "The member can sign in again.",
        "removed" => "The member is removed. The keys that they made work on: have a look at them.",
        "renamed" => "Your name is changed.",
        "password" => "Your password is changed. You are signed out everywhere else.",
        "ended" => "The session is ended.",
        "passkey" => "The passkey is added. You can sign in with it from now on.",
        "saved-passkey" => "The passkey has its new name.",
        "no-passkey" => "The passkey is removed. Nobody signs in with it any more.",
        "factor-off" => "The second factor is switched off.",
        "snoozed" => "Snoozed.",
        "dismissed" => "Dismissed.",
        "rules" => "The rules are saved.",
        "webhook-on" => "The webhook is switched on. What waited for it is being sent.",
        "webhook-off" => {
            "The webhook is switched off. It hears of nothing until it is switched on."
        }
        "webhook-deleted" => "The webhook is deleted.",
        "tested" => "The test was delivered.",
        "test-failed" => "The test was not delivered; see below why.",
        "sent-again" => "The event is sent again. Load the page again to see what came of it.",
        _ => return None,
    })
}
