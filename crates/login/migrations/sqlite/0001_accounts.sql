-- Times are seconds since 1970. A skeleton is what a name looks like: look-alikes have the same.
CREATE TABLE accounts (
    name      TEXT   NOT NULL PRIMARY KEY,
    skeleton  TEXT   NOT NULL UNIQUE,
    password  TEXT   NOT NULL,
    created   BIGINT NOT NULL,
    last_seen BIGINT NOT NULL
);

-- A node key belongs to one name. "expires" is the end of its newest credential; "revoked" is the
-- time of its revocation, or 0.
CREATE TABLE nodes (
    node    BLOB   NOT NULL PRIMARY KEY,
    name    TEXT   NOT NULL REFERENCES accounts (name),
    added   BIGINT NOT NULL,
    expires BIGINT NOT NULL,
    revoked BIGINT NOT NULL
);

CREATE INDEX nodes_by_name ON nodes (name);

-- Only the hash of an invite code is kept, so that a copy of the store lets nobody in.
CREATE TABLE invites (
    code_hash BLOB   NOT NULL PRIMARY KEY,
    expires   BIGINT NOT NULL,
    used_by   TEXT
);
