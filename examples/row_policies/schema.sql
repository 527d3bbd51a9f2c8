-- An application where what you may see and do depends on what you paid: templates for subscribers, renderings for
-- credits. As a superuser, after CREATE EXTENSION billing_rpc; on Supabase leave the first two statements out, both are
-- done there.
GRANT billing_user TO authenticated;
GRANT USAGE ON SCHEMA public TO authenticated;

-- Who makes the request, from the JWT; on Supabase auth.uid() does it.
CREATE FUNCTION current_app_user() RETURNS uuid LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
RETURN (nullif(current_setting('request.jwt.claims', true), '')::json ->> 'sub')::uuid;

CREATE TABLE templates (
    template_id int PRIMARY KEY,
    for_subscribers boolean NOT NULL,
    title text NOT NULL
);
CREATE TABLE renderings (
    owner uuid NOT NULL,
    rendering_id uuid NOT NULL,
    title text NOT NULL,
    PRIMARY KEY (owner, rendering_id)
);
CREATE TABLE drafts (
    owner uuid NOT NULL DEFAULT current_app_user(),
    draft_id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    title text NOT NULL
);
ALTER TABLE templates ENABLE ROW LEVEL SECURITY;
ALTER TABLE renderings ENABLE ROW LEVEL SECURITY;
ALTER TABLE drafts ENABLE ROW LEVEL SECURITY;
GRANT SELECT ON templates, renderings TO authenticated;
GRANT SELECT, INSERT (title) ON drafts TO authenticated;

-- (SELECT f(...)) and not f(...): the planner sees that it does not depend on the row, and asks once per statement.
CREATE POLICY for_subscribers ON templates FOR SELECT TO authenticated
    USING (NOT for_subscribers OR (SELECT has_active_subscription('pro')));
CREATE POLICY own ON renderings FOR SELECT TO authenticated USING (owner = (SELECT current_app_user()));
CREATE POLICY own ON drafts FOR SELECT TO authenticated USING (owner = (SELECT current_app_user()));

-- Only who could pay for it may begin. A policy asks and keeps nothing back: two requests at once may both pass.
CREATE POLICY solvent ON drafts FOR INSERT TO authenticated
    WITH CHECK (owner = (SELECT current_app_user()) AND (SELECT has_credits(10)));

-- What costs credits is done by a function that spends them in the same transaction. It runs as a role that may
-- spend, for whoever the token names and nobody else.
CREATE ROLE app_owner NOLOGIN;
GRANT billing_service TO app_owner;
GRANT INSERT ON renderings TO app_owner;
CREATE POLICY by_function ON renderings FOR INSERT TO app_owner WITH CHECK (true);

CREATE FUNCTION make_rendering(rendering_id uuid, title text) RETURNS credit_outcome
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    me CONSTANT uuid := current_app_user();
    outcome credit_outcome;
BEGIN
    IF me IS NULL THEN
        RAISE insufficient_privilege USING MESSAGE = 'sign in first';
    END IF;
    -- The key is the fact: this rendering of this user. Sent again, it is a replay and spends nothing.
    outcome := spend_credits(me::text, 10, 'rendering:' || me || ':' || rendering_id);
    IF outcome.applied THEN
        INSERT INTO renderings (owner, rendering_id, title) VALUES (me, rendering_id, title);
    END IF;
    RETURN outcome;
END
$$;
ALTER FUNCTION make_rendering(uuid, text) OWNER TO app_owner;
REVOKE ALL ON FUNCTION make_rendering(uuid, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION make_rendering(uuid, text) TO authenticated;

NOTIFY pgrst, 'reload schema';
