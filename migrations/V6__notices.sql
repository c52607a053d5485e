-- What people are told of: changes of a folder's state that matter, deletions that wait for them, reconciliations that have failed.
-- Written in the transaction of what they tell of, so that none is lost, however the program ends.
CREATE TABLE portail.notice (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,   -- in the order in which they were committed
    at           timestamptz NOT NULL DEFAULT clock_timestamp(),
    folder_id    bigint NOT NULL REFERENCES portail.folder ON DELETE CASCADE,
    kind         text NOT NULL CHECK (kind IN ('degraded', 'suspended', 'back', 'deletions_held', 'reconciliation_failed')),
    reason       text,
    judgement_id bigint                                              -- of deletions that are held
);
CREATE INDEX notice_folder ON portail.notice (folder_id, id);
CREATE UNIQUE INDEX notice_judgement ON portail.notice (judgement_id);

-- How far each webhook has come.
CREATE TABLE portail.webhook (
    agent        text NOT NULL,
    name         text NOT NULL,
    last_notice  bigint NOT NULL,       -- up to this one, all were delivered or given up
    delivered_at timestamptz,
    PRIMARY KEY (agent, name)
);

-- A cursor passes over what is committed later with a lower number, so numbers are drawn one after the other. They are rare.
CREATE FUNCTION portail.add_notice(folder bigint, kind text, reason text, judgement bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('portail.notice', 0));
    INSERT INTO portail.notice (folder_id, kind, reason, judgement_id) VALUES (folder, kind, reason, judgement)
    ON CONFLICT DO NOTHING;
END
$$;

-- A folder that stays in trouble is told of once, whatever its reason comes to be; that it is back, only if its trouble was told of.
CREATE FUNCTION portail.note_state() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    told text;
BEGIN
    SELECT kind INTO told FROM portail.notice
    WHERE folder_id = NEW.id AND kind IN ('degraded', 'suspended', 'back') ORDER BY id DESC LIMIT 1;
    IF NEW.state IN ('degraded', 'suspended') AND told IS DISTINCT FROM NEW.state THEN
        PERFORM portail.add_notice(NEW.id, NEW.state, NEW.state_reason, NULL);
    ELSIF NEW.state = 'in_sync' AND told IN ('degraded', 'suspended') THEN
        PERFORM portail.add_notice(NEW.id, 'back', NULL, NULL);
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER note_state AFTER UPDATE OF state ON portail.folder
    FOR EACH ROW WHEN (OLD.state IS DISTINCT FROM NEW.state) EXECUTE FUNCTION portail.note_state();

-- A judgement that holds a million deletions, some thousand at a time, is told of once.
CREATE FUNCTION portail.note_held() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    held record;
BEGIN
    FOR held IN SELECT folder_id, judgement_id, min(reason) AS reason FROM new_rows
        WHERE judgement_id IS NOT NULL GROUP BY folder_id, judgement_id
    LOOP
        IF NOT EXISTS (SELECT FROM portail.notice WHERE judgement_id = held.judgement_id) THEN
            PERFORM portail.add_notice(held.folder_id, 'deletions_held', held.reason, held.judgement_id);
        END IF;
    END LOOP;
    RETURN NULL;
END
$$;
CREATE TRIGGER note_held AFTER INSERT ON portail.held_delete REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION portail.note_held();

-- Drops notices that are older than the history, but the last one of each folder, which says whether it is in trouble.
CREATE FUNCTION portail.maintain_notices(retention_seconds bigint) RETURNS void LANGUAGE sql AS $$
    DELETE FROM portail.notice n
    WHERE at < now() - make_interval(secs => least(retention_seconds, 100000000000)::double precision)
      AND EXISTS (SELECT FROM portail.notice later WHERE later.folder_id = n.folder_id AND later.id > n.id
                  AND later.kind IN ('degraded', 'suspended', 'back'))
$$;

-- Lets a role read the catalog, and nothing else, such as that of Grafana. What could open a link is left out. To be run again
-- after an upgrade that brings new tables.
CREATE FUNCTION portail.grant_read(role_name text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    readable record;
BEGIN
    EXECUTE format('GRANT USAGE ON SCHEMA portail TO %I', role_name);
    FOR readable IN
        SELECT c.relname, string_agg(quote_ident(a.attname), ', ') AS columns
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        WHERE c.relnamespace = 'portail'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm') AND NOT c.relispartition
          AND a.attname NOT LIKE 'token%'
        GROUP BY c.relname
    LOOP
        EXECUTE format('GRANT SELECT (%s) ON portail.%I TO %I', readable.columns, readable.relname, role_name);
    END LOOP;
END
$$;
REVOKE EXECUTE ON FUNCTION portail.grant_read(text) FROM PUBLIC;
