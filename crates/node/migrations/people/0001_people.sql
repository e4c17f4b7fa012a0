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
