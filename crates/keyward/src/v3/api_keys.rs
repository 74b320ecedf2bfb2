//! `/v3/api-keys`: keys that manage keys, for scripts. Ours; the contract has none. Contract 10.
//!
//! A key gives no other more than it has itself, in permissions, time and addresses, and sees those of its
//! own account and environment alone.

use http::StatusCode;
use ipnet::IpNet;
use keyward_core::id::KeyId;
use keyward_core::permission::{Permission, PermissionSet};
use keyward_core::record::{KeyRecord, Mark};
use keyward_core::time::{DAY_MILLIS, UnixMillis};
use keyward_store::Tx;
use keyward_store::key_list::{KeyQuery, ListStatus, SortBy};
use keyward_tower::{ApiError, Code};
use serde::Serialize;
use utoipa::ToSchema;

use super::change::Change;
use super::extract::{Object, check, fault};
use super::page::{Page, Pagination, Query};
use super::{Answer, Request};
use crate::app::keys::{self, Issued, KeyEdit, NewKey};
use crate::app::{AppError, Faults};
use crate::config::network;
use crate::when;

/// How long a replaced key works on unless somebody says otherwise.
pub(super) const USUAL_GRACE_SECONDS: u32 = 86_400;
const LONGEST_GRACE_SECONDS: u32 = 365 * 86_400;

/// A key, never in clear but in the answer that makes it.
#[derive(Serialize, ToSchema)]
#[schema(as = ManagedApiKey)]
pub(super) struct KeyView<'a> {
    #[schema(format = Uuid)]
    id: String,
    /// The account that the key belongs to.
    #[schema(format = Uuid)]
    customer_id: String,
    name: &'a str,
    /// `production` or `test`: that of the calling key.
    environment: &'static str,
    /// The key itself: told when it is made, and `null` ever after.
    key: Option<String>,
    /// The last four characters of the key.
    hint: &'a str,
    /// `active`, `rotating`, `rotated`, `expired`, `disabled` or `revoked`.
    status: &'static str,
    permissions: Vec<&'static str>,
    /// Networks that it may be used from; none: from everywhere.
    allowed_addresses: Vec<String>,
    #[schema(format = DateTime)]
    created_at: String,
    /// `null` if it never does.
    #[schema(format = DateTime)]
    expires_at: Option<String>,
    #[schema(format = DateTime)]
    disabled_at: Option<String>,
    #[schema(format = DateTime)]
    revoked_at: Option<String>,
    /// The key that replaced it.
    #[schema(format = Uuid)]
    replaced_by: Option<String>,
    /// Until when a replaced key works on.
    #[schema(format = DateTime)]
    works_until: Option<String>,
    #[schema(format = DateTime)]
    last_used_at: Option<String>,
}

impl<'a> KeyView<'a> {
    fn of(key: &'a KeyRecord, now: UnixMillis) -> Self {
        let rotated = key.rotated.as_ref();
        Self {
            id: key.id.to_string(),
            customer_id: key.account.to_string(),
            name: &key.name,
            environment: key.environment.as_str(),
            key: None,
            hint: key.hint.as_str(),
            status: key.status(now).as_str(),
            permissions: key.permissions.iter().map(Permission::as_str).collect(),
            allowed_addresses: key.networks.iter().map(ToString::to_string).collect(),
            created_at: when(key.created.at),
            expires_at: key.expires_at.map(when),
            disabled_at: key.disabled.as_ref().map(|mark| when(mark.at)),
            revoked_at: key.revoked.as_ref().map(|mark| when(mark.at)),
            replaced_by: rotated.map(|rotation| rotation.successor.to_string()),
            works_until: rotated.map(|rotation| when(rotation.until)),
            last_used_at: key.last_used.as_ref().map(|last| when(last.at)),
        }
    }

    /// In clear, for the one answer that shows it.
    fn issued(issued: &'a Issued, now: UnixMillis) -> Self {
        let key = Some(issued.key.reveal().to_string());
        Self { key, ..Self::of(&issued.record, now) }
    }
}

/// One page of keys, the newest first.
#[derive(Serialize, ToSchema)]
#[schema(as = ManagedApiKeyList)]
pub(super) struct KeyList<'a> {
    api_keys: Vec<KeyView<'a>>,
    pagination: Pagination,
}

