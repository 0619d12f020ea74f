-- Endpoints and rules, as their documents (JSON). A removed one stays for a while, without its document, so
-- that nodes that read what has changed learn of it. `etag` names one state of it and never comes again;
-- `changed_seq` is the place of the journal's entry that tells of the change.
CREATE TABLE configuration (
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    document TEXT,
    version INTEGER NOT NULL,
    etag TEXT NOT NULL,
    created_seq INTEGER NOT NULL,
    created_us INTEGER NOT NULL,
    changed_seq INTEGER NOT NULL,
    changed_us INTEGER NOT NULL,
    PRIMARY KEY (kind, name)
);
CREATE INDEX configuration_changed ON configuration (changed_seq, kind, name);

INSERT INTO configuration (kind, name, document, version, etag, created_seq, created_us, changed_seq, changed_us)
SELECT 'endpoint', code, '{}', 1, '1', 0, created_us, -ROW_NUMBER() OVER (ORDER BY code), created_us FROM endpoints;
DROP TABLE endpoints;

-- Removed configuration up to here is forgotten: who has read less has to read everything.
INSERT INTO marks (name, seq) VALUES ('configuration_forgotten', 0);

-- Where sequences and scenarios stand. `state_seq` is the place of the entry that has changed any last.
ALTER TABLE journal_head ADD COLUMN state_seq INTEGER NOT NULL DEFAULT 0;
CREATE TABLE states (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL,
    changed_seq INTEGER NOT NULL
);
CREATE INDEX states_changed ON states (changed_seq);

-- What went wrong with an answer.
ALTER TABLE answers ADD COLUMN failure TEXT;

-- What was removed and changed, by whom: few among many captures.
CREATE INDEX journal_notices ON journal (seq) WHERE kind >= 20;
