-- Files that people were offered, and that they offer.
CREATE TABLE file_offers (
    id       INTEGER PRIMARY KEY,
    offer    BLOB NOT NULL,
    outgoing INTEGER NOT NULL,
    peer     TEXT NOT NULL,
    node     BLOB,
    name     TEXT NOT NULL,
    size     INTEGER NOT NULL,
    content  BLOB,
    note     TEXT NOT NULL,
    path     TEXT,
    modified INTEGER,
    state    TEXT NOT NULL,
    bytes    INTEGER NOT NULL,
    told     INTEGER NOT NULL,
    since    INTEGER NOT NULL,
    expires  INTEGER NOT NULL,
    UNIQUE (outgoing, peer, offer)
);

-- Whose files are accepted without a question.
CREATE TABLE inbox_always (
    user TEXT PRIMARY KEY
);
