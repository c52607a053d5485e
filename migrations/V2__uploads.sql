-- Uploads in parts that were begun and have not become an object yet. The row comes before the upload, so that what a crash
-- leaves in the store is known for ours, and is taken up again or swept away.
CREATE TABLE portail.upload (
    folder_id bigint NOT NULL REFERENCES portail.folder ON DELETE CASCADE,
    path      text COLLATE "C" NOT NULL,
    raw_path  bytea,                                      -- where the name is not UTF-8
    key       text COLLATE "C" NOT NULL,
    upload_id text,                                       -- the store's; none until it has answered
    -- Of the content that is being uploaded, and how it is cut: only the same content in the same parts goes on.
    size      bigint NOT NULL,
    md5       bytea NOT NULL CHECK (octet_length(md5) = 16),
    part_size bigint NOT NULL,
    began_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (folder_id, path)
);
