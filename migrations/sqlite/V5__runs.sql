-- Runs: each has the codes behind its prefix to itself. It began behind the entry start_seq, and closing began behind
-- end_seq. `labels` and `counts` are JSON; counts are what was caught, kept before any of it is removed. `token` is the
-- id of its own token, `opened_by` who opened it.
CREATE TABLE runs (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    labels TEXT NOT NULL,
    prefix TEXT NOT NULL,
    state TEXT NOT NULL,
    captures TEXT NOT NULL,
    opened_us INTEGER NOT NULL,
    expires_us INTEGER NOT NULL,
    closing_us INTEGER,
    closed_us INTEGER,
    epoch INTEGER NOT NULL,
    start_seq INTEGER NOT NULL,
    start_id BLOB,
    end_seq INTEGER,
    token TEXT,
    opened_by TEXT,
    made INTEGER NOT NULL,
    passed INTEGER NOT NULL,
    counts TEXT
);
CREATE UNIQUE INDEX runs_prefix ON runs (prefix);
CREATE INDEX runs_unclosed ON runs (expires_us) WHERE state <> 'closed';
CREATE INDEX runs_closed ON runs (closed_us) WHERE state = 'closed';
CREATE INDEX runs_opened_by ON runs (opened_by) WHERE token IS NOT NULL;

-- What was asked of runs, and what came of it.
CREATE TABLE run_verifications (
    run TEXT NOT NULL,
    place INTEGER NOT NULL,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    passed INTEGER NOT NULL,
    why TEXT,
    at_us INTEGER NOT NULL,
    took_us INTEGER NOT NULL,
    PRIMARY KEY (run, place)
);

-- Held by whoever opens a run, so that there are never more than there may be.
INSERT INTO marks (name, seq) VALUES ('runs', 0);
