-- The catalog: what agent-portail knows of each folder and file. Outsiders (Grafana, SQL users) read these tables;
-- their names and columns are a contract. Sizes are bytes, digests are raw MD5.

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

-- Makes the history's partitions of this and the next month, and drops those that have ended before the retention began.
CREATE FUNCTION portail.maintain_events(retention_seconds bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    month date;
    part record;
BEGIN
    -- Two agents that make partitions at once would each hold what the other one needs.
    PERFORM pg_advisory_xact_lock(hashtextextended('portail.maintain_events', 0));
    FOR i IN 0..1 LOOP
        month := (date_trunc('month', now() AT TIME ZONE 'UTC') + make_interval(months => i))::date;
        IF to_regclass(format('portail.event_%s', to_char(month, 'YYYYMM'))) IS NULL
            -- A month that has rows in the default partition already goes on there.
            AND NOT EXISTS (SELECT FROM portail.event_other
                WHERE at >= month::timestamp AT TIME ZONE 'UTC'
                  AND at < (month + interval '1 month') AT TIME ZONE 'UTC')
        THEN
            BEGIN
                EXECUTE format('CREATE TABLE IF NOT EXISTS portail.event_%s PARTITION OF portail.event FOR VALUES FROM (%L) TO (%L)',
                    to_char(month, 'YYYYMM'), month::timestamp AT TIME ZONE 'UTC', (month + interval '1 month') AT TIME ZONE 'UTC');
            EXCEPTION WHEN duplicate_table OR check_violation OR unique_violation THEN
                NULL;  -- another agent was faster, or has just written to the default partition
            END;
        END IF;
    END LOOP;
    FOR part IN
        SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'portail.event'::regclass AND c.relname ~ '^event_[0-9]{6}$'
    LOOP
        IF (to_date(right(part.relname, 6), 'YYYYMM') + interval '1 month') AT TIME ZONE 'UTC'
            < now() - make_interval(secs => least(retention_seconds, 100000000000)::double precision)
        THEN
            EXECUTE format('DROP TABLE IF EXISTS portail.%I', part.relname);
        END IF;
    END LOOP;
    DELETE FROM portail.event_other WHERE at < now() - make_interval(secs => least(retention_seconds, 100000000000)::double precision);
END
$$;
