//! A store in a folder of its own, and things to put in.

use keyward_core::account::{Account, AccountKind, AccountState, Environment, OwnLimits};
use keyward_core::digest::KeyDigest;
use keyward_core::id::{AccountId, ContactId, KeyId};
use keyward_core::key::KeyHint;
use keyward_core::permission::PermissionSet;
use keyward_core::record::{KeyRecord, Mark};
use keyward_core::time::UnixMillis;
use keyward_store::contacts::{Contact, Scope};
use keyward_store::{Options, Store, StoreError, Tx};

pub(crate) struct World {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) store: Store,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(Options::default())
    }

    pub(crate) fn with(options: Options) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = Store::open_with(&folder.path().join("data"), options).expect("it is new");
        Self { folder, store }
    }

    pub(crate) fn write<T: Send + 'static>(
        &self,
        f: impl FnOnce(&mut Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.store.write_blocking(f)
    }

    pub(crate) fn read<T: Send + 'static>(
        &self,
        f: impl FnOnce(&mut Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> T {
        self.store.read_blocking(f).expect("reading works")
    }

    pub(crate) fn with_account() -> Self {
        let world = Self::new();
        world.write(|tx| keyward_store::accounts::insert(tx, &account(1))).expect("it is new");
        world
    }
}

fn id(number: u8) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[15] = number;
    bytes
}

pub(crate) fn account(number: u8) -> Account {
    Account {
        id: AccountId::from_bytes(id(number)),
        kind: AccountKind::Organization,
        organization: None,
        name: format!("account {number}"),
        email: Some(String::from("a@example.com")),
        icon: None,
        description: Some(String::from("ours")),
        state: AccountState::Active,
        limits: OwnLimits { standard: Some(7), ..OwnLimits::default() },
        created_at: UnixMillis(5),
    }
}

pub(crate) fn key(number: u32) -> KeyRecord {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    KeyRecord {
        id: KeyId::from_bytes(bytes),
        account: account(1).id,
        digest: KeyDigest::of(&bytes),
        hint: KeyHint::from_text("a1b2").expect("four hexadecimal characters"),
        name: format!("key {number}"),
        environment: Environment::Test,
        permissions: PermissionSet::READ_ONLY,
        networks: vec!["203.0.113.0/24".parse().expect("a network")],
        created: Mark { at: UnixMillis(i64::from(number)), by: String::from("operator") },
        expires_at: Some(UnixMillis(1_000_000)),
        disabled: None,
        revoked: None,
        rotated: None,
        last_used: None,
    }
}

pub(crate) const SCOPE: Scope = Scope {
    account: AccountId::from_bytes([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
    environment: Environment::Production,
};

pub(crate) fn contact(number: u32) -> Contact {
    let mut bytes = [1; 16];
    bytes[12..].copy_from_slice(&number.to_be_bytes());
    let e164 = format!("+1415{number:07}");
    Contact {
        id: ContactId::from_bytes(bytes),
        account: SCOPE.account,
        environment: SCOPE.environment,
        phone_number: e164.clone(),
        format_international: format!("+1 415-{number:07}"),
        format_national: format!("(415) {number:07}"),
        format_rfc: format!("tel:+1-415-{number:07}"),
        format_e164: e164,
        country_code: String::from("1"),
        region_code: String::from("US"),
        available_channels: String::from(if number.is_multiple_of(2) {
            "sms,whatsapp"
        } else {
            "sms"
        }),
        default_channel: String::from("sms"),
        opt_out: false,
        created_at: UnixMillis(i64::from(number / 3)),
        updated_at: None,
    }
}
