-- Bearer tokens. `hash` is the SHA-256 of the secret, which has 256 random bits: nobody guesses it, so a slow
-- hash would only cost time. `pattern` names the endpoints that the token is for; NULL: all.
CREATE TABLE tokens (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    hash BLOB NOT NULL,
    scope TEXT NOT NULL,
    pattern TEXT,
    created_us INTEGER NOT NULL,
    expires_us INTEGER,
    revoked_us INTEGER
);
CREATE UNIQUE INDEX tokens_hash ON tokens (hash);

-- Tickets: good for one stream, and for half a minute. `holder` is a token's id, or who had none.
CREATE TABLE tickets (
    hash BLOB PRIMARY KEY,
    holder TEXT NOT NULL,
    scope TEXT NOT NULL,
    pattern TEXT,
    expires_us INTEGER NOT NULL
);

-- Keys that all nodes share, made by the first that needs one.
CREATE TABLE secrets (
    name TEXT PRIMARY KEY,
    value BLOB NOT NULL
);

-- Raised with every change of tokens, so that nodes see at a glance whether they know them all.
INSERT INTO marks (name, seq) VALUES ('tokens', 0);
