-- +goose Up

-- One row per session: small and hot, without content that grows. due_at alone
-- decides whether workers want it; NULL means they do not.
CREATE TABLE sessions (
    id               TEXT NOT NULL PRIMARY KEY,
    tenant           TEXT NOT NULL,
    external_id      TEXT,
    goal             TEXT NOT NULL,
    manifest_name    TEXT NOT NULL,
    manifest_version TEXT NOT NULL,
    manifest_digest  TEXT NOT NULL,
    options          TEXT NOT NULL,
    max_steps        INTEGER NOT NULL,
    status           TEXT NOT NULL,
    reason           TEXT NOT NULL,
    detail           TEXT NOT NULL,
    run              BOOLEAN NOT NULL,
    steps            INTEGER NOT NULL,
    state_id         TEXT,
    tail_seq         INTEGER NOT NULL,
    plan_failures    INTEGER NOT NULL,
    spent            TEXT NOT NULL,
    last_seq         INTEGER NOT NULL,
    last_hash        BLOB NOT NULL,
    signals          INTEGER NOT NULL,
    handled          INTEGER NOT NULL,
    cancel           BOOLEAN NOT NULL,
    wake_at          INTEGER NOT NULL,
    created_at       INTEGER NOT NULL,
    updated_at       INTEGER NOT NULL,
    closed_at        INTEGER NOT NULL,
    epoch            INTEGER NOT NULL,
    lease_owner      TEXT NOT NULL,
    lease_until      INTEGER NOT NULL,
    due_at           INTEGER
);

-- No index covers a column that every turn changes, except the one of due
-- sessions, so that most updates touch no index at all.
CREATE INDEX sessions_due ON sessions (due_at) WHERE due_at IS NOT NULL;
CREATE UNIQUE INDEX sessions_external ON sessions (tenant, external_id) WHERE external_id IS NOT NULL;
CREATE INDEX sessions_newest ON sessions (tenant, created_at, id);

CREATE TABLE idempotency_keys (
    tenant      TEXT NOT NULL,
    key         TEXT NOT NULL,
    session_id  TEXT NOT NULL REFERENCES sessions (id),
    fingerprint TEXT NOT NULL,
    created_at  INTEGER NOT NULL,
    PRIMARY KEY (tenant, key)
);

-- The log. The writer holds the session's row, so a foreign key would only cost.
CREATE TABLE events (
    session_id TEXT NOT NULL,
    seq        INTEGER NOT NULL,
    type       TEXT NOT NULL,
    at         INTEGER NOT NULL,
    data       BLOB NOT NULL,
    prev_hash  BLOB NOT NULL,
    hash       BLOB NOT NULL,
    PRIMARY KEY (session_id, seq)
);

-- +goose StatementBegin
CREATE TRIGGER events_no_update BEFORE UPDATE ON events
BEGIN
    SELECT RAISE(ABORT, 'table events is append-only');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER events_no_delete BEFORE DELETE ON events
BEGIN
    SELECT RAISE(ABORT, 'table events is append-only');
END;
-- +goose StatementEnd

-- INSERT OR REPLACE would delete without firing the trigger above.
-- +goose StatementBegin
CREATE TRIGGER events_no_replace BEFORE INSERT ON events
WHEN EXISTS (SELECT 1 FROM events WHERE session_id = NEW.session_id AND seq = NEW.seq)
BEGIN
    SELECT RAISE(ABORT, 'table events is append-only');
END;
-- +goose StatementEnd

-- Content by SHA-256. codec: 0 as it is, 1 zstd.
CREATE TABLE blobs (
    hash  BLOB NOT NULL PRIMARY KEY,
    codec INTEGER NOT NULL,
    size  INTEGER NOT NULL,
    bytes BLOB NOT NULL
);

-- A state is a patch against its parent, or, with depth 0, the blob of its own
-- hash. depth counts the patches since that blob and bounds what reading costs.
CREATE TABLE states (
    id         TEXT NOT NULL PRIMARY KEY,
    session_id TEXT NOT NULL,
    parent_id  TEXT,
    hash       BLOB NOT NULL,
    depth      INTEGER NOT NULL CHECK (depth BETWEEN 0 AND 256),
    codec      INTEGER NOT NULL,
    patch      BLOB
);

-- position is the order in which the calls first appeared.
CREATE TABLE effects (
    session_id      TEXT NOT NULL,
    id              TEXT NOT NULL,
    position        INTEGER NOT NULL,
    action          TEXT NOT NULL,
    class           TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    request_digest  TEXT NOT NULL,
    status          TEXT NOT NULL,
    attempts        INTEGER NOT NULL,
    response        BLOB NOT NULL,
    PRIMARY KEY (session_id, id)
);

CREATE TABLE manifests (
    tenant     TEXT NOT NULL,
    name       TEXT NOT NULL,
    version    TEXT NOT NULL,
    digest     TEXT NOT NULL,
    codec      INTEGER NOT NULL,
    source     BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (tenant, name, version)
);
CREATE INDEX manifests_digest ON manifests (tenant, digest);
CREATE INDEX manifests_newest ON manifests (tenant, created_at);