/// `GET /v3/api-keys`
///
/// # Errors
/// VALIDATION_001, VALIDATION_005, VALIDATION_006.
pub async fn list(request: Request) -> Answer {
    let query = Query::of(&request.parts.uri);
    let page = Page::of(&query)?;
    let status = match query.get("status") {
        None => None,
        Some(text) => Some(ListStatus::from_text(text).ok_or_else(|| {
            let words: Vec<&str> = ListStatus::ALL.iter().map(|status| status.as_str()).collect();
            let sentence = format!("status must be one of: {}", words.join(", "));
            ApiError::new(Code::EnumInvalid).about("status", sentence)
        })?),
    };
    let (caller, at) = (&request.caller, request.at);
    let wanted = KeyQuery {
        account: caller.account(),
        environment: Some(caller.environment()),
        status,
        search: query.search()?,
        only_test_or_shared: false,
        sort: SortBy::Created,
        is_reversed: false,
        // Past so many there is nothing.
        offset: u32::try_from(page.offset()).unwrap_or(u32::MAX),
        most: page.size(),
        now: at,
    };
    let found = keys::seen_by_key(&request.app, wanted).await?;
    let api_keys = found.keys.iter().map(|listed| KeyView::of(&listed.record, at)).collect();
    request.answer(&KeyList { api_keys, pagination: page.of_total(found.total) })
}

/// `GET /v3/api-keys/{id}`
///
/// # Errors
/// VALIDATION_003, REQUEST_008.
pub async fn show(request: Request) -> Answer {
    let key = keys::find_for_key(&request.app, &request.caller, request.id()?).await?;
    request.answer(&KeyView::of(&key, request.at))
}

pub(super) fn read_permissions(body: &Object, faults: &mut Faults) -> Option<PermissionSet> {
    let names = body.texts("permissions", faults)?;
    let mut set = vec![];
    for name in names {
        match name.parse::<Permission>() {
            Ok(permission) => set.push(permission),
            Err(unknown) => fault(faults, "permissions", unknown.to_string()),
        }
    }
    Some(set.into_iter().collect())
}

pub(super) fn read_networks(body: &Object, faults: &mut Faults) -> Option<Vec<IpNet>> {
    let texts = body.texts("allowed_addresses", faults)?;
    let mut found = vec![];
    for text in texts {
        let short: String = text.chars().take(64).collect();
        match network(&short) {
            Ok(network) => found.push(network),
            Err(sentence) => fault(faults, "allowed_addresses", sentence),
        }
    }
    Some(found)
}

/// `None`: nothing is said about it. `Some(None)`: never.
pub(super) fn read_expiry(body: &Object, faults: &mut Faults) -> Option<Option<UnixMillis>> {
    if !body.has("expires_at") {
        return None;
    }
    let text = body.text("expires_at", faults);
    let Some(text) = text else { return Some(None) };
    let Ok(at) = text.parse::<jiff::Timestamp>() else {
        fault(faults, "expires_at", "expires_at must be a time such as 2030-01-01T00:00:00Z");
        return None;
    };
    Some(Some(UnixMillis(at.as_millisecond())))
}

/// `POST /v3/api-keys`
///
/// # Errors
/// VALIDATION_001.
pub async fn create(change: Change) -> Answer {
    let Change { request, body, is_sandbox, writer } = change;
    let mut faults = body.faults();
    let name = body.text("name", &mut faults);
    if name.is_none() && !faults.contains_key("name") {
        fault(&mut faults, "name", "Name is required");
    }
    let permissions = read_permissions(&body, &mut faults);
    if permissions.is_none() && !faults.contains_key("permissions") {
        fault(&mut faults, "permissions", "Permissions are required");
    }
    let networks = read_networks(&body, &mut faults);
    let expires_at = read_expiry(&body, &mut faults);
    check(faults)?;
    let (app, actor, at) = (&request.app, request.actor(), request.at);
    let usual = keys::usual(app, &actor).await?;
    let new = NewKey {
        account: request.caller.account(),
        name: name.unwrap_or_default().to_owned(),
        environment: request.caller.environment(),
        permissions: permissions.unwrap_or_default(),
        networks: networks.unwrap_or(usual.networks),
        expires_at: expires_at.unwrap_or(usual.expires_at),
    };
    if is_sandbox {
        let issued = keys::rehearse(app, &actor, new).await?;
        return writer.pretend(StatusCode::CREATED, &KeyView::issued(&issued, at)).await;
    }
    let finish = move |tx: &mut Tx<'_>, issued: Issued| {
        writer.write(tx, StatusCode::CREATED, &KeyView::issued(&issued, at))
    };
    keys::issue_and(app, &actor, new, finish).await.map_err(renamed)?.answer()
}

