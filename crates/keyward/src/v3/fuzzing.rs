//! What the fuzz targets are let at: readers of bodies.

use ipnet::IpNet;
use keyward_core::permission::PermissionSet;
use keyward_core::role::Role;
use keyward_core::time::UnixMillis;
use keyward_tower::ApiError;

use super::extract::{Object, check, parse};
use super::{api_keys, contacts, users, webhooks};
use crate::app::contacts::ContactChange;
use crate::app::webhooks::WebhookEdit;
use crate::app::webhooks::events::EventName;
use crate::app::{check_name, keys};

/// What is read of a body that may make a key.
pub struct KeyBody {
    pub permissions: Option<PermissionSet>,
    pub networks: Option<Vec<IpNet>>,
    pub expires_at: Option<Option<UnixMillis>>,
}

/// A body as a JSON object.
///
/// # Errors
/// As for a caller.
pub fn object(bytes: &[u8]) -> Result<Object, ApiError> {
    parse(bytes)
}

/// # Errors
/// As for a caller.
pub fn contact(body: &Object) -> Result<ContactChange, ApiError> {
    contacts::read_change(body)
}

/// # Errors
/// As for a caller.
pub fn invitation(body: &Object) -> Result<(String, String, Role), ApiError> {
    users::read_invitation(body).map(|read| (read.name, read.email, read.role))
}

/// The role that a member gets.
///
/// # Errors
/// As for a caller.
pub fn role(body: &Object) -> Result<Option<Role>, ApiError> {
    let mut faults = body.faults();
    let role = users::read_role(body, &mut faults);
    check(faults)?;
    Ok(role)
}

/// # Errors
/// As for a caller.
pub fn webhook(body: &Object) -> Result<WebhookEdit, ApiError> {
    webhooks::read_edit(body)
}

/// # Errors
/// As for a caller.
pub fn key(body: &Object) -> Result<KeyBody, ApiError> {
    let mut faults = body.faults();
    let permissions = api_keys::read_permissions(body, &mut faults);
    let networks = api_keys::read_networks(body, &mut faults);
    let expires_at = api_keys::read_expiry(body, &mut faults);
    check(faults)?;
    Ok(KeyBody { permissions, networks, expires_at })
}

/// The name of a key, new or changed; none if there is none.
///
/// # Errors
/// As for a caller.
pub fn key_name(body: &Object) -> Result<Option<String>, ApiError> {
    let mut faults = body.faults();
    let name = body.text("name", &mut faults);
    check(faults)?;
    Ok(name.map(|name| check_name("name", name, keys::LONGEST_NAME)).transpose()?)
}

/// # Errors
/// As for a caller.
pub fn grace_seconds(body: &Object) -> Result<u32, ApiError> {
    api_keys::read_grace(body)
}

/// # Errors
/// As for a caller.
pub fn is_active(body: &Object) -> Result<bool, ApiError> {
    webhooks::read_active(body)
}

/// # Errors
/// As for a caller.
pub fn event_type(body: &Object) -> Result<Option<EventName>, ApiError> {
    webhooks::read_event(body)
}
