-- What was caught, by time and kind, folded from the journal with the totals; nothing is taken off when captures
-- are removed. A row is of the span that begins at `at_us`: a minute, later merged into an hour, then into a day.
-- Endpoint '': those that found no room. Method `other`: none of the usual ones. Rule '': none applied.
CREATE TABLE rollups (
    span_us INTEGER NOT NULL,
    at_us INTEGER NOT NULL,
    endpoint TEXT NOT NULL,
    method TEXT NOT NULL,
    status INTEGER NOT NULL,
    rule TEXT NOT NULL,
    captures INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    PRIMARY KEY (span_us, at_us, endpoint, method, status, rule)
) WITHOUT ROWID;

-- Nodes that run: each writes its own row every other second. `seen_us` is by the database's clock. `detail` is JSON.
CREATE TABLE nodes (
    id TEXT PRIMARY KEY,
    since_us INTEGER NOT NULL,
    seen_us INTEGER NOT NULL,
    detail TEXT NOT NULL
);
