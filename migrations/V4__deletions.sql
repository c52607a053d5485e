-- Deletions that were begun in the last hour and count against the folder's threshold: those that no person has approved and
-- that were not the source of a rename. In the catalog, so that a program that is started again and again forgets none.
CREATE TABLE portail.recent_delete (
    folder_id bigint NOT NULL REFERENCES portail.folder ON DELETE CASCADE,
    at        timestamptz NOT NULL DEFAULT now(),
    count     bigint NOT NULL
);
CREATE INDEX recent_delete_at ON portail.recent_delete (folder_id, at);

-- What a spooled deletion was found to be when its pass was judged; none before.
ALTER TABLE portail.pending_delete ADD COLUMN kind text;

-- The judgements that have held deletions: what was seen, and the counts and limits at that time. One lasts as long as a
-- deletion that it has held.
CREATE TABLE portail.judgement (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    folder_id        bigint NOT NULL REFERENCES portail.folder ON DELETE CASCADE,
    at               timestamptz NOT NULL DEFAULT now(),
    found_by         text NOT NULL CHECK (found_by IN ('reconciliation', 'events')),
    reason           text NOT NULL,
    same_folder      boolean NOT NULL,   -- it was the folder that had been synced, by its file system and root
    complete         boolean NOT NULL,   -- everything in it could be seen
    deletes          bigint NOT NULL,    -- that were to be judged
    in_hour          bigint NOT NULL,    -- in the hour before, without those that a person had approved, and without renames
    held             bigint NOT NULL,    -- held before
    synced           bigint NOT NULL,    -- files that the limit is a share of
    max_delete       double precision NOT NULL,   -- percent
    max_delete_count bigint NOT NULL
);

ALTER TABLE portail.held_delete
    ADD COLUMN judgement_id bigint REFERENCES portail.judgement,
    -- What stood in the file's place at a fresh look: nothing, not even its directory, or a directory; and when that was.
    ADD COLUMN seen text CHECK (seen IN ('no_file', 'no_directory', 'directory')),
    ADD COLUMN seen_at timestamptz;
CREATE INDEX held_delete_judgement ON portail.held_delete (judgement_id);

-- File systems that are mounted below the root of a folder: what is absent there is believed to be so only while the same one is
-- there, by its id and the inode and birth of its root.
CREATE TABLE portail.mount (
    folder_id     bigint NOT NULL REFERENCES portail.folder ON DELETE CASCADE,
    path          text COLLATE "C" NOT NULL,
    raw_path      bytea,                                  -- where the name is not UTF-8
    fs_id         bigint,
    root_inode    bigint NOT NULL,
    root_birth_ns bigint,
    noted_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (folder_id, path)
);

-- Not by the folder first: a look-up of a single path must have one index that can be used for it, whatever the statistics say.
DROP INDEX portail.file_inode;
CREATE INDEX file_inode ON portail.file (inode, folder_id);