/// The application's word for addresses is another.
fn renamed(error: AppError) -> AppError {
    match error {
        AppError::Invalid(mut faults) => {
            if let Some(sentences) = faults.remove("networks") {
                faults.insert("allowed_addresses".to_owned(), sentences);
            }
            AppError::Invalid(faults)
        }
        other => other,
    }
}

/// A key to answer a sandbox with, under the id that was asked for. Contract 6.
fn example_of(request: &Request, id: KeyId) -> Result<KeyRecord, ApiError> {
    let new = NewKey {
        account: request.caller.account(),
        name: String::from("example"),
        environment: request.caller.environment(),
        permissions: request.caller.permissions(),
        networks: vec![],
        expires_at: Some(request.at + keys::DEFAULT_LIFE_DAYS * DAY_MILLIS),
    };
    let issued = keys::draft(&request.app, &request.actor(), new)?;
    Ok(KeyRecord { id, ..issued.record })
}

/// `PATCH /v3/api-keys/{id}`
///
/// # Errors
/// VALIDATION_001, VALIDATION_003, REQUEST_008.
pub async fn update(change: Change) -> Answer {
    let Change { request, body, is_sandbox, writer } = change;
    let id: KeyId = request.id()?;
    let mut faults = body.faults();
    let edit = KeyEdit {
        name: body.text("name", &mut faults).map(ToOwned::to_owned),
        permissions: read_permissions(&body, &mut faults),
        networks: read_networks(&body, &mut faults),
        expires_at: read_expiry(&body, &mut faults),
    };
    check(faults)?;
    let (app, at) = (&request.app, request.at);
    if is_sandbox {
        let example = example_of(&request, id)?;
        let name =
            edit.name.as_deref().map(|name| app.check_name("name", name, keys::LONGEST_NAME));
        let key = KeyRecord {
            name: name.transpose().map_err(renamed)?.unwrap_or(example.name.clone()),
            permissions: edit.permissions.unwrap_or(example.permissions),
            networks: edit.networks.unwrap_or(example.networks.clone()),
            expires_at: edit.expires_at.unwrap_or(example.expires_at),
            ..example
        };
        return writer.pretend(StatusCode::OK, &KeyView::of(&key, at)).await;
    }
    let finish = move |tx: &mut Tx<'_>, key: KeyRecord| {
        writer.write(tx, StatusCode::OK, &KeyView::of(&key, at))
    };
    keys::edit_and(app, &request.actor(), id, edit, finish).await.map_err(renamed)?.answer()
}

/// For how many seconds a replaced key works on.
pub(super) fn read_grace(body: &Object) -> Result<u32, ApiError> {
    let mut faults = body.faults();
    let grace = body.whole("grace_seconds", &mut faults).unwrap_or(USUAL_GRACE_SECONDS);
    if grace > LONGEST_GRACE_SECONDS {
        let sentence = format!("grace_seconds must be between 0 and {LONGEST_GRACE_SECONDS}");
        fault(&mut faults, "grace_seconds", sentence);
    }
    check(faults)?;
    Ok(grace)
}

/// `POST /v3/api-keys/{id}/rotate`: answers with the successor.
///
/// # Errors
/// VALIDATION_001, VALIDATION_003, REQUEST_008.
pub async fn rotate(change: Change) -> Answer {
    let Change { request, body, is_sandbox, writer } = change;
    let id: KeyId = request.id()?;
    let grace = read_grace(&body)?;
    let (app, at) = (&request.app, request.at);
    if is_sandbox {
        let new = example_of(&request, id)?;
        let issued = keys::pretend_to_rotate(new);
        return writer.pretend(StatusCode::OK, &KeyView::issued(&issued, at)).await;
    }
    let finish = move |tx: &mut Tx<'_>, (issued, _): (Issued, KeyRecord)| {
        writer.write(tx, StatusCode::OK, &KeyView::issued(&issued, at))
    };
    let grace = i64::from(grace) * 1000;
    keys::rotate_and(app, &request.actor(), id, grace, finish).await.map_err(renamed)?.answer()
}

