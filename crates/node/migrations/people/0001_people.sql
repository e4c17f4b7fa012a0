-- What this node offers to whom.
CREATE TABLE services (
    name   TEXT PRIMARY KEY,
    target TEXT NOT NULL,
    udp    INTEGER NOT NULL
);

CREATE TABLE service_users (
    service TEXT NOT NULL REFERENCES services (name) ON DELETE CASCADE,
    user    TEXT NOT NULL,
    PRIMARY KEY (service, user)
);

-- Both sides of all conversations, in the order in which they were put here. `delivered` is when an
-- outgoing message was answered; it is null while it waits.
CREATE TABLE messages (
    number    INTEGER PRIMARY KEY AUTOINCREMENT,
    peer      TEXT NOT NULL,
    outgoing  INTEGER NOT NULL,
    id        BLOB NOT NULL,
    sent      INTEGER NOT NULL,
    delivered INTEGER,
    text      TEXT NOT NULL,
    UNIQUE (peer, outgoing, id)
);

CREATE INDEX messages_waiting ON messages (peer, number) WHERE delivered IS NULL;

CREATE TABLE buddies (
    name TEXT PRIMARY KEY,
    seen INTEGER
);

-- Those whose files are taken without asking.
CREATE TABLE trusted (
    name TEXT PRIMARY KEY
);
