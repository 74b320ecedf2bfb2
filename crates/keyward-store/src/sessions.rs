//! Sessions of members, links that work once, and recovery codes. Tokens are kept as digests.

use keyward_core::id::{SessionId, UserId};
use keyward_core::time::UnixMillis;

use crate::error::StoreError;
use crate::tx::{Row, Tx};

/// A session as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    pub digest: [u8; 32],
    pub id: SessionId,
    pub user: UserId,
    pub created_at: UnixMillis,
    pub seen_at: UnixMillis,
    /// When a password or a second factor was last given.
    pub confirmed_at: UnixMillis,
    /// The password was right and the second factor is still to come.
    pub is_half: bool,
    pub address: String,
    pub agent: String,
}

fn session(row: &Row<'_>) -> Result<Session, StoreError> {
    Ok(Session {
        digest: row.bytes(0)?,
        id: SessionId::from_bytes(row.bytes(1)?),
        user: UserId::from_bytes(row.bytes(2)?),
        created_at: row.at(3)?,
        seen_at: row.at(4)?,
        confirmed_at: row.at(5)?,
        is_half: row.int(6)? != 0,
        address: row.text(7)?.to_owned(),
        agent: row.text(8)?.to_owned(),
    })
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT digest, id, user, created_at, seen_at, confirmed_at, is_half, address, agent",
            " FROM sessions ",
            $rest
        )
    };
}

/// # Errors
/// What the engine reports.
pub fn insert(tx: &mut Tx<'_>, session: &Session) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO sessions (digest, id, user, created_at, seen_at, confirmed_at, is_half,
             address, agent)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        &[
            (&session.digest).into(),
            session.id.as_bytes().into(),
            session.user.as_bytes().into(),
            session.created_at.into(),
            session.seen_at.into(),
            session.confirmed_at.into(),
            session.is_half.into(),
            (&session.address).into(),
            (&session.agent).into(),
        ],
    )?;
    Ok(())
}

/// # Errors
/// What the engine reports.
pub fn find(tx: &mut Tx<'_>, digest: &[u8; 32]) -> Result<Option<Session>, StoreError> {
    tx.query_one(select!("WHERE digest = ?1"), &[digest.into()], session)
}

/// A member's sessions, the last seen first.
///
/// # Errors
/// What the engine reports.
pub fn of_user(tx: &mut Tx<'_>, user: UserId) -> Result<Vec<Session>, StoreError> {
    let sql = select!("WHERE user = ?1 ORDER BY seen_at DESC, created_at DESC");
    tx.query(sql, &[user.as_bytes().into()], session)
}

/// Writes down when a session was seen, unless somebody wrote a time after `before` meanwhile.
///
/// # Errors
/// What the engine reports.
pub fn saw(
    tx: &mut Tx<'_>,
    digest: &[u8; 32],
    before: UnixMillis,
    at: UnixMillis,
) -> Result<(), StoreError> {
    let sql = "UPDATE sessions SET seen_at = ?3 WHERE digest = ?1 AND seen_at = ?2";
    tx.execute(sql, &[digest.into(), before.into(), at.into()])?;
    Ok(())
}

/// # Errors
/// What the engine reports.
pub fn confirm(tx: &mut Tx<'_>, digest: &[u8; 32], at: UnixMillis) -> Result<(), StoreError> {
    let sql = "UPDATE sessions SET confirmed_at = ?2 WHERE digest = ?1";
    tx.execute(sql, &[digest.into(), at.into()])?;
    Ok(())
}

/// Ends a session. Gives true if there was one.
///
/// # Errors
/// What the engine reports.
pub fn end(tx: &mut Tx<'_>, digest: &[u8; 32]) -> Result<bool, StoreError> {
    Ok(tx.execute("DELETE FROM sessions WHERE digest = ?1", &[digest.into()])? > 0)
}

/// Ends the sessions of all members. Gives how many there were.
///
/// # Errors
/// What the engine reports.
pub fn end_of_all(tx: &mut Tx<'_>) -> Result<usize, StoreError> {
    tx.execute("DELETE FROM sessions", &[])
}

/// Ends all sessions of a member but one, if one is named.
///
/// # Errors
/// What the engine reports.
pub fn end_all(tx: &mut Tx<'_>, user: UserId, but: Option<&[u8; 32]>) -> Result<usize, StoreError> {
    let sql = "DELETE FROM sessions WHERE user = ?1 AND (?2 IS NULL OR digest <> ?2)";
    tx.execute(sql, &[user.as_bytes().into(), but.into()])
}

