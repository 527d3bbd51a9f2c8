-- The table of app.py, and the role that it connects as.
CREATE TABLE pictures (
    picture_id text PRIMARY KEY,
    user_id text NOT NULL,
    title text NOT NULL CHECK (title <> '')
);
GRANT SELECT, INSERT ON pictures TO backend;
