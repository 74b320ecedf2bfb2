-- Passkeys: public keys with which members sign in. None of this is secret.

CREATE TABLE passkeys (
    id         BLOB PRIMARY KEY CHECK (length(id) = 16),
    user       BLOB NOT NULL,
    -- What the authenticator calls it; at most 1,023 bytes.
    credential BLOB NOT NULL UNIQUE,
    -- The host name that it works for, and no other.
    host       TEXT NOT NULL,
    name       TEXT NOT NULL,
    -- The public key, how many signatures the authenticator counted, and what else is needed to check
    -- the next one, as JSON.
    public_key TEXT NOT NULL,
    added_at   BIGINT NOT NULL,
    used_at    BIGINT
) WITHOUT ROWID;
CREATE INDEX passkeys_by_user ON passkeys (user, added_at);
