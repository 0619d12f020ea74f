-- The head of the journal: one row, locked from its update to the commit of every batch, so that numbers
-- are dense and in commit order.
CREATE TABLE journal_head (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    seq INTEGER NOT NULL,
    config_seq INTEGER NOT NULL,
    epoch INTEGER NOT NULL
);
INSERT INTO journal_head (id, seq, config_seq, epoch)
VALUES (1, 0, 0, abs(random() % 9000000000000000) + 1);

-- Entries. kind: 1 http, 2 to 5 websocket open, text, binary, close; 20 removal; 30 configuration change.
-- What a sender chooses is kept as bytes, or is checked to be text without NUL. `kept_bytes` is what a
-- capture counts for: target, headers and body. `detail` is JSON: all that nothing is looked up by.
CREATE TABLE journal (
    seq INTEGER PRIMARY KEY,
    kind INTEGER NOT NULL,
    id BLOB NOT NULL,
    received_us INTEGER NOT NULL,
    endpoint TEXT NOT NULL,
    method TEXT,
    target BLOB,
    headers BLOB,
    body BLOB,
    kept_bytes INTEGER,
    detail TEXT
);
-- Ids are UUIDv7, so this is the index by time as well.
CREATE UNIQUE INDEX journal_id ON journal (id);
CREATE INDEX journal_endpoint_seq ON journal (endpoint, seq);

-- Large bodies, written before their entry; parts without an entry are swept.
CREATE TABLE body_parts (
    id BLOB NOT NULL,
    part INTEGER NOT NULL,
    content BLOB NOT NULL,
    PRIMARY KEY (id, part)
);

-- What was answered, written after the commit, without the head.
CREATE TABLE answers (
    seq INTEGER PRIMARY KEY,
    status INTEGER NOT NULL,
    headers BLOB NOT NULL,
    body BLOB NOT NULL,
    body_bytes INTEGER NOT NULL,
    took_us INTEGER NOT NULL
);

-- Totals of each endpoint, folded from the journal by range of seq. Captures at or below floor_seq are
-- removed; those at or below trimmed_seq by retention; rows at or below purged_seq are gone for good.
CREATE TABLE endpoint_totals (
    endpoint TEXT PRIMARY KEY,
    captures INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    last_us INTEGER,
    floor_seq INTEGER NOT NULL,
    trimmed_seq INTEGER NOT NULL,
    purged_seq INTEGER NOT NULL
);

-- Endpoints that were declared; a change raises config_seq and is a journal entry.
CREATE TABLE endpoints (
    code TEXT PRIMARY KEY,
    created_us INTEGER NOT NULL
);

-- How far background work has come. Who folds, trims or removes holds the row `folded`.
CREATE TABLE marks (
    name TEXT PRIMARY KEY,
    seq INTEGER NOT NULL
);
INSERT INTO marks (name, seq) VALUES ('folded', 0), ('parts_swept_us', 0), ('answers_swept', 0);

-- Which node does what only one node does at a time.
CREATE TABLE leases (
    name TEXT PRIMARY KEY,
    holder TEXT NOT NULL,
    until_us INTEGER NOT NULL
);
