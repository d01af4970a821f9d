-- +goose Up

-- One row per session: small and hot, without content that grows. due_at alone
-- decides whether workers want it; NULL means they do not.
CREATE TABLE sessions (
    id               uuid NOT NULL PRIMARY KEY,
    tenant           text NOT NULL,
    external_id      text,
    goal             text NOT NULL,
    manifest_name    text NOT NULL,
    manifest_version text NOT NULL,
    manifest_digest  text NOT NULL,
    options          text NOT NULL,
    max_steps        bigint NOT NULL,
    status           text NOT NULL,
    reason           text NOT NULL,
    detail           text NOT NULL,
    run              boolean NOT NULL,
    steps            bigint NOT NULL,
    state_id         uuid,
    tail_seq         bigint NOT NULL,
    plan_failures    bigint NOT NULL,
    spent            text NOT NULL,
    last_seq         bigint NOT NULL,
    last_hash        bytea NOT NULL,
    signals          bigint NOT NULL,
    handled          bigint NOT NULL,
    cancel           boolean NOT NULL,
    wake_at          bigint NOT NULL,
    created_at       bigint NOT NULL,
    updated_at       bigint NOT NULL,
    closed_at        bigint NOT NULL,
    epoch            bigint NOT NULL,
    lease_owner      text NOT NULL,
    lease_until      bigint NOT NULL,
    due_at           bigint
) WITH (fillfactor = 80); -- room for the next version of a row on its own page

-- No index covers a column that every turn changes, except the one of due
-- sessions, so that most updates touch no index at all.
CREATE INDEX sessions_due ON sessions (due_at) WHERE due_at IS NOT NULL;
CREATE UNIQUE INDEX sessions_external ON sessions (tenant, external_id) WHERE external_id IS NOT NULL;
CREATE INDEX sessions_newest ON sessions (tenant, created_at, id);

CREATE TABLE idempotency_keys (
    tenant      text NOT NULL,
    key         text NOT NULL,
    session_id  uuid NOT NULL REFERENCES sessions (id),
    fingerprint text NOT NULL,
    created_at  bigint NOT NULL,
    PRIMARY KEY (tenant, key)
);

-- The log. The writer holds the session's row, so a foreign key would only cost.
CREATE TABLE events (
    session_id uuid NOT NULL,
    seq        bigint NOT NULL,
    type       text NOT NULL,
    at         bigint NOT NULL,
    data       bytea NOT NULL,
    prev_hash  bytea NOT NULL,
    hash       bytea NOT NULL,
    PRIMARY KEY (session_id, seq)
);

-- +goose StatementBegin
CREATE FUNCTION oap_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'table % is append-only', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END
$$;
-- +goose StatementEnd

CREATE TRIGGER events_append_only BEFORE UPDATE OR DELETE ON events
    FOR EACH ROW EXECUTE FUNCTION oap_refuse_change();
CREATE TRIGGER events_no_truncate BEFORE TRUNCATE ON events
    FOR EACH STATEMENT EXECUTE FUNCTION oap_refuse_change();

-- Content by SHA-256. codec: 0 as it is, 1 zstd.
CREATE TABLE blobs (
    hash  bytea NOT NULL PRIMARY KEY,
    codec bigint NOT NULL,
    size  bigint NOT NULL,
    bytes bytea NOT NULL
);

-- A state is a patch against its parent, or, with depth 0, the blob of its own
-- hash. depth counts the patches since that blob and bounds what reading costs.
CREATE TABLE states (
    id         uuid NOT NULL PRIMARY KEY,
    session_id uuid NOT NULL,
    parent_id  uuid,
    hash       bytea NOT NULL,
    depth      bigint NOT NULL CHECK (depth BETWEEN 0 AND 256),
    codec      bigint NOT NULL,
    patch      bytea
);

-- What is compressed already is not worth a second attempt.
ALTER TABLE blobs ALTER COLUMN bytes SET STORAGE EXTERNAL;
ALTER TABLE states ALTER COLUMN patch SET STORAGE EXTERNAL;

-- position is the order in which the calls first appeared.
CREATE TABLE effects (
    session_id      uuid NOT NULL,
    id              text NOT NULL,
    position        bigint NOT NULL,
    action          text NOT NULL,
    class           text NOT NULL,
    idempotency_key text NOT NULL,
    request_digest  text NOT NULL,
    status          text NOT NULL,
    attempts        bigint NOT NULL,
    response        bytea NOT NULL,
    PRIMARY KEY (session_id, id)
);

CREATE TABLE manifests (
    tenant     text NOT NULL,
    name       text NOT NULL,
    version    text NOT NULL,
    digest     text NOT NULL,
    codec      bigint NOT NULL,
    source     bytea NOT NULL,
    created_at bigint NOT NULL,
    PRIMARY KEY (tenant, name, version)
);
CREATE INDEX manifests_digest ON manifests (tenant, digest);
CREATE INDEX manifests_newest ON manifests (tenant, created_at);