/// Removes what is over: sessions not seen since, sessions begun before, links that ended.
///
/// # Errors
/// What the engine reports.
pub fn sweep(
    tx: &mut Tx<'_>,
    seen_before: UnixMillis,
    begun_before: UnixMillis,
    now: UnixMillis,
) -> Result<(), StoreError> {
    let sql = "DELETE FROM sessions WHERE seen_at < ?1 OR created_at < ?2";
    tx.execute(sql, &[seen_before.into(), begun_before.into()])?;
    tx.execute("DELETE FROM links WHERE expires_at < ?1", &[now.into()])?;
    Ok(())
}

/// What a link is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkKind {
    Setup,
    Invitation,
    Reset,
}

impl LinkKind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Setup => "setup",
            Self::Invitation => "invitation",
            Self::Reset => "reset",
        }
    }
}

/// Adds a link; earlier ones of the same kind for the same member end.
///
/// # Errors
/// What the engine reports.
pub fn insert_link(
    tx: &mut Tx<'_>,
    digest: &[u8; 32],
    kind: LinkKind,
    user: Option<UserId>,
    at: UnixMillis,
    expires_at: UnixMillis,
) -> Result<(), StoreError> {
    end_links(tx, kind, user)?;
    tx.execute(
        "INSERT INTO links (digest, kind, user, created_at, expires_at) VALUES (?1, ?2, ?3, ?4, ?5)",
        &[
            digest.into(),
            kind.as_str().into(),
            user.as_ref().map(UserId::as_bytes).into(),
            at.into(),
            expires_at.into(),
        ],
    )?;
    Ok(())
}

/// Ends the links of a kind for a member.
///
/// # Errors
/// What the engine reports.
pub fn end_links(tx: &mut Tx<'_>, kind: LinkKind, user: Option<UserId>) -> Result<(), StoreError> {
    let sql = "DELETE FROM links WHERE kind = ?1 AND user IS ?2";
    tx.execute(sql, &[kind.as_str().into(), user.as_ref().map(UserId::as_bytes).into()])?;
    Ok(())
}

/// Whom a link is for, if it still works.
///
/// # Errors
/// What the engine reports.
pub fn find_link(
    tx: &mut Tx<'_>,
    digest: &[u8; 32],
    kind: LinkKind,
    now: UnixMillis,
) -> Result<Option<Option<UserId>>, StoreError> {
    tx.query_one(
        "SELECT user FROM links WHERE digest = ?1 AND kind = ?2 AND expires_at > ?3",
        &[digest.into(), kind.as_str().into(), now.into()],
        |row| Ok(row.maybe_bytes(0)?.map(UserId::from_bytes)),
    )
}

/// When the invitation of a member ends, if there is one.
///
/// # Errors
/// What the engine reports.
pub fn invitation_ends(tx: &mut Tx<'_>, user: UserId) -> Result<Option<UnixMillis>, StoreError> {
    let sql = "SELECT expires_at FROM links WHERE kind = 'invitation' AND user = ?1";
    tx.query_one(sql, &[user.as_bytes().into()], |row| row.at(0))
}

/// Replaces the recovery codes of a member.
///
/// # Errors
/// What the engine reports.
pub fn put_recovery_codes(
    tx: &mut Tx<'_>,
    user: UserId,
    digests: &[[u8; 32]],
) -> Result<(), StoreError> {
    tx.execute("DELETE FROM recovery_codes WHERE user = ?1", &[user.as_bytes().into()])?;
    for digest in digests {
        let sql = "INSERT INTO recovery_codes (digest, user) VALUES (?1, ?2)";
        tx.execute(sql, &[digest.into(), user.as_bytes().into()])?;
    }
    Ok(())
}

/// Uses a recovery code up. Gives true if it was good.
///
/// # Errors
/// What the engine reports.
pub fn use_recovery_code(
    tx: &mut Tx<'_>,
    user: UserId,
    digest: &[u8; 32],
    at: UnixMillis,
) -> Result<bool, StoreError> {
    let sql = "UPDATE recovery_codes SET used_at = ?3
               WHERE digest = ?1 AND user = ?2 AND used_at IS NULL";
    Ok(tx.execute(sql, &[digest.into(), user.as_bytes().into(), at.into()])? > 0)
}

/// How many recovery codes of a member are left.
///
/// # Errors
/// What the engine reports.
pub fn recovery_codes_left(tx: &mut Tx<'_>, user: UserId) -> Result<u64, StoreError> {
    let sql = "SELECT count(*) FROM recovery_codes WHERE user = ?1 AND used_at IS NULL";
    let count = tx.query_one(sql, &[user.as_bytes().into()], |row| row.int(0))?;
    Ok(count.and_then(|count| u64::try_from(count).ok()).unwrap_or(0))
}
