-- What is shared. A share that is not online is known but not published.
CREATE TABLE shares (
    id      INTEGER PRIMARY KEY,
    path    TEXT    NOT NULL UNIQUE,
    name    TEXT    NOT NULL UNIQUE,
    online  INTEGER NOT NULL DEFAULT 1,
    -- Set when the user has taken the share back and its rows are still being deleted.
    removed INTEGER NOT NULL DEFAULT 0,
    -- The device that the folder was on when it was last scanned; 0 before the first scan.
    device  INTEGER NOT NULL DEFAULT 0
);

-- Folders of a share, so that a path is stored once and not with each of its files. `path` is
-- relative to the share and ends with '/', except that the share itself is ''.
CREATE TABLE folders (
    id     INTEGER PRIMARY KEY,
    share  INTEGER NOT NULL REFERENCES shares (id),
    parent INTEGER REFERENCES folders (id),
    path   TEXT    NOT NULL,
    UNIQUE (share, path)
);
CREATE INDEX folders_by_parent ON folders (parent);

CREATE TABLE files (
    id       INTEGER PRIMARY KEY,
    folder   INTEGER NOT NULL REFERENCES folders (id),
    name     TEXT    NOT NULL,
    size     INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    device   INTEGER NOT NULL,
    inode    INTEGER NOT NULL,
    content  BLOB    NOT NULL,
    artist   TEXT,
    title    TEXT,
    album    TEXT,
    bitrate  INTEGER,
    duration INTEGER,
    UNIQUE (folder, name)
);
-- Pages of contents are read in this order.
CREATE INDEX files_by_content ON files (content);
-- Finds a file that was moved or linked elsewhere.
CREATE INDEX files_by_inode ON files (inode, size);
