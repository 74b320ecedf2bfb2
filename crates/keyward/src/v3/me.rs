//! `GET /v3/me`: whose key this is, and what the key may do. Contract 4; sources 8.1.

use keyward_core::account::{Account, AccountKind, AccountState};
use keyward_tower::{ApiError, Code};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Answer, Request, Short, when};
use crate::app::{Reach, accounts};

/// The account that a key belongs to, and the key itself, never in clear.
#[derive(Serialize, ToSchema)]
pub(super) struct Me<'a> {
    /// The account; with `x-profile-id` the profile.
    #[schema(format = Uuid, value_type = String)]
    id: Short<36>,
    /// `organization`, `user` or `profile`.
    #[serde(rename = "type")]
    kind: &'static str,
    name: &'a str,
    email: Option<&'a str>,
    icon: Option<&'a str>,
    description: Option<&'a str>,
    #[schema(format = DateTime, value_type = String)]
    created_at: Short<20>,
    /// For a profile alone: whose profile it is.
    #[schema(format = Uuid, value_type = Option<String>)]
    organization_id: Option<Short<36>>,
    short_name: Option<&'a str>,
    /// For a profile alone: `incomplete`, `pending_review` or `approved`.
    status: Option<&'static str>,
    /// For a profile alone.
    settings: Option<ProfileSettings>,
    /// Those of an organization; empty for any other account.
    profiles: Vec<ProfileView>,
    channels: Channels,
    sending_phone_number: Option<&'a str>,
    #[schema(format = Uuid)]
    sending_phone_number_profile_id: Option<&'a str>,
    enable_template_auto_creation_for_sp: bool,
    api_key: KeyView<'a>,
}

/// What the account can send over.
#[derive(Serialize, ToSchema)]
struct Channels {
    sms: Channel,
    whatsapp: Channel,
    rcs: Channel,
}

#[derive(Serialize, ToSchema)]
struct Channel {
    configured: bool,
}

/// What the contract has for a profile; none of it can be changed here.
#[derive(Serialize, ToSchema)]
struct ProfileSettings {
    billing_model: &'static str,
    inherit_tcr_brand: bool,
    inherit_tcr_campaign: bool,
    allow_contact_sharing: bool,
    allow_template_sharing: bool,
    inherit_contacts: bool,
    inherit_templates: bool,
}

/// An account that belongs to an organization. Its `id` can be sent as `x-profile-id`.
#[derive(Serialize, ToSchema)]
#[schema(as = Profile)]
struct ProfileView {
    #[schema(format = Uuid, value_type = String)]
    id: Short<36>,
    name: String,
    icon: Option<String>,
    description: Option<String>,
    short_name: Option<String>,
    /// What the key may be in the profile.
    role: &'static str,
    /// `incomplete`, `pending_review` or `approved`.
    status: &'static str,
    #[schema(format = DateTime, value_type = String)]
    created_at: Short<20>,
    settings: ProfileSettings,
}

/// The key that was sent: what it may do and until when.
#[derive(Serialize, ToSchema)]
#[schema(as = ApiKey)]
struct KeyView<'a> {
    #[schema(format = Uuid, value_type = String)]
    id: Short<36>,
    name: &'a str,
    /// `production` or `test`: whose data it sees.
    environment: &'static str,
    permissions: Vec<&'static str>,
    #[schema(format = DateTime, value_type = String)]
    created_at: Short<20>,
    /// `null` if it never does.
    #[schema(format = DateTime, value_type = Option<String>)]
    expires_at: Option<Short<20>>,
}

impl Channels {
    /// This server sends no messages.
    const NONE: Self = Self {
        sms: Channel { configured: false },
        whatsapp: Channel { configured: false },
        rcs: Channel { configured: false },
    };
}

impl ProfileSettings {
    const fn new() -> Self {
        Self {
            billing_model: "organization",
            inherit_tcr_brand: true,
            inherit_tcr_campaign: true,
            allow_contact_sharing: false,
            allow_template_sharing: false,
            inherit_contacts: false,
            inherit_templates: false,
        }
    }
}

impl From<Account> for ProfileView {
    fn from(profile: Account) -> Self {
        Self {
            id: Short(profile.id.to_text()),
            name: profile.name,
            icon: profile.icon,
            description: profile.description,
            short_name: None,
            // A key of the organization may do in a profile what it may do in the organization.
            role: "admin",
            status: profile_status(profile.state),
            created_at: when(profile.created_at),
            settings: ProfileSettings::new(),
        }
    }
}

const fn profile_status(state: AccountState) -> &'static str {
    match state {
        AccountState::Active => "approved",
        AccountState::Suspended | AccountState::ChannelPending => "pending_review",
        AccountState::VerificationPending => "incomplete",
    }
}

/// `GET /v3/me`. Answered from memory, but for the profiles of an organization that has some.
///
/// # Errors
/// RESOURCE_004 if the account is gone.
pub async fn show(request: Request) -> Answer {
    let Reach::Here(follower) = &request.app.reach else {
        return Err(ApiError::new(Code::InternalUnavailable));
    };
    let verifier = &follower.verifier;
    let caller = &request.caller;
    let profiles = if verifier.has_profiles(caller) {
        accounts::profiles_of(&request.app, caller.account()).await?
    } else {
        vec![]
    };
    let gone = || ApiError::new(Code::CustomerNotFound);
    let account = verifier.account_of(caller).ok_or_else(gone)?;
    let key = verifier.key_of(caller).ok_or_else(gone)?;
    let is_profile = account.kind == AccountKind::Profile;
    let me = Me {
        id: Short(caller.account().to_text()),
        kind: account.kind.as_str(),
        name: &account.name,
        email: account.email.as_deref(),
        icon: account.icon.as_deref(),
        description: account.description.as_deref(),
        created_at: when(account.created_at),
        organization_id: account.organization.map(|id| Short(id.to_text())),
        short_name: None,
        status: is_profile.then(|| profile_status(verifier.state_of(caller))),
        settings: is_profile.then(ProfileSettings::new),
        profiles: profiles.into_iter().map(ProfileView::from).collect(),
        channels: Channels::NONE,
        sending_phone_number: None,
        sending_phone_number_profile_id: None,
        enable_template_auto_creation_for_sp: false,
        api_key: KeyView {
            id: Short(caller.key().to_text()),
            name: &key.name,
            environment: caller.environment().as_str(),
            permissions: caller.permissions().iter().map(|p| p.as_str()).collect(),
            created_at: when(key.created_at),
            expires_at: key.expires_at.map(when),
        },
    };
    request.answer(&me)
}

/// An answer for the reference.
pub(super) fn example() -> serde_json::Value {
    let created_at = Short(*b"2024-01-01T00:00:00Z");
    serde_json::json!(Me {
        id: Short(*b"018cc251-f400-7202-8202-020202020202"),
        kind: AccountKind::Organization.as_str(),
        name: "Acme",
        email: Some("ada@example.com"),
        icon: None,
        description: None,
        created_at,
        organization_id: None,
        short_name: None,
        status: None,
        settings: None,
        profiles: vec![],
        channels: Channels::NONE,
        sending_phone_number: None,
        sending_phone_number_profile_id: None,
        enable_template_auto_creation_for_sp: false,
        api_key: KeyView {
            id: Short(*b"018cc251-f400-7303-8303-030303030303"),
            name: "billing job",
            environment: "production",
            permissions: vec!["contacts:read", "contacts:write"],
            created_at,
            expires_at: Some(Short(*b"2024-03-31T00:00:00Z")),
        },
    })
}
