-- People: sessions, one-time links, second factors, and who was a member once.

ALTER TABLE users ADD COLUMN totp_secret BLOB;
ALTER TABLE users ADD COLUMN totp_step BIGINT;
ALTER TABLE users ADD COLUMN password_changed_at BIGINT;

CREATE TABLE former_users (
    id         BLOB PRIMARY KEY CHECK (length(id) = 16),
    account    BIGINT NOT NULL REFERENCES accounts (number),
    name       TEXT NOT NULL,
    email      TEXT NOT NULL,
    removed_at BIGINT NOT NULL
) WITHOUT ROWID;

CREATE TABLE recovery_codes (
    digest  BLOB PRIMARY KEY CHECK (length(digest) = 32),
    user    BLOB NOT NULL,
    used_at BIGINT
) WITHOUT ROWID;
CREATE INDEX recovery_codes_by_user ON recovery_codes (user);

CREATE TABLE sessions (
    digest       BLOB PRIMARY KEY CHECK (length(digest) = 32),
    id           BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
    user         BLOB NOT NULL,
    created_at   BIGINT NOT NULL,
    seen_at      BIGINT NOT NULL,
    confirmed_at BIGINT NOT NULL,
    -- A password was given and the second factor was not yet.
    is_half      BIGINT NOT NULL,
    address      TEXT NOT NULL,
    agent        TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX sessions_by_user ON sessions (user);

-- Links that work once: setup, invitation, reset. Only digests are kept.
CREATE TABLE links (
    digest     BLOB PRIMARY KEY CHECK (length(digest) = 32),
    kind       TEXT NOT NULL,
    user       BLOB,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
) WITHOUT ROWID;
CREATE INDEX links_by_user ON links (user);

-- Production keys are hidden from developers unless shared.
ALTER TABLE keys ADD COLUMN is_shared BIGINT NOT NULL DEFAULT 0;

-- Who did what. Each row carries the hash of the one before; account is null for what concerns the
-- whole server.
CREATE TABLE audit (
    number   INTEGER PRIMARY KEY,
    at       BIGINT NOT NULL,
    account  BLOB,
    actor    TEXT NOT NULL,
    name     TEXT NOT NULL,
    action   TEXT NOT NULL,
    target   TEXT NOT NULL,
    label    TEXT NOT NULL,
    details  TEXT NOT NULL,
    address  TEXT NOT NULL,
    previous BLOB NOT NULL CHECK (length(previous) = 32),
    hash     BLOB NOT NULL CHECK (length(hash) = 32)
);
CREATE INDEX audit_by_account ON audit (account, number);
CREATE INDEX audit_by_target ON audit (target, number);
CREATE INDEX audit_by_actor ON audit (actor, action, number);

-- Recent requests, in the order in which they were answered.
CREATE TABLE requests (
    number      INTEGER PRIMARY KEY,
    at          BIGINT NOT NULL,
    request_id  TEXT NOT NULL,
    account     BIGINT NOT NULL,
    key         BIGINT NOT NULL,
    environment TEXT,
    method      TEXT NOT NULL,
    route       TEXT NOT NULL,
    status      BIGINT NOT NULL,
    code        TEXT,
    reason      TEXT,
    -- The limit that was reached, and when its window ends.
    limited_to  BIGINT,
    resets_at   BIGINT,
    address     TEXT NOT NULL,
    micros      BIGINT NOT NULL,
    flags       BIGINT NOT NULL
);
CREATE INDEX requests_by_id ON requests (request_id);
CREATE INDEX requests_by_account ON requests (account, number);
CREATE INDEX requests_by_key ON requests (key, number) WHERE key <> 0;

-- Sums for charts: an account's hours, a key's days. account 0 stands for requests without a known key.
CREATE TABLE account_hours (
    account  BIGINT NOT NULL,
    hour     BIGINT NOT NULL,
    outcome  TEXT NOT NULL,
    requests BIGINT NOT NULL,
    PRIMARY KEY (account, hour, outcome)
) WITHOUT ROWID;
CREATE TABLE key_days (
    account  BIGINT NOT NULL,
    day      BIGINT NOT NULL,
    key      BIGINT NOT NULL,
    requests BIGINT NOT NULL,
    refused  BIGINT NOT NULL,
    PRIMARY KEY (account, day, key)
) WITHOUT ROWID;
INSERT INTO account_hours (account, hour, outcome, requests)
    SELECT coalesce(k.account, 0), u.hour, u.outcome, sum(u.requests)
    FROM usage_hours u LEFT JOIN keys k ON k.number = u.key GROUP BY 1, 2, 3;
INSERT INTO key_days (account, day, key, requests, refused)
    SELECT k.account, u.hour / 24, u.key, sum(u.requests),
        sum(CASE WHEN u.outcome IN ('ok', 'invalid', 'failed') THEN 0 ELSE u.requests END)
    FROM usage_hours u JOIN keys k ON k.number = u.key GROUP BY 1, 2, 3;

-- How keys were used that they should not be, and from where they were used.
CREATE TABLE key_exposures (
    key      BIGINT NOT NULL,
    kind     TEXT NOT NULL,
    first_at BIGINT NOT NULL,
    last_at  BIGINT NOT NULL,
    requests BIGINT NOT NULL,
    PRIMARY KEY (key, kind)
) WITHOUT ROWID;
CREATE TABLE key_networks (
    key      BIGINT NOT NULL,
    network  TEXT NOT NULL,
    first_at BIGINT NOT NULL,
    last_at  BIGINT NOT NULL,
    PRIMARY KEY (key, network)
) WITHOUT ROWID;

CREATE TABLE alert_rules (
    account    BIGINT NOT NULL REFERENCES accounts (number),
    kind       TEXT NOT NULL,
    is_on      BIGINT NOT NULL,
    is_mailed  BIGINT NOT NULL,
    threshold  BIGINT NOT NULL,
    PRIMARY KEY (account, kind)
) WITHOUT ROWID;
CREATE TABLE alerts (
    number        INTEGER PRIMARY KEY,
    id            BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
    account       BIGINT NOT NULL REFERENCES accounts (number),
    kind          TEXT NOT NULL,
    key           BLOB,
    -- What it is about, so that the same thing is told once.
    subject       TEXT NOT NULL,
    text          TEXT NOT NULL,
    raised_at     BIGINT NOT NULL,
    to_mail       BIGINT NOT NULL,
    ended_at      BIGINT,
    snoozed_until BIGINT,
    mailed_at     BIGINT,
    mail_fault    TEXT
);
CREATE INDEX alerts_by_account ON alerts (account, number);
CREATE UNIQUE INDEX alerts_open ON alerts (account, kind, subject) WHERE ended_at IS NULL;
