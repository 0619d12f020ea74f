-- What was answered, written after the commit, without the head: answers of one batch to one endpoint stand together.
-- A page reaches from the place of its first answer to that of its last, or did before some were taken out. A place is
-- of one endpoint, so no two pages begin at the same. `content` begins with the number of its format.
CREATE TABLE answer_pages (
    first_seq INTEGER PRIMARY KEY,
    last_seq INTEGER NOT NULL,
    endpoint TEXT NOT NULL,
    content BLOB NOT NULL
);
CREATE INDEX answer_pages_endpoint_seq ON answer_pages (endpoint, first_seq, last_seq);

-- At once, and with what it holds: no release has ever used it.
DROP TABLE answers;
