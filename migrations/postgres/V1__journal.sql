-- The head of the journal: one row, locked from its update to the commit of every batch, so that numbers
-- are dense and in commit order.
CREATE TABLE journal_head (
    id BIGINT PRIMARY KEY CHECK (id = 1),
    seq BIGINT NOT NULL,
    config_seq BIGINT NOT NULL,
    epoch BIGINT NOT NULL
) WITH (fillfactor = 50);
INSERT INTO journal_head (id, seq, config_seq, epoch)
VALUES (1, 0, 0, (random() * 9000000000000000)::bigint + 1);

-- Entries. kind: 1 http, 2 to 5 websocket open, text, binary, close; 20 removal; 30 configuration change.
-- What a sender chooses is kept as bytes, or is checked to be text without NUL. `kept_bytes` is what a
-- capture counts for: target, headers and body. `detail` is JSON: all that nothing is looked up by.
CREATE TABLE journal (
    seq BIGINT PRIMARY KEY,
    kind BIGINT NOT NULL,
    id BYTEA NOT NULL,
    received_us BIGINT NOT NULL,
    endpoint TEXT COLLATE "C" NOT NULL,
    method TEXT COLLATE "C",
    target BYTEA,
    headers BYTEA,
    body BYTEA,
    kept_bytes BIGINT,
    detail TEXT COLLATE "C"
);
ALTER TABLE journal ALTER COLUMN body SET STORAGE EXTERNAL;
-- Ids are UUIDv7, so this is the index by time as well.
CREATE UNIQUE INDEX journal_id ON journal (id);
CREATE INDEX journal_endpoint_seq ON journal (endpoint, seq);

-- Large bodies, written before their entry; parts without an entry are swept.
CREATE TABLE body_parts (
    id BYTEA NOT NULL,
    part BIGINT NOT NULL,
    content BYTEA NOT NULL,
    PRIMARY KEY (id, part)
);
ALTER TABLE body_parts ALTER COLUMN content SET STORAGE EXTERNAL;

-- What was answered, written after the commit, without the head.
CREATE TABLE answers (
    seq BIGINT PRIMARY KEY,
    status BIGINT NOT NULL,
    headers BYTEA NOT NULL,
    body BYTEA NOT NULL,
    body_bytes BIGINT NOT NULL,
    took_us BIGINT NOT NULL
);

-- Totals of each endpoint, folded from the journal by range of seq. Captures at or below floor_seq are
-- removed; those at or below trimmed_seq by retention; rows at or below purged_seq are gone for good.
CREATE TABLE endpoint_totals (
    endpoint TEXT COLLATE "C" PRIMARY KEY,
    captures BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    last_us BIGINT,
    floor_seq BIGINT NOT NULL,
    trimmed_seq BIGINT NOT NULL,
    purged_seq BIGINT NOT NULL
);

-- Endpoints that were declared; a change raises config_seq and is a journal entry.
CREATE TABLE endpoints (
    code TEXT COLLATE "C" PRIMARY KEY,
    created_us BIGINT NOT NULL
);

-- How far background work has come. Who folds, trims or removes holds the row `folded`.
CREATE TABLE marks (
    name TEXT COLLATE "C" PRIMARY KEY,
    seq BIGINT NOT NULL
);
INSERT INTO marks (name, seq) VALUES ('folded', 0), ('parts_swept_us', 0), ('answers_swept', 0);

-- Which node does what only one node does at a time.
CREATE TABLE leases (
    name TEXT COLLATE "C" PRIMARY KEY,
    holder TEXT COLLATE "C" NOT NULL,
    until_us BIGINT NOT NULL
);
