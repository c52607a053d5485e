-- The catalog: what agent-portail knows of each folder and file. Outsiders (Grafana, SQL users) read these tables;
-- their names and columns are a contract. Sizes are bytes, digests are raw MD5.

CREATE SCHEMA IF NOT EXISTS portail;

-- One mirrored folder: a bucket and prefix, and the agent that holds it at present.
CREATE TABLE portail.folder (
    id                 bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    agent              text NOT NULL,
    name               text NOT NULL,
    path               text NOT NULL,
    endpoint           text NOT NULL,                       -- 'aws', or the URL of an S3-compatible store
    bucket             text NOT NULL,
    prefix             text COLLATE "C" NOT NULL,
    state              text NOT NULL DEFAULT 'starting'
        CHECK (state IN ('starting', 'syncing', 'in_sync', 'degraded', 'suspended')),
    state_reason       text,
    state_since        timestamptz NOT NULL DEFAULT now(),
    last_reconciled_at timestamptz,
    -- What tells that the folder is still the one that was synced: file system, inode and birth of its root.
    fs_id              bigint,
    root_inode         bigint,
    root_birth_ns      bigint,
    last_pass          bigint NOT NULL DEFAULT 0,
    UNIQUE (endpoint, bucket, prefix)
);

-- One row for each object that the agent vouches for, and for each file that it could not sync.
CREATE TABLE portail.file (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    folder_id   bigint NOT NULL REFERENCES portail.folder ON DELETE CASCADE,
    path        text COLLATE "C" NOT NULL,
    raw_path    bytea,                                      -- where the name is not UTF-8
    name        text NOT NULL,
    key         text COLLATE "C" NOT NULL,
    size        bigint,
    md5         bytea CHECK (octet_length(md5) = 16),
    created_at  timestamptz,
    modified_at timestamptz,
    mode        integer,
    etag        text,
    version_id  text,
    state       text NOT NULL CHECK (state IN ('synced', 'failed', 'deleting', 'kept')),
    error       text,
    attempts    integer NOT NULL DEFAULT 0,
    synced_at   timestamptz,
    -- The fingerprint of the file when it was last synced: nanoseconds since 1970, and the inode's bits.
    mtime_ns    bigint,
    ctime_ns    bigint,
    inode       bigint,
    racy        boolean NOT NULL DEFAULT false,
    UNIQUE (folder_id, path),
    CHECK (state = 'failed' OR (size IS NOT NULL AND md5 IS NOT NULL AND etag IS NOT NULL))
);
-- Renames and hard links are found by inode.
CREATE INDEX file_inode ON portail.file (folder_id, inode);
CREATE INDEX file_not_synced ON portail.file (folder_id, state) WHERE state <> 'synced';

-- Append-only history, one partition a month.
CREATE TABLE portail.event (
    at         timestamptz NOT NULL DEFAULT now(),
    folder_id  bigint NOT NULL,
    path       text COLLATE "C" NOT NULL,
    kind       text NOT NULL CHECK (kind IN
        ('uploaded', 'copied', 'adopted', 'touched', 'deleted', 'failed', 'held', 'restored')),
    size       bigint,
    md5        bytea,
    version_id text,
    detail     text
) PARTITION BY RANGE (at);
CREATE INDEX event_path ON portail.event (folder_id, path, at);
-- Takes what no month takes (a clock that is far off), so that history never stops the work.
CREATE TABLE portail.event_other PARTITION OF portail.event DEFAULT;

-- Deletions that a pass has found and not yet acted on.
CREATE TABLE portail.pending_delete (
    folder_id bigint NOT NULL REFERENCES portail.folder ON DELETE CASCADE,
    pass      bigint NOT NULL,
    path      text COLLATE "C" NOT NULL,
    raw_path  bytea,
    PRIMARY KEY (folder_id, pass, path)
);

-- Deletions that wait for a person, and what the person has said.
CREATE TABLE portail.held_delete (
    folder_id  bigint NOT NULL REFERENCES portail.folder ON DELETE CASCADE,
    path       text COLLATE "C" NOT NULL,
    raw_path   bytea,
    size       bigint,
    md5        bytea,
    reason     text NOT NULL,
    held_at    timestamptz NOT NULL DEFAULT now(),
    decision   text CHECK (decision IN ('approved', 'rejected')),
    decided_at timestamptz,
    decided_by text,
    PRIMARY KEY (folder_id, path)
);
