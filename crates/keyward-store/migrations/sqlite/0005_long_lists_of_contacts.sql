-- How many contacts lie where in the list, so that a page far down and the number of all of them are found
-- without walking there. A block holds the contacts from (created_at, id) on, up to the next block of the
-- account and environment.
CREATE TABLE contact_blocks (
    account     BIGINT NOT NULL REFERENCES accounts (number),
    environment TEXT NOT NULL CHECK (environment IN ('production', 'test')),
    created_at  BIGINT NOT NULL,
    id          BLOB NOT NULL CHECK (length(id) = 16),
    contacts    BIGINT NOT NULL CHECK (contacts >= 0),
    PRIMARY KEY (account, environment, created_at, id)
) WITHOUT ROWID;

INSERT INTO contact_blocks (account, environment, created_at, id, contacts)
SELECT account, environment, created_at, id, min(768, of_scope - place)
FROM (
    SELECT account, environment, created_at, id,
        row_number() OVER (PARTITION BY account, environment ORDER BY created_at, id) - 1 AS place,
        count(*) OVER (PARTITION BY account, environment) AS of_scope
    FROM contacts
)
WHERE place % 768 = 0;

-- Every three digits in a row of every number, so that a part of a number is found without looking at all
-- of them. It holds no text of its own.
CREATE VIRTUAL TABLE contact_numbers
    USING fts5 (format_e164, content = 'contacts', content_rowid = 'number', tokenize = 'trigram');
INSERT INTO contact_numbers (contact_numbers) VALUES ('rebuild');
