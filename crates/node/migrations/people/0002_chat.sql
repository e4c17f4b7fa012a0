-- Whom the user deals with.
CREATE TABLE people (
    name          TEXT PRIMARY KEY,
    buddy_since   INTEGER,
    blocked_since INTEGER,
    written_to    INTEGER NOT NULL DEFAULT 0,
    seen          INTEGER NOT NULL DEFAULT 0
);

-- The node keys that a buddy is known by.
CREATE TABLE person_keys (
    name  TEXT NOT NULL REFERENCES people (name) ON DELETE CASCADE,
    node  BLOB NOT NULL,
    place INTEGER NOT NULL,
    PRIMARY KEY (name, node)
);

-- What was said, both ways, in the order in which it came to be known here.
CREATE TABLE messages (
    number   INTEGER PRIMARY KEY AUTOINCREMENT,
    peer     TEXT NOT NULL,
    outgoing INTEGER NOT NULL,
    id       BLOB NOT NULL,
    body     TEXT NOT NULL,
    sent     INTEGER NOT NULL,
    -- Outgoing: queued, delivered, refused. Incoming: unread, read.
    state    TEXT NOT NULL,
    since    INTEGER NOT NULL,
    node     BLOB,
    new_key  INTEGER NOT NULL DEFAULT 0,
    -- Whether it counts against the room that all strangers share.
    stranger INTEGER NOT NULL DEFAULT 0,
    UNIQUE (peer, outgoing, id)
);

CREATE INDEX messages_by_peer ON messages (peer, number);
CREATE INDEX messages_open ON messages (state, peer, number) WHERE state IN ('queued', 'unread');
CREATE INDEX messages_of_strangers ON messages (number) WHERE stranger;
