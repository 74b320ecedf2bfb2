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
