//! Passkeys on the pages: signing in with one, and my own in my account. Without the feature there is
//! nothing of it to see.

#[cfg(feature = "passkeys")]
mod pages;
#[cfg(feature = "passkeys")]
pub use pages::{add, ask, begin, remove, rename, show, sign_in};
#[cfg(feature = "passkeys")]
pub(super) use pages::{ask_sign_in, section};

/// What a page lets the browser ask a passkey.
pub(super) struct Asked {
    /// The name of the challenge, for the form.
    pub(super) challenge: String,
    /// JSON for the browser.
    pub(super) options: String,
    pub(super) version: &'static str,
}

/// The own passkeys, in my account.
pub(super) struct Section {
    pub(super) rows: Vec<Row>,
    /// Whether one can be added here.
    pub(super) is_possible: bool,
    /// The address at which one could, if there is one.
    pub(super) elsewhere: Option<String>,
}

pub(super) struct Row {
    pub(super) id: keyward_core::id::PasskeyId,
    pub(super) name: String,
    /// The host name, if it is another than the one at which the page was opened.
    pub(super) host: Option<String>,
    pub(super) added: String,
    pub(super) used: Option<String>,
}

#[cfg(not(feature = "passkeys"))]
mod nothing {
    use super::super::{Request, Stop};
    use super::{Asked, Section};

    pub(in super::super) fn ask_sign_in(_: &Request) -> Result<Option<(Asked, String)>, Stop> {
        Ok(None)
    }

    pub(in super::super) async fn section(_: &Request) -> Result<Option<Section>, Stop> {
        Ok(None)
    }
}
#[cfg(not(feature = "passkeys"))]
pub(super) use nothing::{ask_sign_in, section};
