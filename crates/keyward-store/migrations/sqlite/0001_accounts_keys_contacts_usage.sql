-- Times are milliseconds since 1970, identifiers 16 bytes, digests 32.
-- Every change to an account or a key takes the next revision: what a server follows.

CREATE TABLE counters (
    name  TEXT PRIMARY KEY,
    value BIGINT NOT NULL
);
INSERT INTO counters (name, value) VALUES ('revision', 0);

CREATE TABLE accounts (
    number             INTEGER PRIMARY KEY,
    id                 BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
    kind               TEXT NOT NULL,
    organization       BIGINT REFERENCES accounts (number),
    name               TEXT NOT NULL COLLATE NOCASE UNIQUE,
    email              TEXT,
    icon               TEXT,
    description        TEXT,
    state              TEXT NOT NULL,
    limit_standard     BIGINT,
    limit_sensitive    BIGINT,
    limit_webhook_test BIGINT,
    created_at         BIGINT NOT NULL,
    revision           BIGINT NOT NULL
);
CREATE INDEX accounts_by_revision ON accounts (revision);
CREATE INDEX accounts_by_organization ON accounts (organization);

CREATE TABLE users (
    number        INTEGER PRIMARY KEY,
    id            BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
    account       BIGINT NOT NULL REFERENCES accounts (number),
    name          TEXT NOT NULL,
    email         TEXT NOT NULL COLLATE NOCASE,
    role          TEXT NOT NULL,
    status        TEXT NOT NULL,
    password_hash TEXT,
    created_at    BIGINT NOT NULL,
    UNIQUE (account, email)
);

CREATE TABLE keys (
    number            INTEGER PRIMARY KEY,
    id                BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
    account           BIGINT NOT NULL REFERENCES accounts (number),
    digest            BLOB NOT NULL UNIQUE CHECK (length(digest) = 32),
    hint              TEXT NOT NULL,
    name              TEXT NOT NULL,
    environment       TEXT NOT NULL CHECK (environment IN ('production', 'test')),
    permissions       BIGINT NOT NULL,
    networks          TEXT NOT NULL,
    created_at        BIGINT NOT NULL,
    created_by        TEXT NOT NULL,
    expires_at        BIGINT,
    disabled_at       BIGINT,
    disabled_by       TEXT,
    revoked_at        BIGINT,
    revoked_by        TEXT,
    rotated_at        BIGINT,
    rotated_by        TEXT,
    successor         BLOB,
    grace_ends_at     BIGINT,
    last_used_at      BIGINT,
    last_used_address TEXT,
    last_used_client  TEXT,
    revision          BIGINT NOT NULL
);
CREATE INDEX keys_by_revision ON keys (revision);
CREATE INDEX keys_by_account ON keys (account, created_at);
CREATE INDEX keys_by_successor ON keys (successor) WHERE successor IS NOT NULL;

CREATE TABLE contacts (
    number               INTEGER PRIMARY KEY,
    id                   BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
    account              BIGINT NOT NULL REFERENCES accounts (number),
    environment          TEXT NOT NULL CHECK (environment IN ('production', 'test')),
    phone_number         TEXT NOT NULL,
    format_e164          TEXT NOT NULL,
    format_international TEXT NOT NULL,
    format_national      TEXT NOT NULL,
    format_rfc           TEXT NOT NULL,
    country_code         TEXT NOT NULL,
    region_code          TEXT NOT NULL,
    available_channels   TEXT NOT NULL,
    default_channel      TEXT NOT NULL,
    opt_out              BIGINT NOT NULL,
    created_at           BIGINT NOT NULL,
    updated_at           BIGINT,
    UNIQUE (account, environment, format_e164)
);
CREATE INDEX contacts_newest_first
    ON contacts (account, environment, created_at DESC, id DESC);

-- key 0 stands for requests without a known key.
CREATE TABLE usage_hours (
    key      BIGINT NOT NULL,
    hour     BIGINT NOT NULL,
    class    TEXT NOT NULL,
    outcome  TEXT NOT NULL,
    requests BIGINT NOT NULL,
    PRIMARY KEY (key, hour, class, outcome)
) WITHOUT ROWID;
