-- The link service: share links and their uses, and what it takes to browse and search a large catalog.

-- A share link. Only a digest of its token is kept: who reads this table can open none.
CREATE TABLE portail.link (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    token_sha256 bytea NOT NULL UNIQUE CHECK (octet_length(token_sha256) = 32),
    folder_id    bigint NOT NULL REFERENCES portail.folder ON DELETE CASCADE,
    -- None once the file is gone. A file that is renamed takes its links along: see portail.move_links.
    file_id      bigint REFERENCES portail.file ON DELETE SET NULL,
    path         text COLLATE "C" NOT NULL,                 -- of the file, as it was called last
    -- Of a link that stays with the version of its day, instead of following the file.
    pinned_key        text COLLATE "C",
    pinned_version_id text,
    created_by   text NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz NOT NULL,
    max_uses     integer CHECK (max_uses > 0),              -- none = as often as one likes
    uses         integer NOT NULL DEFAULT 0,
    last_used_at timestamptz,
    revoked_at   timestamptz,
    revoked_by   text,
    CHECK (max_uses IS NULL OR uses <= max_uses),
    CHECK ((pinned_key IS NULL) = (pinned_version_id IS NULL))
);
CREATE INDEX link_file ON portail.link (file_id);
CREATE INDEX link_created_by ON portail.link (created_by, id);

-- Each time that somebody opened a link.
CREATE TABLE portail.link_use (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    link_id bigint NOT NULL REFERENCES portail.link ON DELETE CASCADE,
    at      timestamptz NOT NULL DEFAULT now(),
    address inet,                                           -- cut short, or none: urls.record_addresses
    outcome text NOT NULL CHECK (outcome IN
        ('served', 'expired', 'revoked', 'used_up', 'deleted', 'not_synced'))
);
CREATE INDEX link_use_link ON portail.link_use (link_id, at);
CREATE INDEX link_use_at ON portail.link_use (at);

-- A row that goes leaves its links to the same file under another name: a synced row of its folder with its inode, size and MD5.
-- As a trigger, so that it is in the transaction of whatever takes the row away. Before, since the foreign key acts after.
CREATE FUNCTION portail.move_links() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    heir record;
BEGIN
    IF OLD.inode IS NULL OR OLD.md5 IS NULL
        OR NOT EXISTS (SELECT FROM portail.link WHERE file_id = OLD.id)
    THEN
        RETURN OLD;
    END IF;
    SELECT f.id, f.path INTO heir FROM portail.file f
    WHERE f.inode = OLD.inode AND f.folder_id + 0 = OLD.folder_id AND f.id <> OLD.id
      AND f.state = 'synced' AND f.size = OLD.size AND f.md5 = OLD.md5
    ORDER BY f.synced_at DESC LIMIT 1;
    IF FOUND THEN
        UPDATE portail.link SET file_id = heir.id, path = heir.path WHERE file_id = OLD.id;
    END IF;
    RETURN OLD;
END
$$;
CREATE TRIGGER move_links BEFORE DELETE ON portail.file FOR EACH ROW EXECUTE FUNCTION portail.move_links();

-- One level of a folder's tree: its files, and its next directory. Not by folder_id as it is, so that no statement that looks for a
-- path is ever planned to go this way; and without the name, so that the many files of a directory share one entry.
CREATE INDEX file_level ON portail.file ((-folder_id), (left(path, -length(name))));

-- Search by a part of the name needs the extension pg_trgm. Where this role may not create it, search reads on in the order of the
-- paths instead; when an administrator has created it, `SELECT portail.index_names()` makes the index, and says whether there is one.
CREATE FUNCTION portail.index_names() RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    place name;
BEGIN
    IF to_regclass('portail.file_name_trgm') IS NOT NULL THEN
        RETURN true;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_trgm') THEN
        BEGIN
            CREATE EXTENSION pg_trgm;
        EXCEPTION WHEN insufficient_privilege OR undefined_file OR feature_not_supported OR invalid_schema_name THEN
            RETURN false;
        END;
    END IF;
    SELECT n.nspname INTO place FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'pg_trgm';
    EXECUTE format('CREATE INDEX file_name_trgm ON portail.file USING gin (name %I.gin_trgm_ops)', place);
    RETURN true;
END
$$;
SELECT portail.index_names();

-- What the role of the link service may do: read the catalog, and write links and their uses. Nothing else.
CREATE FUNCTION portail.grant_links(role name) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('GRANT USAGE ON SCHEMA portail TO %I', role);
    EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA portail TO %I', role);
    EXECUTE format('ALTER DEFAULT PRIVILEGES IN SCHEMA portail GRANT SELECT ON TABLES TO %I', role);
    EXECUTE format('GRANT INSERT, UPDATE, DELETE ON portail.link, portail.link_use TO %I', role);
END
$$;
-- As the packages call it.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'urls-generator') THEN
        PERFORM portail.grant_links('urls-generator');
    END IF;
END
$$;
