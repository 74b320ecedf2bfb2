-- Webhooks and their events, answers kept for Idempotency-Key, and members of test data.

-- A number is a member's once in each environment. SQLite cannot change a rule of a table in place.
CREATE TABLE users_new (
    number              INTEGER PRIMARY KEY,
    id                  BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
    account             BIGINT NOT NULL REFERENCES accounts (number),
    environment         TEXT NOT NULL CHECK (environment IN ('production', 'test')),
    name                TEXT NOT NULL,
    email               TEXT NOT NULL COLLATE NOCASE,
    role                TEXT NOT NULL,
    status              TEXT NOT NULL,
    password_hash       TEXT,
    created_at          BIGINT NOT NULL,
    totp_secret         BLOB,
    totp_step           BIGINT,
    password_changed_at BIGINT,
    invited_at          BIGINT,
    last_login_at       BIGINT,
    updated_at          BIGINT,
    UNIQUE (account, environment, email)
);
INSERT INTO users_new (number, id, account, environment, name, email, role, status, password_hash,
        created_at, totp_secret, totp_step, password_changed_at, invited_at, last_login_at)
    SELECT number, id, account, 'production', name, email, role, status, password_hash, created_at,
        totp_secret, totp_step, password_changed_at,
        CASE WHEN role = 'owner' THEN NULL ELSE created_at END,
        (SELECT max(s.created_at) FROM sessions s WHERE s.user = users.id)
    FROM users;
DROP TABLE users;
ALTER TABLE users_new RENAME TO users;
CREATE INDEX users_by_email ON users (email);

-- Answers to changes that named an Idempotency-Key. The digest is of whose key it is, where it was sent
-- and the key itself. Bodies are sealed: one may show a secret.
CREATE TABLE idempotency (
    number     INTEGER PRIMARY KEY,
    digest     BLOB NOT NULL UNIQUE CHECK (length(digest) = 32),
    account    BIGINT NOT NULL REFERENCES accounts (number),
    at         BIGINT NOT NULL,
    request_id TEXT NOT NULL,
    status     BIGINT NOT NULL,
    is_sandbox BIGINT NOT NULL,
    body       BLOB NOT NULL
);
CREATE INDEX idempotency_by_time ON idempotency (at);
-- How many answers are kept for each account, so that nobody has to count.
CREATE TABLE idempotency_counts (
    account BIGINT PRIMARY KEY,
    kept    BIGINT NOT NULL
) WITHOUT ROWID;

CREATE TABLE webhooks (
    number               INTEGER PRIMARY KEY,
    id                   BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
    account              BIGINT NOT NULL REFERENCES accounts (number),
    environment          TEXT NOT NULL CHECK (environment IN ('production', 'test')),
    display_name         TEXT NOT NULL,
    endpoint_url         TEXT NOT NULL,
    -- Names of families, as JSON.
    event_types          TEXT NOT NULL,
    -- Suffixes by family, as JSON; null lets everything of its families pass.
    event_filters        TEXT,
    is_active            BIGINT NOT NULL,
    -- Signing secrets, sealed.
    secret               BLOB NOT NULL,
    previous_secret      BLOB,
    previous_until       BIGINT,
    retry_count          BIGINT NOT NULL,
    timeout_seconds      BIGINT NOT NULL,
    consecutive_failures BIGINT NOT NULL DEFAULT 0,
    last_attempt_at      BIGINT,
    last_success_at      BIGINT,
    created_at           BIGINT NOT NULL,
    updated_at           BIGINT,
    -- When too many failures switched it off.
    turned_off_at        BIGINT,
    -- Events that wait for it, and when the first of them may be tried.
    waiting              BIGINT NOT NULL DEFAULT 0,
    next_at              BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX webhooks_newest_first ON webhooks (account, environment, created_at DESC, id DESC);
CREATE INDEX webhooks_due ON webhooks (next_at) WHERE waiting > 0 AND is_active = 1;
CREATE INDEX webhooks_turned_off ON webhooks (account) WHERE turned_off_at IS NOT NULL;

CREATE TABLE webhook_events (
    number        INTEGER PRIMARY KEY,
    id            BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
    webhook       BIGINT NOT NULL REFERENCES webhooks (number) ON DELETE CASCADE,
    event_type    TEXT NOT NULL,
    -- What is sent, byte for byte.
    body          TEXT NOT NULL,
    status        TEXT NOT NULL,
    is_test       BIGINT NOT NULL,
    -- Attempts in all, and since it was last queued.
    attempts      BIGINT NOT NULL DEFAULT 0,
    tries         BIGINT NOT NULL DEFAULT 0,
    http_status   BIGINT,
    response_body TEXT,
    error         TEXT,
    created_at    BIGINT NOT NULL,
    started_at    BIGINT,
    completed_at  BIGINT
);
CREATE INDEX webhook_events_by_webhook ON webhook_events (webhook, number);
CREATE INDEX webhook_events_waiting ON webhook_events (webhook, number)
    WHERE is_test = 0 AND completed_at IS NULL;
CREATE INDEX webhook_events_by_age ON webhook_events (created_at);

CREATE TABLE webhook_attempts (
    event       BIGINT NOT NULL REFERENCES webhook_events (number) ON DELETE CASCADE,
    attempt     BIGINT NOT NULL,
    at          BIGINT NOT NULL,
    http_status BIGINT,
    error       TEXT,
    millis      BIGINT NOT NULL,
    PRIMARY KEY (event, attempt)
) WITHOUT ROWID;

-- Keys that expire soon are looked for by when they do.
CREATE INDEX keys_by_expiry ON keys (expires_at, number) WHERE expires_at IS NOT NULL;
