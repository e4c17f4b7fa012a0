-- Supernodes by their reports. They are here rather than in memory since several instances of the
-- service may share the store.
CREATE TABLE supernodes (
    node         BLOB   NOT NULL PRIMARY KEY REFERENCES nodes (node),
    addresses    BLOB   NOT NULL,
    load_percent BIGINT NOT NULL,
    seen         BIGINT NOT NULL
);

CREATE INDEX supernodes_by_seen ON supernodes (seen);

-- The one node, if any, that was asked to be the first supernode and has not reported yet.
CREATE TABLE invitation (
    id      BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    node    BLOB   NOT NULL,
    expires BIGINT NOT NULL
);
