-- The rolling verification: how far it has come in each folder, and what it has found.

-- The round under way. A round reads every file once, in the order of the paths, and takes agent.verify_every.
CREATE TABLE portail.verification (
    folder_id     bigint PRIMARY KEY REFERENCES portail.folder ON DELETE CASCADE,
    began_at      timestamptz NOT NULL DEFAULT now(),
    after         text COLLATE "C" NOT NULL DEFAULT '',     -- all paths up to this one were looked at
    -- What there was to verify when the round began, and what of it was.
    files         bigint NOT NULL,
    bytes         bigint NOT NULL,
    checked_files bigint NOT NULL DEFAULT 0,
    checked_bytes bigint NOT NULL DEFAULT 0,
    last_ended_at timestamptz                               -- of the round before
);

-- Files whose content is not what was synced, or can't be read any more, although nothing else of them has changed: a bad disk or
-- bad memory, or a write that hid itself. An entry holds as long as the row has this fingerprint: a file that is synced anew is judged anew.
CREATE TABLE portail.damaged_file (
    folder_id bigint NOT NULL REFERENCES portail.folder ON DELETE CASCADE,
    path      text COLLATE "C" NOT NULL,
    md5       bytea CHECK (octet_length(md5) = 16),     -- of what was read; none: it can't be read any more
    found_at  timestamptz NOT NULL DEFAULT now(),
    mtime_ns  bigint NOT NULL,
    ctime_ns  bigint NOT NULL,
    inode     bigint NOT NULL,
    PRIMARY KEY (folder_id, path)
);