/// `POST /v3/api-keys/{id}/disable`
///
/// # Errors
/// VALIDATION_001, VALIDATION_003, REQUEST_008.
pub async fn disable(change: Change) -> Answer {
    set_enabled(change, false).await
}

/// `POST /v3/api-keys/{id}/enable`
///
/// # Errors
/// VALIDATION_001, VALIDATION_003, REQUEST_008.
pub async fn enable(change: Change) -> Answer {
    set_enabled(change, true).await
}

async fn set_enabled(change: Change, is_enabled: bool) -> Answer {
    let Change { request, body, is_sandbox, writer } = change;
    let id: KeyId = request.id()?;
    check(body.faults())?;
    let (app, actor, at) = (&request.app, request.actor(), request.at);
    if is_sandbox {
        let key = example_of(&request, id)?;
        let mark = Mark { at, by: actor.describe() };
        let key = KeyRecord { disabled: (!is_enabled).then_some(mark), ..key };
        return writer.pretend(StatusCode::OK, &KeyView::of(&key, at)).await;
    }
    let finish = move |tx: &mut Tx<'_>, key: KeyRecord| {
        writer.write(tx, StatusCode::OK, &KeyView::of(&key, at))
    };
    keys::set_enabled_and(app, &actor, id, is_enabled, finish).await?.answer()
}

/// `DELETE /v3/api-keys/{id}`: ends the key for good. It stays in the list as revoked.
///
/// # Errors
/// VALIDATION_001, VALIDATION_003, REQUEST_008.
pub async fn remove(change: Change) -> Answer {
    let Change { request, body, is_sandbox, writer } = change;
    let id: KeyId = request.id()?;
    check(body.faults())?;
    if is_sandbox {
        return writer.pretend_no_content().await;
    }
    let finish = |tx: &mut Tx<'_>, _| writer.no_content(tx);
    keys::revoke_and(&request.app, &request.actor(), id, finish).await?.answer()
}

/// `DELETE /v3/api-keys/self`: whoever holds a key ends it.
///
/// # Errors
/// VALIDATION_001.
pub async fn remove_self(change: Change) -> Answer {
    let Change { request, body, is_sandbox, writer } = change;
    check(body.faults())?;
    if is_sandbox {
        return writer.pretend_no_content().await;
    }
    let finish = |tx: &mut Tx<'_>, _| writer.no_content(tx);
    keys::revoke_self(&request.app, &request.holder(), finish).await?.answer()
}

/// Answers for the reference, made as the handlers make theirs.
pub(super) mod examples {
    use serde_json::{Value, json};

    use super::{KeyList, KeyView, Page, Query, UnixMillis, when};

    const AT: UnixMillis = UnixMillis(1_704_067_200_000);

    fn key() -> KeyView<'static> {
        KeyView {
            id: String::from("018cc251-f400-7101-8101-010101010101"),
            customer_id: String::from("018cc251-f400-7202-8202-020202020202"),
            name: "importer",
            environment: "production",
            key: None,
            hint: "7e10",
            status: "active",
            permissions: vec!["contacts:read", "contacts:write"],
            allowed_addresses: vec![String::from("203.0.113.0/24")],
            created_at: when(AT),
            expires_at: Some(String::from("2024-03-31T00:00:00Z")),
            disabled_at: None,
            revoked_at: None,
            replaced_by: None,
            works_until: None,
            last_used_at: None,
        }
    }

    pub(in crate::v3) fn one() -> Value {
        json!(key())
    }

    pub(in crate::v3) fn issued() -> Value {
        // Not a version-4 UUID, so nobody's key.
        let shown = Some(String::from("00000000-0000-0000-0000-000000007e10"));
        json!(KeyView { key: shown, ..key() })
    }

    pub(in crate::v3) fn disabled() -> Value {
        json!(KeyView { status: "disabled", disabled_at: Some(when(AT)), ..key() })
    }

    pub(in crate::v3) fn list() -> Value {
        let first = Page::of(&Query::of(&http::Uri::from_static("/"))).ok();
        let api_keys = vec![key()];
        json!(first.map(|page| KeyList { api_keys, pagination: page.of_total(1) }))
    }
}
